// SPDX-License-Identifier: Apache-2.0
// Makes a table whose every slot is fenced: what a plugin throws becomes MRT_BACKEND with blast PROGRAM, so no caller
// can forget to catch it. A slot carries no context of its own, so each plugin gets functions of its own, made at
// compile time; that is what bounds the number of plugins of a process.
//
// Threads: fence_table one at a time (within a load); the table's slots any.
#pragma once

#include <optional>

#include "merritt/backend.h"

namespace merritt::backend {

// The fenced table over a complete one; nothing when limits::kPluginsMax tables have been made.
std::optional<mrt_backend> fence_table(const mrt_backend& complete);

}  // namespace merritt::backend
