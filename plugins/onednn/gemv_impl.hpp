// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with GENERATED rows in q15 form. The codes of sixteen weight rows by 32 inputs are opened
// into eight vectors and meet up to Simd::kRowTile rows there. Inside the 32 inputs all is integer (at most 255 x 16319
// x 32, which 28 bits hold), so only the f32 sums across them have an order, and that is the same for every tile.
// The including file says with MERRITT_STREAM_AHEAD how many bytes ahead of itself a stream of weights asks memory, 0
// for not at all. Include only from ISA files, after types_impl.hpp.
#pragma once
#include "onednn/kernels.hpp"

namespace {

using merritt::onednn::Q15Block;

MERRITT_INLINE I q15_sum(const uint8_t* block, int which) {
  return Simd::broadcast_i32(block + offsetof(Q15Block, minus_sum) + 4 * which);
}

// The products of one 32-group with N rows as integers; two of them where the type has two scales.
template <class T, int N>
MERRITT_INLINE void q15_integers(const I* c, const uint8_t* const* block, I (*out)[2]) {
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
      if constexpr (kShift == 7) high[n] = q15_sum(block[n], kParts == 2 ? h : 2);
      if constexpr (kShift > 0 && kShift < 7) {
        low[n] = Simd::template shift_left<kShift>(q15_sum(block[n], kParts == 2 ? h : 2));
      }
    }
    for (int i = h * kVectors; i < (h + 1) * kVectors; i += kRun) {
      for (int n = 0; n < N; ++n) {
        const auto* bytes = reinterpret_cast<const int8_t*>(block[n]) + 4 * i;
        high[n] = Simd::template dots<kRun, kSigned>(high[n], c + i, bytes);
        low[n] = Simd::template dots<kRun, kSigned>(low[n], c + i, bytes + 32);
      }
    }
    for (int n = 0; n < N; ++n) out[n][h] = Simd::add_i(Simd::template shift_left<7>(high[n]), low[n]);
  }
  if constexpr (kParts == 2 && !T::kHalves) {
    for (int n = 0; n < N; ++n) out[n][0] = Simd::add_i(out[n][0], out[n][1]);
  }
}

template <class T, int N>
MERRITT_INLINE void q15_step(const I* c, const F* scale, const F* min, const uint8_t* const* block, F* acc) {
  constexpr int kScales = T::kHalves ? 2 : 1;
  I part[N][2];
  q15_integers<T, N>(c, block, part);
  for (int n = 0; n < N; ++n) {
    F v = Simd::mul(scale[0], Simd::to_f32(part[n][0]));
    if constexpr (T::kHalves) v = Simd::fma(scale[1], Simd::to_f32(part[n][1]), v);
    for (int h = 0; h < kScales && T::kMin; ++h) {
      v = Simd::fma(min[h], Simd::to_f32(q15_sum(block[n], T::kHalves ? h : 2)), v);
    }
    acc[n] = Simd::fma(v, Simd::broadcast_f32(block[n] + offsetof(Q15Block, scale)), acc[n]);
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

// One group of weight rows times M rows.
template <class T, int M>
void gemv_q15_group(const Packed& w, uint64_t g, const uint8_t* act, uint64_t act_bytes, bool ahead, float* const* out,
                    const float* bias) {
  const uint8_t* p = w.group(g);
  const uint8_t* block[M];
  F acc[M];
  for (int m = 0; m < M; ++m) {
    block[m] = act + static_cast<uint64_t>(m) * act_bytes;
    acc[m] = Simd::zero();
  }
  for (uint32_t b = 0; b < w.blocks; ++b, p += w.block_bytes) {
    const typename T::Head head = T::head(p);
#pragma GCC unroll 8
    for (int i = 0; i < T::kGroups; ++i) {
      if constexpr (M <= 2 && MERRITT_STREAM_AHEAD != 0) {
        ask_stream<T>(w, p, i);
      } else if constexpr (M > 2) {
        if (ahead && MERRITT_STREAM_AHEAD != 0) ask_stream<T>(w, p, i);
        if (ahead && MERRITT_STREAM_AHEAD == 0) ask_ahead<T>(w, p, i);
      }
      I c[8];
      T::codes(p, i, c);
      F scale[2], min[2];
      for (int h = 0; h < (T::kHalves ? 2 : 1); ++h) {
        scale[h] = T::scale(head, i, h);
        if constexpr (T::kMin) min[h] = T::min(head, i, h);
      }
      const uint8_t* at[M];
      for (int m = 0; m < M; ++m) at[m] = block[m] + static_cast<uint64_t>(i) * sizeof(Q15Block);
      if constexpr (M == 1) {
        q15_step<T, 1>(c, scale, min, at, acc);
      } else {
#pragma GCC unroll 4
        for (int m = 0; m < M; m += 2) q15_step<T, 2>(c, scale, min, at + m, acc + m);
      }
    }
    for (int m = 0; m < M; ++m) block[m] += T::kGroups * sizeof(Q15Block);
  }
  for (int m = 0; m < M; ++m) put_group(acc[m], w, g, out[m], bias);
}

// Without MERRITT_STREAM_AHEAD one or two rows read as fast as memory gives, and the CPU's own prefetcher keeps ahead
// of one plain stream. More rows compute for longer than that prefetcher looks ahead: the first tile of a group asks
// for the next group. In tiles of one and two rows the very question would part the loads of a block, at half the speed
// of Q6_K.
template <class T>
inline void gemv_q15_rows(const Packed& w, uint64_t g, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                          float* const* out, const float* bias) {
  uint32_t i = 0;
  const auto tile = [&]<int M>() __attribute__((always_inline)) {
    gemv_q15_group<T, M>(w, g, act + i * act_bytes, act_bytes, i == 0, out + i, bias);
  };
  if constexpr (Simd::kRowTile == 8) {
    for (; i + 8 <= m; i += 8) tile.template operator()<8>();
  }
  for (; i + 4 <= m; i += 4) tile.template operator()<4>();
  for (; i + 2 <= m; i += 2) tile.template operator()<2>();
  if (i < m) tile.template operator()<1>();
}

inline void gemv_q15(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                     float* const* out, const float* bias) {
  with_quant_type(w.type, [&](auto trait) {
    for (uint64_t g = g0; g < g1; ++g) gemv_q15_rows<decltype(trait)>(w, g, act, act_bytes, m, out, bias);
  });
}

}  // namespace
