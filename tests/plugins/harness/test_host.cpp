// SPDX-License-Identifier: Apache-2.0
#include "tests/plugins/harness/test_host.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace merritt::testing {
namespace {
// Set while this thread runs a body: a nested parallel runs inline, on the same worker.
thread_local int t_worker = -1;
}  // namespace

TestHost::TestHost(Executor executor) : executor_(executor) {
  table_.struct_size = sizeof table_;
  table_.n_workers = executor == Executor::kOneThread ? 1 : 2;
  table_.ctx = this;
  table_.mem_alloc = &TestHost::mem_alloc;
  table_.mem_free = &TestHost::mem_free;
  table_.charge = &TestHost::charge;
  table_.parallel = &TestHost::parallel;
  table_.gang = executor == Executor::kNoGang || executor == Executor::kSkips || executor == Executor::kThrows
                    ? nullptr
                    : &TestHost::gang;
  table_.log = &TestHost::log;
}

uint64_t TestHost::charged(uint32_t kind) const {
  const std::lock_guard lock(mutex_);
  int64_t sum = 0;
  for (const auto& [k, bytes] : ledger_) sum += kind == 0 || kind == k ? bytes : 0;
  return static_cast<uint64_t>(sum);
}

bool TestHost::add(uint32_t kind, int64_t bytes) {
  ++calls_;
  int64_t total = bytes;
  for (const auto& [k, b] : ledger_) total += b;
  if (bytes > 0 && static_cast<uint64_t>(total) > limit_) return false;
  if (kind < MRT_MEM_WEIGHTS || kind > MRT_MEM_KV_HOT || ledger_[kind] + bytes < 0) ++errors_;
  ledger_[kind] += bytes;
  return true;
}

void* TestHost::mem_alloc(void* ctx, uint32_t kind, uint64_t bytes, uint64_t align) {
  auto* self = static_cast<TestHost*>(ctx);
  const std::lock_guard lock(self->mutex_);
  if (!self->add(kind, static_cast<int64_t>(bytes))) return nullptr;
  align = std::max<uint64_t>(align, 64);
  void* p = std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (p == nullptr) return nullptr;
  std::memset(p, 0, bytes);
  self->blocks_[p] = {kind, bytes};
  return p;
}

void TestHost::mem_free(void* ctx, uint32_t kind, void* p, uint64_t bytes) {
  auto* self = static_cast<TestHost*>(ctx);
  const std::lock_guard lock(self->mutex_);
  const auto it = self->blocks_.find(p);
  if (it == self->blocks_.end() || it->second != std::pair{kind, bytes}) {
    ++self->errors_;
    return;
  }
  const auto* data = static_cast<const unsigned char*>(p);
  const bool dirty = std::any_of(data, data + bytes, [](unsigned char b) { return b != 0; });
  if (dirty && kind <= MRT_MEM_KV_HOT) ++self->dirty_[kind];
  self->blocks_.erase(it);
  self->add(kind, -static_cast<int64_t>(bytes));
  std::free(p);
}

int32_t TestHost::charge(void* ctx, uint32_t kind, int64_t bytes) {
  auto* self = static_cast<TestHost*>(ctx);
  const std::lock_guard lock(self->mutex_);
  return self->add(kind, bytes) ? MRT_OK : MRT_OUT_OF_MEMORY;
}

void TestHost::parallel(void* ctx, uint32_t n, Body fn, void* arg) {
  auto* self = static_cast<TestHost*>(ctx);
  if (t_worker >= 0) {
    for (uint32_t i = 0; i < n; ++i) fn(arg, i, static_cast<uint32_t>(t_worker));
    return;
  }
  const auto run = [&](uint32_t i, uint32_t worker) {
    t_worker = static_cast<int>(worker);
    fn(arg, i, worker);
    t_worker = -1;
  };
  if (self->executor_ == Executor::kIdle) return;
  if (self->executor_ == Executor::kSkips) {
    for (uint32_t i = 0; i < n; i += 2) run(i, 0);
  } else if (self->executor_ == Executor::kThrows) {
    if (n != 0) run(0, 0);
    throw 42;
  } else if (self->executor_ == Executor::kOneThread) {
    for (uint32_t i = 0; i < n; ++i) run(i, 0);
  } else if (self->executor_ == Executor::kLate) {
    for (uint32_t i = n; i-- > 0;) run(i, i % 2);
  } else if (n == 1) {
    run(0, 0);
  } else if (n != 0) {
    std::atomic<uint32_t> next{0};
    const auto work = [&](uint32_t worker) {
      for (uint32_t i = next++; i < n; i = next++) run(i, worker);
    };
    std::thread other(work, 1u);
    work(0u);
    other.join();
  }
}

int32_t TestHost::gang(void* ctx, uint32_t n, Body fn, void* arg) {
  auto* self = static_cast<TestHost*>(ctx);
  if (n > self->table_.n_workers || t_worker >= 0) return MRT_UNSUPPORTED;
  if (self->executor_ == Executor::kIdle) return MRT_OK;
  if (n > 1 && self->executor_ != Executor::kTwoThreads) return MRT_UNSUPPORTED;
  const auto run = [&](uint32_t i) {
    t_worker = static_cast<int>(i);
    fn(arg, i, i);
    t_worker = -1;
  };
  if (n == 2) {
    std::thread other(run, 1u);
    run(0);
    other.join();
  } else if (n == 1) {
    run(0);
  }
  return MRT_OK;
}

}  // namespace merritt::testing
