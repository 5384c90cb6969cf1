// SPDX-License-Identifier: Apache-2.0
// Completion queues: the events of many requests in one place say what each request would have said by itself.
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::test {
namespace {

struct Told {
  std::vector<int32_t> tokens;
  std::string text;
  uint32_t ends = 0, finish = 0;
  int32_t code = MERRITT_OK;
  bool after_end = false;

  void take(const merritt_completion& c) {
    after_end |= ends != 0;
    if (c.kind == MERRITT_EVENT_TEXT && c.choice == 0) {
      text.append(c.text, c.text_length);
      if (c.token >= 0) tokens.push_back(c.token);
    }
    if (c.kind != MERRITT_EVENT_END) return;
    ++ends;
    finish = c.finish_reason;
    code = merritt_error_code(c.error);
  }
};

class Queues : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_ = make_engine({}, true);
    ASSERT_NE(engine_, nullptr);
    ASSERT_TRUE(load_backend(engine_, "reference"));
    merritt_model_options options{};
    options.context_max = 512;
    options.page_tokens = 16;
    options.kv_bytes = 32u << 20;  // for all sessions of a test
    model_ = load_model(engine_, folder_.tiny_model(), options);
    ASSERT_NE(model_, nullptr);
    tenant_ = make_tenant(engine_, "acme");
  }
  void TearDown() override {
    if (engine_ != nullptr) {
      EXPECT_EQ(merritt_engine_destroy(engine_, nullptr), MERRITT_OK);
    }
  }
  merritt_queue make_queue(merritt_queue_options options = {}) {
    options.struct_size = sizeof(options);
    merritt_queue queue = nullptr;
    Error error;
    EXPECT_EQ(merritt_queue_create(engine_, &options, &queue, error), MERRITT_OK) << error.message();
    return queue;
  }
  // A sampled generation that depends on its number.
  merritt_request submit(uint64_t number, uint32_t max_tokens = 24) {
    merritt_request_options options{};
    options.struct_size = sizeof(options);
    options.text = "the and of to";
    options.text_length = 13;
    options.max_tokens = max_tokens;
    options.flags = MERRITT_REQUEST_IGNORE_EOS;
    options.temperature = 1;
    options.seed = number;
    merritt_request request = nullptr;
    Error error;
    EXPECT_EQ(merritt_session_submit(make_session(tenant_, model_), &options, &request, error), MERRITT_OK)
        << error.message();
    return request;
  }
  merritt_request submit_to(merritt_queue queue, uint64_t number, uint32_t max_tokens = 24) {
    const merritt_request request = submit(number, max_tokens);
    Error error;
    EXPECT_EQ(merritt_queue_add(queue, request, number, error), MERRITT_OK) << error.message();
    return request;
  }
  // Reads until `ends` requests have ended.
  std::map<uint64_t, Told> read(merritt_queue queue, uint32_t ends, uint32_t capacity = 64) {
    std::map<uint64_t, Told> told;
    std::vector<merritt_completion> room(capacity);
    while (ends != 0) {
      uint32_t count = 0;
      Error error;
      EXPECT_EQ(merritt_queue_next(queue, 60'000, room.data(), sizeof(room[0]), capacity, &count, error), MERRITT_OK)
          << error.message();
      EXPECT_GT(count, 0u) << "nothing came for a minute";
      if (count == 0) break;
      for (uint32_t i = 0; i < count; ++i) {
        told[room[i].user].take(room[i]);
        ends -= room[i].kind == MERRITT_EVENT_END ? 1 : 0;
      }
    }
    return told;
  }
  void expect_same(const std::map<uint64_t, Told>& told, uint32_t n) {
    ASSERT_EQ(told.size(), n);
    for (const auto& [number, one] : told) {
      const Generation alone = read_all(submit(number));
      EXPECT_EQ(one.tokens, alone.tokens[0]) << number;
      EXPECT_EQ(one.text, alone.text[0]) << number;
      EXPECT_EQ(one.finish, alone.end_reason) << number;
      EXPECT_EQ(one.ends, 1u) << number;
      EXPECT_EQ(one.code, MERRITT_OK) << number;
      EXPECT_FALSE(one.after_end) << number;
    }
  }

  const TempFolder folder_;
  merritt_engine engine_ = nullptr;
  merritt_model model_ = nullptr;
  merritt_tenant tenant_ = nullptr;
};

TEST_F(Queues, SayWhatEachRequestWouldHaveSaid) {
  for (const uint32_t capacity : {1u, 3u, 64u}) {
    const merritt_queue queue = make_queue();
    for (uint64_t number = 1; number <= 12; ++number) submit_to(queue, number);
    expect_same(read(queue, 12, capacity), 12);
    EXPECT_EQ(merritt_queue_destroy(queue, nullptr), MERRITT_OK);
  }
}

TEST_F(Queues, TakeWhatARequestHasNotSaidYet) {
  const merritt_queue queue = make_queue();
  const merritt_request request = submit(7);
  merritt_event event{};
  event.struct_size = sizeof(event);
  ASSERT_EQ(merritt_request_next(request, MERRITT_WAIT_FOREVER, &event, nullptr), MERRITT_OK);
  const int32_t first = event.token;
  Error error;
  ASSERT_EQ(merritt_queue_add(queue, request, 7, error), MERRITT_OK) << error.message();
  EXPECT_EQ(merritt_request_next(request, 0, &event, error), MERRITT_FAILED_PRECONDITION);
  EXPECT_EQ(merritt_queue_add(queue, request, 7, error), MERRITT_FAILED_PRECONDITION) << "twice";
  auto told = read(queue, 1);
  told[7].tokens.insert(told[7].tokens.begin(), first);
  EXPECT_EQ(told[7].tokens, read_all(submit(7)).tokens[0]);
  EXPECT_EQ(merritt_request_next(request, 0, &event, error), MERRITT_FAILED_PRECONDITION);

  const merritt_request read_before = submit(8);
  read_all(read_before);
  EXPECT_EQ(merritt_queue_add(queue, read_before, 8, error), MERRITT_FAILED_PRECONDITION) << "its end was read";
}

TEST_F(Queues, GiveARequestBack) {
  const merritt_queue queue = make_queue();
  const merritt_request request = submit_to(queue, 3);
  Error error;
  merritt_completion one{};
  uint32_t count = 0;
  ASSERT_EQ(merritt_queue_next(queue, MERRITT_WAIT_FOREVER, &one, sizeof(one), 1, &count, error), MERRITT_OK);
  ASSERT_EQ(count, 1u);
  const int32_t first = one.token;
  ASSERT_EQ(merritt_queue_remove(queue, request, error), MERRITT_OK) << error.message();
  EXPECT_EQ(merritt_queue_remove(queue, request, error), MERRITT_NOT_FOUND);
  Generation rest = read_all(request);
  rest.tokens[0].insert(rest.tokens[0].begin(), first);
  EXPECT_EQ(rest.tokens[0], read_all(submit(3)).tokens[0]);
  ASSERT_EQ(merritt_queue_next(queue, 0, &one, sizeof(one), 1, &count, error), MERRITT_OK);
  EXPECT_EQ(count, 0u);
}

TEST_F(Queues, SayNothingOfARequestThatWasDestroyed) {
  const merritt_queue queue = make_queue();
  const merritt_request gone = submit_to(queue, 1, 400);
  ASSERT_EQ(merritt_request_destroy(gone, nullptr), MERRITT_OK);
  submit_to(queue, 2);
  expect_same(read(queue, 1), 1);
}

// Completions that nobody reads keep no weights: the model goes, what was said stays to be read.
TEST_F(Queues, KeepNoModelAlive) {
  const merritt_queue queue = make_queue();
  submit_to(queue, 4, 8);
  submit_to(queue, 5, 400);
  read_all(submit(6));
  ASSERT_EQ(merritt_model_destroy(model_, nullptr), MERRITT_OK);
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(merritt_engine_stats_get(engine_, &stats, nullptr), MERRITT_OK);
  EXPECT_EQ(stats.weight_bytes, 0u);
  EXPECT_EQ(stats.kv_bytes, 0u);
  const auto told = read(queue, 2);
  EXPECT_EQ(told.at(4).finish, static_cast<uint32_t>(MERRITT_FINISH_LENGTH));
  EXPECT_EQ(told.at(5).finish, static_cast<uint32_t>(MERRITT_FINISH_CANCELLED));
}

TEST_F(Queues, HaveADescriptorThatIsReadableWhileThereIsSomething) {
  const merritt_queue queue = make_queue();
  int64_t fd = -1;
  Error error;
  ASSERT_EQ(merritt_queue_fd(queue, &fd, error), MERRITT_OK) << error.message();
  const auto readable = [fd](int timeout_ms) {
    pollfd wait{static_cast<int>(fd), POLLIN, 0};
    return ::poll(&wait, 1, timeout_ms) == 1 && (wait.revents & POLLIN) != 0;
  };
  EXPECT_FALSE(readable(0));
  for (uint64_t number = 1; number <= 2; ++number) {
    submit_to(queue, number);
    EXPECT_TRUE(readable(60'000));
    std::map<uint64_t, Told> told;
    for (uint32_t ends = 0; ends == 0;) {
      ASSERT_TRUE(readable(60'000));
      merritt_completion one{};
      uint32_t count = 0;
      ASSERT_EQ(merritt_queue_next(queue, 0, &one, sizeof(one), 1, &count, error), MERRITT_OK);
      if (count == 0) continue;  // woken for what another wake was for
      told[one.user].take(one);
      ends += one.kind == MERRITT_EVENT_END ? 1 : 0;
    }
    EXPECT_FALSE(readable(0));
    EXPECT_EQ(told[number].tokens.size(), 24u);
  }
}

TEST_F(Queues, TellWhyARequestFailed) {
  merritt_tenant_options small{};
  small.kv_bytes_max = 4096;
  const merritt_tenant other = make_tenant(engine_, "small", small);
  merritt_request_options options{};
  options.struct_size = sizeof(options);
  options.text = "the";
  options.text_length = 3;
  options.max_tokens = 400;
  merritt_request request = nullptr;
  Error error;
  ASSERT_EQ(merritt_session_submit(make_session(other, model_), &options, &request, error), MERRITT_OK);
  const merritt_queue queue = make_queue();
  ASSERT_EQ(merritt_queue_add(queue, request, 9, error), MERRITT_OK);
  const auto told = read(queue, 1);
  EXPECT_EQ(told.at(9).finish, static_cast<uint32_t>(MERRITT_FINISH_ERROR));
  EXPECT_EQ(told.at(9).code, MERRITT_QUOTA_EXCEEDED);
}

TEST_F(Queues, ThatAreDestroyedWakeTheirReaderAndLoseNothing) {
  const merritt_queue queue = make_queue();
  const merritt_request request = submit_to(queue, 5);
  std::vector<int32_t> tokens;
  std::atomic<int32_t> answer{-1};
  std::atomic<bool> waits{false};
  std::thread reader([&] {
    for (;;) {
      merritt_completion one{};
      uint32_t count = 0;
      Error error;
      const int32_t code = merritt_queue_next(queue, 60'000, &one, sizeof(one), 1, &count, error);
      if (code == MERRITT_OK && count == 1 && one.token >= 0) tokens.push_back(one.token);
      if (code != MERRITT_OK) {
        answer = code;
        return;
      }
      waits = true;
    }
  });
  while (!waits) std::this_thread::yield();
  EXPECT_EQ(merritt_queue_destroy(queue, nullptr), MERRITT_OK);
  reader.join();
  // Cancelled while it waited; not found when it came back for more.
  EXPECT_TRUE(answer == MERRITT_CANCELLED || answer == MERRITT_NOT_FOUND) << answer;
  const Generation rest = read_all(request);
  if (!rest.tokens.empty()) tokens.insert(tokens.end(), rest.tokens[0].begin(), rest.tokens[0].end());
  if (rest.code == MERRITT_OK) {
    EXPECT_EQ(tokens, read_all(submit(5)).tokens[0]);
  }
}

TEST_F(Queues, RefuseWhatIsNotRight) {
  const merritt_queue queue = make_queue();
  merritt_completion one{};
  uint32_t count = 0;
  Error error;
  EXPECT_EQ(merritt_queue_next(queue, 0, nullptr, sizeof(one), 1, &count, error), MERRITT_INVALID_ARGUMENT);
  EXPECT_EQ(merritt_queue_next(queue, 0, &one, 8, 1, &count, error), MERRITT_INVALID_ARGUMENT);
  EXPECT_EQ(merritt_queue_next(queue, 0, &one, sizeof(one), 0, &count, error), MERRITT_INVALID_ARGUMENT);
  EXPECT_EQ(merritt_queue_next(queue, 0, &one, sizeof(one), 1, nullptr, error), MERRITT_INVALID_ARGUMENT);
  const merritt_engine other = make_engine();
  merritt_queue foreign = nullptr;
  ASSERT_EQ(merritt_queue_create(other, nullptr, &foreign, error), MERRITT_OK);
  EXPECT_EQ(merritt_queue_add(foreign, submit(1), 1, error), MERRITT_FAILED_PRECONDITION);
  EXPECT_EQ(merritt_engine_destroy(other, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_queue_destroy(foreign, error), MERRITT_NOT_FOUND) << "it went with its engine";
}

// ---- Callbacks

struct Listener {
  merritt_engine engine = nullptr;
  merritt_queue queue = nullptr;
  std::mutex mutex;
  std::map<uint64_t, Told> told;
  std::atomic<uint32_t> ends{0}, refused{0};

  static void on_completion(void* user, const merritt_completion* completion) {
    auto& self = *static_cast<Listener*>(user);
    const std::lock_guard lock(self.mutex);
    self.told[completion->user].take(*completion);
    if (completion->kind != MERRITT_EVENT_END) return;
    const bool all = merritt_queue_destroy(self.queue, nullptr) == MERRITT_FAILED_PRECONDITION &&
                     merritt_engine_destroy(self.engine, nullptr) == MERRITT_FAILED_PRECONDITION;
    self.refused += all ? 1 : 0;
    ++self.ends;
  }
};

TEST_F(Queues, CallBackAndRefuseTheirOwnEndInside) {
  Listener listener;
  listener.engine = engine_;
  merritt_queue_options options{};
  options.on_completion = &Listener::on_completion;
  options.on_completion_user = &listener;
  listener.queue = make_queue(options);
  {
    const std::lock_guard lock(listener.mutex);  // a slow callback: it holds up nobody
    for (uint64_t number = 1; number <= 8; ++number) submit_to(listener.queue, number);
    EXPECT_EQ(read_all(submit(100)).end_reason, static_cast<uint32_t>(MERRITT_FINISH_LENGTH));
  }
  while (listener.ends != 8) std::this_thread::yield();
  EXPECT_EQ(merritt_queue_destroy(listener.queue, nullptr), MERRITT_OK);
  EXPECT_EQ(listener.refused, 8u);
  expect_same(listener.told, 8);
  Error error;
  const merritt_queue another = make_queue(options);
  int64_t fd = 0;
  merritt_completion one{};
  uint32_t count = 0;
  EXPECT_EQ(merritt_queue_fd(another, &fd, error), MERRITT_UNSUPPORTED);
  EXPECT_EQ(merritt_queue_next(another, 0, &one, sizeof(one), 1, &count, error), MERRITT_FAILED_PRECONDITION);
}

}  // namespace
}  // namespace merritt::test
