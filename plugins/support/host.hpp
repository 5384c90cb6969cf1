// SPDX-License-Identifier: Apache-2.0
// The host's services, seen from C++: a copy of mrt_host, buffers that give themselves back, and parallel loops whose
// body may throw. A Host lives in the device object and outlives everything made from it.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "merritt/backend.h"
#include "support/error.hpp"

namespace merritt::plugin {

/// Whether the host asks to stop; null = it never does. The flag is set by other threads while a step runs.
inline bool cancel_requested(const volatile uint32_t* cancel) noexcept {
  return cancel != nullptr && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0;
}

/// Where a plugin's bytes come from. The default takes them from the host; a device with a memory of its own charges
/// the host and takes them there. take() gives zeroed bytes or null.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual void* take(uint32_t kind, uint64_t bytes, uint64_t align) noexcept = 0;
  virtual void give(uint32_t kind, void* p, uint64_t bytes) noexcept = 0;
};

class Host final : public Memory {
 public:
  /// Copies the table; refuses one without a required service.
  int32_t attach(const mrt_host* host, mrt_error* err) noexcept;

  const mrt_host& raw() const noexcept { return host_; }
  uint32_t n_workers() const noexcept { return host_.n_workers; }
  uint32_t isa_max() const noexcept { return host_.isa_max; }
  void* take(uint32_t kind, uint64_t bytes, uint64_t align) noexcept override;
  void give(uint32_t kind, void* p, uint64_t bytes) noexcept override;
  int32_t charge(uint32_t kind, int64_t bytes) const noexcept { return host_.charge(host_.ctx, kind, bytes); }
  void log(uint32_t level, const char* text) const noexcept;

  /// body(i, worker) for i in [0, n). MRT_OK; the code of a body that threw; MRT_BACKEND when the host left bodies out,
  /// and then what they compute is stale.
  template <class F>
  [[nodiscard]] int32_t parallel(uint32_t n, F&& body) const noexcept {
    Loop<std::remove_reference_t<F>> loop{&body};
    try {
      host_.parallel(host_.ctx, n, &Loop<std::remove_reference_t<F>>::call, &loop);
    } catch (...) {
      return MRT_BACKEND;
    }
    const int32_t code = loop.code.load(std::memory_order_relaxed);
    return code == MRT_OK && loop.ran.load(std::memory_order_acquire) < n ? MRT_BACKEND : code;
  }
  /// All n <= n_workers() bodies at the same time, barriers allowed (a body inside a gang must not throw).
  /// MRT_UNSUPPORTED: nothing was called, use parallel.
  template <class F>
  int32_t gang(uint32_t n, F&& body) const noexcept {
    if (host_.gang == nullptr) return MRT_UNSUPPORTED;
    Loop<std::remove_reference_t<F>> loop{&body};
    int32_t code = MRT_BACKEND;
    try {
      code = host_.gang(host_.ctx, n, &Loop<std::remove_reference_t<F>>::call, &loop);
    } catch (...) {
      return MRT_BACKEND;
    }
    return code != MRT_OK ? code : loop.code.load(std::memory_order_relaxed);
  }
  bool has_gang() const noexcept { return host_.gang != nullptr; }

 private:
  template <class F>
  struct Loop {
    F* body;
    std::atomic<int32_t> code{MRT_OK};
    std::atomic<uint32_t> ran{0};
    static void call(void* arg, uint32_t i, uint32_t worker) noexcept {
      auto* self = static_cast<Loop*>(arg);
      try {
        (*self->body)(i, worker);
      } catch (const std::bad_alloc&) {
        self->code.store(MRT_OUT_OF_MEMORY, std::memory_order_relaxed);
      } catch (...) {
        self->code.store(MRT_INTERNAL, std::memory_order_relaxed);
      }
      self->ran.fetch_add(1, std::memory_order_release);
    }
  };
  mrt_host host_{};
};

/// Bytes of a Memory, given back at the end of life. Not copyable; a default one is empty.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer moved(std::move(other));
    swap(moved);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { reset(); }

  /// Takes zeroed bytes; 0 bytes is an empty buffer. `what` names them in the error.
  int32_t take(Memory* memory, uint32_t kind, uint64_t bytes, const char* what, mrt_error* err,
               uint64_t align = 64) noexcept;
  void reset() noexcept;
  uint8_t* data() const noexcept { return data_; }
  uint64_t size() const noexcept { return size_; }
  template <class T>
  T* as(uint64_t byte_offset = 0) const noexcept {
    return reinterpret_cast<T*>(data_ + byte_offset);
  }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(kind_, other.kind_);
  }
  Memory* memory_ = nullptr;
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
  uint32_t kind_ = 0;
};

/// Writes zeros that the compiler may not drop.
void wipe(void* p, uint64_t bytes) noexcept;

}  // namespace merritt::plugin
