// SPDX-License-Identifier: Apache-2.0
// The second half of a load: maps a verified plugin's sealed bytes, runs its constructors, makes the handshake and
// books the build for ever. It knows nothing of the file the bytes were copied from. Threads: any.
#pragma once

#include "backend/plugin.hpp"
#include "backend/verify.hpp"
#include "base/status.hpp"

namespace merritt::backend {

// The plugin of this digest: the one this process has, or a new one of these bytes.
Result<const Plugin*> find_or_map_verified(VerifiedPlugin verified);

}  // namespace merritt::backend
