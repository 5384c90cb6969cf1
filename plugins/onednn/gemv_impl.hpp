// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with GENERATED rows in the form of their type. The codes of sixteen weight rows by 32
// inputs are opened into eight vectors and meet up to Simd::kRowTile rows there. What is summed before it is rounded,
// 32 inputs or 256, is integer (at most 255 x 136 x 32 or 4096 x 128 x 256, which 32 bits hold), so only the f32 sums
// across them have an order, and that is the same for every tile.
// The including file says with MERRITT_STREAM_AHEAD how many bytes ahead of itself a stream of weights asks memory, 0
// for not at all, and with MERRITT_STREAMS how many groups of weight rows it reads at once for up to four rows. Include
// only from ISA files, after types_impl.hpp.
#pragma once
#include <type_traits>

#include "onednn/row_form_impl.hpp"

namespace {

template <class T>
struct Dots {
  static constexpr bool kSigned = T::kWide && Simd::kSignedWide;
  static constexpr int kFit = Simd::kSums16 / T::kMaxCode;  // steps whose sums fit in 16 bits, where the CPU sums there

  // What the offset of unsigned codes costs: offset x the sum of the inputs.
  template <int Offset>
  MERRITT_INLINE I start(I minus_sum) {
    if constexpr (Offset == 0 || kSigned) {
      return Simd::set1_i32(0);
    } else {
      return Simd::template shift_left<__builtin_ctz(Offset)>(minus_sum);
    }
  }
  // sum += vectors [From, From + Vectors) of codes by their bytes of a plane.
  template <int From, int Vectors>
  MERRITT_INLINE I add(I sum, const I* c, const int8_t* plane) {
    constexpr int kRun = kSigned || kFit < 2 ? 1 : kFit < Vectors ? kFit : Vectors;
    static_assert(Vectors % kRun == 0);
    for (int i = From; i < From + Vectors; i += kRun) {
      sum = Simd::template dots<kRun, kSigned>(sum, c + i, plane + 4 * i);
    }
    return sum;
  }
};

// A group of weight rows times M rows in q12 form.
template <class T, int M>
struct Q12Sums {
  using Rows = Q12Rows;
  F sums[M];

  MERRITT_INLINE Rows rows(const Packed& w, const uint8_t* act, uint64_t act_bytes, uint32_t m, uint32_t row) {
    return q12_rows(w, act, act_bytes, m, row);
  }
  __attribute__((always_inline)) void clear() {
    for (int n = 0; n < M; ++n) sums[n] = Simd::zero();
  }
  // Codes for the low planes. (Of signed numbers, which are biased by 128, these are as well.)
  MERRITT_INLINE void open(const I* c, I* low) {
    for (int q = 0; q < 8; ++q) low[q] = Q12Codes<T>::low(c[q]);
  }
  // The i-th 32 inputs of a block, N rows from the m-th.
  template <int N>
  __attribute__((always_inline)) void add(const I* c, const I* c_low, const typename T::Head& head, int i,
                                          const Rows& all, int m) {
    using D = Dots<T>;
    using C = Q12Codes<T>;
    const Rows rows = all.from(m);
    I high[N], low[N];
    for (int n = 0; n < N; ++n) {
      low[n] = C::kLowShift == 0 ? D::template start<C::kLowOffset>(rows.minus_sum(n)) : Simd::set1_i32(0);
    }
    if constexpr (N == 1) {  // a row alone: four chains of sums hide the latency of each
      const I zero = Simd::set1_i32(0);
      const I high_2 = D::template add<4, 4>(zero, c, rows.planes[0].high);
      const I low_2 = D::template add<4, 4>(zero, c_low, rows.planes[0].low);
      high[0] = Simd::add_i(D::template add<0, 4>(zero, c, rows.planes[0].high), high_2);
      low[0] = Simd::add_i(D::template add<0, 4>(low[0], c_low, rows.planes[0].low), low_2);
    } else {
      for (int n = 0; n < N; ++n) high[n] = Simd::set1_i32(0);
      for (int n = 0; n < N; ++n) {
        high[n] = D::template add<0, 8>(high[n], c, rows.planes[n].high);
        low[n] = D::template add<0, 8>(low[n], c_low, rows.planes[n].low);
      }
    }
    const F scale = C::scale(head, i);
    for (int n = 0; n < N; ++n) {
      if constexpr (C::kShift != 0) high[n] = Simd::template shift_left<C::kShift>(high[n]);
      if constexpr (C::kLowShift != 0) {
        const I start = D::template start<C::kLowOffset>(rows.minus_sum(n));
        low[n] = Simd::add_i(Simd::template shift_right_signed<C::kLowShift>(low[n]), start);
        low[n] = Simd::add_i(low[n], C::mean_of_lacking(rows.half_low(n)));
      }
      F v = Simd::mul(scale, Simd::to_f32(Simd::add_i(high[n], low[n])));
      if constexpr (T::kMin) v = Simd::fma(T::min(head, i, 0), Simd::to_f32(rows.minus_sum(n)), v);
      sums[m + n] = Simd::fma(v, rows.scale(n), sums[m + n]);
    }
  }
  __attribute__((always_inline)) void end_block(const typename T::Head&, Rows&) {}
};

// The same in q16 form: integers up to the end of a block.
template <class T, int M>
struct Q16Sums {
  using Rows = Q16Rows;
  I high[M], low[M], min[M];  // min: of types that have one
  F sums[M];

