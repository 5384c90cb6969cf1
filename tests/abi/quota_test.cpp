// SPDX-License-Identifier: Apache-2.0
// Limits, usage and journal through the C ABI, on a tiny model.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

extern "C" const char* quota_from_c(merritt_engine engine, merritt_model model, const char* journal);

namespace merritt::test {
namespace {

template <class Fill>
merritt_tenant_options options_with(Fill fill) {
  merritt_tenant_options options{};
  fill(options);
  return options;
}

class QuotaAbi : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_ = make_engine();
    ASSERT_NE(engine_, nullptr);
    ASSERT_TRUE(load_backend(engine_, "reference"));
    merritt_model_options options{};
    options.context_max = 256;
    options.page_tokens = 16;
    model_ = load_model(engine_, folder_.tiny_model(), options);
    ASSERT_NE(model_, nullptr);
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
  static merritt_tenant_options limits(merritt_tenant tenant) {
    merritt_tenant_options limits{};
    limits.struct_size = sizeof(limits);
    EXPECT_EQ(merritt_tenant_limits_get(tenant, &limits, nullptr), MERRITT_OK);
    return limits;
  }
  // The code, with the message and the hint of the refusal.
  int32_t submit(merritt_session session, std::string* message = nullptr, uint32_t* retry_ms = nullptr) {
    merritt_request request = nullptr;
    merritt_error* error = nullptr;
    const int32_t code = merritt_session_submit(session, &text_, &request, &error);
    if (message != nullptr) *message = merritt_error_message(error);
    if (retry_ms != nullptr) *retry_ms = merritt_error_retry_after_ms(error);
    merritt_error_release(error);
    if (code == MERRITT_OK) {
      (void)read_all(request);
      EXPECT_EQ(merritt_request_destroy(request, nullptr), MERRITT_OK);
    }
    return code;
  }
  std::string exported(uint32_t format) const {
    size_t length = 0;
    EXPECT_EQ(merritt_engine_usage_export(engine_, format, nullptr, 0, &length, nullptr), MERRITT_OK);
    std::string text(length + 1024, '\0');
    EXPECT_EQ(merritt_engine_usage_export(engine_, format, text.data(), text.size(), &length, nullptr), MERRITT_OK);
    text.resize(length);
    return text;
  }

