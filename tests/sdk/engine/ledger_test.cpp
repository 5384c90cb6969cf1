// SPDX-License-Identifier: Apache-2.0
// The ledger of a tenant against what the readers of its requests have counted themselves.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/small_engine.hpp"

namespace merritt::test {
namespace {

using tenant::Counter;

uint64_t count(const std::shared_ptr<engine::Session>& session, uint32_t index) {
  return session->tenant->usage().counts[index];
}
uint64_t count(const std::shared_ptr<engine::Session>& session, Counter counter) {
  return count(session, tenant::index_of(counter));
}

// Random requests of three tenants, some cancelled, some with several samples, some with drafts.
TEST(EngineLedger, DiffersFromTheReadersCountByNothing) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  const auto model = engine.load_model("reference").value();
  std::vector<std::shared_ptr<engine::Session>> sessions;
  for (const char* name : {"a", "b", "c"}) sessions.push_back(engine.session(name, model));
  std::mt19937 random(5);
  uint64_t generated[3] = {}, prompt[3] = {}, cached[3] = {}, finished[3][7] = {};
  for (int round = 0; round < 40; ++round) {
    std::vector<std::shared_ptr<engine::Request>> requests;
    for (const auto& session : sessions) {
      engine::RequestParams params = SmallEngine::params(1 + random() % 12);
      params.n = 1 + random() % 3;
      params.ignore_eos = random() % 2 == 0;
      params.conversation = random() % 2 == 0;
      params.speculate_max = random() % 3 == 0 ? 4 : 0;
      params.deadline_ns = random() % 8 == 0 ? 1 : 0;
      if (session->length > 100) {
        ASSERT_TRUE(engine->truncate_session(session, 0).ok());
      }
      requests.push_back(engine->submit(session, std::move(params)).value());
      if (random() % 5 == 0) engine->cancel(*requests.back());
    }
    for (size_t t = 0; t < requests.size(); ++t) {
      const Outcome outcome = read_outcome(*requests[t]);
      ASSERT_TRUE(outcome.answered()) << outcome;
      generated[t] += outcome.tokens.size();
      const engine::RequestStats& stats = requests[t]->stats;
      const bool ran = stats.first_token_ns != 0;  // the prompts are shorter than a step
      prompt[t] += ran ? stats.prompt_tokens - stats.cached_tokens : 0;
      cached[t] += ran ? stats.cached_tokens.load() : 0;
      ++finished[t][static_cast<uint32_t>(outcome.end)];
    }
  }
  uint64_t compute_ns = 0;
  for (size_t t = 0; t < sessions.size(); ++t) {
    EXPECT_EQ(count(sessions[t], Counter::kRequests), 40u);
    EXPECT_EQ(count(sessions[t], Counter::kGeneratedTokens), generated[t]);
    EXPECT_EQ(count(sessions[t], Counter::kPromptTokens), prompt[t]);
    EXPECT_EQ(count(sessions[t], Counter::kCachedTokens), cached[t]);
    for (uint32_t reason = 0; reason < 7; ++reason) {
      EXPECT_EQ(count(sessions[t], tenant::index_of_finish(reason)), finished[t][reason]) << reason;
    }
    EXPECT_GT(generated[t], 0u);
    compute_ns += count(sessions[t], Counter::kComputeNs);
  }
  EXPECT_EQ(compute_ns, engine->stats().step_ns);
}

// What a request took of the tokens per minute and did not use is there again when its reader learns of its end.
TEST(EngineLedger, TokensPerMinuteAreSettledExactly) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  const auto model = engine.load_model("reference").value();
  const auto session = engine.session("a", model);
  tenant::Tenant& tenant = *session->tenant;
  constexpr uint64_t kBurst = 1'000;
  ASSERT_TRUE(engine->set_limits(tenant, {.tokens_per_minute = 1, .tokens_burst = kBurst}).ok());
  uint64_t used = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(engine->truncate_session(session, 0).ok());
    engine::RequestParams params = SmallEngine::params(60);
    auto request = engine->submit(session, std::move(params)).value();
    if (i % 2 == 0) engine->cancel(*request);
    (void)read_outcome(*request);
    used = count(session, Counter::kPromptTokens) + count(session, Counter::kGeneratedTokens);
    // The demand that what is left just meets, and the one a token above it; the rate may have given one meanwhile.
    tenant::Demand demand;
    demand.prompt_tokens = 1;
    demand.output_tokens = static_cast<uint32_t>(kBurst - used - 1);
    auto all = tenant.admit(demand, {}, engine->now_ns());
    ASSERT_TRUE(all.ok()) << all.status().message();
    tenant.withdraw(*all, engine->now_ns());
    demand.output_tokens += 2;
    EXPECT_EQ(tenant.admit(demand, {}, engine->now_ns()).status().code(), Code::kQuotaExceeded);
  }
  EXPECT_GT(used, 0u);
}

TEST(EngineLedger, KvBytesAreHeldOverTime) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  const auto model = engine.load_model("reference").value();
  const auto session = engine.session("a", model);
  EXPECT_EQ(session->tenant->kv_account()->byte_seconds(), 0u);
  EXPECT_TRUE(generate_one(engine, session).good());
  EXPECT_GT(session->tenant->usage().kv_bytes, 0u);
  while (count(session, Counter::kKvByteSeconds) == 0) std::this_thread::yield();
  const auto tenant = session->tenant;
  ASSERT_TRUE(engine->close_session(session).ok());
  EXPECT_EQ(tenant->usage().kv_bytes, 0u);
  EXPECT_EQ(tenant->kv_account()->byte_seconds(), tenant->kv_account()->byte_seconds());
}

}  // namespace
}  // namespace merritt::test
