// SPDX-License-Identifier: Apache-2.0
#include "backend/host.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "base/checked.hpp"
#include "base/os/memory.hpp"

namespace merritt::backend {
namespace {

constexpr uint64_t kAlignMin = 64;
constexpr uint64_t kAlignMax = uint64_t{2} << 20;
constexpr uint64_t kMappedBytesMin = uint64_t{128} << 10;

bool is_kind(uint32_t kind) { return kind >= MRT_MEM_WEIGHTS && kind <= MRT_MEM_KV_HOT; }
bool is_kv(uint32_t kind) { return kind == MRT_MEM_KV || kind == MRT_MEM_KV_HOT; }

uint32_t page_flags(uint32_t kind) {
  uint32_t flags = os::kPagesHuge;
  if (is_kv(kind) || kind == MRT_MEM_STAGING) flags |= os::kPagesNoDump | os::kPagesWipeOnFork;
  if (kind == MRT_MEM_KV_HOT) flags |= os::kPagesLock;
  return flags;
}

}  // namespace

HostServices::HostServices(const Options& options) : options_(options) {
  if (options_.device_ledger == nullptr) options_.device_ledger = options_.ledger;
  table_.struct_size = sizeof(mrt_host);
  table_.n_workers = options_.executor->workers();
  table_.isa_max = options_.isa_max;
  table_.ctx = this;
  table_.mem_alloc = &HostServices::mem_alloc;
  table_.mem_free = &HostServices::mem_free;
  table_.charge = &HostServices::charge;
  table_.parallel = &HostServices::parallel;
  table_.gang = &HostServices::gang;
  table_.log = &HostServices::log;
}

HostServices::~HostServices() {
  if (!blocks_.empty() && options_.log != nullptr) {
    options_.log->warning("a backend left " + std::to_string(blocks_.size()) + " blocks with " +
                          std::to_string(live_bytes_) + " bytes; they are given back");
  }
  for (const auto& [p, block] : blocks_) give_back(p, block);
  for (uint32_t kind = 0; kind < kMemoryKinds; ++kind) {
    options_.device_ledger->release(static_cast<MemoryKind>(kind), device_bytes_[kind]);
  }
}

uint64_t HostServices::live_blocks() const {
  const std::lock_guard lock(mutex_);
  return blocks_.size();
}

uint64_t HostServices::live_bytes() const {
  const std::lock_guard lock(mutex_);
  return live_bytes_;
}

bool HostServices::hot_unlocked() const {
  const std::lock_guard lock(mutex_);
  return hot_unlocked_;
}

void* HostServices::allocate(uint32_t kind, uint64_t bytes, uint64_t align) {
  align = std::max(align, kAlignMin);
  if (!is_kind(kind) || !std::has_single_bit(align) || align > kAlignMax) return nullptr;
  const auto rounded = checked_align<uint64_t>(std::max<uint64_t>(bytes, 1), align);
  if (!rounded || !options_.ledger->charge(static_cast<MemoryKind>(kind), bytes)) return nullptr;
  Block block{kind, bytes, 0};
  void* p = nullptr;
  bool locked = true;
  if (*rounded >= kMappedBytesMin || is_kv(kind)) {
    const os::Pages pages = os::map_pages(*rounded, align, page_flags(kind));
    p = pages.data;
    block.mapped = pages.bytes;
    locked = pages.locked || kind != MRT_MEM_KV_HOT;
  } else {
    p = std::aligned_alloc(align, *rounded);
    if (p != nullptr) std::memset(p, 0, *rounded);
  }
  if (p == nullptr) {
    options_.ledger->release(static_cast<MemoryKind>(kind), bytes);
    return nullptr;
  }
  bool first_unlocked = false;
  try {
    const std::lock_guard lock(mutex_);
    blocks_.emplace(p, block);
    live_bytes_ += bytes;
    first_unlocked = !locked && !hot_unlocked_;
    hot_unlocked_ |= !locked;
  } catch (...) {
    give_back(p, block);
    return nullptr;
  }
  if (first_unlocked && options_.log != nullptr) {
    options_.log->warning(
        "plain cache pages could not be locked in memory and may be swapped out; raise the limit of "
        "lockable memory (ulimit -l)");
  }
  return p;
}

void HostServices::give_back(void* p, const Block& block) {
  // Token ids, activations and cache rows do not outlive their block.
  if (block.kind != MRT_MEM_WEIGHTS) {
    block.mapped != 0 ? os::wipe_pages(p, block.bytes) : os::wipe(p, block.bytes);
  }
  if (block.mapped != 0) {
    os::unmap_pages(p, block.mapped);
  } else {
    std::free(p);
  }
  options_.ledger->release(static_cast<MemoryKind>(block.kind), block.bytes);
}

void* HostServices::mem_alloc(void* ctx, uint32_t kind, uint64_t bytes, uint64_t align) {
  return static_cast<HostServices*>(ctx)->allocate(kind, bytes, align);
}

void HostServices::mem_free(void* ctx, uint32_t kind, void* p, uint64_t bytes) {
  if (p == nullptr) return;
  auto& self = *static_cast<HostServices*>(ctx);
  Block block;
  {
    const std::lock_guard lock(self.mutex_);
    const auto found = self.blocks_.find(p);
    if (found != self.blocks_.end()) {
      block = found->second;
      self.blocks_.erase(found);
      self.live_bytes_ -= block.bytes;
    }
  }
  const bool known = block.kind != 0;
  if (known) self.give_back(p, block);
  if (known && block.kind == kind && block.bytes == bytes) return;
  static constexpr std::string_view kWrong = "a backend freed memory that it does not have, or by a wrong kind or size";
  log(ctx, static_cast<uint32_t>(observe::LogLevel::kWarning), kWrong.data(), static_cast<uint32_t>(kWrong.size()));
}

int32_t HostServices::charge(void* ctx, uint32_t kind, int64_t bytes) {
  auto& self = *static_cast<HostServices*>(ctx);
  if (!is_kind(kind) || bytes == INT64_MIN) return MRT_INVALID_ARGUMENT;
  const auto kind_of = static_cast<MemoryKind>(kind);
  const auto amount = static_cast<uint64_t>(bytes < 0 ? -bytes : bytes);
  // The ledger asks the host, so it is never called under the lock.
  if (bytes >= 0) {
    if (!self.options_.device_ledger->charge(kind_of, amount)) return MRT_OUT_OF_MEMORY;
    const std::lock_guard lock(self.mutex_);
    self.device_bytes_[kind] += amount;
    return MRT_OK;
  }
  {
    const std::lock_guard lock(self.mutex_);
    if (amount > self.device_bytes_[kind]) return MRT_INVALID_ARGUMENT;
    self.device_bytes_[kind] -= amount;
  }
  self.options_.device_ledger->release(kind_of, amount);
  return MRT_OK;
}

void HostServices::parallel(void* ctx, uint32_t n, Task task, void* arg) {
  static_cast<HostServices*>(ctx)->options_.executor->parallel(n, task, arg);
}

int32_t HostServices::gang(void* ctx, uint32_t n, Task task, void* arg) {
  return static_cast<HostServices*>(ctx)->options_.executor->gang(n, task, arg) ? MRT_OK : MRT_UNSUPPORTED;
}

void HostServices::log(void* ctx, uint32_t level, const char* text, uint32_t len) {
  auto& self = *static_cast<HostServices*>(ctx);
  if (self.options_.log == nullptr || text == nullptr) return;
  self.options_.log->write(static_cast<observe::LogLevel>(std::min(level, 3u)), {text, len});
}

}  // namespace merritt::backend
