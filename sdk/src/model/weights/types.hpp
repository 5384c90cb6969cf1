// SPDX-License-Identifier: Apache-2.0
// The element types of GGUF tensors, numbered as in the files. A type is here when its block layout is known; whether a
// backend can compute with it is for the backend to say. Threads: any.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace merritt::model::weights {

struct ElementType {
  uint32_t id;
  std::string_view name;
  uint32_t block_elements;
  uint32_t block_bytes;
};

// Null = not a type this version knows.
const ElementType* find_element_type(uint32_t id);
std::span<const ElementType> element_types();

}  // namespace merritt::model::weights
