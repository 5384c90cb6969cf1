// SPDX-License-Identifier: Apache-2.0
// What ends while a callback runs: its request, or its queue. Nothing comes after the end, and nothing is lost.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::test {
namespace {

constexpr uint32_t kTokens = 24;

class QueueEnds : public ::testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    merritt_engine_options options{};
    options.flags = GetParam();
    engine_ = make_engine(options);
    ASSERT_NE(engine_, nullptr);
    ASSERT_TRUE(load_backend(engine_, "reference"));
    merritt_model_options model{};
    model.context_max = 256;
    model_ = load_model(engine_, folder_.tiny_model(), model);
    ASSERT_NE(model_, nullptr);
    tenant_ = make_tenant(engine_, "acme");
    merritt_queue_options callbacks{};
    callbacks.struct_size = sizeof(callbacks);
    callbacks.on_completion = [](void* self, const merritt_completion* c) { static_cast<QueueEnds*>(self)->take(*c); };
    callbacks.on_completion_user = this;
    Error error;
    ASSERT_EQ(merritt_queue_create(engine_, &callbacks, &queue_, error), MERRITT_OK) << error.message();
    if (GetParam() != 0) poller_ = std::thread([this] { poll(); });
  }
  void TearDown() override {
    over_ = true;
    if (poller_.joinable()) poller_.join();
    if (engine_ != nullptr) {
      EXPECT_EQ(merritt_engine_destroy(engine_, nullptr), MERRITT_OK);
    }
  }
  void poll() {
    while (!over_) {
      uint32_t more = 0;
      (void)merritt_engine_poll(engine_, 1'000, &more, nullptr);
      if (more == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void take(const merritt_completion& completion) {
    ++inside_;
    on_completion_(completion);
    --inside_;
  }
  // A request that has said all of it, unread.
  merritt_request ended_request() {
    merritt_request_options options{};
    options.struct_size = sizeof(options);
    options.text = "the and of to";
    options.text_length = 13;
    options.max_tokens = kTokens;
    options.flags = MERRITT_REQUEST_IGNORE_EOS;
    merritt_request request = nullptr;
    Error error;
    EXPECT_EQ(merritt_session_submit(make_session(tenant_, model_), &options, &request, error), MERRITT_OK)
        << error.message();
    merritt_request_stats stats{};
    stats.struct_size = sizeof(stats);
    while (stats.finish_reason == MERRITT_FINISH_NONE) {
      EXPECT_EQ(merritt_request_stats_get(request, &stats, nullptr), MERRITT_OK);
      std::this_thread::yield();
    }
    return request;
  }
  // Ends the queue on another thread, and lets the callback go on when the end has begun, which `other` finds out.
  // Answers how many callbacks ran when it was there.
  uint32_t end_the_queue(merritt_request other) {
    uint32_t inside_at_the_end = 0;
    std::thread ends([&] {
      EXPECT_EQ(merritt_queue_destroy(queue_, nullptr), MERRITT_OK);
      inside_at_the_end = inside_;
    });
    while (merritt_queue_add(queue_, other, 2, nullptr) != MERRITT_NOT_FOUND) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // time to be wrong in
    go_ = true;
    ends.join();
    return inside_at_the_end;
  }

  const TempFolder folder_;
  merritt_engine engine_ = nullptr;
  merritt_model model_ = nullptr;
  merritt_tenant tenant_ = nullptr;
  merritt_queue queue_ = nullptr;
  std::function<void(const merritt_completion&)> on_completion_;
  std::atomic<uint32_t> inside_{0}, told_{0};
  std::atomic<bool> over_{false}, go_{false};
  std::thread poller_;
};

TEST_P(QueueEnds, NothingComesOfARequestThatItsCallbackDestroyed) {
  const merritt_request first = ended_request(), second = ended_request();
  std::atomic<uint32_t> of_first{0}, ends{0};
  on_completion_ = [&](const merritt_completion& completion) {
    if (completion.user == 1 && ++of_first == 3) {
      EXPECT_EQ(merritt_request_destroy(first, nullptr), MERRITT_OK);
    }
    if (completion.kind == MERRITT_EVENT_END) ++ends;
  };
  Error error;
  ASSERT_EQ(merritt_queue_add(queue_, first, 1, error), MERRITT_OK) << error.message();
  while (of_first < 3) std::this_thread::yield();
  ASSERT_EQ(merritt_queue_add(queue_, second, 2, error), MERRITT_OK) << error.message();
  while (ends == 0) std::this_thread::yield();
  EXPECT_EQ(merritt_queue_destroy(queue_, error), MERRITT_OK) << error.message();
  EXPECT_EQ(of_first, 3u);
  EXPECT_EQ(ends, 1u) << "of the second";
}

TEST_P(QueueEnds, WhatWasNotCalledBackForIsReadFromTheRequest) {
  const merritt_request request = ended_request(), other = ended_request();
  on_completion_ = [&](const merritt_completion& completion) {
    if (completion.user == 1 && completion.token >= 0) ++told_;
    while (!go_) std::this_thread::yield();
  };
  Error error;
  ASSERT_EQ(merritt_queue_add(queue_, request, 1, error), MERRITT_OK) << error.message();
  while (told_ == 0) std::this_thread::yield();
  EXPECT_EQ(end_the_queue(other), 0u) << "callbacks that its end did not wait for";
  const Generation rest = read_all(request);
  EXPECT_EQ(rest.end_reason, static_cast<uint32_t>(MERRITT_FINISH_LENGTH));
  ASSERT_EQ(rest.tokens.size(), 1u);
  EXPECT_EQ(told_ + rest.tokens[0].size(), kTokens);
}

INSTANTIATE_TEST_SUITE_P(All, QueueEnds, ::testing::Values(0u, uint32_t{MERRITT_ENGINE_NO_THREADS}),
                         [](const auto& tested) { return std::string(tested.param == 0 ? "threads" : "no_threads"); });

}  // namespace
}  // namespace merritt::test
