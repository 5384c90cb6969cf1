// SPDX-License-Identifier: Apache-2.0
// The smallest host a plugin can be driven by: a ledger of every byte by kind, and executors from kind to nasty.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>

#include "merritt/backend.h"

namespace merritt::testing {

enum class Executor {
  kOneThread,   // one worker, calls in order
  kLate,        // calls one after another, last first, worker numbers in turn
  kTwoThreads,  // two at a time, with a gang
  kNoGang,      // two at a time, no gang offered
  kSkips,       // against the contract: leaves out every second index, no gang offered
  kIdle,        // against the contract: calls nothing, says its gang ran
  kThrows       // against the contract: throws after the first index
};

class TestHost {
 public:
  explicit TestHost(Executor executor = Executor::kOneThread);
  ~TestHost() = default;
  TestHost(const TestHost&) = delete;
  TestHost& operator=(const TestHost&) = delete;

  const mrt_host* table() const { return &table_; }
  /// Bytes charged now, of one kind or of all.
  uint64_t charged(uint32_t kind = 0) const;
  uint64_t n_calls() const { return calls_; }  // of mem_alloc, mem_free and charge
  void set_limit(uint64_t bytes) { limit_ = bytes; }
  void set_isa(uint32_t isa) { table_.isa_max = isa; }
  /// Blocks of this kind that were given back with something still in them.
  uint64_t n_dirty_frees(uint32_t kind) const { return dirty_[kind]; }
  uint64_t n_errors() const { return errors_; }  // frees of foreign or wrongly sized memory, charges below zero

 private:
  using Body = void (*)(void*, uint32_t, uint32_t);
  static void* mem_alloc(void* ctx, uint32_t kind, uint64_t bytes, uint64_t align);
  static void mem_free(void* ctx, uint32_t kind, void* p, uint64_t bytes);
  static int32_t charge(void* ctx, uint32_t kind, int64_t bytes);
  static void parallel(void* ctx, uint32_t n, Body fn, void* arg);
  static int32_t gang(void* ctx, uint32_t n, Body fn, void* arg);
  static void log(void*, uint32_t, const char*, uint32_t) {}
  bool add(uint32_t kind, int64_t bytes);

  mrt_host table_{};
  Executor executor_;
  mutable std::mutex mutex_;
  std::map<uint32_t, int64_t> ledger_;
  std::map<void*, std::pair<uint32_t, uint64_t>> blocks_;
  std::atomic<uint64_t> calls_{0}, errors_{0}, dirty_[MRT_MEM_KV_HOT + 1] = {};
  uint64_t limit_ = UINT64_MAX;
};

}  // namespace merritt::testing
