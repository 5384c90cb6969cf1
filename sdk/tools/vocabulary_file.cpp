// SPDX-License-Identifier: Apache-2.0
#include "vocabulary_file.hpp"

#include "model/vocabulary.hpp"
#include "model/weights/gguf.hpp"
#include "tokens/detokenizer.hpp"
#include "tokens/tokenizer.hpp"

namespace merritt::tools {
namespace {

Result<std::unique_ptr<tokens::Tokenizer>> read_tokenizer(const std::string& path) {
  MERRITT_TRY(auto source, model::weights::open_file_source(path));
  MERRITT_TRY(const model::weights::Gguf gguf, model::weights::Gguf::parse(std::move(source)));
  MERRITT_TRY(tokens::Vocabulary vocabulary, model::load_vocabulary(gguf));
  return tokens::Tokenizer::create(std::move(vocabulary));
}

}  // namespace

VocabularyFile::VocabularyFile() = default;
VocabularyFile::~VocabularyFile() = default;

std::string VocabularyFile::open(const std::string& path) {
  auto read = read_tokenizer(path);
  if (!read.ok()) return std::string(read.status().message());
  tokenizer_ = std::move(read).value();
  return "";
}

std::string VocabularyFile::tokenize(std::string_view text, bool raw, bool special, std::vector<int32_t>& out) const {
  const Status done = tokenizer_->encode(text, {.add_bos_eos = !raw, .parse_special = special}, out);
  return done.ok() ? "" : std::string(done.message());
}

std::string VocabularyFile::detokenize(const std::vector<int32_t>& tokens, bool special, std::string& out) const {
  for (const int32_t token : tokens) {
    if (token < 0 || static_cast<size_t>(token) >= tokenizer_->size()) {
      return "token " + std::to_string(token) + " is not in the vocabulary; its ids are below " +
             std::to_string(tokenizer_->size());
    }
  }
  tokens::Detokenizer detokenizer(*tokenizer_, special, /*start_of_text=*/true);
  for (const int32_t token : tokens) detokenizer.push(token, out);
  detokenizer.flush(out);
  return "";
}

}  // namespace merritt::tools
