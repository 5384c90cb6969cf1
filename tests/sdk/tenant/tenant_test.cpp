// SPDX-License-Identifier: Apache-2.0
#include "tenant/tenant.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace merritt::tenant {
namespace {

std::shared_ptr<Tenant> make(const TenantLimits& limits = {}) {
  return std::move(Tenant::create(TenantId{7}, "clinic-a", limits)).value();
}

TEST(TenantName, RulesHoldAtTheirEdges) {
  EXPECT_TRUE(check_name("a").ok());
  EXPECT_TRUE(check_name("Az09._-").ok());
  EXPECT_TRUE(check_name(std::string(63, 'x')).ok());
  for (const std::string& bad : {std::string(), std::string(64, 'x'), std::string("a b"), std::string("a/b"),
                                 std::string("a\0b", 3), std::string("caf\xC3\xA9"), std::string("a\n")}) {
    EXPECT_EQ(check_name(bad).code(), Code::kInvalidArgument) << bad;
    EXPECT_EQ(Tenant::create(TenantId{1}, bad, {}).status().code(), Code::kInvalidArgument);
  }
  EXPECT_NE(check_name("ab c").message().find("byte 2"), std::string_view::npos);
  EXPECT_FALSE(Tenant::create(TenantId::kNone, "a", {}).ok());
}

TEST(Tenant, ZerosAreTheStatedDefaults) {
  const auto tenant = make();
  EXPECT_EQ(tenant->limits().queue_max, 64u);
  EXPECT_EQ(tenant->limits().prompt_bytes_max, 1u << 20);
  EXPECT_EQ(tenant->limits().sequences_max, 0u);
  EXPECT_EQ(tenant->kv_account()->limit_bytes, 0u);
  EXPECT_EQ(tenant->id(), TenantId{7});
}

TEST(Tenant, RefusesWhatItsOwnLimitsForbid) {
  const auto tenant = make({.sequences_max = 2, .queue_max = 1, .prompt_bytes_max = 10, .kv_bytes_max = 100});
  const auto code = [&](const Demand& demand) { return tenant->admit(demand, {}).code(); };
  EXPECT_EQ(code({.prompt_bytes = 11}), Code::kQuotaExceeded);
  EXPECT_EQ(code({.prompt_bytes = 1, .sequences = 3}), Code::kQuotaExceeded);
  EXPECT_EQ(code({.prompt_bytes = 1, .sequences = 1, .kv_bytes = 101}), Code::kQuotaExceeded);
  EXPECT_EQ(code({.prompt_bytes = 10, .sequences = 2, .kv_bytes = 100}), Code::kOk);
  const Status full = tenant->admit({.prompt_bytes = 1}, {.step_ns = 50'000'000});
  EXPECT_EQ(full.code(), Code::kQuotaExceeded);
  EXPECT_EQ(full.retry_after_ms(), 100u);
  const TenantUsage usage = tenant->usage();
  EXPECT_EQ(usage.requests, 1u);
  EXPECT_EQ(usage.refusals, 4u);
  EXPECT_EQ(usage.requests_waiting, 1u);
}

TEST(Tenant, EverybodysQueueIsOverloadNotQuota) {
  const auto tenant = make();
  const Status status = tenant->admit({}, {.waiting = 9, .queue_max = 9, .step_ns = 20'000'000});
  EXPECT_EQ(status.code(), Code::kOverloaded);
  EXPECT_EQ(status.retry_after_ms(), 200u);
  EXPECT_TRUE(tenant->admit({}, {.waiting = 8, .queue_max = 9}).ok());
  tenant->close();
  EXPECT_EQ(tenant->admit({}, {}).code(), Code::kNotFound);
}

TEST(Tenant, AnAdmissionTakenBackWasNone) {
  const auto tenant = make({.queue_max = 1});
  ASSERT_TRUE(tenant->admit({}, {}).ok());
  tenant->withdraw();
  EXPECT_EQ(tenant->usage().requests, 0u);
  EXPECT_EQ(tenant->usage().requests_waiting, 0u);
  EXPECT_TRUE(tenant->admit({}, {}).ok());
}

TEST(Tenant, RetryHintIsBounded) {
  EXPECT_EQ(retry_after_ms(0, 0), 10u);
  EXPECT_EQ(retry_after_ms(UINT32_MAX, UINT64_MAX), 30'000u);
  EXPECT_EQ(retry_after_ms(4, 10'000'000), 50u);
}

TEST(Tenant, SequencesRunUpToTheLimit) {
  const auto tenant = make({.sequences_max = 3});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(tenant->admit({.sequences = 2}, {}).ok());
  EXPECT_TRUE(tenant->start(2));
  EXPECT_FALSE(tenant->start(2));
  EXPECT_EQ(tenant->usage().requests_waiting, 2u);
  tenant->finish(2);
  EXPECT_TRUE(tenant->start(2));
  tenant->leave_queue();
  tenant->finish(2);
  const TenantUsage usage = tenant->usage();
  EXPECT_EQ(usage.requests_running + usage.requests_waiting + usage.sequences_running, 0u);
}

TEST(Tenant, QueueLimitHoldsWhenManyThreadsAsk) {
  const auto tenant = make({.queue_max = 100});
  std::atomic<uint32_t> admitted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        if (tenant->admit({}, {}).ok()) ++admitted;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(admitted, 100u);
  EXPECT_EQ(tenant->usage().requests_waiting, 100u);
  EXPECT_EQ(tenant->usage().refusals, 3900u);
}

TEST(Tenant, UsageCounts) {
  const auto tenant = make();
  tenant->session_opened();
  tenant->session_opened();
  tenant->session_closed();
  tenant->add_prompt_tokens(5);
  tenant->add_generated_tokens(3);
  tenant->add_refusal();
  tenant->kv_account()->held_bytes = 77;
  const TenantUsage usage = tenant->usage();
  EXPECT_EQ(usage.sessions, 1u);
  EXPECT_EQ(usage.prompt_tokens, 5u);
  EXPECT_EQ(usage.generated_tokens, 3u);
  EXPECT_EQ(usage.refusals, 1u);
  EXPECT_EQ(usage.kv_bytes, 77u);
}

}  // namespace
}  // namespace merritt::tenant
