// SPDX-License-Identifier: Apache-2.0
// Vocabularies of many groups: the sets that top_k, top_p and min_p keep, against sorting the whole row in double; and
// the same bits from the kernels of every instruction set, so that a seed draws the same tokens on every machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "base/os/cpu.hpp"
#include "sampling/sampler.hpp"

namespace merritt::sampling {
namespace {

std::vector<const RowKernels*> kernels_of_this_cpu() {
  std::vector<const RowKernels*> all{&row_kernels_portable()};
  if (os::has_cpu_feature("avx2") && os::has_cpu_feature("fma")) all.push_back(&row_kernels_avx2());
  if (&row_kernels() == &row_kernels_avx512()) all.push_back(&row_kernels_avx512());
  return all;
}

struct Shape {
  const char* name;
  float spread;     // standard deviation of the logits
  float lifted;     // added to a few of them
  float grain;      // logits are multiples of it, so that many are equal; 0 = any
  uint32_t tokens;  // of the vocabulary
};
constexpr Shape kShapes[] = {{"peaked", 3, 14, 0, 6000}, {"flat", 0.5f, 0, 0, 6000},     {"grained", 1, 0, 0.25f, 6000},
                             {"equal", 0, 0, 0, 5000},   {"odd", 2, 6, 0, 3 * 1024 + 7}, {"group", 2, 3, 0.5f, 1024},
                             {"small", 2, 1, 0.5f, 37}};

std::vector<float> logits_of(const Shape& shape, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> logits(shape.tokens);
  for (float& x : logits) {
    x = normal(random) * shape.spread;
    if (shape.grain != 0) x = std::round(x / shape.grain) * shape.grain;
  }
  for (int i = 0; i < 12; ++i) logits[random() % logits.size()] += shape.lifted * static_cast<float>(i) / 12;
  return logits;
}

// What the chain keeps, by its definition. A token whose place depends on the last bits of a sum is in `open`.
struct Kept {
  std::set<int32_t> sure, open;
};
Kept kept_of(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  if (params.top_k != 0 && params.top_k < order.size()) order.resize(params.top_k);
  const double peak = logits[static_cast<size_t>(order[0])];
  const auto weight = [&](int32_t token) {
    return std::exp((logits[static_cast<size_t>(token)] - peak) / params.temperature);
  };
  double total = 0;
  for (const int32_t token : order) total += weight(token);
  constexpr double kTolerance = 1e-5;
  Kept kept;
  double before = 0;
  for (const int32_t token : order) {
    const double w = weight(token);
    if (!kept.sure.empty() && (before > (params.top_p + kTolerance) * total || w < params.min_p * (1 - kTolerance)))
      break;
    const bool sure =
        kept.sure.empty() || (before < (params.top_p - kTolerance) * total && w > params.min_p * (1 + kTolerance));
    (sure ? kept.sure : kept.open).insert(token);
    before += w;
  }
  return kept;
}

TEST(LargeVocabulary, DrawsWhatASortedRowWouldKeep) {
  for (const Shape& shape : kShapes) {
    const std::vector<float> original = logits_of(shape, 5);
    for (const uint32_t top_k : {0u, 1u, 40u, 1024u, 1025u, 3000u, 100000u}) {
      for (const float top_p : {1.0f, 0.95f, 0.5f, 1e-6f}) {
        for (const float min_p : {0.0f, 0.2f}) {
          SamplingParams p;
          p.temperature = 0.8f, p.top_k = top_k, p.top_p = top_p, p.min_p = min_p, p.seed = 11;
          SCOPED_TRACE(std::string(shape.name) + " top_k " + std::to_string(top_k) + " top_p " + std::to_string(top_p) +
                       " min_p " + std::to_string(min_p));
          const Kept kept = kept_of(original, p);
          auto sampler = std::move(Sampler::create(p, shape.tokens, {}, 0)).value();
          std::vector<float> logits = original;
          for (int i = 0; i < 25; ++i) {
            const auto drawn = sampler->sample(logits, nullptr);
            ASSERT_TRUE(drawn.ok()) << drawn.status().message();
            ASSERT_TRUE(kept.sure.contains(drawn->token) || kept.open.contains(drawn->token)) << drawn->token;
            sampler->accept(drawn->token);
          }
        }
      }
    }
  }
}

// Every cut by its definition: the n-th of the sorted row, for small n and large, with ties and without.
TEST(LargeVocabulary, CutsAreTheSortedRows) {
  for (const Shape& shape : kShapes) {
    const std::vector<float> logits = logits_of(shape, 3);
    std::vector<Candidate> sorted;
    for (size_t i = 0; i < logits.size(); ++i) sorted.push_back({logits[i], static_cast<int32_t>(i)});
    std::sort(sorted.begin(), sorted.end(), likelier);
    for (const RowKernels* kernels : kernels_of_this_cpu()) {
      SCOPED_TRACE(std::string(shape.name) + " " + kernels->name);
      Row row(shape.tokens, *kernels, 1024, true);
      ASSERT_TRUE(row.scan(logits));
      EXPECT_EQ(row.argmax(), sorted[0].token);
      for (const size_t n : {1, 2, 31, 64, 500, 1000, 1024}) {
        const std::span<const Candidate> best = row.best(n);
        ASSERT_EQ(best.size(), std::min(n, sorted.size()));
        for (size_t i = 0; i < best.size(); ++i) ASSERT_EQ(best[i].token, sorted[i].token) << i << " of " << n;
      }
      for (const size_t n : {size_t{1}, size_t{36}, size_t{1000}, size_t{1500}, sorted.size() - 1, sorted.size()}) {
        if (n > sorted.size()) continue;
        EXPECT_EQ(row.cut_at_count(n).token, sorted[n - 1].token) << n;
      }
      EXPECT_EQ(row.cut_at_count(sorted.size() + 1).token, kNoCut.token);
    }
  }
}

// Equal logits have one weight, a power of two here, so that no sum is rounded.
TEST(LargeVocabulary, EqualLogitsAreCutByTheirIds) {
  const std::vector<float> logits(4096, 1.5f);
  Row row(4096, row_kernels(), 1024, true);
  ASSERT_TRUE(row.scan(logits));
  const Weights weights{.peak = 1.5f};
  EXPECT_EQ(row.mass(weights), 4096);
  EXPECT_EQ(row.cut_at_mass(3072, weights).token, 3071);
  EXPECT_EQ(row.cut_at_mass(3072.5, weights).token, 3072);
  EXPECT_EQ(row.cut_at_mass(0.1, weights).token, 0);
  EXPECT_EQ(row.cut_at_mass(5000, weights).token, kNoCut.token);
  const Weights within{.peak = 1.5f, .cut = {1.5f, 999}};
  EXPECT_EQ(row.mass(within), 1000);
  EXPECT_EQ(row.cut_at_mass(500, within).token, 499);
  EXPECT_EQ(row.draw(0, within), 0);
  EXPECT_EQ(row.draw(std::nextafter(1.0, 0.0), within), 999);
  EXPECT_EQ(row.draw(0.5, within), 500);
}

// How often tokens of each twentieth of the vocabulary are drawn, where the draw goes over many groups.
TEST(LargeVocabulary, DrawsInProportion) {
  constexpr uint32_t kTokens = 10000, kDraws = 20000, kCells = 20;
  std::vector<float> logits(kTokens);
  std::vector<double> weight(kTokens);
  for (uint32_t i = 0; i < kTokens; ++i) logits[i] = std::sin(static_cast<float>(i) * 0.37f) * 2;
  double total = 0;
  for (uint32_t i = 0; i < kTokens; ++i) total += weight[i] = std::exp(double{logits[i]});
  std::vector<double> expected(kCells);
  for (uint32_t i = 0; i < kTokens; ++i) expected[i * kCells / kTokens] += weight[i] / total * kDraws;
  SamplingParams p;
  p.temperature = 1, p.seed = 3;
  auto sampler = std::move(Sampler::create(p, kTokens, {}, 0)).value();
  std::vector<double> seen(kCells);
  for (uint32_t i = 0; i < kDraws; ++i) {
    const int32_t token = sampler->sample(logits, nullptr)->token;
    sampler->accept(token);
    ++seen[static_cast<uint32_t>(token) * kCells / kTokens];
  }
  double chi = 0;
  for (uint32_t k = 0; k < kCells; ++k) chi += std::pow(seen[k] - expected[k], 2) / expected[k];
  EXPECT_LT(chi, 50.8) << "chi-square with 19 degrees of freedom exceeds this once in 10,000";
}

TEST(RowKernels, EveryInstructionSetGivesTheSameBits) {
  const auto all = kernels_of_this_cpu();
  for (const Shape& shape : kShapes) {
    const std::vector<float> x = logits_of(shape, 9);
    for (const size_t n : {size_t{1}, size_t{15}, size_t{16}, size_t{33}, size_t{1000}, kGroup}) {
      if (n > x.size()) continue;
      const Weighting weighting{x[0] + 3, 1.25f, 1e-6f, x[n / 2], std::nextafter(x[n / 2], INFINITY), n / 3};
      GroupScan first{};
      ASSERT_TRUE(all[0]->scan(x.data(), n, &first));
      std::vector<float> first_weights(n), weights(n);
      all[0]->weights(x.data(), n, weighting, first_weights.data());
      uint64_t first_bits[kGroup / 64], bits[kGroup / 64];
      all[0]->at_least(x.data(), n, x[n / 2], first_bits);
      for (const RowKernels* kernels : all) {
        SCOPED_TRACE(std::string(kernels->name) + " " + shape.name + " " + std::to_string(n));
        GroupScan scan{};
        ASSERT_TRUE(kernels->scan(x.data(), n, &scan));
        EXPECT_EQ(std::bit_cast<uint32_t>(scan.sum), std::bit_cast<uint32_t>(first.sum));
        EXPECT_EQ(scan.peak, *std::max_element(x.begin(), x.begin() + static_cast<ptrdiff_t>(n)));
        float maxima[kLanes];
        kernels->maxima(x.data(), n, maxima);
        for (size_t k = 0; k < kLanes; ++k) {
          EXPECT_EQ(scan.maxima[k], first.maxima[k]);
          EXPECT_EQ(maxima[k], first.maxima[k]);
        }
        kernels->weights(x.data(), n, weighting, weights.data());
        for (size_t i = 0; i < n; ++i) {
          ASSERT_EQ(std::bit_cast<uint32_t>(weights[i]), std::bit_cast<uint32_t>(first_weights[i])) << i;
        }
        const float mass = kernels->mass(x.data(), n, weighting);
        EXPECT_EQ(mass, all[0]->mass(x.data(), n, weighting));
        kernels->at_least(x.data(), n, x[n / 2], bits);
        EXPECT_TRUE(std::equal(bits, bits + (n + 63) / 64, first_bits));
      }
    }
  }
}

TEST(RowKernels, ExponentialIsNearTheLibrarys) {
  std::vector<float> x(kGroup), weights(kGroup);
  for (const RowKernels* kernels : kernels_of_this_cpu()) {
    for (float scale : {0.001f, 0.05f, 1.0f}) {
      for (size_t i = 0; i < kGroup; ++i) x[i] = -static_cast<float>(i) * 0.0853f * scale;
      kernels->weights(x.data(), kGroup, {0, 1, 0, -INFINITY, -INFINITY, kGroup}, weights.data());
      EXPECT_EQ(weights[0], 1.0f);
      for (size_t i = 0; i < kGroup; ++i) {
        EXPECT_NEAR(weights[i] / std::exp(double{x[i]}), 1, 4e-7) << kernels->name << " " << x[i];
      }
    }
    x[0] = -87.8f, x[1] = -1e30f, x[2] = -INFINITY;
    kernels->weights(x.data(), 3, {0, 1, 0, -INFINITY, -INFINITY, 3}, weights.data());
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(weights[i], 0.0f);
  }
}

TEST(RowKernels, OneElementThatIsNotFiniteIsFoundAnywhere) {
  std::vector<float> x(kGroup, 0.5f);
  GroupScan scan;
  for (const RowKernels* kernels : kernels_of_this_cpu()) {
    for (const size_t n : {size_t{1}, size_t{21}, size_t{500}, kGroup}) {
      for (size_t at = 0; at < n; at += n < 40 ? 1 : 37) {
        for (const float bad : {INFINITY, -INFINITY, NAN}) {
          x[at] = bad;
          EXPECT_FALSE(kernels->scan(x.data(), n, &scan)) << kernels->name << " " << at << " of " << n;
          x[at] = 0.5f;
        }
      }
      EXPECT_TRUE(kernels->scan(x.data(), n, &scan));
    }
  }
}

TEST(RowKernels, ALimitChoosesALowerSet) {
  EXPECT_STRNE(row_kernels(1).name, "avx512");
  EXPECT_EQ(&row_kernels(2), &row_kernels());
  EXPECT_EQ(&row_kernels(4), &row_kernels());
}

// Looking ahead changes nothing, and counts for these logits and one call only.
TEST(LargeVocabulary, LookingAheadDrawsTheSame) {
  SamplingParams p;
  p.temperature = 1, p.top_p = 0.9f, p.seed = 8, p.repetition_penalty = 1.2f;
  auto plain = std::move(Sampler::create(p, 6000, {}, 0, 100)).value();
  auto looking = std::move(Sampler::create(p, 6000, {}, 0, 100)).value();
  for (uint32_t i = 0; i < 40; ++i) {
    std::vector<float> first = logits_of(kShapes[0], i), second = first, other = logits_of(kShapes[1], i);
    looking->look(i % 3 == 0 ? other : second);
    const auto a = plain->sample(first, nullptr), b = looking->sample(second, nullptr);
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a->token, b->token);
    EXPECT_EQ(a->logprob, b->logprob);
    plain->accept(a->token), looking->accept(b->token);
  }
  std::vector<float> bad(6000, NAN);
  looking->look(bad);
  EXPECT_EQ(looking->sample(bad, nullptr).status().code(), Code::kBackend);
  std::fill(bad.begin(), bad.end(), 0.5f);
  EXPECT_TRUE(looking->sample(bad, nullptr).ok()) << "the look before was used up";
}

TEST(LargeVocabulary, EveryInstructionSetDrawsTheSame) {
  for (const Shape& shape : kShapes) {
    const std::vector<float> original = logits_of(shape, 21);
    for (const auto& [top_k, top_p] : {std::pair{0u, 1.0f}, {40u, 1.0f}, {0u, 0.9f}, {40u, 0.9f}, {2000u, 0.9f}}) {
      std::vector<int32_t> first;
      for (const RowKernels* kernels : kernels_of_this_cpu()) {
        SamplingParams p;
        p.temperature = 1.1f, p.top_k = top_k, p.top_p = top_p, p.repetition_penalty = 1.3f, p.seed = 4;
        auto sampler = std::move(Sampler::create(p, shape.tokens, {}, 0, 100, *kernels)).value();
        std::vector<int32_t> tokens;
        for (int i = 0; i < 12; ++i) {
          std::vector<float> logits = original;
          tokens.push_back(sampler->sample(logits, nullptr)->token);
          sampler->accept(tokens.back());
        }
        if (first.empty()) first = tokens;
        EXPECT_EQ(tokens, first) << kernels->name << " " << shape.name;
      }
    }
  }
}

}  // namespace
}  // namespace merritt::sampling
