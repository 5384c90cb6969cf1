// SPDX-License-Identifier: Apache-2.0
// The "K" blocks: 256 elements, small integer scales for groups of 16 or 32, one or two half scales for the block.
#pragma once
#include <cstdint>

namespace merritt::plugin {

void open_q2_k(const uint8_t* block, float* out) noexcept;
void open_q3_k(const uint8_t* block, float* out) noexcept;
void open_q4_k(const uint8_t* block, float* out) noexcept;
void open_q5_k(const uint8_t* block, float* out) noexcept;
void open_q6_k(const uint8_t* block, float* out) noexcept;

}  // namespace merritt::plugin
