// SPDX-License-Identifier: Apache-2.0
// Admission: what is decided about a request before anything is done for it. All limits are looked at before anything
// is taken, so that a refused request has cost its tenant nothing.
#include <algorithm>
#include <string>

#include "tenant/tenant.hpp"

namespace merritt::tenant {
namespace {

Status over(const std::string& asked, const char* limit_name, uint64_t limit) {
  return Status(Code::kQuotaExceeded, asked + "; the tenant's " + limit_name + " is " + std::to_string(limit));
}

// A prompt whose tokens nobody has counted yet has one at least.
uint64_t tokens_of(const Demand& demand, uint32_t output_tokens) {
  return std::max<uint64_t>(demand.prompt_tokens, 1) + uint64_t{demand.sequences} * output_tokens;
}

}  // namespace

uint32_t retry_after_ms(uint32_t waiting, uint64_t step_ns) {
  constexpr uint64_t kLeast = 10, kMost = 30'000, kNsPerMs = 1'000'000;
  const uint64_t ns = std::min<uint64_t>(step_ns, kMost * kNsPerMs) * (uint64_t{std::min(waiting, 1u << 16)} + 1);
  return static_cast<uint32_t>(std::clamp(ns / kNsPerMs, kLeast, kMost));
}

Status Tenant::admit(const Demand& demand, const Load& load) {
  return admit(demand, load, os::monotonic_ns()).status();
}

Result<Grant> Tenant::admit(const Demand& demand, const Load& load, uint64_t now_ns) {
  if (closed()) return Status(Code::kNotFound, "the tenant was destroyed");
  std::unique_lock lock(mutex_);
  Grant grant{.hold = 0,
              .tokens = 0,
              .max_tokens = demand.output_tokens,
              .output_tokens = 0,
              .context_max = limits_.context_max,
              .deadline_ms = limits_.deadline_ms_default,
              .prompt_bytes_max = limits_.prompt_bytes_max,
              .template_steps_max = limits_.template_steps_max,
              .template_bytes_max = limits_.template_bytes_max};
  if (demand.output_default && limits_.output_max != 0)
    grant.max_tokens = std::min(grant.max_tokens, limits_.output_max);
  grant.output_tokens = demand.context_max == 0 ? grant.max_tokens : std::min(grant.max_tokens, demand.context_max);
  grant.tokens = tokens_of(demand, grant.output_tokens);
  Verdict verdict = check_demand(demand, load);
  if (verdict.status.ok()) verdict = check_rates(grant.tokens, now_ns);
  if (!verdict.status.ok()) {
    lock.unlock();
    return refuse(verdict.cause, std::move(verdict.status));
  }
  grant.hold = token_rate_.hold(grant.tokens, now_ns);
  request_rate_.take(1, now_ns);
  waiting_.fetch_add(1, std::memory_order_relaxed);
  pending_.fetch_add(1, std::memory_order_relaxed);
  return grant;
}

Status Tenant::model_refusal() const {
  return Status(Code::kPermissionDenied, "this model is not one of the " + std::to_string(limits_.models.size()) +
                                             " that the tenant may use (models)");
}

Status Tenant::check_model(uint64_t model) {
  std::unique_lock lock(mutex_);
  if (allows_model(limits_, model)) return {};
  Status status = model_refusal();
  lock.unlock();
  return refuse(Refusal::kModel, std::move(status));
}

// The tenant's own limits are looked at first: who is over them gets no better by waiting for others.
Tenant::Verdict Tenant::check_demand(const Demand& demand, const Load& load) const {
  if (demand.model != 0 && !allows_model(limits_, demand.model)) {
    return {Refusal::kModel, model_refusal()};
  }
  if (demand.prompt_bytes > limits_.prompt_bytes_max) {
    return {Refusal::kPromptBytes, over("the prompt has " + std::to_string(demand.prompt_bytes) + " bytes",
                                        "prompt_bytes_max", limits_.prompt_bytes_max)};
  }
  if (limits_.output_max != 0 && !demand.output_default && demand.output_tokens > limits_.output_max) {
    return {Refusal::kOutput,
            over("max_tokens is " + std::to_string(demand.output_tokens), "output_max", limits_.output_max)};
  }
  if (limits_.context_max != 0 && demand.prompt_tokens >= limits_.context_max) {
    return {Refusal::kContext, over("the prompt has " + std::to_string(demand.prompt_tokens) + " tokens", "context_max",
                                    limits_.context_max)};
  }
  if (limits_.sequences_max != 0 && demand.sequences > limits_.sequences_max) {
    return {Refusal::kSequences,
            over("n is " + std::to_string(demand.sequences), "sequences_max", limits_.sequences_max)};
  }
  const uint64_t kv_max = limits_.kv_bytes_max == 0 ? 0 : limits_.kv_bytes_max + limits_.kv_bytes_burst;
  if (kv_max != 0 && demand.kv_bytes > kv_max) {
    return {Refusal::kKvBytes, over("the request needs up to " + std::to_string(demand.kv_bytes) + " bytes of KV",
                                    "kv_bytes_max", kv_max)};
  }
  if (load.queue_max != 0 && load.waiting >= load.queue_max) {
    return {
        Refusal::kOverload,
        Status(Code::kOverloaded, std::to_string(load.waiting) + " requests are waiting, as many as the queue takes",
               Blast::kRequest, retry_after_ms(load.waiting, load.step_ns))};
  }
  const uint32_t waiting = waiting_.load(std::memory_order_relaxed);
  if (waiting >= limits_.queue_max) {
    return {Refusal::kQueue, Status(Code::kQuotaExceeded,
                                    "the tenant has " + std::to_string(waiting) +
                                        " requests waiting; its queue_max is " + std::to_string(limits_.queue_max),
                                    Blast::kRequest, retry_after_ms(waiting, load.step_ns))};
  }
  return {};
}

Tenant::Verdict Tenant::check_request_rate(uint64_t now_ns) {
  const uint64_t wait = request_rate_.wait_ns(1, now_ns);
  if (wait == 0) return {};
  return {Refusal::kRequestRate, Status(Code::kQuotaExceeded,
                                        "the tenant has had the " + std::to_string(request_rate_.capacity()) +
                                            " requests it may make at once; its requests_per_second is " +
                                            std::to_string(limits_.requests_per_second),
                                        Blast::kRequest, ms_of_ns(wait))};
}

Tenant::Verdict Tenant::check_rates(uint64_t tokens, uint64_t now_ns) {
  if (Verdict verdict = check_request_rate(now_ns); !verdict.status.ok()) return verdict;
  if (const uint64_t wait = token_rate_.wait_ns(tokens, now_ns); wait != 0) {
    return {Refusal::kTokenRate, token_refusal(tokens, wait, token_rate_.level(now_ns))};
  }
  return {};
}

Status Tenant::token_refusal(uint64_t tokens, uint64_t wait_ns, uint64_t left) const {
  const std::string asked = "the request takes up to " + std::to_string(tokens) + " tokens (prompt and max_tokens)";
  if (wait_ns == Bucket::kNever) return over(asked, "tokens_burst", token_rate_.capacity());
  return Status(Code::kQuotaExceeded,
                asked + "; " + std::to_string(left) + " are left of the tenant's tokens_per_minute, which is " +
                    std::to_string(limits_.tokens_per_minute),
                Blast::kRequest, ms_of_ns(wait_ns));
}

Status Tenant::charge(Grant& grant, const Demand& demand, uint64_t now_ns) {
  const uint64_t tokens = tokens_of(demand, grant.output_tokens);
  if (tokens == grant.tokens) return {};
  std::unique_lock lock(mutex_);
  token_rate_.settle(grant.hold, 0, now_ns);
  grant.hold = 0;
  const uint64_t wait = token_rate_.wait_ns(tokens, now_ns);
  if (wait != 0) {
    Status status = token_refusal(tokens, wait, token_rate_.level(now_ns));
    lock.unlock();
    return refuse(Refusal::kTokenRate, std::move(status));
  }
  grant.hold = token_rate_.hold(tokens, now_ns);
  grant.tokens = tokens;
  return {};
}

}  // namespace merritt::tenant
