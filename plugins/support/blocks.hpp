// SPDX-License-Identifier: Apache-2.0
// The weight types a GGUF file may hold (ggml type ids), their block sizes, and a plain scalar way from a row of blocks
// to f32: the definition the fast kernels are tested against.
#pragma once
#include <cstdint>

#include "support/error.hpp"

namespace merritt::plugin {

enum WeightType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kBF16 = 30
};

struct TypeInfo {
  uint32_t type;
  const char* name;
  uint32_t block_elements;
  uint32_t block_bytes;
};

/// Null when the id is not one of the types above.
const TypeInfo* type_info(uint32_t type) noexcept;
/// Bytes of n elements; n must be a multiple of the type's block_elements, the type known.
uint64_t row_bytes(uint32_t type, uint64_t n) noexcept;
/// n elements of a row (n a multiple of the block) as f32.
void dequantise_row(uint32_t type, const void* row, float* out, uint64_t n) noexcept;
/// f32 to one of the KV types: f32, f16, bf16, q8_0 (n a multiple of 32). False for any other type.
bool quantise_row(uint32_t type, const float* in, void* row, uint64_t n) noexcept;

}  // namespace merritt::plugin
