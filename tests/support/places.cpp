// SPDX-License-Identifier: Apache-2.0
#include "tests/support/places.hpp"

namespace merritt::test {

std::string source_dir() { return MERRITT_SOURCE_DIR; }
std::string output_dir() { return MERRITT_OUTPUT_DIR; }

}  // namespace merritt::test
