// SPDX-License-Identifier: Apache-2.0
// The file of `merritt bench --tenants`: what its fields mean, what is refused and in which words, and that a seed
// gives the same load.
#include "sdk/tools/tenants_spec.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sdk/tools/cli.hpp"

namespace merritt::tools {
namespace {

TEST(TenantsSpec, DefaultsAreAClosedLoopOfOne) {
  const LoadSpec spec = parse_load(R"({"tenants": [{"name": "a"}]})", "f");
  EXPECT_EQ(spec.seconds, 10);
  EXPECT_EQ(spec.bucket_seconds, 0.1);
  ASSERT_EQ(spec.tenants.size(), 1u);
  const TenantLoad& load = spec.tenants[0];
  EXPECT_EQ(load.arrivals.law, Arrivals::Law::kClosed);
  EXPECT_EQ(load.arrivals.clients, 1u);
  EXPECT_EQ(load.prompt.most, 64u);
  EXPECT_EQ(load.output.most, 32u);
  EXPECT_EQ(load.weight, 1u);
  EXPECT_EQ(load.as, 0u);
  EXPECT_LT(load.retry_ms, 0);
}

TEST(TenantsSpec, ReadsEveryField) {
  const LoadSpec spec = parse_load(R"({"seconds": 2.5, "warmup_seconds": 0, "bucket_seconds": 0.5, "seed": 7,
    "sequences_max": 8, "step_tokens_max": 64, "kv_tokens": 4096, "idle_tenants": 2000, "tenants": [
    {"name": "a", "weight": 3, "arrivals": {"law": "poisson", "per_second": 12.5}, "prompt": 100,
     "output": {"law": "uniform", "least": 2, "most": 9}, "requests": 50, "kv_ceiling": 0.5, "kv_floor": 0.25,
     "sequences_max": 4, "queue_max": 5, "requests_per_second": 6, "tokens_per_minute": 700, "prompt_bytes_max": 800},
    {"name": "b", "as": "a", "arrivals": {"law": "closed", "clients": 9, "think_ms": 1.5}, "text_bytes": 1000,
     "prompt": {"law": "lognormal", "median": 50, "sigma": 0.5, "least": 3, "most": 400}, "stop_strings": 4,
     "stop_bytes": 32, "cancel_probability": 0.5, "cancel_after_ms": 3, "reader_pause_ms": 4, "retry_ms": 2, "priority": -7,
     "sessions_per_second": 100, "sessions_held": 30, "sessions_kept": 7}, {"name": "c", "messages": 12}]})",
                                   "f");
  EXPECT_EQ(spec.kv_tokens, 4096u);
  EXPECT_EQ(spec.seed, 7u);
  EXPECT_EQ(spec.idle_tenants, 2000u);
  const TenantLoad &a = spec.tenants[0], &b = spec.tenants[1];
  EXPECT_EQ(a.arrivals.law, Arrivals::Law::kPoisson);
  EXPECT_EQ(a.arrivals.per_second, 12.5);
  EXPECT_EQ(a.output.law, Lengths::Law::kUniform);
  EXPECT_EQ(a.kv_ceiling, 0.5);
  EXPECT_EQ(a.tokens_per_minute, 700u);
  EXPECT_EQ(b.as, 0u);
  EXPECT_EQ(b.prompt.law, Lengths::Law::kLognormal);
  EXPECT_EQ(b.prompt.least, 3u);
  EXPECT_EQ(b.retry_ms, 2);
  EXPECT_EQ(a.priority, 0);
  EXPECT_EQ(b.priority, -7);
  EXPECT_EQ(b.sessions_held, 30u);
  EXPECT_EQ(b.sessions_kept, 7u);
  EXPECT_EQ(b.messages, 0u);
  EXPECT_EQ(spec.tenants[2].messages, 12u);
}

TEST(TenantsSpec, CopiesAreTenantsOfTheirOwn) {
  const LoadSpec spec = parse_load(R"({"tenants": [{"name": "a"}, {"name": "b", "copies": 3, "weight": 5},
    {"name": "c", "as": "b2"}]})",
                                   "f");
  ASSERT_EQ(spec.tenants.size(), 5u);
  for (size_t i = 1; i <= 3; ++i) {
    EXPECT_EQ(spec.tenants[i].name, "b" + std::to_string(i));
    EXPECT_EQ(spec.tenants[i].as, i);
    EXPECT_EQ(spec.tenants[i].weight, 5u);
  }
  EXPECT_EQ(spec.tenants[4].as, 2u);
}

struct Bad {
  const char* what;
  std::string text;
  std::vector<const char*> says;
};

std::string tenant(const std::string& fields) { return R"({"tenants": [{"name": "a", )" + fields + "}]}"; }

