// SPDX-License-Identifier: Apache-2.0
//
// Finds GGUF files on this machine: in installed Python packages and the Hugging Face cache. Reads directories only; no
// package code is run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace merritt::tools {

struct FoundModel {
  std::string path;                // the file, or what it would be called when joined
  std::vector<std::string> parts;  // pieces in order when the package splits the file
  uint64_t bytes = 0;
  std::string where;  // "python packages", "hugging face cache", "models folder"
};

std::vector<FoundModel> find_models();

}  // namespace merritt::tools
