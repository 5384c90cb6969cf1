// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with some GENERATED rows in q12 form, in int8 tiles (Intel AMX: TDPBSSD, TDPBSUD). Eight
// vectors of codes are a tile of 32 inputs by sixteen weight rows, the planes of up to sixteen rows are another. Sums
// leave the tiles as integers after each 32 inputs, and what follows is operation by operation that of gemv_impl.hpp,
// so the bits are those of a row alone.
//
// Codes of four bits take both planes in one product: 64 bytes of a row, [high][low], by [16 code][code]. Wider ones
// take the planes one by one.
//
// Tiles are slow to load and slow to leave, so three things go on at once: codes of the 32 inputs after the next ones
// are opened, these are multiplied, and the sums of the last ones are scaled and added to sums in registers. Between a
// product and the store of its sums lies that addition, so that the store need not wait; with one product in a step the
// store comes after the next product, and the addition a step later still. Include only from *_amx.cpp.
#pragma once
#include "onednn/row_form_impl.hpp"
#include "onednn/tile_config.hpp"

namespace {

template <class T>
constexpr bool kOneProduct = T::kMaxCode <= 15;

// Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 codes. What is multiplied at once is `inputs` bytes of a row.
constexpr TileConfig row_config(int rows, int inputs) {
  TileConfig c;
  for (int t = 0; t < 4; ++t) c.set(t, rows, 64);
  for (int t = 4; t < 6; ++t) c.set(t, rows, inputs);
  for (int t = 6; t < 8; ++t) c.set(t, inputs / 4, 64);
  return c;
}
template <int Inputs>
struct RowConfigs {
  TileConfig of[kBand + 1];
  constexpr RowConfigs() : of{} {
    for (uint32_t rows = 1; rows <= kBand; ++rows) of[rows] = row_config(static_cast<int>(rows), Inputs);
  }
};
template <int Inputs>
constexpr RowConfigs<Inputs> kConfigs;

// 32 inputs on their way: codes, the weights' scale, then the integer sums of each plane.
template <class T>
struct alignas(64) Stage {
  static constexpr int kPlanes = kOneProduct<T> ? 1 : 2;
  uint8_t codes[kOneProduct<T> ? 1024 : 512];
  int32_t sums[kPlanes][kBand * 16];
  float scale[16], min[16];
};

template <class T>
MERRITT_INLINE void open_stage(const uint8_t* p, const typename T::Head& head, int i, Stage<T>* s) {
  I c[8];
  T::codes(p, i, c);
  const I offset = Simd::set1_i8(T::kOffset), times_16 = Simd::set1_i8(16 * T::kOffset % 256);
  for (int q = 0; q < 8; ++q) {
    uint8_t* to = s->codes + 64 * q;
    if constexpr (kOneProduct<T>) {
      const I shifted = Simd::template shift_left<4>(c[q]);
      Simd::store_i(to, T::kOffset == 0 ? shifted : _mm512_sub_epi8(shifted, times_16));
      to += 512;
    }
    Simd::store_i(to, T::kOffset == 0 ? c[q] : _mm512_sub_epi8(c[q], offset));
  }
  Simd::store(s->scale, T::scale(head, i, 0));
  if constexpr (T::kMin) Simd::store(s->min, T::min(head, i, 0));
}

// Without an offset 16 times a code is an unsigned byte, with one a signed byte.
#define MERRITT_MULTIPLY(sums, rows, codes)          \
  if constexpr (kOneProduct<T> && T::kOffset == 0) { \
    _tile_dpbsud(sums, rows, codes);                 \
  } else {                                           \
    _tile_dpbssd(sums, rows, codes);                 \
  }

// Odd steps take other tiles, where there are enough.
template <class T, bool Odd>
MERRITT_INLINE void multiply_stage(const Q12Rows& rows, const Stage<T>& s) {
  const auto* act = reinterpret_cast<const uint8_t*>(rows.planes);
  if constexpr (kOneProduct<T> && !Odd) {
    _tile_zero(0);
    _tile_loadd(4, act, 64);
    _tile_loadd(6, s.codes, 64);
    MERRITT_MULTIPLY(0, 4, 6)
  } else if constexpr (kOneProduct<T>) {
    _tile_zero(1);
    _tile_loadd(5, act, 64);
    _tile_loadd(7, s.codes, 64);
    MERRITT_MULTIPLY(1, 5, 7)
  } else if constexpr (!Odd) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_loadd(6, s.codes, 64);
    _tile_loadd(4, act, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, act + 32, 64);
    _tile_dpbssd(1, 5, 6);
  } else {
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(7, s.codes, 64);
    _tile_loadd(4, act, 64);
    _tile_dpbssd(2, 4, 7);
    _tile_loadd(5, act + 32, 64);
    _tile_dpbssd(3, 5, 7);
  }
}

