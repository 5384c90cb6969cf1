// SPDX-License-Identifier: Apache-2.0
// A light tenant beside a hostile one, in steps: its time to the first token stays near what it is alone, whatever the
// other does. First come first served and a scheduler without ceilings must fail these.
#include <gtest/gtest.h>

#include "tests/sim/fairness.hpp"
#include "tests/sim/worlds.hpp"

namespace merritt::sim {
namespace {

constexpr uint32_t kVictim = 0;
constexpr uint64_t kNeighbourSteps = 20'000;

// Its requests come one after another, each some steps after the one before: 64 tokens in, 32 out.
World victim_alone(uint64_t seed) {
  World world = one_resource();
  world.limits.costs = {};
  world.ceilings = true;
  world.tenants.resize(1);
  Dice dice(seed);
  for (uint32_t i = 0; i < 400; ++i) {
    world.arrivals.push_back(
        {.step = 40 + uint64_t{i} * 45 + dice.from(0, 20), .tenant = kVictim, .prompt = 64, .output = 32});
  }
  return world;
}

struct Latency {
  uint64_t p50 = 0, p99 = 0, most = 0;
  size_t answered = 0;
  double steps_per_token = 0;
};

// Steps from the arrival to the first token, the step it comes in counted.
Latency latency(const Simulator& sim) {
  std::vector<uint64_t> steps;
  double total = 0;
  Latency result;
  for (const Outcome& outcome : sim.outcomes()) {
    if (outcome.tenant != kVictim || outcome.arrived == 0) continue;
    const uint64_t until = outcome.first_token == 0 ? sim.now() : outcome.first_token;
    steps.push_back(until - outcome.arrived + 1);
    if (outcome.finished == 0) continue;
    ++result.answered;
    total += static_cast<double>(outcome.finished - outcome.first_token) / 31;
  }
  std::sort(steps.begin(), steps.end());
  result.p50 = steps[steps.size() / 2];
  result.p99 = steps[steps.size() * 99 / 100];
  result.most = steps.back();
  result.steps_per_token = result.answered == 0 ? 1e9 : total / static_cast<double>(result.answered);
  return result;
}

// The 64 tokens of its prompt are less than a chunk: one step more.
void expect_unharmed(const World& world) {
  Simulator alone(victim_alone(1));
  alone.run(kNeighbourSteps);
  Simulator sim(world);
  sim.run(kNeighbourSteps);
  ASSERT_EQ(sim.trouble(), "");
  const Latency own = latency(alone), beside = latency(sim);
  ::testing::Test::RecordProperty("steps_p50_p99_most", std::to_string(beside.p50) + " " + std::to_string(beside.p99) +
                                                            " " + std::to_string(beside.most));
  EXPECT_LE(beside.p99, 3 * own.p99 + 1);
  EXPECT_EQ(beside.answered, own.answered);
  EXPECT_LE(beside.steps_per_token, own.steps_per_token / 0.95);
}

World beside(const Load& load, const tenant::TenantLimits& limits = {}) {
  World world = victim_alone(1);
  world.tenants.push_back(limits);
  Dice dice(9);
  add_load(world, dice, load);
  return world;
}

TEST(Neighbour, AFloodOfRequestsDoesNotHarm) {
  expect_unharmed(beside({.tenant = 1,
                          .requests = 3000,
                          .live = 64,
                          .prompt_least = 512,
                          .prompt_most = 512,
                          .output_least = 256,
                          .output_most = 256}));
}

TEST(Neighbour, AMemoryHogDoesNotHarm) {
  expect_unharmed(beside({.tenant = 1,
                          .requests = 3000,
                          .live = 64,
                          .prompt_least = 512,
                          .prompt_most = 512,
                          .output_least = 512,
                          .output_most = 512}));
}

TEST(Neighbour, TwoHogsTogetherDoNotHarm) {
  World world = beside({.tenant = 1,
                        .requests = 3000,
                        .live = 64,
                        .prompt_least = 400,
                        .prompt_most = 600,
                        .output_least = 512,
                        .output_most = 512});
  world.tenants.push_back({});
  Dice dice(10);
  add_load(world, dice,
           {.tenant = 2,
            .requests = 3000,
            .live = 64,
            .prompt_least = 400,
            .prompt_most = 600,
            .output_least = 512,
            .output_most = 512});
  expect_unharmed(world);
}

TEST(Neighbour, PromptsOfTheWholePoolDoNotHarm) {
  expect_unharmed(beside({.tenant = 1,
                          .requests = 3000,
                          .live = 64,
                          .prompt_least = 3000,
                          .prompt_most = 3900,
                          .output_least = 4,
                          .output_most = 16}));
}

TEST(Neighbour, AStormOfCancelsDoesNotHarm) {
  World world = beside({.tenant = 1,
                        .requests = 30'000,
                        .live = 64,
                        .prompt_least = 16,
                        .prompt_most = 800,
                        .output_least = 64,
                        .output_most = 256});
  Dice dice(11);
  for (Arrival& a : world.arrivals) {
    if (a.tenant == 1) a.cancel_after = dice.from(1, 4);
  }
  expect_unharmed(world);
}

// More than its queue takes: the simulator's clients come again in every step until they are let in.
TEST(Neighbour, AStormOfRetriesDoesNotHarm) {
  expect_unharmed(beside(
      {.tenant = 1, .requests = 20'000, .prompt_least = 16, .prompt_most = 64, .output_least = 1, .output_most = 8},
      {.queue_max = 4}));
}

// Very many sessions that each run something short at once.
TEST(Neighbour, AStormOfSessionsDoesNotHarm) {
  expect_unharmed(beside({.tenant = 1,
                          .requests = 60'000,
                          .live = 1000,
                          .prompt_least = 1,
                          .prompt_most = 16,
                          .output_least = 1,
                          .output_most = 3},
                         {.queue_max = 1000}));
}

// Many tenants that keep all sequences running, none of them more than two. A tenant of four times their weight does
// not wait for one to end.
TEST(Neighbour, TenantsThatRunAllSequencesDoNotHarm) {
  World world = victim_alone(1);
  world.tenants[kVictim].weight = 4;
  for (uint32_t t = 1; t <= 8; ++t) {
    world.tenants.push_back({});
    Dice dice(20 + t);
    add_load(world, dice,
             {.tenant = t,
              .requests = 2000,
              .live = 2,
              .prompt_least = 32,
              .prompt_most = 64,
              .output_least = 100,
              .output_most = 200});
  }
  expect_unharmed(world);
}

// Sessions that have run something and are never ended, from one tenant and from several, none of which is above its
// part of the pool.
TEST(Neighbour, AHoardOfIdleSessionsDoesNotHarm) {
  for (const uint32_t tenants : {1u, 4u}) {
    World world = victim_alone(1);
    Dice dice(12);
    for (uint32_t t = 1; t <= tenants; ++t) {
      world.tenants.push_back({});
      add_load(world, dice,
               {.tenant = t,
                .requests = 4000 / tenants,
                .live = 4,
                .prompt_least = 100,
                .prompt_most = 500,
                .output_least = 16,
                .output_most = 64});
    }
    for (Arrival& a : world.arrivals) a.stays = a.tenant != kVictim;
    expect_unharmed(world);
    Simulator sim(world);
    sim.run(kNeighbourSteps);
    EXPECT_GT(sim.dropped(), 100u);
  }
}

}  // namespace
}  // namespace merritt::sim
