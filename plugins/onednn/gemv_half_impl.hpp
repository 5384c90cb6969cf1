// SPDX-License-Identifier: Apache-2.0
// Products of weights of sixteen bits with GENERATED rows in f32: each result is four sums by input modulo four, as
// those of other types are in f32 (matrix_impl.hpp). The including file says with MERRITT_STREAM_AHEAD and
// MERRITT_STREAMS how memory is read (gemv_impl.hpp). Include only from ISA files, after types_impl.hpp.
#pragma once
#include "onednn/packed.hpp"

namespace {

// S groups of weight rows times M rows.
template <uint32_t Type, int M, int S>
void gemv_half_groups(const Packed& w, uint64_t g, const float* x, uint64_t stride, float* const* out,
                      const float* bias) {
  constexpr uint64_t kInputs = 32;  // of a block
  const uint8_t* p = w.group(g);
  F acc[S][M][4];
  for (int s = 0; s < S; ++s) {
    for (int m = 0; m < M; ++m) {
      for (int j = 0; j < 4; ++j) acc[s][m][j] = Simd::zero();
    }
  }
  const auto block = [&](const float* inputs, uint64_t inputs_stride) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      const uint8_t* at = p + static_cast<uint64_t>(s) * w.group_bytes;
      for (uint64_t ahead = 0; MERRITT_STREAM_AHEAD != 0 && ahead < w.block_bytes; ahead += 64) {
        Simd::prefetch(at + MERRITT_STREAM_AHEAD + ahead);
      }
#pragma GCC unroll 8
      for (int k = 0; k < static_cast<int>(kInputs); k += 4) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const F v = TypeFloat<Type>::weight(at, k + j);
#pragma GCC unroll 4
          for (int m = 0; m < M; ++m) {
            const float value = inputs[static_cast<uint64_t>(m) * inputs_stride + static_cast<uint64_t>(k + j)];
            acc[s][m][j] = Simd::fma(v, Simd::set1(value), acc[s][m][j]);
          }
        }
      }
    }
    p += w.block_bytes;
  };
  uint64_t k = 0;
  for (; k + kInputs <= w.cols; k += kInputs) block(x + k, stride);
  if (k < w.cols) {  // zeros for what is not there
    float rest[M][kInputs] = {};
    for (int m = 0; m < M; ++m) {
      for (uint64_t i = 0; i < w.cols - k; ++i) rest[m][i] = x[static_cast<uint64_t>(m) * stride + k + i];
    }
    block(rest[0], kInputs);
  }
  for (int s = 0; s < S; ++s) {
    for (int m = 0; m < M; ++m) {
      const F* a = acc[s][m];
      put_group(Simd::add(Simd::add(a[0], a[1]), Simd::add(a[2], a[3])), w, g + static_cast<uint64_t>(s), out[m], bias);
    }
  }
}

// As many groups at once as sixteen registers hold the sums of.
template <uint32_t Type, int M>
MERRITT_INLINE void gemv_half_rows(const Packed& w, uint64_t g0, uint64_t g1, const float* x, uint64_t stride,
                                   float* const* out, const float* bias) {
  constexpr int kStreams = MERRITT_STREAMS < 4 / M ? MERRITT_STREAMS : 4 / M;
  uint64_t g = g0;
  for (; g + kStreams <= g1; g += kStreams) gemv_half_groups<Type, M, kStreams>(w, g, x, stride, out, bias);
  for (; g < g1; ++g) gemv_half_groups<Type, M, 1>(w, g, x, stride, out, bias);
}

template <uint32_t Type>
inline void gemv_half(const Packed& w, uint64_t g0, uint64_t g1, const float* x, uint64_t stride, uint32_t m,
                      float* const* out, const float* bias) {
  constexpr uint64_t kAtOnce = 4;
  for (uint64_t g = g0; g < g1; g += kAtOnce) {
    const uint64_t end = g1 - g < kAtOnce ? g1 : g + kAtOnce;
    uint32_t i = 0;
    if constexpr (Simd::kRowTile == 8) {
      for (; i + 4 <= m; i += 4) gemv_half_rows<Type, 4>(w, g, end, x + i * stride, stride, out + i, bias);
    }
    for (; i + 2 <= m; i += 2) gemv_half_rows<Type, 2>(w, g, end, x + i * stride, stride, out + i, bias);
    if (i < m) gemv_half_rows<Type, 1>(w, g, end, x + i * stride, stride, out + i, bias);
  }
}

// False where the weights are of another type.
inline bool gemv_half_typed(const Packed& w, uint64_t g0, uint64_t g1, const float* x, uint64_t stride, uint32_t m,
                            float* const* out, const float* bias) {
  switch (w.type) {
    case merritt::plugin::kF16: gemv_half<merritt::plugin::kF16>(w, g0, g1, x, stride, m, out, bias); return true;
    case merritt::plugin::kBF16: gemv_half<merritt::plugin::kBF16>(w, g0, g1, x, stride, m, out, bias); return true;
    default: return false;
  }
}

}  // namespace
