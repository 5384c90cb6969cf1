// SPDX-License-Identifier: Apache-2.0
#include "tokens/stop.hpp"

#include <algorithm>

namespace merritt::tokens {

bool StopMatcher::push(std::string_view text, std::string& out, bool may_match) {
  if (matched_) return true;
  if (stops_.empty()) {
    out += text;
    return false;
  }
  held_ += text;
  // The earliest match wins, as a reader would see it.
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    if (may_match) first = std::min(first, held_.find(stop));
  }
  if (first != std::string::npos) {
    out.append(held_, 0, first);
    held_.clear();
    matched_ = true;
    return true;
  }
  // Keep the longest tail that is a proper beginning of a stop string.
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) keep = n;
    }
  }
  out.append(held_, 0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return false;
}

void StopMatcher::flush(std::string& out) {
  if (!matched_) out += held_;
  held_.clear();
}

}  // namespace merritt::tokens
