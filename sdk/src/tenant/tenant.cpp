// SPDX-License-Identifier: Apache-2.0
#include "tenant/tenant.hpp"

#include <algorithm>

namespace merritt::tenant {
namespace {

constexpr uint32_t kQueueDefault = 64;
constexpr uint32_t kPromptBytesDefault = 1u << 20;

TenantLimits with_defaults(TenantLimits limits) {
  if (limits.queue_max == 0) limits.queue_max = kQueueDefault;
  if (limits.prompt_bytes_max == 0) limits.prompt_bytes_max = kPromptBytesDefault;
  if (limits.weight == 0) limits.weight = 1;
  return limits;
}

bool is_name_byte(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

// Adds n to a counter that may not pass `most`; false = it would, and nothing changed.
bool add_within(std::atomic<uint32_t>& counter, uint32_t n, uint32_t most) {
  uint32_t now = counter.load(std::memory_order_relaxed);
  do {
    if (n > most || now > most - n) return false;
  } while (!counter.compare_exchange_weak(now, now + n, std::memory_order_relaxed));
  return true;
}

}  // namespace

Status check_name(std::string_view name) {
  if (name.empty() || name.size() > 63) {
    return Status(Code::kInvalidArgument,
                  "a tenant name has 1 to 63 bytes; this one has " + std::to_string(name.size()));
  }
  const auto bad = std::find_if_not(name.begin(), name.end(), is_name_byte);
  if (bad == name.end()) return {};
  return Status(Code::kInvalidArgument,
                "byte " + std::to_string(bad - name.begin()) + " of the tenant name is not one of A-Z a-z 0-9 . _ -");
}

uint32_t retry_after_ms(uint32_t waiting, uint64_t step_ns) {
  constexpr uint64_t kLeast = 10, kMost = 30'000, kNsPerMs = 1'000'000;
  const uint64_t ns = std::min<uint64_t>(step_ns, kMost * kNsPerMs) * (uint64_t{std::min(waiting, 1u << 16)} + 1);
  return static_cast<uint32_t>(std::clamp(ns / kNsPerMs, kLeast, kMost));
}

Result<std::shared_ptr<Tenant>> Tenant::create(TenantId id, std::string_view name, const TenantLimits& limits) {
  MERRITT_CHECK(check_name(name));
  if (id == TenantId::kNone) return Status(Code::kInternal, "a tenant's id may not be 0");
  return std::shared_ptr<Tenant>(new Tenant(id, name, limits));
}

Tenant::Tenant(TenantId id, std::string_view name, const TenantLimits& limits)
    : name_(name), limits_(with_defaults(limits)), account_(std::make_shared<KvAccount>(id, limits.kv_bytes_max)) {}

Status Tenant::admit(const Demand& demand, const Load& load) {
  if (closed()) return Status(Code::kNotFound, "the tenant was destroyed");
  Status status = check_demand(demand, load);
  if (status.ok() && !add_within(waiting_, 1, limits_.queue_max)) {
    status = Status(Code::kQuotaExceeded,
                    "the tenant has " + std::to_string(limits_.queue_max) + " requests waiting, its limit (queue_max)",
                    Blast::kRequest, retry_after_ms(limits_.queue_max, load.step_ns));
  }
  (status.ok() ? requests_ : refusals_).fetch_add(1, std::memory_order_relaxed);
  return status;
}

// The tenant's own limits are looked at first: who is over them gets no better by waiting for others.
Status Tenant::check_demand(const Demand& demand, const Load& load) const {
  if (demand.prompt_bytes > limits_.prompt_bytes_max) {
    return Status(Code::kQuotaExceeded, "the prompt has " + std::to_string(demand.prompt_bytes) +
                                            " bytes; the tenant's prompt_bytes_max is " +
                                            std::to_string(limits_.prompt_bytes_max));
  }
  if (limits_.sequences_max != 0 && demand.sequences > limits_.sequences_max) {
    return Status(Code::kQuotaExceeded, "n is " + std::to_string(demand.sequences) +
                                            "; the tenant's sequences_max is " + std::to_string(limits_.sequences_max));
  }
  if (limits_.kv_bytes_max != 0 && demand.kv_bytes > limits_.kv_bytes_max) {
    return Status(Code::kQuotaExceeded, "the request needs up to " + std::to_string(demand.kv_bytes) +
                                            " bytes of KV; the tenant's kv_bytes_max is " +
                                            std::to_string(limits_.kv_bytes_max));
  }
  if (load.queue_max != 0 && load.waiting >= load.queue_max) {
    return Status(Code::kOverloaded, std::to_string(load.waiting) + " requests are waiting, as many as the queue takes",
                  Blast::kRequest, retry_after_ms(load.waiting, load.step_ns));
  }
  return {};
}

void Tenant::leave_queue() { waiting_.fetch_sub(1, std::memory_order_relaxed); }

void Tenant::withdraw() {
  leave_queue();
  requests_.fetch_sub(1, std::memory_order_relaxed);
}

bool Tenant::start(uint32_t sequences) {
  const uint32_t most = limits_.sequences_max == 0 ? UINT32_MAX : limits_.sequences_max;
  if (!add_within(sequences_, sequences, most)) return false;
  running_.fetch_add(1, std::memory_order_relaxed);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

bool Tenant::may_start(uint32_t sequences) const {
  const uint32_t most = limits_.sequences_max;
  return most == 0 || (sequences <= most && sequences_.load(std::memory_order_relaxed) <= most - sequences);
}

void Tenant::finish(uint32_t sequences) {
  sequences_.fetch_sub(sequences, std::memory_order_relaxed);
  running_.fetch_sub(1, std::memory_order_relaxed);
}

void Tenant::requeue(uint32_t sequences) {
  finish(sequences);
  waiting_.fetch_add(1, std::memory_order_relaxed);
}

TenantUsage Tenant::usage() const {
  constexpr auto kOrder = std::memory_order_relaxed;
  return {.requests_running = running_.load(kOrder),
          .requests_waiting = waiting_.load(kOrder),
          .sequences_running = sequences_.load(kOrder),
          .sessions = sessions_.load(kOrder),
          .requests = requests_.load(kOrder),
          .refusals = refusals_.load(kOrder),
          .prompt_tokens = prompt_tokens_.load(kOrder),
          .generated_tokens = generated_tokens_.load(kOrder),
          .kv_bytes = account_->held_bytes.load(kOrder)};
}

}  // namespace merritt::tenant
