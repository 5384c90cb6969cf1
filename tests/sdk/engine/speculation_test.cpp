// SPDX-License-Identifier: Apache-2.0
// Speculative decoding changes when tokens are made and nothing else: tokens, log-probabilities, texts, ends and what
// is left in the session are those of a run without it, bit for bit, whatever samples and whatever runs beside it.
#include <gtest/gtest.h>

#include <bit>
#include <functional>

#include "tests/plugins/faulty/faulty.h"
#include "tests/support/small_engine.hpp"

namespace merritt::test {
namespace {

constexpr int32_t kEos = 1;

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
  Code code = Code::kOk;
  uint32_t length = 0;  // of the session afterwards
  bool operator==(const Answer&) const = default;

  size_t n_tokens() const {
    size_t n = 0;
    for (const ChoiceAnswer& choice : choices) n += choice.tokens.size();
    return n;
  }
};

std::ostream& operator<<(std::ostream& out, const Answer& result) {
  out << "code " << static_cast<int>(result.code) << ", length " << result.length;
  for (const ChoiceAnswer& choice : result.choices) {
    out << "; " << static_cast<int>(choice.finish) << " after " << choice.tokens.size() << ":";
    for (const int32_t token : choice.tokens) out << " " << token;
  }
  return out;
}

// Reads to the end; calls `each` after every event of text.
Answer read_all(engine::Request& request, const std::function<void(const Answer&)>& each = {}) {
  Answer result;
  result.choices.resize(request.params.n);
  for (;;) {
    auto event = request.stream.next(60'000);
    if (!event.ok()) {
      result.code = event.status().code();
      continue;
    }
    ChoiceAnswer& choice = result.choices[event->choice];
    switch (event->kind) {
      case engine::EventKind::kNone: ADD_FAILURE() << "nothing came for a minute"; return result;
      case engine::EventKind::kText:
        choice.text += event->text;
        if (event->token >= 0) {
          choice.tokens.push_back(event->token);
          choice.logprobs.push_back(std::bit_cast<uint32_t>(event->logprob));
        }
        if (each) each(result);
        break;
      case engine::EventKind::kChoiceEnd: choice.finish = event->finish_reason; break;
      case engine::EventKind::kEnd:
        result.end = event->finish_reason;
        result.length = request.session->length;
        return result;
    }
  }
}

// How requests differ. What they draw from is biased to few tokens, so that drafts are made, and are right and wrong.
struct Kind {
  const char* name;
  std::function<void(engine::RequestParams&)> shape;
};

void prefer(engine::RequestParams& params, std::initializer_list<std::pair<char, float>> bytes) {
  for (const auto& [byte, bias] : bytes) {
    params.sampling.logit_bias.emplace_back(byte_token(static_cast<uint8_t>(byte)), bias);
  }
}

std::vector<Kind> kinds() {
  return {
      {"greedy", [](engine::RequestParams&) {}},
      {"one token",
       [](engine::RequestParams& p) {
         prefer(p, {{'a', 1000}});
       }},
      {"sampled",
       [](engine::RequestParams& p) {
         p.sampling.temperature = 1;
         prefer(p, {{'a', 20}, {'b', 20}});
       }},
      {"sampled, filtered, penalised",
       [](engine::RequestParams& p) {
         p.sampling.temperature = 0.8f;
         p.sampling.top_k = 5;
         p.sampling.top_p = 0.9f;
         p.sampling.min_p = 0.01f;
         p.sampling.repetition_penalty = 1.1f;
         p.sampling.frequency_penalty = 0.05f;
         p.sampling.presence_penalty = 0.1f;
         p.sampling.penalty_last_n = 20;
         prefer(p, {{'a', 20}, {'b', 21}, {'c', 20}});
       }},
      {"three choices, one stop string",
       [](engine::RequestParams& p) {
         p.n = 3;
         p.sampling.temperature = 1;
         p.stop_strings = {"babb"};
         prefer(p, {{'a', 20}, {'b', 20}});
       }},
      {"a stop string among equal tokens",
       [](engine::RequestParams& p) {
         p.stop_strings = {"aaaaaaaaaa", "b"};
         p.sampling.min_tokens = 17;
         prefer(p, {{'a', 1000}});
       }},
      {"a stop token",
       [](engine::RequestParams& p) {
         p.sampling.temperature = 1;
         p.sampling.min_tokens = 9;
         p.stop_tokens = {byte_token('c')};
         prefer(p, {{'a', 21}, {'b', 21}, {'c', 19}});
       }},
      {"an end of generation",
       [](engine::RequestParams& p) {
         p.ignore_eos = false;
         p.sampling.temperature = 1;
         p.sampling.min_tokens = 5;
         p.sampling.logit_bias.emplace_back(kEos, 18.5f);
         prefer(p, {{'a', 20}, {'b', 20}});
       }},
      {"ends of generation that are ignored",
       [](engine::RequestParams& p) {
         p.sampling.temperature = 1;
         p.sampling.logit_bias.emplace_back(kEos, 20.0f);
         prefer(p, {{'a', 20}});
       }},
      {"half characters",
       [](engine::RequestParams& p) {
         p.sampling.temperature = 1;
         prefer(p, {{'\xC3', 20}, {'\xA9', 20}});
       }},
      {"to the end of the context",
       [](engine::RequestParams& p) {
         p.max_tokens = 10'000;
         prefer(p, {{'a', 1000}});
       }},
  };
}

engine::RequestParams params_of(const Kind& kind, uint64_t seed, uint32_t speculate) {
  engine::RequestParams params = SmallEngine::params(60);
  for (const char byte : std::string("abcabcabbaabcabcabbaabcabcaaaaabbbbcccca"))
    params.prompt.push_back(byte_token(byte));
  params.sampling.seed = seed;
  params.speculate_max = speculate;
  kind.shape(params);
  return params;
}

class Speculation : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    ASSERT_NE(engine_.load_backend(GetParam()), nullptr);
    auto model = engine_.load_model(GetParam());
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = *model;
    auto tenant = engine_->create_tenant("a", {});
    ASSERT_TRUE(tenant.ok());
    tenant_ = *tenant;
  }
  void TearDown() override {
    if (model_ == nullptr) return;
    EXPECT_TRUE(engine_->unload_model(model_).ok());
  }
  std::shared_ptr<engine::Session> open() {
    auto session = engine_->open_session(tenant_, model_);
    EXPECT_TRUE(session.ok()) << session.status().message();
    return *session;
  }
  std::shared_ptr<engine::Request> submit(const std::shared_ptr<engine::Session>& session,
                                          const engine::RequestParams& params) {
    auto request = engine_->submit(session, params);
    EXPECT_TRUE(request.ok()) << request.status().message();
    return *request;
  }
  // Two generations, one after the other on one session: the second sees what the first has left.
  std::vector<Answer> generate_twice(const Kind& kind, uint64_t seed, uint32_t speculate) {
    const auto session = open();
    std::vector<Answer> results;
    for (int i = 0; i < 2; ++i) {
      engine::RequestParams params = params_of(kind, seed, speculate);
      if (params.max_tokens > 1000 && i == 0) params.max_tokens = 60;
      const auto request = submit(session, params);
      results.push_back(read_all(*request));
      drafted_ += request->stats.draft_tokens;
      accepted_ += request->stats.draft_tokens_accepted;
      EXPECT_EQ(request->stats.generated_tokens, results.back().n_tokens());
      EXPECT_TRUE(speculate != 0 || request->stats.draft_tokens == 0);
    }
    EXPECT_TRUE(engine_->close_session(session).ok());
    return results;
  }

