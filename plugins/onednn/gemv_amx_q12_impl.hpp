// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with some GENERATED rows in q12 form, in int8 tiles (Intel AMX: TDPBSSD, TDPBSUD). Eight
// vectors of codes and eight of a sixteenth of them are a tile of 32 inputs by sixteen weight rows,
// [codes][sixteenths], and both planes of up to sixteen rows are another, [high][low]. Sums leave the tiles as integers
// after each 32 inputs, and what follows is operation by operation that of gemv_impl.hpp, so the bits are those of a
// row alone.
//
// Tiles are slow to load and slow to leave, so three things go on at once: codes of the 32 inputs after the next ones
// are opened, these are multiplied, and the sums of the ones before the last are scaled and added to sums in registers.
// The sums of a product are stored after the next product, so that the store need not wait. Include only from
// *_amx.cpp.
#pragma once
#include "onednn/row_form_impl.hpp"
#include "onednn/tile_config.hpp"

namespace {

// Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 codes. What is multiplied at once is 64 bytes of a row.
constexpr TileConfig row_config(int rows) {
  TileConfig c;
  for (int t = 0; t < 6; ++t) c.set(t, rows, 64);
  for (int t = 6; t < 8; ++t) c.set(t, 16, 64);
  return c;
}
struct RowConfigs {
  TileConfig of[kBand + 1];
  constexpr RowConfigs() : of{} {
    for (uint32_t rows = 1; rows <= kBand; ++rows) of[rows] = row_config(static_cast<int>(rows));
  }
};

// Asks memory for weights while others are multiplied. The next group of the same task: into the second cache, a
// quarter of it in each of four streams, since a core gets more from memory in four than in one. The first group, which
// nobody has asked for: 4 KiB ahead of itself, into the first.
class Ahead {
 public:
  __attribute__((always_inline)) Ahead(const Packed& w, uint64_t g, bool is_first, bool has_next)
      : next_(w.group(g) + w.group_bytes), quarter_(w.group_bytes / 4), is_first_(is_first), has_next_(has_next) {}
  // `bytes` are those of 32 inputs, which begin at `here`.
  __attribute__((always_inline)) void ask(const uint8_t* here, uint64_t bytes) {
    if (is_first_) {
      for (uint64_t line = 0; line < bytes; line += 64) Simd::prefetch(here + 4096 + line);
    }
    if (has_next_) {
      const uint8_t* at = next_ + quarter_ * (turn_ % 4) + bytes * (turn_ / 4);
      for (uint64_t line = 0; line < bytes; line += 64) Simd::prefetch_l2(at + line);
      ++turn_;
    }
  }

 private:
  const uint8_t* next_;
  uint64_t quarter_, turn_ = 0;
  bool is_first_, has_next_;
};

// 32 inputs on their way: codes, the weights' scale, then the integer sums.
struct alignas(64) Stage {
  uint8_t codes[1024];
  int32_t sums[kBand * 16];
  float scale[16], min[16];
};

template <class T>
MERRITT_INLINE void open_stage(const uint8_t* p, const typename T::Head& head, int i, Stage* s) {
  using C = Q12Codes<T>;
  I c[8];
  T::codes(p, i, c);
  const I offset = Simd::set1_i8(C::kOffset % 256), low_offset = Simd::set1_i8(C::kLowOffset);
  for (int q = 0; q < 8; ++q) {
    I low = C::low(c[q]), high = c[q];
    if constexpr (C::kLowShift != 0) low = Simd::template shift_right<C::kLowShift>(low);
    if constexpr (C::kShift != 0) high = Simd::template shift_left<C::kShift>(high);
    Simd::store_i(s->codes + 64 * q, T::kOffset == 0 ? high : _mm512_sub_epi8(high, offset));
    Simd::store_i(s->codes + 512 + 64 * q, T::kOffset == 0 ? low : _mm512_sub_epi8(low, low_offset));
  }
  Simd::store(s->scale, C::scale(head, i));
  if constexpr (T::kMin) Simd::store(s->min, T::min(head, i, 0));
}

// Odd steps take other tiles. Codes without an offset are unsigned bytes, with one signed.
template <class T, bool Odd>
MERRITT_INLINE void multiply_stage(const Q12Rows& rows, const Stage& s) {
  if constexpr (!Odd) {
    _tile_zero(0);
    _tile_loadd(4, rows.planes, 64);
    _tile_loadd(6, s.codes, 64);
    if constexpr (T::kOffset == 0) {
      _tile_dpbsud(0, 4, 6);
    } else {
      _tile_dpbssd(0, 4, 6);
    }
  } else {
    _tile_zero(1);
    _tile_loadd(5, rows.planes, 64);
    _tile_loadd(7, s.codes, 64);
    if constexpr (T::kOffset == 0) {
      _tile_dpbsud(1, 5, 7);
    } else {
      _tile_dpbssd(1, 5, 7);
    }
  }
}

// All: sixteen rows, and nothing to ask for each.
template <class T, bool All>
MERRITT_INLINE void add_stage(const Stage& s, const Q12Rows& rows, int count, F* acc) {
  using C = Q12Codes<T>;
  const F scale = Simd::load(s.scale), min = T::kMin ? Simd::load(s.min) : scale;
#pragma GCC unroll 16
  for (int r = 0; r < static_cast<int>(kBand); ++r) {
    if (!All && r >= count) continue;
    I sum = Simd::load_i(s.sums + r * 16);
    if constexpr (C::kLowShift != 0) sum = Simd::add_i(sum, C::mean_of_lacking(rows.half_low(r)));
    F v = Simd::mul(scale, Simd::to_f32(sum));
    if constexpr (T::kMin) v = Simd::fma(min, Simd::to_f32(rows.minus_sum(r)), v);
    acc[r] = Simd::fma(v, rows.scale(r), acc[r]);
  }
}

// A group of weight rows times the `count` rows of a band; the tiles are configured for so many.
template <class T, bool All>
void multiply_q12(const Packed& w, uint64_t g, Q12Rows rows, int count, Ahead ahead, float* const* out,
                  const float* bias) {
  constexpr uint64_t kRing = 4, kOpenAhead = 2, kUnroll = T::kGroups == 1 ? kRing : T::kGroups;
  static_assert(kUnroll % kRing == 0);
  Stage ring[kRing];
  F acc[kBand];
#pragma GCC unroll 16
  for (F& sum : acc) sum = Simd::zero();
  const uint8_t* block = w.group(g);  // that is being opened
  typename T::Head head = T::head(block);
  const auto open = [&](int i, Stage* to) __attribute__((always_inline)) {
    if (i == 0) head = T::head(block);
    const uint64_t step = w.block_bytes / T::kGroups;
    ahead.ask(block + step * static_cast<uint64_t>(i), step);
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
    int32_t* to = ring[step % kRing].sums;
    if (step % 2 == 0) {
      _tile_stored(0, to, 64);
    } else {
      _tile_stored(1, to, 64);
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
      if (at > 0) store(before - 1);
      if (at > 1) add(before - 2);
      if (at + kOpenAhead < steps) {
        open(static_cast<int>(j + kOpenAhead) % T::kGroups, &ring[(j + kOpenAhead) % kRing]);
      }
      rows.advance(0);
    }
  }
  if (steps > 1) add(steps - 2);
  store(steps - 1);
  add(steps - 1);
#pragma GCC unroll 16
  for (int r = 0; r < static_cast<int>(kBand); ++r) {
    if (All || r < count) put_group(acc[r], w, g, out[r], bias);
  }
}

}  // namespace
