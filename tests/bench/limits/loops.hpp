// SPDX-License-Identifier: Apache-2.0
// What is timed: a pass over memory, and loops over registers that no kernel can beat. One instruction set per file.
#pragma once
#include <cstdint>

namespace merritt::limits {

/// Reads all of [data, data + bytes) through four streams; bytes is a multiple of 1024. Returns something of it.
using ReadLoop = uint64_t (*)(const uint8_t* data, uint64_t bytes) noexcept;

/// Runs `rounds` rounds and returns the operations done; a multiplication with its addition counts as two.
using PeakLoop = uint64_t (*)(uint64_t rounds) noexcept;

uint64_t read_avx2(const uint8_t* data, uint64_t bytes) noexcept;
uint64_t read_avx512(const uint8_t* data, uint64_t bytes) noexcept;

uint64_t f32_fma_avx2(uint64_t rounds) noexcept;
uint64_t f32_fma_avx512(uint64_t rounds) noexcept;
uint64_t int8_vnni(uint64_t rounds) noexcept;
uint64_t bf16_avx512(uint64_t rounds) noexcept;
uint64_t int8_amx(uint64_t rounds) noexcept;
uint64_t bf16_amx(uint64_t rounds) noexcept;

}  // namespace merritt::limits
