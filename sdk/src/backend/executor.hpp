// SPDX-License-Identifier: Apache-2.0
// Who runs a plugin's tasks: the engine's own workers, or the host's through two C functions.
//
// Contract (merritt/backend.h): parallel calls task(arg, i, worker) for every i < n and returns after the last; calls
// may run one after another; a nested call runs inline. gang runs all n at the same time, so tasks may meet at short
// barriers, or calls nothing and answers false. worker < workers() is unique among the calls of one executor that run
// now. Workers sleep between steps: they spin for at most tens of microseconds after a task. What a task throws is
// dropped, so that it cannot end the process.
//
// Threads: any; concurrent callers of the engine's workers take turns, in the order they came, one parallel or gang at
// a time. On the host's threads gangs take turns; parallel calls run beside them and each other as the host likes.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "base/status.hpp"

namespace merritt::backend {

using Task = void (*)(void* arg, uint32_t i, uint32_t worker);

// The host's threads, as in merritt/engine.h. parallel null = the engine's own.
struct HostExecutor {
  void (*parallel)(void* user, uint32_t n, Task task, void* arg) = nullptr;
  int32_t (*gang)(void* user, uint32_t n, Task task, void* arg) = nullptr;
  void* user = nullptr;
};

class Executor {
 public:
  virtual ~Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // workers includes the calling thread; 0 = os::default_thread_count(). Threads are made at the first use that needs
  // them.
  static Result<std::unique_ptr<Executor>> create(uint32_t workers, HostExecutor host = {});

  uint32_t workers() const { return workers_; }
  virtual void parallel(uint32_t n, Task task, void* arg) noexcept = 0;
  // False = cannot be promised now (n > workers(), nested, no thread to be had, no gang on this host); nothing was
  // called.
  virtual bool gang(uint32_t n, Task task, void* arg) noexcept = 0;

  // parallel over a callable f(i, worker).
  template <class F>
  void parallel_for(uint32_t n, F&& f) noexcept {
    using Callable = std::remove_reference_t<F>;
    parallel(
        n, [](void* arg, uint32_t i, uint32_t worker) { (*static_cast<Callable*>(arg))(i, worker); },
        const_cast<std::remove_const_t<Callable>*>(&f));
  }

 protected:
  explicit Executor(uint32_t workers) : workers_(workers) {}
  // True inside a task of this executor.
  bool is_nested() const;
  // Run tasks on this thread, which is then known as `worker` (nested: stays who it is).
  void run_inline(uint32_t n, Task task, void* arg, uint32_t worker) const noexcept;
  void run_nested(uint32_t n, Task task, void* arg) const noexcept;
  void run_as(uint32_t i, Task task, void* arg, uint32_t worker) const noexcept;

 private:
  static void run_one(Task task, void* arg, uint32_t i, uint32_t worker) noexcept;

  const uint32_t workers_;
};

}  // namespace merritt::backend
