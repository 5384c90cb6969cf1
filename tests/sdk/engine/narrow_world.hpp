// SPDX-License-Identifier: Apache-2.0
// Sessions of two tenants on an engine with room for all of their pages or for few: what is asked of them, and all that
// can be seen of the answers. Steps run when they are asked for, so that the same pages are taken back in every run.
#pragma once

#include <gtest/gtest.h>

#include <bit>

#include "tests/support/abi_host.hpp"
#include "tests/support/small_engine.hpp"

namespace merritt::test {

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

inline std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  out << "end " << static_cast<int>(answer.end) << " length " << answer.length << " " << answer.failure;
  for (const ChoiceAnswer& choice : answer.choices) {
    out << "\n  ";
    for (const int32_t token : choice.tokens) out << " " << token;
  }
  return out;
}

inline Answer read_all(SmallEngine& engine, engine::Request& request) {
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

inline constexpr uint32_t kSessions = 6, kPromptTokens = 60;

struct Setup {
  const char* plugin;
  bool
      stories;  // one group of pages; else a windowed one too, which is full first and holds requests back at the start
};
inline std::ostream& operator<<(std::ostream& out, const Setup& setup) {
  return out << setup.plugin << (setup.stories ? "_stories" : "_gemma");
}

// Prompts differ, and how they are sampled: greedy, drawn, with drafts, several samples that end at different lengths.
inline engine::RequestParams params_of(const Setup& setup, uint32_t i, uint32_t turn) {
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

inline engine::EngineOptions without_threads() {
  engine::EngineOptions options;
  options.no_threads = true;
  return options;
}

struct World {
  World(const Setup& with, uint64_t kv_bytes, uint32_t first = 0, uint32_t sequences_max = 12)
      : setup(with), order(first) {
    const auto& [plugin, stories] = setup;
    engine.load_backend(plugin);
    auto options = SmallEngine::load_options(plugin);
    if (stories) options.path = stories_path();
    options.compile.context_max = 256;
    options.compile.kv_bytes = kv_bytes;
    options.compile.sequences_max = sequences_max;
    auto loaded = engine->load_model(options);
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
    model = *loaded;
    tenants = {*engine->create_tenant("a", {}), *engine->create_tenant("b", {})};
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
  // The turn of session i alone, on it or on another.
  Answer run_one(uint32_t i, uint32_t turn, std::shared_ptr<engine::Session> on = nullptr) {
    auto request = engine->submit(on == nullptr ? sessions[i] : on, params_of(setup, (i + order) % kSessions, turn));
    EXPECT_TRUE(request.ok()) << request.status().message();
    return read_all(engine, **request);
  }
  // Of the session's tokens, those that the cache lacks.
  uint32_t missing(uint32_t i) const { return sessions[i]->length - model->cache->length(sessions[i]->sequence); }

  const Setup setup;
  const uint32_t order;
  SmallEngine engine{without_threads()};
  std::shared_ptr<engine::Model> model;
  std::vector<std::shared_ptr<tenant::Tenant>> tenants;
  std::vector<std::shared_ptr<engine::Session>> sessions;
};

// Of one sequence of the whole context.
inline uint64_t sequence_bytes(const Setup& setup) {
  World world(setup, 0);
  const kv::GroupPages most = world.model->cache->pages_needed(world.model->context_max, 32);
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < world.model->cache->n_groups(); ++g) {
    bytes += most[g] * world.model->cache->pool(g).shape().page_bytes;
  }
  return bytes;
}

}  // namespace merritt::test
