// SPDX-License-Identifier: Apache-2.0
#include "support/trace.hpp"

namespace merritt::plugin {

int32_t give_kernel_name(char* name, uint32_t name_bytes, const char* text, mrt_error* err) noexcept {
  if (name == nullptr || std::strlen(text) >= name_bytes) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "the name field of %u bytes does not hold \"%s\"", name_bytes, text);
  }
  copy_text(name, name_bytes, text);
  return MRT_OK;
}

}  // namespace merritt::plugin
