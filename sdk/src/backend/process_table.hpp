// SPDX-License-Identifier: Apache-2.0
// Every plugin build this process has mapped, for ever: the one global of this layer. Constant-initialised and without
// a destructor, so neither start-up nor exit order matters. A build whose code ran and then failed its handshake stays
// here with its failure and is not mapped again.
//
// Threads: any. Loads are made one at a time.
#pragma once

#include <functional>

#include "backend/manifest.hpp"
#include "backend/plugin.hpp"

namespace boost::dll {
class shared_library;
}

namespace merritt::backend {

struct Build {
  Digest digest{};
  boost::dll::shared_library* library = nullptr;  // never destroyed: that would unload it
  const Plugin* plugin = nullptr;                 // null = failed
  Status failure;
};

// The build with this digest, made by `map` when there is none yet. `map` answers a new Build, or a failure when it
// left nothing mapped.
Result<const Plugin*> find_or_map(const Digest& digest, const std::function<Result<Build*>()>& map);
// True when a build holds this native handle already. Only within `map`.
bool is_mapped(const void* native_handle);
// Builds in the table, for tests.
uint32_t mapped_builds();

}  // namespace merritt::backend
