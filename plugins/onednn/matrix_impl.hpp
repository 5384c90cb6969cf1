// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with f32 activations: GEMV, panels for the library's matrix kernel, and our own f32 matrix
// kernel. Include only from ISA files, after types_impl.hpp.
#pragma once
#include "onednn/kernels.hpp"

namespace {

// 32 inputs of sixteen rows as f32, handed on in pairs: put(k / 2, even, odd). Every weight is rounded once.
template <class T, class Put>
MERRITT_INLINE void open_group(const uint8_t* p, const typename T::Head& head, int g, Put&& put) {
  I c[8];
  T::codes(p, g, c);
  const I byte = Simd::set1_i32(255);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const F scale = T::scale(head, g, half);
    const F shift = T::kMin ? T::min(head, g, half) : Simd::mul(scale, Simd::set1(static_cast<float>(T::kOffset)));
    const auto value = [&](I codes) __attribute__((always_inline)) {
      return Simd::fms(Simd::to_f32(codes), scale, shift);
    };
#pragma GCC unroll 4
    for (int q = half * 4; q < half * 4 + 4; ++q) {
      put(2 * q, value(Simd::and_i(c[q], byte)), value(Simd::and_i(Simd::template shift_right<8>(c[q]), byte)));
      put(2 * q + 1, value(Simd::and_i(Simd::template shift_right<16>(c[q]), byte)),
          value(Simd::template shift_right<24>(c[q])));
    }
  }
}

template <uint32_t Type, class Put>
MERRITT_INLINE void open_floats(const uint8_t* p, int pairs, Put&& put) {
  for (int i = 0; i < pairs; ++i) put(i, TypeFloat<Type>::weight(p, 2 * i), TypeFloat<Type>::weight(p, 2 * i + 1));
}

// Inputs of `n` blocks from block b0 of one group in pairs; put(k / 2, even, odd) with k counted from there.
template <class Put>
MERRITT_INLINE void open_blocks(const Packed& w, uint64_t g, uint32_t b0, uint32_t n, Put&& put) {
  using namespace merritt::plugin;
  const uint8_t* p = w.group(g) + b0 * w.block_bytes;
  const bool quant = with_quant_type(
      w.type, [&](auto trait) __attribute__((always_inline)) {
        using T = decltype(trait);
        const uint8_t* block = p;
        for (uint32_t b = 0; b < n; ++b, block += w.block_bytes) {
          const typename T::Head head = T::head(block);
#pragma GCC unroll 1
          for (int i = 0; i < T::kGroups; ++i) {
            const int base = (static_cast<int>(b) * T::kGroups + i) * 16;
            open_group<T>(
                block, head,
                i, [&](int pair, F even, F odd) __attribute__((always_inline)) { put(base + pair, even, odd); });
          }
        }
      });
  if (quant) return;
  const int pairs = static_cast<int>(n) * 16;
  if (w.type == kF32) return open_floats<kF32>(p, pairs, put);
  if (w.type == kF16) return open_floats<kF16>(p, pairs, put);
  open_floats<kBF16>(p, pairs, put);
}

// The weights of `n` blocks from block b0 of a group as f32, an input's sixteen `ld` apart. Not inlined: it holds the
// code of every type, and so the compiler's time.
[[gnu::noinline]] inline void open_f32(const Packed& w, uint64_t g, uint32_t b0, uint32_t n, float* to, uint64_t ld) {
  if (g >= w.groups) {
    for (uint64_t k = 0; k < w.padded / w.blocks * n; ++k) Simd::store(to + k * ld, Simd::zero());
    return;
  }
  open_blocks(
      w, g, b0, n, [&](int pair, F even, F odd) __attribute__((always_inline)) {
        Simd::store(to + static_cast<uint64_t>(pair) * 2 * ld, even);
        Simd::store(to + (static_cast<uint64_t>(pair) * 2 + 1) * ld, odd);
      });
}

