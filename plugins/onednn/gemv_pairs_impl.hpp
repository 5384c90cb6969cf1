// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with rows in the form `pairs` (row_form.hpp), PROMPT and GENERATED alike: codes, widened
// to sixteen bits, times inputs of sixteen bits, two of them summed in one instruction. For CPUs whose multiply-add of
// bytes saturates: there a plane of bytes takes as many instructions as these sixteen bits do. A sum over 32 inputs is
// integer (at most 255 x 2^15 x 32, which 32 bits hold), so only the f32 sums across them have an order, the same for
// every tile. Include only from ISA files, after types_impl.hpp and rows_impl.hpp.
#pragma once
#include "onednn/kernels.hpp"

namespace {

using merritt::onednn::PairBlock;

// Each 32 inputs become integers of their own scale.
inline void quantise_pairs(const float* x, uint64_t n, uint64_t padded, uint8_t* row) {
  constexpr int kLargest = 32767;
  auto* block = reinterpret_cast<PairBlock*>(row);
  for (uint64_t k = 0; k < padded; k += 32, ++block) {
    const F v[2] = {take_or_zero(x, n, k), take_or_zero(x, n, k + 16)};
    const float largest = Simd::largest(Simd::max(Simd::abs(v[0]), Simd::abs(v[1])));
    const float probe = Simd::sum(Simd::mul(Simd::add(v[0], v[1]), Simd::zero()));
    const F inverse = store_scale<kLargest>(largest, probe, reinterpret_cast<uint8_t*>(&block->scale));
    for (int half = 0; half < 2; ++half) {
      const I q = to_integers<kLargest>(v[half], inverse);
      Simd::store_i16_crossed(block->q + 16 * half, q);
      block->minus_sum[1 + half] = -Simd::sum_i(q);
    }
    block->minus_sum[0] = block->minus_sum[1] + block->minus_sum[2];
  }
}

// Codes of 32 inputs as the kernel multiplies them: of each four inputs the first and the third, the second and the
// fourth.
struct EvenOdd {
  I even[8], odd[8];
};
MERRITT_INLINE I even_codes(I c) { return Simd::and_i(c, Simd::set1_i32(0x00ff00ff)); }
MERRITT_INLINE I odd_codes(I c) { return Simd::shift_right_16<8>(c); }

// sum[m] += the q-th four of them times the inputs of M rows.
template <int M>
MERRITT_INLINE void add_pairs(I even, I odd, int q, const PairBlock* const* rows, I* sum) {
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    sum[m] = Simd::add_i(sum[m], Simd::pairs(even, Simd::broadcast_i32(rows[m]->q + 4 * q)));
    sum[m] = Simd::add_i(sum[m], Simd::pairs(odd, Simd::broadcast_i32(rows[m]->q + 4 * q + 2)));
    Simd::settle(sum[m]);
  }
}

// What the codes' offset costs, as integers.
template <int Offset>
MERRITT_INLINE I pairs_start(const int32_t* minus_sum) {
  if constexpr (Offset == 0) {
    return Simd::set1_i32(0);
  } else {
    return Simd::template shift_left<__builtin_ctz(Offset)>(Simd::broadcast_i32(minus_sum));
  }
}

// Scales of 32 inputs, one or one for each half, and minima.
template <class T>
struct PairScales {
  static constexpr int kParts = T::kHalves ? 2 : 1;
  F scale[kParts], min[kParts];
  MERRITT_INLINE PairScales of(const typename T::Head& head, int i) {
    PairScales s;
    for (int half = 0; half < kParts; ++half) {
      s.scale[half] = T::scale(head, i, half);
      s.min[half] = T::kMin ? T::min(head, i, half) : Simd::zero();
    }
    return s;
  }
};

