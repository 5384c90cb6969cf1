// SPDX-License-Identifier: Apache-2.0
// Sessions that nobody runs lose their pages to those that run, and nothing else: they go on, are forked, cut and ended
// as if they had kept them, bit for bit.
#include "tests/sdk/engine/narrow_world.hpp"

namespace merritt::test {
namespace {

class IdleSession : public ::testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    if (GetParam().stories) MERRITT_SKIP_WITHOUT(stories_path());
    const uint64_t bytes = sequence_bytes(GetParam());
    wide = std::make_unique<World>(GetParam(), 16 * bytes);
    // Each of the six comes to more than half of a sequence; three samples of one need three, where a window is.
    narrow = std::make_unique<World>(GetParam(), (GetParam().stories ? 2 : 3) * bytes);
    for (uint32_t i = 0; i < kSessions; ++i) ASSERT_EQ(narrow->run_one(i, 0), wide->run_one(i, 0)) << i;
    for (uint32_t i = 0; i < kSessions; ++i) {
      if (narrow->missing(i) != 0) lacking.push_back(i);
      EXPECT_EQ(wide->missing(i), 0u);
    }
    ASSERT_GE(lacking.size(), 2u);
  }

  std::unique_ptr<World> wide, narrow;
  std::vector<uint32_t> lacking;  // sessions whose pages were taken back
};

TEST_P(IdleSession, GoesOnWithTheSameBits) {
  for (uint32_t turn = 1; turn < 3; ++turn) {
    for (uint32_t i = 0; i < kSessions; ++i) EXPECT_EQ(narrow->run_one(i, turn), wide->run_one(i, turn)) << i;
  }
  EXPECT_EQ(narrow->engine->stats().prompt_tokens, wide->engine->stats().prompt_tokens) << "counted once";
  EXPECT_EQ(narrow->engine->stats().preemptions, 0u) << "whoever runs keeps what it has";
}

TEST_P(IdleSession, AllGoOnAtOnce) {
  const std::vector<Answer> expected = wide->run(1), got = narrow->run(1);
  for (uint32_t i = 0; i < kSessions; ++i) EXPECT_EQ(got[i], expected[i]) << i;
}

TEST_P(IdleSession, IsForked) {
  const uint32_t i = lacking[0];
  const auto fork = *narrow->engine->fork_session(narrow->sessions[i]);
  EXPECT_EQ(fork->length, narrow->sessions[i]->length);
  EXPECT_EQ(narrow->run_one(i, 1, fork), wide->run_one(i, 1, *wide->engine->fork_session(wide->sessions[i])));
  EXPECT_EQ(narrow->run_one(i, 2), wide->run_one(i, 2));
}

// Where a window has dropped what the tokens before it would see, a session can be cut only when it has to run them
// again anyway.
TEST_P(IdleSession, IsCut) {
  const uint32_t i = lacking[0], position = kPromptTokens + 11;
  EXPECT_TRUE(narrow->engine->truncate_session(narrow->sessions[i], position).ok());
  EXPECT_EQ(narrow->sessions[i]->length, position);
  World other(GetParam(), 16 * sequence_bytes(GetParam()));
  engine::RequestParams params = params_of(GetParam(), i, 0);
  params.max_tokens = position - kPromptTokens + 1;
  (void)read_all(other.engine, **other.engine->submit(other.sessions[i], params));
  ASSERT_EQ(other.sessions[i]->length, position);
  EXPECT_EQ(narrow->run_one(i, 1), other.run_one(i, 1));
}

// Before its past is run again, and while it is.
TEST_P(IdleSession, ACancelLeavesItWhole) {
  for (int steps = 0; steps < 3; ++steps) {
    const uint32_t i = lacking[1], length = narrow->sessions[i]->length;
    auto request = narrow->engine->submit(narrow->sessions[i], params_of(GetParam(), i, 1));
    for (int step = 0; step < steps; ++step) ASSERT_TRUE(narrow->engine->poll(0).ok());
    narrow->engine->cancel(**request);
    EXPECT_EQ(read_all(narrow->engine, **request).end, engine::FinishReason::kCancelled);
    EXPECT_EQ(narrow->sessions[i]->length, length);
  }
  EXPECT_EQ(narrow->run_one(lacking[1], 1), wide->run_one(lacking[1], 1));
}

