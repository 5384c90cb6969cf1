// SPDX-License-Identifier: Apache-2.0
// The services a plugin gets: memory through the ledger, the executor, the log. One object per opened device; it must
// outlive device_close. What a plugin did not give back is given back when the object goes.
//
// Threads: the table's functions may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "backend/executor.hpp"
#include "backend/ledger.hpp"
#include "merritt/backend.h"
#include "observe/log.hpp"

namespace merritt::backend {

class HostServices {
 public:
  struct Options {
    Ledger* ledger = nullptr;         // host memory
    Ledger* device_ledger = nullptr;  // what charge() books; null = the same
    Executor* executor = nullptr;
    observe::Log* log = nullptr;  // null = dropped
    uint32_t isa_max = MRT_ISA_ANY;
  };
  explicit HostServices(const Options& options);
  ~HostServices();
  HostServices(const HostServices&) = delete;
  HostServices& operator=(const HostServices&) = delete;

  const mrt_host& table() const { return table_; }
  // Bytes and blocks the plugin holds now: zero when it has closed everything.
  uint64_t live_blocks() const;
  uint64_t live_bytes() const;
  // True when some hot memory could not be locked (RLIMIT_MEMLOCK); the first time is logged.
  bool hot_unlocked() const;

 private:
  struct Block {
    uint32_t kind = 0;
    uint64_t bytes = 0;   // as asked, and as charged
    uint64_t mapped = 0;  // 0 = from the heap
  };
  static void* mem_alloc(void* ctx, uint32_t kind, uint64_t bytes, uint64_t align);
  static void mem_free(void* ctx, uint32_t kind, void* p, uint64_t bytes);
  static int32_t charge(void* ctx, uint32_t kind, int64_t bytes);
  static void parallel(void* ctx, uint32_t n, Task task, void* arg);
  static int32_t gang(void* ctx, uint32_t n, Task task, void* arg);
  static void log(void* ctx, uint32_t level, const char* text, uint32_t len);

  void* allocate(uint32_t kind, uint64_t bytes, uint64_t align);
  void give_back(void* p, const Block& block);

  Options options_;
  mrt_host table_{};
  mutable std::mutex mutex_;  // guards all below
  std::unordered_map<void*, Block> blocks_;
  uint64_t live_bytes_ = 0;
  bool hot_unlocked_ = false;
  uint64_t device_bytes_[kMemoryKinds] = {};
};

}  // namespace merritt::backend
