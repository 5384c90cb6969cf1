// SPDX-License-Identifier: Apache-2.0
#include "backend/own_workers.hpp"

#include <algorithm>

#include "base/os/clock.hpp"
#include "base/os/thread.hpp"

namespace merritt::backend {
namespace {

// How long a worker stays awake after a task, and a caller for the last of its tasks. Waking a sleeper costs as much.
constexpr uint64_t kLingerNs = 30'000;

// True when the word left `value` within the linger.
bool spin_while(const std::atomic<uint32_t>& word, uint32_t value) {
  constexpr int kTurnsBetweenLooks = 32;
  const uint64_t end = os::monotonic_ns() + kLingerNs;
  do {
    for (int i = 0; i < kTurnsBetweenLooks; ++i) {
      if (word.load(std::memory_order_acquire) != value) return true;
      os::spin_pause();
    }
  } while (os::monotonic_ns() < end);
  return false;
}

}  // namespace

OwnWorkers::OwnWorkers(uint32_t workers)
    : Executor(std::max(workers, 1u)),
      threads_(std::make_unique<std::vector<std::thread>>()),
      mailboxes_(std::max(workers, 1u) - 1) {
  threads_->reserve(mailboxes_.size());
}

OwnWorkers::~OwnWorkers() {
  if (fork_marker_.in_child()) {
    // The threads stayed with the parent: joining would wait for ever, and destroying a std::thread that was never
    // joined ends the process. Their few bytes go with the child.
    [[maybe_unused]] auto* const left = threads_.release();
    return;
  }
  for (uint32_t w = 0; w < started_; ++w) {
    mailboxes_[w].state.store(kStop, std::memory_order_release);
    mailboxes_[w].state.notify_all();
  }
  for (std::thread& thread : *threads_) thread.join();
}

bool OwnWorkers::start_threads(uint32_t wanted) noexcept {
  while (started_ < wanted) {
    try {
      const uint32_t worker = started_ + 1;
      Result<std::thread> thread = os::start_thread("merritt-worker", [this, worker] { worker_main(worker); });
      if (!thread.ok()) return false;
      threads_->push_back(std::move(thread).value());
    } catch (...) {
      return false;  // no memory: as if the system gave no thread
    }
    ++started_;
  }
  return true;
}

void OwnWorkers::offer(uint32_t workers) noexcept {
  for (uint32_t w = 0; w < workers; ++w) {
    mailboxes_[w].state.store(kOffered, std::memory_order_release);
    mailboxes_[w].state.notify_all();
  }
}

void OwnWorkers::collect(uint32_t workers) noexcept {
  for (uint32_t w = 0; w < workers; ++w) {
    std::atomic<uint32_t>& state = mailboxes_[w].state;
    if (!job_.gang) {
      uint32_t offered = kOffered;
      if (state.compare_exchange_strong(offered, kIdle, std::memory_order_acq_rel)) continue;
    }
    for (uint32_t now = state.load(std::memory_order_acquire); now != kIdle;
         now = state.load(std::memory_order_acquire)) {
      if (!spin_while(state, now)) state.wait(now, std::memory_order_acquire);
    }
  }
}

void OwnWorkers::work(uint32_t worker) noexcept {
  if (job_.gang) {
    run_as(worker, job_.task, job_.arg, worker);
    return;
  }
  for (uint32_t i = next_.fetch_add(1, std::memory_order_relaxed); i < job_.n;
       i = next_.fetch_add(1, std::memory_order_relaxed)) {
    run_as(i, job_.task, job_.arg, worker);
  }
}

void OwnWorkers::worker_main(uint32_t worker) noexcept {
  std::atomic<uint32_t>& state = mailboxes_[worker - 1].state;
  for (;;) {
    uint32_t now = state.load(std::memory_order_acquire);
    if (now == kStop) return;
    if (now != kOffered) {
      state.wait(now, std::memory_order_acquire);
      continue;
    }
    if (!state.compare_exchange_strong(now, kTaken, std::memory_order_acq_rel)) continue;
    work(worker);
    state.store(kIdle, std::memory_order_release);
    state.notify_all();
    spin_while(state, kIdle);
  }
}

void OwnWorkers::parallel(uint32_t n, Task task, void* arg) noexcept {
  if (n == 0) return;
  if (is_nested()) return run_nested(n, task, arg);
  if (fork_marker_.in_child()) return run_inline(n, task, arg, 0);
  turns_.take();
  start_threads(std::min(n, workers()) - 1);
  const uint32_t helpers = std::min(std::min(n, workers()) - 1, started_);
  if (helpers == 0) {
    run_inline(n, task, arg, 0);
  } else {
    job_ = {task, arg, n, false};
    next_.store(0, std::memory_order_relaxed);
    offer(helpers);
    work(0);
    collect(helpers);
  }
  turns_.end();
}

bool OwnWorkers::gang(uint32_t n, Task task, void* arg) noexcept {
  if (n > workers() || fork_marker_.in_child()) return false;
  if (n == 0) return true;
  if (is_nested()) {
    if (n != 1) return false;
    run_nested(n, task, arg);
    return true;
  }
  turns_.take();
  const bool complete = start_threads(n - 1);
  if (complete) {
    job_ = {task, arg, n, true};
    offer(n - 1);
    work(0);
    collect(n - 1);
  }
  turns_.end();
  return complete;
}

}  // namespace merritt::backend
