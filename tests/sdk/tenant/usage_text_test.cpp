// SPDX-License-Identifier: Apache-2.0
#include "tenant/usage_text.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/limits.hpp"

namespace merritt::tenant {
namespace {

std::shared_ptr<Tenant> make(Registry& registry, const std::string& name, const TenantLimits& limits = {}) {
  auto made = registry.create(name, limits, 0, 1);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? *made : nullptr;
}

std::vector<NamedUsage> usages_of(const Registry& registry) {
  Counts closed{};
  auto live = registry.usages(&closed);
  return bounded_usages(std::move(live), closed);
}

constexpr EngineNumber kEngine[] = {{"steps", "Steps run.", true, 7}, {"memory_bytes", "Bytes.", false, 8}};

TEST(UsageText, JsonHasALineForEach) {
  Registry registry;
  const auto a = make(registry, "a");
  a->add_prompt_tokens(5);
  a->add_refusal(Refusal::kTokenRate);
  const std::string text = usage_json_lines(usages_of(registry), kEngine);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  EXPECT_EQ(text.find("{\"engine\":{\"steps\":7,\"memory_bytes\":8}}\n{\"tenant\":\"a\",\"requests_running\":0,"), 0u)
      << text;
  EXPECT_NE(text.find("\"prompt_tokens\":5,"), std::string::npos);
  EXPECT_NE(text.find("\"refusals\":{\"prompt_bytes\":0,\"request_rate\":0,\"token_rate\":1,"), std::string::npos);
  EXPECT_NE(text.find("},\"finished\":{\"evaluated\":0,"), std::string::npos);
}

TEST(UsageText, PrometheusNamesEachFamilyOnce) {
  Registry registry;
  const auto a = make(registry, "a");
  a->add_finished(3);
  const std::string text = usage_prometheus(usages_of(registry), kEngine);
  EXPECT_EQ(text.find("# HELP merritt_engine_steps_total Steps run.\n# TYPE merritt_engine_steps_total counter\n"
                      "merritt_engine_steps_total 7\n# HELP merritt_engine_memory_bytes Bytes.\n"
                      "# TYPE merritt_engine_memory_bytes gauge\nmerritt_engine_memory_bytes 8\n"),
            0u)
      << text;
  EXPECT_NE(text.find("merritt_tenant_finished_total{tenant=\"a\",reason=\"length\"} 1\n"), std::string::npos);
  const std::string type = "# TYPE merritt_tenant_refusals_total counter\n";
  EXPECT_NE(text.find(type), std::string::npos);
  EXPECT_EQ(text.find(type), text.rfind(type));
}

TEST(UsageText, NothingIsForgottenWithItsTenant) {
  Registry registry;
  auto a = make(registry, "a");
  a->add_prompt_tokens(5);
  a->close();  // and something still runs
  a->add_prompt_tokens(1);
  const auto again = make(registry, "a");
  again->add_prompt_tokens(10);
  const auto prompt = [&](const std::string& name) {
    uint64_t sum = 0;
    for (const NamedUsage& one : usages_of(registry)) {
      if (one.name == name) sum += one.usage.counts[index_of(Counter::kPromptTokens)];
    }
    return sum;
  };
  EXPECT_EQ(prompt("a"), 10u);
  EXPECT_EQ(prompt("(closed)"), 6u);
  a = nullptr;
  EXPECT_EQ(prompt("(closed)"), 6u);
}

TEST(UsageText, LabelsAreBounded) {
  Registry registry;
  std::vector<std::shared_ptr<Tenant>> all;
  for (uint32_t i = 0; i < limits::kUsageLabelsMax + 10; ++i) {
    all.push_back(make(registry, "t" + std::to_string(i)));
    all.back()->add_prompt_tokens(1);
  }
  const auto usages = usages_of(registry);
  ASSERT_EQ(usages.size(), limits::kUsageLabelsMax + 2);
  EXPECT_EQ(usages[limits::kUsageLabelsMax].name, "(other)");
  EXPECT_EQ(usages[limits::kUsageLabelsMax].usage.counts[index_of(Counter::kPromptTokens)], 10u);
}

}  // namespace
}  // namespace merritt::tenant