  const TempFolder folder_;
  merritt_engine engine_ = nullptr;
  merritt_model model_ = nullptr;
  merritt_request_options text_{};
};

TEST_F(QuotaAbi, FromC) {
  const char* wrong = quota_from_c(engine_, model_, (folder_.path() + "/usage.journal").c_str());
  EXPECT_EQ(wrong, nullptr) << wrong;
}

TEST_F(QuotaAbi, AHostBuiltAgainstTheFirstHeaderGetsDefaults) {
  merritt_tenant_options old{};
  std::memset(&old, 0xFF, sizeof(old));
  old.struct_size = offsetof(merritt_tenant_options, kv_bytes_floor);
  old.sequences_max = 2;
  old.queue_max = 3;
  old.prompt_bytes_max = 4;
  old.kv_bytes_max = 5;
  merritt_tenant tenant = nullptr;
  Error error;
  ASSERT_EQ(merritt_tenant_create(engine_, "old", 3, &old, &tenant, error), MERRITT_OK) << error.message();
  const merritt_tenant_options now = limits(tenant);
  EXPECT_EQ(now.sequences_max, 2u);
  EXPECT_EQ(now.kv_bytes_max, 5u);
  EXPECT_EQ(now.weight, 1u);
  EXPECT_EQ(now.tokens_per_minute, 0u);
  EXPECT_EQ(now.template_steps_max, 4'000'000u);
  EXPECT_EQ(now.models, nullptr);
  merritt_tenant_usage small{};
  small.struct_size = offsetof(merritt_tenant_usage, cached_tokens);
  small.cached_tokens = 77;
  ASSERT_EQ(merritt_tenant_usage_get(tenant, &small, error), MERRITT_OK);
  EXPECT_EQ(small.cached_tokens, 77u) << "beyond the caller's struct";
}

TEST_F(QuotaAbi, WrongLimitsChangeNothing) {
  const merritt_tenant tenant = make_tenant(engine_, "a", options_with([&](auto& o) { o.weight = 5; }));
  const auto refused = [&](merritt_tenant_options options, int32_t code, const char* word) {
    options.struct_size = sizeof(options);
    Error error;
    EXPECT_EQ(merritt_tenant_limits_set(tenant, &options, error), code) << error.message();
    EXPECT_NE(error.message().find(word), std::string::npos) << error.message();
    EXPECT_EQ(limits(tenant).weight, 5u);
  };
  refused(options_with([&](auto& o) { o.weight = 70'000; }), MERRITT_INVALID_ARGUMENT, "70000");
  refused(options_with([&](auto& o) { o.n_models = 1; }), MERRITT_INVALID_ARGUMENT, "models is NULL");
  refused(options_with([&](auto& o) { o.flags = 2; }), MERRITT_UNSUPPORTED, "flags");
  refused(options_with([&](auto& o) {
            o.kv_bytes_max = 5;
            o.prefix_bytes_max = 6;
          }),
          MERRITT_INVALID_ARGUMENT, "prefix_bytes_max is 6; kv_bytes_max is 5");
  refused(options_with([&](auto& o) { o.kv_bytes_floor = uint64_t{1} << 50; }), MERRITT_INVALID_ARGUMENT, "floors");
  const merritt_model stale = reinterpret_cast<merritt_model>(tenant);
  refused(options_with([&](auto& o) {
            o.models = &stale;
            o.n_models = 1;
          }),
          MERRITT_NOT_FOUND, "models[0]");
  EXPECT_EQ(merritt_tenant_limits_set(nullptr, nullptr, nullptr), MERRITT_INVALID_ARGUMENT);
  EXPECT_EQ(merritt_tenant_limits_set(tenant, nullptr, nullptr), MERRITT_OK);
  EXPECT_EQ(limits(tenant).weight, 1u) << "no options = all defaults";
}

// A prompt that begins as one of its tenant's did is not run again; what was published is there for every tenant.
TEST_F(QuotaAbi, BeginningsOfPromptsAreRunOnce) {
  const merritt_tenant own = make_tenant(engine_, "own", options_with([&](auto& o) { o.prefix_bytes_max = 1u << 20; }));
  const merritt_tenant publisher = make_tenant(engine_, "publisher", options_with([&](auto& o) {
                                                 o.flags = MERRITT_TENANT_PUBLISHES;
                                                 o.kv_bytes_floor = 1u << 16;
                                               }));
  const merritt_tenant other = make_tenant(engine_, "other");
  EXPECT_EQ(limits(own).prefix_bytes_max, 1u << 20);
  EXPECT_EQ(limits(own).flags, 0u);
  EXPECT_EQ(limits(publisher).flags, static_cast<uint32_t>(MERRITT_TENANT_PUBLISHES));
  const std::string text(40, 'x');
  text_.text = text.data();
  text_.text_length = text.size();
  const auto run = [&](merritt_tenant tenant, uint32_t cached) {
    merritt_request request = nullptr;
    EXPECT_EQ(merritt_session_submit(make_session(tenant, model_), &text_, &request, nullptr), MERRITT_OK);
    const Generation generation = read_all(request);
    merritt_request_stats stats{};
    stats.struct_size = sizeof(stats);
    EXPECT_EQ(merritt_request_stats_get(request, &stats, nullptr), MERRITT_OK);
    EXPECT_EQ(stats.cached_tokens, cached) << "pages of 16";
    return generation.text;
  };
  const auto first = run(own, 0);
  EXPECT_EQ(run(own, 32), first);
  EXPECT_EQ(run(other, 0), first);
  EXPECT_EQ(usage(own).cached_tokens, 32u);

  uint32_t tokens = 77;
  Error error;
  const merritt_session session = make_session(own, model_);
  EXPECT_EQ(merritt_session_publish(session, &tokens, error), MERRITT_PERMISSION_DENIED);
  EXPECT_NE(error.message().find("publishes"), std::string::npos) << error.message();
  const merritt_session published = make_session(publisher, model_);
  EXPECT_EQ(merritt_session_publish(published, &tokens, error), MERRITT_FAILED_PRECONDITION);
  EXPECT_EQ(tokens, 77u);
  merritt_request_options only_prompt = text_;
  only_prompt.max_tokens = 1;  // the window stays where it is at the prompt's end
  EXPECT_EQ(generate(published, only_prompt).code, MERRITT_OK);
  ASSERT_EQ(merritt_session_publish(published, &tokens, error), MERRITT_OK) << error.message();
  EXPECT_EQ(tokens, 32u);
  EXPECT_EQ(merritt_session_publish(published, nullptr, error), MERRITT_OK);
  EXPECT_EQ(run(other, 32), first);
}

TEST_F(QuotaAbi, RatesRefuseWithAHint) {
  const merritt_tenant tenant = make_tenant(engine_, "a", options_with([&](auto& o) {
                                              o.requests_per_second = 1;
                                              o.requests_burst = 2;
                                            }));
  const merritt_session session = make_session(tenant, model_);
  std::string message;
  uint32_t retry_ms = 0;
  EXPECT_EQ(submit(session), MERRITT_OK);
  EXPECT_EQ(submit(session), MERRITT_OK);
  EXPECT_EQ(submit(session, &message, &retry_ms), MERRITT_QUOTA_EXCEEDED);
  EXPECT_NE(message.find("requests_per_second is 1"), std::string::npos) << message;
  EXPECT_GT(retry_ms, 0u);
  EXPECT_LE(retry_ms, 1000u);
  merritt_tenant_options tokens{};
  tokens.struct_size = sizeof(tokens);
  tokens.tokens_per_minute = 1;
  tokens.tokens_burst = 40;
  ASSERT_EQ(merritt_tenant_limits_set(tenant, &tokens, nullptr), MERRITT_OK);
  const uint64_t before = usage(tenant).prompt_tokens + usage(tenant).generated_tokens;
  while (submit(session, &message, &retry_ms) == MERRITT_OK) {
  }
  EXPECT_NE(message.find("tokens_per_minute, which is 1"), std::string::npos) << message;
  EXPECT_GT(retry_ms, 0u);
  const merritt_tenant_usage now = usage(tenant);
  EXPECT_LE(now.prompt_tokens + now.generated_tokens - before, 41u);
  EXPECT_EQ(now.refusals_by_cause[MERRITT_REFUSED_TOKEN_RATE], 1u);
  EXPECT_EQ(now.refusals_by_cause[MERRITT_REFUSED_REQUEST_RATE], 1u);
  text_.max_tokens = 200;
  EXPECT_EQ(submit(session, &message, &retry_ms), MERRITT_QUOTA_EXCEEDED);
  EXPECT_EQ(retry_ms, 0u) << "waiting does not help";
  EXPECT_NE(message.find("tokens_burst is 40"), std::string::npos) << message;
}

TEST_F(QuotaAbi, UnusedTokensComeBackAtTheEnd) {
  const merritt_tenant tenant = make_tenant(engine_, "a", options_with([&](auto& o) {
                                              o.tokens_per_minute = 1;
                                              o.tokens_burst = 100;
                                            }));
  const merritt_session session = make_session(tenant, model_);
  text_.max_tokens = 80;
  merritt_request request = nullptr;
  ASSERT_EQ(merritt_session_submit(session, &text_, &request, nullptr), MERRITT_OK);
  ASSERT_EQ(merritt_request_cancel(request, nullptr), MERRITT_OK);
  (void)read_all(request);
  const merritt_tenant_usage now = usage(tenant);
  if (now.prompt_tokens + now.generated_tokens < 10) {
    EXPECT_EQ(submit(session), MERRITT_OK);
  }
}

TEST_F(QuotaAbi, AModelThatIsNotAllowed) {
  merritt_model_options options{};
  options.context_max = 64;
  const merritt_model other = load_model(engine_, folder_.tiny_model(), options);
  const merritt_tenant tenant = make_tenant(engine_, "a");
  const merritt_session open = make_session(tenant, other);
  merritt_tenant_options only{};
  only.struct_size = sizeof(only);
  only.models = &model_;
  only.n_models = 1;
  ASSERT_EQ(merritt_tenant_limits_set(tenant, &only, nullptr), MERRITT_OK);
  merritt_model told[2] = {};
  size_t count = 0;
  ASSERT_EQ(merritt_tenant_models_get(tenant, told, 2, &count, nullptr), MERRITT_OK);
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(told[0], model_);
  merritt_session session = nullptr;
  EXPECT_EQ(merritt_session_create(tenant, other, nullptr, &session, nullptr), MERRITT_PERMISSION_DENIED);
  EXPECT_EQ(submit(open), MERRITT_PERMISSION_DENIED) << "also on a session that was open";
  EXPECT_EQ(submit(make_session(tenant, model_)), MERRITT_OK);
  ASSERT_EQ(merritt_model_destroy(model_, nullptr), MERRITT_OK);
  EXPECT_EQ(submit(open), MERRITT_PERMISSION_DENIED) << "a list whose models are gone allows none";
  EXPECT_EQ(usage(tenant).refusals_by_cause[MERRITT_REFUSED_MODEL], 3u);
}

TEST_F(QuotaAbi, ContextAndTemplateOfATenant) {
  const merritt_tenant tenant = make_tenant(engine_, "a", options_with([&](auto& o) {
                                              o.context_max = 40;
                                              o.template_steps_max = 5;
                                            }));
  const merritt_session session = make_session(tenant, model_);
  text_.max_tokens = 100;
  EXPECT_EQ(submit(session), MERRITT_OK);
  uint32_t length = 0;
  ASSERT_EQ(merritt_session_length(session, &length, nullptr), MERRITT_OK);
  EXPECT_LE(length, 40u);
  EXPECT_GE(length, 39u);
  std::string message;
  EXPECT_EQ(submit(session, &message), MERRITT_QUOTA_EXCEEDED);
  EXPECT_NE(message.find("context_max is 40"), std::string::npos) << message;
  merritt_message turn{};
  turn.role = "user";
  turn.role_length = 4;
  turn.content = "hello";
  turn.content_length = 5;
  text_.text = nullptr;
  text_.text_length = 0;
  text_.messages = &turn;
  text_.n_messages = 1;
  text_.message_stride = sizeof(turn);
  EXPECT_EQ(submit(make_session(tenant, model_), &message), MERRITT_QUOTA_EXCEEDED);
  EXPECT_NE(message.find("template_steps_max of this tenant is 5"), std::string::npos) << message;
  EXPECT_EQ(usage(tenant).refusals_by_cause[MERRITT_REFUSED_TEMPLATE], 1u);
  EXPECT_GT(usage(tenant).template_steps, 0u);
}

TEST_F(QuotaAbi, ADeadlineForWhoNamesNone) {
  const merritt_tenant tenant = make_tenant(engine_, "a", options_with([&](auto& o) { o.deadline_ms_default = 1; }));
  text_.max_tokens = 240;
  merritt_request request = nullptr;
  ASSERT_EQ(merritt_session_submit(make_session(tenant, model_), &text_, &request, nullptr), MERRITT_OK);
  EXPECT_EQ(read_all(request).end_reason, static_cast<uint32_t>(MERRITT_FINISH_DEADLINE));
}

TEST_F(QuotaAbi, TheSharesOfAllTenantsAreTheEnginesTime) {
  const merritt_tenant a = make_tenant(engine_, "a"), b = make_tenant(engine_, "b"), c = make_tenant(engine_, "c");
  std::vector<merritt_request> requests;
  for (const merritt_tenant tenant : {a, b, b, c}) {
    ASSERT_EQ(merritt_session_submit(make_session(tenant, model_), &text_, &requests.emplace_back(), nullptr),
              MERRITT_OK);
  }
  for (const merritt_request request : requests) EXPECT_EQ(read_all(request).code, MERRITT_OK);
  ASSERT_EQ(merritt_tenant_destroy(c, nullptr), MERRITT_OK);
  uint64_t compute_ns = 0, step_ns = 0, generated = 0;
  const std::string text = exported(MERRITT_USAGE_JSON_LINES);
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const nlohmann::json line = nlohmann::json::parse(text.substr(at, end - at));
    at = end + 1;
    if (line.contains("engine")) {
      step_ns = line["engine"]["step_ns"];
      continue;
    }
    compute_ns += line["compute_ns"].get<uint64_t>();
    generated += line["generated_tokens"].get<uint64_t>();
    if (line["tenant"] == "(closed)") {
      EXPECT_EQ(line["generated_tokens"], 8);
      EXPECT_EQ(line["finished"]["length"], 1);
    }
  }
  EXPECT_EQ(compute_ns, step_ns);
  EXPECT_EQ(generated, 32u);
  EXPECT_GT(usage(a).compute_ns, 0u);
  EXPECT_NE(exported(MERRITT_USAGE_PROMETHEUS).find("merritt_tenant_requests_total{tenant=\"b\"} 2\n"),
            std::string::npos);
  EXPECT_EQ(merritt_engine_usage_export(engine_, 2, nullptr, 0, nullptr, nullptr), MERRITT_INVALID_ARGUMENT);
}

TEST_F(QuotaAbi, TheJournalHasWhatTheTenantsUsed) {
  const std::string path = folder_.path() + "/usage.journal";
  char text[1 << 16];
  size_t length = 0;
  uint64_t last = 0;
  EXPECT_EQ(merritt_engine_usage_since(engine_, 0, text, sizeof(text), &length, &last, nullptr),
            MERRITT_FAILED_PRECONDITION);
  EXPECT_EQ(merritt_engine_journal_open(engine_, "", 0, nullptr), MERRITT_INVALID_ARGUMENT);
  ASSERT_EQ(merritt_engine_journal_open(engine_, path.data(), path.size(), nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_engine_journal_open(engine_, path.data(), path.size(), nullptr), MERRITT_FAILED_PRECONDITION);
  const merritt_engine other = make_engine();
  EXPECT_EQ(merritt_engine_journal_open(other, path.data(), path.size(), nullptr), MERRITT_FAILED_PRECONDITION);
  const merritt_tenant tenant = make_tenant(engine_, "a");
  EXPECT_EQ(submit(make_session(tenant, model_)), MERRITT_OK);
  ASSERT_EQ(merritt_tenant_destroy(tenant, nullptr), MERRITT_OK);
  ASSERT_EQ(merritt_engine_destroy(engine_, nullptr), MERRITT_OK);
  engine_ = nullptr;
  ASSERT_EQ(merritt_engine_journal_open(other, path.data(), path.size(), nullptr), MERRITT_OK)
      << "the next one goes on";
  ASSERT_EQ(merritt_engine_usage_since(other, 0, text, sizeof(text), &length, &last, nullptr), MERRITT_OK);
  uint64_t generated = 0, records = 0;
  for (std::string_view rest(text, length); !rest.empty(); ++records) {
    const size_t end = rest.find('\n');
    const nlohmann::json record = nlohmann::json::parse(rest.substr(0, end));
    EXPECT_EQ(record["record"], records + 1);
    for (const auto& entry : record["tenants"]) generated += entry.value("generated_tokens", 0u);
    rest.remove_prefix(end + 1);
  }
  EXPECT_EQ(generated, 8u);
  EXPECT_EQ(records, last);
  EXPECT_EQ(merritt_engine_destroy(other, nullptr), MERRITT_OK);
}

}  // namespace
}  // namespace merritt::test
