// SPDX-License-Identifier: Apache-2.0
// The main job through the C ABI: prompts in, streams out, on the reference plugin and the far device.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/support/abi_host.hpp"

namespace merritt::test {
namespace {

class Stories : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    MERRITT_SKIP_WITHOUT(stories_path());
    engine_ = make_engine({}, true);
    ASSERT_NE(engine_, nullptr);
    ASSERT_TRUE(load_backend(engine_, GetParam()));
    merritt_model_options options{};
    options.page_tokens = 16;
    model_ = load_model(engine_, stories_path(), options);
    ASSERT_NE(model_, nullptr);
    tenant_ = make_tenant(engine_, "acme");
  }
  void TearDown() override {
    if (engine_ != nullptr) {
      EXPECT_EQ(merritt_engine_destroy(engine_, nullptr), MERRITT_OK);
    }
  }
  static merritt_request_options text(std::string_view prompt, uint32_t max_tokens) {
    merritt_request_options options{};
    options.text = prompt.data();
    options.text_length = prompt.size();
    options.max_tokens = max_tokens;
    return options;
  }

  merritt_engine engine_ = nullptr;
  merritt_model model_ = nullptr;
  merritt_tenant tenant_ = nullptr;
};

TEST_P(Stories, GreedyFromBosIsThePublishedText) {
  const std::string path = shared_data("stories260K/golden_greedy_257.txt");
  MERRITT_SKIP_WITHOUT(path);
  std::ifstream in(path);
  std::stringstream golden;
  golden << in.rdbuf();
  std::string expected = golden.str();
  while (!expected.empty() && expected.back() == '\n') expected.pop_back();
  const int32_t bos = 1;
  merritt_request_options options{};
  options.tokens = &bos;
  options.n_tokens = 1;
  options.max_tokens = 257;
  const Generation out = generate(make_session(tenant_, model_), options);
  ASSERT_EQ(out.code, MERRITT_OK) << out.message;
  ASSERT_FALSE(out.text.empty());
  EXPECT_EQ(out.text[0], expected);
}

TEST_P(Stories, ForkContinuesLikeTheOriginal) {
  merritt_session session = make_session(tenant_, model_);
  const Generation first = generate(session, text("Once upon a time", 20));
  ASSERT_EQ(first.code, MERRITT_OK) << first.message;
  merritt_session forked = nullptr;
  Error error;
  ASSERT_EQ(merritt_session_fork(session, &forked, error), MERRITT_OK) << error.message();
  const Generation a = generate(session, text(" Then", 24));
  const Generation b = generate(forked, text(" Then", 24));
  ASSERT_EQ(a.code, MERRITT_OK) << a.message;
  ASSERT_EQ(b.code, MERRITT_OK) << b.message;
  EXPECT_EQ(a.tokens, b.tokens);
  uint32_t length = 0;
  EXPECT_EQ(merritt_session_length(forked, &length, nullptr), MERRITT_OK);
  EXPECT_GT(length, 40u);
}

TEST_P(Stories, TruncateAndAgainGivesTheSameTokens) {
  merritt_session session = make_session(tenant_, model_);
  ASSERT_EQ(generate(session, text("Once upon a time", 8)).code, MERRITT_OK);
  uint32_t before = 0;
  ASSERT_EQ(merritt_session_length(session, &before, nullptr), MERRITT_OK);
  const Generation a = generate(session, text(" The dog", 24));
  ASSERT_EQ(merritt_session_truncate(session, before, nullptr), MERRITT_OK);
  const Generation b = generate(session, text(" The dog", 24));
  ASSERT_EQ(b.code, MERRITT_OK) << b.message;
  EXPECT_EQ(a.tokens, b.tokens);
  Error error;
  EXPECT_EQ(merritt_session_truncate(session, 500, error), MERRITT_INVALID_ARGUMENT);
  EXPECT_NE(error.message().find("500"), std::string::npos);
}

TEST_P(Stories, SamplesShareThePromptAndDifferByChoice) {
  merritt_request_options options = text("Once upon a time", 16);
  options.n = 4;
  options.temperature = 1.0f;
  options.seed = 42;
  const Generation a = generate(make_session(tenant_, model_), options);
  const Generation b = generate(make_session(tenant_, model_), options);
  ASSERT_EQ(a.code, MERRITT_OK) << a.message;
  ASSERT_EQ(a.tokens.size(), 4u);
  EXPECT_EQ(a.tokens, b.tokens) << "the same seed draws the same samples";
  EXPECT_NE(a.tokens[0], a.tokens[1]);
  options.n = 1;
  const Generation alone = generate(make_session(tenant_, model_), options);
  ASSERT_EQ(alone.tokens.size(), 1u);
  EXPECT_EQ(alone.tokens[0], a.tokens[0]) << "choice 0 does not depend on how many there are";
}