// The same as bf16, the pairs of two inputs `ld` numbers apart.
[[gnu::noinline]] inline void open_bf16(const Packed& w, uint64_t g, uint32_t b0, uint32_t n, uint16_t* to,
                                        uint64_t ld) {
  if (g >= w.groups) {
    for (uint64_t k = 0; k < w.padded / w.blocks * n / 2; ++k) {
      Simd::store_bf16_pair(to + k * ld, Simd::zero(), Simd::zero());
    }
    return;
  }
  open_blocks(
      w, g, b0, n, [&](int pair, F even, F odd) __attribute__((always_inline)) {
        Simd::store_bf16_pair(to + static_cast<uint64_t>(pair) * ld, even, odd);
      });
}

// All inputs of a group; open(b, n) opens n blocks from the b-th. Opening is more code than the CPU looks ahead in, so
// each KiB, or block where that is more, asks for what is to be read 4 KiB later. At the end of a group that is the
// next one's, which a panel of one group asks for in vain.
template <class Open>
MERRITT_INLINE void open_asking(const Packed& w, uint64_t g, Open&& open) {
  constexpr uint64_t kPart = 1024, kAhead = 4096;
  const auto at_once = static_cast<uint32_t>(w.block_bytes < kPart ? kPart / w.block_bytes : 1);
  for (uint32_t b = 0; b < w.blocks; b += at_once) {
    const uint32_t n = w.blocks - b < at_once ? w.blocks - b : at_once;
    const uint8_t* later = w.group(g) + b * w.block_bytes + kAhead;
    for (uint64_t at = 0; g < w.groups && at < n * w.block_bytes; at += 64) Simd::prefetch(later + at);
    open(b, n);
  }
}

inline void panel_f32(const Packed& w, uint64_t g0, uint32_t n, float* panel) {
  const uint64_t ld = static_cast<uint64_t>(n) * 16, block = w.padded / w.blocks * ld;
  for (uint32_t i = 0; i < n; ++i) {
    open_asking(w, g0 + i,
                [&](uint32_t b, uint32_t blocks) { open_f32(w, g0 + i, b, blocks, panel + i * 16 + b * block, ld); });
  }
}

inline void panel_bf16(const Packed& w, uint64_t g0, uint32_t n, uint16_t* panel) {
  const uint64_t ld = static_cast<uint64_t>(n) * 32, block = w.padded / w.blocks / 2 * ld;
  for (uint32_t i = 0; i < n; ++i) {
    open_asking(w, g0 + i,
                [&](uint32_t b, uint32_t blocks) { open_bf16(w, g0 + i, b, blocks, panel + i * 32 + b * block, ld); });
  }
}

// Sixteen rows, some inputs at a time through an f32 buffer, four sums by input modulo four.
template <int M>
MERRITT_INLINE void gemv_f32_block(const float* tile, const float* const* x, uint64_t at, uint64_t count, F (*acc)[4]) {
  uint64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    for (int j = 0; j < 4; ++j) {
      const F v = Simd::load(tile + (k + static_cast<uint64_t>(j)) * 16);
      for (int m = 0; m < M; ++m)
        acc[m][j] = Simd::fma(v, Simd::set1(x[m][at + k + static_cast<uint64_t>(j)]), acc[m][j]);
    }
  }
  for (int j = 0; k < count; ++k, ++j) {
    const F v = Simd::load(tile + k * 16);
    for (int m = 0; m < M; ++m) acc[m][j] = Simd::fma(v, Simd::set1(x[m][at + k]), acc[m][j]);
  }
}

