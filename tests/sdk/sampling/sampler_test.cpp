// SPDX-License-Identifier: Apache-2.0
// What the sampler survives, and what its draws depend on. Its distributions are in goldens_test.cpp.
#include "sampling/sampler.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "tests/sdk/sampling/no_number.hpp"
#include "tests/support/count_allocations.hpp"

namespace merritt::sampling {
namespace {

constexpr float kMax = std::numeric_limits<float>::max();
constexpr uint32_t kVocabulary = 32;

std::unique_ptr<Sampler> make(const SamplingParams& params, std::span<const int32_t> ends = {}, uint32_t choice = 0) {
  auto sampler = Sampler::create(params, kVocabulary, ends, choice, 256);
  EXPECT_TRUE(sampler.ok()) << sampler.status().message();
  return std::move(sampler).value();
}

std::vector<float> some_logits(uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(kVocabulary);
  for (float& x : logits) x = normal(random);
  return logits;
}

std::vector<int32_t> tokens_of(Sampler& sampler, int n) {
  std::vector<int32_t> out;
  for (int i = 0; i < n; ++i) {
    std::vector<float> logits = some_logits(static_cast<uint32_t>(i));
    const auto drawn = sampler.sample(logits, nullptr);
    EXPECT_TRUE(drawn.ok());
    if (!drawn.ok()) break;
    out.push_back(drawn->token);
    sampler.accept(drawn->token);
  }
  return out;
}

// Numbers that leave the range of float on the way: a token is drawn all the same, never an index beside the logits.
TEST(Sampler, EditsStayFinite) {
  for (const float temperature : {0.0f, 0.001f, 1.0f, 100.0f}) {
    SamplingParams sum;
    sum.temperature = temperature;
    sum.logit_bias = {{5, 3e38f}, {5, 3e38f}, {5, 3e38f}, {6, -3e38f}, {6, -3e38f}};
    std::vector<float> logits = some_logits();
    auto drawn = make(sum)->sample(logits, nullptr);
    ASSERT_TRUE(drawn.ok()) << drawn.status().message();
    EXPECT_EQ(drawn->token, 5);
    EXPECT_EQ(logits[5], kMax);
    EXPECT_EQ(logits[6], -kMax) << "very unlikely is not forbidden";
    EXPECT_TRUE(std::isfinite(drawn->logprob));

    SamplingParams penalty;
    penalty.temperature = temperature;
    penalty.repetition_penalty = 0.01f;
    logits = some_logits();
    logits[9] = kMax;
    const auto sampler = make(penalty);
    sampler->accept_prompt(9);
    drawn = sampler->sample(logits, nullptr);
    ASSERT_TRUE(drawn.ok()) << drawn.status().message();
    EXPECT_EQ(drawn->token, 9);
  }
}

TEST(Sampler, ForbiddenStaysForbidden) {
  SamplingParams p;
  p.temperature = 1;
  p.presence_penalty = -100;
  p.logit_bias = {{5, -kInf}, {5, 3e38f}};
  for (uint64_t seed = 0; seed < 200; ++seed) {
    p.seed = seed;
    const auto sampler = make(p);
    sampler->accept(5);
    std::vector<float> logits = some_logits();
    const auto drawn = sampler->sample(logits, nullptr);
    ASSERT_TRUE(drawn.ok());
    EXPECT_NE(drawn->token, 5);
  }
}

// Any parameters and any logits: a typed refusal, or a token of the vocabulary that nothing forbids.
TEST(Sampler, AnyNumbers) {
  std::mt19937 random(20240229);
  const float numbers[] = {0.0f, -0.0f, 1.0f,  -1.0f,  0.5f,    1e-3f,   1e-40f, 1e-38f, 100.0f,
                           kMax, -kMax, 3e38f, -3e38f, 1.5e-2f, 0.0101f, kInf,   -kInf,  kNan};
  const auto any = [&] { return numbers[random() % std::size(numbers)]; };
  const auto usual = [&](float value) { return random() % 3 == 0 ? any() : value; };
  size_t drawn_count = 0;
  for (int i = 0; i < 60000; ++i) {
    SamplingParams p;
    p.temperature = usual(1);
    p.top_k = random() % 3 == 0 ? static_cast<uint32_t>(random()) % 40 : 0;
    p.top_p = usual(1);
    p.min_p = usual(0);
    p.repetition_penalty = usual(1);
    p.frequency_penalty = usual(0);
    p.presence_penalty = usual(0);
    p.penalty_last_n = static_cast<uint32_t>(random()) % 4;
    p.min_tokens = static_cast<uint32_t>(random()) % 3;
    p.seed = random();
    for (uint32_t k = random() % 4; k != 0; --k) p.logit_bias.emplace_back(random() % kVocabulary, any());
    const std::vector<int32_t> ends{3, -7, 1 << 20};
    auto sampler = Sampler::create(p, kVocabulary, ends, 0, 64);
    if (!sampler.ok()) {
      ASSERT_EQ(sampler.status().code(), Code::kInvalidArgument);
      continue;
    }
    for (const int32_t token : {-1, 3, 4, 31, 32, INT32_MAX, INT32_MIN}) (*sampler)->accept_prompt(token);
    for (int step = 0; step < 3; ++step) {
      std::vector<float> logits = some_logits(static_cast<uint32_t>(i));
      for (int k = 0; k < 3; ++k) logits[random() % kVocabulary] = usual(kMax);
      const auto drawn = (*sampler)->sample(logits, nullptr);
      if (!drawn.ok()) {
        ASSERT_TRUE(drawn.status().code() == Code::kBackend || drawn.status().code() == Code::kInvalidArgument);
        break;
      }
      ASSERT_TRUE(drawn->token >= 0 && drawn->token < static_cast<int32_t>(kVocabulary));
      ASSERT_NE(logits[static_cast<size_t>(drawn->token)], -kInf);
      (*sampler)->accept(drawn->token);
      ++drawn_count;
    }
  }
  EXPECT_GT(drawn_count, 1000u);
}

TEST(Sampler, LogitsMustBeFiniteAndAsManyAsTokens) {
  const auto sampler = make({});
  for (const float bad : {kInf, -kInf, kNan}) {
    std::vector<float> logits = some_logits();
    logits[17] = bad;
    EXPECT_EQ(sampler->sample(logits, nullptr).status().code(), Code::kBackend);
  }
  std::vector<float> shorter(kVocabulary - 1), longer(kVocabulary + 1);
  EXPECT_EQ(sampler->sample(shorter, nullptr).status().code(), Code::kInternal);
  EXPECT_EQ(sampler->sample(longer, nullptr).status().code(), Code::kInternal);
}

TEST(Sampler, NothingLeftIsAStatus) {
  std::vector<float> logits = some_logits();
  const uint32_t none = 0, only_three = 1u << 3;
  const TokenMask nothing{{&none, 1}}, three{{&only_three, 1}};
  EXPECT_EQ(make({})->sample(logits, &nothing).status().code(), Code::kInvalidArgument);
  logits = some_logits();
  SamplingParams p;
  p.temperature = 1;
  p.logit_bias = {{3, -kInf}};
  EXPECT_EQ(make(p)->sample(logits, &three).status().code(), Code::kInvalidArgument);
}

TEST(Sampler, AMaskWithoutWordsForATokenForbidsIt) {
  SamplingParams p;
  p.logit_bias = {{30, 50.0f}};
  std::vector<float> logits = some_logits();
  const TokenMask empty{{}};
  EXPECT_EQ(make(p)->sample(logits, &empty).status().code(), Code::kInvalidArgument);
}

// What min_tokens forbids is what the caller calls an end, whether or not it would end this generation.
TEST(Sampler, MinTokensForbidsEndsUntilThen) {
  const std::vector<int32_t> ends{4, 8};
  SamplingParams p;
  p.min_tokens = 3;
  const auto sampler = make(p, ends);
  for (int i = 0; i < 5; ++i) {
    std::vector<float> logits = some_logits(static_cast<uint32_t>(i));
    logits[4] = 60;
    logits[8] = 50;
    const auto drawn = sampler->sample(logits, nullptr);
    ASSERT_TRUE(drawn.ok());
    if (i < 3) {
      EXPECT_TRUE(drawn->token != 4 && drawn->token != 8) << i;
    } else {
      EXPECT_EQ(drawn->token, 4) << i;
    }
    sampler->accept(drawn->token);
  }
}

// The prompt counts for repetition alone; frequency and presence look at the output.
TEST(Sampler, PromptAndOutputArePenalisedApart) {
  SamplingParams p;
  p.frequency_penalty = 1;
  p.presence_penalty = 10;
  const auto sampler = make(p);
  for (int i = 0; i < 9; ++i) sampler->accept_prompt(2);
  for (int i = 0; i < 3; ++i) sampler->accept(7);
  std::vector<float> logits(kVocabulary, 1.0f);
  ASSERT_TRUE(sampler->sample(logits, nullptr).ok());
  EXPECT_EQ(logits[2], 1.0f);
  EXPECT_EQ(logits[7], 1.0f - 3 - 10);
  logits.assign(kVocabulary, 1.0f);  // and it counts anew every time
  ASSERT_TRUE(sampler->sample(logits, nullptr).ok());
  EXPECT_EQ(logits[7], 1.0f - 3 - 10);
}

TEST(Sampler, SameSeedSameDraws) {
  SamplingParams p;
  p.temperature = 1;
  p.seed = 77;
  p.repetition_penalty = 1.1f;
  for (const uint32_t top_k : {0u, 10u}) {
    p.top_k = top_k;
    const std::vector<int32_t> once = tokens_of(*make(p), 100);
    EXPECT_EQ(tokens_of(*make(p), 100), once);
    SamplingParams other = p;
    other.seed = 78;
    EXPECT_NE(tokens_of(*make(other), 100), once);
  }
}

TEST(Sampler, ChoicesOfOneSeedDiffer) {
  SamplingParams p;
  p.temperature = 1;
  p.seed = 5;
  std::set<std::vector<int32_t>> seen;
  for (uint32_t choice = 0; choice < 64; ++choice) seen.insert(tokens_of(*make(p, {}, choice), 30));
  EXPECT_EQ(seen.size(), 64u);
}

// A draw is a function of seed, choice and place: what another row drew, or a second look, changes nothing.
TEST(Sampler, DrawsDependOnThePlaceAlone) {
  SamplingParams p;
  p.temperature = 1;
  const auto sampler = make(p);
  std::vector<float> logits = some_logits();
  const int32_t token = sampler->sample(logits, nullptr)->token;
  logits = some_logits();
  EXPECT_EQ(sampler->sample(logits, nullptr)->token, token);
}

TEST(Sampler, NothingIsAllocatedAfterCreate) {
  SamplingParams p;
  p.temperature = 0.9f;
  p.top_k = 20;
  p.top_p = 0.95f;
  p.min_p = 0.01f;
  p.repetition_penalty = 1.2f;
  p.frequency_penalty = 0.1f;
  p.logit_bias = {{1, 1.0f}, {2, -kInf}, {1, 0.5f}};
  p.min_tokens = 10;
  for (const bool filtered : {true, false}) {
    if (!filtered) p.top_k = 0, p.top_p = 1;
    const std::vector<int32_t> ends{3};
    const auto sampler = make(p, ends);
    const uint32_t all = UINT32_MAX;
    const TokenMask mask{{&all, 1}};
    const std::vector<float> original = some_logits();
    std::vector<float> logits = original;
    g_allocations = 0;
    g_counting = true;
    for (int i = 0; i < 100; ++i) sampler->accept_prompt(i % 32);
    for (int i = 0; i < 156; ++i) {
      std::copy(original.begin(), original.end(), logits.begin());
      const auto drawn = sampler->sample(logits, &mask);
      if (!drawn.ok()) break;
      sampler->accept(drawn->token);
    }
    g_counting = false;
    EXPECT_EQ(g_allocations, 0u);
  }
}

}  // namespace
}  // namespace merritt::sampling
