// SPDX-License-Identifier: Apache-2.0
//
// Token ids written by people: separated by spaces, commas or brackets.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace merritt::tools {

std::vector<int32_t> parse_tokens(std::string_view text);

}  // namespace merritt::tools
