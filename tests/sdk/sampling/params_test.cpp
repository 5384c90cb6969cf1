// SPDX-License-Identifier: Apache-2.0
// The ranges of sampling parameters, and what is said about a value outside of its own.
#include <gtest/gtest.h>

#include <limits>

#include "sampling/sampler.hpp"
#include "tests/sdk/sampling/no_number.hpp"

namespace merritt::sampling {
namespace {

constexpr uint32_t kPieces = 32;

void expect_refused(const SamplingParams& params, std::string_view text) {
  const auto sampler = Sampler::create(params, kPieces, {}, 0);
  ASSERT_FALSE(sampler.ok()) << text;
  EXPECT_EQ(sampler.status().code(), Code::kInvalidArgument);
  EXPECT_NE(sampler.status().message().find(text), std::string_view::npos) << sampler.status().message();
}

TEST(SamplingParams, RangesAreNamed) {
  for (const float t : {1e-40f, 1e-39f, 1e-10f, 9e-4f, -1.0f, 101.0f, kInf, -kInf, kNan}) {
    SamplingParams p;
    p.temperature = t;
    expect_refused(p, "it must be 0 (greedy) or in [0.001, 100]");
  }
  for (const float r : {0.0f, 1e-38f, 1e-40f, 0.009f, -1.0f, 100.5f, kInf, kNan}) {
    SamplingParams p;
    p.repetition_penalty = r;
    expect_refused(p, "it must be in [0.01, 100]");
  }
  for (const float x : {-100.5f, 100.5f, kInf, -kInf, kNan}) {
    SamplingParams frequency, presence;
    frequency.frequency_penalty = presence.presence_penalty = x;
    expect_refused(frequency, "frequency_penalty is ");
    expect_refused(presence, "presence_penalty is ");
  }
  for (const float x : {0.0f, -0.5f, 1.0001f, kInf, kNan}) {
    SamplingParams p;
    p.top_p = x;
    expect_refused(p, "it must be in (0, 1]");
  }
  for (const float x : {-0.5f, 1.0001f, kInf, kNan}) {
    SamplingParams p;
    p.min_p = x;
    expect_refused(p, "it must be in [0, 1]");
  }
}

TEST(SamplingParams, ValuesAreShownAsGiven) {
  SamplingParams p;
  p.temperature = 1e-40f;
  expect_refused(p, "temperature is 1e-40;");
  p.temperature = -0.25f;
  expect_refused(p, "temperature is -0.25;");
}

TEST(SamplingParams, BiasNamesTokensOfTheModel) {
  for (const int32_t token : {-1, static_cast<int32_t>(kPieces), INT32_MAX, INT32_MIN}) {
    SamplingParams p;
    p.logit_bias = {{0, 1.0f}, {token, 1.0f}};
    expect_refused(p, "logit_bias names token " + std::to_string(token));
  }
  for (const float bias : {kInf, kNan}) {
    SamplingParams p;
    p.logit_bias = {{3, bias}};
    expect_refused(p, "finite, or -infinity");
  }
}

TEST(SamplingParams, MinTokensWithinMaxTokens) {
  SamplingParams p;
  p.min_tokens = 11;
  EXPECT_TRUE(p.validate(kPieces).ok());
  EXPECT_TRUE(p.validate(kPieces, 11).ok());
  const Status status = p.validate(kPieces, 10);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.message(), "min_tokens is 11; it must not be above max_tokens, 10");
}

}  // namespace
}  // namespace merritt::sampling
