// SPDX-License-Identifier: Apache-2.0
#include "backend/executor.hpp"

#include <algorithm>
#include <string>

#include "backend/host_workers.hpp"
#include "backend/own_workers.hpp"
#include "base/limits.hpp"
#include "base/os/cpu.hpp"

namespace merritt::backend {
namespace {

// Whose task this thread is running. Plain data: no constructor, no destructor.
thread_local const Executor* t_executor = nullptr;
thread_local uint32_t t_worker = 0;

}  // namespace

Result<std::unique_ptr<Executor>> Executor::create(uint32_t workers, HostExecutor host) {
  if (workers > limits::kThreadsMax) {
    return Status(Code::kInvalidArgument,
                  "threads is " + std::to_string(workers) + "; the limit is " + std::to_string(limits::kThreadsMax));
  }
  if (host.parallel == nullptr) {
    const uint32_t count = workers == 0 ? std::min(os::default_thread_count(), limits::kThreadsMax) : workers;
    return std::unique_ptr<Executor>(std::make_unique<OwnWorkers>(count));
  }
  if (workers == 0) return Status(Code::kInvalidArgument, "a host executor needs threads: the number of its workers");
  return std::unique_ptr<Executor>(std::make_unique<HostWorkers>(workers, host));
}

bool Executor::is_nested() const { return t_executor == this; }

void Executor::run_inline(uint32_t n, Task task, void* arg, uint32_t worker) const noexcept {
  const Executor* const outer = t_executor;
  const uint32_t outer_worker = t_worker;
  t_executor = this;
  t_worker = worker;
  for (uint32_t i = 0; i < n; ++i) run_one(task, arg, i, worker);
  t_executor = outer;
  t_worker = outer_worker;
}

void Executor::run_nested(uint32_t n, Task task, void* arg) const noexcept { run_inline(n, task, arg, t_worker); }

void Executor::run_as(uint32_t i, Task task, void* arg, uint32_t worker) const noexcept {
  const Executor* const outer = t_executor;
  const uint32_t outer_worker = t_worker;
  t_executor = this;
  t_worker = worker;
  run_one(task, arg, i, worker);
  t_executor = outer;
  t_worker = outer_worker;
}

void Executor::run_one(Task task, void* arg, uint32_t i, uint32_t worker) noexcept {
  try {
    task(arg, i, worker);
  } catch (...) {
    // A plugin's tasks carry their own fence, which reports; one without must not end the process.
    return;
  }
}

}  // namespace merritt::backend