// Part `Part` of 32 inputs of M rows; add(q, sum) adds the q-th four of them.
template <class T, int M, int Part, class Add>
MERRITT_INLINE void pairs_part(const PairScales<T>& s, const PairBlock* const* rows, F* v, Add&& add) {
  constexpr int kFours = 8 / PairScales<T>::kParts;
  constexpr int kMinus = T::kHalves ? Part + 1 : 0;
  I sum[M];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) sum[m] = pairs_start<T::kOffset>(&rows[m]->minus_sum[kMinus]);
#pragma GCC unroll 8
  for (int q = Part * kFours; q < Part * kFours + kFours; ++q) add(q, sum);
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    const F whole = Simd::to_f32(sum[m]);
    v[m] = Part == 0 ? Simd::mul(s.scale[Part], whole) : Simd::fma(s.scale[Part], whole, v[m]);
    if constexpr (T::kMin) {
      v[m] = Simd::fma(s.min[Part], Simd::to_f32(Simd::broadcast_i32(&rows[m]->minus_sum[kMinus])), v[m]);
    }
  }
}

template <class T, int M, class Add>
MERRITT_INLINE void pairs_step(const PairScales<T>& s, const PairBlock* const* rows, F* sums, Add&& add) {
  F v[M];
  pairs_part<T, M, 0>(s, rows, v, add);
  if constexpr (T::kHalves) pairs_part<T, M, 1>(s, rows, v, add);
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) sums[m] = Simd::fma(v[m], Simd::broadcast_f32(&rows[m]->scale), sums[m]);
}

template <int M>
struct PairRows {
  const PairBlock* rows[M];
  __attribute__((always_inline)) PairRows(const uint8_t* act, uint64_t act_bytes, uint64_t k32) {
    for (int m = 0; m < M; ++m) {
      rows[m] = reinterpret_cast<const PairBlock*>(act + static_cast<uint64_t>(m) * act_bytes) + k32;
    }
  }
  __attribute__((always_inline)) void next() {
    for (int m = 0; m < M; ++m) ++rows[m];
  }
};

// The lines of the i-th 32 inputs of a block that come later in the same stream, into the first cache.
template <class T>
MERRITT_INLINE void ask_stream(const Packed& w, const uint8_t* block, int i) {
  constexpr uint64_t kAhead = 4096;
  const uint64_t share = w.block_bytes / T::kGroups, from = share * static_cast<uint64_t>(i);
  for (uint64_t at = from; at < from + share; at += 64) Simd::prefetch(block + kAhead + at);
}

// One group of weight rows, read where it lies, times M rows.
template <class T, int M>
void pairs_group(const Packed& w, uint64_t g, const uint8_t* act, uint64_t act_bytes, float* const* out,
                 const float* bias) {
  PairRows<M> of(act, act_bytes, 0);
  F sums[M];
  for (int m = 0; m < M; ++m) sums[m] = Simd::zero();
  const uint8_t* p = w.group(g);
  for (uint32_t b = 0; b < w.blocks; ++b, p += w.block_bytes) {
    const typename T::Head head = T::head(p);
#pragma GCC unroll 1
    for (int i = 0; i < T::kGroups; ++i) {
      ask_stream<T>(w, p, i);
      I c[8];
      T::codes(p, i, c);
      pairs_step<T, M>(
          PairScales<T>::of(head, i), of.rows, sums, [&](int q, I* sum) __attribute__((always_inline)) {
            add_pairs<M>(even_codes(c[q]), odd_codes(c[q]), q, of.rows, sum);
          });
      of.next();
    }
  }
  for (int m = 0; m < M; ++m) put_group(sums[m], w, g, out[m], bias);
}

// A stretch of a group, opened once for many rows: 18 to 20 KiB of the first cache's 32.
template <class T>
struct OpenedPairs {
  static constexpr uint32_t kSteps = 16;  // of 32 inputs
  EvenOdd codes[kSteps];
  PairScales<T> scales[kSteps];
};