template <class T, bool Odd>
MERRITT_INLINE void store_stage(Stage<T>* s) {
  if constexpr (kOneProduct<T> && !Odd) {
    _tile_stored(0, s->sums[0], 64);
  } else if constexpr (kOneProduct<T>) {
    _tile_stored(1, s->sums[0], 64);
  } else if constexpr (!Odd) {
    _tile_stored(0, s->sums[0], 64);
    _tile_stored(1, s->sums[1], 64);
  } else {
    _tile_stored(2, s->sums[0], 64);
    _tile_stored(3, s->sums[1], 64);
  }
}

#undef MERRITT_MULTIPLY

// All: sixteen rows, and nothing to ask for each.
template <class T, bool All>
MERRITT_INLINE void add_stage(const Stage<T>& s, const Q12Rows& rows, int count, F* acc) {
  const F scale = Simd::load(s.scale), min = T::kMin ? Simd::load(s.min) : scale;
#pragma GCC unroll 16
  for (int r = 0; r < static_cast<int>(kBand); ++r) {
    if (!All && r >= count) continue;
    I sum = Simd::load_i(s.sums[0] + r * 16);
    if constexpr (!kOneProduct<T>) {
      sum = Simd::add_i(Simd::shift_left<4>(sum), Simd::load_i(s.sums[Stage<T>::kPlanes - 1] + r * 16));
    }
    F v = Simd::mul(scale, Simd::to_f32(sum));
    if constexpr (T::kMin) v = Simd::fma(min, Simd::to_f32(rows.minus_sum(r)), v);
    acc[r] = Simd::fma(v, rows.scale(r), acc[r]);
  }
}

// A group of weight rows times the `count` rows of a band; the tiles are configured for so many.
template <class T, bool All>
void multiply_q12(const Packed& w, uint64_t g, Q12Rows rows, int count, bool ahead, float* const* out,
                  const float* bias) {
  constexpr uint64_t kRing = 4, kOpenAhead = 2, kUnroll = T::kGroups == 1 ? kRing : T::kGroups;
  constexpr uint64_t kAhead = 4096;  // as in gemv_ahead_bf16.cpp
  static_assert(kUnroll % kRing == 0);
  constexpr bool kStoreLate = kOneProduct<T>;  // with two products in one step it wins nothing
  Stage<T> ring[kRing];
  F acc[kBand];
#pragma GCC unroll 16
  for (F& sum : acc) sum = Simd::zero();
  const uint8_t* block = w.group(g);  // that is being opened
  typename T::Head head = T::head(block);
  const auto open = [&](int i, Stage<T>* to) __attribute__((always_inline)) {
    if (i == 0) head = T::head(block);
    if (ahead) {
      const uint64_t step = w.block_bytes / T::kGroups, from = step * static_cast<uint64_t>(i) + kAhead;
      for (uint64_t at = 0; at < step; at += 64) Simd::prefetch(block + from + at);
    }
    open_stage<T>(block, head, i, to);
    if (i == T::kGroups - 1) block += w.block_bytes;
  };
  const uint64_t steps = static_cast<uint64_t>(w.blocks) * T::kGroups;
  for (uint64_t i = 0; i < kOpenAhead && i < steps; ++i) open(static_cast<int>(i) % T::kGroups, &ring[i]);
  Q12Rows last = rows;
  const auto add = [&](uint64_t step) __attribute__((always_inline)) {
    add_stage<T, All>(ring[step % kRing], last, count, acc);
    last.advance(0);
  };
  const auto store = [&](uint64_t step) __attribute__((always_inline)) {
    if (step % 2 == 0) {
      store_stage<T, false>(&ring[step % kRing]);
    } else {
      store_stage<T, true>(&ring[step % kRing]);
    }
  };
  for (uint64_t n = 0; n < steps; n += kUnroll) {
#pragma GCC unroll 8
    for (uint64_t j = 0; j < kUnroll; ++j) {
      const uint64_t at = n + j, before = j + kUnroll;  // of the same slots as what came before the first
      if (T::kGroups == 1 && at >= steps) break;
      if (j % 2 == 0) {
        multiply_stage<T, false>(rows, ring[j % kRing]);
      } else {
        multiply_stage<T, true>(rows, ring[j % kRing]);
      }
      if constexpr (kStoreLate) {
        if (at > 0) store(before - 1);
        if (at > 1) add(before - 2);
      } else {
        if (at > 0) add(before - 1);
        store(before);
      }
      if (at + kOpenAhead < steps) {
        open(static_cast<int>(j + kOpenAhead) % T::kGroups, &ring[(j + kOpenAhead) % kRing]);
      }
      rows.advance(0);
    }
  }
  if constexpr (kStoreLate) {
    if (steps > 1) add(steps - 2);
    store(steps - 1);
  }
  add(steps - 1);
#pragma GCC unroll 16
  for (int r = 0; r < static_cast<int>(kBand); ++r) {
    if (All || r < count) put_group(acc[r], w, g, out[r], bias);
  }
}

}  // namespace
