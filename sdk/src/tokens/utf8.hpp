// SPDX-License-Identifier: Apache-2.0
// One character of UTF-8 at a time (RFC 3629; maximal subparts of ill-formed sequences as in Unicode 15, section 3.9).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace merritt::tokens {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8State { kWhole, kIncomplete, kInvalid };
struct Utf8Step {
  Utf8State state;
  size_t bytes;  // of the character, or of the ill-formed part to replace
};

// text is not empty.
inline Utf8Step utf8_step(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {Utf8State::kWhole, 1};
  size_t length = 0;
  uint8_t low = 0x80, high = 0xBF;  // of the second byte
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {Utf8State::kInvalid, 1};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8State::kIncomplete, i};
    const uint8_t least = i == 1 ? low : 0x80, most = i == 1 ? high : 0xBF;
    if (byte(i) < least || byte(i) > most) return {Utf8State::kInvalid, i};
  }
  return {Utf8State::kWhole, length};
}

}  // namespace merritt::tokens
