// SPDX-License-Identifier: Apache-2.0
// One round: an engine with its models, the tenants of the moment, and what all threads of the soak share.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/soak/random.hpp"
#include "tests/soak/report.hpp"
#include "tests/soak/ticket.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::soak {

struct Settings {
  uint64_t seed = 1;
  std::string plugin = "onednn";
  std::string model;
};

// How a round ends.
enum class Ending : uint32_t {
  kQuiet = 0,   // everybody reads to the end; then the whole pool must be free
  kDrain = 1,   // the engine is drained while everybody goes on
  kAbrupt = 2,  // the engine is destroyed while everybody goes on
};

class World {
 public:
  World(const Settings& settings, Report& report, uint32_t round, Ending ending, bool no_threads);
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();

  bool ok() const { return !models_.empty(); }
  Report& report() { return report_; }
  merritt_engine engine() const { return engine_; }
  bool no_threads() const { return no_threads_; }
  Ending ending() const { return ending_; }
  const std::vector<merritt_model>& models() const { return models_; }
  const merritt_model_info& info() const { return info_; }  // of both, which are the same

  // All models are of one file, with the same options.
  int32_t load_model(merritt_tenant tenant, merritt_model* model, merritt_error** error) const;

  // What every call may answer at this moment, beside its own.
  Codes late() const { return late_.load(); }
  // New work is refused from here on.
  void begin_drain() { late_ = codes(MERRITT_FAILED_PRECONDITION); }
  bool draining() const { return late_.load() != codes(); }
  // The engine is about to go, with all there is.
  void begin_end() { late_ = codes(MERRITT_NOT_FOUND, MERRITT_CANCELLED, MERRITT_FAILED_PRECONDITION); }
  void stop() { stopping_ = true; }
  bool stopping() const { return stopping_.load(); }

  // ---- tenants: those that last are made with the world
  merritt_tenant_options random_limits(Random& random, bool exact) const;
  void create_tenant(Random& random, bool lasting, bool exact);
  void destroy_some_tenant(Random& random);
  std::shared_ptr<TenantSlot> any_tenant(Random& random) const;
  std::vector<std::shared_ptr<TenantSlot>> tenants() const;  // all there ever were
  // Codes that a call on something of the tenant may answer when others destroy it.
  Codes orphan(const TenantSlot& tenant) const {
    return late() | (tenant.lasting ? codes() : codes(MERRITT_NOT_FOUND));
  }

  // ---- requests that somebody may cancel
  void offer_for_cancelling(merritt_request request);
  void cancel_some(Random& random);

  // ---- usage: read while it grows, and told from the journal
  void look_at_usage(Random& random);
  void read_journal(bool flush);
  const std::map<std::string, Told>& journal() const { return journal_; }
  void destroy_engine();
  int64_t ledger_bytes() const { return ledger_bytes_.load(); }
  uint64_t memory_bytes_before() const { return memory_bytes_before_; }

 private:
  static void on_log(void* self, uint32_t level, const char* text, size_t length);
  static int32_t on_ledger(void* self, int64_t bytes);
  bool create_engine(const Settings& settings);
  bool load_models(const Settings& settings);

  Report& report_;
  const uint32_t round_;
  const Ending ending_;
  const bool no_threads_;
  const test::TempFolder folder_;
  std::atomic<int64_t> ledger_bytes_{0};
  std::atomic<Codes> late_{codes()};
  std::atomic<bool> stopping_{false};
  merritt_engine engine_ = nullptr;
  bool destroyed_ = false;
  std::string model_path_;
  std::vector<merritt_model> models_;
  merritt_model_info info_{};
  uint64_t memory_bytes_before_ = 0;

  mutable std::mutex mutex_;  // guards all down to the blank line
  std::vector<std::shared_ptr<TenantSlot>> all_, live_;
  uint32_t next_tenant_ = 0;
  std::deque<merritt_request> cancellable_;

  std::mutex usage_mutex_;  // one reader of the journal at a time; guards what follows
  std::map<std::string, Told> seen_;
  uint64_t journal_last_ = 0;
  std::map<std::string, Told> journal_;
};

}  // namespace merritt::soak
