// SPDX-License-Identifier: Apache-2.0
#include "support/table.hpp"

#include <cstdio>
#include <cstring>

namespace merritt::plugin {

int32_t answer_hello(const mrt_hello_in* in, mrt_hello_out* out, const void* table, uint32_t table_bytes) noexcept {
  if (in == nullptr || out == nullptr) return MRT_INVALID_ARGUMENT;
  std::memset(out, 0, sizeof *out);
  if (in->abi_min > MRT_BACKEND_ABI || in->abi_max < MRT_BACKEND_ABI) {
    std::snprintf(out->reason, sizeof out->reason, "the plugin speaks backend ABI %u, the host %u to %u",
                  MRT_BACKEND_ABI, in->abi_min, in->abi_max);
    return MRT_UNSUPPORTED;
  }
  out->abi = MRT_BACKEND_ABI;
  out->table_bytes = table_bytes;
  out->table = table;
  return MRT_OK;
}

}  // namespace merritt::plugin
