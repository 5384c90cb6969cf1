// SPDX-License-Identifier: Apache-2.0
// The kernel's permission to use AMX. OS calls of plugins live in this folder only.
#pragma once

namespace merritt::plugin::os {

/// Asks once more; false on kernels and machines without AMX, and where some thread's signal stack is too small for
/// the state. A permission holds for the whole process and cannot be given back.
bool request_amx() noexcept;

}  // namespace merritt::plugin::os
