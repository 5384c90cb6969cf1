// SPDX-License-Identifier: Apache-2.0
// The bound on the gap of service between two tenants (docs/adr/0014), asserted with the numbers of each run.
#include <gtest/gtest.h>

#include "tests/sim/fairness.hpp"
#include "tests/sim/worlds.hpp"
#include "tests/support/places.hpp"

namespace merritt::sim {
namespace {

constexpr uint64_t kTheoremSteps = 8000;

// U of one resource without ceilings: what one admission can put a tenant ahead by.
double bound(const Simulator& sim) {
  const scheduler::Costs& costs = sim.world().limits.costs;
  return std::max<double>(costs.prompt_token * sim.longest_input(), costs.generated_token * kPoolTokens);
}

TEST(Theorem, OneResourceStaysWithinTwiceTheBound) {
  double worst = 0, weights = 0;
  for (const Shape shape : kShapes) {
    for (uint64_t seed = 1; seed <= 12; ++seed) {
      Simulator sim(world_of(shape, seed));
      sim.run(kTheoremSteps);
      ASSERT_EQ(sim.trouble(), "");
      const double gap = worst_gap(sim);
      EXPECT_LE(gap, 2 * bound(sim)) << "shape " << static_cast<int>(shape) << " seed " << seed;
      (shape == Shape::kWeights ? weights : worst) = std::max(shape == Shape::kWeights ? weights : worst, gap);
      if (shape == Shape::kReturn || shape == Shape::kBursts) continue;
      EXPECT_GE(jain(sim), 0.999) << "shape " << static_cast<int>(shape) << " seed " << seed;
    }
  }
  RecordProperty("worst_gap", std::to_string(worst));
  RecordProperty("worst_gap_with_weights", std::to_string(weights));
}

TEST(Theorem, TightOnTheCommittedTrace) {
  Simulator sim(world_of_trace(merritt::test::source_dir() + "/tests/sim/traces/four_tenants.trace"));
  sim.run(4000);
  ASSERT_EQ(sim.trouble(), "");
  RecordProperty("worst_gap", std::to_string(worst_gap(sim)));
  EXPECT_LE(worst_gap(sim), bound(sim) / 2);
  EXPECT_GE(jain(sim), 0.999);
  for (const Sample& last : sim.samples().back()) EXPECT_TRUE(last.eligible) << "a queue ran dry";
}

TEST(Theorem, WhoReturnsFromIdlenessHasNotSavedUp) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Simulator sim(world_of(Shape::kReturn, seed));
    sim.run(kTheoremSteps);
    EXPECT_LE(worst_gap(sim), bound(sim));
  }
}

// Its first request holds half of the pool for long, so its ceiling keeps the second one from starting; then it has
// many.
World ceiling_world() {
  World world = one_resource();
  Dice dice(7);
  world.tenants.resize(3);
  world.tenants[0].kv_bytes_max = kPoolTokens / kPageTokens * 16 / 2;
  world.arrivals.push_back({.step = 1, .tenant = 0, .prompt = 1000, .output = 1000});
  world.arrivals.push_back({.step = 1, .tenant = 0, .prompt = 1500, .output = 16});
  add_load(world, dice,
           {.tenant = 0,
            .requests = 900,
            .live = 40,
            .prompt_least = 16,
            .prompt_most = 64,
            .output_least = 16,
            .output_most = 64});
  for (uint32_t t = 1; t < 3; ++t) {
    add_load(world, dice,
             {.tenant = t,
              .requests = 900,
              .live = 12,
              .prompt_least = 16,
              .prompt_most = 256,
              .output_least = 16,
              .output_most = 128});
  }
  return world;
}

TEST(Theorem, WhoReturnsFromItsOwnCeilingHasNotSavedUp) {
  Simulator sim(ceiling_world());
  sim.run(kTheoremSteps);
  ASSERT_EQ(sim.trouble(), "");
  EXPECT_NE(sim.outcomes()[1].started, 0u);
  EXPECT_LE(worst_gap(sim), bound(sim));
}

