// SPDX-License-Identifier: Apache-2.0
// Attention over one tile of 64 cached tokens. A score is one chain of fused multiply-adds over the dimensions, an
// output one chain over the tokens in order, so neither depends on which queries are computed together. Tiles start at
// absolute multiples of 64; a query that sees nothing of a tile passes it unchanged. Include only from ISA files.
#pragma once
#include <type_traits>

#include "onednn/kernels.hpp"

namespace {

using merritt::onednn::AttentionBlock;
using merritt::onednn::AttentionTile;
using merritt::onednn::kTileTokens;

// Sixteen values of one token, from the sixteen that holds it; `element` counts from the sixteen's first value.
template <uint32_t Type>
MERRITT_INLINE F load_values(const uint8_t* sixteen, uint32_t v_dim, uint64_t element) {
  using namespace merritt::plugin;
  if constexpr (Type == kF32) return Simd::load(reinterpret_cast<const float*>(sixteen) + element);
  if constexpr (Type == kF16) return Simd::load_f16(sixteen + element * 2);
  if constexpr (Type == kBF16) return Simd::load_bf16(sixteen + element * 2);
  const F codes = Simd::to_f32(Simd::from_s8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen + element))));
  return Simd::mul(codes, Simd::half1(sixteen + 16ull * v_dim + element / 32 * 2));
}

// Dimension d of sixteen tokens; J = d modulo 4.
template <uint32_t Type, int J>
MERRITT_INLINE F load_keys(const uint8_t* sixteen, uint32_t d) {
  using namespace merritt::plugin;
  if constexpr (Type == kF32)
    return Simd::load(reinterpret_cast<const float*>(sixteen) + static_cast<uint64_t>(d) * 16);
  if constexpr (Type == kF16) return Simd::load_f16(sixteen + static_cast<uint64_t>(d) * 32);
  if constexpr (Type == kBF16) return Simd::load_bf16(sixteen + static_cast<uint64_t>(d) * 32);
  const uint8_t* block = sixteen + static_cast<uint64_t>(d / 32) * 544;
  I codes = Simd::load_i(block + 32 + static_cast<uint64_t>(d % 32 / 4) * 64);
  if constexpr (J != 3) codes = Simd::template shift_left<24 - 8 * J>(codes);
  return Simd::mul(Simd::to_f32(Simd::template shift_right_signed<24>(codes)), Simd::load_f16(block));
}

// Calls step(integral_constant<J>, d) for d in [0, dim), J = d modulo 4.
template <class Step>
MERRITT_INLINE void key_dims(uint32_t dim, Step&& step) {
  uint32_t d = 0;
  for (; d + 4 <= dim; d += 4) {
    step(std::integral_constant<int, 0>{}, d);
    step(std::integral_constant<int, 1>{}, d + 1);
    step(std::integral_constant<int, 2>{}, d + 2);
    step(std::integral_constant<int, 3>{}, d + 3);
  }
  for (; d < dim; ++d) step(std::integral_constant<int, 0>{}, d);  // q8_0 has none left
}

template <uint32_t Type>
constexpr uint64_t kKvBytes = Type == merritt::plugin::kF32    ? 4
                              : Type == merritt::plugin::kQ8_0 ? 1
                                                               : 2;

// Vectors of keys (or of values) beside Q queries, so that their sums fill the registers and no more.
constexpr uint32_t key_vectors(int queries) {
  const int fit = Simd::kQueryTile * Simd::kKeyVectors / queries;
  return static_cast<uint32_t>(fit < 4 ? fit : 4);
}

// Calls step(integral_constant<Q>, first row) for rows in runs of the largest Q that fit: no row is computed in vain.
template <class Step>
MERRITT_INLINE void query_runs(uint32_t n, Step&& step) {
  uint32_t i = 0;
  if constexpr (Simd::kQueryTile > 4) {
    for (; i + 8 <= n; i += 8) step(std::integral_constant<int, 8>{}, i);
  }
  for (; i + 4 <= n; i += 4) step(std::integral_constant<int, 4>{}, i);
  for (; i + 2 <= n; i += 2) step(std::integral_constant<int, 2>{}, i);
  if (i < n) step(std::integral_constant<int, 1>{}, i);
}

