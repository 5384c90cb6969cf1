// SPDX-License-Identifier: Apache-2.0
// The counters alone: weights, the three resources, the lift, refunds, ties; and what the scheduler tells them.
#include "scheduler/policy.hpp"

#include <random>

#include "tests/sdk/scheduler/driver.hpp"

namespace merritt::scheduler {
namespace {

constexpr TenantId kA{1}, kB{2}, kC{3};

size_t pick(const Policy& policy, std::vector<Candidate> candidates) {
  for (Candidate& each : candidates) each.served = policy.served(each.tenant);
  return policy.pick(candidates);
}

TEST(VirtualTokens, TheLeastServedByWeightIsNext) {
  VirtualTokens policy;
  for (const TenantId id : {kA, kB}) policy.enter(id, Return::kFromIdleness);
  EXPECT_EQ(pick(policy, {{kA, 7, 0}, {kB, 3, 0}}), 1u) << "equal: the oldest request";
  policy.charge(kA, 3, {300, 0, 0});
  policy.charge(kB, 1, {101, 0, 0});
  EXPECT_EQ(pick(policy, {{kA, 7, 0}, {kB, 3, 0}}), 0u);
  policy.charge(kA, 3, {6, 0, 0});
  EXPECT_EQ(pick(policy, {{kA, 7, 0}, {kB, 3, 0}}), 1u);
}

TEST(VirtualTokens, TheDominantResourceCounts) {
  VirtualTokens policy;
  for (const TenantId id : {kA, kB}) policy.enter(id, Return::kFromIdleness);
  policy.charge(kA, 1, {10, 50, 0});
  policy.charge(kB, 1, {40, 40, 49});
  EXPECT_EQ(policy.served(kA, 1, {}), 50u);
  EXPECT_EQ(policy.served(kB, 1, {}), 49u);
  EXPECT_EQ(policy.served(kB, 1, {11, 0, 0}), 51u);
  EXPECT_EQ(pick(policy, {{kA, 1, 0}, {kB, 2, 0}}), 1u);
}

TEST(VirtualTokens, WhoReturnsIsLiftedToTheLeastOfThoseThatStayed) {
  VirtualTokens policy;
  for (const TenantId id : {kA, kB}) policy.enter(id, Return::kFromIdleness);
  policy.charge(kA, 1, {1000, 0, 0});
  policy.charge(kB, 1, {1500, 200, 0});
  policy.enter(kC, Return::kFromIdleness);
  EXPECT_EQ(policy.served(kC, 1, {}), 1000u);
  policy.leave(kA);
  policy.charge(kB, 1, {500, 0, 0});
  policy.leave(kC);
  policy.enter(kA, Return::kFromOwnLimit);
  EXPECT_EQ(policy.served(kA, 1, {}), 2000u);
  policy.leave(kA);
  policy.leave(kB);
  policy.charge(kB, 1, {100, 0, 0});  // what it still runs
  policy.enter(kC, Return::kFromIdleness);
  EXPECT_EQ(policy.served(kC, 1, {}), 2100u) << "nobody stayed: what the last one that left has";
}

TEST(VirtualTokens, WaitingOnTwoModelsIsOneReturn) {
  VirtualTokens policy;
  for (const TenantId id : {kA, kB, kB}) policy.enter(id, Return::kFromIdleness);
  policy.charge(kA, 1, {1000, 0, 0});
  policy.leave(kB);
  policy.enter(kB, Return::kFromIdleness);
  EXPECT_EQ(policy.served(kB, 1, {}), 0u) << "it never left";
}

TEST(VirtualTokens, RefundsAndRemaindersAddUp) {
  VirtualTokens policy;
  policy.enter(kA, Return::kFromIdleness);
  std::mt19937 random(5);
  std::vector<uint64_t> charged;
  for (int i = 0; i < 2000; ++i) {
    charged.push_back(random() % 1000);
    policy.charge(kA, 7, {charged.back(), 0, 0});
  }
  uint64_t total = 0;
  for (const uint64_t each : charged) total += each;
  EXPECT_EQ(policy.served(kA, 1, {}), total / 7);
  for (const uint64_t each : charged) policy.refund(kA, 7, {each, 0, 0});
  EXPECT_EQ(policy.served(kA, 1, {}), 0u);
}

// Ten thousand tenants that came once leave no more behind than those that did not get ahead need.
TEST(VirtualTokens, ForgetsWhoIsNotAheadOfTheOthers) {
  VirtualTokens policy;
  policy.enter(kA, Return::kFromIdleness);
  policy.charge(kA, 1, {1'000'000, 0, 0});
  for (uint32_t id = 2; id < 20'000; ++id) {
    policy.enter(TenantId{id}, Return::kFromIdleness);
    policy.charge(TenantId{id}, 1, {id % 2 == 0 ? 0u : 5u, 0, 0});
    policy.leave(TenantId{id});
  }
  EXPECT_EQ(policy.served(kA, 1, {}), 1'000'000u);
}

constexpr Limits kTokens{.step_tokens_max = 64,
                         .sequences_max = 8,
                         .rows_max = 8,
                         .costs = {.prompt_token = 1, .generated_token = 2, .compute_price = 1, .pages = false}};

TEST(Charges, APromptIsPaidAtItsStartAndTokensAsTheyCome) {
  Driver d(kTokens);
  tenant::Tenant* a = d.add_tenant({.weight = 2});
  d.submit(a, 100, 3);
  d.step();
  EXPECT_EQ(d.policy->served(a->id()), 50u);
  d.step();
  EXPECT_EQ(d.policy->served(a->id()), 51u);
  d.step();
  EXPECT_EQ(d.policy->served(a->id()), 52u);
  d.drain(5);
  EXPECT_EQ(d.policy->served(a->id()), 53u);
}

TEST(Charges, WhatACancelledPromptDidNotUseIsGivenBack) {
  Driver d(kTokens);
  tenant::Tenant* a = d.add_tenant();
  const uint64_t r = d.submit(a, 1000, 3);
  d.step();
  EXPECT_EQ(d.policy->served(a->id()), 1000u);
  d.scheduler.cancel(r);
  d.step();
  EXPECT_EQ(d.policy->served(a->id()), 64u);
  const uint64_t late = d.submit(a, 1000, 3, 1, d.now_ns + 1'500'000);
  d.step();
  d.step();
  EXPECT_EQ(d.outcomes.at(late), EndReason::kDeadline);
  EXPECT_EQ(d.policy->served(a->id()), 128u);
}

TEST(Charges, PagesArePaidForInEveryStep) {
  Limits limits = kTokens;
  limits.costs = {};
  Driver d(limits, {{.window = 0, .page_tokens = 16, .n_pages = 64, .page_bytes = 16}});
  tenant::Tenant* a = d.add_tenant();
  d.submit(a, 512, 2);  // half of the pool
  while (d.first_token.empty()) d.step();
  const uint64_t compute = 512 * (kStepShare / 16);
  EXPECT_EQ(d.policy->served(a->id()), compute + 2 * (kStepShare / 16)) << "compute leads";
  d.scheduler.charge_bytes(*a, uint64_t{64 << 20} * 100);
  EXPECT_EQ(d.policy->served(a->id()), 100 * kStepShare);
}

TEST(Prefill, IsSplitByWeight) {
  Driver d(kTokens);
  tenant::Tenant *a = d.add_tenant({.weight = 3}), *b = d.add_tenant();
  d.submit(a, 500, 2);
  d.submit(b, 500, 2);
  d.step();
  EXPECT_EQ(d.trace, "1: +1 +2 1.0p48 2.0p16\n");
}

// Far into a prompt a token costs more, so the chunks get shorter; what others decode stays in every step.
TEST(Prefill, ChunksShrinkWithThePast) {
  Limits limits = kTokens;
  limits.past_doubles = 256;
  Driver d(limits);
  tenant::Tenant* a = d.add_tenant();
  d.submit(a, 4, 200);
  d.step();
  d.submit(a, 1500, 2);
  uint32_t first = 0, last = 0;
  for (int i = 0; i < 60; ++i) {
    const BatchPlan& plan = d.step();
    EXPECT_FALSE(plan.runs[0].prompt);
    if (plan.runs.size() < 2 || !plan.runs[1].prompt) continue;
    if (first == 0) first = plan.runs[1].n_tokens;
    if (!plan.runs[1].last_of_prompt) last = plan.runs[1].n_tokens;
  }
  EXPECT_GT(first, 50u);
  EXPECT_LT(last, 15u);
  EXPECT_GT(last, 5u);
}

}  // namespace
}  // namespace merritt::scheduler
