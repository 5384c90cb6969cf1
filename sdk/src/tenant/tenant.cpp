// SPDX-License-Identifier: Apache-2.0
#include "tenant/tenant.hpp"

#include <algorithm>
#include <utility>

#include "base/limits.hpp"

namespace merritt::tenant {
namespace {

constexpr uint64_t kSecond = 1'000'000'000, kMinute = 60 * kSecond;

bool is_name_byte(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

}  // namespace

Status check_name(std::string_view name) {
  if (name.empty() || name.size() > limits::kNameBytesMax) {
    return Status(Code::kInvalidArgument,
                  "a tenant name has 1 to 63 bytes; this one has " + std::to_string(name.size()));
  }
  const auto bad = std::find_if_not(name.begin(), name.end(), is_name_byte);
  if (bad == name.end()) return {};
  return Status(Code::kInvalidArgument,
                "byte " + std::to_string(bad - name.begin()) + " of the tenant name is not one of A-Z a-z 0-9 . _ -");
}

Result<std::shared_ptr<Tenant>> Tenant::create(TenantId id, std::string_view name, const TenantLimits& limits,
                                               uint64_t now_ns, std::shared_ptr<Archive> archive,
                                               KvAccount::Clock kv_clock) {
  MERRITT_CHECK(check_name(name));
  if (id == TenantId::kNone) return Status(Code::kInternal, "a tenant's id may not be 0");
  MERRITT_TRY(TenantLimits checked, checked_limits(limits));
  std::shared_ptr<Tenant> tenant(new Tenant(id, name, std::move(archive), kv_clock));
  tenant->apply_limits(std::move(checked), now_ns);
  return tenant;
}

Tenant::Tenant(TenantId id, std::string_view name, std::shared_ptr<Archive> archive, KvAccount::Clock kv_clock)
    : name_(name),
      account_(std::make_shared<KvAccount>(id, 0, kv_clock)),
      archive_(std::move(archive)),
      request_rate_(kSecond),
      token_rate_(kMinute) {}

Tenant::~Tenant() {
  if (archive_ != nullptr) archive_->add(static_cast<uint32_t>(id()), name_, counts());
}

TenantLimits Tenant::limits() const {
  const std::lock_guard lock(mutex_);
  return limits_;
}

Status Tenant::set_limits(const TenantLimits& limits, uint64_t now_ns) {
  MERRITT_TRY(TenantLimits checked, checked_limits(limits));
  apply_limits(std::move(checked), now_ns);
  return {};
}

void Tenant::apply_limits(TenantLimits limits, uint64_t now_ns) {
  const std::lock_guard lock(mutex_);
  limits_ = std::move(limits);
  request_rate_.set(limits_.requests_per_second, limits_.requests_burst, now_ns);
  token_rate_.set(limits_.tokens_per_minute, limits_.tokens_burst, now_ns);
  account_->weight.store(limits_.weight, std::memory_order_relaxed);
  sequences_max_.store(limits_.sequences_max, std::memory_order_relaxed);
  if (waiting_ + running_ != 0) {
    const uint64_t before = account_->hard_limit();
    const uint64_t accepted = before == 0 ? UINT64_MAX : std::max(before, account_->accepted_limit.load());
    account_->accepted_limit.store(accepted, std::memory_order_relaxed);
  }
  account_->limit_bytes.store(limits_.kv_bytes_max, std::memory_order_relaxed);
  account_->floor_bytes.store(limits_.kv_bytes_floor, std::memory_order_relaxed);
  account_->burst_bytes.store(limits_.kv_bytes_burst, std::memory_order_relaxed);
  account_->prefix_bytes.store(limits_.prefix_bytes_max, std::memory_order_relaxed);
}

void Tenant::accept() {
  pending_.fetch_sub(1, std::memory_order_relaxed);
  ledger_.add(Counter::kRequests, 1);
}

void Tenant::withdraw(const Grant& grant, uint64_t now_ns) {
  leave_queue();
  pending_.fetch_sub(1, std::memory_order_relaxed);
  settle(grant, 0, now_ns);
}

void Tenant::leave_queue() {
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  forget_accepted();
}

// With the last request that was accepted, limits of before are over.
void Tenant::forget_accepted() {
  if (waiting_ + running_ == 0) account_->accepted_limit.store(0, std::memory_order_relaxed);
}

bool Tenant::start(uint32_t sequences) {
  const uint32_t limit = sequences_max_.load(std::memory_order_relaxed);
  const uint32_t most = limit == 0 ? UINT32_MAX : limit;
  uint32_t now = sequences_.load(std::memory_order_relaxed);
  do {
    if (now != 0 && (sequences > most || now > most - sequences)) return false;
  } while (!sequences_.compare_exchange_weak(now, now + sequences, std::memory_order_relaxed));
  running_.fetch_add(1, std::memory_order_relaxed);
  leave_queue();
  return true;
}

bool Tenant::may_start(uint32_t sequences) const {
  const uint32_t limit = sequences_max_.load(std::memory_order_relaxed);
  const uint32_t now = sequences_.load(std::memory_order_relaxed);
  return limit == 0 || now == 0 || (sequences <= limit && now <= limit - sequences);
}

void Tenant::finish(uint32_t sequences) {
  sequences_.fetch_sub(sequences, std::memory_order_relaxed);
  running_.fetch_sub(1, std::memory_order_relaxed);
  forget_accepted();
}

void Tenant::requeue(uint32_t sequences) {
  waiting_.fetch_add(1, std::memory_order_relaxed);
  finish(sequences);
}

void Tenant::settle(const Grant& grant, uint64_t used, uint64_t now_ns) {
  if (grant.hold == 0) return;
  const std::lock_guard lock(mutex_);
  token_rate_.settle(grant.hold, used, now_ns);
}

Status Tenant::refuse(Refusal cause, Status status) {
  add_refusal(cause);
  return status;
}

Counts Tenant::counts() const {
  Counts counts = ledger_.counts();
  counts[index_of(Counter::kKvByteSeconds)] = account_->byte_seconds();
  return counts;
}

TenantUsage Tenant::usage() const {
  constexpr auto kOrder = std::memory_order_relaxed;
  TenantUsage usage{.requests_running = running_.load(kOrder),
                    .requests_waiting = waiting_.load(kOrder),
                    .sequences_running = sequences_.load(kOrder),
                    .sessions = sessions_.load(kOrder),
                    .kv_bytes = account_->held_bytes.load(kOrder),
                    .model_bytes = model_bytes(),
                    .counts = counts()};
  usage.requests = usage.counts[index_of(Counter::kRequests)] + pending_.load(kOrder);
  usage.refusals = sum_of_refusals(usage.counts);
  usage.prompt_tokens = usage.counts[index_of(Counter::kPromptTokens)];
  usage.generated_tokens = usage.counts[index_of(Counter::kGeneratedTokens)];
  return usage;
}

}  // namespace merritt::tenant
