// SPDX-License-Identifier: Apache-2.0
// The engine's own workers: the caller and n - 1 threads, made at the first use that needs them.
//
// A worker has a mailbox: idle -> offered (by the caller) -> taken (by the worker) -> idle. The caller takes back what
// is still offered when the tasks are done, so a worker that wakes late delays nobody. One job at a time, by ticket.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "backend/executor.hpp"
#include "backend/turns.hpp"
#include "base/os/fork_marker.hpp"

namespace merritt::backend {

class OwnWorkers final : public Executor {
 public:
  explicit OwnWorkers(uint32_t workers);
  ~OwnWorkers() override;  // joins; in a child of fork() the threads are not there and nothing is joined

  void parallel(uint32_t n, Task task, void* arg) noexcept override;
  bool gang(uint32_t n, Task task, void* arg) noexcept override;

 private:
  enum State : uint32_t { kIdle = 0, kOffered = 1, kTaken = 2, kStop = 3 };
  struct alignas(64) Mailbox {
    std::atomic<uint32_t> state{kIdle};
  };
  struct Job {
    Task task = nullptr;
    void* arg = nullptr;
    uint32_t n = 0;
    bool gang = false;
  };

  bool start_threads(uint32_t wanted) noexcept;
  void offer(uint32_t workers) noexcept;
  void collect(uint32_t workers) noexcept;
  void work(uint32_t worker) noexcept;
  void worker_main(uint32_t worker) noexcept;

  ForkMarker fork_marker_;
  Turns turns_;
  // Down to the blank line: of the caller whose turn it is. Workers read job_ between taken and idle.
  Job job_;
  uint32_t started_ = 0;  // threads
  std::unique_ptr<std::vector<std::thread>> threads_;

  alignas(64) std::atomic<uint32_t> next_{0};
  std::vector<Mailbox> mailboxes_;  // of worker 1 and up
};

}  // namespace merritt::backend