template <int M>
void gemv_f32_rows(const Packed& w, uint64_t g, const float* const* x, float* const* out, const float* bias) {
  constexpr uint64_t kInputs = 256;  // of one block, or of eight small ones
  alignas(64) float tile[kInputs * 16];
  F acc[M][4];
  for (int m = 0; m < M; ++m) {
    for (int j = 0; j < 4; ++j) acc[m][j] = Simd::zero();
  }
  const uint8_t* p = w.group(g);
  if (w.type == merritt::plugin::kF32) {
    for (uint64_t k = 0; k < w.cols; k += 32, p += w.block_bytes) {
      for (uint64_t ahead = 0; ahead < 2048 && M == 1; ahead += 64) Simd::prefetch(p + 4096 + ahead);
      const uint64_t left = w.cols - k;
      gemv_f32_block<M>(reinterpret_cast<const float*>(p), x, k, left < 32 ? left : 32, acc);
    }
  } else {
    const auto at_once = static_cast<uint32_t>(kInputs / (w.padded / w.blocks));
    uint64_t k = 0;
    for (uint32_t b = 0; b < w.blocks; b += at_once, k += kInputs) {
      const uint64_t left = w.cols - k;
      open_f32(w, g, b, b + at_once < w.blocks ? at_once : w.blocks - b, tile, 16);
      gemv_f32_block<M>(tile, x, k, left < kInputs ? left : kInputs, acc);
    }
  }
  for (int m = 0; m < M; ++m) {
    put_group(Simd::add(Simd::add(acc[m][0], acc[m][1]), Simd::add(acc[m][2], acc[m][3])), w, g, out[m], bias);
  }
}

inline void gemv_f32(const Packed& w, uint64_t g0, uint64_t g1, const float* x, uint64_t stride, uint32_t m,
                     float* const* out, const float* bias) {
  if (gemv_half_typed(w, g0, g1, x, stride, m, out, bias)) return;
  for (uint64_t g = g0; g < g1; ++g) {
    uint32_t i = 0;
    for (; i + 2 <= m; i += 2) {
      const float* rows[2] = {x + i * stride, x + (i + 1) * stride};
      gemv_f32_rows<2>(w, g, rows, out + i, bias);
    }
    if (i < m) {
      const float* rows[1] = {x + i * stride};
      gemv_f32_rows<1>(w, g, rows, out + i, bias);
    }
  }
}

// Register tile of Q rows by V vectors; every result is one chain of fused multiply-adds over the inputs.
template <int Q, int V>
MERRITT_INLINE void gemm_tile(const float* a, uint64_t lda, const float* panel, uint64_t ld, uint32_t k, float* c) {
  F acc[Q][V];
  for (int i = 0; i < Q; ++i) {
    for (int v = 0; v < V; ++v) acc[i][v] = Simd::zero();
  }
  for (uint32_t t = 0; t < k; ++t) {
    F b[V];
    for (int v = 0; v < V; ++v) b[v] = Simd::load(panel + t * ld + static_cast<uint64_t>(v) * 16);
    for (int i = 0; i < Q; ++i) {
      const F x = Simd::set1(a[static_cast<uint64_t>(i) * lda + t]);
      for (int v = 0; v < V; ++v) acc[i][v] = Simd::fma(x, b[v], acc[i][v]);
    }
  }
  for (int i = 0; i < Q; ++i) {
    for (int v = 0; v < V; ++v)
      Simd::store(c + static_cast<uint64_t>(i) * ld + static_cast<uint64_t>(v) * 16, acc[i][v]);
  }
}

inline void gemm_f32(const float* a, uint64_t lda, const float* panel, uint32_t m, uint32_t n, uint32_t k, float* c) {
  constexpr int kQ = Simd::kQueryTile, kV = Simd::kKeyVectors;
  for (uint32_t j = 0; j + 16 * kV <= n; j += 16 * kV) {
    uint32_t i = 0;
    for (; i + kQ <= m; i += kQ)
      gemm_tile<kQ, kV>(a + i * lda, lda, panel + j, n, k, c + static_cast<uint64_t>(i) * n + j);
    for (; i < m; ++i) gemm_tile<1, kV>(a + i * lda, lda, panel + j, n, k, c + static_cast<uint64_t>(i) * n + j);
  }
}

}  // namespace
