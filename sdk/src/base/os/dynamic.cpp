// SPDX-License-Identifier: Apache-2.0
#include "base/os/dynamic.hpp"

#include <dlfcn.h>
#include <link.h>

namespace merritt::os {

std::string dynamic_linker_error() {
  const char* const text = dlerror();  // NOLINT(concurrency-mt-unsafe): glibc keeps one text per thread
  return text == nullptr ? std::string() : std::string(text);
}

uintptr_t load_address_of(uintptr_t address) {
  Dl_info info{};
  link_map* map = nullptr;
  if (dladdr1(reinterpret_cast<void*>(address), &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0) return 0;
  return map == nullptr ? 0 : map->l_addr;
}

}  // namespace merritt::os
