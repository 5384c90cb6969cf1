// SPDX-License-Identifier: Apache-2.0
// What each limit refuses, with which words, and when to come back.
#include <gtest/gtest.h>

#include "tenant/tenant.hpp"
#include "tests/sdk/tenant/fake_clock.hpp"

namespace merritt::tenant {
namespace {

std::shared_ptr<Tenant> limited(const TenantLimits& limits) {
  return std::move(Tenant::create(TenantId{1}, "a", limits, kSecond)).value();
}
Demand demand(uint32_t prompt_tokens, uint32_t output_tokens) {
  Demand demand;
  demand.prompt_tokens = prompt_tokens;
  demand.output_tokens = output_tokens;
  return demand;
}
void expect_refused(const Status& status, Code code, std::initializer_list<const char*> words) {
  EXPECT_EQ(status.code(), code) << status.message();
  for (const char* word : words) {
    EXPECT_NE(status.message().find(word), std::string_view::npos) << word << " is not in: " << status.message();
  }
}
uint64_t refusals(const Tenant& tenant, Refusal cause) { return tenant.usage().counts[index_of(cause)]; }

TEST(Limits, ContradictionsAreRefusedWithBothNumbers) {
  const auto refused = [](const TenantLimits& limits) { return checked_limits(limits).status(); };
  expect_refused(refused({.weight = 65'537}), Code::kInvalidArgument, {"weight", "65537", "65536"});
  expect_refused(refused({.kv_bytes_max = 5, .kv_bytes_floor = 6}), Code::kInvalidArgument,
                 {"kv_bytes_floor is 6", "kv_bytes_max is 5"});
  expect_refused(refused({.kv_bytes_max = UINT64_MAX, .kv_bytes_burst = 1}), Code::kInvalidArgument,
                 {"kv_bytes_burst"});
  expect_refused(refused({.requests_burst = 1}), Code::kInvalidArgument, {"requests_burst", "requests_per_second"});
  expect_refused(refused({.tokens_burst = 1}), Code::kInvalidArgument, {"tokens_burst", "tokens_per_minute"});
}

TEST(Limits, RequestsPerSecondSayWhenToComeBack) {
  const auto tenant = limited({.requests_per_second = 4, .requests_burst = 2});
  EXPECT_TRUE(tenant->admit({}, {}, kSecond).ok());
  EXPECT_TRUE(tenant->admit({}, {}, kSecond).ok());
  const Status refused = tenant->admit({}, {}, kSecond).status();
  expect_refused(refused, Code::kQuotaExceeded, {"requests_per_second is 4", "2 requests"});
  EXPECT_EQ(refused.retry_after_ms(), 250u);
  EXPECT_FALSE(tenant->admit({}, {}, kSecond + 249'999'999).ok());
  EXPECT_TRUE(tenant->admit({}, {}, kSecond + 250'000'000).ok());
  EXPECT_EQ(refusals(*tenant, Refusal::kRequestRate), 2u);
}

TEST(Limits, TokensAreTakenBeforeTheWorkAndSettledAfter) {
  const auto tenant = limited({.tokens_per_minute = 600, .tokens_burst = 100});
  auto grant = tenant->admit(demand(10, 80), {}, kSecond);
  ASSERT_TRUE(grant.ok());
  const Status refused = tenant->admit(demand(10, 10), {}, kSecond).status();
  expect_refused(refused, Code::kQuotaExceeded, {"20 tokens", "10 are left", "tokens_per_minute, which is 600"});
  EXPECT_EQ(refused.retry_after_ms(), 1000u);
  expect_refused(tenant->admit(demand(10, 91), {}, kSecond).status(), Code::kQuotaExceeded,
                 {"101 tokens", "tokens_burst is 100"});
  EXPECT_EQ(tenant->admit(demand(10, 91), {}, kSecond).status().retry_after_ms(), 0u) << "waiting does not help";
  tenant->accept();
  ASSERT_TRUE(tenant->start(1));
  tenant->finish(1);
  tenant->settle(*grant, 30, kSecond);
  EXPECT_TRUE(tenant->admit(demand(10, 60), {}, kSecond).ok());
  EXPECT_FALSE(tenant->admit(demand(1, 0), {}, kSecond).ok());
}

TEST(Limits, APromptIsChargedWhenItsTokensAreKnown) {
  const auto tenant = limited({.tokens_per_minute = 100});
  auto grant = tenant->admit(demand(0, 50), {}, kSecond);
  ASSERT_TRUE(grant.ok());
  EXPECT_EQ(grant->tokens, 51u);
  EXPECT_TRUE(tenant->charge(*grant, {.prompt_tokens = 50}, kSecond).ok());
  EXPECT_EQ(grant->tokens, 100u);
  tenant->withdraw(*grant, kSecond);
  grant = tenant->admit(demand(0, 50), {}, kSecond);
  ASSERT_TRUE(grant.ok()) << "all of it came back";
  expect_refused(tenant->charge(*grant, {.prompt_tokens = 51}, kSecond), Code::kQuotaExceeded, {"101 tokens"});
  tenant->withdraw(*grant, kSecond);
  EXPECT_TRUE(tenant->admit(demand(50, 50), {}, kSecond).ok());
  EXPECT_EQ(refusals(*tenant, Refusal::kTokenRate), 1u);
}

TEST(Limits, OutputAndContext) {
  const auto tenant = limited({.context_max = 100, .output_max = 20});
  expect_refused(tenant->admit(demand(1, 21), {}, kSecond).status(), Code::kQuotaExceeded,
                 {"max_tokens is 21", "output_max is 20"});
  expect_refused(tenant->admit(demand(100, 1), {}, kSecond).status(), Code::kQuotaExceeded,
                 {"100 tokens", "context_max is 100"});
  Demand none = demand(99, 1024);
  none.output_default = true;
  const auto grant = tenant->admit(none, {}, kSecond);
  ASSERT_TRUE(grant.ok());
  EXPECT_EQ(grant->max_tokens, 20u);
  EXPECT_EQ(grant->context_max, 100u);
}

TEST(Limits, AModelThatIsNotOnTheListIsDenied) {
  const auto tenant = limited({.models = {{.id = 4, .handle = 0}}});
  EXPECT_TRUE(tenant->check_model(4).ok());
  expect_refused(tenant->check_model(5), Code::kPermissionDenied, {"models"});
  Demand other;
  other.model = 5;
  expect_refused(tenant->admit(other, {}, kSecond).status(), Code::kPermissionDenied, {"models"});
  EXPECT_EQ(refusals(*tenant, Refusal::kModel), 2u);
}

TEST(Limits, LowerOnesRefuseNewWorkAndEndNone) {
  const auto tenant = limited({.sequences_max = 4, .queue_max = 4});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(tenant->admit({.sequences = 3}, {}).ok());
  ASSERT_TRUE(tenant->start(3));
  ASSERT_TRUE(tenant->set_limits({.sequences_max = 2, .queue_max = 1, .kv_bytes_max = 5}, kSecond).ok());
  EXPECT_EQ(tenant->limits().prompt_bytes_max, 1u << 20) << "zeros are the defaults again";
  EXPECT_EQ(tenant->kv_account()->limit_bytes, 5u);
  EXPECT_EQ(tenant->admit({.sequences = 3}, {}).code(), Code::kQuotaExceeded);
  EXPECT_EQ(tenant->admit({.sequences = 1}, {}).code(), Code::kQuotaExceeded) << "two are waiting";
  EXPECT_FALSE(tenant->start(3));
  tenant->finish(3);
  EXPECT_TRUE(tenant->start(3)) << "accepted under the old limit: alone";
  tenant->finish(3);
  EXPECT_TRUE(tenant->start(3));
}

TEST(Limits, WeightAndKvAreForTheSchedulerToRead) {
  const auto tenant = limited({.kv_bytes_max = 100, .weight = 7, .kv_bytes_floor = 50, .kv_bytes_burst = 20});
  EXPECT_EQ(tenant->weight(), 7u);
  EXPECT_EQ(tenant->kv_account()->floor_bytes, 50u);
  EXPECT_EQ(tenant->kv_account()->burst_bytes, 20u);
  Demand most;
  most.kv_bytes = 121;
  expect_refused(tenant->admit(most, {}, kSecond).status(), Code::kQuotaExceeded, {"121", "120"});
}

}  // namespace
}  // namespace merritt::tenant
