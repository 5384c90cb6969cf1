// SPDX-License-Identifier: Apache-2.0
// The exception in hand as a Status, for the places that must not let one out. Threads: any.
#pragma once

#include "base/status.hpp"

namespace merritt::engine {

// Only inside a catch block. Without memory even for the text the answer is ok(): callers say the kind of failure in
// another way beside it (a finish reason, a code).
Status status_of_exception() noexcept;

}  // namespace merritt::engine
