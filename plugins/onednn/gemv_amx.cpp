// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with eight and more GENERATED rows in q15 form, in int8 tiles (Intel AMX, TDPBSSD). Eight
// vectors of codes are a tile of 32 inputs by sixteen weight rows; the two planes of up to sixteen rows are two more.
// The sums of 32 inputs leave the tiles as integers, and what follows is operation by operation that of gemv_impl.hpp,
// so the bits are those of a row alone. Three steps run at once, since each waits for the one before: codes of the next
// 32 inputs are opened, the present ones are multiplied, the sums of the last ones are scaled and added.
#include "onednn/kernels.hpp"
#include "onednn/simd_avx512.hpp"
#include "onednn/tile_config.hpp"
// It builds on the ones before.
#include "onednn/types_impl.hpp"

namespace {

using merritt::onednn::Q15Block;
constexpr int kMostRows = 16;

// Tiles 0 to 3 are sums, 4 and 5 the planes of the rows, 6 and 7 codes; with two scales of sixteen inputs each.
template <bool Halves>
constexpr TileConfig q15_config(int rows) {
  TileConfig c;
  for (int t = 0; t < 4; ++t) c.set(t, rows, 64);
  for (int t = 4; t < 6; ++t) c.set(t, rows, Halves ? 16 : 32);
  for (int t = 6; t < 8; ++t) c.set(t, Halves ? 4 : 8, 64);
  return c;
}
template <bool Halves>
struct Q15Configs {
  TileConfig of[kMostRows + 1];
  constexpr Q15Configs() : of{} {
    for (int rows = 1; rows <= kMostRows; ++rows) of[rows] = q15_config<Halves>(rows);
  }
};
template <bool Halves>
constexpr Q15Configs<Halves> kConfigs;

// 32 inputs on their way: signed codes, the weights' scales, then the integer sums of both planes, of each half.
template <class T>
struct alignas(64) Stage {
  static constexpr int kParts = T::kHalves ? 2 : 1, kGroups = T::kHalves ? 1 : 2;  // groups that go together
  uint8_t codes[8 * 64];
  int32_t high[kParts][kMostRows * 16], low[kParts][kMostRows * 16];
  float scale[kParts][16], min[kParts][16];
};

template <class T>
MERRITT_INLINE void open_stage(const uint8_t* p, const typename T::Head& head, int i, Stage<T>* s) {
  I c[8];
  T::codes(p, i, c);
  const I offset = Simd::set1_i8(T::kOffset);
  for (int q = 0; q < 8; ++q) {
    Simd::store_i(s->codes + 64 * q, T::kOffset == 0 ? c[q] : _mm512_sub_epi8(c[q], offset));
  }
  for (int h = 0; h < Stage<T>::kParts; ++h) {
    Simd::store(s->scale[h], T::scale(head, i, h));
    if constexpr (T::kMin) Simd::store(s->min[h], T::min(head, i, h));
  }
}

// Four tiles of sums: both planes of two groups of weight rows, whose loads of the rows they share, or of both halves.
template <class T>
MERRITT_INLINE void multiply_stage(const uint8_t* act, uint64_t act_bytes, Stage<T>* s) {
  const auto stride = static_cast<int64_t>(act_bytes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if constexpr (T::kHalves) {
    _tile_loadd(6, s->codes, 64);
    _tile_loadd(4, act, stride);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, act + 32, stride);
    _tile_dpbssd(1, 5, 6);
    _tile_loadd(7, s->codes + 256, 64);
    _tile_loadd(4, act + 16, stride);
    _tile_dpbssd(2, 4, 7);
    _tile_loadd(5, act + 48, stride);
    _tile_dpbssd(3, 5, 7);
  } else {
    _tile_loadd(6, s[0].codes, 64);
    _tile_loadd(4, act, stride);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, s[1].codes, 64);
    _tile_dpbssd(2, 4, 7);
    _tile_loadd(5, act + 32, stride);
    _tile_dpbssd(1, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  Stage<T>& last = s[Stage<T>::kGroups - 1];
  _tile_stored(0, s->high[0], 64);
  _tile_stored(1, s->low[0], 64);
  _tile_stored(2, last.high[Stage<T>::kParts - 1], 64);
  _tile_stored(3, last.low[Stage<T>::kParts - 1], 64);
}

template <class T>
MERRITT_INLINE void add_stage(const Stage<T>& s, const uint8_t* act, uint64_t act_bytes, int rows, float* acc) {
  constexpr int kParts = Stage<T>::kParts;
  F scale[kParts], min[kParts];
  for (int h = 0; h < kParts; ++h) {
    scale[h] = Simd::load(s.scale[h]);
    if constexpr (T::kMin) min[h] = Simd::load(s.min[h]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r, act += act_bytes) {
    F v = Simd::zero();
    for (int h = 0; h < kParts; ++h) {
      const I high = Simd::load_i(s.high[h] + r * 16), low = Simd::load_i(s.low[h] + r * 16);
      const F sum = Simd::to_f32(Simd::add_i(Simd::shift_left<7>(high), low));
      v = h == 0 ? Simd::mul(scale[0], sum) : Simd::fma(scale[h], sum, v);
    }
    for (int h = 0; h < kParts && T::kMin; ++h) {
      const uint8_t* minus_sum = act + offsetof(Q15Block, minus_sum) + 4 * (T::kHalves ? h : 2);
      v = Simd::fma(min[h], Simd::to_f32(Simd::broadcast_i32(minus_sum)), v);
    }
    float* to = acc + r * 16;
    Simd::store(to, Simd::fma(v, Simd::broadcast_f32(act + offsetof(Q15Block, scale)), Simd::load(to)));
  }
}

// Stage<T>::kGroups groups of weight rows times at most sixteen rows; the tiles are configured for so many.
template <class T>
void gemm_q15_groups(const Packed& w, uint64_t g, const uint8_t* act, uint64_t act_bytes, int rows, bool ahead,
                     float* const* out, const float* bias) {
  constexpr int kGroups = Stage<T>::kGroups;
  constexpr uint64_t kAhead = 4096;  // as in gemv_ahead_bf16.cpp
  Stage<T> stage[2][kGroups];
  alignas(64) float acc[kGroups][kMostRows * 16];
  typename T::Head head[kGroups];
  const uint8_t* p = w.group(g);
  const auto open = [&](const uint8_t* block, int i, Stage<T>* to) __attribute__((always_inline)) {
    for (int k = 0; k < kGroups; ++k) {
      const uint8_t* of = block + static_cast<uint64_t>(k) * w.group_bytes;
      if (i == 0) head[k] = T::head(of);
      open_stage<T>(of, head[k], i, &to[k]);
    }
  };
  const auto add = [&](const Stage<T>* from, uint64_t n) __attribute__((always_inline)) {
    for (int k = 0; k < kGroups; ++k) add_stage<T>(from[k], act + n * sizeof(Q15Block), act_bytes, rows, acc[k]);
  };
  for (int k = 0; k < kGroups; ++k) {
    for (int r = 0; r < rows; ++r) Simd::store(acc[k] + r * 16, Simd::zero());
  }
  open(p, 0, stage[0]);
  uint64_t n = 0;  // 32 inputs multiplied so far
  for (uint32_t b = 0; b < w.blocks; ++b, p += w.block_bytes) {
#pragma GCC unroll 8
    for (int i = 0; i < T::kGroups; ++i, ++n) {
      Stage<T>*now = stage[n % 2], *other = stage[(n + 1) % 2];
      if (ahead) {
        const uint64_t step = w.block_bytes / T::kGroups, from = step * static_cast<uint64_t>(i) + kAhead;
        for (int k = 0; k < kGroups; ++k) {
          const uint8_t* of = p + static_cast<uint64_t>(k) * w.group_bytes + from;
          for (uint64_t at = 0; at < step; at += 64) Simd::prefetch(of + at);
        }
      }
      multiply_stage<T>(act + n * sizeof(Q15Block), act_bytes, now);
      if (n != 0) add(other, n - 1);
      if (i + 1 < T::kGroups) {
        open(p, i + 1, other);
      } else if (b + 1 < w.blocks) {
        open(p + w.block_bytes, 0, other);
      }
    }
  }
  add(stage[(n + 1) % 2], n - 1);
  for (int k = 0; k < kGroups; ++k) {
    for (int r = 0; r < rows; ++r) {
      put_group(Simd::load(acc[k] + r * 16), w, g + static_cast<uint64_t>(k), out[r], bias);
    }
  }
}

// The first `rows` rows of groups [g0, g1), a multiple of what goes together.
template <class T>
void gemm_q15(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t rows,
              float* const* out, const float* bias) {
  uint32_t configured = 0;
  for (uint64_t g = g0; g < g1; g += Stage<T>::kGroups) {
    for (uint32_t i = 0; i < rows; i += kMostRows) {
      const uint32_t n = rows - i < kMostRows ? rows - i : kMostRows;
      if (n != configured) _tile_loadconfig(&kConfigs<T::kHalves>.of[n]);
      configured = n;
      gemm_q15_groups<T>(w, g, act + i * act_bytes, act_bytes, static_cast<int>(n), i == 0, out + i, bias);
    }
  }
  _tile_release();
}

}  // namespace

namespace merritt::onednn {

void gemv_q15_amx(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                  float* const* out, const float* bias) {
  const auto few = kernels_vnni_ahead()->gemv_q15;
  (void)with_quant_type(w.type, [&](auto trait) {
    using T = decltype(trait);
    constexpr uint32_t kLeast = T::kHalves ? 12 : 8;  // below, vectors are faster
    const uint32_t rest = m % kMostRows < kLeast ? m % kMostRows : 0, rows = m - rest;
    const uint64_t end = g1 - (g1 - g0) % Stage<T>::kGroups;
    if (rows != 0 && end != g0) gemm_q15<T>(w, g0, end, act, act_bytes, rows, out, bias);
    if (rows != 0 && end != g1) few(w, end, g1, act, act_bytes, rows, out, bias);
    if (rest != 0) few(w, g0, g1, act + rows * act_bytes, act_bytes, rest, out + rows, bias);
  });
}

}  // namespace merritt::onednn
