// SPDX-License-Identifier: Apache-2.0
#include "tenant/model_charge.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "base/limits.hpp"
#include "tenant/tenant.hpp"
#include "tests/sdk/tenant/fake_clock.hpp"

namespace merritt::tenant {
namespace {

std::shared_ptr<Tenant> clinic(const TenantLimits& limits) {
  return std::move(Tenant::create(TenantId{7}, "clinic-a", limits, 0)).value();
}

uint64_t refused(const Tenant& tenant, Refusal cause) { return tenant.usage().counts[index_of(cause)]; }

TEST(ModelCharge, NobodyLoadsWithoutAllowance) {
  const auto tenant = clinic({});
  const Status status = tenant->admit_load(0).status();
  EXPECT_EQ(status.code(), Code::kPermissionDenied);
  EXPECT_NE(status.message().find("model_bytes_max is 0"), std::string_view::npos);
  EXPECT_EQ(refused(*tenant, Refusal::kModel), 1u);
  const auto allowed = clinic({.model_bytes_max = 1});
  allowed->close();
  EXPECT_EQ(allowed->admit_load(0).status().code(), Code::kNotFound);
}

TEST(ModelCharge, OneLoadAtATime) {
  const auto tenant = clinic({.model_bytes_max = 100});
  {
    Result<ModelCharge> first = tenant->admit_load(0);
    ASSERT_TRUE(first.ok());
    const Status second = tenant->admit_load(0).status();
    EXPECT_EQ(second.code(), Code::kQuotaExceeded);
    EXPECT_GT(second.retry_after_ms(), 0u);
    EXPECT_EQ(refused(*tenant, Refusal::kQueue), 1u);
    first->loaded();
    EXPECT_TRUE(tenant->admit_load(0).ok()) << "the first is done; this one fails at once";
    EXPECT_TRUE(tenant->admit_load(0).ok()) << "and frees the place";
  }
}

TEST(ModelCharge, ALoadIsOneOfTheRequestsPerSecond) {
  const auto tenant = clinic({.requests_per_second = 2, .requests_burst = 1, .model_bytes_max = 100});
  EXPECT_TRUE(tenant->admit_load(0).ok());
  const Status status = tenant->admit_load(0).status();
  EXPECT_EQ(status.code(), Code::kQuotaExceeded);
  EXPECT_EQ(status.retry_after_ms(), 500u);
  EXPECT_EQ(refused(*tenant, Refusal::kRequestRate), 1u);
  EXPECT_EQ(tenant->admit({}, {}, 0).status().code(), Code::kQuotaExceeded) << "the request that the load took";
  EXPECT_TRUE(tenant->admit_load(kSecond / 2).ok());
}

TEST(ModelCharge, BytesAreHeldUntilTheModelIsGone) {
  const auto tenant = clinic({.model_bytes_max = 100});
  std::optional<ModelCharge> first = std::move(tenant->admit_load(0)).value();
  EXPECT_TRUE(first->hold(70).ok());
  EXPECT_TRUE(first->hold(60).ok()) << "in place of the 70";
  first->loaded();
  EXPECT_EQ(tenant->usage().model_bytes, 60u);
  ModelCharge second = std::move(tenant->admit_load(0)).value();
  const Status over = second.hold(41);
  EXPECT_EQ(over.code(), Code::kQuotaExceeded);
  for (const char* number : {"pool take 41 bytes", "other models 60", "model_bytes_max is 100"}) {
    EXPECT_NE(over.message().find(number), std::string_view::npos) << over.message();
  }
  EXPECT_EQ(refused(*tenant, Refusal::kModel), 1u);
  EXPECT_EQ(second.hold(UINT64_MAX).code(), Code::kQuotaExceeded) << "their sum is no number";
  EXPECT_EQ(tenant->usage().model_bytes, 60u);
  EXPECT_TRUE(second.hold(40).ok());
  ModelCharge moved = std::move(second);
  second = ModelCharge();
  EXPECT_EQ(tenant->usage().model_bytes, 100u) << "once, wherever it is";
  first.reset();
  EXPECT_EQ(tenant->usage().model_bytes, 40u);
  moved = ModelCharge();
  EXPECT_EQ(tenant->usage().model_bytes, 0u);
}

TEST(ModelCharge, ATenantHasSoManyModelsAndNoMore) {
  const auto tenant = clinic({.model_bytes_max = 100});
  std::vector<ModelCharge> held;
  while (held.size() < limits::kTenantModelsMax) {
    held.push_back(std::move(tenant->admit_load(0)).value());
    held.back().loaded();
  }
  const Status status = tenant->admit_load(0).status();
  EXPECT_EQ(status.code(), Code::kQuotaExceeded);
  EXPECT_NE(status.message().find("has 16 models"), std::string_view::npos) << status.message();
  EXPECT_EQ(status.retry_after_ms(), 0u) << "waiting does not help";
  held.pop_back();
  EXPECT_TRUE(tenant->admit_load(0).ok());
}

TEST(ModelCharge, OfADestroyedTenantHoldsNothingMore) {
  const auto tenant = clinic({.model_bytes_max = 100});
  ModelCharge charge = std::move(tenant->admit_load(0)).value();
  const Status file = charge.hold(101, ModelCharge::Known::kFile);
  EXPECT_NE(file.message().find("file has 101 bytes"), std::string_view::npos) << file.message();
  tenant->close();
  EXPECT_EQ(charge.hold(1).code(), Code::kCancelled);
}

TEST(ModelCharge, ALowerLimitRefusesTheNextModelOnly) {
  const auto tenant = clinic({.model_bytes_max = 100});
  ModelCharge first = std::move(tenant->admit_load(0)).value();
  EXPECT_TRUE(first.hold(80).ok());
  ASSERT_TRUE(tenant->set_limits({.model_bytes_max = 50}, 0).ok());
  EXPECT_TRUE(first.hold(70).ok()) << "less than it had";
  EXPECT_EQ(first.hold(75).code(), Code::kQuotaExceeded);
  first.loaded();
  ModelCharge second = std::move(tenant->admit_load(0)).value();
  EXPECT_EQ(second.hold(1).code(), Code::kQuotaExceeded);
}

TEST(ModelCharge, TheOperatorsModelIsOnNobodysAccount) {
  ModelCharge charge;
  EXPECT_EQ(charge.tenant(), nullptr);
  EXPECT_TRUE(charge.hold(UINT64_MAX).ok());
  charge.loaded();
}

}  // namespace
}  // namespace merritt::tenant
