// SPDX-License-Identifier: Apache-2.0
#include "support/host.hpp"

#include <cstring>

namespace merritt::plugin {

int32_t Host::attach(const mrt_host* host, mrt_error* err) noexcept {
  mrt_host copy{};
  MERRITT_PLUGIN_TRY(take_struct(host, &copy, "mrt_host", err));
  const char* missing = copy.mem_alloc == nullptr  ? "mem_alloc"
                        : copy.mem_free == nullptr ? "mem_free"
                        : copy.charge == nullptr   ? "charge"
                        : copy.parallel == nullptr ? "parallel"
                                                   : nullptr;
  if (missing != nullptr) return fail_call(err, MRT_INVALID_ARGUMENT, "mrt_host.%s is null", missing);
  if (copy.n_workers == 0 || copy.n_workers > 65536) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "mrt_host.n_workers %u is not in [1, 65536]", copy.n_workers);
  }
  if (copy.reserved != 0) return fail_call(err, MRT_UNSUPPORTED, "mrt_host.reserved is not zero");
  host_ = copy;
  return MRT_OK;
}

void* Host::take(uint32_t kind, uint64_t bytes, uint64_t align) noexcept {
  return host_.mem_alloc(host_.ctx, kind, bytes, align);
}

void Host::give(uint32_t kind, void* p, uint64_t bytes) noexcept { host_.mem_free(host_.ctx, kind, p, bytes); }

void Host::log(uint32_t level, const char* text) const noexcept {
  if (host_.log != nullptr) host_.log(host_.ctx, level, text, static_cast<uint32_t>(std::strlen(text)));
}

int32_t Buffer::take(Memory* memory, uint32_t kind, uint64_t bytes, const char* what, mrt_error* err,
                     uint64_t align) noexcept {
  reset();
  if (bytes == 0) return MRT_OK;
  void* p = memory->take(kind, bytes, align);
  if (p == nullptr) return fail_memory(err, what, bytes);
  memory_ = memory;
  data_ = static_cast<uint8_t*>(p);
  size_ = bytes;
  kind_ = kind;
  return MRT_OK;
}

void Buffer::reset() noexcept {
  if (data_ != nullptr) memory_->give(kind_, data_, size_);
  memory_ = nullptr;
  data_ = nullptr;
  size_ = 0;
}

void wipe(void* p, uint64_t bytes) noexcept {
  std::memset(p, 0, bytes);
  __asm__ __volatile__("" : : "r"(p) : "memory");
}

}  // namespace merritt::plugin
