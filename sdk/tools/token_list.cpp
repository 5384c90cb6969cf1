// SPDX-License-Identifier: Apache-2.0
#include "token_list.hpp"

#include <charconv>

#include "cli.hpp"

namespace merritt::tools {

std::vector<int32_t> parse_tokens(std::string_view text) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  std::vector<int32_t> tokens;
  size_t at = text.find_first_not_of(kBetween);
  while (at != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    int32_t token = 0;
    const auto [stopped, error] = std::from_chars(word.data(), word.data() + word.size(), token);
    if (error != std::errc() || stopped != word.data() + word.size() || token < 0) {
      throw with_fix("\"" + std::string(word.substr(0, 32)) + "\" is not a token id", "write them like 1,2,3",
                     kExitUsage);
    }
    tokens.push_back(token);
    at = text.find_first_not_of(kBetween, end);
  }
  return tokens;
}

}  // namespace merritt::tools
