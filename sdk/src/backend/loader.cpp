// SPDX-License-Identifier: Apache-2.0
#include "backend/loader.hpp"

#include <algorithm>

#include "backend/map_plugin.hpp"
#include "backend/verify.hpp"
#include "base/os/trusted_file.hpp"

namespace merritt::backend {

Loader::Loader(LoaderOptions options) : options_(std::move(options)) {}

Result<const Plugin*> Loader::load(const std::string& path) {
  MERRITT_TRY(VerifiedPlugin verified, verify_file(options_, path));
  return find_or_map_verified(std::move(verified));
}

std::vector<std::string> Loader::candidates() const {
  std::vector<std::string> found;
  for (const std::string& configured : options_.directories) {
    const Result<std::string> directory = os::plain_absolute_path(configured);
    if (!directory.ok()) continue;
    const Result<std::vector<std::string>> names = os::list_directory(*directory);
    if (!names.ok()) continue;
    for (const std::string& name : *names) {
      const bool is_plugin = name.starts_with("lib") && name.ends_with(".so");
      if (is_plugin && std::find(names->begin(), names->end(), name + ".manifest") != names->end()) {
        found.push_back((*directory == "/" ? "" : *directory) + "/" + name);
      }
    }
  }
  return found;
}

Status Loader::verify(const std::string& path) const { return verify_file(options_, path).status(); }

}  // namespace merritt::backend
