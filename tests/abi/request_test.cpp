// SPDX-License-Identifier: Apache-2.0
// Requests: cancel and deadline within two steps, what is refused before any work, entries of callers with another
// header, evaluations that end early. On a tiny model, so that it runs anywhere.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::test {
namespace {

class Requests : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    engine_ = make_engine({}, true);
    ASSERT_NE(engine_, nullptr);
    ASSERT_TRUE(load_backend(engine_, GetParam()));
    merritt_model_options options{};
    options.context_max = 512;
    options.page_tokens = 16;
    model_ = load_model(engine_, folder_.tiny_model(), options);
    ASSERT_NE(model_, nullptr);
    tenant_ = make_tenant(engine_, "acme");
    text_.struct_size = sizeof(text_);
    text_.text = "the and of to";
    text_.text_length = 13;
    text_.max_tokens = 8;
    text_.flags = MERRITT_REQUEST_IGNORE_EOS;
  }
  void TearDown() override {
    if (engine_ != nullptr) {
      EXPECT_EQ(merritt_engine_destroy(engine_, nullptr), MERRITT_OK);
    }
  }
  uint64_t steps() const {
    merritt_engine_stats stats{};
    stats.struct_size = sizeof(stats);
    EXPECT_EQ(merritt_engine_stats_get(engine_, &stats, nullptr), MERRITT_OK);
    return stats.steps;
  }

  const TempFolder folder_;
  merritt_engine engine_ = nullptr;
  merritt_model model_ = nullptr;
  merritt_tenant tenant_ = nullptr;
  merritt_request_options text_{};
};

TEST_P(Requests, CancelStopsWithinTwoSteps) {
  const merritt_session session = make_session(tenant_, model_);
  text_.max_tokens = 450;
  merritt_request request = nullptr;
  Error error;
  ASSERT_EQ(merritt_session_submit(session, &text_, &request, error), MERRITT_OK) << error.message();
  merritt_event event{};
  event.struct_size = sizeof(event);
  ASSERT_EQ(merritt_request_next(request, MERRITT_WAIT_FOREVER, &event, error), MERRITT_OK);
  ASSERT_EQ(merritt_request_cancel(request, error), MERRITT_OK);
  const uint64_t asked_at = steps();  // after the cancel: the engine had made no more than these when it was asked
  do {
    ASSERT_EQ(merritt_request_next(request, MERRITT_WAIT_FOREVER, &event, error), MERRITT_OK) << error.message();
  } while (event.kind != MERRITT_EVENT_END);
  EXPECT_EQ(event.finish_reason, static_cast<uint32_t>(MERRITT_FINISH_CANCELLED));
  EXPECT_LE(event.step, asked_at + 2);
  EXPECT_EQ(generate(session, text_).code, MERRITT_OK) << "the session is free again";
}

TEST_P(Requests, CancelComesWithAReceipt) {
  const merritt_session session = make_session(tenant_, model_);
  text_.max_tokens = 450;
  text_.n = 3;
  merritt_request request = nullptr;
  Error error;
  const uint64_t before = usage(tenant_).kv_bytes;
  ASSERT_EQ(merritt_session_submit(session, &text_, &request, error), MERRITT_OK) << error.message();
  merritt_event event{};
  event.struct_size = sizeof(event);
  for (int i = 0; i < 60; ++i) {  // until the samples have pages of their own
    ASSERT_EQ(merritt_request_next(request, MERRITT_WAIT_FOREVER, &event, error), MERRITT_OK);
  }
  ASSERT_EQ(merritt_request_cancel(request, error), MERRITT_OK);
  EXPECT_EQ(read_all(request).end_reason, static_cast<uint32_t>(MERRITT_FINISH_CANCELLED));
  merritt_request_stats stats{};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(merritt_request_stats_get(request, &stats, error), MERRITT_OK);
  // Each of the three samples counts its own run of a step.
  EXPECT_LE(stats.steps_after_cancel, 2u * 3u);
  EXPECT_GE(stats.pages_freed, 2u) << "two samples had pages of their own";
  EXPECT_GT(stats.kv_bytes_released, before) << "and 450 tokens were promised to each";
  EXPECT_EQ(generate(session, text_).code, MERRITT_OK);
}

TEST_P(Requests, APriorityHasARange) {
  const merritt_session session = make_session(tenant_, model_);
  for (const int32_t priority : {101, -101, INT32_MAX, INT32_MIN}) {
    text_.priority = priority;
    merritt_request request = nullptr;
    Error error;
    EXPECT_EQ(merritt_session_submit(session, &text_, &request, error), MERRITT_INVALID_ARGUMENT);
    EXPECT_EQ(error.message(), "priority is " + std::to_string(priority) + "; it is -100 to 100");
    EXPECT_EQ(request, nullptr);
  }
  for (const int32_t priority : {100, -100}) {
    text_.priority = priority;
    EXPECT_EQ(generate(session, text_).code, MERRITT_OK);
  }
}

