// SPDX-License-Identifier: Apache-2.0
// The host's threads behind the Executor interface. Worker numbers are our own: a host that hands out a wrong or
// doubled one must not make two tasks share a plugin's scratch memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "backend/executor.hpp"

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
  };
  static void run(void* arg, uint32_t i, uint32_t worker);
  uint32_t take_number(uint32_t wish) noexcept;
  void return_number(uint32_t number) noexcept;

  const HostExecutor host_;
  std::vector<std::atomic<bool>> taken_;
};

}  // namespace merritt::backend
