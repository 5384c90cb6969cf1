// SPDX-License-Identifier: Apache-2.0
// Every function walks the 256 elements in order and computes where their bits lie; the sums are in f32, scale first,
// as the format defines them.
#include "support/blocks_k.hpp"

#include <cstring>

#include "support/numbers.hpp"

namespace merritt::plugin {
namespace {

float half_at(const uint8_t* p) noexcept {
  uint16_t h;
  std::memcpy(&h, p, sizeof h);
  return f16_to_f32(h);
}

// 2-bit codes of q2_K and q3_K: each half of 128 elements shares 32 bytes, four elements a byte.
uint32_t two_bits(const uint8_t* q, uint32_t i) noexcept {
  return (static_cast<uint32_t>(q[i / 128 * 32 + i % 32]) >> (i % 128 / 32 * 2)) & 3u;
}

// Scale and minimum of group g (of 8) of q4_K and q5_K: 6 bits each, in 12 bytes.
void scale_and_min(const uint8_t* s, uint32_t g, uint32_t* scale, uint32_t* min) noexcept {
  if (g < 4) {
    *scale = s[g] & 63u;
    *min = s[g + 4] & 63u;
  } else {
    *scale = (s[g + 4] & 15u) | (static_cast<uint32_t>(s[g - 4] >> 6) << 4);
    *min = (static_cast<uint32_t>(s[g + 4]) >> 4) | (static_cast<uint32_t>(s[g] >> 6) << 4);
  }
}

// Scale of group g (of 16) of q3_K: 6 bits, low four in bytes 0..7, high two in bytes 8..11; biased by 32.
int q3_scale(const uint8_t* s, uint32_t g) noexcept {
  const uint32_t low = g < 8 ? s[g] & 15u : static_cast<uint32_t>(s[g - 8]) >> 4;
  const uint32_t high = (static_cast<uint32_t>(s[8 + g % 4]) >> (g / 4 * 2)) & 3u;
  return static_cast<int>(low | (high << 4)) - 32;
}

}  // namespace

void open_q2_k(const uint8_t* block, float* out) noexcept {
  const uint8_t *scales = block, *q = block + 16;
  const float d = half_at(block + 80), dmin = half_at(block + 82);
  for (uint32_t i = 0; i < 256; ++i) {
    const uint8_t s = scales[i / 16];
    out[i] = d * static_cast<float>(s & 15) * static_cast<float>(two_bits(q, i)) - dmin * static_cast<float>(s >> 4);
  }
}

void open_q3_k(const uint8_t* block, float* out) noexcept {
  const uint8_t *high = block, *q = block + 32, *scales = block + 96;
  const float d = half_at(block + 108);
  for (uint32_t i = 0; i < 256; ++i) {
    const bool third = ((high[i % 32] >> (i / 32)) & 1) != 0;
    const int value = static_cast<int>(two_bits(q, i)) - (third ? 0 : 4);
    out[i] = d * static_cast<float>(q3_scale(scales, i / 16)) * static_cast<float>(value);
  }
}

void open_q4_k(const uint8_t* block, float* out) noexcept {
  const float d = half_at(block), dmin = half_at(block + 2);
  const uint8_t *scales = block + 4, *q = block + 16;
  for (uint32_t g = 0; g < 8; ++g) {
    uint32_t s, m;
    scale_and_min(scales, g, &s, &m);
    const float scale = d * static_cast<float>(s), min = dmin * static_cast<float>(m);
    for (uint32_t i = 0; i < 32; ++i) {
      const uint32_t byte = q[g / 2 * 32 + i];
      const uint32_t nibble = g % 2 == 0 ? byte & 15u : byte >> 4;
      out[g * 32 + i] = scale * static_cast<float>(nibble) - min;
    }
  }
}

void open_q5_k(const uint8_t* block, float* out) noexcept {
  const float d = half_at(block), dmin = half_at(block + 2);
  const uint8_t *scales = block + 4, *fifth = block + 16, *q = block + 48;
  for (uint32_t g = 0; g < 8; ++g) {
    uint32_t s, m;
    scale_and_min(scales, g, &s, &m);
    const float scale = d * static_cast<float>(s), min = dmin * static_cast<float>(m);
    for (uint32_t i = 0; i < 32; ++i) {
      const uint32_t byte = q[g / 2 * 32 + i];
      const uint32_t value = (g % 2 == 0 ? byte & 15u : byte >> 4) | (((fifth[i] >> g) & 1u) << 4);
      out[g * 32 + i] = scale * static_cast<float>(value) - min;
    }
  }
}

void open_q6_k(const uint8_t* block, float* out) noexcept {
  const uint8_t *low = block, *high = block + 128, *scales = block + 192;
  const float d = half_at(block + 208);
  for (uint32_t i = 0; i < 256; ++i) {
    const uint32_t half = i / 128, r = i % 128, quarter = r / 32, l = r % 32;
    const uint32_t byte = low[half * 64 + (quarter % 2) * 32 + l];
    const uint32_t nibble = quarter < 2 ? byte & 15u : byte >> 4;
    const uint32_t top = (static_cast<uint32_t>(high[half * 32 + l]) >> (quarter * 2)) & 3u;
    const int value = static_cast<int>(nibble | (top << 4)) - 32;
    out[i] = d * static_cast<float>(static_cast<int8_t>(scales[i / 16])) * static_cast<float>(value);
  }
}

}  // namespace merritt::plugin
