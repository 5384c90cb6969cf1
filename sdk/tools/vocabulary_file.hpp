// SPDX-License-Identifier: Apache-2.0
//
// The tokenizer of a model file without its weights: quick, and it takes files that carry only a vocabulary. The same
// code as inside the library. A function answers "" or what is wrong.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace merritt::tokens {
class Tokenizer;
}

namespace merritt::tools {

constexpr const char* kVocabularyFix =
    "give a GGUF file with a SentencePiece vocabulary; `merritt inspect FILE` tells what a file holds";

class VocabularyFile {
 public:
  VocabularyFile();
  ~VocabularyFile();
  std::string open(const std::string& path);
  std::string tokenize(std::string_view text, bool raw, bool special, std::vector<int32_t>& out) const;
  std::string detokenize(const std::vector<int32_t>& tokens, bool special, std::string& out) const;

 private:
  std::unique_ptr<tokens::Tokenizer> tokenizer_;
};

}  // namespace merritt::tools
