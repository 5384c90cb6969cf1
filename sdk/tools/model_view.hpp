// SPDX-License-Identifier: Apache-2.0
//
// A model file without an engine: what its header says, for `inspect`. Plain types, because the core's own Result may
// not meet the public one in a file. A function answers "" or what is wrong.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace merritt::tools {

struct TensorView {
  std::string name;
  std::string type;
  std::vector<uint64_t> dims;  // the contiguous one first
  uint64_t bytes = 0;
};

struct FileView {
  uint32_t gguf_version = 0;
  std::string architecture, name, license, quantization;
  uint64_t parameters = 0;
  uint64_t file_bytes = 0;
  uint32_t layers = 0, width = 0, vocabulary = 0, context = 0;
  std::string unsupported;                                    // why nothing here runs it; "" = it does
  std::vector<std::pair<std::string, std::string>> metadata;  // rendered, long arrays and texts cut
  std::vector<TensorView> tensors;
};

std::string view_file(const std::string& path, FileView& view);

}  // namespace merritt::tools
