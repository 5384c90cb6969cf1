// SPDX-License-Identifier: Apache-2.0
// The tokenizer on vocabularies made for the purpose: against a plain account of the merging, at its limits, and on
// what files may get wrong.
#include "tokens/tokenizer.hpp"

#include <algorithm>
#include <limits>
#include <random>

#include "base/limits.hpp"
#include "tests/sdk/tokens/small_vocabulary.hpp"

namespace merritt::tokens {
namespace {

using test::ids_of;
using test::SmallVocabulary;
using Ids = std::vector<int32_t>;

// SentencePiece BPE told plainly: of all neighbours that make a piece, the best and leftmost pair is merged, until none
// is left. Of equal pieces the last counts. Blanks are escaped already.
Ids plain_bpe(const Vocabulary& v, std::string_view text) {
  const auto find = [&](std::string_view piece) {
    for (size_t i = v.size(); i-- > 0;) {
      if (v.piece(i) == piece) return static_cast<int32_t>(i);
    }
    return -1;
  };
  std::vector<std::string> symbols;
  for (size_t at = 0; at < text.size(); at += symbols.back().size()) {
    const auto lead = static_cast<uint8_t>(text[at]);
    symbols.emplace_back(text.substr(at, lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4));
  }
  for (;;) {
    size_t best = symbols.size();
    float score = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const int32_t id = find(symbols[i] + symbols[i + 1]);
      if (id < 0 || (best != symbols.size() && v.scores[static_cast<size_t>(id)] <= score)) continue;
      best = i;
      score = v.scores[static_cast<size_t>(id)];
    }
    if (best == symbols.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
  Ids ids;
  for (const std::string& symbol : symbols) {
    const int32_t id = find(symbol);
    if (id >= 0) ids.push_back(id);
    for (size_t i = 0; id < 0 && i < symbol.size(); ++i) {
      const int32_t byte = find(std::string_view(symbol).substr(i, 1));
      ids.push_back(byte >= 0 ? byte : v.unknown);
    }
  }
  return ids;
}

TEST(Tokenizer, RunsAreMergedAsTheWholeTextWouldBe) {
  std::mt19937 random(3);
  const std::string letters[] = {"a", "b", "c", "\u2581", "\u00e9", "\u4e2d", "\xE2", "\xFF", "\x80"};
  const auto word = [&](size_t most) {
    std::string out;
    for (size_t n = 1 + random() % most; n != 0; --n) out += letters[random() % std::size(letters)];
    return out;
  };
  for (int round = 0; round < 200; ++round) {
    SmallVocabulary small;
    small.v.unknown = small.add("<unk>", TokenType::kUnknown);
    for (const std::string& letter : letters) {
      if (random() % 4 != 0) small.add(letter, TokenType::kNormal, -10);
    }
    for (size_t n = random() % 30; n != 0; --n)
      small.add(word(4), TokenType::kNormal, -static_cast<float>(random() % 8));
    const auto tokenizer = small.make();
    for (int i = 0; i < 20; ++i) {
      const std::string text = word(40);
      ASSERT_EQ(ids_of(*tokenizer, text), plain_bpe(small.v, text)) << "round " << round;
    }
  }
}

// Texts longer than the block that is escaped at a time; the cut inside a character or a word changes nothing.
TEST(Tokenizer, LongTextsAreTheirParts) {
  SmallVocabulary small;
  small.v.unknown = small.add("<unk>", TokenType::kUnknown);
  for (const char* piece : {"\u2581", "o", "n", "e", "\u4e2d", "on", "one", "\u2581one"}) {
    small.add(piece, TokenType::kNormal, -static_cast<float>(small.v.size()));
  }
  const auto tokenizer = small.make();
  const Ids once = ids_of(*tokenizer, " one\u4e2d");
  EXPECT_EQ(once.size(), 2u);
  for (const size_t shift : {0u, 1u, 2u, 3u, 4u, 5u, 6u}) {
    std::string text(shift, 'n');
    Ids expected(shift, 3);
    for (int i = 0; i < 30000; ++i) text += " one\u4e2d", expected.insert(expected.end(), once.begin(), once.end());
    EXPECT_EQ(ids_of(*tokenizer, text), expected) << shift;
  }
}

TEST(Tokenizer, RunsAndTokensAreLimited) {
  SmallVocabulary small;
  small.v.unknown = small.add("<unk>", TokenType::kUnknown);
  for (const char* piece : {"a", "b", "\u2581", "\u2581\u2581"}) small.add(piece);
  const auto tokenizer = small.make();
  Ids ids;
  const size_t most = limits::kTextRunBytesMax / 3;
  EXPECT_TRUE(tokenizer->encode(std::string(most, ' '), {}, ids).ok());
  EXPECT_EQ(ids.size(), (most + 1) / 2);
  for (const size_t blanks : {most + 1, size_t{8} << 20}) {
    const Status status = tokenizer->encode(std::string(blanks, ' '), {}, ids);
    ASSERT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find("in a row"), std::string_view::npos) << status.message();
  }
  std::string cut(most * 3 / 2, ' ');  // more blanks, with a letter between them
  cut[most / 2] = 'a';
  EXPECT_TRUE(tokenizer->encode(cut, {}, ids).ok());
  const Status status = tokenizer->encode(std::string(limits::kPromptTokensMax + 2, 'b'), {}, ids);
  ASSERT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("tokens"), std::string_view::npos) << status.message();
}

TEST(Tokenizer, SpecialTokensLongestFirst) {
  SmallVocabulary small;
  const int32_t a = small.add("<a>", TokenType::kControl), ab = small.add("<a><b>", TokenType::kControl);
  const int32_t user = small.add("\n\n", TokenType::kUserDefined),
                longer = small.add("\n\n\n", TokenType::kUserDefined);
  const int32_t x = small.add("x");
  small.add("<");
  const auto tokenizer = small.make();
  EXPECT_EQ(ids_of(*tokenizer, "<a><b>x<a>", true), (Ids{ab, x, a}));
  EXPECT_EQ(ids_of(*tokenizer, "x\n\n\n\n\nx"), (Ids{x, longer, user, x}));
  EXPECT_EQ(ids_of(*tokenizer, "<a", true).front(), x + 1);
  EXPECT_EQ(ids_of(*tokenizer, "<a>").front(), x + 1) << "control tokens are text unless asked for";
}

// Any set of texts against trying them all.
TEST(Tokenizer, SpecialIndexFindsTheLongest) {
  std::mt19937 random(9);
  const auto word = [&](size_t most) {
    std::string out;
    for (size_t n = 1 + random() % most; n != 0; --n)
      out += static_cast<char>(random() % 6 == 0 ? 0xE9 : 'a' + random() % 2);
    return out;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> texts;
    for (size_t n = random() % 40; n != 0; --n) texts.push_back(word(9));
    if (round % 3 == 0) {
      for (size_t n = 1; n < 60; ++n) texts.emplace_back(n, 'a');
    }
    std::vector<SpecialIndex::Entry> entries;
    for (size_t i = 0; i < texts.size(); ++i) entries.push_back({texts[i], static_cast<int32_t>(i)});
    SpecialIndex index;
    index.build(entries);
    for (int i = 0; i < 50; ++i) {
      const std::string text = random() % 2 == 0 ? word(12) : std::string(random() % 70, 'a') + word(3);
      const SpecialIndex::Entry* found = index.longest_prefix_of(text);
      int32_t best = -1;
      for (size_t k = 0; k < texts.size(); ++k) {
        const size_t length = best < 0 ? 0 : texts[static_cast<size_t>(best)].size();
        if (text.starts_with(texts[k]) && texts[k].size() >= length) best = static_cast<int32_t>(k);
      }
      ASSERT_EQ(found == nullptr ? -1 : found->id, best) << text;
    }
  }
}

// As many special tokens with one beginning as make trying them all, at every byte, take hours.
TEST(Tokenizer, ManySpecialTokensOfOneBeginning) {
  SmallVocabulary small;
  small.v.unknown = small.add("<unk>", TokenType::kUnknown);
  const int32_t a = small.add("a");
  for (size_t n = 2; n <= 1000; ++n) small.add(std::string(n, 'a') + "!", TokenType::kControl);
  for (int i = 0; i < 200000; ++i) small.add("a" + std::to_string(1000000 + i), TokenType::kControl);
  const auto tokenizer = small.make();
  std::string text;
  while (text.size() < size_t{1} << 20) text += std::string(999, 'a') + ".";
  const Ids ids = ids_of(*tokenizer, text, true);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), a), std::count(text.begin(), text.end(), 'a'));
}

