// SPDX-License-Identifier: Apache-2.0
// A vocabulary as plain data: pieces, scores, types and the ids with a meaning. Checked by Tokenizer::create.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace merritt::tokens {

// The numbers of tokenizer.ggml.token_type.
enum class TokenType : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Vocabulary {
  std::string model;             // "llama" = SentencePiece BPE, the kind served here
  std::string text;              // all pieces, one after another
  std::vector<uint32_t> ends;    // where each piece ends in text
  std::vector<float> scores;     // as many as pieces
  std::vector<TokenType> types;  // as many as pieces
  int32_t bos = -1, eos = -1, eot = -1, unknown = -1, padding = -1;
  bool add_bos = true, add_eos = false, add_space_prefix = true;
  std::string chat_template;  // empty = the file has none

  size_t size() const { return ends.size(); }
  std::string_view piece(size_t id) const {
    const size_t first = id == 0 ? 0 : ends[id - 1];
    return std::string_view(text).substr(first, ends[id] - first);
  }
};

}  // namespace merritt::tokens
