// SPDX-License-Identifier: Apache-2.0
// What a model file says about itself, for inspection and for limits of requests.
#pragma once

#include <cstdint>
#include <string>

namespace merritt::model {

struct ModelInfo {
  std::string architecture;  // such as "gemma3"
  std::string name;          // as the file states it, cleaned; may be empty
  std::string license;       // the same
  std::string quantization;  // tensors by element type, such as "Q5_0 81, F32 109, Q4_K 27"
  uint32_t layers = 0;
  uint32_t width = 0;           // embedding length
  uint32_t vocabulary = 0;      // token ids are [0, vocabulary)
  uint32_t context_length = 0;  // what the model was trained for
  uint64_t parameters = 0;      // elements of all tensors
  uint64_t file_bytes = 0;
};

}  // namespace merritt::model