TEST_P(Requests, ADeadlineEndsTheGeneration) {
  const merritt_session session = make_session(tenant_, model_);
  // As many as the context takes, in more time than a millisecond whatever the machine.
  text_.max_tokens = 490;
  text_.deadline_ms = 1;
  const Generation out = generate(session, text_);
  ASSERT_EQ(out.code, MERRITT_OK) << out.message;
  EXPECT_EQ(out.end_reason, static_cast<uint32_t>(MERRITT_FINISH_DEADLINE));
  for (const uint32_t finish : out.finish) EXPECT_EQ(finish, static_cast<uint32_t>(MERRITT_FINISH_DEADLINE));
  text_.deadline_ms = 600'000;
  text_.max_tokens = 2;
  EXPECT_EQ(generate(session, text_).end_reason, static_cast<uint32_t>(MERRITT_FINISH_LENGTH));
}

TEST_P(Requests, AnEvaluationHasADeadlineAndCanBeCancelled) {
  const std::vector<int32_t> tokens(400, 300);
  std::vector<float> logits(tokens.size() * TempFolder::kTinyVocabulary);
  merritt_eval_options options{};
  options.struct_size = sizeof(options);
  options.flags = MERRITT_EVAL_DECODE;  // one step for each token: time enough
  const auto eval = [&](Error& error) {
    return merritt_model_eval(model_, tenant_, tokens.data(), tokens.size(), &options, logits.data(), logits.size(),
                              error);
  };
  Error error;
  options.deadline_ms = 1;
  EXPECT_EQ(eval(error), MERRITT_DEADLINE_EXCEEDED) << error.message();
  options.deadline_ms = 0;
  float last = -1;
  options.progress = [](void* user, float fraction) -> int32_t {
    *static_cast<float*>(user) = fraction;
    return 1;
  };
  options.progress_user = &last;
  const uint64_t before = steps();
  EXPECT_EQ(eval(error), MERRITT_CANCELLED) << error.message();
  EXPECT_LT(steps() - before, tokens.size());
  EXPECT_GE(last, 0.0f);
  EXPECT_LE(last, 1.0f);
  options = {};
  options.struct_size = sizeof(options);
  EXPECT_EQ(eval(error), MERRITT_OK) << error.message();
  options.reserved = 1;
  EXPECT_EQ(eval(error), MERRITT_UNSUPPORTED);
  EXPECT_EQ(usage(tenant_).sessions, 0u);
  EXPECT_EQ(usage(tenant_).kv_bytes, 0u);
}

TEST_P(Requests, ABusySessionIsRefusedBeforeItsPromptIsRead) {
  const merritt_session session = make_session(tenant_, model_);
  text_.max_tokens = 450;
  merritt_request first = nullptr, second = nullptr;
  Error error;
  ASSERT_EQ(merritt_session_submit(session, &text_, &first, error), MERRITT_OK) << error.message();
  merritt_request_options wrong = text_;
  wrong.temperature = -1;  // would be INVALID_ARGUMENT if anybody looked
  EXPECT_EQ(merritt_session_submit(session, &wrong, &second, error), MERRITT_FAILED_PRECONDITION);
  EXPECT_EQ(merritt_request_destroy(first, error), MERRITT_OK);
}

TEST_P(Requests, QuotasComeBeforeTheWork) {
  merritt_tenant_options limits{};
  limits.prompt_bytes_max = 100;
  limits.queue_max = 1;
  const merritt_tenant small = make_tenant(engine_, "small", limits);
  const merritt_session session = make_session(small, model_);
  // Each message is small, their sum is not; the contents are never touched.
  const auto* nowhere = reinterpret_cast<const char*>(uintptr_t{64});
  std::vector<merritt_message> messages(64, {"user", 4, nowhere, size_t{1} << 20});
  merritt_request_options chat{};
  chat.messages = messages.data();
  chat.n_messages = messages.size();
  Generation out = generate(session, chat);
  EXPECT_EQ(out.code, MERRITT_QUOTA_EXCEEDED) << out.message;
  EXPECT_NE(out.message.find("67109120"), std::string::npos) << out.message;
  EXPECT_NE(out.message.find("100"), std::string::npos) << out.message;
  merritt_request_options by_ids{};
  by_ids.tokens = reinterpret_cast<const int32_t*>(uintptr_t{64});
  by_ids.n_tokens = 26;
  EXPECT_EQ(generate(session, by_ids).code, MERRITT_QUOTA_EXCEEDED);
  merritt_request_options text{};
  text.text = nowhere;
  text.text_length = 101;
  EXPECT_EQ(generate(session, text).code, MERRITT_QUOTA_EXCEEDED);
  EXPECT_EQ(usage(small).refusals, 3u);
  EXPECT_EQ(usage(small).requests, 0u);

  // Without a tenant the limit is the library's own.
  merritt_chat_options render{};
  render.struct_size = sizeof(render);
  std::fill(messages.begin(), messages.end(), merritt_message{"user", 4, nowhere, size_t{2} << 20});
  render.messages = messages.data();
  render.n_messages = messages.size();
  size_t length = 0;
  Error error;
  EXPECT_EQ(merritt_model_render_chat(model_, &render, nullptr, 0, &length, error), MERRITT_INVALID_ARGUMENT);
  EXPECT_NE(error.message().find("67108864"), std::string::npos) << error.message();
}

