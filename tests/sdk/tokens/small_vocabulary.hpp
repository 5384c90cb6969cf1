// SPDX-License-Identifier: Apache-2.0
// Vocabularies by hand for tests of the tokenizer and what follows it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "tokens/tokenizer.hpp"

namespace merritt::tokens::test {

struct SmallVocabulary {
  Vocabulary v;

  SmallVocabulary() {
    v.model = "llama";
    v.add_bos = v.add_space_prefix = false;
  }
  int32_t add(std::string_view piece, TokenType type = TokenType::kNormal, float score = 0) {
    v.text += piece;
    v.ends.push_back(static_cast<uint32_t>(v.text.size()));
    v.scores.push_back(score);
    v.types.push_back(type);
    return static_cast<int32_t>(v.size()) - 1;
  }
  // The tokens <0x00> to <0xFF>; the id of the first.
  int32_t add_bytes(TokenType type = TokenType::kByte) {
    const auto first = static_cast<int32_t>(v.size());
    constexpr char kDigits[] = "0123456789ABCDEF";
    for (uint32_t byte = 0; byte < 256; ++byte) {
      add(std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">", type);
    }
    return first;
  }
  std::unique_ptr<Tokenizer> make() const {
    auto tokenizer = Tokenizer::create(v);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    return std::move(tokenizer).value();
  }
};

inline std::vector<int32_t> ids_of(const Tokenizer& tokenizer, std::string_view text, bool parse_special = false) {
  std::vector<int32_t> ids;
  const Status status = tokenizer.encode(text, {.add_bos_eos = false, .parse_special = parse_special}, ids);
  EXPECT_TRUE(status.ok()) << status.message();
  return ids;
}

}  // namespace merritt::tokens::test
