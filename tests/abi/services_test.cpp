// SPDX-License-Identifier: Apache-2.0
// Services the host gives at engine creation: its threads, its ledger, its log, its budget; and the defaults.
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::test {
namespace {

// A host's pool in the several ways the contract allows.
class HostPool {
 public:
  enum class Style { kInline, kLate, kNested };
  explicit HostPool(Style style) : style_(style) {}
  ~HostPool() { EXPECT_EQ(wrong_.load(), 0) << "a worker number was out of range or used twice at once"; }

  static void parallel(void* self, uint32_t n, merritt_task_fn fn, void* argument) {
    static_cast<HostPool*>(self)->run(n, fn, argument);
  }
  // All n at the same time, on threads of their own.
  static int32_t gang(void* self, uint32_t n, merritt_task_fn fn, void* argument) {
    auto& pool = *static_cast<HostPool*>(self);
    if (n > kWorkers) return MERRITT_UNSUPPORTED;
    std::vector<std::thread> threads;
    for (uint32_t i = 1; i < n; ++i) threads.emplace_back(fn, argument, i, i);
    fn(argument, 0, 0);
    for (std::thread& thread : threads) thread.join();
    ++pool.gangs;
    return MERRITT_OK;
  }
  static int32_t no_gang(void* self, uint32_t, merritt_task_fn, void*) {
    ++static_cast<HostPool*>(self)->refused;
    return MERRITT_UNSUPPORTED;
  }
  static constexpr uint32_t kWorkers = 2;
  std::atomic<uint32_t> calls{0}, gangs{0}, refused{0};

 private:
  void run(uint32_t n, merritt_task_fn fn, void* argument) {
    ++calls;
    switch (style_) {
      case Style::kInline:
        for (uint32_t i = 0; i < n; ++i) task(fn, argument, i, 0);
        break;
      case Style::kLate:  // another thread, later, one after another, from the last to the first
        std::thread([&] {
          std::this_thread::yield();
          for (uint32_t i = n; i != 0; --i) task(fn, argument, i - 1, 1);
        }).join();
        break;
      case Style::kNested: halves(0, n, fn, argument, 0); break;
    }
  }
  // Splits the work inside its own tasks.
  void halves(uint32_t first, uint32_t last, merritt_task_fn fn, void* argument, uint32_t worker) {
    if (last - first <= 1) {
      if (first != last) task(fn, argument, first, worker);
      return;
    }
    const uint32_t middle = first + (last - first) / 2;
    halves(middle, last, fn, argument, worker);
    halves(first, middle, fn, argument, worker);
  }
  void task(merritt_task_fn fn, void* argument, uint32_t i, uint32_t worker) {
    if (worker >= kWorkers || busy_[worker].exchange(true)) ++wrong_;
    fn(argument, i, worker);
    busy_[worker] = false;
  }

  const Style style_;
  std::atomic<bool> busy_[kWorkers] = {};
  std::atomic<int> wrong_{0};
};

// The same generation on an engine with these services.
Generation generate_with(const std::string& path, merritt_engine_options options, const char* backend = "reference") {
  merritt_engine engine = make_engine(options, true);
  EXPECT_TRUE(load_backend(engine, backend));
  merritt_model_options model_options{};
  model_options.context_max = 128;
  const merritt_model model = load_model(engine, path, model_options);
  merritt_request_options text{};
  text.text = "the and of to in";
  text.text_length = 16;
  text.max_tokens = 12;
  text.flags = MERRITT_REQUEST_IGNORE_EOS;
  text.n = 3;
  text.temperature = 1;
  text.seed = 9;
  const Generation out = generate(make_session(make_tenant(engine, "acme"), model), text);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
  return out;
}

class Executors : public ::testing::TestWithParam<const char*> {};

TEST_P(Executors, EveryAllowedPoolGivesTheSameTokens) {
  const TempFolder folder;
  const std::string path = folder.tiny_model();
  merritt_engine_options own{};
  own.threads = 2;
  const Generation expected = generate_with(path, own, GetParam());
  ASSERT_EQ(expected.code, MERRITT_OK) << expected.message;
  ASSERT_EQ(expected.tokens.size(), 3u);

  struct Case {
    const char* name;
    HostPool::Style style;
    uint32_t threads;
    merritt_gang_fn gang;
  };
  for (const Case& each : {Case{"one thread", HostPool::Style::kInline, 1, nullptr},
                           Case{"late and serial", HostPool::Style::kLate, 2, nullptr},
                           Case{"no gang", HostPool::Style::kInline, 2, nullptr},
                           Case{"refuses gangs", HostPool::Style::kInline, 2, &HostPool::no_gang},
                           Case{"with gang", HostPool::Style::kInline, 2, &HostPool::gang},
                           Case{"nested", HostPool::Style::kNested, 2, nullptr}}) {
    SCOPED_TRACE(each.name);
    HostPool pool(each.style);
    merritt_engine_options options{};
    options.threads = each.threads;
    options.parallel = &HostPool::parallel;
    options.gang = each.gang;
    options.executor_user = &pool;
    const Generation out = generate_with(path, options, GetParam());
    ASSERT_EQ(out.code, MERRITT_OK) << out.message;
    EXPECT_EQ(out.tokens, expected.tokens);
    if (std::string_view(GetParam()) == "fardevice") continue;  // it has workers of its own to pretend with
    EXPECT_GT(pool.calls + pool.gangs, 0u) << "the host's threads were not used";
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Executors, ::testing::Values("reference", "fardevice", "onednn"),
                         [](const auto& param) { return std::string(param.param); });

// ---- Memory

struct HostLedger {
  std::atomic<int64_t> balance{0}, most{0};
  int64_t limit = INT64_MAX;
  std::atomic<uint32_t> refusals{0};
  static int32_t charge(void* self, int64_t bytes) {
    auto& ledger = *static_cast<HostLedger*>(self);
    const int64_t now = ledger.balance.fetch_add(bytes) + bytes;
    if (bytes > 0 && now > ledger.limit) {
      ledger.balance.fetch_sub(bytes);
      ++ledger.refusals;
      return 1;
    }
    int64_t most = ledger.most;
    while (now > most && !ledger.most.compare_exchange_weak(most, now)) {
    }
    return 0;
  }
};

TEST(Services, AHostsLedgerSeesEveryByteAndMayRefuse) {
  const TempFolder folder;
  const std::string path = folder.tiny_model();
  HostLedger generous;
  merritt_engine_options options{};
  options.threads = 1;
  options.ledger = &HostLedger::charge;
  options.ledger_user = &generous;
  ASSERT_EQ(generate_with(path, options).code, MERRITT_OK);
  EXPECT_GT(generous.most, 0);
  EXPECT_EQ(generous.balance, 0);
  // Refused anywhere on the way, the load fails as a whole and gives back what it had.
  for (int64_t share = 0; share < 4; ++share) {
    HostLedger ledger;
    ledger.limit = generous.most * share / 4;
    options.ledger_user = &ledger;
    merritt_engine engine = make_engine(options);
    ASSERT_TRUE(load_backend(engine, "reference"));
    const int64_t before = ledger.balance;
    merritt_model model = nullptr;
    Error error;
    EXPECT_EQ(merritt_model_load(engine, path.data(), path.size(), nullptr, &model, error), MERRITT_OUT_OF_MEMORY)
        << error.message();
    EXPECT_GT(ledger.refusals, 0u);
    EXPECT_EQ(ledger.balance, before);
    EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
    EXPECT_EQ(ledger.balance, 0);
  }
}

TEST(Services, TheMemoryBudgetIsRefusedWithBothNumbers) {
  const TempFolder folder;
  const std::string path = folder.tiny_model();
  merritt_engine_options options{};
  options.memory_bytes_max = 54'321;
  merritt_engine engine = make_engine(options);
  ASSERT_TRUE(load_backend(engine, "reference"));
  merritt_model model = nullptr;
  Error error;
  ASSERT_EQ(merritt_model_load(engine, path.data(), path.size(), nullptr, &model, error), MERRITT_OUT_OF_MEMORY);
  const std::string message = error.message();
  EXPECT_NE(message.find("54321"), std::string::npos) << message;
  uint32_t numbers = 0;
  for (size_t i = 0; i < message.size(); ++i) {
    numbers += std::isdigit(static_cast<unsigned char>(message[i])) != 0 &&
                       (i == 0 || std::isdigit(static_cast<unsigned char>(message[i - 1])) == 0)
                   ? 1
                   : 0;
  }
  EXPECT_GE(numbers, 2u) << "what was asked for and what there is: " << message;
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(merritt_engine_stats_get(engine, &stats, nullptr), MERRITT_OK);
  EXPECT_LE(stats.memory_bytes_peak, 54'321u);
  EXPECT_EQ(stats.weight_bytes, 0u);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

// ---- Log, threads, files that change

struct HostLog {
  std::mutex mutex;
  std::vector<std::pair<uint32_t, std::string>> records;
  static void write(void* self, uint32_t level, const char* text, size_t length) {
    auto& log = *static_cast<HostLog*>(self);
    const std::lock_guard lock(log.mutex);
    log.records.emplace_back(level, std::string(text, length));
  }
};

TEST(Services, TheLogGetsRecordsAboveItsLevelAndNoPrompt) {
  const TempFolder folder;
  const std::string path = folder.tiny_model();
  // fardevice declines a KV type by name, which is a warning when another backend is asked next.
  for (const uint32_t level : {MERRITT_LOG_DEBUG, MERRITT_LOG_ERROR}) {
    HostLog log;
    merritt_engine_options options{};
    options.threads = 1;
    options.log_level = level;
    options.log = &HostLog::write;
    options.log_user = &log;
    ASSERT_EQ(generate_with(path, options).code, MERRITT_OK);
    merritt_engine engine = make_engine(options);
    uint32_t loaded = 0;
    const std::string nowhere = folder.path();
    EXPECT_NE(merritt_engine_load_backend(engine, nowhere.data(), nowhere.size(), nullptr, nullptr), MERRITT_OK);
    EXPECT_EQ(merritt_engine_load_backends(engine, &loaded, nullptr), MERRITT_OK);
    EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
    const std::lock_guard lock(log.mutex);
    for (const auto& [at, text] : log.records) {
      EXPECT_GE(at, level) << text;
      EXPECT_EQ(text.find("the and of"), std::string::npos) << "prompt text in a record: " << text;
    }
  }
}

TEST(Services, DefaultThreadsFollowTheAffinity) {
  const auto threads = [] {
    merritt_engine engine = make_engine();
    merritt_engine_stats stats{};
    stats.struct_size = sizeof(stats);
    EXPECT_EQ(merritt_engine_stats_get(engine, &stats, nullptr), MERRITT_OK);
    EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
    return stats.threads;
  };
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  const uint32_t all = threads();
  EXPECT_GE(all, 1u);
  EXPECT_LE(all, static_cast<uint32_t>(CPU_COUNT(&before)));  // fewer where cpu.max says so
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    CPU_SET(cpu, &one);
    break;
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(threads(), 1u);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
  EXPECT_EQ(threads(), all);
}

class Shrinking : public ::testing::TestWithParam<const char*> {};

TEST_P(Shrinking, AFileTruncatedDuringTheLoadIsCorrupt) {
  const TempFolder folder;
  HostLedger ledger;
  merritt_engine_options options{};
  options.ledger = &HostLedger::charge;
  options.ledger_user = &ledger;
  merritt_engine engine = make_engine(options, true);
  ASSERT_TRUE(load_backend(engine, GetParam()));
  const int64_t before = ledger.balance;
  const std::string path =
      folder.write("shrinks.gguf", testing::tiny_gguf({.layers = 24, .width = 64, .inner = 512, .head_dim = 32}));
  struct Shrink {
    std::string path;
    uint32_t calls;
  } shrink{path, 0};
  merritt_model_options model_options{};
  model_options.struct_size = sizeof(model_options);
  model_options.progress = [](void* user, float) -> int32_t {
    auto& self = *static_cast<Shrink*>(user);
    if (self.calls++ == 0) std::filesystem::resize_file(self.path, std::filesystem::file_size(self.path) / 8);
    return 0;
  };
  model_options.progress_user = &shrink;
  merritt_model model = nullptr;
  Error error;
  EXPECT_EQ(merritt_model_load(engine, path.data(), path.size(), &model_options, &model, error), MERRITT_CORRUPT)
      << error.message();
  EXPECT_GT(shrink.calls, 0u);
  EXPECT_EQ(model, nullptr);
  EXPECT_EQ(ledger.balance, before);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
  EXPECT_EQ(ledger.balance, 0);
}

INSTANTIATE_TEST_SUITE_P(Backends, Shrinking, ::testing::Values("reference", "fardevice", "onednn"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace merritt::test