// What is refused while the request is read gives the place in the queue back.
TEST_P(Requests, ARefusedRequestIsNotCounted) {
  const merritt_session session = make_session(tenant_, model_);
  merritt_request_options options = text_;
  options.temperature = -1;
  EXPECT_EQ(generate(session, options).code, MERRITT_INVALID_ARGUMENT);
  EXPECT_EQ(usage(tenant_).requests, 0u);
  EXPECT_EQ(usage(tenant_).requests_waiting, 0u);
  EXPECT_EQ(generate(session, text_).code, MERRITT_OK);
  EXPECT_EQ(usage(tenant_).requests, 1u);
}

TEST_P(Requests, StopStringsAreUtf8) {
  const merritt_session session = make_session(tenant_, model_);
  for (const std::string& bad : {std::string("a\xC3"), std::string("\xFF"), std::string("\xED\xA0\x80")}) {
    const merritt_string stop[] = {{"ok", 2}, {bad.data(), bad.size()}};
    merritt_request_options options = text_;
    options.stop = stop;
    options.n_stop = 2;
    const Generation out = generate(session, options);
    EXPECT_EQ(out.code, MERRITT_INVALID_ARGUMENT);
    EXPECT_NE(out.message.find("stop[1]"), std::string::npos) << out.message;
    EXPECT_NE(out.message.find("UTF-8"), std::string::npos) << out.message;
  }
}

TEST_P(Requests, EntriesOfANewerCallerAreReadByTheirStride) {
  struct NewerMessage {
    merritt_message message;
    uint64_t field = 0;
  };
  struct NewerBias {
    merritt_logit_bias bias;
    uint32_t field = 0;
  };
  NewerMessage messages[] = {{{"user", 4, "a", 1}}, {{"assistant", 9, "b", 1}}, {{"user", 4, "c", 1}}};
  NewerBias biases[] = {{{300, -INFINITY}}, {{301, 1.5f}}};
  merritt_chat_options chat{};
  chat.struct_size = sizeof(chat);
  chat.messages = &messages[0].message;
  chat.n_messages = 3;
  chat.message_stride = sizeof(NewerMessage);
  char text[256];
  size_t length = 0;
  Error error;
  ASSERT_EQ(merritt_model_render_chat(model_, &chat, text, sizeof(text), &length, error), MERRITT_OK)
      << error.message();
  EXPECT_EQ(std::string(text, length),
            "<start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"
            "<start_of_turn>user\nc<end_of_turn>\n<start_of_turn>model\n");
  const merritt_session session = make_session(tenant_, model_);
  merritt_request_options options{};
  options.messages = &messages[0].message;
  options.n_messages = 3;
  options.message_stride = sizeof(NewerMessage);
  options.logit_bias = &biases[0].bias;
  options.n_logit_bias = 2;
  options.logit_bias_stride = sizeof(NewerBias);
  options.max_tokens = 2;
  EXPECT_EQ(generate(session, options).code, MERRITT_OK);
  biases[1].field = 1;
  EXPECT_EQ(generate(session, options).code, MERRITT_UNSUPPORTED);
  biases[1].field = 0;
  messages[2].field = 1;
  const Generation refused = generate(session, options);
  EXPECT_EQ(refused.code, MERRITT_UNSUPPORTED);
  EXPECT_NE(refused.message.find("messages"), std::string::npos) << refused.message;
  options.message_stride = 8;
  EXPECT_EQ(generate(session, options).code, MERRITT_INVALID_ARGUMENT);
}

INSTANTIATE_TEST_SUITE_P(Backends, Requests, ::testing::Values("reference", "fardevice"),
                         [](const auto& param) { return std::string(param.param); });

TEST(Detokenize, TakesTheBlankOffAgainUnlessTheTextGoesOn) {
  const TempFolder folder;
  const std::string path = folder.write("llama.gguf", testing::tiny_gguf({.architecture = "llama", .layers = 1}));
  merritt_engine engine = make_engine();
  ASSERT_TRUE(load_backend(engine, "reference"));
  const merritt_model model = load_model(engine, path);
  ASSERT_NE(model, nullptr);
  for (const std::string& text : {std::string("the and"), std::string(" a"), std::string("in  of"), std::string()}) {
    std::vector<int32_t> ids(32);
    size_t count = 0;
    ASSERT_EQ(merritt_model_tokenize(model, text.data(), text.size(), 0, ids.data(), ids.size(), &count, nullptr),
              MERRITT_OK);
    const auto detokenize = [&](uint32_t flags) {
      char out[64];
      size_t length = 0;
      EXPECT_EQ(merritt_model_detokenize(model, ids.data(), count, flags, out, sizeof(out), &length, nullptr),
                MERRITT_OK);
      return std::string(out, length);
    };
    EXPECT_EQ(detokenize(0), text);
    EXPECT_EQ(detokenize(MERRITT_DETOKENIZE_CONTINUED), text.empty() ? text : " " + text);
  }
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

}  // namespace
}  // namespace merritt::test
