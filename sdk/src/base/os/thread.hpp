// SPDX-License-Identifier: Apache-2.0
// Threads of the core: named, and with every signal blocked, so that a handler of the host never runs on them.
#pragma once

#include <functional>
#include <thread>

#include "base/status.hpp"

namespace merritt::os {

// overloaded when the system gives no thread.
Result<std::thread> start_thread(const char* name, std::function<void()> body);

// One turn of a busy wait.
inline void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace merritt::os
