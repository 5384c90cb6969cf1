// SPDX-License-Identifier: Apache-2.0
// Pages that are taken back change when tokens are made and nothing else: tokens, log-probabilities, texts, ends and
// the session afterwards are those of an engine with room for all, bit for bit. Steps run when they are asked for,
// after all requests were submitted, so that the same pages are taken back in every run.
#include "tests/sdk/engine/narrow_world.hpp"

namespace merritt::test {
namespace {

// Room for the sessions at rest, and not while they all run.
uint64_t narrow_bytes(const Setup& setup, uint64_t sequence) { return sequence * (setup.stories ? 9 : 10) / 2; }

class Preemption : public ::testing::TestWithParam<Setup> {};

TEST_P(Preemption, ChangesNoBit) {
  if (GetParam().stories) MERRITT_SKIP_WITHOUT(stories_path());
  const uint64_t bytes = sequence_bytes(GetParam());
  uint64_t preemptions = 0;
  for (uint32_t order = 0; order < kSessions; order += 2) {  // who starts last, and is taken back
    World wide(GetParam(), 16 * bytes, order), narrow(GetParam(), narrow_bytes(GetParam(), bytes), order);
    for (uint32_t turn = 0; turn < 2; ++turn) {
      const std::vector<Answer> expected = wide.run(turn), got = narrow.run(turn);
      for (uint32_t i = 0; i < kSessions; ++i) {
        EXPECT_EQ(got[i], expected[i]) << "session " << i << " turn " << turn << " order " << order;
        EXPECT_EQ(expected[i].end, engine::FinishReason::kLength);
      }
    }
    EXPECT_EQ(wide.engine->stats().preemptions, 0u);
    EXPECT_EQ(narrow.engine->stats().prompt_tokens, wide.engine->stats().prompt_tokens) << "counted once";
    EXPECT_EQ(narrow.engine->stats().generated_tokens, wide.engine->stats().generated_tokens);
    preemptions += narrow.engine->stats().preemptions;
  }
  EXPECT_GE(preemptions, GetParam().stories ? 6u : 1u);
}

// Cancelled while some wait for their pages: the session has what had been run, and goes on from there.
TEST_P(Preemption, ACancelledRequestLeavesItsSessionWhole) {
  if (GetParam().stories) MERRITT_SKIP_WITHOUT(stories_path());
  const uint64_t bytes = sequence_bytes(GetParam());
  World narrow(GetParam(), narrow_bytes(GetParam(), bytes));
  const auto requests = narrow.submit(0);
  while (narrow.engine->stats().preemptions == 0) {
    const auto more = narrow.engine->poll(0);
    ASSERT_TRUE(more.ok() && *more) << "all ended, and nobody's pages were taken back";
  }
  EXPECT_GT(narrow.engine->stats().preemptions, 0u);
  for (const auto& request : requests) narrow.engine->cancel(*request);
  std::vector<Answer> first;
  for (const auto& request : requests) first.push_back(read_all(narrow.engine, *request));
  uint32_t compared = 0;
  for (uint32_t i = 0; i < kSessions; ++i) {
    if (first[i].length <= kPromptTokens) continue;
    ++compared;
    World wide(GetParam(), 16 * bytes);
    engine::RequestParams params = params_of(GetParam(), i, 0);
    params.max_tokens = first[i].length - kPromptTokens + 1;
    auto request = wide.engine->submit(wide.sessions[i], params);
    const Answer same = read_all(wide.engine, **request);
    ASSERT_EQ(same.length, first[i].length);
    const auto go_on = [&](World& world) {
      return read_all(world.engine, **world.engine->submit(world.sessions[i], params_of(GetParam(), i, 1)));
    };
    EXPECT_EQ(go_on(narrow), go_on(wide)) << "session " << i;
  }
  EXPECT_GT(compared, 0u);
}

// One tenant runs six of eight sequences, another one takes the two that are left and then one of the six.
TEST_P(Preemption, ForASequenceChangesNoBit) {
  if (GetParam().stories) MERRITT_SKIP_WITHOUT(stories_path());
  const uint64_t bytes = sequence_bytes(GetParam());
  std::vector<Answer> answers[2];
  uint64_t preemptions[2] = {};
  for (const bool narrow : {false, true}) {
    World world(GetParam(), 16 * bytes, 0, narrow ? 8 : 16);
    std::vector<std::shared_ptr<engine::Request>> requests;
    for (uint32_t i = 0; i < 9; ++i) {
      if (i == 6) {
        for (int step = 0; step < 20; ++step) ASSERT_TRUE(world.engine->poll(0).ok());
        ASSERT_EQ(world.tenants[0]->usage().sequences_running, 6u);
      }
      engine::RequestParams params = params_of(GetParam(), i % kSessions, 0);
      params.n = 1;
      const auto session = *world.engine->open_session(world.tenants[i < 6 ? 0 : 1], world.model);
      requests.push_back(*world.engine->submit(session, params));
    }
    for (const auto& request : requests) answers[narrow].push_back(read_all(world.engine, *request));
    preemptions[narrow] = world.engine->stats().preemptions;
  }
  for (size_t i = 0; i < answers[0].size(); ++i) EXPECT_EQ(answers[1][i], answers[0][i]) << i;
  EXPECT_EQ(preemptions[0], 0u);
  EXPECT_EQ(preemptions[1], 1u);
}

INSTANTIATE_TEST_SUITE_P(Plugins, Preemption,
                         ::testing::Values(Setup{"reference", false}, Setup{"reference", true}, Setup{"onednn", false},
                                           Setup{"onednn", true}),
                         [](const auto& one) { return ::testing::PrintToString(one.param); });

}  // namespace
}  // namespace merritt::test
