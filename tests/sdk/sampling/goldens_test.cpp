// SPDX-License-Identifier: Apache-2.0
// The sampling chain against a NumPy account of it (tests/golden/make_sampling_goldens.py): what each case keeps, how
// often each token is drawn, and the log-probabilities that are told. Draws are functions of fixed seeds, so the
// statistics are the same numbers in every run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "sampling/random.hpp"
#include "sampling/sampler.hpp"
#include "tests/support/places.hpp"

namespace merritt::sampling {
namespace {

using nlohmann::json;

const json& goldens() {
  static const json all = [] {
    std::ifstream in(merritt::test::source_dir() + "/tests/golden/sampling.json");
    return json::parse(in);
  }();
  return all;
}

SamplingParams params_of(const json& c) {
  SamplingParams p;
  p.temperature = c.value("temperature", 0.0f);
  p.top_k = c.value("top_k", 0u);
  p.top_p = c.value("top_p", 1.0f);
  p.min_p = c.value("min_p", 0.0f);
  p.repetition_penalty = c.value("repetition_penalty", 1.0f);
  p.frequency_penalty = c.value("frequency_penalty", 0.0f);
  p.presence_penalty = c.value("presence_penalty", 0.0f);
  p.penalty_last_n = c.value("penalty_last_n", 0u);
  p.min_tokens = c.value("min_tokens", 0u);
  for (const json& entry : c.value("logit_bias", json::array())) {
    p.logit_bias.emplace_back(entry[0].get<int32_t>(), entry[1].is_null() ? -INFINITY : entry[1].get<float>());
  }
  return p;
}

// One draw of a case with this seed.
Drawn draw(const json& c, uint64_t seed) {
  std::vector<float> logits = goldens()["tables"][c["table"].get<std::string>()];
  SamplingParams params = params_of(c);
  params.seed = seed;
  const std::vector<int32_t> ends = c.value("end_tokens", std::vector<int32_t>());
  auto sampler = Sampler::create(params, static_cast<uint32_t>(logits.size()), ends, 0, 64);
  EXPECT_TRUE(sampler.ok()) << sampler.status().message();
  for (const int32_t token : c.value("prompt", std::vector<int32_t>())) (*sampler)->accept_prompt(token);
  for (const int32_t token : c.value("output", std::vector<int32_t>())) (*sampler)->accept(token);
  uint32_t word = 0;
  for (const uint32_t token : c.value("mask", std::vector<uint32_t>())) word |= 1u << token;
  const TokenMask mask{{&word, 1}};
  auto drawn = (*sampler)->sample(logits, c.contains("mask") ? &mask : nullptr);
  EXPECT_TRUE(drawn.ok()) << drawn.status().message();
  return drawn.ok() ? *drawn : Drawn{};
}

// What chi-square with n degrees of freedom exceeds once in 10,000 (Wilson and Hilferty, 1931).
double chi_square_limit(size_t n) {
  const double k = 2.0 / (9.0 * static_cast<double>(n));
  return static_cast<double>(n) * std::pow(1 - k + 3.719 * std::sqrt(k), 3);
}

// Pearson's statistic over the classes that are expected at least five times; the others are one class together.
void expect_fits(const std::vector<uint32_t>& seen, const std::vector<double>& p, uint32_t n) {
  double chi = 0, rest = 0, rest_seen = 0;
  size_t classes = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double expected = p[i] * n;
    if (expected < 5) {
      rest += expected, rest_seen += seen[i];
      continue;
    }
    chi += std::pow(seen[i] - expected, 2) / expected;
    ++classes;
  }
  if (rest >= 5) chi += std::pow(rest_seen - rest, 2) / rest, ++classes;
  if (classes > 1) {
    EXPECT_LE(chi, chi_square_limit(classes - 1)) << classes << " classes";
  }
}

TEST(SamplingGoldens, EveryCaseKeepsAndDrawsWhatItShould) {
  constexpr uint32_t kDraws = 4000;
  for (const json& c : goldens()["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const std::vector<int32_t> kept = c["kept"];
    const std::vector<double> p = c["probabilities"];
    const std::vector<float> logprobs = goldens()["logprobs"][c["table"].get<std::string>()];
    std::vector<uint32_t> seen(kept.size());
    const uint32_t draws = kept.size() == 1 ? 50 : kDraws;
    for (uint32_t seed = 0; seed < draws; ++seed) {
      const Drawn drawn = draw(c, 1000 + seed);
      const auto at = std::lower_bound(kept.begin(), kept.end(), drawn.token);
      ASSERT_TRUE(at != kept.end() && *at == drawn.token) << "drawn was " << drawn.token;
      ++seen[static_cast<size_t>(at - kept.begin())];
      ASSERT_NEAR(drawn.logprob, logprobs[static_cast<size_t>(drawn.token)], 2e-5f);
    }
    expect_fits(seen, p, draws);
    for (size_t i = 0; i < kept.size(); ++i) {
      if (p[i] * draws > 12) {
        EXPECT_GT(seen[i], 0u) << kept[i];
      }
    }
  }
}

TEST(Philox, KnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({}, {}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = UINT32_MAX;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, NumbersOfSeedChoiceAndPosition) {
  for (const json& row : goldens()["uniform"]) {
    EXPECT_EQ(uniform(row[0].get<uint64_t>(), row[1].get<uint32_t>(), row[2].get<uint64_t>()), row[3].get<double>())
        << row;
  }
}

// 100,000 positions of one seed, two ways: evenly over 64 cells, and pairs of neighbours over 8 x 8 of them.
TEST(Philox, IsUniform) {
  constexpr uint32_t kDraws = 100000;
  std::vector<uint32_t> cells(64), pairs(64);
  double last = uniform(42, 0, UINT64_MAX);
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double u = uniform(42, 0, i);
    ASSERT_TRUE(u >= 0 && u < 1);
    ++cells[static_cast<size_t>(u * 64)];
    ++pairs[static_cast<size_t>(last * 8) * 8 + static_cast<size_t>(u * 8)];
    last = u;
  }
  expect_fits(cells, std::vector<double>(64, 1.0 / 64), kDraws);
  expect_fits(pairs, std::vector<double>(64, 1.0 / 64), kDraws);
}

}  // namespace
}  // namespace merritt::sampling
