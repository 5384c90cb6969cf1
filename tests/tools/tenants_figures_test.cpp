// SPDX-License-Identifier: Apache-2.0
// The statistics of `merritt bench --tenants` and the page made of them.
#include "sdk/tools/tenants_figures.hpp"

#include <gtest/gtest.h>

#include "sdk/tools/tenants_report.hpp"

namespace merritt::tools {
namespace {

TEST(TenantsFigures, QuantilesInterpolateBetweenOrderStatistics) {
  EXPECT_EQ(quantile({}, 0.5), 0);
  EXPECT_EQ(quantile({3}, 0.99), 3);
  EXPECT_EQ(quantile({4, 1, 3, 2}, 0), 1);
  EXPECT_EQ(quantile({4, 1, 3, 2}, 1), 4);
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile({0, 10, 20, 30, 40}, 0.9), 36);
}

TEST(TenantsFigures, JainIsOneForEqualsAndOneOverNForOneThatHasAll) {
  EXPECT_EQ(jain({}), 1);
  EXPECT_EQ(jain({0, 0}), 1);
  EXPECT_DOUBLE_EQ(jain({5, 5, 5}), 1);
  EXPECT_DOUBLE_EQ(jain({7, 0, 0, 0}), 0.25);
  EXPECT_DOUBLE_EQ(jain({1, 3}), 16.0 / 20.0);
}

LoadFigures two_tenants() {
  LoadFigures figures;
  figures.seconds = 2;
  figures.bucket_seconds = 1;
  figures.steps = 40;
  TenantFigures a;
  a.name = "a<script>alert(1)</script>\"&\xff";
  a.weight = 2;
  a.first_token_ms = {1, 2, 3};
  a.tokens_in = 100;
  a.tokens_out = 50;
  a.compute_ns = 2'000'000;
  a.refused = {{"overloaded", 3}, {"quota_exceeded", 4}};
  a.messages = {{"overloaded", "the pool is full"}};
  a.timeline.resize(2);
  a.timeline[1].first_token_ms = {2, 8};
  TenantFigures b;
  b.name = "b";
  b.compute_ns = 1'000'000;
  figures.tenants = {a, b};
  figures.idle = {.tenants = 7, .heap_bytes_each = 1536, .kv_bytes_each = 512};
  return figures;
}

TEST(TenantsFigures, JsonHasRatesAndNothingForWhatWasNotSeen) {
  const auto out = json_of(two_tenants());
  EXPECT_EQ(out["steps"], 40);
  EXPECT_DOUBLE_EQ(out["jain_index"].get<double>(), 1);  // 2 of weight 2, 1 of weight 1
  const auto& a = out["tenants"][0];
  EXPECT_EQ(out["idle"]["heap_bytes_each"], 1536);
  EXPECT_EQ(a["tokens_in_per_s"], 50);
  EXPECT_EQ(a["tokens_out_per_s"], 25);
  EXPECT_EQ(a["first_token_ms"]["p50"], 2);
  EXPECT_EQ(a["first_token_ms"]["count"], 3);
  EXPECT_EQ(a["requests"]["refused"]["quota_exceeded"], 4);
  EXPECT_FALSE(a["timeline"][0].contains("first_token_ms_p50"));
  EXPECT_EQ(a["timeline"][1]["first_token_ms_max"], 8);
  EXPECT_EQ(a["timeline"][1]["at_s"], 1);
}

TEST(TenantsFigures, TheTableNamesRefusalsByCode) {
  const std::string text = table_of(two_tenants());
  EXPECT_NE(text.find("refused 3 as overloaded: the pool is full"), std::string::npos) << text;
  EXPECT_NE(text.find("40 engine steps"), std::string::npos) << text;
  EXPECT_NE(text.find("7 idle tenants, each with 1.5 KiB of memory and 0.5 KiB of KV"), std::string::npos) << text;
}

TEST(TenantsFigures, ThePageFetchesAndRunsNothing) {
  const std::string html = html_of(two_tenants(), "tenants & \"friends\"");
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("://"), std::string::npos);
  for (const char* none : {"nan ", "nan\"", "nan<", "inf "}) EXPECT_EQ(html.find(none), std::string::npos) << none;
  EXPECT_NE(html.find("a&lt;script&gt;"), std::string::npos);
  EXPECT_NE(html.find("tenants &amp; &quot;friends&quot;"), std::string::npos);
  size_t charts = 0;
  for (size_t at = html.find("<svg"); at != std::string::npos; at = html.find("<svg", at + 1)) ++charts;
  EXPECT_EQ(charts, 5u);
}

}  // namespace
}  // namespace merritt::tools
