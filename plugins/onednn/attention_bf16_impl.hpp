// SPDX-License-Identifier: Apache-2.0
// Attention of PROMPT rows around the library's bf16 products: keys and values as its panels, and softmax between the
// two. Include only from ISA files with AVX512_BF16.
#pragma once
#include "onednn/kernels.hpp"

namespace {

using merritt::onednn::PromptScores;
inline constexpr uint32_t kPanelTokens = 64;

// Four sixteens of [dim][16 tokens] as [padded / 2][64 tokens][2]; dimensions past dim are zeros.
template <uint32_t Type>
void pack_keys_typed(const uint8_t* const* k, uint32_t dim, uint32_t padded, uint16_t* panel) {
  for (uint32_t d = 0; d < padded; d += 2) {
    for (uint32_t g = 0; g < 4; ++g) {
      F even = Simd::zero(), odd = Simd::zero();
      if (d % 4 == 0) {
        if (d < dim) even = load_keys<Type, 0>(k[g], d);
        if (d + 1 < dim) odd = load_keys<Type, 1>(k[g], d + 1);
      } else {
        if (d < dim) even = load_keys<Type, 2>(k[g], d);
        if (d + 1 < dim) odd = load_keys<Type, 3>(k[g], d + 1);
      }
      Simd::store_bf16_pair(panel + static_cast<uint64_t>(d) * kPanelTokens + static_cast<uint64_t>(g) * 32, even, odd);
    }
  }
}

inline void pack_keys(const uint8_t* const* k, uint32_t type, uint32_t dim, uint32_t padded, uint16_t* panel) {
  using namespace merritt::plugin;
  if (type == kF16) return pack_keys_typed<kF16>(k, dim, padded, panel);
  if (type == kBF16) return pack_keys_typed<kBF16>(k, dim, padded, panel);
  if (type == kQ8_0) return pack_keys_typed<kQ8_0>(k, dim, padded, panel);
  pack_keys_typed<kF32>(k, dim, padded, panel);
}

// Columns [column, column + 64) of n tokens as [n / 2][64][2]. Tokens outside [begin, end) and columns past v_dim are
// zeros: what lies there may be anything, and no weight of zero makes a not-a-number vanish.
template <uint32_t Type>
void pack_values_typed(const uint8_t* const* v, uint32_t begin, uint32_t end, uint32_t n, uint32_t v_dim,
                       uint32_t column, uint16_t* panel) {
  for (uint32_t t = 0; t < n; t += 2) {
    for (uint32_t c = 0; c < kPanelTokens; c += 16) {
      F pair[2];
      for (uint32_t i = 0; i < 2; ++i) {
        const bool there = t + i >= begin && t + i < end && column + c < v_dim;
        const uint64_t element = static_cast<uint64_t>((t + i) % 16) * v_dim + column + c;
        pair[i] = there ? load_values<Type>(v[(t + i) / 16], v_dim, element) : Simd::zero();
      }
      Simd::store_bf16_pair(panel + static_cast<uint64_t>(t) * kPanelTokens + static_cast<uint64_t>(c) * 2, pair[0],
                            pair[1]);
    }
  }
}

inline void pack_values(const uint8_t* const* v, uint32_t type, uint32_t begin, uint32_t end, uint32_t n,
                        uint32_t v_dim, uint32_t column, uint16_t* panel) {
  using namespace merritt::plugin;
  if (type == kF16) return pack_values_typed<kF16>(v, begin, end, n, v_dim, column, panel);
  if (type == kBF16) return pack_values_typed<kBF16>(v, begin, end, n, v_dim, column, panel);
  if (type == kQ8_0) return pack_values_typed<kQ8_0>(v, begin, end, n, v_dim, column, panel);
  pack_values_typed<kF32>(v, begin, end, n, v_dim, column, panel);
}

// 2^x within 7e-6, which is far below what rounding to bf16 costs; exactly 1 at 0.
MERRITT_INLINE F exp2_of(F x) {
  const F n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const F f = Simd::sub(x, n);
  F y = Simd::fma(f, Simd::set1(9.65671029e-3f), Simd::set1(5.58382829e-2f));
  y = Simd::fma(y, f, Simd::set1(2.40225301e-1f));
  y = Simd::fma(y, f, Simd::set1(6.93136734e-1f));
  return _mm512_scalef_ps(Simd::fma(y, f, Simd::set1(1.0f)), n);
}

// Bits [lo, hi) of a panel's 64 columns.
MERRITT_INLINE uint64_t visible_columns(uint32_t lo, uint32_t hi, uint32_t panel) {
  const uint32_t base = panel * kPanelTokens;
  const uint32_t from = lo > base ? lo - base : 0, to = hi > base ? hi - base : 0;
  if (from >= kPanelTokens || to == 0) return 0;
  const uint64_t below = to >= kPanelTokens ? ~0ull : (1ull << to) - 1;
  return below & (~0ull << from);
}

MERRITT_INLINE void fade_row(const PromptScores& s, uint32_t row, float old, float now) {
  const F fade = exp2_of(Simd::set1(old - now));
  s.sum[row] *= _mm512_cvtss_f32(fade);
  for (uint32_t p = 0; p < s.acc_panels; ++p) {
    float* acc = s.acc + p * s.acc_stride + static_cast<uint64_t>(row) * kPanelTokens;
    for (uint32_t c = 0; c < kPanelTokens; c += 16) Simd::store(acc + c, Simd::mul(Simd::load(acc + c), fade));
  }
}

// The weights of one row over N panels, its scores held in registers.
template <int N>
MERRITT_INLINE void soften_row(const PromptScores& s, uint32_t row) {
  const uint32_t lo = s.lo[row] > s.first ? s.lo[row] - s.first : 0, hi = s.hi[row] - s.first;
  uint64_t seen[N];
  for (int p = 0; p < N; ++p) seen[p] = visible_columns(lo, hi, static_cast<uint32_t>(p));
  F v[N * 4];
  F top = Simd::set1(-__builtin_inff());
  for (int p = 0; p < N; ++p) {
    const float* from = s.scores + static_cast<uint64_t>(p) * kPanelTokens * kPanelTokens + row * kPanelTokens;
    for (int c = 0; c < 4; ++c) {
      F x = Simd::load(from + c * 16);
      if (s.softcap != 0.0f) x = Simd::mul(tanh_of(Simd::mul(x, Simd::set1(1.0f / s.softcap))), Simd::set1(s.softcap));
      v[p * 4 + c] = x;
      top = _mm512_mask_max_ps(top, static_cast<__mmask16>(seen[p] >> (16 * c)), x, top);
    }
  }
  const float old = s.max[row], largest = Simd::largest(top), now = largest > old ? largest : old;
  if (now != old && old != -__builtin_inff()) fade_row(s, row, old, now);
  s.max[row] = now;
  F total = Simd::zero();
  uint16_t* to = s.weights + static_cast<uint64_t>(row) * merritt::onednn::kPromptTile;
  for (int p = 0; p < N; ++p) {
    for (int c = 0; c < 4; c += 2) {
      F w[2];
      for (int i = 0; i < 2; ++i) {
        const auto mask = static_cast<__mmask16>(seen[p] >> (16 * (c + i)));
        w[i] = _mm512_maskz_mov_ps(mask, exp2_of(Simd::sub(v[p * 4 + c + i], Simd::set1(now))));
        total = Simd::add(total, w[i]);
      }
      const __m512bh both = _mm512_cvtne2ps_pbh(w[1], w[0]);
      std::memcpy(to + p * 64 + c * 16, &both, 64);
    }
  }
  s.sum[row] += Simd::sum(total);
}

inline void soften(const PromptScores& s) {
  for (uint32_t row = 0; row < s.rows; ++row) {
    if (s.panels == 4) {
      soften_row<4>(s, row);
    } else if (s.panels == 2) {
      soften_row<2>(s, row);
    } else {
      soften_row<1>(s, row);
    }
  }
}

}  // namespace
