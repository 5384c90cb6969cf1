// SPDX-License-Identifier: Apache-2.0
// The weight types as vectors of sixteen rows. For each 32 inputs a type gives eight vectors of unsigned codes (byte
// 4 r + j of vector q is input 4 q + j of row r) and its scale, so that
//   weight = scale * (code - kOffset) - min.
// kHalves: two scales for each 32 inputs, which are small integers times the d (and minima times the dmin) of 256.
// kWide: codes above 127, which u8 x s8 multiply-add may not take without VNNI.
// Include only from ISA files, after a simd header.
#pragma once
#include "onednn/packed.hpp"

namespace {

using merritt::onednn::Packed;
using I = Simd::I;
using F = Simd::F;

MERRITT_INLINE __m128i bytes16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

// Nibbles of four vectors: low ones are inputs 0..15, high ones 16..31.
MERRITT_INLINE void nibbles32(const uint8_t* p, I* c) {
  const I low = Simd::set1_i8(15);
  for (int q = 0; q < 4; ++q) {
    const I v = Simd::load_i(p + 64 * q);
    c[q] = Simd::and_i(v, low);
    c[q + 4] = Simd::and_i(Simd::shift_right<4>(v), low);
  }
}

template <bool Min, bool Fifth, int Offset>
struct Small {  // q4_0, q4_1, q5_0, q5_1
  static constexpr int kGroups = 1, kOffset = Offset;
  static constexpr bool kHalves = false, kMin = Min, kWide = false;
  static constexpr int kMaxCode = Fifth ? 31 : 15;
  static constexpr int kCodes = Min ? 64 : 32;
  struct Head {
    F d, m;
  };
  MERRITT_INLINE Head head(const uint8_t* p) {
    return {Simd::load_f16(p), Min ? Simd::sub(Simd::zero(), Simd::load_f16(p + (Min ? 32 : 0))) : Simd::zero()};
  }
  MERRITT_INLINE void codes(const uint8_t* p, int, I* c) {
    nibbles32(p + kCodes + (Fifth ? 64 : 0), c);
    if constexpr (Fifth) {
      for (int q = 0; q < 8; ++q) c[q] = Simd::or_where(c[q], p + kCodes + 8 * q, 16);
    }
  }
  MERRITT_INLINE F scale(const Head& h, int, int) { return h.d; }
  MERRITT_INLINE F min(const Head& h, int, int) { return h.m; }
};

struct TypeQ8 {
  static constexpr int kGroups = 1, kOffset = 128, kMaxCode = 255;
  static constexpr bool kHalves = false, kMin = false, kWide = true;
  struct Head {
    F d;
  };
  MERRITT_INLINE Head head(const uint8_t* p) { return {Simd::load_f16(p)}; }
  MERRITT_INLINE void codes(const uint8_t* p, int, I* c) {
    for (int q = 0; q < 8; ++q) c[q] = Simd::load_i(p + 32 + 64 * q);
  }
  MERRITT_INLINE F scale(const Head& h, int, int) { return h.d; }
  MERRITT_INLINE F min(const Head& h, int, int) { return h.d; }
};

struct TypeIq4 {
  static constexpr int kGroups = 1, kOffset = 128, kMaxCode = 255;
  static constexpr bool kHalves = false, kMin = false, kWide = true;
  struct Head {
    F d;
  };
  MERRITT_INLINE Head head(const uint8_t* p) { return {Simd::load_f16(p)}; }
  MERRITT_INLINE void codes(const uint8_t* p, int, I* c) {
    // The sixteen levels of the format, biased by 128.
    static constexpr uint8_t kLevels[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};
    nibbles32(p + 32, c);
    for (int q = 0; q < 8; ++q) c[q] = Simd::look_up(kLevels, c[q]);
  }
  MERRITT_INLINE F scale(const Head& h, int, int) { return h.d; }
  MERRITT_INLINE F min(const Head& h, int, int) { return h.d; }
};

// Two bits of sixteen code vectors of a 256-block: group g of 32 inputs lies in half g / 4 at bits 2 (g % 4).
MERRITT_INLINE void two_bits(const uint8_t* p, int g, I* c) {
  const I mask = Simd::set1_i8(3);
  for (int q = 0; q < 8; ++q) {
    const I v = Simd::load_i(p + (g / 4 * 8 + q) * 64);
    switch (g % 4) {
      case 0: c[q] = Simd::and_i(v, mask); break;
      case 1: c[q] = Simd::and_i(Simd::shift_right<2>(v), mask); break;
      case 2: c[q] = Simd::and_i(Simd::shift_right<4>(v), mask); break;
      default: c[q] = Simd::and_i(Simd::shift_right<6>(v), mask); break;
    }
  }
}

// Bit g of eight vectors, moved to bit `To` of the codes.
template <int To>
MERRITT_INLINE I bit_to(I v, int g) {
  const I mask = Simd::set1_i8(1 << To);
  switch (g - To) {
    case -4: return Simd::and_i(Simd::shift_left<4>(v), mask);
    case -3: return Simd::and_i(Simd::shift_left<3>(v), mask);
    case -2: return Simd::and_i(Simd::shift_left<2>(v), mask);
    case -1: return Simd::and_i(Simd::shift_left<1>(v), mask);
    case 0: return Simd::and_i(v, mask);
    case 1: return Simd::and_i(Simd::shift_right<1>(v), mask);
    case 2: return Simd::and_i(Simd::shift_right<2>(v), mask);
    case 3: return Simd::and_i(Simd::shift_right<3>(v), mask);
    case 4: return Simd::and_i(Simd::shift_right<4>(v), mask);
    default: return Simd::and_i(Simd::shift_right<5>(v), mask);
  }
}

struct TypeQ2K {
  static constexpr int kGroups = 8, kOffset = 0, kMaxCode = 3;
  static constexpr bool kHalves = true, kMin = true, kWide = false;
  struct Head {
    F d, dmin;
    const uint8_t* scales;
  };
  MERRITT_INLINE Head head(const uint8_t* p) { return {Simd::load_f16(p), Simd::load_f16(p + 32), p + 64}; }
  MERRITT_INLINE void codes(const uint8_t* p, int g, I* c) { two_bits(p + 320, g, c); }
  MERRITT_INLINE I whole_scale(const Head& h, int g, int half) {
    return Simd::from_u8(_mm_and_si128(bytes16(h.scales + (2 * g + half) * 16), _mm_set1_epi8(15)));
  }
  MERRITT_INLINE I whole_min(const Head& h, int g, int half) {
    const __m128i both = bytes16(h.scales + (2 * g + half) * 16);
    return Simd::from_u8(_mm_and_si128(_mm_srli_epi16(both, 4), _mm_set1_epi8(15)));
  }
  MERRITT_INLINE F scale(const Head& h, int g, int half) {
    return Simd::mul(h.d, Simd::to_f32(whole_scale(h, g, half)));
  }
  MERRITT_INLINE F min(const Head& h, int g, int half) {
    return Simd::mul(h.dmin, Simd::to_f32(whole_min(h, g, half)));
  }
};

struct TypeQ3K {
  static constexpr int kGroups = 8, kOffset = 4, kMaxCode = 7;
  static constexpr bool kHalves = true, kMin = false, kWide = false;
  struct Head {
    F d;
    const uint8_t* scales;
  };
  MERRITT_INLINE Head head(const uint8_t* p) { return {Simd::load_f16(p), p + 32}; }
  MERRITT_INLINE void codes(const uint8_t* p, int g, I* c) {
    I high[8];
    for (int q = 0; q < 8; ++q) high[q] = bit_to<2>(Simd::load_i(p + 224 + 64 * q), g);
    two_bits(p + 736, g, c);
    for (int q = 0; q < 8; ++q) c[q] = Simd::or_i(c[q], high[q]);
  }
  MERRITT_INLINE I whole_scale(const Head& h, int g, int half) {
    const int s = 2 * g + half;  // of sixteen: low four bits in bytes 0..7, high two in bytes 8..11
    __m128i low = bytes16(h.scales + s % 8 * 16);
    if (s >= 8) low = _mm_srli_epi16(low, 4);
    low = _mm_and_si128(low, _mm_set1_epi8(15));
    __m128i high = bytes16(h.scales + (8 + s % 4) * 16);
    switch (s / 4) {
      case 0: break;
      case 1: high = _mm_srli_epi16(high, 2); break;
      case 2: high = _mm_srli_epi16(high, 4); break;
      default: high = _mm_srli_epi16(high, 6); break;
    }
    high = _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4);
    return Simd::from_s8(_mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32)));
  }
  MERRITT_INLINE F scale(const Head& h, int g, int half) {
    return Simd::mul(h.d, Simd::to_f32(whole_scale(h, g, half)));
  }
  MERRITT_INLINE F min(const Head& h, int, int) { return h.d; }
};

