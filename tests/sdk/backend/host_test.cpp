// SPDX-License-Identifier: Apache-2.0
// The ledger and the services a plugin gets.
#include "backend/host.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "backend/device.hpp"

namespace merritt::backend {
namespace {

TEST(LedgerTest, ChargesByKindUnderTheBudget) {
  Ledger ledger(1000);
  EXPECT_TRUE(ledger.charge(MemoryKind::kWeights, 600));
  EXPECT_FALSE(ledger.charge(MemoryKind::kKv, 401));
  EXPECT_TRUE(ledger.charge(MemoryKind::kKv, 400));
  EXPECT_EQ(ledger.held(), 1000u);
  EXPECT_EQ(ledger.held(MemoryKind::kKv), 400u);
  EXPECT_EQ(ledger.available(), 0u);
  ledger.release(MemoryKind::kWeights, 600);
  EXPECT_EQ(ledger.held(), 400u);
  EXPECT_EQ(ledger.peak(), 1000u);
  EXPECT_FALSE(ledger.charge(MemoryKind::kKv, UINT64_MAX));
  EXPECT_FALSE(Ledger(0).charge(MemoryKind::kKv, UINT64_MAX)) << "no budget is no licence to overflow";
}

TEST(LedgerTest, ReleasingTooMuchIsCountedAndClamped) {
  Ledger ledger(0);
  ASSERT_TRUE(ledger.charge(MemoryKind::kScratch, 10));
  ledger.release(MemoryKind::kScratch, 11);
  ledger.release(MemoryKind::kKv, 5);
  EXPECT_EQ(ledger.held(), 0u);
  EXPECT_EQ(ledger.errors(), 2u);
}

TEST(LedgerTest, TheHostMayRefuse) {
  struct Host {
    int64_t held = 0;
    static int32_t tell(void* user, int64_t bytes) {
      auto& self = *static_cast<Host*>(user);
      if (bytes > 0 && self.held + bytes > 100) return 12;
      self.held += bytes;
      return 0;
    }
  } host;
  Ledger ledger(0, {&Host::tell, &host});
  EXPECT_TRUE(ledger.charge(MemoryKind::kKv, 90));
  EXPECT_FALSE(ledger.charge(MemoryKind::kKv, 11));
  EXPECT_EQ(ledger.held(), 90u);
  ledger.release(MemoryKind::kKv, 90);
  EXPECT_EQ(host.held, 0);
}

TEST(LedgerTest, ConcurrentChargesNeverPassTheBudget) {
  Ledger ledger(1000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        if (ledger.charge(MemoryKind::kKv, 300)) ledger.release(MemoryKind::kKv, 300);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ledger.held(), 0u);
  EXPECT_LE(ledger.peak(), 1000u);
  EXPECT_EQ(ledger.errors(), 0u);
}

class HostTest : public ::testing::Test {
 protected:
  HostTest() : executor_(std::move(Executor::create(2)).value()) {
    log_ = std::make_unique<observe::Log>(observe::LogLevel::kDebug, observe::LogCallback{&HostTest::record, this});
    host_ = std::make_unique<HostServices>(HostServices::Options{&ledger_, nullptr, executor_.get(), log_.get(), 2});
  }
  static void record(void* user, uint32_t level, const char* text, size_t length) {
    static_cast<HostTest*>(user)->records_.push_back(std::to_string(level) + " " + std::string(text, length));
  }
  void* take(uint32_t kind, uint64_t bytes, uint64_t align = 64) {
    const mrt_host& table = host_->table();
    return table.mem_alloc(table.ctx, kind, bytes, align);
  }
  void give(uint32_t kind, void* p, uint64_t bytes) {
    const mrt_host& table = host_->table();
    table.mem_free(table.ctx, kind, p, bytes);
  }

