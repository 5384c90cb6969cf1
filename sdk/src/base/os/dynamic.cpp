// SPDX-License-Identifier: Apache-2.0
#include "base/os/dynamic.hpp"

#include <dlfcn.h>
#include <link.h>

namespace merritt::os {

MapResult map_for_ever(const std::string& path) noexcept {
  // Through a pointer that the compiler must not see through: <dlfcn.h> declares dlopen as one that throws nothing.
  void* (*const volatile open)(const char*, int) = &dlopen;
  try {
    return open(path.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr ? MapResult::kRefused : MapResult::kMapped;
  } catch (...) {
    return MapResult::kThrew;
  }
}

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
