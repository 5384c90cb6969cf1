// SPDX-License-Identifier: Apache-2.0
// Stop strings over streamed text. What may still become a stop string is held back; what is before a match is given
// out, the match itself never. Of several stop strings the one that is complete first counts. A character costs a few
// comparisons for each string, however long they are and however nearly they match: they come from whoever sends
// requests, and are looked for on the step thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace merritt::tokens {

// The strings of a request, made ready once, where it is submitted. Immutable.
class StopSet {
 public:
  // Of each, more than the first 65,535 bytes do not count: base/limits.hpp allows far fewer.
  explicit StopSet(std::vector<std::string> stops);

  size_t size() const { return stops_.size(); }
  uint32_t length(size_t stop) const { return static_cast<uint32_t>(stops_[stop].text.size()); }
  // Of a text whose tail is the first `matched` bytes of the string, and of no longer tail that it begins with: the
  // same with one more byte. matched < length.
  uint32_t next(size_t stop, uint32_t matched, char byte) const;
  // The longest proper tail of the whole string that it begins with.
  uint32_t after_match(size_t stop) const { return stops_[stop].borders.back(); }

 private:
  struct Stop {
    std::string text;
    std::vector<uint16_t> borders;  // [n - 1]: of its first n bytes, the longest proper tail that it begins with
  };
  std::vector<Stop> stops_;
};

class StopMatcher {
 public:
  explicit StopMatcher(std::shared_ptr<const StopSet> stops);  // null = none

  // Appends to `out` what is certain not to belong to a stop string. True when one has matched: nothing more comes.
  // may_match false: no stop string may end with this text; one that begins in it is still found later.
  bool push(std::string_view text, std::string& out, bool may_match = true);
  void flush(std::string& out);  // at the end without a match: what was held back

 private:
  std::shared_ptr<const StopSet> stops_;
  std::vector<uint16_t> matched_bytes_;  // of each stop string, at the end of the text so far
  std::string held_;
  bool matched_ = false;
};

}  // namespace merritt::tokens
