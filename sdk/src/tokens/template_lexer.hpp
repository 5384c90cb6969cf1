// SPDX-License-Identifier: Apache-2.0
// Cuts a template into text, tags and the tokens inside tags, with Jinja's rules for blanks around tags (trim_blocks
// and lstrip_blocks on, as transformers sets them).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"

namespace merritt::tokens {

enum class LexKind : uint8_t {
  kText,
  kPrintBegin,
  kPrintEnd,
  kTagBegin,
  kTagEnd,
  kName,
  kString,
  kInt,
  kFloat,
  kPunct,
  kEnd
};

struct Lexeme {
  LexKind kind;
  uint32_t line;
  std::string text;  // text, name, string without quotes and escapes, digits, or punctuation
};

// kUnsupported names what the subset lacks and its line; kCorrupt says where the source is not a template at all.
Result<std::vector<Lexeme>> lex_template(std::string_view source);

}  // namespace merritt::tokens
