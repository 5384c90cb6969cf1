// SPDX-License-Identifier: Apache-2.0
// A clock that stands still until a test moves it, and what its nanoseconds make.
#pragma once
#include <atomic>
#include <cstdint>

namespace merritt::tenant {

inline constexpr uint64_t kSecond = 1'000'000'000, kMinute = 60 * kSecond;

inline std::atomic<uint64_t> fake_now{0};
inline uint64_t fake_clock() { return fake_now.load(); }

}  // namespace merritt::tenant
