// SPDX-License-Identifier: Apache-2.0
// Streamed text is valid UTF-8 after every token, and all of it arrives.
#include "tokens/detokenizer.hpp"

#include <random>

#include "tests/sdk/tokens/small_vocabulary.hpp"
#include "tokens/utf8.hpp"

namespace merritt::tokens {
namespace {

using test::SmallVocabulary;

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    if (step.state != Utf8State::kWhole) return false;
    text.remove_prefix(step.bytes);
  }
  return true;
}

// What a decoder with U+FFFD for maximal subparts makes of a text that is complete.
std::string repaired(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    if (step.state == Utf8State::kWhole) {
      out += text.substr(0, step.bytes);
    } else {
      out += kReplacement;
    }
    text.remove_prefix(step.bytes);
  }
  return out;
}

struct Host {
  SmallVocabulary vocabulary;
  int32_t bytes, half, rest, control, hello, blank_hello, blank;
  std::unique_ptr<Tokenizer> tokenizer;

  explicit Host(bool space_prefix = false) {
    vocabulary.v.add_space_prefix = space_prefix;
    bytes = vocabulary.add_bytes();
    half = vocabulary.add("\xC3", TokenType::kControl);
    rest = vocabulary.add("\xA9", TokenType::kControl);
    control = vocabulary.add("<s>", TokenType::kControl);
    hello = vocabulary.add("hello");
    blank_hello = vocabulary.add("\u2581hello");
    blank = vocabulary.add("\u2581");
    tokenizer = vocabulary.make();
  }
  std::vector<int32_t> spelled(std::string_view text) const {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(bytes + static_cast<uint8_t>(c));
    return ids;
  }
  // Every piece of the stream, the flush last; each is checked to be UTF-8 by itself.
  std::vector<std::string> stream(const std::vector<int32_t>& ids, bool special = false, bool start = false) const {
    Detokenizer detokenizer(*tokenizer, special, start);
    std::vector<std::string> out;
    for (const int32_t id : ids) detokenizer.push(id, out.emplace_back());
    detokenizer.flush(out.emplace_back());
    for (const std::string& piece : out) EXPECT_TRUE(is_utf8(piece));
    return out;
  }
  std::string text(const std::vector<int32_t>& ids, bool special = false, bool start = false) const {
    std::string all;
    for (const std::string& piece : stream(ids, special, start)) all += piece;
    return all;
  }
};

using Pieces = std::vector<std::string>;

TEST(Detokenizer, HoldsCharactersBackUntilTheyAreWhole) {
  const Host host;
  EXPECT_EQ(host.stream(host.spelled("\u00e9")), (Pieces{"", "\u00e9", ""}));
  EXPECT_EQ(host.stream(host.spelled("\u4e2d")), (Pieces{"", "", "\u4e2d", ""}));
  EXPECT_EQ(host.stream(host.spelled("\U0001F600")), (Pieces{"", "", "", "\U0001F600", ""}));
  EXPECT_EQ(host.stream(host.spelled("a\u00e9b")), (Pieces{"a", "", "\u00e9", "b", ""}));
}

TEST(Detokenizer, WhatIsLeftAtTheEndIsReplaced) {
  const Host host;
  EXPECT_EQ(host.stream(host.spelled("a\xC3")), (Pieces{"a", "", "\uFFFD"}));
  EXPECT_EQ(host.stream(host.spelled("\xF0\x9F\x98")), (Pieces{"", "", "", "\uFFFD"}));
  EXPECT_EQ(host.stream({}), (Pieces{""}));
}