  SmallEngine engine_;
  std::shared_ptr<engine::Model> model_;
  std::shared_ptr<tenant::Tenant> tenant_;
  uint64_t drafted_ = 0, accepted_ = 0;
};

TEST_P(Speculation, ChangesNoToken) {
  for (const Kind& kind : kinds()) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(std::string(kind.name) + ", seed " + std::to_string(seed));
      const std::vector<Answer> plain = generate_twice(kind, seed, 0);
      for (const uint32_t speculate : {1u, 4u, 64u}) ASSERT_EQ(generate_twice(kind, seed, speculate), plain);
    }
  }
  EXPECT_GT(accepted_, 1000u);
  EXPECT_GT(drafted_ - accepted_, 500u) << "drafts that were wrong";
  const engine::EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.draft_tokens, drafted_);
  EXPECT_EQ(stats.draft_tokens_accepted, accepted_);
}

// All kinds beside each other, some with drafts, some without, as many as the step takes and more.
TEST_P(Speculation, ChangesNoTokenOfOthers) {
  std::vector<Answer> alone;
  std::vector<engine::RequestParams> params;
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    for (const Kind& kind : kinds()) {
      params.push_back(params_of(kind, seed, 0));
      const auto session = open();
      alone.push_back(read_all(*submit(session, params.back())));
      EXPECT_TRUE(engine_->close_session(session).ok());
    }
  }
  for (const uint32_t speculate : {3u, 16u}) {
    std::vector<std::shared_ptr<engine::Session>> sessions;
    std::vector<std::shared_ptr<engine::Request>> requests;
    for (size_t i = 0; i < params.size(); ++i) {
      sessions.push_back(open());
      params[i].speculate_max = i % 4 == 3 ? 0 : speculate;
      requests.push_back(submit(sessions.back(), params[i]));
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(read_all(*requests[i]), alone[i]) << i;
      EXPECT_TRUE(engine_->close_session(sessions[i]).ok());
    }
  }
}

