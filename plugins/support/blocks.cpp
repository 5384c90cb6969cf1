// SPDX-License-Identifier: Apache-2.0
// The simple types: whole floats, blocks of 32 with one scale, and the non-linear 4-bit blocks.
#include "support/blocks.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "support/blocks_k.hpp"
#include "support/numbers.hpp"

namespace merritt::plugin {
namespace {

constexpr TypeInfo kTypes[] = {
    {kF32, "f32", 1, 4},         {kF16, "f16", 1, 2},       {kQ4_0, "q4_0", 32, 18},   {kQ4_1, "q4_1", 32, 20},
    {kQ5_0, "q5_0", 32, 22},     {kQ5_1, "q5_1", 32, 24},   {kQ8_0, "q8_0", 32, 34},   {kQ2_K, "q2_K", 256, 84},
    {kQ3_K, "q3_K", 256, 110},   {kQ4_K, "q4_K", 256, 144}, {kQ5_K, "q5_K", 256, 176}, {kQ6_K, "q6_K", 256, 210},
    {kIQ4_NL, "iq4_nl", 32, 18}, {kBF16, "bf16", 1, 2},
};

float half_at(const uint8_t* p) noexcept {
  uint16_t h;
  std::memcpy(&h, p, sizeof h);
  return f16_to_f32(h);
}

// q4_0 and q4_1: nibbles; low ones are elements 0..15, high ones 16..31.
void open_q4(const uint8_t* b, bool has_min, float* out) noexcept {
  const float d = half_at(b);
  const float m = has_min ? half_at(b + 2) : 0.0f;
  const uint8_t* q = b + (has_min ? 4 : 2);
  for (int i = 0; i < 16; ++i) {
    const int low = q[i] & 15, high = q[i] >> 4;
    out[i] = has_min ? static_cast<float>(low) * d + m : static_cast<float>(low - 8) * d;
    out[i + 16] = has_min ? static_cast<float>(high) * d + m : static_cast<float>(high - 8) * d;
  }
}

// q5_0 and q5_1: nibbles and a fifth bit of all 32 elements in one word.
void open_q5(const uint8_t* b, bool has_min, float* out) noexcept {
  const float d = half_at(b);
  const float m = has_min ? half_at(b + 2) : 0.0f;
  const uint8_t* p = b + (has_min ? 4 : 2);
  uint32_t fifth;
  std::memcpy(&fifth, p, sizeof fifth);
  const uint8_t* q = p + 4;
  for (uint32_t i = 0; i < 32; ++i) {
    const uint32_t nibble = i < 16 ? q[i] & 15u : static_cast<uint32_t>(q[i - 16]) >> 4;
    const int value = static_cast<int>(nibble | (((fifth >> i) & 1u) << 4));
    out[i] = has_min ? static_cast<float>(value) * d + m : static_cast<float>(value - 16) * d;
  }
}

void open_q8_0(const uint8_t* b, float* out) noexcept {
  const float d = half_at(b);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(b[2 + i])) * d;
}

void open_iq4_nl(const uint8_t* b, float* out) noexcept {
  static constexpr int8_t kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  const float d = half_at(b);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kLevels[b[2 + i] & 15]);
    out[i + 16] = d * static_cast<float>(kLevels[b[2 + i] >> 4]);
  }
}

void open_block(uint32_t type, const uint8_t* b, float* out) noexcept {
  switch (type) {
    case kQ4_0: return open_q4(b, false, out);
    case kQ4_1: return open_q4(b, true, out);
    case kQ5_0: return open_q5(b, false, out);
    case kQ5_1: return open_q5(b, true, out);
    case kQ8_0: return open_q8_0(b, out);
    case kIQ4_NL: return open_iq4_nl(b, out);
    case kQ2_K: return open_q2_k(b, out);
    case kQ3_K: return open_q3_k(b, out);
    case kQ4_K: return open_q4_k(b, out);
    case kQ5_K: return open_q5_k(b, out);
    case kQ6_K: return open_q6_k(b, out);
    default: return;
  }
}

// A value that is no number spoils its whole block: a cache must not turn a fault into plausible numbers.
void close_q8_0(const float* in, uint8_t* b) noexcept {
  float largest = 0.0f;
  bool finite = true;
  for (int i = 0; i < 32; ++i) {
    largest = std::fmax(largest, std::fabs(in[i]));
    finite &= std::isfinite(in[i]);
  }
  const float d = finite ? largest / 127.0f : std::numeric_limits<float>::quiet_NaN();
  const float reciprocal = d != 0.0f ? 1.0f / d : 0.0f;
  const float inverse = std::isfinite(reciprocal) ? reciprocal : 0.0f;  // d may be too small to have one
  const uint16_t h = f32_to_f16(d);
  std::memcpy(b, &h, sizeof h);
  for (int i = 0; i < 32; ++i) {
    const float scaled = finite ? in[i] * inverse : 0.0f;
    const float away = scaled < 0.0f ? scaled - 0.5f : scaled + 0.5f;  // half away from zero
    const int q = away >= 127.0f ? 127 : away <= -127.0f ? -127 : static_cast<int>(away);
    b[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(q));
  }
}

}  // namespace

const TypeInfo* type_info(uint32_t type) noexcept {
  for (const TypeInfo& t : kTypes) {
    if (t.type == type) return &t;
  }
  return nullptr;
}

uint64_t row_bytes(uint32_t type, uint64_t n) noexcept {
  const TypeInfo* t = type_info(type);
  return t == nullptr ? 0 : n / t->block_elements * t->block_bytes;
}

void dequantise_row(uint32_t type, const void* row, float* out, uint64_t n) noexcept {
  const auto* bytes = static_cast<const uint8_t*>(row);
  if (type == kF32) {
    std::memcpy(out, row, n * sizeof(float));
  } else if (type == kF16 || type == kBF16) {
    for (uint64_t i = 0; i < n; ++i) {
      uint16_t h;
      std::memcpy(&h, bytes + 2 * i, sizeof h);
      out[i] = type == kF16 ? f16_to_f32(h) : bf16_to_f32(h);
    }
  } else {
    const TypeInfo* t = type_info(type);
    if (t == nullptr) return;
    for (uint64_t i = 0; i + t->block_elements <= n; i += t->block_elements, bytes += t->block_bytes) {
      open_block(type, bytes, out + i);
    }
  }
}

bool quantise_row(uint32_t type, const float* in, void* row, uint64_t n) noexcept {
  auto* bytes = static_cast<uint8_t*>(row);
  if (type == kF32) {
    std::memcpy(row, in, n * sizeof(float));
  } else if (type == kF16 || type == kBF16) {
    for (uint64_t i = 0; i < n; ++i) {
      const uint16_t h = type == kF16 ? f32_to_f16(in[i]) : f32_to_bf16(in[i]);
      std::memcpy(bytes + 2 * i, &h, sizeof h);
    }
  } else if (type == kQ8_0) {
    for (uint64_t i = 0; i + 32 <= n; i += 32, bytes += 34) close_q8_0(in + i, bytes);
  } else {
    return false;
  }
  return true;
}

}  // namespace merritt::plugin
