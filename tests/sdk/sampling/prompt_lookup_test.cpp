// SPDX-License-Identifier: Apache-2.0
#include "sampling/prompt_lookup.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace merritt::sampling {
namespace {

using Ids = std::vector<int32_t>;

Ids counting(int32_t first, uint32_t n) {
  Ids ids(n);
  for (uint32_t i = 0; i < n; ++i) ids[i] = first + static_cast<int32_t>(i);
  return ids;
}

void append_all(PromptLookup& lookup, const Ids& ids) {
  for (const int32_t id : ids) lookup.append(id);
}

Ids draft_of(const PromptLookup& lookup, uint32_t most) {
  Ids out(most);
  out.resize(lookup.draft(out));
  return out;
}

struct Decoded {
  uint32_t steps = 0, drafted = 0, accepted = 0;
};

// Decodes `output` behind `prompt` as the engine does: a step takes what of the draft is right, and one token more.
Decoded decode(const Ids& prompt, const Ids& output, uint32_t most) {
  PromptLookup lookup(static_cast<uint32_t>(prompt.size() + output.size()));
  append_all(lookup, prompt);
  Decoded decoded;
  for (size_t at = 0; at < output.size(); ++decoded.steps) {
    const size_t left = output.size() - at - 1;
    const Ids draft = draft_of(lookup, static_cast<uint32_t>(std::min<size_t>(most, left)));
    uint32_t right = 0;
    while (right < draft.size() && draft[right] == output[at + right]) ++right;
    decoded.drafted += static_cast<uint32_t>(draft.size());
    decoded.accepted += right;
    for (uint32_t i = 0; i <= right; ++i) lookup.append(output[at + i]);
    at += right + 1;
    lookup.learn(static_cast<uint32_t>(draft.size()), right);
  }
  return decoded;
}

TEST(PromptLookup, GuessesNothingInATextWithoutRepetition) {
  PromptLookup lookup(100);
  EXPECT_TRUE(draft_of(lookup, 8).empty());
  for (const int32_t id : counting(0, 100)) {
    lookup.append(id);
    EXPECT_TRUE(draft_of(lookup, 8).empty());
  }
}

TEST(PromptLookup, GuessesWhatFollowedTheLastTime) {
  PromptLookup lookup(64);
  append_all(lookup, {1, 2, 3, 4, 5, 1, 2, 3, 7, 8, 9, 1, 2});
  EXPECT_EQ(draft_of(lookup, 2), (Ids{3, 7}));  // two tokens match, the latest place counts
  lookup.append(3);
  EXPECT_EQ(draft_of(lookup, 8), (Ids{7, 8, 9}));  // as many as match
  lookup.append(4);                                // the longer match is the older one
  EXPECT_EQ(draft_of(lookup, 1), (Ids{5}));
  EXPECT_TRUE(draft_of(lookup, 0).empty());
}

TEST(PromptLookup, FollowsALoopBeyondItsOwnEnd) {
  PromptLookup lookup(64);
  append_all(lookup, {5, 6, 5, 6, 5, 6, 5, 6});
  EXPECT_EQ(draft_of(lookup, 6), (Ids{5, 6, 5, 6, 5, 6}));
  append_all(lookup, Ids(9, 7));
  EXPECT_EQ(draft_of(lookup, 5), Ids(5, 7));
}

TEST(PromptLookup, LearnsHowLongAMatchMustBe) {
  PromptLookup lookup(256);
  append_all(lookup, counting(0, 50));
  append_all(lookup, counting(0, 4));
  EXPECT_EQ(draft_of(lookup, 64).size(), 4u);
  lookup.learn(4, 4);
  EXPECT_EQ(draft_of(lookup, 64).size(), 8u);  // right: twice as much on the same match
  lookup.learn(8, 5);
  EXPECT_EQ(draft_of(lookup, 64).size(), 8u);  // right for the greater part: worth it
  for (int i = 0; i < 2; ++i) lookup.learn(8, 1);
  EXPECT_EQ(draft_of(lookup, 64).size(), 2u);
  lookup.learn(2, 0);
  EXPECT_TRUE(draft_of(lookup, 64).empty());  // now a match of four is too short
  append_all(lookup, counting(4, 4));
  EXPECT_EQ(draft_of(lookup, 64), (Ids{8, 9}));  // it went on without us: eight are enough
}

TEST(PromptLookup, CopiesATextInFewSteps) {
  const Ids text = counting(100, 400);
  const Decoded decoded = decode(text, text, 16);
  EXPECT_LT(decoded.steps, 400u / 16 + 10);
  EXPECT_EQ(decoded.drafted, decoded.accepted);
}

// A changed word, one left out and one put in: the copy goes on behind each of them, one token sooner than a match of
// two would find its place.
TEST(PromptLookup, GoesOnBehindAnEdit) {
  const Ids text = counting(100, 300);
  Ids edited = text;
  for (int i = 0; i < 6; ++i) edited[static_cast<size_t>(40 * i + 20)] = 1000 + i;
  edited.erase(edited.begin() + 50, edited.begin() + 52);
  edited.insert(edited.begin() + 90, {2000, 2001, 2002});
  const Decoded decoded = decode(text, edited, 16);
  EXPECT_LT(decoded.steps, 75u);
  EXPECT_GT(decoded.accepted, 220u);
}

// Whatever the text is made for: a wrong guess costs a row, so of those there are few for each that was right.
TEST(PromptLookup, DraftsAreEarned) {
  std::mt19937 random(7);
  const uint32_t n = 4000;
  const auto check = [&](const Ids& prompt, const Ids& output) {
    const Decoded decoded = decode(prompt, output, 64);
    EXPECT_LE(decoded.drafted, 4 * decoded.accepted + n / 16 + 32);
    EXPECT_EQ(decoded.steps + decoded.accepted, output.size());
  };
  for (const uint32_t period : {3u, 4u, 5u, 8u, 17u, 18u, 33u, 70u}) {
    SCOPED_TRACE("phrases of " + std::to_string(period) + " that always go on in another way");
    Ids output;
    for (int32_t round = 0; output.size() < n; ++round) {
      for (uint32_t i = 0; i + 1 < period; ++i) output.push_back(static_cast<int32_t>(i));
      output.push_back(1000 + round);
    }
    output.resize(n);
    check(counting(0, period), output);
  }
  for (const uint32_t alphabet : {2u, 3u, 10u, 100u, 1000u}) {
    SCOPED_TRACE("noise of " + std::to_string(alphabet) + " tokens");
    Ids output(n);
    for (int32_t& id : output) id = static_cast<int32_t>(random() % alphabet);
    check({}, output);
  }
}

// Grams that collide, repeat without end or fill the index: a million tokens are done at once, or never.
TEST(PromptLookup, HostileTextsCostNoMoreThanOthers) {
  const uint32_t n = 1u << 20;
  std::mt19937 random(1);
  for (const uint32_t alphabet : {1u, 2u, 40u, 1u << 30}) {
    PromptLookup lookup(n);
    Ids draft(64);
    for (uint32_t i = 0; i < n; ++i) {
      lookup.append(static_cast<int32_t>(random() % alphabet));
      lookup.learn(1, random() % 2);
      (void)lookup.draft(draft);
    }
  }
}

}  // namespace
}  // namespace merritt::sampling