  MERRITT_INLINE Rows rows(const Packed& w, const uint8_t* act, uint64_t act_bytes, uint32_t m, uint32_t row) {
    return q16_rows(w, act, act_bytes, m, row);
  }
  __attribute__((always_inline)) void clear() {
    for (int n = 0; n < M; ++n) {
      sums[n] = Simd::zero();
      high[n] = low[n] = min[n] = Simd::set1_i32(0);
    }
  }
  MERRITT_INLINE void open(const I*, I*) {}
  template <int N>
  __attribute__((always_inline)) void add(const I* c, const I*, const typename T::Head& head, int i, const Rows& all,
                                          int m) {
    add_half<N, 0>(c, head, i, all.from(m), m);
    add_half<N, 1>(c, head, i, all.from(m), m);
  }
  template <int N, int Half>
  __attribute__((always_inline)) void add_half(const I* c, const typename T::Head& head, int i, const Rows& rows,
                                               int m) {
    using D = Dots<T>;
    const I scale = T::whole_scale(head, i, Half);
    for (int n = 0; n < N; ++n) {
      I h = D::template start<T::kOffset>(rows.minus_high(n, Half));
      I l = D::template start<T::kOffset>(rows.minus_low(n, Half));
      h = D::template add<4 * Half, 4>(h, c, rows.high(n));
      l = D::template add<4 * Half, 4>(l, c, rows.low(n));
      high[m + n] = Simd::add_i(high[m + n], Simd::mul_i(h, scale));
      low[m + n] = Simd::add_i(low[m + n], Simd::mul_i(l, scale));
      if constexpr (T::kMin) {
        const I both = Simd::add_i(Simd::template shift_left<8>(rows.minus_high(n, Half)), rows.minus_low(n, Half));
        min[m + n] = Simd::add_i(min[m + n], Simd::mul_i(both, T::whole_min(head, i, Half)));
      }
    }
  }
  __attribute__((always_inline)) void end_block(const typename T::Head& head, Rows& rows) {
    for (int n = 0; n < M; ++n) {
      sums[n] = q16_block<T>(head, high[n], low[n], min[n], rows.scale(n), sums[n]);
      high[n] = low[n] = min[n] = Simd::set1_i32(0);
    }
  }
};

template <class T, int M>
using Sums = std::conditional_t<T::kHalves, Q16Sums<T, M>, Q12Sums<T, M>>;

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

// S groups of weight rows times M rows of a band. The eight steps of a block, one after another without a branch, are
// more code than a core keeps decoded, and the compiler moves their loads together until it has no registers left. So
// they are a loop, except for several streams, and for one or two rows that ask for nothing ahead: there those loads
// are what keeps memory busy.
template <class T, int M, int S>
void gemv_groups(const Packed& w, uint64_t g, typename Sums<T, M>::Rows rows, bool ahead, float* const* out,
                 const float* bias) {
  constexpr bool kUnrolled = S > 1 || (M <= 2 && MERRITT_STREAM_AHEAD == 0);
  const uint8_t* p = w.group(g);
  Sums<T, M> sums[S];
  for (int s = 0; s < S; ++s) sums[s].clear();
  for (uint32_t b = 0; b < w.blocks; ++b, p += w.block_bytes) {
    typename T::Head head[S];
    for (int s = 0; s < S; ++s) head[s] = T::head(p + static_cast<uint64_t>(s) * w.group_bytes);
    const auto inputs = [&](int i) __attribute__((always_inline)) {
      const auto step = [&](int s) __attribute__((always_inline)) {
        const uint8_t* block = p + static_cast<uint64_t>(s) * w.group_bytes;
        if constexpr (M <= 2 && MERRITT_STREAM_AHEAD != 0) {
          ask_stream<T>(w, block, i);
        } else if constexpr (M > 2) {
          if (ahead && MERRITT_STREAM_AHEAD != 0) ask_stream<T>(w, block, i);
          if (ahead && MERRITT_STREAM_AHEAD == 0) ask_ahead<T>(w, block, i);
        }
        I c[8], low[8];
        T::codes(block, i, c);
        Sums<T, M>::open(c, low);
        if constexpr (M == 1) {
          sums[s].template add<1>(c, low, head[s], i, rows, 0);
        } else {
#pragma GCC unroll 4
          for (int m = 0; m < M; m += 2) sums[s].template add<2>(c, low, head[s], i, rows, m);
        }
      };
      if constexpr (T::kGroups == 1) {
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) step(s);
      } else {  // eight steps of it are code enough
#pragma GCC unroll 1
        for (int s = 0; s < S; ++s) step(s);
      }
      rows.advance(i);
    };
    if constexpr (kUnrolled) {
#pragma GCC unroll 8
      for (int i = 0; i < T::kGroups; ++i) inputs(i);
    } else {
#pragma GCC unroll 1
      for (int i = 0; i < T::kGroups; ++i) inputs(i);
    }
    for (int s = 0; s < S; ++s) sums[s].end_block(head[s], rows);
    if constexpr (T::kHalves) rows.next_block();
  }
  for (int s = 0; s < S; ++s) {
    for (int m = 0; m < M; ++m) put_group(sums[s].sums[m], w, g + static_cast<uint64_t>(s), out[m], bias);
  }
}