// `steps` of them from block b0 on.
template <class T>
void open_pairs(const Packed& w, uint64_t g, uint32_t b0, uint32_t steps, OpenedPairs<T>* to) {
  const uint8_t* p = w.group(g) + b0 * w.block_bytes;
  for (uint32_t at = 0; at < steps; at += T::kGroups, p += w.block_bytes) {
    const typename T::Head head = T::head(p);
#pragma GCC unroll 8
    for (int i = 0; i < T::kGroups; ++i) {
      ask_stream<T>(w, p, i);
      EvenOdd* codes = &to->codes[at + static_cast<uint32_t>(i)];
      I c[8];
      T::codes(p, i, c);
      for (int q = 0; q < 8; ++q) {
        codes->even[q] = even_codes(c[q]);
        codes->odd[q] = odd_codes(c[q]);
      }
      to->scales[at + static_cast<uint32_t>(i)] = PairScales<T>::of(head, i);
    }
  }
}

// Sums of a stretch go on from those before it, which lie where the results will; the last stretch gives these.
template <class T, int M>
void opened_rows(const OpenedPairs<T>& opened, uint32_t first, uint32_t steps, const Packed& w, uint64_t g,
                 const uint8_t* act, uint64_t act_bytes, float* const* out, const float* bias) {
  PairRows<M> of(act, act_bytes, first);
  F sums[M];
  const uint64_t column = g * 16, left = w.rows - column;
  const int n = left < 16 ? static_cast<int>(left) : 16;
  for (int m = 0; m < M; ++m) sums[m] = first == 0 ? Simd::zero() : Simd::load_n(out[m] + column, n);
  for (uint32_t i = 0; i < steps; ++i) {
    const EvenOdd& codes = opened.codes[i];
    pairs_step<T, M>(
        opened.scales[i], of.rows, sums, [&](int q, I* sum) __attribute__((always_inline)) {
          add_pairs<M>(codes.even[q], codes.odd[q], q, of.rows, sum);
        });
    of.next();
  }
  const bool last = (first + steps) * 32ull == w.padded;
  for (int m = 0; m < M; ++m) put_group(sums[m], w, g, out[m], last ? bias : nullptr);
}

// In fours, twos and ones.
template <class Rows>
MERRITT_INLINE void by_rows(uint32_t m, Rows&& rows) {
  uint32_t i = 0;
  for (; i + 4 <= m; i += 4) rows.template operator()<4>(i);
  for (; i + 2 <= m; i += 2) rows.template operator()<2>(i);
  if (i < m) rows.template operator()<1>(i);
}

// From so many rows on weights are opened, which changes no bit. It costs as much as a row or two; the codes of
// 256-blocks, which take many operations, cost that much again for each four rows that they are widened for.
template <class T>
inline constexpr uint32_t kOpenedRows = T::kGroups == 8 ? 3 : 8;

template <class T>
void pairs_rows(const Packed& w, uint64_t g, const uint8_t* act, uint64_t act_bytes, uint32_t m, float* const* out,
                const float* bias) {
  if (m < kOpenedRows<T>) {
    by_rows(m, [&]<int M>(uint32_t i) { pairs_group<T, M>(w, g, act + i * act_bytes, act_bytes, out + i, bias); });
    return;
  }
  OpenedPairs<T> opened;
  const auto all = static_cast<uint32_t>(w.padded / 32);
  for (uint32_t first = 0; first < all; first += opened.kSteps) {
    const uint32_t steps = all - first < opened.kSteps ? all - first : opened.kSteps;
    open_pairs<T>(w, g, first / T::kGroups, steps, &opened);
    by_rows(m, [&]<int M>(uint32_t i) {
      opened_rows<T, M>(opened, first, steps, w, g, act + i * act_bytes, act_bytes, out + i, bias);
    });
  }
}

inline void gemv_codes(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                       float* const* out, const float* bias) {
  with_quant_type(w.type, [&](auto trait) {
    for (uint64_t g = g0; g < g1; ++g) pairs_rows<decltype(trait)>(w, g, act, act_bytes, m, out, bias);
  });
}

}  // namespace