TEST(Tokenizer, SpecialTokensHaveALimit) {
  for (const TokenType type : {TokenType::kControl, TokenType::kUserDefined, TokenType::kUnknown}) {
    SmallVocabulary small;
    small.add(std::string(1024, 'x'), type);
    EXPECT_TRUE(Tokenizer::create(small.v).ok());
    small.add(std::string(1025, 'x'), type);
    const auto refused = Tokenizer::create(small.v);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.status().code(), Code::kCorrupt);
  }
}

TEST(Tokenizer, OfEqualPiecesTheLastIsFound) {
  SmallVocabulary small;
  small.add("a"), small.add("b"), small.add("ab", TokenType::kNormal, -1);
  const int32_t again = small.add("ab", TokenType::kNormal, -9);
  small.add("<x>", TokenType::kControl);
  const int32_t special = small.add("<x>", TokenType::kControl);
  const auto tokenizer = small.make();
  EXPECT_EQ(ids_of(*tokenizer, "ab"), Ids{again});
  EXPECT_EQ(ids_of(*tokenizer, "<x>", true), Ids{special});
}

TEST(Tokenizer, BytesAreFoundByName) {
  SmallVocabulary typed, named, lower, bare;
  const int32_t first = typed.add_bytes(), normal = named.add_bytes(TokenType::kNormal);
  EXPECT_EQ(ids_of(*typed.make(), "\xE2"), Ids{first + 0xE2});
  EXPECT_EQ(ids_of(*named.make(), "\xE2"), Ids{normal + 0xE2}) << "whatever type the file gives them";
  const int32_t small = lower.add("<0xe2>", TokenType::kByte);
  EXPECT_EQ(ids_of(*lower.make(), "\xE2"), Ids{small});
  bare.v.unknown = bare.add("<unk>", TokenType::kUnknown);
  const int32_t half = bare.add("\xE2");
  EXPECT_EQ(ids_of(*bare.make(), "\u2713"), (Ids{half, bare.v.unknown, bare.v.unknown})) << "or as the byte itself";
  std::string scratch;
  EXPECT_EQ(typed.make()->bytes(first + 0x41, scratch), "A");
  EXPECT_EQ(named.make()->bytes(normal + 0x41, scratch), "<0x41>") << "only its type makes it a byte";
}