// S groups of weight rows. Without MERRITT_STREAM_AHEAD one or two rows read as fast as memory gives on Zen 4, whose
// own prefetcher keeps ahead of one plain stream. More rows compute for longer than that prefetcher looks ahead: the
// first tile of a group asks for the next group. In tiles of one and two rows the very question would part the loads of
// a block, at half the speed of Q6_K.
template <class T, int S>
inline void gemv_rows(const Packed& w, uint64_t g, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                      float* const* out, const float* bias) {
  uint32_t i = 0;
  const auto tile = [&]<int M>() __attribute__((always_inline)) {
    constexpr int kAtOnce = 1 + static_cast<int>(M <= 4) * (S - 1);
    for (int s = 0; s < S; s += kAtOnce) {
      gemv_groups<T, M, kAtOnce>(w, g + static_cast<uint64_t>(s), Sums<T, M>::rows(w, act, act_bytes, m, i), i == 0,
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

inline void gemv_codes(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                       float* const* out, const float* bias) {
  with_quant_type(w.type, [&](auto trait) {
    using T = decltype(trait);
    uint64_t g = g0;
    for (; MERRITT_STREAMS > 1 && g + MERRITT_STREAMS <= g1; g += MERRITT_STREAMS) {
      gemv_rows<T, MERRITT_STREAMS>(w, g, act, act_bytes, m, out, bias);
    }
    for (; g < g1; ++g) gemv_rows<T, 1>(w, g, act, act_bytes, m, out, bias);
  });
}

}  // namespace
