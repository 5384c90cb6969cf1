// SPDX-License-Identifier: Apache-2.0
// Stop strings over streamed text. What may still become a stop string is held back; what is before a match is given
// out, the match itself never. Of several stop strings the one that is complete first counts. Threads: one at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace merritt::tokens {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  // Appends to `out` what is certain not to belong to a stop string. True when one has matched: nothing more comes.
  // may_match false: no stop string may end with this text; one that begins in it is still found later.
  bool push(std::string_view text, std::string& out, bool may_match = true);
  void flush(std::string& out);  // at the end without a match: what was held back

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool matched_ = false;
};

}  // namespace merritt::tokens