// A tile is read once; what follows it in the plane is the next head's, so asking for it ahead is asking for what
// comes.
inline constexpr uint64_t kAhead = 4096;

// Scores of Q queries by V groups of sixteen tokens.
template <uint32_t Type, int Q, int V>
MERRITT_INLINE void scores_tile(const float* q, uint32_t dim, const uint8_t* const* k, float* s) {
  F acc[Q][V];
  for (int i = 0; i < Q; ++i) {
    for (int v = 0; v < V; ++v) acc[i][v] = Simd::zero();
  }
  key_dims(
      dim, [&](auto j, uint32_t d) __attribute__((always_inline)) {
        F key[V];
        for (int v = 0; v < V; ++v) {
          key[v] = load_keys<Type, j()>(k[v], d);
          if (j() % 2 == 0) Simd::prefetch(k[v] + static_cast<uint64_t>(d) * 16 * kKvBytes<Type> + kAhead);
        }
        for (int i = 0; i < Q; ++i) {
          const F x = Simd::set1(q[static_cast<uint64_t>(i) * dim + d]);
          for (int v = 0; v < V; ++v) acc[i][v] = Simd::fma(x, key[v], acc[i][v]);
        }
      });
  for (int i = 0; i < Q; ++i) {
    for (int v = 0; v < V; ++v) Simd::store(s + i * static_cast<int>(kTileTokens) + v * 16, acc[i][v]);
  }
}

// Groups [g, g1) of sixteen tokens in runs of V, then of V / 2: none is computed in vain.
template <uint32_t Type, int Q, int V>
MERRITT_INLINE void scores_rows(const AttentionBlock& b, const AttentionTile& t, uint32_t i, uint32_t g, uint32_t g1) {
  for (; g + V <= g1; g += V) {
    scores_tile<Type, Q, V>(b.q + static_cast<uint64_t>(i) * b.dim, b.dim, t.k + g,
                            b.scores + static_cast<uint64_t>(i) * kTileTokens + g * 16);
  }
  if constexpr (V > 1) scores_rows<Type, Q, V / 2>(b, t, i, g, g1);
}

// acc[Q][V vectors] += p[Q][tokens] * v[tokens]
template <uint32_t Type, int Q, int V>
MERRITT_INLINE void values_tile(const AttentionBlock& b, const AttentionTile& t, uint32_t i0, uint32_t d0) {
  F acc[Q][V];
  for (int i = 0; i < Q; ++i) {
    for (int v = 0; v < V; ++v) acc[i][v] = Simd::load(b.acc + (i0 + static_cast<uint32_t>(i)) * b.v_dim + d0 + v * 16);
  }
  const float* p = b.scores + static_cast<uint64_t>(i0) * kTileTokens;
  for (uint32_t at = t.begin - t.first; at < t.end - t.first;) {
    const uint32_t group_end = (at / 16 + 1) * 16, end = group_end < t.end - t.first ? group_end : t.end - t.first;
    const uint8_t* group = t.v[at / 16];
    for (; at < end; ++at) {
      const uint64_t element = static_cast<uint64_t>(at % 16) * b.v_dim + d0;
      F value[V];
      for (int v = 0; v < V; ++v) {
        const uint64_t e = element + static_cast<uint64_t>(v) * 16;
        value[v] = load_values<Type>(group, b.v_dim, e);
        if (v % 2 == 0) Simd::prefetch(group + e * kKvBytes<Type> + kAhead);
      }
      for (int i = 0; i < Q; ++i) {
        const F w = Simd::set1(p[static_cast<uint64_t>(i) * kTileTokens + at]);
        for (int v = 0; v < V; ++v) acc[i][v] = Simd::fma(w, value[v], acc[i][v]);
      }
    }
  }
  for (int i = 0; i < Q; ++i) {
    for (int v = 0; v < V; ++v) Simd::store(b.acc + (i0 + static_cast<uint32_t>(i)) * b.v_dim + d0 + v * 16, acc[i][v]);
  }
}

