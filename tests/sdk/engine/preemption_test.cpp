// SPDX-License-Identifier: Apache-2.0
// Pages that are taken back change when tokens are made and nothing else: tokens, log-probabilities, texts, ends and
// the session afterwards are those of an engine with room for all, bit for bit. Steps run when they are asked for,
// after all requests were submitted, so that the same pages are taken back in every run.
#include <gtest/gtest.h>

#include <bit>

#include "tests/support/abi_host.hpp"
#include "tests/support/small_engine.hpp"

namespace merritt::test {
namespace {

struct ChoiceAnswer {
  std::vector<int32_t> tokens;
  std::vector<uint32_t> logprobs;  // their bits
  std::string text;
  engine::FinishReason finish = engine::FinishReason::kNone;
  bool operator==(const ChoiceAnswer&) const = default;
};

struct Answer {
  std::vector<ChoiceAnswer> choices;
  engine::FinishReason end = engine::FinishReason::kNone;
  std::string failure;
  uint32_t length = 0, prompt_tokens = 0, generated = 0;
  bool operator==(const Answer&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  out << "end " << static_cast<int>(answer.end) << " length " << answer.length << " " << answer.failure;
  for (const ChoiceAnswer& choice : answer.choices) {
    out << "\n  ";
    for (const int32_t token : choice.tokens) out << " " << token;
  }
  return out;
}

Answer read_all(SmallEngine& engine, engine::Request& request) {
  Answer answer;
  answer.choices.resize(request.params.n);
  for (;;) {
    auto event = engine->next_event(request, 60'000);
    if (!event.ok()) {
      answer.failure = event.status().message();
      continue;
    }
    ChoiceAnswer& choice = answer.choices[event->choice];
    switch (event->kind) {
      case engine::EventKind::kNone: ADD_FAILURE() << "nothing came for a minute"; return answer;
      case engine::EventKind::kText:
        choice.text += event->text;
        if (event->token >= 0) {
          choice.tokens.push_back(event->token);
          choice.logprobs.push_back(std::bit_cast<uint32_t>(event->logprob));
        }
        break;
      case engine::EventKind::kChoiceEnd: choice.finish = event->finish_reason; break;
      case engine::EventKind::kEnd:
        answer.end = event->finish_reason;
        answer.length = request.session->length;
        answer.prompt_tokens = request.stats.prompt_tokens;
        answer.generated = request.stats.generated_tokens;
        return answer;
    }
  }
}

constexpr uint32_t kSessions = 6, kPromptTokens = 60;

struct Setup {
  const char* plugin;
  bool
      stories;  // one group of pages; else a windowed one too, which is full first and holds requests back at the start
};
std::ostream& operator<<(std::ostream& out, const Setup& setup) {
  return out << setup.plugin << (setup.stories ? "_stories" : "_gemma");
}

// Prompts differ, and how they are sampled: greedy, drawn, with drafts, several samples that end at different lengths.
engine::RequestParams params_of(const Setup& setup, uint32_t i, uint32_t turn) {
  engine::RequestParams params;
  for (uint32_t t = 0; t < (turn == 0 ? kPromptTokens : 9); ++t) {
    params.prompt.push_back(byte_token(static_cast<uint8_t>('a' + (t * (i + 1) + turn) % 23)));
  }
  params.max_tokens = turn == 0 ? 80 + 4 * i : 12;
  params.ignore_eos = true;
  params.sampling.seed = 77 + i;
  if (i % 2 == 1) params.sampling.temperature = 0.9F;
  if (i % 3 == 1 && turn == 0) params.n = 3;
  if (i % 3 == 0 && turn == 0 && setup.stories) params.n = 2;
  if (i % 3 == 2) params.speculate_max = 4;
  return params;
}

engine::EngineOptions without_threads() {
  engine::EngineOptions options;
  options.no_threads = true;
  return options;
}

struct World {
  World(const Setup& with, uint64_t kv_bytes, uint32_t first = 0) : setup(with), order(first) {
    const auto& [plugin, stories] = setup;
    engine.load_backend(plugin);
    auto options = SmallEngine::load_options(plugin);
    if (stories) options.path = stories_path();
    options.compile.context_max = 256;
    options.compile.kv_bytes = kv_bytes;
    options.compile.sequences_max = 12;
    auto loaded = engine->load_model(options);
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
    model = *loaded;
    std::vector<std::shared_ptr<tenant::Tenant>> tenants{*engine->create_tenant("a", {}),
                                                         *engine->create_tenant("b", {})};
    for (uint32_t i = 0; i < kSessions; ++i) sessions.push_back(*engine->open_session(tenants[i % 2], model));
  }
  std::vector<std::shared_ptr<engine::Request>> submit(uint32_t turn) {
    std::vector<std::shared_ptr<engine::Request>> requests;
    for (uint32_t i = 0; i < kSessions; ++i) {
      auto request = engine->submit(sessions[i], params_of(setup, (i + order) % kSessions, turn));
      EXPECT_TRUE(request.ok()) << request.status().message();
      requests.push_back(*request);
    }
    return requests;
  }
  std::vector<Answer> run(uint32_t turn) {
    std::vector<Answer> answers;
    for (const auto& request : submit(turn)) answers.push_back(read_all(engine, *request));
    return answers;
  }

  const Setup setup;
  const uint32_t order;
  SmallEngine engine{without_threads()};
  std::shared_ptr<engine::Model> model;
  std::vector<std::shared_ptr<engine::Session>> sessions;
};

// Room for the sessions at rest, and not while they all run.
uint64_t narrow_bytes(const Setup& setup, uint64_t sequence) { return sequence * (setup.stories ? 9 : 10) / 2; }

// Of one sequence of the whole context.
uint64_t sequence_bytes(const Setup& setup) {
  World world(setup, 0);
  const kv::GroupPages most = world.model->cache->pages_needed(world.model->context_max, 32);
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < world.model->cache->n_groups(); ++g) {
    bytes += most[g] * world.model->cache->pool(g).shape().page_bytes;
  }
  return bytes;
}

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

INSTANTIATE_TEST_SUITE_P(Plugins, Preemption,
                         ::testing::Values(Setup{"reference", false}, Setup{"reference", true}, Setup{"onednn", false},
                                           Setup{"onednn", true}),
                         [](const auto& one) { return ::testing::PrintToString(one.param); });

}  // namespace
}  // namespace merritt::test
