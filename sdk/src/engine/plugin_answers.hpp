// SPDX-License-Identifier: Apache-2.0
// What a backend answered with MRT_OK, checked before anything relies on it: a plugin that lies is a failed call with a
// text that says how, never a write past an array. Threads: any; no state.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "merritt/backend.h"
#include "model/graph/graph.hpp"

namespace merritt::engine {

// The windows of the KV groups in their order: attention nodes that cache, by first use (merritt/backend.h).
std::vector<uint32_t> cache_windows(const model::graph::Graph& graph);

// `plugin` names who answered, in every text below.
Status check_kv_spec(const mrt_kv_spec& spec, const mrt_kv_policy& policy, std::span<const uint32_t> windows,
                     const std::string& plugin);
Status check_staging(const mrt_staging& staging, const mrt_program_policy& policy, uint32_t n_groups,
                     uint32_t vocabulary, const std::string& plugin);

// The handle a call made. A call that failed made nothing, whatever it left behind; one that says it worked must have.
template <class T>
Status take_made(Status outcome, T* made, T** out, const char* what, const std::string& plugin) {
  *out = nullptr;
  MERRITT_CHECK(std::move(outcome));
  if (made == nullptr) return Status(Code::kBackend, plugin + ": made a " + what + " without giving it");
  *out = made;
  return {};
}

}  // namespace merritt::engine
