// SPDX-License-Identifier: Apache-2.0
#include "sampling/prompt_lookup.hpp"

#include <algorithm>
#include <bit>

namespace merritt::sampling {
namespace {

constexpr uint32_t kIndexBitsMin = 8, kIndexBitsMax = 16;  // older places give way in a text of more tokens
constexpr uint32_t kLengthSeen = 32;                       // a match is measured back to here
constexpr uint32_t kNeededMax = 16;
constexpr uint32_t kComeBack = 24;  // tokens around an edit

// What is drafted has to be earned, so that drafts that fail cost next to nothing whatever the text: with any text,
// drafted <= kEarned * accepted + tokens / kTokensPerDraft + kCreditMax.
constexpr uint32_t kEarned = 4;           // draft tokens by one that was right
constexpr uint32_t kTokensPerDraft = 16;  // tokens of the text that earn one
constexpr uint32_t kCreditMax = 32;

}  // namespace

PromptLookup::PromptLookup(uint32_t history_max)
    : index_bits_(std::clamp(static_cast<uint32_t>(std::bit_width(history_max)) + 1, kIndexBitsMin, kIndexBitsMax)),
      credit_(kCreditMax * kTokensPerDraft) {
  history_.reserve(history_max);
  for (Index& index : indexes_) index.resize(size_t{1} << index_bits_);
}

uint32_t& PromptLookup::slot(uint32_t gram) {
  uint64_t hash = gram;
  for (size_t i = history_.size() - gram; i < history_.size(); ++i) {
    hash = (hash ^ static_cast<uint32_t>(history_[i])) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return indexes_[gram - kGramMin][(hash * 0x9E3779B97F4A7C15u) >> (64 - index_bits_)];
}

// Another gram may have taken the place: what is found is compared, so that a collision costs a draft and no more.
uint32_t PromptLookup::find(uint32_t gram) {
  if (history_.size() < gram) return 0;
  const uint32_t end = slot(gram);
  if (end == 0) return 0;
  return std::equal(history_.end() - gram, history_.end(), history_.begin() + (end - gram)) ? end : 0;
}

void PromptLookup::follow(uint32_t end, uint32_t length) {
  match_ = end;
  length_ = length;
  const auto size = static_cast<uint32_t>(history_.size());
  while (length_ < kLengthSeen && length_ < match_ && history_[match_ - 1 - length_] == history_[size - 1 - length_]) {
    ++length_;
  }
}

void PromptLookup::leave() {
  const auto size = static_cast<uint32_t>(history_.size());
  if (length_ >= left_length_ || size > left_until_) {
    left_ = match_;
    left_length_ = length_;
    left_until_ = size + kComeBack;
  }
  match_ = length_ = 0;
}

void PromptLookup::come_back(int32_t token) {
  if (left_length_ == 0) return;
  const auto size = static_cast<uint32_t>(history_.size());
  if (size > left_until_) {
    left_length_ = 0;
    return;
  }
  const uint32_t last = std::min(left_ + kComeBack, size - 1);
  for (uint32_t at = left_; at < last; ++at) {
    if (history_[at] == token) return follow(at + 1, 1);
  }
}

// The longest match is followed; of equals the one that was followed before, then the latest.
void PromptLookup::append(int32_t token) {
  credit_ = std::min(credit_ + 1, kCreditMax * kTokensPerDraft);
  const bool goes_on = match_ != 0 && history_[match_] == token;
  if (match_ != 0 && !goes_on) leave();
  history_.push_back(token);
  if (goes_on) {
    ++match_;
    ++length_;
  }
  for (uint32_t gram = kGramMax; gram >= kGramMin && gram > length_; --gram) {
    if (const uint32_t end = find(gram); end != 0) follow(end, gram);
  }
  if (match_ == 0) come_back(token);
  for (uint32_t gram = kGramMin; gram <= kGramMax && gram <= history_.size(); ++gram) {
    slot(gram) = static_cast<uint32_t>(history_.size());
  }
}

// A guess is as long as its match, more where matches have held and less where they have not. Behind the end of the
// history its own beginning follows: a loop.
uint32_t PromptLookup::draft(std::span<int32_t> out) const {
  if (match_ == 0 || length_ < needed_) return 0;
  const uint64_t trusted = std::min<uint64_t>(2 * uint64_t{length_} / needed_, credit_ / kTokensPerDraft);
  const auto n = static_cast<uint32_t>(std::min<uint64_t>(out.size(), trusted));
  const auto size = static_cast<uint32_t>(history_.size());
  for (uint32_t i = 0; i < n; ++i) out[i] = match_ + i < size ? history_[match_ + i] : out[match_ + i - size];
  return n;
}

// A match goes on being measured while nothing is drafted from it, so a text that begins to repeat itself is noticed
// for nothing.
void PromptLookup::learn(uint32_t drafted, uint32_t accepted) {
  if (drafted == 0) return;
  const uint32_t earned = credit_ + accepted * kEarned * kTokensPerDraft, spent = drafted * kTokensPerDraft;
  credit_ = std::min(earned - std::min(earned, spent), kCreditMax * kTokensPerDraft);
  if (accepted == drafted) {
    needed_ = std::max(needed_ / 2, 1u);
  } else if (2 * accepted < drafted) {
    needed_ = std::min(needed_ * 2, kNeededMax);
  }
}

}  // namespace merritt::sampling
