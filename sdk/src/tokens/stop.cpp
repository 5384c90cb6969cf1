// SPDX-License-Identifier: Apache-2.0
#include "tokens/stop.hpp"

#include <algorithm>

namespace merritt::tokens {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });  // would match everywhere
}

bool StopMatcher::push(std::string_view text, std::string& out, bool may_match) {
  if (matched_) return true;
  if (stops_.empty()) {
    out += text;
    return false;
  }
  held_ += text;
  // The match that is complete first wins, the longer one of two that end together: whatever tokens the text comes in,
  // the answer is the same.
  size_t first = std::string::npos, end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = may_match ? held_.find(stop) : std::string::npos;
    if (at == std::string::npos) continue;
    if (at + stop.size() < end || (at + stop.size() == end && at < first)) first = at, end = at + stop.size();
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
