// SPDX-License-Identifier: Apache-2.0
#include "tokens/stop.hpp"

#include <algorithm>

namespace merritt::tokens {

// Knuth, Morris and Pratt.
StopSet::StopSet(std::vector<std::string> stops) {
  for (std::string& text : stops) {
    if (text.empty()) continue;  // would match everywhere
    text.resize(std::min<size_t>(text.size(), UINT16_MAX));
    Stop& stop = stops_.emplace_back(Stop{std::move(text), {}});
    stop.borders.assign(stop.text.size(), 0);
    for (size_t n = 1; n < stop.text.size(); ++n) {
      const uint32_t border = next(stops_.size() - 1, stop.borders[n - 1], stop.text[n]);
      stop.borders[n] = static_cast<uint16_t>(border);
    }
  }
}

uint32_t StopSet::next(size_t stop, uint32_t matched, char byte) const {
  const Stop& s = stops_[stop];
  while (matched != 0 && s.text[matched] != byte) matched = s.borders[matched - 1];
  return s.text[matched] == byte ? matched + 1 : 0;
}

StopMatcher::StopMatcher(std::shared_ptr<const StopSet> stops) : stops_(std::move(stops)) {
  if (stops_ != nullptr) matched_bytes_.assign(stops_->size(), 0);
}

// The match that is complete first wins, the longer one of two that end together: whatever tokens the text comes in,
// the answer is the same. Held is the longest tail that a stop string begins with.
bool StopMatcher::push(std::string_view text, std::string& out, bool may_match) {
  if (matched_) return true;
  if (matched_bytes_.empty()) {
    out += text;
    return false;
  }
  for (const char byte : text) {
    held_ += byte;
    uint32_t complete = 0;
    for (size_t i = 0; i < matched_bytes_.size(); ++i) {
      uint32_t matched = stops_->next(i, matched_bytes_[i], byte);
      if (matched == stops_->length(i)) {
        complete = std::max(complete, matched);
        matched = stops_->after_match(i);
      }
      matched_bytes_[i] = static_cast<uint16_t>(matched);
    }
    if (complete == 0 || !may_match) continue;
    out.append(held_, 0, held_.size() - complete);
    held_.clear();
    matched_ = true;
    return true;
  }
  const size_t keep = *std::max_element(matched_bytes_.begin(), matched_bytes_.end());
  out.append(held_, 0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return false;
}

void StopMatcher::flush(std::string& out) {
  if (!matched_) out += held_;
  held_.clear();
}

}  // namespace merritt::tokens