TEST(Detokenizer, InvalidBytesAreReplacedAsSoonAsTheyAreKnown) {
  const Host host;
  EXPECT_EQ(host.stream(host.spelled("\xFFz")), (Pieces{"\uFFFD", "z", ""}));
  EXPECT_EQ(host.stream(host.spelled("\x80\xC0")), (Pieces{"\uFFFD", "\uFFFD", ""}));
  EXPECT_EQ(host.stream(host.spelled("\xC3z")), (Pieces{"", "\uFFFDz", ""}));
  EXPECT_EQ(host.stream(host.spelled("\xE4\xB8z")), (Pieces{"", "", "\uFFFDz", ""}));
  EXPECT_EQ(host.stream(host.spelled("\xED\xA0\x80")), (Pieces{"", "\uFFFD\uFFFD", "\uFFFD", ""})) << "a surrogate";
  EXPECT_EQ(host.stream(host.spelled("\xF4\x90")), (Pieces{"", "\uFFFD\uFFFD", ""})) << "beyond U+10FFFF";
  EXPECT_EQ(host.stream(host.spelled("\xC3\xC3\xA9")), (Pieces{"", "\uFFFD", "\u00e9", ""}));
}

TEST(Detokenizer, SpecialTokensCannotBreakACharacter) {
  const Host host;
  EXPECT_EQ(host.stream({host.half}, true), (Pieces{"", "\uFFFD"}));
  EXPECT_EQ(host.stream({host.half, host.hello}, true), (Pieces{"", "\uFFFDhello", ""}));
  EXPECT_EQ(host.stream({host.rest}, true), (Pieces{"\uFFFD", ""}));
  EXPECT_EQ(host.stream({host.half, host.control}, true), (Pieces{"", "\uFFFD<s>", ""}));
  EXPECT_EQ(host.text({host.half, host.control, host.rest}, false), "") << "hidden";
}

TEST(Detokenizer, SpecialTokensAreHiddenUnlessAskedFor) {
  const Host host;
  EXPECT_EQ(host.text({host.control, host.hello}), "hello");
  EXPECT_EQ(host.text({host.control, host.hello}, true), "<s>hello");
  std::vector<int32_t> ids = host.spelled("\u4e2d");
  ids.insert(ids.begin() + 1, host.control);
  EXPECT_EQ(host.text(ids), "\u4e2d") << "what is hidden parts nothing";
  EXPECT_EQ(host.text(ids, true), "\uFFFD<s>\uFFFD\uFFFD");
}

TEST(Detokenizer, TheBlankBeforeATextIsTakenOff) {
  const Host prefix(true), plain(false);
  EXPECT_EQ(prefix.text({prefix.control, prefix.blank_hello, prefix.blank_hello}, false, true), "hello hello");
  EXPECT_EQ(prefix.text({prefix.blank, prefix.blank_hello}, false, true), " hello") << "one blank only";
  EXPECT_EQ(prefix.text({prefix.hello, prefix.blank_hello}, false, true), "hello hello");
  EXPECT_EQ(prefix.text({prefix.blank_hello}, false, false), " hello");
  EXPECT_EQ(plain.text({plain.blank_hello}, false, true), " hello") << "the vocabulary puts none there";
  EXPECT_EQ(prefix.text({prefix.control, prefix.blank_hello}, true, true), "<s> hello");
}

TEST(Detokenizer, IdsThatAreNoneSayNothing) {
  const Host host;
  EXPECT_EQ(host.text({-1, host.hello, 999, INT32_MAX, INT32_MIN}, true), "hello");
}

TEST(Detokenizer, RandomBytesAndTokens) {
  const Host host;
  std::mt19937 random(5);
  for (int i = 0; i < 2000; ++i) {
    std::vector<int32_t> ids;
    std::string expected;
    for (uint32_t n = static_cast<uint32_t>(random() % 20); n != 0; --n) {
      const auto id = static_cast<int32_t>(random() % host.tokenizer->size());
      if (host.tokenizer->is_special(id)) continue;
      std::string scratch;
      expected += host.tokenizer->bytes(id, scratch);
      ids.push_back(id);
    }
    ASSERT_EQ(host.text(ids), repaired(expected));
  }
}

}  // namespace
}  // namespace merritt::tokens
