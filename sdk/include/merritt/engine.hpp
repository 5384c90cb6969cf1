// SPDX-License-Identifier: Apache-2.0
//
// merritt/engine.hpp: owns an engine: one scheduler, one executor, one memory budget, any number of models and
// tenants. Thread rule: as the C ABI, any thread; moving or closing the wrapper itself needs one thread at a time.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <merritt/engine.h>
#include <merritt/usage.h>
#include <merritt/model.hpp>
#include <merritt/queue.hpp>
#include <merritt/result.hpp>
#include <merritt/tenant.hpp>

namespace merritt {
inline namespace v0 {

using EngineStats = merritt_engine_stats;
using BackendInfo = merritt_backend_info;

enum class LogLevel : uint32_t {
  kDebug = MERRITT_LOG_DEBUG,
  kInfo = MERRITT_LOG_INFO,
  kWarning = MERRITT_LOG_WARNING,
  kError = MERRITT_LOG_ERROR,
};

enum class UsageFormat : uint32_t { kJsonLines = MERRITT_USAGE_JSON_LINES, kPrometheus = MERRITT_USAGE_PROMETHEUS };

// Some records of the journal.
struct UsageRecords {
  std::string lines{};  // a JSON object each
  uint64_t last = 0;    // the number of the last one, to go on with
};

// A publisher whose plugins may be loaded.
struct Publisher {
  std::string name{};
  std::array<uint8_t, 32> public_key{};
  std::string plugin_id{};  // empty = any
  int64_t not_after = 0;    // seconds since 1970; 0 = no end
};

struct EngineOptions {
  uint32_t threads = 0;                    // 0 = min(affinity, cgroup cpu.max)
  uint32_t isa_max = 0;                    // MERRITT_ISA_*; 0 = what the CPU has
  uint64_t memory_bytes_max = 0;           // 0 = no limit
  std::vector<std::string> plugin_dirs{};  // absolute
  std::vector<Publisher> publishers{};
  LogLevel log_level = LogLevel::kInfo;
  std::function<void(LogLevel, std::string_view)> log{};  // must not throw
  merritt_ledger_fn ledger = nullptr;
  void* ledger_user = nullptr;
  merritt_parallel_fn parallel = nullptr;  // null = the engine's own threads
  merritt_gang_fn gang = nullptr;
  void* executor_user = nullptr;
  uint32_t flags = 0;  // MERRITT_ENGINE_*
};

class Engine : public detail::Handle<merritt_engine, merritt_engine_destroy> {
 public:
  using Handle::Handle;

  // Members of an object are destroyed before its bases, and the logger must outlive the engine.
  Engine(Engine&&) noexcept = default;
  Engine& operator=(Engine&& other) noexcept {
    Handle::operator=(static_cast<Handle&&>(other));  // the handle only; log_ is swapped below
    std::swap(log_, other.log_);
    return *this;
  }
  ~Engine() { close(); }

  [[nodiscard]] static Result<Engine> create(const EngineOptions& options = {}) {
    std::vector<const char*> dirs;
    std::vector<size_t> dir_lengths;
    for (const std::string& dir : options.plugin_dirs) {
      dirs.push_back(dir.data());
      dir_lengths.push_back(dir.size());
    }
    const std::vector<merritt_publisher> publishers = raw_publishers(options.publishers);
    merritt_engine_options raw{};
    raw.struct_size = sizeof(raw);
    raw.threads = options.threads;
    raw.isa_max = options.isa_max;
    raw.log_level = static_cast<uint32_t>(options.log_level);
    raw.memory_bytes_max = options.memory_bytes_max;
    raw.plugin_dirs = dirs.data();
    raw.plugin_dir_lengths = dir_lengths.data();
    raw.n_plugin_dirs = static_cast<uint32_t>(dirs.size());
    raw.n_publishers = static_cast<uint32_t>(publishers.size());
    raw.publishers = publishers.data();
    raw.ledger = options.ledger;
    raw.ledger_user = options.ledger_user;
    raw.parallel = options.parallel;
    raw.gang = options.gang;
    raw.executor_user = options.executor_user;
    raw.flags = options.flags;
    auto log = options.log ? std::make_unique<LogFn>(options.log) : nullptr;
    if (log != nullptr) {
      raw.log = &forward_log;
      raw.log_user = log.get();
    }
    Engine engine;
    auto made = detail::call([&](merritt_error** e) { return merritt_engine_create(&raw, &engine.raw_, e); });
    if (!made) {
      return std::move(made).error();
    }
    engine.log_ = std::move(log);
    return engine;
  }

  // Loads every verified plugin of the configured directories; the answer is their number.
  [[nodiscard]] Result<uint32_t> load_backends() {
    uint32_t loaded = 0;
    auto done = detail::call([&](merritt_error** e) { return merritt_engine_load_backends(raw_, &loaded, e); });
    if (!done) {
      return std::move(done).error();
    }
    return loaded;
  }
  // Loads one plugin file; the answer is the backend's id.
  [[nodiscard]] Result<std::string_view> load_backend(std::string_view path) {
    const char* id = "";
    auto done = detail::call(
        [&](merritt_error** e) { return merritt_engine_load_backend(raw_, path.data(), path.size(), &id, e); });
    if (!done) {
      return std::move(done).error();
    }
    return std::string_view(id);
  }
  [[nodiscard]] Result<std::vector<BackendInfo>> backends() const {
    std::vector<BackendInfo> all;
    for (uint32_t index = 0;; ++index) {
      BackendInfo info{};
      info.struct_size = sizeof(info);
      auto got = detail::call([&](merritt_error** e) { return merritt_engine_backend_get(raw_, index, &info, e); });
      if (!got) {
        if (got.error().code() == Code::kNotFound) {
          return all;
        }
        return std::move(got).error();
      }
      all.push_back(info);
    }
  }
  // Of an engine without threads: runs its steps here for about budget_us; true = there is more to do now.
  [[nodiscard]] Result<bool> poll(uint64_t budget_us) {
    uint32_t more = 0;
    auto done = detail::call([&](merritt_error** e) { return merritt_engine_poll(raw_, budget_us, &more, e); });
    if (!done) {
      return std::move(done).error();
    }
    return more != 0;
  }
  // Takes nothing new and waits until everything has ended; what has not by then is cancelled (deadline_exceeded).
  [[nodiscard]] Result<void> drain(uint32_t deadline_ms) {
    return detail::call([&](merritt_error** e) { return merritt_engine_drain(raw_, deadline_ms, e); });
  }
  [[nodiscard]] Result<EngineStats> stats() const {
    EngineStats stats{};
    stats.struct_size = sizeof(stats);
    auto got = detail::call([&](merritt_error** e) { return merritt_engine_stats_get(raw_, &stats, e); });
    if (!got) {
      return std::move(got).error();
    }
    return stats;
  }
  // Reads and compiles a GGUF file.
  [[nodiscard]] Result<Model> load(std::string_view path, const ModelOptions& options = {}) {
    return Model::load(raw_, path, options);
  }
  // The events of many requests in one place.
  [[nodiscard]] Result<Queue> queue(Queue::Callback callback = {}) { return Queue::create(raw_, std::move(callback)); }
  [[nodiscard]] Result<Tenant> tenant(std::string_view name, const TenantOptions& options = {}) {
    return Tenant::create(raw_, name, options);
  }

  // What all tenants have used, for a collector.
  [[nodiscard]] Result<std::string> usage_export(UsageFormat format) const {
    std::string text;
    for (;;) {
      size_t length = 0;
      auto got = detail::call([&](merritt_error** e) {
        return merritt_engine_usage_export(raw_, static_cast<uint32_t>(format), text.data(), text.size(), &length, e);
      });
      if (length <= text.size()) {
        text.resize(length);
        return got ? Result<std::string>(std::move(text)) : Result<std::string>(std::move(got).error());
      }
      text.resize(length + length / 8);  // counters grow meanwhile
    }
  }
  // Writes what is used from now on to a file, see merritt/usage.h.
  [[nodiscard]] Result<void> open_journal(std::string_view path) {
    return detail::call(
        [&](merritt_error** e) { return merritt_engine_journal_open(raw_, path.data(), path.size(), e); });
  }
  [[nodiscard]] Result<void> flush_journal() {
    return detail::call([&](merritt_error** e) { return merritt_engine_journal_flush(raw_, e); });
  }
  // The records after number `after`, about a megabyte of them at most; empty lines when there are no more.
  [[nodiscard]] Result<UsageRecords> usage_since(uint64_t after) const {
    UsageRecords records;
    records.lines.resize(size_t{1} << 20);
    size_t length = 0;
    auto got = detail::call([&](merritt_error** e) {
      return merritt_engine_usage_since(raw_, after, records.lines.data(), records.lines.size(), &length, &records.last,
                                        e);
    });
    if (!got) {
      return std::move(got).error();
    }
    records.lines.resize(length);
    return records;
  }

 private:
  using LogFn = std::function<void(LogLevel, std::string_view)>;

  static void forward_log(void* user, uint32_t level, const char* text, size_t length) {
    (*static_cast<const LogFn*>(user))(static_cast<LogLevel>(level), std::string_view(text, length));
  }
  static std::vector<merritt_publisher> raw_publishers(const std::vector<Publisher>& publishers) {
    std::vector<merritt_publisher> all;
    for (const Publisher& publisher : publishers) {
      merritt_publisher raw{};
      raw.struct_size = sizeof(raw);
      raw.name = publisher.name.data();
      raw.name_length = publisher.name.size();
      std::copy(publisher.public_key.begin(), publisher.public_key.end(), raw.public_key);
      raw.plugin_id = publisher.plugin_id.empty() ? nullptr : publisher.plugin_id.data();
      raw.plugin_id_length = publisher.plugin_id.size();
      raw.not_after = publisher.not_after;
      all.push_back(raw);
    }
    return all;
  }

  std::unique_ptr<LogFn> log_;
};

}  // namespace v0
}  // namespace merritt
