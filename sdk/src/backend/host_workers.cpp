// SPDX-License-Identifier: Apache-2.0
#include "backend/host_workers.hpp"

#include <algorithm>
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

void HostWorkers::run(void* arg, uint32_t i, uint32_t worker) {
  const Call& call = *static_cast<const Call*>(arg);
  if (i >= call.n) return;
  const uint32_t number = call.self->take_number(worker);
  call.self->run_as(i, call.task, call.arg, number);
  call.self->return_number(number);
}

void HostWorkers::parallel(uint32_t n, Task task, void* arg) noexcept {
  if (n == 0) return;
  if (is_nested()) return run_nested(n, task, arg);
  Call call{this, task, arg, n};
  try {
    host_.parallel(host_.user, n, &HostWorkers::run, &call);
  } catch (...) {
    return;  // a host callback may not throw; what it left undone is undone
  }
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
  Call call{this, task, arg, n};
  try {
    return host_.gang(host_.user, n, &HostWorkers::run, &call) == 0;
  } catch (...) {
    return false;
  }
}

}  // namespace merritt::backend
