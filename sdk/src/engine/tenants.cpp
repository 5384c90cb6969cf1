// SPDX-License-Identifier: Apache-2.0
// Tenants and what they use: the functions of Engine that need nothing of the step thread.
#include "engine/engine.hpp"
#include "tenant/usage_text.hpp"

namespace merritt::engine {
namespace {

constexpr uint32_t kJournalIntervalMs = 500;  // half of what may be lost: writing takes its time

// The place of the journal, free again at the end of the scope unless it was filled.
struct Taken {
  std::atomic<bool>& flag;
  tenant::Archive& archive;
  bool filled = false;
  ~Taken() {
    if (filled) return;
    archive.keep(false);
    flag = false;
  }
};

}  // namespace

// What the floors of all tenants may come to: the pools of the models that they share, or before the first of them, the
// whole budget. The pool of a tenant's own model is nothing that another could be promised.
uint64_t Engine::kv_capacity() const {
  const uint64_t pools = shared_pools_.load();
  return pools != 0 ? pools : ledger_->budget();
}

Result<std::shared_ptr<tenant::Tenant>> Engine::create_tenant(std::string_view name,
                                                              const tenant::TenantLimits& limits) {
  MERRITT_TRY(std::shared_ptr<tenant::Tenant> created, tenants_.create(name, limits, kv_capacity(), now_ns()));
  count_tenants();
  return created;
}

Status Engine::set_limits(tenant::Tenant& tenant, const tenant::TenantLimits& limits) {
  if (tenant.closed()) return Status(Code::kNotFound, "the tenant was destroyed");
  MERRITT_CHECK(tenants_.set_limits(tenant, limits, kv_capacity(), now_ns()));
  trim_prefixes(tenant);
  return {};
}

std::string Engine::usage_text(UsageFormat format) const {
  const EngineStats now = stats();
  tenant::JournalStats journal_now;
  if (const auto open = journal(); open.ok()) journal_now = (*open)->stats();
  const tenant::EngineNumber numbers[] = {
      {"steps", "Steps run.", true, now.steps},
      {"step_ns", "Nanoseconds of steps up to their commit.", true, now.step_ns},
      {"requests_running", "Requests running now.", false, now.requests_running},
      {"requests_waiting", "Requests waiting now.", false, now.requests_waiting},
      {"memory_bytes", "Bytes of weights, KV pools and scratch held now.", false, now.memory_bytes},
      {"journal_records", "The number of the last journal record on disk.", true, journal_now.records},
      {"journal_failures", "Times that the journal could not be written.", true, journal_now.failures},
  };
  tenant::Counts closed{};
  std::vector<tenant::NamedUsage> live = tenants_.usages(&closed);
  const auto usages = tenant::bounded_usages(std::move(live), closed);
  return format == UsageFormat::kPrometheus ? tenant::usage_prometheus(usages, numbers)
                                            : tenant::usage_json_lines(usages, numbers);
}

// Opening may log, which is not done under a lock: that the place is taken is noted first.
Status Engine::open_journal(const std::string& path) {
  if (stop_.is_set()) return Status(Code::kCancelled, "the engine is shutting down");
  if (journal_taken_.exchange(true)) {
    return Status(Code::kFailedPrecondition, "this engine writes a journal already");
  }
  Taken taken{journal_taken_, tenants_.archive()};
  tenants_.archive().keep(true);
  tenant::JournalSource source{.live = [this] { return tenants_.counts(); },
                               .departed = [this] { return tenants_.archive().take(); }};
  MERRITT_TRY(std::unique_ptr<tenant::Journal> opened, tenant::Journal::open(path, std::move(source), log_));
  if (!no_threads_) MERRITT_CHECK(opened->start(kJournalIntervalMs));  // else poll() writes it
  taken.filled = true;
  const std::lock_guard lock(journal_mutex_);
  journal_ = std::move(opened);
  return {};
}

void Engine::write_journal_if_due() {
  std::shared_ptr<tenant::Journal> open;
  {
    const std::lock_guard lock(journal_mutex_);
    open = journal_;
  }
  if (open != nullptr) (void)open->flush_if_due(now_ns(), kJournalIntervalMs);  // a failure is counted and logged
}

Result<std::shared_ptr<tenant::Journal>> Engine::journal() const {
  const std::lock_guard lock(journal_mutex_);
  if (journal_ == nullptr) return Status(Code::kFailedPrecondition, "this engine writes no journal");
  return journal_;
}

}  // namespace merritt::engine