// One tenant's clients go away while their long prompts run. It pays for what ran, and gets its part.
TEST(Theorem, CancelledPromptsPayForWhatRan) {
  World world = one_resource();
  world.limits.prefill_chunk = 64;
  Dice dice(3);
  world.tenants.resize(2);
  add_load(world, dice,
           {.tenant = 0,
            .requests = 2500,
            .live = 12,
            .prompt_least = 1000,
            .prompt_most = 1500,
            .output_least = 8,
            .output_most = 16});
  for (Arrival& a : world.arrivals) a.cancel_after = 2;
  add_load(world, dice,
           {.tenant = 1,
            .requests = 900,
            .live = 40,
            .prompt_least = 16,
            .prompt_most = 256,
            .output_least = 16,
            .output_most = 128});
  Simulator sim(world);
  sim.run(kTheoremSteps);
  ASSERT_EQ(sim.trouble(), "");
  EXPECT_LE(worst_gap(sim), 2 * bound(sim));
}

// ---- The policy as it ships: three resources, ceilings, chunks, several samples, prefix hits, priorities, cancels

// U_d of docs/adr/0014, from the run's own numbers.
double dominant_bound(const Simulator& sim) {
  const World& world = sim.world();
  double lightest = 1e9;
  for (const auto& tenant : world.tenants) lightest = std::min<double>(lightest, std::max(tenant.weight, 1u));
  const auto price = static_cast<double>(sim.compute_price());
  const double compute = world.limits.costs.generated_token * static_cast<double>(sim.resident_tokens()) * price;
  const double pages = static_cast<double>(sim.longest_stay() * scheduler::kStepShare);
  const double not_run = world.limits.costs.prompt_token * static_cast<double>(sim.resident_tokens()) * price;
  const double lead = world.limits.costs.generated_token * kPoolTokens * price / 2;
  return (std::max(compute, pages) + not_run + lead + scheduler::kStepShare) / lightest;
}

World shipped_world(uint64_t seed) {
  Dice dice(seed);
  World world = one_resource();
  world.limits.costs = {};
  world.ceilings = true;
  world.limits.prefill_chunk = dice.from(0, 2) * 48;
  world.limits.step_tokens_max = dice.from(64, 300);
  world.shapes = {{.window = 0, .page_tokens = 16, .n_pages = kPoolTokens / 16, .page_bytes = 32},
                  {.window = 64, .page_tokens = 16, .n_pages = 400, .page_bytes = 16}};
  world.tenants.resize(6);
  const uint32_t pool_bytes = kPoolTokens / 16 * 32;
  for (uint32_t t = 0; t < 6; ++t) {
    tenant::TenantLimits& limits = world.tenants[t];
    limits.weight = dice.from(1, 3);
    if (t % 3 == 1) limits.sequences_max = dice.from(3, 8);
    if (t % 3 == 2) limits.kv_bytes_max = pool_bytes / dice.from(2, 4) + 16 * 60;
    const uint32_t longest = dice.from(32, 400);
    add_load(world, dice,
             {.tenant = t,
              .requests = 600,
              .live = dice.from(4, 24),
              .prompt_least = 8,
              .prompt_most = longest,
              .output_least = 4,
              .output_most = dice.from(16, 500),
              .step = 1 + 400 * (t / 3)});
  }
  for (Arrival& a : world.arrivals) {
    if (dice.from(0, 9) == 0) a.cancel_after = dice.from(1, 40);
    if (dice.from(0, 9) == 0) a.n = dice.from(2, 3);
    if (a.tenant % 2 == 0 && dice.from(0, 1) == 0) a.begins = std::min(a.prompt, 48u);
  }
  for (Arrival& a : world.arrivals) a.priority = static_cast<int32_t>(dice.from(0, 4)) - 2;
  return world;
}

TEST(Theorem, TheShippedPolicyStaysWithinTwiceItsBound) {
  double worst = 0;
  uint64_t preempted = 0, hits = 0, hits_again = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    Simulator sim(shipped_world(seed));
    sim.run(4000);
    ASSERT_EQ(sim.trouble(), "") << "seed " << seed;
    EXPECT_LE(worst_gap(sim), 2 * dominant_bound(sim)) << "seed " << seed;
    worst = std::max(worst, worst_gap(sim) / dominant_bound(sim));
    preempted += sim.preempted();
    hits += sim.hits();
    hits_again += sim.hits_again();
  }
  RecordProperty("prefix_hits", std::to_string(hits));
  RecordProperty("prefix_hits_of_preempted", std::to_string(hits_again));
  RecordProperty("worst_part_of_the_bound", std::to_string(worst));
  RecordProperty("preempted", std::to_string(preempted));
  EXPECT_GT(preempted, 100u);
  EXPECT_GT(hits, 1000u);
  EXPECT_GT(hits_again, 20u);
}

}  // namespace
}  // namespace merritt::sim
