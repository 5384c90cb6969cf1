// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with GENERATED rows in q12 form. The codes of sixteen weight rows by 32 inputs are opened
// into eight vectors and meet up to Simd::kRowTile rows there. Inside the 32 inputs all is integer (at most 255 x 2032
// x 32, which 24 bits hold), so only the f32 sums across them have an order, and that is the same for every tile.
// The including file says with MERRITT_STREAM_AHEAD how many bytes ahead of itself a stream of weights asks memory, 0
// for not at all, and with MERRITT_STREAMS how many groups of weight rows it reads at once for up to four rows. Include
// only from ISA files, after types_impl.hpp.
#pragma once
#include "onednn/q12_impl.hpp"

namespace {

// The products of one 32-group with N rows as integers; two of them where the type has two scales.
template <class T, int N>
MERRITT_INLINE void q12_integers(const I* c, const Q12Rows& rows, I (*out)[2]) {
  constexpr bool kSigned = T::kWide && Simd::kSignedWide;
  // A row alone takes the halves apart as well: four chains of sums hide the latency of each.
  constexpr int kParts = T::kHalves || N == 1 ? 2 : 1, kVectors = 8 / kParts;
  constexpr int kShift = T::kOffset == 0 || kSigned ? -1 : __builtin_ctz(T::kOffset);
  constexpr int kFit = Simd::kSums16 / T::kMaxCode;  // steps whose sums fit in 16 bits, where the CPU sums there
  constexpr int kRun = kSigned || kFit < 2 ? 1 : kFit < kVectors ? kFit : kVectors;
  static_assert(kVectors % kRun == 0);
  for (int h = 0; h < kParts; ++h) {
    I high[N], low[N];
    for (int n = 0; n < N; ++n) {  // the offset of unsigned codes costs offset x the sum of the inputs
      high[n] = low[n] = Simd::set1_i32(0);
      if constexpr (kShift > 0) {
        low[n] = Simd::template shift_left<kShift>(rows.minus_sum(n, kParts == 2 ? h : 2));
      }
    }
    for (int i = h * kVectors; i < (h + 1) * kVectors; i += kRun) {
      for (int n = 0; n < N; ++n) {
        high[n] = Simd::template dots<kRun, kSigned>(high[n], c + i, rows.planes[n].high + 4 * i);
        low[n] = Simd::template dots<kRun, kSigned>(low[n], c + i, rows.planes[n].low + 4 * i);
      }
    }
    for (int n = 0; n < N; ++n) out[n][h] = Simd::add_i(Simd::template shift_left<4>(high[n]), low[n]);
  }
  if constexpr (kParts == 2 && !T::kHalves) {
    for (int n = 0; n < N; ++n) out[n][0] = Simd::add_i(out[n][0], out[n][1]);
  }
}

template <class T, int N>
MERRITT_INLINE void q12_step(const I* c, const F* scale, const F* min, const Q12Rows& rows, F* acc) {
  constexpr int kScales = T::kHalves ? 2 : 1;
  I part[N][2];
  q12_integers<T, N>(c, rows, part);
  for (int n = 0; n < N; ++n) {
    F v = Simd::mul(scale[0], Simd::to_f32(part[n][0]));
    if constexpr (T::kHalves) v = Simd::fma(scale[1], Simd::to_f32(part[n][1]), v);
    for (int h = 0; h < kScales && T::kMin; ++h) {
      v = Simd::fma(min[h], Simd::to_f32(rows.minus_sum(n, T::kHalves ? h : 2)), v);
    }
    acc[n] = Simd::fma(v, rows.scale(n), acc[n]);
  }
}

// A share of the same block of the next group, into the second cache.
template <class T>
MERRITT_INLINE void ask_ahead(const Packed& w, const uint8_t* block, int i) {
  const uint64_t step = w.block_bytes / T::kGroups, from = step * static_cast<uint64_t>(i);
  for (uint64_t at = from; at < from + step; at += 64) Simd::prefetch_l2(block + w.group_bytes + at);
}

// The lines of its bytes that come later in the same stream, into the first cache.
template <class T>
MERRITT_INLINE void ask_stream(const Packed& w, const uint8_t* block, int i) {
  const uint64_t step = w.block_bytes / T::kGroups, from = step * static_cast<uint64_t>(i);
  for (uint64_t at = from; at < from + step; at += 64) Simd::prefetch(block + MERRITT_STREAM_AHEAD + at);
}

// S groups of weight rows times M rows of a band.
template <class T, int M, int S>
void gemv_q12_groups(const Packed& w, uint64_t g, Q12Rows rows, bool ahead, float* const* out, const float* bias) {
  const uint8_t* p = w.group(g);
  F acc[S][M];
  for (int s = 0; s < S; ++s) {
    for (int m = 0; m < M; ++m) acc[s][m] = Simd::zero();
  }
  for (uint32_t b = 0; b < w.blocks; ++b, p += w.block_bytes) {
    typename T::Head head[S];
    for (int s = 0; s < S; ++s) head[s] = T::head(p + static_cast<uint64_t>(s) * w.group_bytes);
#pragma GCC unroll 8
    for (int i = 0; i < T::kGroups; ++i, rows.advance()) {
      const auto step = [&](int s) __attribute__((always_inline)) {
        const uint8_t* block = p + static_cast<uint64_t>(s) * w.group_bytes;
        if constexpr (M <= 2 && MERRITT_STREAM_AHEAD != 0) {
          ask_stream<T>(w, block, i);
        } else if constexpr (M > 2) {
          if (ahead && MERRITT_STREAM_AHEAD != 0) ask_stream<T>(w, block, i);
          if (ahead && MERRITT_STREAM_AHEAD == 0) ask_ahead<T>(w, block, i);
        }
        I c[8];
        T::codes(block, i, c);
        F scale[2], min[2];
        for (int h = 0; h < (T::kHalves ? 2 : 1); ++h) {
          scale[h] = T::scale(head[s], i, h);
          if constexpr (T::kMin) min[h] = T::min(head[s], i, h);
        }
        if constexpr (M == 1) {
          q12_step<T, 1>(c, scale, min, rows, acc[s]);
        } else {
#pragma GCC unroll 4
          for (int m = 0; m < M; m += 2) q12_step<T, 2>(c, scale, min, rows.from(m), acc[s] + m);
        }
      };
      if constexpr (T::kGroups == 1) {
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) step(s);
      } else {  // eight steps of it are code enough
#pragma GCC unroll 1
        for (int s = 0; s < S; ++s) step(s);
      }
    }
  }
  for (int s = 0; s < S; ++s) {
    for (int m = 0; m < M; ++m) put_group(acc[s][m], w, g + static_cast<uint64_t>(s), out[m], bias);
  }
}

