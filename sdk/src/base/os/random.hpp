// SPDX-License-Identifier: Apache-2.0
// Randomness of the operating system, fit for keys. Threads: any.
#pragma once

#include <cstddef>
#include <span>

#include "base/status.hpp"

namespace merritt::os {

Status random_bytes(std::span<std::byte> out);

}  // namespace merritt::os