TEST_P(Stories, StopStringEndsAndIsNotShown) {
  const Generation whole = generate(make_session(tenant_, model_), text("Once upon a time", 64));
  const size_t at = whole.text[0].find("play");
  ASSERT_NE(at, std::string::npos) << whole.text[0];
  merritt_request_options options = text("Once upon a time", 64);
  const merritt_string stop{"play", 4};
  options.stop = &stop;
  options.n_stop = 1;
  const Generation out = generate(make_session(tenant_, model_), options);
  EXPECT_EQ(out.text[0], whole.text[0].substr(0, at));
  EXPECT_EQ(out.finish[0], static_cast<uint32_t>(MERRITT_FINISH_STOP));
  merritt_request_options by_id = text("Once upon a time", 64);
  by_id.stop_tokens = &whole.tokens[0][5];
  by_id.n_stop_tokens = 1;
  const Generation ended = generate(make_session(tenant_, model_), by_id);
  EXPECT_EQ(ended.finish[0], static_cast<uint32_t>(MERRITT_FINISH_EOS));
  EXPECT_LE(ended.tokens[0].size(), 6u);
}

TEST_P(Stories, SpeculationChangesNoTokenAndSaysWhatItDid) {
  const std::string prompt = "Once upon a time, there was a dog. Once upon a time, there was a dog. Once";
  for (const float temperature : {0.0f, 0.7f}) {
    merritt_request_options options = text(prompt, 96);
    options.temperature = temperature;
    options.seed = 5;
    options.n = 2;
    const Generation plain = generate(make_session(tenant_, model_), options);
    ASSERT_EQ(plain.code, MERRITT_OK) << plain.message;
    options.struct_size = sizeof(options);
    options.speculate_max = 8;
    merritt_request request = nullptr;
    Error error;
    ASSERT_EQ(merritt_session_submit(make_session(tenant_, model_), &options, &request, error), MERRITT_OK)
        << error.message();
    const Generation drafted = read_all(request);
    EXPECT_EQ(drafted.tokens, plain.tokens);
    EXPECT_EQ(drafted.text, plain.text);
    EXPECT_EQ(drafted.finish, plain.finish);
    merritt_request_stats stats{};
    stats.struct_size = sizeof(stats);
    ASSERT_EQ(merritt_request_stats_get(request, &stats, error), MERRITT_OK) << error.message();
    EXPECT_GT(stats.draft_tokens, 0u);
    EXPECT_LE(stats.draft_tokens_accepted, stats.draft_tokens);
    EXPECT_EQ(stats.generated_tokens, plain.tokens[0].size() + plain.tokens[1].size());
  }
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(merritt_engine_stats_get(engine_, &stats, nullptr), MERRITT_OK);
  EXPECT_GT(stats.draft_tokens, 0u);
  EXPECT_GT(stats.draft_tokens_accepted, 0u);
}

TEST_P(Stories, SpeculationHasALimitAndIsOffForAnOlderCaller) {
  merritt_session session = make_session(tenant_, model_);
  merritt_request_options options = text("Once", 4);
  options.struct_size = sizeof(options);
  options.speculate_max = 65;
  merritt_request request = nullptr;
  Error error;
  EXPECT_EQ(merritt_session_submit(session, &options, &request, error), MERRITT_INVALID_ARGUMENT);
  EXPECT_NE(error.message().find("speculate_max"), std::string::npos) << error.message();
  options.priority = 101;
  options.struct_size = offsetof(merritt_request_options, speculate_max);  // sizeof in 0.1
  ASSERT_EQ(merritt_session_submit(session, &options, &request, error), MERRITT_OK) << error.message();
  EXPECT_EQ(read_all(request).code, MERRITT_OK);
  options.struct_size = sizeof(options);
  options.speculate_max = 1;
  options.priority = 0;
  options.reserved = 1;
  EXPECT_EQ(merritt_session_submit(session, &options, &request, error), MERRITT_UNSUPPORTED);
}

TEST_P(Stories, CancelStopsWithinTwoSteps) {
  merritt_session session = make_session(tenant_, model_);
  merritt_request_options options = text("Once upon a time", 400);
  options.struct_size = sizeof(options);
  options.flags = MERRITT_REQUEST_IGNORE_EOS;
  merritt_request request = nullptr;
  Error error;
  ASSERT_EQ(merritt_session_submit(session, &options, &request, error), MERRITT_OK) << error.message();
  merritt_event event{};
  event.struct_size = sizeof(event);
  ASSERT_EQ(merritt_request_next(request, MERRITT_WAIT_FOREVER, &event, error), MERRITT_OK);
  ASSERT_EQ(merritt_request_cancel(request, error), MERRITT_OK);
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(merritt_engine_stats_get(engine_, &stats, nullptr), MERRITT_OK);  // no fewer steps than when it was asked
  const Generation rest = read_all(request);
  EXPECT_LE(rest.end_step, stats.steps + 2);
  EXPECT_EQ(rest.end_reason, static_cast<uint32_t>(MERRITT_FINISH_CANCELLED));
  EXPECT_EQ(merritt_session_submit(session, &options, &request, error), MERRITT_OK) << "the session is free again";
  EXPECT_EQ(merritt_request_destroy(request, error), MERRITT_OK);
}

