// SPDX-License-Identifier: Apache-2.0
// How long the soak waits for what must come: so many short turns, and not so much time by a clock, which goes on while
// the process is stopped.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

namespace merritt::soak {

inline constexpr uint32_t kTurnMs = 50;
inline constexpr uint32_t kTurnsMost = 60'000 / kTurnMs;  // a minute

// False: it has not come.
template <class Come>
bool wait_for(const Come& come) {
  constexpr uint32_t kFewMs = 2;
  for (uint32_t turn = 0; turn < kTurnsMost * kTurnMs / kFewMs; ++turn) {
    if (come()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(kFewMs));
  }
  return come();
}

// So many seconds that the process was not stopped in.
inline void spend(double seconds) {
  for (uint64_t turn = 0; turn < static_cast<uint64_t>(seconds * 1000 / kTurnMs); ++turn) {
    std::this_thread::sleep_for(std::chrono::milliseconds(kTurnMs));
  }
}

}  // namespace merritt::soak