template <bool Fifth>
struct Type45K {  // q4_K and q5_K
  static constexpr int kGroups = 8, kOffset = 0, kMaxCode = Fifth ? 31 : 15;
  static constexpr bool kHalves = false, kMin = true, kWide = false;
  struct Head {
    F d, dmin;
    const uint8_t* scales;
  };
  MERRITT_INLINE Head head(const uint8_t* p) { return {Simd::load_f16(p), Simd::load_f16(p + 32), p + 64}; }
  MERRITT_INLINE void codes(const uint8_t* p, int g, I* c) {
    const uint8_t* q4 = p + 256 + (Fifth ? 512 : 0) + g / 2 * 512;
    const I low = Simd::set1_i8(15);
    I fifth[8];
    for (int q = 0; q < 8 && Fifth; ++q) fifth[q] = bit_to<4>(Simd::load_i(p + 256 + 64 * q), g);
    for (int q = 0; q < 8; ++q) {
      const I v = Simd::load_i(q4 + 64 * q);
      c[q] = Simd::and_i(g % 2 == 0 ? v : Simd::shift_right<4>(v), low);
      if constexpr (Fifth) c[q] = Simd::or_i(c[q], fifth[q]);
    }
  }
  MERRITT_INLINE __m128i six_bits(const uint8_t* s, int g, bool is_min) {
    if (g < 4) return _mm_and_si128(bytes16(s + (g + (is_min ? 4 : 0)) * 16), _mm_set1_epi8(63));
    __m128i low = bytes16(s + (g + 4) * 16);
    if (is_min) low = _mm_srli_epi16(low, 4);
    const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes16(s + (is_min ? g : g - 4) * 16), 2), _mm_set1_epi8(48));
    return _mm_or_si128(_mm_and_si128(low, _mm_set1_epi8(15)), high);
  }
  MERRITT_INLINE F scale(const Head& h, int g, int) {
    return Simd::mul(h.d, Simd::to_f32(Simd::from_u8(six_bits(h.scales, g, false))));
  }
  MERRITT_INLINE F min(const Head& h, int g, int) {
    return Simd::mul(h.dmin, Simd::to_f32(Simd::from_u8(six_bits(h.scales, g, true))));
  }
};

