// SPDX-License-Identifier: Apache-2.0
// Where this tree and what was built from it lie. In a unit of their own: what is compiled with its path can be taken
// from a compiler cache by no other checkout.
#pragma once
#include <string>

namespace merritt::test {

std::string source_dir();
std::string output_dir();  // of bin/ and lib/

}  // namespace merritt::test
