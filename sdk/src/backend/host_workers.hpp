// SPDX-License-Identifier: Apache-2.0
// The host's threads behind the Executor interface. Nothing the host does wrong may make a step end well with tasks
// left out: worker numbers are our own, as a wrong or doubled one would make two tasks share a plugin's scratch memory;
// an index the host calls twice runs once; what it skips, or leaves undone by throwing, runs on the calling thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "backend/executor.hpp"
#include "backend/turns.hpp"

namespace merritt::backend {

class HostWorkers final : public Executor {
 public:
  HostWorkers(uint32_t workers, HostExecutor host);

  void parallel(uint32_t n, Task task, void* arg) noexcept override;
  bool gang(uint32_t n, Task task, void* arg) noexcept override;

 private:
  struct Call {
    HostWorkers* self;
    Task task;
    void* arg;
    uint32_t n;
    std::atomic<uint64_t>* claimed;  // a bit for each index
    std::atomic<uint32_t> done{0};
    bool claim(uint32_t i) noexcept;
  };
  static void run(void* arg, uint32_t i, uint32_t worker);
  // Hands the call to `host` and returns when every index is done, whatever the host did. False = nothing was called.
  template <class Host>
  static bool complete(Call& call, bool all_or_none, Host host) noexcept;
  bool alone(Call& call) noexcept;  // without the host, for want of memory
  uint32_t take_number(uint32_t wish) noexcept;
  void return_number(uint32_t number) noexcept;

  const HostExecutor host_;
  Turns gangs_;
  std::vector<std::atomic<bool>> taken_;
};

}  // namespace merritt::backend
