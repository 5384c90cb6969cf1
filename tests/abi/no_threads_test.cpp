// SPDX-License-Identifier: Apache-2.0
// An engine without threads: its steps run where the host polls or waits, and make the same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <thread>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::test {
namespace {

size_t threads_of_this_process() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    (void)entry;
    ++count;
  }
  return count;
}

class NoThreads : public ::testing::TestWithParam<const char*> {
 protected:
  struct Host {
    merritt_engine engine = nullptr;
    merritt_model model = nullptr;
    merritt_tenant tenant = nullptr;
  };

  Host make(uint32_t flags) {
    merritt_engine_options options{};
    options.flags = flags;
    Host host;
    host.engine = make_engine(options, true);
    EXPECT_TRUE(load_backend(host.engine, GetParam()));
    merritt_model_options model{};
    model.context_max = 512;
    model.page_tokens = 16;
    model.kv_bytes = 32u << 20;  // for all sessions of a test
    host.model = load_model(host.engine, folder_.tiny_model(), model);
    host.tenant = make_tenant(host.engine, "acme");
    return host;
  }
  static merritt_request submit(const Host& host, uint64_t seed, uint32_t max_tokens = 32, uint32_t n = 1,
                                int32_t priority = 0) {
    merritt_request_options options{};
    options.struct_size = sizeof(options);
    options.text = "the and of to";
    options.text_length = 13;
    options.max_tokens = max_tokens;
    options.n = n;
    options.priority = priority;
    options.flags = MERRITT_REQUEST_IGNORE_EOS;
    options.temperature = 1;
    options.seed = seed;
    merritt_request request = nullptr;
    Error error;
    EXPECT_EQ(merritt_session_submit(make_session(host.tenant, host.model), &options, &request, error), MERRITT_OK)
        << error.message();
    return request;
  }
  const TempFolder folder_;
};

TEST_P(NoThreads, MakeTheSameBitsInPollAsWithThreads) {
  const Host threaded = make(0);
  std::vector<merritt_request> requests;
  for (uint64_t seed = 1; seed <= 6; ++seed) requests.push_back(submit(threaded, seed, 32, seed % 3 + 1));
  std::vector<Generation> want;
  for (merritt_request request : requests) want.push_back(read_all(request));
  ASSERT_EQ(merritt_engine_destroy(threaded.engine, nullptr), MERRITT_OK);

  const size_t before = threads_of_this_process();
  const Host host = make(MERRITT_ENGINE_NO_THREADS);
  requests.clear();
  for (uint64_t seed = 1; seed <= 6; ++seed) requests.push_back(submit(host, seed, 32, seed % 3 + 1));
  Error error;
  uint32_t more = 1;
  uint32_t polls = 0;
  for (; more != 0 && polls < 10'000; ++polls) {
    ASSERT_EQ(merritt_engine_poll(host.engine, 0, &more, error), MERRITT_OK) << error.message();
  }
  EXPECT_GT(polls, 30u) << "a budget of nothing is one step a call";
  const size_t device = std::string(GetParam()) == "fardevice" ? 1 : 0;  // computes on a thread of its own
  EXPECT_EQ(threads_of_this_process(), before + device);
  for (size_t i = 0; i < requests.size(); ++i) {
    const Generation got = read_all(requests[i]);
    EXPECT_EQ(got.tokens, want[i].tokens);
    EXPECT_EQ(got.text, want[i].text);
    EXPECT_EQ(got.finish, want[i].finish);
  }
  EXPECT_EQ(merritt_engine_destroy(host.engine, nullptr), MERRITT_OK);
}