TEST_P(Speculation, TakesFewerStepsForTheSameTokens) {
  const Kind same{"one token", [](engine::RequestParams& p) { prefer(p, {{'a', 1000}}); }};
  const auto session = open();
  const uint64_t before = engine_->stats().generated_tokens;
  const auto request = submit(session, params_of(same, 1, 8));
  const Answer result = read_all(*request);
  EXPECT_EQ(result.choices[0].tokens.size(), 60u);
  EXPECT_LT(request->stats.steps, 20u);
  EXPECT_GT(request->stats.draft_tokens_accepted, 40u);
  // What is counted is what was made: 59 rows, the last token is not run.
  EXPECT_EQ(engine_->stats().generated_tokens - before, 59u);
  EXPECT_EQ(tenant_->usage().generated_tokens, 60u);
}

TEST_P(Speculation, CancelAndDeadlineLeaveWhatWasMade) {
  for (const bool cancels : {true, false}) {
    const auto session = open();
    engine::RequestParams params = params_of({"", [](engine::RequestParams& p) { prefer(p, {{'a', 1000}}); }}, 1, 4);
    params.max_tokens = 150;
    params.stop_strings = {"ab"};  // holds the last character back
    const auto prompt = static_cast<uint32_t>(params.prompt.size());
    if (!cancels) params.deadline_ns = engine_->now_ns() + 3'000'000;
    const auto request = submit(session, params);
    const Answer result = read_all(*request, [&](const Answer& so_far) {
      if (cancels && so_far.n_tokens() == 3) engine_->cancel(*request);
    });
    const auto n = static_cast<uint32_t>(result.n_tokens());
    EXPECT_TRUE(result.end == engine::FinishReason::kLength ||
                result.end == (cancels ? engine::FinishReason::kCancelled : engine::FinishReason::kDeadline));
    EXPECT_EQ(result.choices[0].text, std::string(n, 'a'));
    EXPECT_TRUE(n == 0 || result.length == prompt + n - 1) << result;
    // The session goes on like one that had exactly these tokens.
    params.deadline_ns = 0;
    params.max_tokens = 5;
    EXPECT_EQ(read_all(*submit(session, params)).choices[0].text, std::string(5, 'a'));
    EXPECT_TRUE(engine_->close_session(session).ok());
  }
}

INSTANTIATE_TEST_SUITE_P(Plugins, Speculation, ::testing::Values("reference", "onednn", "fardevice"));

// A step with drafts fails at any call: what came until then is right, nobody hangs, and the next request is good.
void fail_at_every_call(SmallEngine& engine, const std::shared_ptr<engine::Model>& model,
                        const merritt_faulty_ext& controls) {
  const engine::RequestParams params = params_of(kinds()[2], 3, 8);
  const auto prompt = static_cast<uint32_t>(params.prompt.size());
  const auto run = [&](const std::shared_ptr<engine::Session>& session) {
    auto request = engine->submit(session, params);
    EXPECT_TRUE(request.ok()) << request.status().message();
    return read_all(**request);
  };
  const Answer whole = run(engine.session("whole", model));
  ASSERT_EQ(whole.choices[0].tokens.size(), 60u);
  uint32_t failures = 0;
  for (uint64_t k = 1; k < 400; k += 3) {
    const auto session = engine.session("t" + std::to_string(k), model);
    controls.fail_at(k);
    const Answer broken = run(session);
    controls.fail_at(0);
    const auto& tokens = broken.choices[0].tokens;
    if (broken.code == Code::kOk) {
      EXPECT_EQ(broken.choices, whole.choices);
      break;
    }
    ++failures;
    EXPECT_EQ(broken.end, engine::FinishReason::kError);
    ASSERT_LT(tokens.size(), 60u);
    EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), whole.choices[0].tokens.begin()));
    EXPECT_TRUE(tokens.empty() || broken.length == prompt + tokens.size() - 1) << broken;
    EXPECT_TRUE(engine->truncate_session(session, 0).ok());
    EXPECT_EQ(run(session).choices, whole.choices);
    EXPECT_TRUE(engine->close_session(session).ok());
  }
  EXPECT_GT(failures, 10u);
}

TEST(SpeculationFailure, EndsTheRequestAndNoMore) {
  SmallEngine engine;
  const backend::Plugin* plugin = engine.load_backend("faulty_fails_kth_call");
  ASSERT_NE(plugin, nullptr);
  const auto* controls = engine.controls<merritt_faulty_ext>(plugin, MERRITT_FAULTY_EXT);
  {
    const auto model = engine.load_model("faulty_fails_kth_call");
    ASSERT_TRUE(model.ok()) << model.status().message();
    fail_at_every_call(engine, *model, *controls);
    EXPECT_TRUE(engine->unload_model(*model).ok());
  }
  engine.close();
  EXPECT_EQ(engine.bytes, 0);
}

}  // namespace
}  // namespace merritt::test
