// SPDX-License-Identifier: Apache-2.0
// Want of memory on the step thread, at every one of its allocations: requests end with a code, the process does not,
// and afterwards all is as before. And how many allocations there are: none for a token.
#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "tests/support/small_engine.hpp"

namespace {

std::atomic<int64_t> g_fail_in{0};    // allocations of the step thread until one fails; 0 = none does
std::atomic<uint32_t> g_fail_run{0};  // how many fail from there on
std::atomic<bool> g_failed{false};
std::atomic<bool> g_counting{false};
std::atomic<uint64_t> g_allocations{0};  // of the step thread while counting

bool on_step_thread() {
  char name[16] = {};
  prctl(PR_GET_NAME, name);
  return std::strcmp(name, "merritt-step") == 0;
}

bool fails_now() {
  if (g_counting.load(std::memory_order_relaxed) && on_step_thread()) ++g_allocations;
  if (g_fail_in.load(std::memory_order_relaxed) <= 0 || !on_step_thread()) return false;
  if (g_fail_in.load() > 1) {
    --g_fail_in;
    return false;
  }
  g_failed = true;
  if (--g_fail_run == 0) g_fail_in = 0;
  return true;
}

}  // namespace

// Not inlined: GCC 12 would take new and free for a mismatched pair.
[[gnu::noinline]] void* operator new(size_t bytes) {
  if (!fails_now()) {
    if (void* p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
  }
  throw std::bad_alloc();
}
// A sanitizer has its own of these, which would not meet our delete.
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return fails_now() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace merritt::test {
namespace {

// How many allocations fail in a row: one, and as many as a failure's own text takes.
class NoMemory : public ::testing::TestWithParam<uint32_t> {};

TEST_P(NoMemory, OnTheStepThreadFailsRequestsOnly) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  const auto model = engine.load_model("reference");
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto steady = engine.session("steady", *model);
  engine::RequestParams params = SmallEngine::params(4);
  params.n = 2;
  params.stop_strings = {"a string that does not come and is longer than any small buffer"};
  int64_t k = 1;
  for (bool failed = true; failed && k < 2000; ++k) {
    SCOPED_TRACE("allocation " + std::to_string(k));
    const auto tenant = engine->create_tenant("t" + std::to_string(k), {});
    ASSERT_TRUE(tenant.ok());
    const auto session = engine->open_session(*tenant, *model);
    ASSERT_TRUE(session.ok());
    g_failed = false;
    g_fail_run = GetParam();
    g_fail_in = k;
    const std::vector<Outcome> outcomes = generate(engine, {*session, steady}, params);
    const Status closed = engine->close_session(*session);
    g_fail_in = 0;
    failed = g_failed;
    for (const Outcome& outcome : outcomes) {
      ASSERT_TRUE(outcome.answered()) << outcome;
      if (!outcome.failure.ok()) {
        EXPECT_TRUE(outcome.failure.code() == Code::kOutOfMemory || outcome.failure.code() == Code::kBackend)
            << outcome;
      }
    }
    if (!closed.ok()) {
      EXPECT_EQ(closed.code(), Code::kOutOfMemory);
    }
    EXPECT_EQ((*tenant)->usage().requests_waiting + (*tenant)->usage().requests_running, 0u);
    ASSERT_TRUE(engine->truncate_session(steady, 0).ok());
  }
  EXPECT_GT(k, 20);
  EXPECT_LT(k, 2000);
  EXPECT_TRUE(generate_one(engine, steady).good());
  ASSERT_TRUE(engine->truncate_session(steady, 0).ok());  // between two steps, when the counters are up to date
  EXPECT_EQ(engine->stats().requests_running + engine->stats().requests_waiting, 0u);
}

// Allocations of the step thread while sequences generate so many tokens each, unread until the end.
uint64_t allocations_of(SmallEngine& engine, const std::vector<std::shared_ptr<engine::Session>>& sessions,
                        uint32_t n_tokens) {
  engine::RequestParams params = SmallEngine::params(n_tokens);
  params.sampling.temperature = 0.8f;
  params.sampling.top_p = 0.95f;
  params.sampling.repetition_penalty = 1.1f;
  params.stop_strings = {"a string that does not come and is longer than any small buffer"};
  g_allocations = 0;
  g_counting = true;
  for (const Outcome& outcome : generate(engine, sessions, params)) {
    EXPECT_TRUE(outcome.good()) << outcome;
    EXPECT_EQ(outcome.tokens.size(), n_tokens);
  }
  for (const auto& session : sessions) EXPECT_TRUE(engine->truncate_session(session, 0).ok());
  g_counting = false;
  return g_allocations;
}

// What a request needs it takes when it begins. Only the queue of its events grows, by doubling, with the most that
// nobody has read.
TEST(NoAllocation, ForATokenOnTheStepThread) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  const auto model = engine.load_model("reference");
  ASSERT_TRUE(model.ok()) << model.status().message();
  std::vector<std::shared_ptr<engine::Session>> sessions;
  for (int i = 0; i < 4; ++i) sessions.push_back(engine.session("t" + std::to_string(i), *model));
  (void)allocations_of(engine, sessions, 200);  // vectors that stay with the engine
  const uint64_t few = allocations_of(engine, sessions, 20);
  const uint64_t many = allocations_of(engine, sessions, 200);
  EXPECT_GT(few, 0u);
  EXPECT_LE(many, few + sessions.size() * 4) << "from room for 20 events to room for 256";
}

INSTANTIATE_TEST_SUITE_P(InARow, NoMemory, ::testing::Values(1u, 5u));

}  // namespace
}  // namespace merritt::test