TEST_P(NoThreads, CallsThatWaitRunTheSteps) {
  const Host host = make(MERRITT_ENGINE_NO_THREADS);
  EXPECT_EQ(read_all(submit(host, 1)).tokens[0].size(), 32u) << "merritt_request_next";

  merritt_queue queue = nullptr;
  Error error;
  ASSERT_EQ(merritt_queue_create(host.engine, nullptr, &queue, error), MERRITT_OK) << error.message();
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    ASSERT_EQ(merritt_queue_add(queue, submit(host, seed), seed, error), MERRITT_OK) << error.message();
  }
  for (uint32_t ends = 0; ends != 3;) {
    merritt_completion room[8];
    uint32_t count = 0;
    ASSERT_EQ(merritt_queue_next(queue, 60'000, room, sizeof(room[0]), 8, &count, error), MERRITT_OK);
    ASSERT_GT(count, 0u);
    for (uint32_t i = 0; i < count; ++i) ends += room[i].kind == MERRITT_EVENT_END ? 1 : 0;
  }
  const int32_t tokens[] = {2, 300, 301};
  std::vector<float> logits(3 * TempFolder::kTinyVocabulary);
  EXPECT_EQ(merritt_model_eval(host.model, host.tenant, tokens, 3, nullptr, logits.data(), logits.size(), error),
            MERRITT_OK)
      << error.message();
  const merritt_request left = submit(host, 4);
  EXPECT_EQ(merritt_engine_drain(host.engine, 60'000, error), MERRITT_OK) << error.message();
  EXPECT_EQ(read_all(left).tokens[0].size(), 32u);
  EXPECT_EQ(merritt_engine_destroy(host.engine, nullptr), MERRITT_OK);
}

// One runs at a time: the highest priority first, and of equals the one that came first.
TEST_P(NoThreads, RequestsOfATenantRunInTheOrderOfTheirPriorities) {
  Host host = make(MERRITT_ENGINE_NO_THREADS);
  merritt_tenant_options limits{};
  limits.sequences_max = 1;
  host.tenant = make_tenant(host.engine, "one", limits);
  std::vector<merritt_request> requests;
  for (const int32_t priority : {-1, 0, 0, 5}) requests.push_back(submit(host, 1, 8, 1, priority));
  std::vector<size_t> order;
  Error error;
  uint32_t more = 1;
  while (more != 0) {
    ASSERT_EQ(merritt_engine_poll(host.engine, 0, &more, error), MERRITT_OK) << error.message();
    for (size_t i = 0; i < requests.size(); ++i) {
      merritt_request_stats stats{};
      stats.struct_size = sizeof(stats);
      ASSERT_EQ(merritt_request_stats_get(requests[i], &stats, error), MERRITT_OK) << error.message();
      const bool known = std::find(order.begin(), order.end(), i) != order.end();
      if (stats.generated_tokens != 0 && !known) order.push_back(i);
    }
  }
  EXPECT_EQ(order, (std::vector<size_t>{3, 1, 2, 0}));
  EXPECT_EQ(merritt_engine_destroy(host.engine, nullptr), MERRITT_OK);
}

TEST_P(NoThreads, AWaitEndsWithItsTime) {
  const Host host = make(MERRITT_ENGINE_NO_THREADS);
  merritt_queue queue = nullptr;
  ASSERT_EQ(merritt_queue_create(host.engine, nullptr, &queue, nullptr), MERRITT_OK);
  merritt_completion one{};
  uint32_t count = 1;
  EXPECT_EQ(merritt_queue_next(queue, 20, &one, sizeof(one), 1, &count, nullptr), MERRITT_OK);
  EXPECT_EQ(count, 0u);
  EXPECT_EQ(merritt_engine_destroy(host.engine, nullptr), MERRITT_OK);
}

struct Inside {
  merritt_engine engine = nullptr;
  merritt_session session = nullptr;
  uint32_t ends = 0, refused = 0;

  // Polling and ending the engine would wait for this call; everything else may be done.
  static void on_completion(void* user, const merritt_completion* completion) {
    auto& self = *static_cast<Inside*>(user);
    if (completion->kind != MERRITT_EVENT_END) return;
    ++self.ends;
    uint32_t tokens = 0;
    const bool as_should = merritt_engine_poll(self.engine, 0, nullptr, nullptr) == MERRITT_FAILED_PRECONDITION &&
                           merritt_engine_drain(self.engine, 0, nullptr) == MERRITT_FAILED_PRECONDITION &&
                           merritt_engine_destroy(self.engine, nullptr) == MERRITT_FAILED_PRECONDITION &&
                           merritt_session_length(self.session, &tokens, nullptr) == MERRITT_OK &&
                           merritt_session_truncate(self.session, 1, nullptr) == MERRITT_OK;
    self.refused += as_should ? 1 : 0;
  }
};

TEST_P(NoThreads, CallbacksAreMadeInPoll) {
  const Host host = make(MERRITT_ENGINE_NO_THREADS);
  Inside inside;
  inside.engine = host.engine;
  inside.session = make_session(host.tenant, host.model);
  merritt_queue_options options{};
  options.struct_size = sizeof(options);
  options.on_completion = &Inside::on_completion;
  options.on_completion_user = &inside;
  merritt_queue queue = nullptr;
  Error error;
  ASSERT_EQ(merritt_queue_create(host.engine, &options, &queue, error), MERRITT_OK) << error.message();
  merritt_request_options prompt{};
  prompt.struct_size = sizeof(prompt);
  prompt.text = "the";
  prompt.text_length = 3;
  prompt.max_tokens = 4;
  merritt_request request = nullptr;
  ASSERT_EQ(merritt_session_submit(inside.session, &prompt, &request, error), MERRITT_OK) << error.message();
  ASSERT_EQ(merritt_queue_add(queue, request, 1, error), MERRITT_OK);
  EXPECT_EQ(inside.ends, 0u);
  uint32_t more = 1;
  while (more != 0) ASSERT_EQ(merritt_engine_poll(host.engine, 1'000'000, &more, error), MERRITT_OK);
  EXPECT_EQ(inside.ends, 1u);
  EXPECT_EQ(inside.refused, 1u);
  EXPECT_EQ(merritt_engine_destroy(host.engine, nullptr), MERRITT_OK);
}

TEST_P(NoThreads, OneThreadAtATimeRunsTheSteps) {
  const Host host = make(MERRITT_ENGINE_NO_THREADS);
  std::vector<merritt_request> requests;
  for (uint64_t seed = 1; seed <= 4; ++seed) requests.push_back(submit(host, seed, 200));
  std::atomic<uint32_t> wrong{0}, done{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (done != 4) {
        const int32_t code = merritt_engine_poll(host.engine, 100, nullptr, nullptr);
        wrong += code == MERRITT_OK || code == MERRITT_FAILED_PRECONDITION ? 0 : 1;
      }
    });
  }
  for (merritt_request request : requests) {
    EXPECT_EQ(read_all(request).tokens[0].size(), 200u);
    ++done;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(merritt_engine_destroy(host.engine, nullptr), MERRITT_OK);
}

// A request that nobody has looked at yet ends as one that runs.
TEST_P(NoThreads, ARequestWhoseSessionIsDestroyedWasCancelled) {
  const Host host = make(MERRITT_ENGINE_NO_THREADS);
  const merritt_session session = make_session(host.tenant, host.model);
  merritt_request_options options{};
  options.struct_size = sizeof(options);
  options.text = "the";
  options.text_length = 3;
  merritt_request request = nullptr;
  Error error;
  ASSERT_EQ(merritt_session_submit(session, &options, &request, error), MERRITT_OK) << error.message();
  ASSERT_EQ(merritt_session_destroy(session, error), MERRITT_OK) << error.message();
  const merritt_tenant_usage used = usage(host.tenant);
  EXPECT_EQ(used.finished[MERRITT_FINISH_CANCELLED], 1u);
  EXPECT_EQ(used.finished[MERRITT_FINISH_ERROR], 0u);
  EXPECT_EQ(merritt_engine_destroy(host.engine, nullptr), MERRITT_OK);
}

TEST_P(NoThreads, RefuseWhatOnlyOneKindOfEngineDoes) {
  const Host threaded = make(0);
  Error error;
  EXPECT_EQ(merritt_engine_poll(threaded.engine, 0, nullptr, error), MERRITT_FAILED_PRECONDITION);
  EXPECT_EQ(merritt_engine_destroy(threaded.engine, nullptr), MERRITT_OK);
  merritt_engine_options options{};
  options.struct_size = sizeof(options);
  options.flags = MERRITT_ENGINE_NO_THREADS;
  options.threads = 2;
  merritt_engine engine = nullptr;
  EXPECT_EQ(merritt_engine_create(&options, &engine, error), MERRITT_INVALID_ARGUMENT);
  EXPECT_NE(error.message().find("threads is 2"), std::string::npos) << error.message();
  options.flags = 0x80;
  EXPECT_EQ(merritt_engine_create(&options, &engine, error), MERRITT_UNSUPPORTED) << error.message();
}

INSTANTIATE_TEST_SUITE_P(All, NoThreads, ::testing::Values("reference", "fardevice"),
                         [](const auto& tested) { return std::string(tested.param); });

// ---- Draining

class Drain : public ::testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    merritt_engine_options options{};
    options.flags = GetParam();
    engine_ = make_engine(options);
    ASSERT_TRUE(load_backend(engine_, "reference"));
    merritt_model_options model{};
    model.context_max = 512;
    model_ = load_model(engine_, folder_.tiny_model(), model);
    tenant_ = make_tenant(engine_, "acme");
  }
  void TearDown() override { EXPECT_EQ(merritt_engine_destroy(engine_, nullptr), MERRITT_OK); }
  int32_t submit(uint32_t max_tokens, merritt_request* out, merritt_error** error) {
    merritt_request_options options{};
    options.struct_size = sizeof(options);
    options.text = "the";
    options.text_length = 3;
    options.max_tokens = max_tokens;
    options.flags = MERRITT_REQUEST_IGNORE_EOS;
    return merritt_session_submit(make_session(tenant_, model_), &options, out, error);
  }
  const TempFolder folder_;
  merritt_engine engine_ = nullptr;
  merritt_model model_ = nullptr;
  merritt_tenant tenant_ = nullptr;
};