struct TypeQ6K {
  static constexpr int kGroups = 8, kOffset = 32, kMaxCode = 63;
  static constexpr bool kHalves = true, kMin = false, kWide = false;
  struct Head {
    F d;
    const uint8_t* scales;
  };
  MERRITT_INLINE Head head(const uint8_t* p) { return {Simd::load_f16(p), p + 32}; }
  MERRITT_INLINE void codes(const uint8_t* p, int g, I* c) {
    const int quarter = g % 4;
    const uint8_t *high = p + 288 + g / 4 * 1536, *low = high + 512;
    const I four = Simd::set1_i8(15), two = Simd::set1_i8(48);
    for (int q = 0; q < 8; ++q) {
      const I v = Simd::load_i(low + (quarter % 2 * 8 + q) * 64);
      I top = Simd::load_i(high + q * 64);  // two bits of each quarter, moved to where they belong
      switch (quarter) {
        case 0: top = Simd::shift_left<4>(top); break;
        case 1: top = Simd::shift_left<2>(top); break;
        case 2: break;
        default: top = Simd::shift_right<2>(top); break;
      }
      c[q] = Simd::or_i(Simd::and_i(quarter < 2 ? v : Simd::shift_right<4>(v), four), Simd::and_i(top, two));
    }
  }
  MERRITT_INLINE I whole_scale(const Head& h, int g, int half) {
    return Simd::from_s8(bytes16(h.scales + (2 * g + half) * 16));
  }
  MERRITT_INLINE F scale(const Head& h, int g, int half) {
    return Simd::mul(h.d, Simd::to_f32(whole_scale(h, g, half)));
  }
  MERRITT_INLINE F min(const Head& h, int, int) { return h.d; }
};

template <uint32_t Type>
struct TypeFloat {  // 32 inputs a block
  static constexpr int kElement = Type == merritt::plugin::kF32 ? 4 : 2;
  MERRITT_INLINE F weight(const uint8_t* p, int k) {
    const uint8_t* at = p + static_cast<int64_t>(k) * 16 * kElement;
    if constexpr (Type == merritt::plugin::kF32) return Simd::load(reinterpret_cast<const float*>(at));
    if constexpr (Type == merritt::plugin::kF16) return Simd::load_f16(at);
    return Simd::load_bf16(at);
  }
};

// Calls fn with the type's trait as a value; false for a type without one.
template <class Fn>
MERRITT_INLINE bool with_quant_type(uint32_t type, Fn&& fn) {
  using namespace merritt::plugin;
  switch (type) {
    case kQ4_0: fn(Small<false, false, 8>{}); return true;
    case kQ4_1: fn(Small<true, false, 0>{}); return true;
    case kQ5_0: fn(Small<false, true, 16>{}); return true;
    case kQ5_1: fn(Small<true, true, 0>{}); return true;
    case kQ8_0: fn(TypeQ8{}); return true;
    case kIQ4_NL: fn(TypeIq4{}); return true;
    case kQ2_K: fn(TypeQ2K{}); return true;
    case kQ3_K: fn(TypeQ3K{}); return true;
    case kQ4_K: fn(Type45K<false>{}); return true;
    case kQ5_K: fn(Type45K<true>{}); return true;
    case kQ6_K: fn(TypeQ6K{}); return true;
    default: return false;
  }
}

// Sixteen results of a product to their columns.
MERRITT_INLINE void put_group(F v, const Packed& w, uint64_t g, float* out, const float* bias) {
  const uint64_t first = g * 16, left = w.rows - first;
  if (left >= 16) {
    if (bias != nullptr) v = Simd::add(v, Simd::load(bias + first));
    Simd::store(out + first, v);
  } else {
    const int n = static_cast<int>(left);
    if (bias != nullptr) v = Simd::add(v, Simd::load_n(bias + first, n));
    Simd::store_n(out + first, v, n);
  }
}

}  // namespace
