// SPDX-License-Identifier: Apache-2.0
// Token ids against llama.cpp's published vectors for the Llama 2 vocabulary: exact on all of them, and back to the
// text.
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "model/vocabulary.hpp"
#include "model/weights/gguf.hpp"
#include "model/weights/source.hpp"
#include "tests/support/places.hpp"
#include "tests/support/read_file.hpp"
#include "tokens/detokenizer.hpp"
#include "tokens/tokenizer.hpp"

namespace merritt::tokens {
namespace {

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& path) {
  auto source = model::weights::open_file_source(path);
  if (!source.ok()) return nullptr;
  auto gguf = model::weights::Gguf::parse(*source);
  EXPECT_TRUE(gguf.ok()) << gguf.status().message();
  if (!gguf.ok()) return nullptr;
  auto vocabulary = model::load_vocabulary(*gguf);
  EXPECT_TRUE(vocabulary.ok()) << vocabulary.status().message();
  if (!vocabulary.ok()) return nullptr;
  auto tokenizer = Tokenizer::create(std::move(vocabulary).value());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

TEST(LlamaVectors, IdsAreExactOnAllOfThem) {
  const std::string path = merritt::test::source_dir() + "/../shared/data/vocab/ggml-vocab-llama-spm.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
  const auto tokenizer = open_tokenizer(path);
  ASSERT_NE(tokenizer, nullptr);
  const std::string inputs = merritt::test::read_file(path + ".inp"), outputs = merritt::test::read_file(path + ".out");
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::istringstream lines(outputs);
  size_t at = 0, cases = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const size_t end = inputs.find(separator, at);
    ASSERT_NE(end, std::string::npos) << "there are more answers than questions";
    const std::string text = inputs.substr(at, end - at);
    at = end + separator.size();
    std::istringstream numbers(line);
    std::vector<int32_t> expected, ids;
    for (int32_t id = 0; numbers >> id;) expected.push_back(id);
    ASSERT_TRUE(tokenizer->encode(text, {.add_bos_eos = false, .parse_special = false}, ids).ok());
    EXPECT_EQ(ids, expected) << "case " << cases << ": " << text;
    Detokenizer detokenizer(*tokenizer, true, /*start_of_text=*/true);
    std::string back;
    for (const int32_t id : ids) detokenizer.push(id, back);
    detokenizer.flush(back);
    EXPECT_EQ(back, text) << "case " << cases;
  }
  EXPECT_EQ(at, inputs.size()) << "there are more questions than answers";
  EXPECT_GE(cases, 40u);
}

}  // namespace
}  // namespace merritt::tokens
