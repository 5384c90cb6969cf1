// SPDX-License-Identifier: Apache-2.0
// Which of a tenant's own requests starts first and is taken back last. Other tenants do not notice.
#include "tests/sdk/scheduler/driver.hpp"

namespace merritt::scheduler {
namespace {

constexpr Limits kOne{.step_tokens_max = 64, .sequences_max = 1, .rows_max = 1};
uint64_t submit(Driver& d, tenant::Tenant* tenant, int32_t priority, uint32_t prompt, uint32_t output) {
  const uint64_t r =
      d.submit({.tenant = tenant, .prompt_tokens = prompt, .max_new_tokens = output, .priority = priority});
  EXPECT_NE(r, 0u) << d.refusal.message();
  return r;
}

TEST(Priority, TheHighestStartsFirstAndEqualsInTheirOrder) {
  Driver d(kOne);
  tenant::Tenant* a = d.add_tenant();
  std::vector<uint64_t> requests;
  for (const int32_t priority : {0, -100, 5, 0, 100, 5}) requests.push_back(submit(d, a, priority, 4, 3));
  d.drain(100);
  std::vector<std::pair<uint64_t, size_t>> order;
  for (size_t i = 0; i < requests.size(); ++i) order.emplace_back(d.finished.at(requests[i]), i);
  std::sort(order.begin(), order.end());
  const std::vector<size_t> expected{4, 2, 5, 0, 3, 1};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(order[i].second, expected[i]) << i;
}

// Step for step what it is without them.
TEST(Priority, SaysNothingToOtherTenants) {
  std::string traces[2];
  for (const bool with : {false, true}) {
    Driver d(kSmall, pages(20));
    for (int32_t t = 0; t < 3; ++t) d.add_tenant({.weight = 1 + static_cast<uint32_t>(t)});
    for (uint32_t i = 0; i < 60; ++i) {
      const uint32_t t = i % 3;
      submit(d, d.tenants[t].get(), with ? static_cast<int32_t>(t * 100) - 100 : 0, 1 + i * 7 % 90, 1 + i * 11 % 80);
      if (i % 4 == 0) d.step();
    }
    d.drain(5000);
    EXPECT_GT(d.preempted, 5u);
    traces[with] = d.trace;
  }
  EXPECT_EQ(traces[0], traces[1]);
}

TEST(Priority, SequencesAreTakenFromTheLowestAndOfEqualsFromTheLatest) {
  Driver d({.step_tokens_max = 256, .sequences_max = 8, .rows_max = 8});
  tenant::Tenant *many = d.add_tenant(), *few = d.add_tenant(), *other = d.add_tenant();
  std::vector<uint64_t> of_many;
  for (const int32_t priority : {0, -5, 3, -5, 0, 3}) {
    of_many.push_back(submit(d, many, priority, 16, 200));
    d.step();
  }
  for (int i = 0; i < 2; ++i) submit(d, few, -100, 16, 200);
  for (int i = 0; i < 20; ++i) d.step();
  const auto running = [&](size_t i) { return d.requests.at(of_many[i]).started; };
  submit(d, other, 0, 16, 200);
  d.step();
  EXPECT_EQ(d.preempted, 1u);
  EXPECT_FALSE(running(3)) << "the later one of those with -5";
  submit(d, other, 0, 16, 200);
  for (int i = 0; i < 6; ++i) d.step();
  EXPECT_EQ(d.preempted, 2u);
  EXPECT_FALSE(running(1)) << "the other one; what another tenant says of its own does not count";
  d.drain(3000);
}

TEST(Priority, PagesAreTakenFromTheLowest) {
  Driver d(kSmall, pages(8));
  tenant::Tenant* a = d.add_tenant();
  const uint64_t low = submit(d, a, -1, 30, 60);
  d.step();
  const uint64_t high = submit(d, a, 0, 30, 80);
  d.drain(400);
  EXPECT_GE(d.preempted, 1u);
  EXPECT_LT(d.finished.at(high), d.finished.at(low)) << "although it started later";
  EXPECT_NE(d.trace.find(" " + std::to_string(low) + ".0r"), std::string::npos) << d.trace;
  EXPECT_EQ(d.trace.find(" " + std::to_string(high) + ".0r"), std::string::npos) << d.trace;
}

// What is taken back waits before the others of its priority and behind the higher ones.
TEST(Priority, ATakenRequestWaitsInItsPlace) {
  Driver d({.step_tokens_max = 256, .sequences_max = 4, .rows_max = 4});
  tenant::Tenant *many = d.add_tenant(), *other = d.add_tenant();
  for (uint32_t i = 0; i < 3; ++i) submit(d, many, 1, 16, 20 + 10 * i);
  const uint64_t taken = submit(d, many, 0, 16, 30);
  for (int i = 0; i < 3; ++i) d.step();
  const uint64_t equal = submit(d, many, 0, 16, 30), higher = submit(d, many, 1, 16, 30);
  submit(d, other, 0, 16, 30);
  d.step();
  EXPECT_EQ(d.preempted, 1u);
  EXPECT_FALSE(d.requests.at(taken).started);
  while (!d.first_token.contains(higher) && d.step_number < 100) d.step();
  EXPECT_FALSE(d.requests.at(taken).started);
  while (!d.requests.at(taken).started && d.step_number < 100) d.step();
  EXPECT_FALSE(d.first_token.contains(equal));
  d.drain(500);
}

// A low priority waits for as long as its tenant has higher ones that leave it no room; and others do not wait for it,
// as they do for a request that they went ahead of many times.
TEST(Priority, ATenantsHigherOnesMayStarveItsLowOnesAndNobodyElse) {
  Driver d(kSmall, pages(16));
  tenant::Tenant *a = d.add_tenant(), *b = d.add_tenant();
  for (uint32_t i = 1; i <= 4; ++i) submit(d, a, 7, 8, 8 * i);
  const uint64_t large = submit(d, a, -7, 200, 8);
  std::vector<std::pair<uint64_t, uint64_t>> of_b;  // and the steps before them
  for (uint32_t i = 0; i < 300; ++i) {
    while (a->usage().requests_running + a->usage().requests_waiting < 5) submit(d, a, 7, 8, 32);
    of_b.emplace_back(submit(d, b, 0, 4, 2), d.step_number);
    d.step();
    ASSERT_FALSE(d.requests.at(large).started) << i;
  }
  d.drain(500);
  EXPECT_TRUE(d.finished.contains(large));
  for (const auto& [r, before] : of_b) EXPECT_LE(d.first_token.at(r), before + 2) << r;
}

}  // namespace
}  // namespace merritt::scheduler
