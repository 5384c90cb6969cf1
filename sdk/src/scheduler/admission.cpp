// SPDX-License-Identifier: Apache-2.0
// From waiting to running: first come first served inside a tenant, the policy between tenants, and only when all pages
// the request may ever need can be promised.
#include <algorithm>
#include <string>

#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {
namespace {

// How many younger requests may start while an older one waits for room. Then nobody else starts before it does:
// small requests cannot starve a large one.
constexpr uint32_t kBypassMax = 16;

}  // namespace

Scheduler::Queue& Scheduler::queue_of(tenant::Tenant* tenant) {
  const auto at = std::lower_bound(queues_.begin(), queues_.end(), tenant->id(),
                                   [](const Queue& queue, TenantId id) { return queue.tenant->id() < id; });
  if (at != queues_.end() && at->tenant == tenant) return *at;
  return *queues_.insert(at, Queue(tenant));
}

void Scheduler::admit() {
  for (Queue& queue : queues_) {
    queue.blocked = false;
    queue.failure = Status();
  }
  while (n_sequences_ < limits_.sequences_max) {
    Queue* queue = next_queue();
    if (queue == nullptr) break;
    State* state = queue->waiting.front();
    bool started = false;
    queue->failure = try_start(*state, &started);
    queue->blocked = !started;
    if (!started) continue;
    plan_.started.push_back(state->s.request);
    running_.push_back(state);
    n_sequences_ += state->s.n;
    state->running = true;
    load_waiting_.store(--n_waiting_, std::memory_order_relaxed);
    queue->waiting.pop_front();
    if (queue->waiting.empty()) queues_.erase(queues_.begin() + (queue - queues_.data()));
  }
  count_bypasses();
}

// Whose head is tried next; null = nobody's.
Scheduler::Queue* Scheduler::next_queue() {
  Queue* starved = nullptr;
  tenants_.clear();
  for (Queue& queue : queues_) {
    const State& head = *queue.waiting.front();
    const bool own_limit = queue.blocked && queue.failure.code() != Code::kOverloaded;
    const bool older = starved == nullptr || head.order < starved->waiting.front()->order;
    if (head.bypassed >= kBypassMax && older && !own_limit) starved = &queue;
    if (!queue.blocked) tenants_.push_back(queue.tenant->id());
  }
  if (starved != nullptr) return starved->blocked ? nullptr : starved;
  if (tenants_.empty()) return nullptr;
  const TenantId id = tenants_[policy_->pick(Turn::kAdmission, tenants_)];
  return &*std::find_if(queues_.begin(), queues_.end(), [id](const Queue& queue) { return queue.tenant->id() == id; });
}

// Not started with an ok status: the tenant's own sequences_max.
Status Scheduler::try_start(State& state, bool* started) {
  if (state.s.n > limits_.sequences_max - n_sequences_) {
    return Status(Code::kOverloaded, "too many sequences run already");
  }
  MERRITT_CHECK(cache_.reserve(state.s.sequence, reservation_of(state.s)));
  *started = state.s.tenant->start(state.s.n);
  if (!*started) cache_.unreserve(state.s.sequence);
  return {};
}

void Scheduler::count_bypasses() {
  for (Queue& queue : queues_) {
    if (queue.failure.code() != Code::kOverloaded) continue;
    State& head = *queue.waiting.front();
    for (const uint64_t request : plan_.started) head.bypassed += find(request)->order > head.order ? 1 : 0;
  }
}

// A request that waits for pages which only idle sessions hold would wait for ever, and one whose reservation fails for
// another reason would fail again.
void Scheduler::refuse_stuck() {
  overdue_.clear();
  for (const Queue& queue : queues_) {
    const Code code = queue.failure.code();
    const bool may_clear = (code == Code::kOverloaded && !running_.empty()) ||
                           (code == Code::kQuotaExceeded && queue.tenant->requests_running() != 0);
    if (queue.blocked && code != Code::kOk && !may_clear) overdue_.push_back(queue.waiting.front());
  }
  for (State* state : overdue_) {
    const Status& why = queue_of(state->s.tenant).failure;
    std::string message(why.message());
    const bool full = why.code() == Code::kOverloaded || why.code() == Code::kQuotaExceeded;
    if (full) message += "; idle sessions hold the rest: end or truncate some";
    const uint32_t retry = full ? tenant::retry_after_ms(n_waiting_, load().step_ns) : 0;
    end(state, EndReason::kRefused, Status(why.code(), std::move(message), Blast::kRequest, retry));
  }
}

}  // namespace merritt::scheduler
