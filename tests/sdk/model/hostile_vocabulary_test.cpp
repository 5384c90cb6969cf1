// SPDX-License-Identifier: Apache-2.0
// Model files whose tokenizer is the hostile part: what other readers indexed with, multiplied or believed. Each is
// refused with a typed error before a tokenizer exists, or is harmless.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "model/model_file.hpp"
#include "model/vocabulary.hpp"
#include "tests/support/gguf_writer.hpp"
#include "tests/support/tiny_gguf.hpp"
#include "tokens/tokenizer.hpp"

namespace merritt::model {
namespace {

using testing::GgufWriter;

// A file that is nothing but a vocabulary.
struct VocabularyFile {
  std::vector<std::string> pieces{"<unk>", "<s>", "</s>", "<0x0A>", "a", "b"};
  std::vector<float> scores = std::vector<float>(6, -1.0f);
  std::vector<int32_t> types{2, 3, 3, 6, 1, 1};
  std::string model = "llama";

  GgufWriter writer() const {
    GgufWriter w;
    w.string("tokenizer.ggml.model", model).strings("tokenizer.ggml.tokens", pieces);
    if (!scores.empty()) w.numbers("tokenizer.ggml.scores", GgufWriter::kF32, scores);
    if (!types.empty()) w.numbers("tokenizer.ggml.token_type", GgufWriter::kI32, types);
    return w;
  }
};

Status read_vocabulary(const GgufWriter& writer) {
  MERRITT_TRY(const auto gguf, weights::Gguf::parse(weights::memory_source(writer.finish())));
  MERRITT_TRY(tokens::Vocabulary vocabulary, load_vocabulary(gguf));
  MERRITT_TRY(const auto tokenizer, tokens::Tokenizer::create(std::move(vocabulary)));
  std::string scratch;
  for (size_t id = 0; id < tokenizer->size(); ++id) (void)tokenizer->bytes(static_cast<int32_t>(id), scratch);
  return {};
}

void expect_corrupt(const GgufWriter& writer, std::string_view text) {
  const Status status = read_vocabulary(writer);
  EXPECT_EQ(status.code(), Code::kCorrupt) << status.message();
  EXPECT_NE(status.message().find(text), std::string_view::npos) << status.message();
}

// Class 8: `<0x-1>` read as a number is the index -1 of a table of 256.
TEST(BugClasses, ByteTokensAreTwoHexDigits) {
  ASSERT_TRUE(read_vocabulary(VocabularyFile().writer()).ok());
  for (const char* text : {"<0x-1>", "<0xZZ>", "<0x+1>", "<0x 1>", "<0x1>", "<0x100>", "<0xFFFFFFFF>", "<0x>", "<0x",
                           "0x41", "<0X41>", "<0x41>>", "A", ""}) {
    VocabularyFile file;
    file.pieces[3] = text;
    expect_corrupt(file.writer(), "byte token 3 is not of the form <0x00>");
    file.types[3] = 1;  // as a piece like any other it is harmless
    EXPECT_TRUE(read_vocabulary(file.writer()).ok()) << text;
  }
}

// Class 5: scores read as f32 whatever they are, and as many as there are pieces.
TEST(BugClasses, ScoresAreNumbersOnePerPiece) {
  const auto with = [](uint32_t type, auto values) {
    VocabularyFile file;
    file.scores.clear();
    GgufWriter w = file.writer();
    w.numbers("tokenizer.ggml.scores", type, values);
    return w;
  };
  expect_corrupt(with(GgufWriter::kU8, std::vector<uint8_t>(6)), "array of u8");
  expect_corrupt(with(GgufWriter::kI32, std::vector<int32_t>(6)), "array of i32");
  expect_corrupt(with(GgufWriter::kF32, std::vector<float>(5)), "6 pieces, 5 scores");
  expect_corrupt(with(GgufWriter::kF32, std::vector<float>(7)), "6 pieces, 7 scores");
  expect_corrupt(with(GgufWriter::kF32, std::vector<float>()), "6 pieces, 0 scores");
  EXPECT_TRUE(read_vocabulary(with(GgufWriter::kF64, std::vector<double>(6))).ok());
  VocabularyFile file;
  file.scores.clear();
  GgufWriter text = file.writer(), scalar = file.writer();
  text.string("tokenizer.ggml.scores", "-1 -1 -1");
  expect_corrupt(text, "scores is of type string");
  scalar.f32("tokenizer.ggml.scores", -1);
  expect_corrupt(scalar, "scores is of type f32");
}

TEST(BugClasses, ScoresThatAreNoNumbers) {
  VocabularyFile file;
  file.scores[4] = std::numeric_limits<float>::quiet_NaN();
  expect_corrupt(file.writer(), "the score of piece 4 is NaN");
  file.scores[4] = std::numeric_limits<float>::infinity();  // has an order: harmless
  file.scores[5] = -std::numeric_limits<float>::infinity();
  EXPECT_TRUE(read_vocabulary(file.writer()).ok());
}

TEST(BugClasses, TokenTypes) {
  for (const int32_t type : {0, 7, -1, INT32_MAX, INT32_MIN}) {
    VocabularyFile file;
    file.types[5] = type;
    expect_corrupt(file.writer(), "token_type holds " + std::to_string(type));
  }
  VocabularyFile fewer, more;
  fewer.types.pop_back();
  expect_corrupt(fewer.writer(), "5 types");
  more.types.push_back(1);
  expect_corrupt(more.writer(), "7 types");
  VocabularyFile file;
  file.types.clear();
  GgufWriter reals = file.writer(), wide = file.writer();
  reals.numbers("tokenizer.ggml.token_type", GgufWriter::kF32, std::vector<float>(6, 1.0f));
  expect_corrupt(reals, "array of f32");
  wide.numbers("tokenizer.ggml.token_type", GgufWriter::kU64, std::vector<uint64_t>(6, uint64_t{1} << 40));
  expect_corrupt(wide, "does not fit i32");
}

TEST(BugClasses, IdsOfSpecialTokens) {
  for (const char* key : {"bos", "eos", "eot", "unknown", "padding"}) {
    const std::string name = std::string("tokenizer.ggml.") + key + "_token_id";
    for (const uint32_t id : {6u, 7u, 1000u, 0x7fffffffu}) {
      GgufWriter w = VocabularyFile().writer();
      w.u32(name, id);
      expect_corrupt(w, "there are 6 pieces");
    }
    GgufWriter wide = VocabularyFile().writer(), negative = VocabularyFile().writer(), text = VocabularyFile().writer();
    wide.scalar<uint64_t>(name, GgufWriter::kU64, uint64_t{1} << 33);
    expect_corrupt(wide, "it must be a token id");
    negative.scalar<int32_t>(name, GgufWriter::kI32, -2);
    expect_corrupt(negative, "it must be a token id");
    text.string(name, "2");
    expect_corrupt(text, name);
    for (const uint32_t id : {5u, UINT32_MAX}) {  // the last piece, and the way files write "none"
      GgufWriter w = VocabularyFile().writer();
      w.u32(name, id);
      EXPECT_TRUE(read_vocabulary(w).ok()) << name;
    }
  }
}

TEST(BugClasses, PiecesAreAnArrayOfText) {
  GgufWriter numbers, missing, scalar;
  numbers.string("tokenizer.ggml.model", "llama");
  numbers.numbers("tokenizer.ggml.tokens", GgufWriter::kU32, std::vector<uint32_t>(4));
  expect_corrupt(numbers, "tokens is of type array of u32");
  scalar.string("tokenizer.ggml.model", "llama").string("tokenizer.ggml.tokens", "abc");
  expect_corrupt(scalar, "tokens is of type string");
  missing.string("tokenizer.ggml.model", "llama");
  EXPECT_EQ(read_vocabulary(missing).code(), Code::kNotFound);
  VocabularyFile none;
  none.pieces.clear(), none.scores.clear(), none.types.clear();
  expect_corrupt(none.writer(), "the vocabulary is empty");
  VocabularyFile other;
  other.model = "plamo2";  // an index taken from the text of a piece: a kind of tokenizer that is not built
  EXPECT_EQ(read_vocabulary(other.writer()).code(), Code::kUnsupported);
}

TEST(BugClasses, SpecialTokensAreShort) {
  VocabularyFile file;
  file.pieces[1] = std::string(100000, 'x');
  expect_corrupt(file.writer(), "special token 1 has 100000 bytes");
  file.types[1] = 1;
  EXPECT_TRUE(read_vocabulary(file.writer()).ok());
}

// A vocabulary of another size than the embedding: ids without a piece, or pieces without a row.
TEST(BugClasses, PiecesAndRowsAreEqual) {
  for (const char* architecture : {"llama", "gemma3", "qwen3", "cohere2"}) {
    testing::TinyGguf tiny;
    tiny.architecture = architecture;
    tiny.layers = 1;
    for (const int more : {-32, 0, 32}) {
      GgufWriter w = testing::tiny_gguf_writer(tiny);
      auto whole = open_model(weights::memory_source(w.finish()));
      ASSERT_TRUE(whole.ok()) << whole.status().message();
      // The line of the table for the embedding, with another number of rows; the output is the same tensor.
      const std::string name = "token_embd.weight";
      const auto* text = reinterpret_cast<const std::byte*>(name.data());
      auto at = std::search(w.table.data.begin(), w.table.data.end(), text, text + name.size());
      ASSERT_NE(at, w.table.data.end());
      const auto rows = static_cast<uint64_t>(static_cast<int64_t>(whole->info.vocabulary) + more);
      std::memcpy(&*at + name.size() + 4 + 8, &rows, sizeof rows);
      // Room for the rows at the end of the file, where nothing else is.
      const uint64_t offset = w.contents.data.size();
      std::memcpy(&*at + name.size() + 4 + 16 + 4, &offset, sizeof offset);
      w.contents.data.resize(offset + rows * tiny.width * 4);
      auto file = open_model(weights::memory_source(w.finish()));
      ASSERT_TRUE(file.ok()) << file.status().message();
      auto vocabulary = load_vocabulary(*file);
      EXPECT_EQ(vocabulary.ok(), more == 0);
      if (vocabulary.ok()) continue;
      EXPECT_EQ(vocabulary.status().code(), Code::kCorrupt);
      const std::string said(vocabulary.status().message());
      EXPECT_NE(said.find(std::to_string(whole->info.vocabulary) + " pieces"), std::string::npos) << said;
      EXPECT_NE(said.find(std::to_string(rows) + " rows"), std::string::npos) << said;
    }
  }
}

// A key that asks for other mathematics is refused by name, never passed over.
TEST(BugClasses, AttentionInBothDirections) {
  for (const char* architecture : {"llama", "gemma3", "qwen3", "cohere2"}) {
    testing::TinyGguf tiny;
    tiny.architecture = architecture;
    tiny.layers = 1;
    const std::string key = std::string(architecture) + ".attention.causal";
    GgufWriter yes = testing::tiny_gguf_writer(tiny), no = testing::tiny_gguf_writer(tiny),
               number = testing::tiny_gguf_writer(tiny);
    EXPECT_TRUE(open_model(weights::memory_source(yes.boolean(key, true).finish())).ok());
    const auto both = open_model(weights::memory_source(no.boolean(key, false).finish()));
    ASSERT_FALSE(both.ok());
    EXPECT_EQ(both.status().code(), Code::kUnsupported);
    EXPECT_NE(both.status().message().find(key), std::string_view::npos);
    EXPECT_EQ(open_model(weights::memory_source(number.u32(key, 0).finish())).status().code(), Code::kCorrupt);
  }
}

// A file of a terabyte, all zeros after the bytes given: only its header is read.
class HugeSource final : public weights::Source {
 public:
  explicit HugeSource(std::vector<std::byte> head) : head_(std::move(head)) {}
  uint64_t size() const override { return uint64_t{1} << 40; }
  Status read(uint64_t offset, std::span<std::byte> out) const override {
    for (size_t i = 0; i < out.size(); ++i) out[i] = offset + i < head_.size() ? head_[offset + i] : std::byte{0};
    return {};
  }

 private:
  std::vector<std::byte> head_;
};

// A header of more than 100 MiB is no header, however large the file is.
TEST(BugClasses, HeadersAreAHundredMebibytes) {
  for (const uint32_t type : {GgufWriter::kU8, GgufWriter::kU64, GgufWriter::kString}) {
    GgufWriter w;
    const uint64_t each = type == GgufWriter::kU8 ? 1 : 8;
    w.begin("k", GgufWriter::kArray).put<uint32_t>(type).put<uint64_t>((uint64_t{100} << 20) / each);
    const auto gguf = weights::Gguf::parse(std::make_shared<HugeSource>(w.finish()));
    ASSERT_FALSE(gguf.ok());
    EXPECT_EQ(gguf.status().code(), Code::kCorrupt);
    EXPECT_NE(gguf.status().message().find("there is room for"), std::string_view::npos) << gguf.status().message();
  }
}

}  // namespace
}  // namespace merritt::model
