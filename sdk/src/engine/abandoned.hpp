// SPDX-License-Identifier: Apache-2.0
// What a device that never answered may still use. Nobody can take memory away from such a device, so what it was given
// is kept until the process ends. Threads: any.
#pragma once

#include <memory>

namespace merritt::engine {

// Without memory for the note the object is leaked without one, which comes to the same.
void keep_for_ever(std::shared_ptr<void> object) noexcept;

}  // namespace merritt::engine
