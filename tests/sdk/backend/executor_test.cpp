// SPDX-License-Identifier: Apache-2.0
#include "backend/executor.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "base/os/cpu.hpp"

namespace merritt::backend {
namespace {

struct Recorder {
  explicit Recorder(uint32_t n, uint32_t workers) : calls(n), running(workers) {}
  std::vector<std::atomic<uint32_t>> calls;    // per index
  std::vector<std::atomic<uint32_t>> running;  // per worker
  std::atomic<uint32_t> bad{0};

  static void task(void* arg, uint32_t i, uint32_t worker) {
    auto& self = *static_cast<Recorder*>(arg);
    if (i >= self.calls.size() || worker >= self.running.size() || self.running[worker].fetch_add(1) != 0) {
      self.bad.fetch_add(1);
      return;
    }
    self.calls[i].fetch_add(1);
    self.running[worker].fetch_sub(1);
  }
  bool all_once() const {
    for (const auto& count : calls) {
      if (count.load() != 1) return false;
    }
    return bad.load() == 0;
  }
};

// A host executor that does the least the contract asks: one after another, backwards, always as worker 0.
void late_serial(void*, uint32_t n, Task task, void* arg) {
  for (uint32_t i = n; i-- > 0;) task(arg, i, 0);
}

// A host that runs each call on a thread of its own and says worker 0 for all of them, or none that exists.
void wrong_numbers(void* user, uint32_t n, Task task, void* arg) {
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < n; ++i) {
    threads.emplace_back([=] { task(arg, i, user == nullptr ? 0 : 4'000'000'000u); });
  }
  for (std::thread& thread : threads) thread.join();
}

int32_t thread_gang(void*, uint32_t n, Task task, void* arg) {
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < n; ++i) threads.emplace_back([=] { task(arg, i, i); });
  for (std::thread& thread : threads) thread.join();
  return 0;
}

std::unique_ptr<Executor> make(uint32_t workers, HostExecutor host = {}) {
  Result<std::unique_ptr<Executor>> made = Executor::create(workers, host);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return std::move(made).value();
}

std::vector<HostExecutor> all_hosts() {
  static int other = 0;
  return {
      {}, {&late_serial, nullptr, nullptr}, {&wrong_numbers, nullptr, nullptr}, {&wrong_numbers, &thread_gang, &other}};
}

TEST(ExecutorTest, EveryIndexOnceWithUniqueWorkers) {
  for (const HostExecutor& host : all_hosts()) {
    for (const uint32_t workers : {1u, 2u, 4u, 7u}) {
      const auto executor = make(workers, host);
      EXPECT_EQ(executor->workers(), workers);
      for (const uint32_t n : {0u, 1u, 2u, 3u, 17u, 64u}) {
        Recorder recorder(n, workers);
        executor->parallel(n, &Recorder::task, &recorder);
        EXPECT_TRUE(recorder.all_once()) << workers << " workers, n " << n;
      }
    }
  }
}

TEST(ExecutorTest, ZeroWorkersMeansTheMachines) {
  EXPECT_EQ(make(0)->workers(), os::default_thread_count());
  EXPECT_FALSE(Executor::create(0, {&late_serial, nullptr, nullptr}).ok());
  EXPECT_FALSE(Executor::create(100'000).ok());
}

TEST(ExecutorTest, ANestedCallRunsInlineAsTheSameWorker) {
  for (const HostExecutor& host : all_hosts()) {
    const auto executor = make(3, host);
    std::atomic<uint32_t> inner{0}, wrong{0};
    executor->parallel_for(8, [&](uint32_t, uint32_t worker) {
      const auto thread = std::this_thread::get_id();
      executor->parallel_for(5, [&](uint32_t, uint32_t nested) {
        if (nested != worker || std::this_thread::get_id() != thread) wrong.fetch_add(1);
        executor->parallel_for(2, [&](uint32_t, uint32_t) { inner.fetch_add(1); });
      });
      if (executor->gang(
              2, [](void*, uint32_t, uint32_t) {}, nullptr))
        wrong.fetch_add(1);
    });
    EXPECT_EQ(inner.load(), 8u * 5u * 2u);
    EXPECT_EQ(wrong.load(), 0u);
  }
}

struct Barriers {
  std::atomic<uint32_t> arrived{0};
  uint32_t n = 0;
  uint32_t rounds = 0;
  static void task(void* arg, uint32_t, uint32_t) {
    auto& self = *static_cast<Barriers*>(arg);
    for (uint32_t round = 1; round <= self.rounds; ++round) {
      self.arrived.fetch_add(1);
      while (self.arrived.load() < round * self.n) std::this_thread::yield();
    }
  }
};

TEST(ExecutorTest, AGangMeetsAtBarriers) {
  static int other = 0;
  for (const HostExecutor& host : {HostExecutor{}, HostExecutor{&wrong_numbers, &thread_gang, &other}}) {
    const auto executor = make(4, host);
    for (uint32_t n = 1; n <= 4; ++n) {
      for (int repeat = 0; repeat < 20; ++repeat) {
        Barriers barriers;
        barriers.n = n;
        barriers.rounds = 5;
        ASSERT_TRUE(executor->gang(n, &Barriers::task, &barriers));
        EXPECT_EQ(barriers.arrived.load(), n * 5);
      }
    }
    EXPECT_FALSE(executor->gang(5, &Barriers::task, nullptr)) << "more than there are workers";
  }
}

TEST(ExecutorTest, AHostWithoutGangIsAskedForParallel) {
  const auto executor = make(4, {&late_serial, nullptr, nullptr});
  EXPECT_FALSE(executor->gang(2, &Barriers::task, nullptr));
}

TEST(ExecutorTest, ConcurrentCallersKeepWorkersUnique) {
  for (const HostExecutor& host : all_hosts()) {
    const auto executor = make(3, host);
    Recorder recorder(4 * 50 * 6, 3);
    std::atomic<uint32_t> next{0};
    std::vector<std::thread> callers;
    for (int c = 0; c < 4; ++c) {
      callers.emplace_back([&] {
        for (int repeat = 0; repeat < 50; ++repeat) {
          executor->parallel_for(
              6, [&](uint32_t, uint32_t worker) { Recorder::task(&recorder, next.fetch_add(1), worker); });
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    EXPECT_TRUE(recorder.all_once());
  }
}

TEST(ExecutorTest, GangAndParallelAlternate) {
  const auto executor = make(3);
  for (int repeat = 0; repeat < 300; ++repeat) {
    Recorder recorder(9, 3);
    executor->parallel(9, &Recorder::task, &recorder);
    ASSERT_TRUE(recorder.all_once());
    Recorder members(3, 3);
    ASSERT_TRUE(executor->gang(3, &Recorder::task, &members));
    ASSERT_TRUE(members.all_once());
    if (repeat % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // workers fall asleep
  }
}

TEST(ExecutorTest, ATaskThatThrowsHarmsNobody) {
  const auto executor = make(2);
  executor->parallel(
      8,
      [](void*, uint32_t i, uint32_t) {
        if (i % 2 == 0) throw i;
      },
      nullptr);
  EXPECT_TRUE(executor->gang(
      2, [](void*, uint32_t i, uint32_t) { throw i; }, nullptr));
  Recorder recorder(4, 2);
  executor->parallel(4, &Recorder::task, &recorder);
  EXPECT_TRUE(recorder.all_once());
}

// Hosts that do not keep their word.
void skips_odd(void*, uint32_t n, Task task, void* arg) {
  for (uint32_t i = 0; i < n; i += 2) task(arg, i, 0);
}
void does_nothing(void*, uint32_t, Task, void*) {}
void throws_midway(void*, uint32_t n, Task task, void* arg) {
  for (uint32_t i = 0; i < n / 2; ++i) task(arg, i, 0);
  throw 42;
}
void calls_twice(void*, uint32_t n, Task task, void* arg) {
  for (uint32_t i = 0; i < 2 * n + 3; ++i) task(arg, i % (n + 1), 0);
}
int32_t half_gang(void*, uint32_t n, Task task, void* arg) {
  for (uint32_t i = 0; i < n / 2; ++i) task(arg, i, 0);
  throw 42;
}
int32_t lying_gang(void*, uint32_t, Task, void*) { return 0; }
int32_t throwing_gang(void*, uint32_t, Task, void*) { throw 42; }

TEST(ExecutorTest, WhatAHostLeavesUndoneIsDone) {
  for (auto* const parallel : {&skips_odd, &does_nothing, &throws_midway, &calls_twice}) {
    const auto executor = make(3, {parallel, nullptr, nullptr});
    for (const uint32_t n : {1u, 2u, 3u, 64u, 65u, 1024u, 5000u}) {
      Recorder recorder(n, 3);
      executor->parallel(n, &Recorder::task, &recorder);
      EXPECT_TRUE(recorder.all_once()) << "n " << n;
    }
  }
  for (auto* const gang : {&half_gang, &lying_gang}) {
    const auto executor = make(4, {&late_serial, gang, nullptr});
    Recorder recorder(4, 4);
    ASSERT_TRUE(executor->gang(4, &Recorder::task, &recorder));
    EXPECT_TRUE(recorder.all_once());
  }
  const auto executor = make(4, {&late_serial, &throwing_gang, nullptr});
  Recorder recorder(4, 4);
  EXPECT_FALSE(executor->gang(4, &Recorder::task, &recorder)) << "nothing was called";
  EXPECT_EQ(recorder.calls[0].load(), 0u);
}

TEST(ExecutorTest, ConcurrentGangsOfAHostTakeTurns) {
  const auto executor = make(3, {&wrong_numbers, &thread_gang, nullptr});
  std::atomic<uint32_t> complete{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 25; ++repeat) {
        Barriers barriers;
        barriers.n = 3;
        barriers.rounds = 3;
        if (executor->gang(3, &Barriers::task, &barriers)) complete.fetch_add(1);
        executor->parallel_for(4, [](uint32_t, uint32_t) {});
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(complete.load(), 100u);
}

TEST(ExecutorTest, ThreadsAreMadeAtTheFirstUse) {
  const auto count = [] {
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ++n;
    return n;
  };
  const size_t before = count();
  const auto executor = make(4);
  EXPECT_EQ(count(), before);
  Recorder recorder(2, 4);
  executor->parallel(2, &Recorder::task, &recorder);
  EXPECT_EQ(count(), before + 1) << "two tasks need one helper";
}

TEST(ExecutorTest, SleepsBetweenSteps) {
  const auto executor = make(2);
  Recorder recorder(16, 2);
  executor->parallel(16, &Recorder::task, &recorder);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto cpu = [] {
    timespec used{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
  };
  const auto before = cpu();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(cpu() - before, std::chrono::milliseconds(100)) << "a spinning worker would use it all";
}

#if !defined(MERRITT_SANITIZED)
TEST(ExecutorTest, AChildOfForkDestroysItWithoutHanging) {
  auto executor = make(3);
  Recorder recorder(6, 3);
  executor->parallel(6, &Recorder::task, &recorder);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Recorder alone(6, 3);
    executor->parallel(6, &Recorder::task, &alone);
    const bool gang = executor->gang(2, &Recorder::task, &alone);
    executor.reset();
    _exit(alone.all_once() && !gang ? 0 : 1);
  }
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0);
}
#endif

}  // namespace
}  // namespace merritt::backend