const Bad kBad[] = {
    {"cut", R"({"tenants": [)", {"not JSON"}},
    {"no_object", "[]", {"not an object"}},
    {"no_tenants", "{}", {"f.tenants", "list"}},
    {"empty_list", R"({"tenants": []})", {"f.tenants"}},
    {"no_name", R"({"tenants": [{}]})", {"f.tenants[0].name", "missing"}},
    {"escape_in_name", R"({"tenants": [{"name": "\u001b[31m"}]})", {"tenants[0].name", "A-Z"}},
    {"text_and_messages", tenant(R"("text_bytes": 9, "messages": 2)"), {"tenants[0].messages", "text_bytes"}},
    {"same_name", R"({"tenants": [{"name": "a"}, {"name": "a"}]})", {"tenants[1].name"}},
    {"misspelt", tenant(R"("wieght": 2)"), {"f.tenants[0]", "\"wieght\"", "did you mean \"weight\"?"}},
    {"misspelt_inside", tenant(R"("arrivals": {"law": "poisson", "per_sec": 1, "per_second": 1})"), {"per_sec"}},
    {"unknown", tenant(R"("colour_of_the_line": 2)"), {"the fields are"}},
    {"twice", tenant(R"("weight": 1, "weight": 2)"), {"\"weight\" stands twice"}},
    {"text_for_number", tenant(R"("weight": "2")"), {"f.tenants[0].weight", "from 1 to 65536"}},
    {"zero_weight", tenant(R"("weight": 0)"), {"f.tenants[0].weight"}},
    {"negative", tenant(R"("requests": -1)"), {"f.tenants[0].requests"}},
    {"fraction", tenant(R"("prompt": 1.5)"), {"f.tenants[0].prompt"}},
    {"probability", tenant(R"("cancel_probability": 1.01)"), {"from 0 to 1"}},
    {"priority", tenant(R"("priority": -101)"), {"f.tenants[0].priority", "from -100 to 100"}},
    {"part_of_a_priority", tenant(R"("priority": 0.5)"), {"f.tenants[0].priority", "whole number"}},
    {"overflow", tenant(R"("retry_ms": 1e999)"), {"not JSON"}},
    {"law", tenant(R"("arrivals": {"law": "bursty"})"), {"\"bursty\" is not known", "poisson"}},
    {"no_rate", tenant(R"("arrivals": {"law": "fixed"})"), {"arrivals.per_second", "missing"}},
    {"rate_in_closed", tenant(R"("arrivals": {"law": "closed", "per_second": 3})"), {"no field \"per_second\""}},
    {"no_law", tenant(R"("prompt": {"least": 3, "most": 4})"), {"prompt.law", "missing"}},
    {"no_most", tenant(R"("prompt": {"law": "lognormal", "median": 4})"), {"prompt.most"}},
    {"least_above_most", tenant(R"("prompt": {"law": "uniform", "least": 9, "most": 4})"), {"prompt.most"}},
    {"as_itself", tenant(R"("as": "a")"), {"f.tenants[0].as"}},
    {"copies_as",
     R"({"tenants": [{"name": "b"}, {"name": "a", "as": "b", "copies": 2}]})",
     {"tenants[1].copies", "as"}},
    {"copy_of_a_name", R"({"tenants": [{"name": "a2"}, {"name": "a", "copies": 2}]})", {"tenants[1].name"}},
    {"copies", R"({"tenants": [{"name": "b"}, {"name": "a", "copies": 256}]})", {"tenants[1].copies", "256"}},
    {"long_copy",
     R"({"tenants": [{"copies": 12, "name": ")" + std::string(62, 'a') + R"("}]})",
     {"tenants[0].name", "63 bytes"}},
    {"idle", R"({"idle_tenants": 10001, "tenants": [{"name": "a"}]})", {"f.idle_tenants", "10000"}},
    {"pieces", R"({"seconds": 1000, "bucket_seconds": 0.01, "tenants": [{"name": "a"}]})", {"bucket_seconds"}},
    {"deep", std::string(500, '[') + std::string(500, ']'), {"too deeply"}},
};

class Refused : public ::testing::TestWithParam<Bad> {};

TEST_P(Refused, NamesTheField) {
  try {
    parse_load(GetParam().text, "f");
    FAIL() << "was taken";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.exit_code(), kExitUsage);
    const std::string said = failure.what();
    EXPECT_NE(said.find("\n  fix: "), std::string::npos) << said;
    for (const char* part : GetParam().says) EXPECT_NE(said.find(part), std::string::npos) << said;
  }
}

INSTANTIATE_TEST_SUITE_P(TenantsSpec, Refused, ::testing::ValuesIn(kBad),
                         [](const auto& bad) { return std::string(bad.param.what); });

TEST(TenantsSpec, ASeedGivesTheSameLengths) {
  const Lengths lengths = {.law = Lengths::Law::kLognormal, .least = 1, .most = 1000, .median = 50, .sigma = 1};
  Dice one(5), same(5), other(6);
  size_t differ = 0;
  for (int i = 0; i < 100; ++i) {
    const uint32_t drawn = lengths.draw(one);
    EXPECT_EQ(drawn, lengths.draw(same));
    differ += drawn != lengths.draw(other);
  }
  EXPECT_GT(differ, 50u);
}

// Of many draws, far looser than chance allows.
TEST(TenantsSpec, LawsHaveTheirShape) {
  Dice dice(1);
  const Lengths uniform = {.law = Lengths::Law::kUniform, .least = 10, .most = 20};
  const Lengths lognormal = {.law = Lengths::Law::kLognormal, .least = 2, .most = 5000, .median = 80, .sigma = 0.7};
  std::vector<uint32_t> drawn;
  double sum = 0, waits = 0;
  for (int i = 0; i < 20000; ++i) {
    const uint32_t one = uniform.draw(dice);
    ASSERT_TRUE(one >= 10 && one <= 20);
    sum += one;
    waits += dice.wait();
    drawn.push_back(lognormal.draw(dice));
    ASSERT_TRUE(drawn.back() >= 2 && drawn.back() <= 5000);
  }
  EXPECT_NEAR(sum / 20000, 15, 0.2);
  EXPECT_NEAR(waits / 20000, 1, 0.05);
  std::sort(drawn.begin(), drawn.end());
  EXPECT_NEAR(drawn[10000], 80, 4);
  EXPECT_NEAR(std::log(drawn[16827] / 80.0), 0.7, 0.05);  // one deviation above
}

TEST(TenantsSpec, AFixedLengthDrawsNothing) {
  Dice one(3), same(3);
  EXPECT_EQ(Lengths({.most = 7}).draw(one), 7u);
  EXPECT_EQ(one.below(1000), same.below(1000));
}

}  // namespace
}  // namespace merritt::tools
