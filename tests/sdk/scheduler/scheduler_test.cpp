// SPDX-License-Identifier: Apache-2.0
#include <random>

#include "tests/sdk/scheduler/driver.hpp"

namespace merritt::scheduler {
namespace {

constexpr Limits kQueueing{
    .step_tokens_max = 64, .sequences_max = 8, .rows_max = 8, .prefill_chunk = 0, .queue_max = 32};

TEST(Scheduler, RunsAPromptInChunksThenDecodes) {
  Driver d(kQueueing);
  const uint64_t r = d.submit(d.add_tenant(), 150, 3);
  d.drain(100);
  EXPECT_EQ(d.trace, "1: +1 1.0p64\n2: 1.0p64\n3: 1.0p22\n4: 1.0d1\n5: 1.0d1\n");
  EXPECT_TRUE(d.finished.contains(r));
  EXPECT_EQ(d.tenants[0]->usage().requests_running, 0u);
  EXPECT_EQ(d.tenants[0]->kv_account()->claimed_bytes, 0u);
}

TEST(Scheduler, DecodesComeFirstAndPromptsTakeTheRest) {
  Driver d(kQueueing);
  tenant::Tenant* a = d.add_tenant();
  d.submit(a, 4, 50);
  d.step();
  d.submit(a, 200, 2);
  const BatchPlan& plan = d.step();
  ASSERT_EQ(plan.runs.size(), 2u);
  EXPECT_FALSE(plan.runs[0].prompt);
  EXPECT_EQ(plan.runs[0].n_rows, 1u);
  EXPECT_EQ(plan.runs[0].token_class, kv::TokenClass::kGenerated);
  EXPECT_EQ(plan.runs[1].n_tokens, 63u);
  EXPECT_EQ(plan.runs[1].n_rows, 0u);
  EXPECT_EQ(plan.runs[1].token_class, kv::TokenClass::kPrompt);
}

// Whoever's turn it is: a third of the step is the victim's.
TEST(Scheduler, LongPromptsKeepNoOtherTenantWaiting) {
  for (int steps = 1; steps <= 4; ++steps) {
    Driver d(kQueueing);
    tenant::Tenant *victim = d.add_tenant(), *hog = d.add_tenant(), *pig = d.add_tenant();
    for (int i = 0; i < 3; ++i) {
      d.submit(hog, 5000, 2);
      d.submit(pig, 5000, 2);
    }
    for (int i = 0; i < steps; ++i) d.step();
    const uint64_t r = d.submit(victim, 20, 2);
    d.step();
    EXPECT_EQ(d.first_token[r], d.step_number);
  }
}

TEST(Scheduler, TenantsTakeTurnsAndATenantsRequestsKeepTheirOrder) {
  Limits limits = kQueueing;
  limits.sequences_max = 1;
  Driver d(limits);
  tenant::Tenant *a = d.add_tenant(), *b = d.add_tenant();
  const uint64_t a1 = d.submit(a, 4, 2), a2 = d.submit(a, 4, 2), a3 = d.submit(a, 4, 2);
  const uint64_t b1 = d.submit(b, 4, 2), b2 = d.submit(b, 4, 2);
  d.drain(100);
  const std::vector<uint64_t> order{a1, b1, a2, b2, a3};
  for (size_t i = 1; i < order.size(); ++i) EXPECT_LT(d.finished.at(order[i - 1]), d.finished.at(order[i]));
}

TEST(Scheduler, QueueIsBounded) {
  Limits limits = kQueueing;
  limits.queue_max = 2;
  Driver d(limits);
  tenant::Tenant* a = d.add_tenant();
  EXPECT_NE(d.submit(a, 4, 4), 0u);
  EXPECT_NE(d.submit(a, 4, 4), 0u);
  EXPECT_EQ(d.submit(a, 4, 4), 0u);
  EXPECT_EQ(d.refusal.code(), Code::kOverloaded);
  EXPECT_GT(d.refusal.retry_after_ms(), 0u);
  Submission s{.request = 99,
               .tenant = a,
               .sequence = d.cache->create(a->kv_account()),
               .prompt_tokens = 4,
               .max_new_tokens = 4};
  EXPECT_EQ(d.scheduler.submit(s).code(), Code::kOverloaded);  // also without the tenant's own look
  d.step();
  EXPECT_TRUE(d.scheduler.submit(s).ok());
}

TEST(Scheduler, RefusesWhatCanNeverRun) {
  Driver d(kQueueing, {{.window = 0, .page_tokens = 16, .n_pages = 4, .page_bytes = 16}});
  tenant::Tenant* a = d.add_tenant();
  EXPECT_EQ(d.submit(a, 60, 5), 0u);
  EXPECT_EQ(d.refusal.code(), Code::kInvalidArgument);
  EXPECT_NE(d.refusal.message().find("5 KV pages"), std::string_view::npos);
  EXPECT_NE(d.refusal.message().find("has 4"), std::string_view::npos);
  EXPECT_EQ(d.submit(a, 4, 4, 9), 0u);
  EXPECT_EQ(d.refusal.code(), Code::kInvalidArgument);
  EXPECT_EQ(d.submit(a, 0, 4), 0u);
  EXPECT_EQ(d.refusal.code(), Code::kInvalidArgument);
  tenant::Tenant* poor = d.add_tenant({.kv_bytes_max = 32});
  EXPECT_EQ(d.submit(poor, 30, 5), 0u);
  EXPECT_EQ(d.refusal.code(), Code::kQuotaExceeded);
  EXPECT_EQ(d.tenants[0]->usage().requests_waiting, 0u);
}

TEST(Scheduler, CancelsAndDeadlinesEndWithinOnePlan) {
  Driver d(kQueueing);
  d.keep_sequences = true;
  tenant::Tenant* a = d.add_tenant();
  const uint64_t running = d.submit(a, 4, 100), late = d.submit(a, 4, 100, 1, 3'000'000);
  d.step();
  Limits one = kQueueing;
  one.sequences_max = 1;
  d.scheduler.cancel(running);
  d.scheduler.cancel(12345);  // nobody
  const BatchPlan& plan = d.step();
  ASSERT_EQ(plan.ended.size(), 1u);
  EXPECT_EQ(d.outcomes.at(running), EndReason::kCancelled);
  for (const auto& run : plan.runs) EXPECT_NE(run.request, running);
  d.step();  // now is 3 ms
  EXPECT_EQ(d.outcomes.at(late), EndReason::kDeadline);
  EXPECT_TRUE(d.scheduler.idle());
  EXPECT_EQ(d.tenants[0]->usage().requests_running, 0u);

  EXPECT_EQ(a->kv_account()->claimed_bytes, a->kv_account()->held_bytes);  // no reservation outlives its request

  Driver w(one);
  tenant::Tenant* b = w.add_tenant();
  w.submit(b, 4, 100);
  const uint64_t waiting = w.submit(b, 4, 100, 1, 2'000'000), cancelled = w.submit(b, 4, 100);
  w.scheduler.cancel(cancelled);
  w.step();
  EXPECT_EQ(w.outcomes.at(cancelled), EndReason::kCancelled);
  w.step();
  EXPECT_EQ(w.outcomes.at(waiting), EndReason::kDeadline);
  EXPECT_EQ(b->usage().requests_waiting, 0u);
  b->close();
  w.step();
  EXPECT_TRUE(w.scheduler.idle());  // a destroyed tenant's requests end
}

TEST(Scheduler, SamplesForkAfterThePrompt) {
  Driver d(kQueueing);
  const uint64_t r = d.submit(d.add_tenant(), 20, 5, 3);
  d.drain(100);
  EXPECT_TRUE(d.finished.contains(r));
  EXPECT_EQ(d.trace, "1: +1 1.0p20\n2: 1.0d1 1.1d1 1.2d1\n3: 1.0d1 1.1d1 1.2d1\n4: 1.0d1 1.1d1\n5: 1.0d1\n");
  EXPECT_EQ(d.cache->n_sequences(), 0u);
  EXPECT_EQ(d.cache->bytes_held(), 0u);
}

TEST(Scheduler, AFailedStepIsPlannedAgain) {
  Driver d(kQueueing);
  d.submit(d.add_tenant(), 100, 2);
  d.step();
  d.step(true);
  d.drain(10);
  EXPECT_EQ(d.trace, "1: +1 1.0p64\n2: 1.0p36\n3: 1.0p36\n4: 1.0d1\n");
}

TEST(Scheduler, EvaluationsWantEveryRowAndLeaveOthersTheirs) {
  Driver d(kQueueing);
  tenant::Tenant *a = d.add_tenant(), *b = d.add_tenant(), *c = d.add_tenant();
  Submission s{.tenant = a, .prompt_tokens = 30, .max_new_tokens = 0, .prompt_rows = Rows::kAll};
  const uint64_t eval = d.submit(s);
  s.tenant = b;
  const uint64_t other = d.submit(s);
  const uint64_t chat = d.submit(c, 10, 20);
  d.step();
  EXPECT_EQ(d.first_token.at(chat), 1u);
  d.drain(100);
  EXPECT_LT(d.finished.at(eval), 12u);
  EXPECT_LT(d.finished.at(other), 12u);

  Driver e(kQueueing);
  e.submit({.tenant = e.add_tenant(),
            .prompt_tokens = 3,
            .max_new_tokens = 0,
            .prompt_rows = Rows::kAll,
            .prompt_class = kv::TokenClass::kGenerated,
            .prompt_chunk = 1});
  const BatchPlan& plan = e.step();
  EXPECT_EQ(plan.runs[0].n_rows, 1u);
  EXPECT_EQ(plan.runs[0].token_class, kv::TokenClass::kGenerated);
  e.drain(2);
}

TEST(Scheduler, TenantsOwnSequenceLimitHoldsAndBlocksNobodyElse) {
  Driver d(kQueueing);
  tenant::Tenant *a = d.add_tenant({.sequences_max = 2}), *b = d.add_tenant();
  for (int i = 0; i < 5; ++i) d.submit(a, 4, 10);
  const uint64_t rb = d.submit(b, 4, 2);
  d.step();
  EXPECT_EQ(a->usage().sequences_running, 2u);
  EXPECT_EQ(d.first_token.at(rb), 1u);
  d.drain(200);
}

// What idle sessions hold beyond that gives way (at_rest_test.cpp).
TEST(Scheduler, RefusesWhenIdleSessionsHoldThePoolWithinAFloor) {
  Driver d(kQueueing, {{.window = 0, .page_tokens = 16, .n_pages = 4, .page_bytes = 16}});
  d.keep_sequences = true;
  tenant::Tenant *a = d.add_tenant(), *b = d.add_tenant();
  a->kv_account()->floor_bytes = 48;
  d.submit(a, 40, 2);
  d.drain(10);
  EXPECT_EQ(a->kv_account()->claimed_bytes, a->kv_account()->held_bytes);  // the reservation ended with the request
  const uint64_t r = d.submit(b, 30, 2);
  d.step();
  ASSERT_TRUE(d.failures.contains(r));
  EXPECT_EQ(d.failures.at(r).code(), Code::kOverloaded);
  EXPECT_GT(d.failures.at(r).retry_after_ms(), 0u);
  EXPECT_TRUE(d.scheduler.idle());
}

// A ceiling is for all models: what sessions of another one hold does not give way to a request of this one.
TEST(Scheduler, RefusesWhenSessionsOfAnotherModelHoldTheCeiling) {
  Driver e(kQueueing), other(kQueueing);
  tenant::Tenant *poor = e.add_tenant({.kv_bytes_max = 48}), *rich = e.add_tenant();
  const kv::SequenceId there = other.cache->create(poor->kv_account());
  ASSERT_TRUE(other.cache->prepare_append(there, 30).ok() && other.cache->commit(there, 30, {}).ok());
  e.submit(rich, 30, 200);
  const uint64_t over = e.submit(poor, 30, 2);
  e.step();
  EXPECT_EQ(e.failures.at(over).code(), Code::kQuotaExceeded);
}

// A request for most of the pool beside an endless stream of small ones of other tenants.
TEST(Scheduler, SmallRequestsDoNotStarveALargeOne) {
  Driver d(kQueueing, {{.window = 0, .page_tokens = 16, .n_pages = 16, .page_bytes = 16}});
  tenant::Tenant *large = d.add_tenant(), *small = d.add_tenant(), *other = d.add_tenant();
  uint64_t r = 0;
  uint32_t n = 0;
  for (int i = 0; i < 600 && (r == 0 || !d.done(r)); ++i) {
    for (; d.requests.size() < 14; ++n) d.submit(n % 2 == 0 ? small : other, 8, 5 + 7 * n % 19);
    if (i == 10) r = d.submit(large, 200, 8);
    d.step();
  }
  EXPECT_TRUE(d.finished.contains(r));
}

TEST(Scheduler, ARequestKeepsItsTenantAlive) {
  Driver d(kQueueing);
  d.submit(d.add_tenant(), 4, 10);
  d.step();
  const std::weak_ptr<tenant::Tenant> tenant = d.tenants[0];
  d.tenants.clear();
  d.step();
  EXPECT_FALSE(tenant.expired());
  d.drain(20);
  EXPECT_TRUE(tenant.expired());
}

struct Outcome {
  std::string trace;
  uint64_t finished = 0, ended = 0, accepted = 0;
};

Outcome random_world(uint64_t seed, uint32_t n_steps) {
  std::mt19937_64 random(seed);
  const auto pick = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  const Limits limits{.step_tokens_max = 16 + pick(64),
                      .sequences_max = 1 + pick(12),
                      .rows_max = 12 + pick(6),
                      .prefill_chunk = pick(2) * (4 + pick(30)),
                      .draft_rows_max = pick(2) * (2 + pick(16)),
                      .queue_max = 40};
  Driver d(limits, {{.window = 0, .page_tokens = 8, .n_pages = 64, .page_bytes = 8},
                    {.window = 20, .page_tokens = 8, .n_pages = 90, .page_bytes = 8}});
  d.draft = [&] { return pick(3) == 0 ? 0 : pick(12); };
  d.accept = [&](uint32_t n) { return pick(n + 1); };
  for (uint32_t t = 0; t < 4; ++t) d.add_tenant({.sequences_max = pick(2) * 4, .kv_bytes_max = t == 3 ? 512u : 0u});
  std::map<uint64_t, uint64_t> submitted;
  for (uint32_t i = 0; i < n_steps && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " step " + std::to_string(i));
    while (pick(3) == 0) {
      Submission s{.tenant = d.tenants[pick(4)].get(),
                   .prompt_tokens = 1 + pick(pick(4) == 0 ? 200 : 30),
                   .max_new_tokens = pick(20),
                   .n = pick(6) == 0 ? 2 + pick(3) : 1,
                   .deadline_ns = pick(10) == 0 ? d.now_ns + pick(60) * 1'000'000 : 0};
      if (s.max_new_tokens == 0) s.n = 1, s.prompt_rows = pick(2) == 0 ? Rows::kAll : Rows::kLast;
      if (const uint64_t r = d.submit(s); r != 0) submitted[r] = d.step_number;
    }
    if (pick(20) == 0) d.scheduler.cancel(1 + pick(static_cast<uint32_t>(d.next_request)));
    d.step(pick(30) == 0);
    // Nobody waits for ever: the load is finite, so 3000 steps are far more than anything takes.
    for (const auto& [request, live] : d.requests) EXPECT_LT(d.step_number - live.submitted_step, 3000u) << request;
  }
  d.drain(5000);
  for (const auto& [request, step] : submitted) EXPECT_TRUE(d.done(request)) << request;
  for (const auto& tenant : d.tenants) {
    const tenant::TenantUsage usage = tenant->usage();
    EXPECT_EQ(usage.requests_running + usage.requests_waiting + usage.sequences_running, 0u);
    EXPECT_EQ(tenant->kv_account()->claimed_bytes, 0u);
  }
  EXPECT_EQ(d.cache->n_sequences(), 0u);
  return {.trace = d.trace, .finished = d.finished.size(), .ended = d.outcomes.size(), .accepted = d.accepted};
}

TEST(SchedulerProperty, BudgetsHoldNobodyStarvesAndASeedReplays) {
  uint64_t finished = 0, ended = 0, accepted = 0;
  for (uint64_t seed = 1; seed <= 12 && !HasFailure(); ++seed) {
    const Outcome first = random_world(seed, 600), again = random_world(seed, 600);
    EXPECT_EQ(first.trace, again.trace);
    finished += first.finished;
    ended += first.ended;
    accepted += first.accepted;
  }
  EXPECT_GT(finished, 1000u);
  EXPECT_GT(ended, 50u);
  EXPECT_GT(accepted, 500u);
}

}  // namespace
}  // namespace merritt::scheduler
