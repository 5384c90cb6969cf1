// SPDX-License-Identifier: Apache-2.0
// Which special token begins at a place of a text, the longest one: a sorted list with links from every text to the
// longest other one that begins it. A look-up takes O(log n) comparisons, whatever the texts are. Threads: immutable
// after build().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace merritt::tokens {

class SpecialIndex {
 public:
  struct Entry {
    std::string_view text;  // not empty; not owned
    int32_t id = -1;
  };

  // Of equal texts the last one is found.
  void build(std::vector<Entry> entries);
  // The longest entry that `text` begins with; null when there is none. text is not empty.
  const Entry* longest_prefix_of(std::string_view text) const;

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Range {
    uint32_t first = 0, last = 0;
  };
  // Where an entry's chain of ever shorter beginnings leads to, and a link far down that chain: with the two any length
  // is reached in O(log n) steps (Myers, "An applicative random-access stack", 1983).
  struct Links {
    uint32_t parent = kNone, jump = kNone, depth = 0;
  };

  std::vector<Entry> entries_;  // sorted by text, unique
  std::vector<Links> links_;
  std::array<Range, 256> by_first_byte_{};
};

}  // namespace merritt::tokens
