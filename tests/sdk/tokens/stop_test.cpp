// SPDX-License-Identifier: Apache-2.0
// Stop strings: found wherever the tokens cut them, and nothing of them, or after them, is given out.
#include "tokens/stop.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

namespace merritt::tokens {
namespace {

using Words = std::vector<std::string>;

struct Answer {
  Words given;  // after each push, the flush last
  bool matched = false;

  std::string text() const {
    std::string all;
    for (const std::string& part : given) all += part;
    return all;
  }
};

Answer run(const Words& stops, const Words& parts) {
  StopMatcher matcher(std::make_shared<const StopSet>(stops));
  Answer answer;
  for (const std::string& part : parts) answer.matched = matcher.push(part, answer.given.emplace_back());
  matcher.flush(answer.given.emplace_back());
  return answer;
}

void expect_answer(const Words& stops, const Words& parts, const Words& given, bool matched) {
  const Answer answer = run(stops, parts);
  EXPECT_EQ(answer.given, given);
  EXPECT_EQ(answer.matched, matched);
}

TEST(Stop, NothingToStopAt) {
  expect_answer({}, {"a", "b"}, {"a", "b", ""}, false);
  expect_answer({"", ""}, {"a", "b"}, {"a", "b", ""}, false);
}

TEST(Stop, WithinOneToken) {
  expect_answer({"END"}, {"one END two"}, {"one ", ""}, true);
  expect_answer({"END"}, {"END"}, {"", ""}, true);
  expect_answer({"."}, {"a.b.c"}, {"a", ""}, true);
}

TEST(Stop, AcrossTokens) {
  expect_answer({"END"}, {"one E", "N", "D two"}, {"one ", "", "", ""}, true);
  expect_answer({"\n\n"}, {"a\n", "\nb"}, {"a", "", ""}, true);
  expect_answer({"User:"}, {"Us", "er", " Us", "er", ":"}, {"", "", "User ", "", "", ""}, true);
}

TEST(Stop, AfterAMatchNothingComes) { expect_answer({"x"}, {"ax", "b", "c"}, {"a", "", "", ""}, true); }

TEST(Stop, WhatOnlyLookedLikeOneIsGivenOut) {
  expect_answer({"END"}, {"E", "N", "C", "E"}, {"", "", "ENC", "", "E"}, false);
  expect_answer({"aab"}, {"a", "a", "a", "b"}, {"", "", "a", "", ""}, true);
  expect_answer({"abcabd"}, {"abcab", "cabd"}, {"", "abc", ""}, true);
}

TEST(Stop, TheFirstToBeCompleteCounts) {
  expect_answer({"two", "one"}, {"zero one two"}, {"zero ", ""}, true);
  expect_answer({"abcd", "bc"}, {"abcd"}, {"a", ""}, true);
  expect_answer({"abcd", "bc"}, {"ab", "c", "d"}, {"", "a", "", ""}, true);
  expect_answer({"c", "abc"}, {"xabc"}, {"x", ""}, true);  // together: the longer one
  expect_answer({"abc", "c"}, {"xab", "c"}, {"x", "", ""}, true);
}

TEST(Stop, InsideTextOfSeveralBytesACharacter) {
  expect_answer({"\u4e2d"}, {"\u00e9\u4e2d\u00e9"}, {"\u00e9", ""}, true);
  expect_answer({"\u3002\u4e2d"}, {"\u4e2d\u3002", "\u4e2d"}, {"\u4e2d", "", ""}, true);
  // U+4E2D is E4 B8 AD and U+4E2E E4 B8 AE: two bytes alike are no match, and are not held back as half a character.
  expect_answer({"\u4e2d"}, {"\u4e2e"}, {"\u4e2e", ""}, false);
  expect_answer({"\U0001F600"}, {"\U0001F601", "\U0001F600"}, {"\U0001F601", "", ""}, true);
}

// As many strings, as long and as nearly matching as a request may name. Comparing each with each tail of the text
// takes some ten thousand times as long as this, so the bound is no matter of the machine.
TEST(Stop, ManyLongStringsThatNearlyMatchCostLittle) {
  Words stops;
  for (int i = 0; i < 64; ++i) stops.push_back(std::string(1023, 'e') + static_cast<char>('A' + i % 26));
  const auto began = std::chrono::steady_clock::now();
  StopMatcher matcher(std::make_shared<const StopSet>(stops));
  std::string out;
  for (int i = 0; i < 20'000; ++i) ASSERT_FALSE(matcher.push("e", out));
  EXPECT_EQ(out.size(), 20'000u - 1023);
  EXPECT_TRUE(matcher.push("Z", out));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

// Any text, cut anywhere: the same text comes out, and it is the text before the match that is complete first.
TEST(Stop, HowTheTextIsCutChangesNothing) {
  std::mt19937 random(11);
  const auto word = [&](size_t longest) {
    std::string out;
    for (size_t n = 1 + random() % longest; n != 0; --n) out += static_cast<char>('a' + random() % 2);
    return out;
  };
  size_t matched = 0;
  for (int i = 0; i < 5000; ++i) {
    Words stops;
    for (size_t n = 1 + random() % 3; n != 0; --n) stops.push_back(word(6) + (random() % 2 == 0 ? "c" : ""));
    const std::string text = word(8) + (random() % 2 == 0 ? "c" : "") + word(8) + "c" + word(4);
    size_t end = std::string::npos, start = std::string::npos;
    for (const std::string& stop : stops) {
      const size_t at = text.find(stop);
      if (at == std::string::npos || at + stop.size() > end) continue;
      start = at + stop.size() < end ? at : std::min(start, at);
      end = at + stop.size();
    }
    Words parts;
    for (size_t at = 0; at < text.size();) {
      parts.push_back(text.substr(at, 1 + random() % 4));
      at += parts.back().size();
    }
    const Answer answer = run(stops, parts);
    ASSERT_EQ(answer.matched, end != std::string::npos) << text;
    ASSERT_EQ(answer.text(), text.substr(0, start)) << text;
    matched += answer.matched ? 1 : 0;
  }
  EXPECT_GT(matched, 1000u);
  EXPECT_LT(matched, 4900u);
}

}  // namespace
}  // namespace merritt::tokens
