// SPDX-License-Identifier: Apache-2.0
// Sequences are taken from who runs many, once each, and not before a request has run what it would have to run again.
#include "tests/sdk/scheduler/driver.hpp"

namespace merritt::scheduler {
namespace {

struct Slots : ::testing::Test {
  std::vector<uint64_t> run(tenant::Tenant* tenant, uint32_t n, uint32_t output = 200) {
    std::vector<uint64_t> all;
    for (uint32_t i = 0; i < n; ++i) all.push_back(d.submit(tenant, 16, output));
    return all;
  }
  uint32_t running(tenant::Tenant* tenant) const { return tenant->usage().sequences_running; }
  void steps(int n) {
    for (; n != 0; --n) d.step();
  }

  Driver d{{.step_tokens_max = 256, .sequences_max = 8, .rows_max = 8}};
  tenant::Tenant *many = d.add_tenant(), *few = d.add_tenant(), *victim = d.add_tenant();
};

TEST_F(Slots, AreTakenFromTheTenantThatRunsMost) {
  const auto of_many = run(many, 6), of_few = run(few, 2);
  steps(3);
  ASSERT_EQ(running(many), 6u);
  const uint64_t r = d.submit(victim, 16, 40);
  d.step();
  EXPECT_TRUE(d.first_token.contains(r)) << "in the step after its arrival";
  EXPECT_EQ(d.preempted, 1u);
  EXPECT_FALSE(d.requests.at(of_many.back()).started) << "the one that started last";
  for (int i = 0; i < 3; ++i) {
    d.submit(victim, 16, 40);
    steps(3);
  }
  EXPECT_EQ(running(victim), 3u) << "the fourth would leave less than it takes";
  EXPECT_EQ(running(many), 3u);
  EXPECT_EQ(running(few), 2u);
  EXPECT_EQ(d.preempted, 3u) << "nobody takes back";
  d.drain(2000);
  EXPECT_EQ(d.finished.size(), of_many.size() + of_few.size() + 4);
}

TEST_F(Slots, AWeightIsAPart) {
  ASSERT_TRUE(victim->set_limits({.weight = 4}, 0).ok());
  for (int t = 0; t < 8; ++t) run(d.add_tenant(), 1);
  steps(3);
  for (int i = 0; i < 4; ++i) d.submit(victim, 16, 40);
  d.step();
  EXPECT_EQ(running(victim), 1u) << "no second one before the others have had as much";
  steps(15);
  EXPECT_EQ(running(victim), 2u) << "of twelve parts it has four; what it takes leaves the others within twice of it";
  EXPECT_EQ(d.preempted, 2u);
  d.drain(3000);
}

TEST_F(Slots, StayWithThoseThatRunFew) {
  for (int t = 0; t < 8; ++t) run(d.add_tenant(), 1, 50);
  steps(3);
  const uint64_t r = d.submit(victim, 16, 40);
  steps(30);
  EXPECT_FALSE(d.first_token.contains(r));
  d.drain(300);
  EXPECT_EQ(d.preempted, 0u);
}

// What a taken request has run is run again: as much that is new must have been run since it started.
TEST_F(Slots, AreNotTakenBeforeTheyHavePaid) {
  d.keep_sequences = true;
  std::vector<kv::SequenceId> sessions;
  for (int i = 0; i < 8; ++i) {
    const uint64_t r = d.submit(many, 200, 2);
    sessions.push_back(d.requests.at(r).s.sequence);
    d.drain(20);
  }
  for (const kv::SequenceId sequence : sessions) d.submit(many, 8, 400, 1, 0, sequence);
  steps(10);
  const uint64_t r = d.submit(victim, 16, 4);
  steps(20);
  EXPECT_FALSE(d.first_token.contains(r)) << "200 tokens of past, and less than 100 new ones";
  steps(300);
  EXPECT_TRUE(d.first_token.contains(r));
  EXPECT_EQ(d.preempted, 1u);
}

// What a request began with, and could begin with again, it has not run and would not run.
TEST_F(Slots, AreTakenFromWhoBeganWithWhatIsThere) {
  const kv::SequenceId entry = d.cache->create(many->kv_account());
  ASSERT_TRUE(d.cache->prepare_append(entry, 192).ok() && d.cache->commit(entry, 192, kv::TokenClass::kPrompt).ok());
  for (int i = 0; i < 8; ++i) {
    const kv::SequenceId begun = *d.cache->share(entry, 192, many->kv_account());
    d.submit({.tenant = many,
              .sequence = begun,
              .prompt_tokens = 8,
              .max_new_tokens = 400,
              .beginning = {.sequence = entry, .tokens = 192}});
  }
  steps(10);
  const uint64_t r = d.submit(victim, 16, 4);
  uint32_t prompts = 0;
  for (int i = 0; i < 20; ++i) prompts += d.step().n_prompt_tokens;
  EXPECT_TRUE(d.first_token.contains(r));
  EXPECT_EQ(d.preempted, 1u);
  EXPECT_EQ(d.begun_again, 1u);
  EXPECT_LT(prompts, 16u + 8 + 20) << "its own prompt and what it generated";
  d.cache->release(entry);  // nobody can begin with it any more
  d.submit(victim, 16, 4);
  d.submit(victim, 16, 4);
  steps(20);
  EXPECT_EQ(d.preempted, 1u);
  d.drain(2000);
}

// Requests of a token each, one after another, cannot keep a tenant running the same again and again.
TEST_F(Slots, AStormOfShortRequestsCostsNoMoreThanWhatIsNew) {
  const auto all = run(many, 30, 150);
  uint64_t short_ones = 0, tokens = 0;
  while (!d.done(all.back()) && d.step_number < 5000) {
    if (victim->usage().requests_waiting == 0 && running(victim) == 0)
      short_ones += d.submit(victim, 1, 1) != 0 ? 1 : 0;
    const BatchPlan& plan = d.step();
    tokens += plan.n_prompt_tokens + 2 * (plan.n_tokens - plan.n_prompt_tokens);
  }
  const uint64_t new_tokens = all.size() * (16 + 2 * 149) + short_ones;
  EXPECT_GT(short_ones, 100u);
  EXPECT_GT(d.preempted, 5u);
  EXPECT_LE(d.preempted, 4 * all.size());
  EXPECT_LE(tokens, 2 * new_tokens);
  d.drain(2000);
  for (const uint64_t r : all) EXPECT_TRUE(d.finished.contains(r)) << r;
}

TEST_F(Slots, AreTakenForAllSamplesOrForNone) {
  run(many, 4);
  run(few, 4);
  steps(3);
  const uint64_t three = d.submit(victim, 16, 40, 3);  // each of the two can give one
  steps(3);
  EXPECT_FALSE(d.first_token.contains(three));
  EXPECT_EQ(d.preempted, 0u);
  const uint64_t two = d.submit(d.add_tenant(), 16, 40, 2);  // one of each
  steps(3);
  EXPECT_TRUE(d.first_token.contains(two));
  EXPECT_EQ(running(many), 3u);
  EXPECT_EQ(running(few), 3u);
  d.drain(2000);
}

}  // namespace
}  // namespace merritt::scheduler