TEST_P(Drain, EndsWhatWasAcceptedAndTakesNothingNew) {
  merritt_request requests[5] = {};
  Error error;
  for (merritt_request& request : requests) ASSERT_EQ(submit(40, &request, error), MERRITT_OK) << error.message();
  ASSERT_EQ(merritt_engine_drain(engine_, 60'000, error), MERRITT_OK) << error.message();
  merritt_request late = nullptr;
  EXPECT_EQ(submit(1, &late, error), MERRITT_FAILED_PRECONDITION);
  EXPECT_NE(error.message().find("draining"), std::string::npos) << error.message();
  merritt_model another = nullptr;
  const std::string path = folder_.tiny_model();
  EXPECT_EQ(merritt_model_load(engine_, path.data(), path.size(), nullptr, &another, error),
            MERRITT_FAILED_PRECONDITION);
  for (merritt_request request : requests) {
    const Generation out = read_all(request);
    EXPECT_EQ(out.tokens[0].size(), 40u);
    EXPECT_EQ(out.end_reason, static_cast<uint32_t>(MERRITT_FINISH_LENGTH));
  }
  EXPECT_EQ(merritt_engine_drain(engine_, 0, error), MERRITT_OK) << "again: there is nothing left";
}

TEST_P(Drain, CancelsWhatHasNotEndedByTheDeadline) {
  merritt_request requests[3] = {};
  Error error;
  for (merritt_request& request : requests) ASSERT_EQ(submit(500, &request, error), MERRITT_OK) << error.message();
  EXPECT_EQ(merritt_engine_drain(engine_, 0, error), MERRITT_DEADLINE_EXCEEDED);
  EXPECT_NE(error.message().find("3 requests"), std::string::npos) << error.message();
  for (merritt_request request : requests) {
    EXPECT_EQ(read_all(request).end_reason, static_cast<uint32_t>(MERRITT_FINISH_CANCELLED));
  }
}

// No step comes after the last request, and whoever drains the engine waits for this.
TEST_P(Drain, KnowsThatTheLastRequestEndedWithItsSession) {
  const merritt_session session = make_session(tenant_, model_);
  merritt_request_options options{};
  options.struct_size = sizeof(options);
  options.text = "the";
  options.text_length = 3;
  options.max_tokens = 500;
  options.flags = MERRITT_REQUEST_IGNORE_EOS;
  merritt_request request = nullptr;
  Error error;
  ASSERT_EQ(merritt_session_submit(session, &options, &request, error), MERRITT_OK) << error.message();
  merritt_event event{};
  event.struct_size = sizeof(event);
  ASSERT_EQ(merritt_request_next(request, MERRITT_WAIT_FOREVER, &event, error), MERRITT_OK) << error.message();
  ASSERT_EQ(merritt_session_destroy(session, error), MERRITT_OK) << error.message();
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(merritt_engine_stats_get(engine_, &stats, error), MERRITT_OK) << error.message();
  EXPECT_EQ(stats.requests_running, 0u);
  EXPECT_EQ(stats.requests_waiting, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, Drain, ::testing::Values(0u, uint32_t{MERRITT_ENGINE_NO_THREADS}),
                         [](const auto& tested) { return std::string(tested.param == 0 ? "threads" : "no_threads"); });

// A request that passed every check just before the engine began to drain is waited for or refused.
TEST(DrainRace, LeavesNothingToBeginAfterIt) {
  const std::string long_stop(1024, 'x');  // so that a submission takes longer than it takes to find the engine idle
  const std::vector<merritt_string> stops(64, {long_stop.data(), long_stop.size()});
  for (int round = 0; round < 20; ++round) {
    const TempFolder folder;
    const merritt_engine engine = make_engine();
    ASSERT_TRUE(load_backend(engine, "reference"));
    const merritt_model model = load_model(engine, folder.tiny_model());
    const merritt_tenant tenant = make_tenant(engine, "acme");
    const merritt_session session = make_session(tenant, model);
    std::atomic<uint64_t> accepted{0};
    std::thread caller([&] {
      merritt_request_options options{};
      options.struct_size = sizeof(options);
      options.text = "the";
      options.text_length = 3;
      options.max_tokens = 1;
      options.stop = stops.data();
      options.n_stop = static_cast<uint32_t>(stops.size());
      for (merritt_request request = nullptr;; request = nullptr) {
        if (merritt_session_submit(session, &options, &request, nullptr) != MERRITT_OK) return;
        ++accepted;
        read_all(request);
      }
    });
    while (accepted < 2) std::this_thread::yield();
    Error error;
    EXPECT_EQ(merritt_engine_drain(engine, 60'000, error), MERRITT_OK) << error.message();
    const merritt_tenant_usage used = usage(tenant);
    caller.join();
    EXPECT_EQ(std::accumulate(std::begin(used.finished), std::end(used.finished), uint64_t{0}), accepted);
    EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
  }
}

}  // namespace
}  // namespace merritt::test
