// SPDX-License-Identifier: Apache-2.0
#include "tokens/special_index.hpp"

#include <algorithm>

namespace merritt::tokens {

void SpecialIndex::build(std::vector<Entry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.text != b.text ? a.text < b.text : a.id > b.id; });
  entries.erase(
      std::unique(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.text == b.text; }),
      entries.end());
  entries_ = std::move(entries);
  links_.assign(entries_.size(), {});
  by_first_byte_ = {};
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    const std::string_view text = entries_[i].text;
    Range& range = by_first_byte_[static_cast<uint8_t>(text[0])];
    if (range.last == 0) range.first = i;
    range.last = i + 1;
    // Sorted, what begins this text is the entry before it or one that begins that one. The walk ends early for good:
    // what it leaves behind begins no later entry either, so all walks together take O(n) steps.
    uint32_t parent = i == 0 ? kNone : i - 1;
    while (parent != kNone && !text.starts_with(entries_[parent].text)) parent = links_[parent].parent;
    if (parent == kNone) continue;
    const Links& up = links_[parent];
    const bool skip = up.jump != kNone && links_[up.jump].jump != kNone &&
                      up.depth - links_[up.jump].depth == links_[up.jump].depth - links_[links_[up.jump].jump].depth;
    links_[i] = {parent, skip ? links_[up.jump].jump : parent, up.depth + 1};
  }
}

const SpecialIndex::Entry* SpecialIndex::longest_prefix_of(std::string_view text) const {
  const Range range = by_first_byte_[static_cast<uint8_t>(text[0])];
  const auto first = entries_.begin() + range.first, last = entries_.begin() + range.last;
  const auto after = std::upper_bound(first, last, text, [](std::string_view t, const Entry& e) { return t < e.text; });
  if (after == first) return nullptr;
  auto at = static_cast<uint32_t>(after - entries_.begin()) - 1;
  const std::string_view before = entries_[at].text;
  const size_t shared =
      static_cast<size_t>(std::mismatch(before.begin(), before.end(), text.begin(), text.end()).first - before.begin());
  while (at != kNone && entries_[at].text.size() > shared) {
    const Links& links = links_[at];
    at = links.jump != kNone && entries_[links.jump].text.size() > shared ? links.jump : links.parent;
  }
  return at == kNone ? nullptr : &entries_[at];
}

}  // namespace merritt::tokens
