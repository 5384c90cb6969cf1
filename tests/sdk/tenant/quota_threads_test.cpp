// SPDX-License-Identifier: Apache-2.0
// Quotas under many threads.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tenant/tenant.hpp"
#include "tests/sdk/tenant/fake_clock.hpp"

namespace merritt::tenant {
namespace {

// What several threads at once get of the same limits, while another changes them.
TEST(Quotas, HoldWhenManyThreadsAsk) {
  fake_now = 1;
  const TenantLimits limits{.sequences_max = 3, .queue_max = 4, .requests_per_second = 50, .tokens_per_minute = 60'000};
  const auto tenant = Tenant::create(TenantId{1}, "t", limits, 1, nullptr, fake_clock).value();
  std::atomic<uint64_t> used{0}, requests{0}, refused{0};
  std::atomic<bool> over{false}, done{false};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 5'000; ++i) {
        Demand demand{.sequences = static_cast<uint32_t>(1 + random() % 3)};
        demand.output_tokens = static_cast<uint32_t>(random() % 200);
        auto grant = tenant->admit(demand, {}, fake_now);
        if (!grant.ok() ||
            !tenant->charge(*grant, {.sequences = demand.sequences, .prompt_tokens = 5}, fake_now).ok()) {
          ++refused;
          if (grant.ok()) tenant->withdraw(*grant, fake_now);
          fake_now += 1'000'000;
          continue;
        }
        tenant->accept();
        ++requests;
        while (!tenant->start(demand.sequences)) std::this_thread::yield();
        const TenantUsage now = tenant->usage();
        if (now.sequences_running > 3 || now.requests_waiting > 4) over = true;
        const uint64_t n = random() % (grant->tokens + 1);
        used += n;
        tenant->add_generated_tokens(n);
        tenant->finish(demand.sequences);
        tenant->settle(*grant, n, fake_now);
      }
    });
  }
  std::thread changes([&] {
    while (!done) {
      ASSERT_TRUE(tenant->set_limits(limits, fake_now).ok());
      (void)tenant->usage();
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  changes.join();
  EXPECT_FALSE(over);
  const TenantUsage usage = tenant->usage();
  EXPECT_EQ(usage.requests, requests);
  EXPECT_EQ(usage.refusals, refused);
  EXPECT_EQ(usage.generated_tokens, used);
  EXPECT_EQ(usage.requests_waiting + usage.requests_running + usage.sequences_running, 0u);
  EXPECT_LE(used.load(), 60'000 + fake_now * 60'000 / kMinute);
  EXPECT_LE(requests.load(), 50 + fake_now * 50 / kSecond);
}

}  // namespace
}  // namespace merritt::tenant