template <uint32_t Type, int Q>
MERRITT_INLINE void values_rows(const AttentionBlock& b, const AttentionTile& t, uint32_t i) {
  constexpr int kV = static_cast<int>(key_vectors(Q));
  uint32_t d = 0;
  for (; d + 16 * kV <= b.v_dim; d += 16 * kV) values_tile<Type, Q, kV>(b, t, i, d);
  for (; d < b.v_dim; d += 16) values_tile<Type, Q, 1>(b, t, i, d);
}

// Softmax weights of one query in place of its scores; the running maximum, sum and output are brought up to date.
MERRITT_INLINE void softmax_row(const AttentionBlock& b, const AttentionTile& t, uint32_t i) {
  float* s = b.scores + static_cast<uint64_t>(i) * kTileTokens;
  const int groups = static_cast<int>(kTileTokens / 16);
  const uint32_t lo = b.lo[i] > t.begin ? b.lo[i] : t.begin, hi = b.hi[i] < t.end ? b.hi[i] : t.end;
  if (lo >= hi) {
    for (int g = 0; g < groups; ++g) Simd::store(s + g * 16, Simd::zero());
    return;
  }
  const int from = static_cast<int>(lo - t.first), to = static_cast<int>(hi - t.first);
  F v[kTileTokens / 16];
  F top = Simd::set1(-__builtin_inff());
  for (int g = 0; g < groups; ++g) {
    v[g] = Simd::load(s + g * 16);
    if (b.softcap != 0.0f) {
      v[g] = Simd::mul(tanh_of(Simd::mul(v[g], Simd::set1(1.0f / b.softcap))), Simd::set1(b.softcap));
    }
    v[g] = Simd::keep_range(v[g], g * 16, from, to, -__builtin_inff());
    top = Simd::max(v[g], top);
  }
  const float old = b.max[i];
  const float largest = Simd::largest(top);
  const float now = largest > old ? largest : old;
  F total = Simd::zero();
  for (int g = 0; g < groups; ++g) {
    F p = exp_of(Simd::sub(v[g], Simd::set1(now)));
    p = Simd::keep_range(p, g * 16, from, to, 0.0f);
    Simd::store(s + g * 16, p);
    total = Simd::add(total, p);
  }
  if (now != old) {
    float one[16];
    Simd::store(one, exp_of(Simd::set1(old - now)));
    const float fade = old == -__builtin_inff() ? 0.0f : one[0];
    b.sum[i] *= fade;
    const F f = Simd::set1(fade);
    float* acc = b.acc + static_cast<uint64_t>(i) * b.v_dim;
    for (uint32_t d = 0; d < b.v_dim; d += 16) Simd::store(acc + d, Simd::mul(Simd::load(acc + d), f));
  }
  b.max[i] = now;
  b.sum[i] += Simd::sum(total);
}

template <uint32_t Type>
void attend_typed(const AttentionBlock& b, const AttentionTile& t) {
  const uint32_t g0 = (t.begin - t.first) / 16, g1 = (t.end - t.first + 15) / 16;
  query_runs(
      b.n, [&](auto q, uint32_t i) __attribute__((always_inline)) {
        scores_rows<Type, q(), static_cast<int>(key_vectors(q()))>(b, t, i, g0, g1);
      });
  for (uint32_t i = 0; i < b.n; ++i) softmax_row(b, t, i);
  query_runs(
      b.n, [&](auto q, uint32_t i) __attribute__((always_inline)) { values_rows<Type, q()>(b, t, i); });
}