// S groups of weight rows. Without MERRITT_STREAM_AHEAD one or two rows read as fast as memory gives, and the CPU's own
// prefetcher keeps ahead of one plain stream. More rows compute for longer than that prefetcher looks ahead: the first
// tile of a group asks for the next group. In tiles of one and two rows the very question would part the loads of a
// block, at half the speed of Q6_K.
template <class T, int S>
inline void gemv_q12_rows(const Packed& w, uint64_t g, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                          float* const* out, const float* bias) {
  uint32_t i = 0;
  const auto tile = [&]<int M>() __attribute__((always_inline)) {
    constexpr int kAtOnce = 1 + static_cast<int>(M <= 4) * (S - 1);
    for (int s = 0; s < S; s += kAtOnce) {
      gemv_q12_groups<T, M, kAtOnce>(w, g + static_cast<uint64_t>(s), q12_rows(w, act, act_bytes, m, i), i == 0,
                                     out + i, bias);
    }
  };
  if constexpr (Simd::kRowTile == 8) {
    for (; i + 8 <= m; i += 8) tile.template operator()<8>();
  }
  for (; i + 4 <= m; i += 4) tile.template operator()<4>();
  for (; i + 2 <= m; i += 2) tile.template operator()<2>();
  if (i < m) tile.template operator()<1>();
}

inline void gemv_q12(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                     float* const* out, const float* bias) {
  with_quant_type(w.type, [&](auto trait) {
    using T = decltype(trait);
    uint64_t g = g0;
    for (; MERRITT_STREAMS > 1 && g + MERRITT_STREAMS <= g1; g += MERRITT_STREAMS) {
      gemv_q12_rows<T, MERRITT_STREAMS>(w, g, act, act_bytes, m, out, bias);
    }
    for (; g < g1; ++g) gemv_q12_rows<T, 1>(w, g, act, act_bytes, m, out, bias);
  });
}

}  // namespace
