// SPDX-License-Identifier: Apache-2.0
#include "backend/host_workers.hpp"

#include <algorithm>
#include <memory>
#include <new>
#include <thread>

namespace merritt::backend {

HostWorkers::HostWorkers(uint32_t workers, HostExecutor host)
    : Executor(std::max(workers, 1u)), host_(host), taken_(std::max(workers, 1u)) {}

// The host's own number when it is free, as it nearly always is; else the next free one. More running calls than
// workers wait here for one to end.
uint32_t HostWorkers::take_number(uint32_t wish) noexcept {
  const uint32_t count = workers();
  for (uint32_t number = wish % count;; number = (number + 1) % count) {
    if (!taken_[number].exchange(true, std::memory_order_acquire)) return number;
    if ((number + 1) % count == wish % count) std::this_thread::yield();
  }
}

void HostWorkers::return_number(uint32_t number) noexcept { taken_[number].store(false, std::memory_order_release); }

bool HostWorkers::Call::claim(uint32_t i) noexcept {
  const uint64_t bit = uint64_t{1} << (i % 64);
  return (claimed[i / 64].fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
}

void HostWorkers::run(void* arg, uint32_t i, uint32_t worker) {
  Call& call = *static_cast<Call*>(arg);
  if (i >= call.n || !call.claim(i)) return;
  const uint32_t number = call.self->take_number(worker);
  call.self->run_as(i, call.task, call.arg, number);
  call.self->return_number(number);
  call.done.fetch_add(1, std::memory_order_release);
}

bool HostWorkers::alone(Call& call) noexcept {
  const uint32_t number = take_number(0);
  run_inline(call.n, call.task, call.arg, number);
  return_number(number);
  return true;
}

template <class Host>
bool HostWorkers::complete(Call& call, bool all_or_none, Host host) noexcept {
  constexpr uint32_t kWords = 16;  // calls of more than 1,024 indices are rare
  std::atomic<uint64_t> few[kWords] = {};
  std::unique_ptr<std::atomic<uint64_t>[]> many;
  call.claimed = few;
  const uint32_t words = (call.n + 63) / 64;
  if (words > kWords) {
    many.reset(new (std::nothrow) std::atomic<uint64_t>[words]());
    if (many == nullptr) return call.self->alone(call);
    call.claimed = many.get();
  }
  bool kept = false;
  try {
    kept = host(&HostWorkers::run, &call);
  } catch (...) {
    kept = false;  // a host callback may not throw; what it left undone is done below
  }
  if (!kept && all_or_none && call.done.load(std::memory_order_acquire) == 0) {
    bool none = true;
    for (uint32_t i = 0; i < call.n; ++i) none &= (call.claimed[i / 64].load() >> (i % 64) & 1) == 0;
    if (none) return false;
  }
  if (call.done.load(std::memory_order_acquire) == call.n) return true;
  for (uint32_t i = 0; i < call.n; ++i) run(&call, i, 0);
  // A host that came back early still has some of them running.
  while (call.done.load(std::memory_order_acquire) != call.n) std::this_thread::yield();
  return true;
}

void HostWorkers::parallel(uint32_t n, Task task, void* arg) noexcept {
  if (n == 0) return;
  if (is_nested()) return run_nested(n, task, arg);
  Call call{this, task, arg, n, nullptr};
  complete(call, false, [&](Task task_of_call, void* arg_of_call) {
    host_.parallel(host_.user, n, task_of_call, arg_of_call);
    return true;
  });
}

bool HostWorkers::gang(uint32_t n, Task task, void* arg) noexcept {
  if (n > workers()) return false;
  if (n == 0) return true;
  if (is_nested()) {
    if (n != 1) return false;
    run_nested(n, task, arg);
    return true;
  }
  if (host_.gang == nullptr) return false;
  Call call{this, task, arg, n, nullptr};
  // Two gangs at a time could each hold numbers that the other waits for.
  gangs_.take();
  const bool called = complete(call, true, [&](Task task_of_call, void* arg_of_call) {
    return host_.gang(host_.user, n, task_of_call, arg_of_call) == 0;
  });
  gangs_.end();
  return called;
}

}  // namespace merritt::backend
