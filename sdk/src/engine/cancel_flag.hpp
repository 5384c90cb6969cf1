// SPDX-License-Identifier: Apache-2.0
// The flag that asks a backend to stop (mrt_step.cancel, and cancel of model_compile). The ABI has it as a plain number
// behind a pointer, so both sides touch it with atomic built-ins.
#pragma once

#include <cstdint>

namespace merritt::engine {

inline bool cancel_requested(const volatile uint32_t* flag) {
  return flag != nullptr && __atomic_load_n(flag, __ATOMIC_ACQUIRE) != 0;
}

class CancelFlag {
 public:
  CancelFlag() = default;
  CancelFlag(const CancelFlag&) = delete;
  CancelFlag& operator=(const CancelFlag&) = delete;

  void set() { __atomic_store_n(&value_, 1u, __ATOMIC_SEQ_CST); }
  void clear() { __atomic_store_n(&value_, 0u, __ATOMIC_SEQ_CST); }
  bool is_set() const { return __atomic_load_n(&value_, __ATOMIC_SEQ_CST) != 0; }
  const volatile uint32_t* address() const { return &value_; }

 private:
  uint32_t value_ = 0;
};

}  // namespace merritt::engine