inline void attend(const AttentionBlock& b, const AttentionTile& t, uint32_t type) {
  using namespace merritt::plugin;
  if (type == kF16) {
    attend_typed<kF16>(b, t);
  } else if (type == kBF16) {
    attend_typed<kBF16>(b, t);
  } else if (type == kQ8_0) {
    attend_typed<kQ8_0>(b, t);
  } else {
    attend_typed<kF32>(b, t);
  }
}

// Sixteen values at a time through a small buffer; the strided form is K, whose layout has the tokens side by side.
inline void store_kv(const float* x, uint32_t n, uint32_t type, uint8_t* to, uint32_t stride) {
  using namespace merritt::plugin;
  const uint32_t size = type == kF32 ? 4 : 2;
  for (uint32_t i = 0; i < n; i += 16) {
    const uint32_t count = n - i < 16 ? n - i : 16;
    const F v = count == 16 ? Simd::load(x + i) : Simd::load_n(x + i, static_cast<int>(count));
    alignas(64) uint8_t piece[64];
    if (type == kF16) {
      Simd::store_f16(piece, v);
    } else if (type == kBF16) {
      Simd::store_bf16(piece, v);
    } else {
      Simd::store(reinterpret_cast<float*>(piece), v);
    }
    if (stride == 1) {
      std::memcpy(to + static_cast<uint64_t>(i) * size, piece, static_cast<uint64_t>(count) * size);
    } else if (size == 2) {
      for (uint32_t j = 0; j < count; ++j)
        std::memcpy(to + static_cast<uint64_t>(i + j) * stride * 2, piece + 2 * j, 2);
    } else {
      for (uint32_t j = 0; j < count; ++j)
        std::memcpy(to + static_cast<uint64_t>(i + j) * stride * 4, piece + 4 * j, 4);
    }
  }
}

inline void attend_start(const AttentionBlock& b) {
  for (uint32_t i = 0; i < b.n; ++i) {
    b.max[i] = -__builtin_inff();
    b.sum[i] = 0.0f;
    for (uint32_t d = 0; d < b.v_dim; d += 16)
      Simd::store(b.acc + static_cast<uint64_t>(i) * b.v_dim + d, Simd::zero());
  }
}

inline void attend_merge(const AttentionBlock& b, const AttentionBlock& from) {
  for (uint32_t i = 0; i < b.n; ++i) {
    if (from.sum[i] == 0.0f) continue;  // saw nothing
    float* acc = b.acc + static_cast<uint64_t>(i) * b.v_dim;
    const float* add = from.acc + static_cast<uint64_t>(i) * b.v_dim;
    if (b.sum[i] == 0.0f) {
      b.max[i] = from.max[i];
      b.sum[i] = from.sum[i];
      for (uint32_t d = 0; d < b.v_dim; d += 16) Simd::store(acc + d, Simd::load(add + d));
      continue;
    }
    const float top = from.max[i] > b.max[i] ? from.max[i] : b.max[i];
    const F mine = exp_of(Simd::set1(b.max[i] - top)), theirs = exp_of(Simd::set1(from.max[i] - top));
    float weights[32];
    Simd::store(weights, mine);
    Simd::store(weights + 16, theirs);
    b.max[i] = top;
    b.sum[i] = b.sum[i] * weights[0] + from.sum[i] * weights[16];
    for (uint32_t d = 0; d < b.v_dim; d += 16) {
      Simd::store(acc + d, Simd::fma(Simd::load(add + d), theirs, Simd::mul(Simd::load(acc + d), mine)));
    }
  }
}

inline void attend_finish(const AttentionBlock& b) {
  for (uint32_t i = 0; i < b.n; ++i) {
    const F inverse = Simd::set1(1.0f / b.sum[i]);
    float* acc = b.acc + static_cast<uint64_t>(i) * b.v_dim;
    for (uint32_t d = 0; d < b.v_dim; d += 16) Simd::store(acc + d, Simd::mul(Simd::load(acc + d), inverse));
  }
}

}  // namespace
