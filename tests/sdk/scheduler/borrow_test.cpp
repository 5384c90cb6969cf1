// SPDX-License-Identifier: Apache-2.0
// Floors that are promised, pages that are borrowed and taken back, default ceilings; and that everybody gets done.
#include <random>

#include "tests/sdk/scheduler/driver.hpp"

namespace merritt::scheduler {
namespace {

TEST(Borrow, BeginsWithThePromptAndGrowsByPages) {
  Driver d(kSmall, pages(64));
  tenant::Tenant* a = d.add_tenant();
  d.submit(a, 20, 200);
  d.step();
  EXPECT_EQ(a->kv_account()->claimed_bytes, 3u * 16) << "the prompt and a page";
  for (int i = 0; i < 60; ++i) d.step();
  EXPECT_EQ(a->kv_account()->claimed_bytes, 6u * 16);
  d.drain(200);
  EXPECT_EQ(a->kv_account()->claimed_bytes, 0u);
}

// The one that started last goes back and is run again: its prompt, then what it had generated, without a draw.
TEST(Borrow, TheLatestGoesBackAndRunsAgain) {
  Driver d(kSmall, pages(8));
  tenant::Tenant* a = d.add_tenant();
  const uint64_t first = d.submit(a, 30, 80), second = d.submit(a, 30, 60);
  d.drain(400);
  EXPECT_GE(d.preempted, 1u);
  EXPECT_LT(d.finished.at(first), d.finished.at(second));
  EXPECT_NE(d.trace.find("2.0r"), std::string::npos) << d.trace;
  EXPECT_EQ(a->usage().requests_running + a->usage().requests_waiting + a->usage().sequences_running, 0u);
}

TEST(Borrow, TheTenantFurthestAboveItsPartPays) {
  Driver d(kSmall, pages(20));
  tenant::Tenant *hog = d.add_tenant(), *light = d.add_tenant();
  const uint64_t small = d.submit(light, 16, 100);
  d.submit(hog, 100, 90);
  d.submit(hog, 60, 90);
  d.step();
  d.drain(1000);
  EXPECT_GE(d.preempted, 1u);
  EXPECT_EQ(d.trace.find(" 1.0r"), std::string::npos);
  EXPECT_EQ(d.finished.at(small), 100u) << "not held up for a step";
}

TEST(Borrow, AFloorIsThereWhenItIsWanted) {
  Driver d(kSmall, pages(16));
  tenant::Tenant *hog = d.add_tenant(), *owner = d.add_tenant();
  owner->kv_account()->floor_bytes = 6 * 16;
  for (int i = 0; i < 3; ++i) d.submit(hog, 70, 100);
  d.step();
  d.step();
  const uint64_t r = d.submit(owner, 40, 50);  // six pages
  d.step();
  EXPECT_TRUE(d.requests.at(r).started);
  EXPECT_GE(d.preempted, 1u);
  EXPECT_EQ(owner->kv_account()->floor_used_bytes, 6u * 16);
  EXPECT_EQ(owner->kv_account()->claimed_bytes, 6u * 16) << "the worst case";
  d.drain(2000);
  EXPECT_EQ(d.trace.find(" " + std::to_string(r) + ".0r"), std::string::npos) << "never taken back";
  EXPECT_EQ(owner->kv_account()->floor_used_bytes, 0u);
}

// Above its ceiling a tenant holds what nobody wants, and is the first to give it back, whatever the others hold.
TEST(Borrow, ABurstLastsUntilSomebodyWantsThePages) {
  Driver d(kSmall, pages(16));
  tenant::Tenant *burst = d.add_tenant(), *other = d.add_tenant();
  burst->kv_account()->limit_bytes = 4 * 16;
  burst->kv_account()->burst_bytes = 6 * 16;
  const uint64_t in_burst = d.submit(burst, 70, 60);  // nine pages in the end
  for (int i = 0; i < 20; ++i) d.step();
  EXPECT_GT(burst->kv_account()->claimed_bytes, 4u * 16);
  const uint64_t more = d.submit(other, 140, 60);  // thirteen, most of the pool
  d.drain(2000);
  EXPECT_GE(d.preempted, 1u);
  EXPECT_NE(d.trace.find(" " + std::to_string(in_burst) + ".0r"), std::string::npos) << d.trace;
  EXPECT_EQ(d.trace.find(" " + std::to_string(more) + ".0r"), std::string::npos) << d.trace;
}

TEST(Borrow, TheHardLimitIsCeilingAndBurst) {
  Driver d(kSmall, pages(64));
  tenant::Tenant* a = d.add_tenant();
  a->kv_account()->limit_bytes = 4 * 16;
  a->kv_account()->burst_bytes = 2 * 16;
  d.submit(a, 40, 40);  // five pages
  d.submit(a, 40, 40);
  uint64_t most = 0;
  for (int i = 0; i < 300; ++i) {
    d.step();
    most = std::max<uint64_t>(most, a->kv_account()->claimed_bytes);
  }
  EXPECT_LE(most, 6u * 16);
  EXPECT_GT(most, 4u * 16);
}

TEST(Borrow, ALoweredCeilingEndsNothingThatWasAccepted) {
  Driver d(kSmall, pages(16));
  tenant::Tenant* a = d.add_tenant();
  const uint64_t runs = d.submit(a, 30, 80), waits = d.submit(a, 30, 120);
  d.step();
  tenant::TenantLimits lower;
  lower.kv_bytes_max = 4 * 16;
  ASSERT_TRUE(a->set_limits(lower, 0).ok());
  EXPECT_EQ(d.submit(a, 30, 80), 0u) << "seven pages are too many for a new one";
  EXPECT_EQ(d.refusal.code(), Code::kQuotaExceeded);
  d.drain(1000);
  EXPECT_TRUE(d.finished.contains(runs) && d.finished.contains(waits));
  EXPECT_EQ(a->kv_account()->limit_in_force(), 4u * 16);
}

TEST(Borrow, FloorsAreNoMoreThanThePool) {
  EXPECT_TRUE(kv::check_floors(60, 40, 100).ok());
  EXPECT_EQ(kv::check_floors(61, 40, 100).code(), Code::kInvalidArgument);
  EXPECT_EQ(kv::check_floors(UINT64_MAX, 40, 100).code(), Code::kInvalidArgument);
}

// Of two tenants or more, one without a ceiling of its own leaves a quarter of the sequences and of the pool.
TEST(Borrow, OneOfSeveralTenantsLeavesAQuarter) {
  Driver d(kSmall, pages(64));
  d.policy->set_tenants(2);
  tenant::Tenant *hog = d.add_tenant(), *light = d.add_tenant();
  for (int i = 0; i < 20; ++i) d.submit(hog, 16, 60);
  d.step();
  EXPECT_EQ(hog->usage().sequences_running, 6u);
  const uint64_t r = d.submit(light, 16, 4);
  d.step();
  EXPECT_TRUE(d.first_token.contains(r));
  d.drain(1000);

  Driver e(kSmall, pages(64));
  e.policy->set_tenants(2);
  hog = e.add_tenant();
  for (int i = 0; i < 6; ++i) e.submit(hog, 200, 60);
  for (int i = 0; i < 100; ++i) {
    e.step();
    EXPECT_LE(hog->kv_account()->claimed_bytes, 49u * 16);
  }
  e.drain(2000);

  Driver alone(kSmall, pages(64));
  alone.policy->set_tenants(2);
  const uint64_t large = alone.submit(alone.add_tenant(), 900, 60);  // more than its part, but nobody else is there
  alone.drain(200);
  EXPECT_TRUE(alone.finished.contains(large));
}

// Requests that each want most of the pool, from tenants of any weight, with floors, samples and drafts: whatever takes
// their pages, each is taken back four times at most, and all end.
TEST(BorrowProperty, EverybodyGetsDone) {
  uint64_t preempted = 0;
  for (uint64_t seed = 1; seed <= 20 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto pick = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    Limits limits = kSmall;
    limits.draft_rows_max = pick(2) * 8;
    Driver d(limits, {{.window = 0, .page_tokens = 8, .n_pages = 40, .page_bytes = 8},
                      {.window = 24, .page_tokens = 8, .n_pages = 64, .page_bytes = 8}});
    d.draft = [&] { return pick(4); };
    d.accept = [&](uint32_t n) { return pick(n + 1); };
    for (uint32_t t = 0; t < 3; ++t) d.add_tenant({.weight = 1 + pick(4)});
    if (pick(2) == 0) d.tenants[0]->kv_account()->floor_bytes = 160;
    d.policy->set_tenants(1 + pick(3));
    std::vector<uint64_t> all;
    for (uint32_t i = 0; i < 60; ++i) {
      const uint32_t n = pick(4) == 0 ? 2 : 1;
      all.push_back(d.submit(d.tenants[pick(3)].get(), 1 + pick(120), 1 + pick(60), n));
      ASSERT_NE(all.back(), 0u) << d.refusal.message();
      for (uint32_t s = pick(4); s != 0; --s) d.step(pick(40) == 0);
    }
    d.drain(20'000);
    for (const uint64_t request : all) EXPECT_TRUE(d.finished.contains(request)) << request;
    EXPECT_LE(d.preempted, 4 * all.size());
    preempted += d.preempted;
    for (const auto& tenant : d.tenants) {
      EXPECT_EQ(tenant->kv_account()->claimed_bytes, 0u);
      EXPECT_EQ(tenant->kv_account()->floor_used_bytes, 0u);
      EXPECT_EQ(tenant->usage().requests_running + tenant->usage().requests_waiting, 0u);
    }
  }
  EXPECT_GT(preempted, 100u);
}

// A tail of requests behind one that was taken back does not keep it from ending.
TEST(Borrow, AnEndlessStreamOfOthersStarvesNobody) {
  Driver d(kSmall, pages(24));
  tenant::Tenant *large = d.add_tenant(), *small = d.add_tenant(), *other = d.add_tenant();
  uint64_t r = 0;
  uint32_t n = 0;
  for (int i = 0; i < 2000 && (r == 0 || !d.done(r)); ++i) {
    for (; d.requests.size() < 20; ++n) d.submit(n % 2 == 0 ? small : other, 8 + n % 40, 5 + 7 * n % 90);
    if (i == 10) r = d.submit(large, 150, 200);
    d.step();
  }
  EXPECT_TRUE(d.finished.contains(r));
}

}  // namespace
}  // namespace merritt::scheduler
