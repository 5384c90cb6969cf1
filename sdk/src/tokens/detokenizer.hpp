// SPDX-License-Identifier: Apache-2.0
// Tokens to text, as a stream that never breaks a UTF-8 character: an incomplete one is held back until its rest has
// come. Bytes that cannot become a character any more are replaced by U+FFFD. Threads: one at a time.
#pragma once

#include <cstdint>
#include <string>

#include "tokens/tokenizer.hpp"

namespace merritt::tokens {

class Detokenizer {
 public:
  // special: special tokens appear as their text, otherwise they are left out. start_of_text: the blank that
  // SentencePiece puts before a text is taken off the first token again.
  Detokenizer(const Tokenizer& tokenizer, bool special, bool start_of_text = false)
      : tokenizer_(tokenizer), special_(special), strip_blank_(start_of_text && tokenizer.adds_space_prefix()) {}

  void push(int32_t id, std::string& out);
  void flush(std::string& out);  // at the end: what is held back can no longer be completed

 private:
  void emit(std::string& out);

  const Tokenizer& tokenizer_;
  const bool special_;
  bool strip_blank_;
  std::string held_;
  std::string scratch_;
};

}  // namespace merritt::tokens