TEST_P(Stories, AnOverLongPromptIsAnErrorWithBothNumbers) {
  const std::vector<int32_t> tokens(600, 400);
  merritt_request_options options{};
  options.tokens = tokens.data();
  options.n_tokens = tokens.size();
  const Generation out = generate(make_session(tenant_, model_), options);
  EXPECT_EQ(out.code, MERRITT_INVALID_ARGUMENT);
  EXPECT_NE(out.message.find("600"), std::string::npos) << out.message;
  EXPECT_NE(out.message.find("512"), std::string::npos) << out.message;
}

TEST_P(Stories, OneSessionRunsOneRequest) {
  merritt_session session = make_session(tenant_, model_);
  merritt_request_options options = text("Once upon a time", 200);
  options.struct_size = sizeof(options);
  options.flags = MERRITT_REQUEST_IGNORE_EOS;
  merritt_request first = nullptr, second = nullptr;
  Error error;
  ASSERT_EQ(merritt_session_submit(session, &options, &first, error), MERRITT_OK) << error.message();
  EXPECT_EQ(merritt_session_submit(session, &options, &second, error), MERRITT_FAILED_PRECONDITION);
  EXPECT_EQ(merritt_session_truncate(session, 0, error), MERRITT_FAILED_PRECONDITION);
  EXPECT_EQ(merritt_request_destroy(first, error), MERRITT_OK);
}

TEST_P(Stories, TwoTenantsShareSteps) {
  merritt_tenant other = make_tenant(engine_, "globex");
  Generation a, b;
  std::thread one([&] { a = generate(make_session(tenant_, model_), text("Once upon a time", 400)); });
  std::thread two([&] { b = generate(make_session(other, model_), text("Lily and Tom", 400)); });
  one.join();
  two.join();
  ASSERT_EQ(a.code, MERRITT_OK) << a.message;
  ASSERT_EQ(b.code, MERRITT_OK) << b.message;
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(merritt_engine_stats_get(engine_, &stats, nullptr), MERRITT_OK);
  EXPECT_GT(stats.steps_mixed, 0u);
  std::vector<uint64_t> shared;
  std::set_intersection(a.steps.begin(), a.steps.end(), b.steps.begin(), b.steps.end(), std::back_inserter(shared));
  EXPECT_FALSE(shared.empty()) << "one step carried rows of both";
  const Generation alone = generate(make_session(tenant_, model_), text("Once upon a time", 400));
  EXPECT_EQ(alone.tokens, a.tokens);
}

TEST_P(Stories, LogprobIsThatOfTheLogits) {
  merritt_session session = make_session(tenant_, model_);
  const Generation out = generate(session, text("Once upon a time", 1));
  ASSERT_EQ(out.code, MERRITT_OK) << out.message;
  std::vector<int32_t> ids(16);
  size_t count = 0;
  ASSERT_EQ(merritt_model_tokenize(model_, "Once upon a time", 16, 0, ids.data(), ids.size(), &count, nullptr),
            MERRITT_OK);
  std::vector<float> logits(count * 512);
  Error error;
  ASSERT_EQ(merritt_model_eval(model_, tenant_, ids.data(), count, 0, logits.data(), logits.size(), error), MERRITT_OK)
      << error.message();
  const float* last = logits.data() + (count - 1) * 512;
  EXPECT_EQ(std::max_element(last, last + 512) - last, out.tokens[0][0]);
}

TEST_P(Stories, DestroyingTheModelReturnsEveryByte) {
  ASSERT_EQ(generate(make_session(tenant_, model_), text("Once", 4)).code, MERRITT_OK);
  ASSERT_EQ(merritt_model_destroy(model_, nullptr), MERRITT_OK);
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(merritt_engine_stats_get(engine_, &stats, nullptr), MERRITT_OK);
  EXPECT_EQ(stats.weight_bytes, 0u);
  EXPECT_EQ(stats.kv_bytes, 0u);
  const merritt_tenant_usage left = usage(tenant_);
  EXPECT_EQ(left.sessions, 0u);
  EXPECT_EQ(left.kv_bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Backends, Stories, ::testing::Values("reference", "fardevice", "onednn"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace merritt::test