  Ledger ledger_{uint64_t{64} << 20};
  std::unique_ptr<Executor> executor_;
  std::vector<std::string> records_;
  std::unique_ptr<observe::Log> log_;
  std::unique_ptr<HostServices> host_;
};

TEST_F(HostTest, MemoryIsZeroedAlignedAndCharged) {
  for (const uint32_t kind : {MRT_MEM_WEIGHTS, MRT_MEM_SCRATCH, MRT_MEM_STAGING, MRT_MEM_KV, MRT_MEM_KV_HOT}) {
    for (const uint64_t bytes : {uint64_t{1}, uint64_t{100}, uint64_t{200'000}, uint64_t{3} << 20}) {
      for (const uint64_t align : {0, 64, 4096, 1 << 21}) {
        auto* const p = static_cast<unsigned char*>(take(kind, bytes, align));
        ASSERT_NE(p, nullptr);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % std::max<uint64_t>(align, 64), 0u);
        EXPECT_EQ(ledger_.held(static_cast<MemoryKind>(kind)), bytes);
        EXPECT_EQ(p[0] | p[bytes - 1] | p[bytes / 2], 0);
        std::fill(p, p + bytes, static_cast<unsigned char>(0xAB));
        give(kind, p, bytes);
        EXPECT_EQ(ledger_.held(), 0u);
      }
    }
  }
  EXPECT_EQ(host_->live_blocks(), 0u);
  EXPECT_TRUE(records_.empty());
}

TEST_F(HostTest, RefusesWhatCannotBe) {
  EXPECT_EQ(take(0, 64), nullptr);
  EXPECT_EQ(take(77, 64), nullptr);
  EXPECT_EQ(take(MRT_MEM_KV, 64, 96), nullptr);
  EXPECT_EQ(take(MRT_MEM_KV, 64, uint64_t{1} << 40), nullptr);
  EXPECT_EQ(take(MRT_MEM_WEIGHTS, UINT64_MAX), nullptr);
  EXPECT_EQ(take(MRT_MEM_WEIGHTS, uint64_t{65} << 20), nullptr) << "over budget";
  EXPECT_EQ(ledger_.held(), 0u);
}

TEST_F(HostTest, AWrongFreeIsLoggedAndHarmless) {
  int local = 0;
  give(MRT_MEM_KV, &local, 4);
  void* const p = take(MRT_MEM_KV, 64);
  give(MRT_MEM_SCRATCH, p, 63);
  give(MRT_MEM_KV, p, 64);
  EXPECT_EQ(records_.size(), 3u);
  EXPECT_EQ(ledger_.held(), 0u);
  EXPECT_EQ(ledger_.errors(), 0u);
}

TEST_F(HostTest, WhatAPluginLeavesIsGivenBack) {
  ASSERT_NE(take(MRT_MEM_KV_HOT, 5000), nullptr);
  ASSERT_NE(take(MRT_MEM_WEIGHTS, 500), nullptr);
  const mrt_host& table = host_->table();
  EXPECT_EQ(table.charge(table.ctx, MRT_MEM_KV, 1000), MRT_OK);
  EXPECT_EQ(host_->live_bytes(), 5500u);
  EXPECT_EQ(ledger_.held(), 6500u);
  host_.reset();
  EXPECT_EQ(ledger_.held(), 0u);
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_EQ(records_[0], "2 a backend left 2 blocks with 5500 bytes; they are given back");
}

TEST_F(HostTest, DeviceMemoryIsBookedByCharge) {
  const mrt_host& table = host_->table();
  EXPECT_EQ(table.charge(table.ctx, MRT_MEM_WEIGHTS, 100), MRT_OK);
  EXPECT_EQ(table.charge(table.ctx, MRT_MEM_WEIGHTS, -60), MRT_OK);
  EXPECT_EQ(table.charge(table.ctx, MRT_MEM_WEIGHTS, -60), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(table.charge(table.ctx, 9, 1), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(table.charge(table.ctx, MRT_MEM_WEIGHTS, INT64_MIN), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(table.charge(table.ctx, MRT_MEM_WEIGHTS, INT64_MAX), MRT_OUT_OF_MEMORY);
  EXPECT_EQ(ledger_.held(), 40u);
}

TEST_F(HostTest, TheTableSaysWhatThereIs) {
  const mrt_host& table = host_->table();
  EXPECT_EQ(table.struct_size, sizeof(mrt_host));
  EXPECT_EQ(table.n_workers, 2u);
  EXPECT_EQ(table.isa_max, 2u);
  std::atomic<uint32_t> sum{0};
  const auto add = [](void* arg, uint32_t i, uint32_t) { static_cast<std::atomic<uint32_t>*>(arg)->fetch_add(i); };
  table.parallel(table.ctx, 10, add, &sum);
  EXPECT_EQ(table.gang(table.ctx, 2, add, &sum), MRT_OK);
  EXPECT_EQ(table.gang(table.ctx, 3, add, &sum), MRT_UNSUPPORTED);
  EXPECT_EQ(sum.load(), 46u);
  const std::string text = "loaded\nERROR forged";
  table.log(table.ctx, 99, text.data(), static_cast<uint32_t>(text.size()));
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_EQ(records_[0], "3 loaded ERROR forged");
}

#if !defined(MERRITT_SANITIZED)
// In a child without privileges, where nothing can be locked.
TEST_F(HostTest, HotMemoryThatCannotBeLockedIsSaidOnce) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const rlimit none{};
    const bool plain_user = setuid(65534) == 0;  // or it has no privileges to begin with
    if (geteuid() == 65534 && !plain_user) _exit(3);
    if (setrlimit(RLIMIT_MEMLOCK, &none) != 0) _exit(4);
    if (take(MRT_MEM_KV, 4096) == nullptr || !records_.empty()) _exit(5);
    for (int i = 0; i < 3; ++i) {
      if (take(MRT_MEM_KV_HOT, 4096) == nullptr || !host_->hot_unlocked()) _exit(6);
    }
    if (records_.size() != 1 || records_[0].find("could not be locked") == std::string::npos) _exit(7);
    _exit(0);
  }
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  EXPECT_TRUE(WIFEXITED(state));
  EXPECT_EQ(WEXITSTATUS(state), 0);
}

TEST_F(HostTest, CachePagesAreWipedInAChild) {
  for (const uint32_t kind : {MRT_MEM_KV, MRT_MEM_KV_HOT}) {
    auto* const p = static_cast<volatile unsigned char*>(take(kind, 4096));
    ASSERT_NE(p, nullptr);
    p[7] = 42;
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(p[7] == 0 ? 0 : 1);
    int state = 0;
    ASSERT_EQ(waitpid(child, &state, 0), child);
    EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    EXPECT_EQ(p[7], 42);
  }
}
#endif

// The VmFlags of the mapping that holds an address.
std::string flags_of(const void* p) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool here = false;
  while (std::getline(maps, line)) {
    uintptr_t from = 0, to = 0;
    if (sscanf(line.c_str(), "%zx-%zx ", &from, &to) == 2) {
      here = from <= reinterpret_cast<uintptr_t>(p) && reinterpret_cast<uintptr_t>(p) < to;
    }
    if (here && line.starts_with("VmFlags:")) return line;
  }
  return {};
}

TEST_F(HostTest, CachePagesStayOutOfDumpsAndHotOnesOutOfSwap) {
  void* const cold = take(MRT_MEM_KV, 4096);
  EXPECT_NE(flags_of(cold).find(" dd"), std::string::npos) << flags_of(cold);
  void* const hot = take(MRT_MEM_KV_HOT, 4096);
  EXPECT_NE(flags_of(hot).find(" dd"), std::string::npos) << flags_of(hot);
#if !defined(MERRITT_SANITIZED)  // sanitizers make mlock do nothing
  if (!host_->hot_unlocked()) {
    EXPECT_NE(flags_of(hot).find(" lo"), std::string::npos) << flags_of(hot);
  }
#endif
}

}  // namespace
}  // namespace merritt::backend