TEST_P(IdleSession, EndsAndLeavesNothing) {
  for (const uint32_t i : lacking) EXPECT_TRUE(narrow->engine->close_session(narrow->sessions[i]).ok());
  for (const uint32_t i : lacking) EXPECT_TRUE(narrow->engine->close_session(narrow->sessions[i]).ok()) << "again";
  for (const auto& session : narrow->sessions) EXPECT_TRUE(narrow->engine->close_session(session).ok());
  for (const auto& tenant : narrow->tenants) EXPECT_EQ(tenant->kv_account()->claimed_bytes, 0u);
  EXPECT_EQ(narrow->model->cache->bytes_held(), 0u);
}

// All other pages are promised to those that run: the fork begins without any.
TEST_P(IdleSession, IsForkedWithoutAPage) {
  if (!GetParam().stories) return;  // one group, so that the pages can be counted
  const kv::Cache& cache = *narrow->model->cache;
  const uint32_t i = kSessions - 1, page_tokens = cache.pool(0).shape().page_tokens;
  ASSERT_EQ(narrow->missing(i), 0u);
  ASSERT_NE(narrow->sessions[i]->length % page_tokens, 0u) << "a fork needs a page of its own";
  for (uint32_t j = 0; j < i; ++j) ASSERT_TRUE(narrow->engine->close_session(narrow->sessions[j]).ok());
  tenant::TenantLimits limits;
  limits.kv_bytes_floor = narrow->tenants[i % 2]->kv_account()->claimed_bytes;
  ASSERT_TRUE(narrow->engine->set_limits(*narrow->tenants[i % 2], limits).ok());
  limits.kv_bytes_floor = cache.pool_bytes() - limits.kv_bytes_floor;
  ASSERT_TRUE(narrow->engine->set_limits(*narrow->tenants[1 - i % 2], limits).ok());
  std::vector<std::shared_ptr<engine::Request>> holders;
  for (uint32_t left = cache.pool(0).free_pages() * page_tokens; left != 0;) {
    const uint32_t most = std::min(left, narrow->model->context_max);
    engine::RequestParams params = params_of(GetParam(), 2, 0);
    params.prompt.resize(std::min(most - 1, kPromptTokens));
    params.max_tokens = most - static_cast<uint32_t>(params.prompt.size());
    const auto session = *narrow->engine->open_session(narrow->tenants[1 - i % 2], narrow->model);
    holders.push_back(*narrow->engine->submit(session, params));
    left -= most;
  }
  ASSERT_TRUE(narrow->engine->poll(0).ok());
  const auto fork = narrow->engine->fork_session(narrow->sessions[i]);
  ASSERT_TRUE(fork.ok()) << fork.status().message();
  EXPECT_EQ(narrow->missing(i), 0u);
  EXPECT_EQ(cache.length((*fork)->sequence), 0u);
  for (const auto& holder : holders) EXPECT_EQ(read_all(narrow->engine, *holder).end, engine::FinishReason::kLength);
  ASSERT_TRUE(narrow->engine->set_limits(*narrow->tenants[1 - i % 2], {}).ok());
  EXPECT_EQ(narrow->run_one(i, 1, *fork), wide->run_one(i, 1));
}

INSTANTIATE_TEST_SUITE_P(Plugins, IdleSession,
                         ::testing::Values(Setup{"reference", false}, Setup{"reference", true}, Setup{"onednn", false},
                                           Setup{"onednn", true}),
                         [](const auto& one) { return ::testing::PrintToString(one.param); });

}  // namespace
}  // namespace merritt::test
