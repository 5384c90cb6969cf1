// SPDX-License-Identifier: Apache-2.0
// Completion queues, an engine without threads, and the end of work.
//
// Without threads of its own the engine's steps are run by whoever polls, or waits for what a step has to bring. It is
// the step thread for the length of one turn: it holds inline_mutex_, as every command of another thread does, so that
// what the step thread owns is still touched by one thread at a time.
#include <algorithm>
#include <chrono>

#include "base/limits.hpp"
#include "engine/engine.hpp"

namespace merritt::engine {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;

}  // namespace

// ---- Queues

Result<std::shared_ptr<CompletionQueue>> Engine::create_queue(CompletionQueue::Callback callback) {
  const bool delivers = callback != nullptr && !no_threads_;
  auto queue = std::make_shared<CompletionQueue>(std::move(callback));
  {
    const std::lock_guard lock(queues_mutex_);
    if (stop_.is_set()) return Status(Code::kCancelled, "the engine is shutting down");
    std::erase_if(queues_, [](const auto& weak) { return weak.expired(); });
    if (queues_.size() >= limits::kQueuesMax) {
      return Status(Code::kOverloaded, "this engine has " + std::to_string(queues_.size()) +
                                           " queues, as many as it may: destroy one first");
    }
    queues_.push_back(queue);
  }
  if (delivers) MERRITT_CHECK(queue->start_delivery());
  return queue;
}

Status Engine::close_queue(const std::shared_ptr<CompletionQueue>& queue) {
  if (queue->delivering_here()) {
    return Status(Code::kFailedPrecondition, "called from a callback of this queue, for whose end it would wait");
  }
  queue->close();
  return {};
}

std::vector<std::shared_ptr<CompletionQueue>> Engine::queues() const {
  std::vector<std::shared_ptr<CompletionQueue>> alive;
  const std::lock_guard lock(queues_mutex_);
  alive.reserve(queues_.size());
  for (const auto& weak : queues_) {
    if (auto queue = weak.lock(); queue != nullptr) alive.push_back(std::move(queue));
  }
  return alive;
}

// A queue whose last holder this becomes has been closed, so that letting go of it waits for nobody.
void Engine::wake_queues() noexcept {
  const std::lock_guard lock(queues_mutex_);
  for (const auto& weak : queues_) {
    if (const auto queue = weak.lock(); queue != nullptr) queue->wake();
  }
}

// Outside every lock of the engine: the host may call back.
void Engine::deliver_completions() {
  for (const auto& queue : queues()) {
    if (queue->has_callback()) queue->deliver();
  }
}

Status Engine::next_completions(CompletionQueue& queue, uint32_t timeout_ms, size_t most,
                                std::vector<Completion>* out) {
  MERRITT_CHECK(drive(timeout_ms, [&](uint32_t wait_ms) {
    queue.next(wait_ms, most, out);
    return !out->empty() || queue.closed();
  }));
  if (out->empty() && queue.closed()) return Status(Code::kCancelled, "the queue is being destroyed");
  return {};
}

// ---- Without threads

void Engine::run_inbox() noexcept {
  std::vector<Command> commands;
  {
    const std::lock_guard lock(mutex_);
    commands.swap(inbox_);
  }
  run_posted(commands);
}

// One turn: commands, then a step of every model. True when a step was run.
Result<bool> Engine::poll_once() {
  if (polling_.load() == std::this_thread::get_id()) {
    return Status(Code::kFailedPrecondition, "called from a callback of this engine, where it would wait for itself");
  }
  std::thread::id nobody{};
  if (!polling_.compare_exchange_strong(nobody, std::this_thread::get_id())) {
    return Status(Code::kFailedPrecondition, "another thread runs the steps of this engine now");
  }
  bool worked = false;
  {
    const std::lock_guard turn(inline_mutex_);
    step_thread_id_ = std::this_thread::get_id();
    run_inbox();
    worked = !stop_.is_set() && step_all();
    step_thread_id_ = std::thread::id();
  }
  wake_queues();
  try {
    write_journal_if_due();
    deliver_completions();
  } catch (...) {
    polling_ = std::thread::id();
    throw;
  }
  polling_ = std::thread::id();
  return worked;
}

Result<bool> Engine::poll(uint64_t budget_ns) {
  if (!no_threads_) {
    return Status(Code::kFailedPrecondition, "this engine has its own threads; poll is for MERRITT_ENGINE_NO_THREADS");
  }
  MERRITT_CHECK(check_may_wait());
  const uint64_t began = now_ns();
  for (;;) {
    MERRITT_TRY(const bool worked, poll_once());
    if (!worked) return false;
    if (now_ns() - began >= budget_ns) return true;
  }
}

// Has `look` look for what the caller waits for until it is found or the time is over. look waits for wait_ms itself.
Status Engine::drive(uint32_t timeout_ms, const std::function<bool(uint32_t wait_ms)>& look) {
  if (!no_threads_ || timeout_ms == 0) {
    look(timeout_ms);
    return {};
  }
  if (look(0)) return {};
  const uint64_t until = timeout_ms == Stream::kForever ? UINT64_MAX : now_ns() + timeout_ms * kNsPerMs;
  do {
    const Result<bool> worked = poll_once();
    if (!worked.ok() && polling_.load() == std::this_thread::get_id()) return worked.status();
    // With nothing to do, what is waited for must come of another thread.
    if (look(worked.ok() && *worked ? 0 : 1)) return {};
  } while (now_ns() < until);
  return {};
}

// ---- The end of work

Status Engine::check_not_draining() const {
  if (!draining_) return {};
  return Status(Code::kFailedPrecondition, "the engine is draining: it ends what it has and takes nothing new");
}

Status Engine::drain(uint64_t timeout_ns) {
  MERRITT_CHECK(check_may_end());
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  const uint64_t began = now_ns();
  for (;;) {
    // After everything that was posted before: what is idle then stays so.
    bool idle = false;
    MERRITT_CHECK(call([&]() -> Status {
      idle = !has_work();
      return {};
    }));
    if (idle) return {};
    const uint64_t spent = now_ns() - began;
    if (spent >= timeout_ns) break;
    if (no_threads_) {
      const Result<bool> worked = poll(timeout_ns - spent);
      if (!worked.ok()) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // another thread runs the steps
      continue;
    }
    std::unique_lock lock(mutex_);
    quiet_.wait_for(lock, std::chrono::nanoseconds(timeout_ns - spent),
                    [this] { return stopping_ || requests_running_ + requests_waiting_ == 0; });
    if (stopping_) return Status(Code::kCancelled, "the engine is shutting down");
  }
  uint64_t cancelled = 0;
  MERRITT_CHECK(call([&]() -> Status {
    for (const auto& model : models_) cancelled += model->requests.size();
    end_all_requests();
    return {};
  }));
  if (cancelled == 0) return {};
  return Status(Code::kDeadlineExceeded, std::to_string(cancelled) + " requests had not ended after " +
                                             std::to_string(timeout_ns / kNsPerMs) + " ms and were cancelled");
}

}  // namespace merritt::engine