TEST(Tokenizer, EndOfGeneration) {
  SmallVocabulary small;
  small.v.eos = small.add("", TokenType::kControl);
  const int32_t turn = small.add("<end_of_turn>", TokenType::kControl), text = small.add("<|im_end|>");
  const auto tokenizer = small.make();
  EXPECT_TRUE(tokenizer->is_eog(small.v.eos)) << "without a text, too";
  EXPECT_TRUE(tokenizer->is_eog(turn));
  EXPECT_FALSE(tokenizer->is_eog(text)) << "no control token";
  EXPECT_EQ(tokenizer->eog_ids().size(), 2u);
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreNothing) {
  SmallVocabulary small;
  small.add("a"), small.add("<s>", TokenType::kControl);
  const auto tokenizer = small.make();
  std::string scratch;
  for (const int32_t id : {-1, 2, 999, INT32_MAX, INT32_MIN}) {
    EXPECT_FALSE(tokenizer->contains(id));
    EXPECT_EQ(tokenizer->piece(id), "");
    EXPECT_EQ(tokenizer->bytes(id, scratch), "");
    EXPECT_FALSE(tokenizer->is_special(id));
    EXPECT_FALSE(tokenizer->is_eog(id));
  }
}

TEST(Tokenizer, VocabulariesThatAreNotWholeAreRefused) {
  const auto refused = [](auto&& spoil) {
    SmallVocabulary small;
    small.add("<s>", TokenType::kControl), small.add("<0x41>", TokenType::kByte), small.add("a");
    spoil(small.v);
    auto tokenizer = Tokenizer::create(small.v);
    EXPECT_FALSE(tokenizer.ok());
    return tokenizer.ok() ? Code::kOk : tokenizer.status().code();
  };
  EXPECT_EQ(refused([](Vocabulary& v) { v.scores.pop_back(); }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.types.push_back(TokenType::kNormal); }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.scores[1] = std::numeric_limits<float>::quiet_NaN(); }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.types[0] = static_cast<TokenType>(0); }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.types[0] = static_cast<TokenType>(7); }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.ends[1] = 0; }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.ends[2] = 9999; }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.eos = 3; }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.bos = -2; }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.types[2] = TokenType::kByte; }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v = Vocabulary(), v.model = "llama"; }), Code::kCorrupt);
  EXPECT_EQ(refused([](Vocabulary& v) { v.model = "gpt2"; }), Code::kUnsupported);
}

}  // namespace
}  // namespace merritt::tokens
