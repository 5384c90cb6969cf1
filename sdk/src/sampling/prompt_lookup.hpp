// SPDX-License-Identifier: Apache-2.0
// Drafts for speculative decoding: text that repeats itself (a summary, an edit, code) goes on as it went on before.
// The tokens that followed the last place with the same ending are guessed to follow again; the model checks them all
// in one step, and what it would not have drawn is dropped. A guess costs time when it is wrong and nothing else.
//
// Threads: one lookup belongs to one choice of one request; one thread at a time. A token costs a constant number of
// operations, whatever the text; nothing is allocated up to history_max tokens. Invariant: the last length_ tokens
// before match_ are the last length_ tokens of the history.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace merritt::sampling {

class PromptLookup {
 public:
  explicit PromptLookup(uint32_t history_max);

  // The next token of prompt or output.
  void append(int32_t token);
  // Guesses the tokens that follow; writes the first ones of `out` and returns how many. The longer the match and the
  // better earlier guesses were, the more.
  uint32_t draft(std::span<int32_t> out) const;
  // What became of a draft: the first `accepted` were right.
  void learn(uint32_t drafted, uint32_t accepted);

 private:
  static constexpr uint32_t kGramMin = 2, kGramMax = 3;
  using Index = std::vector<uint32_t>;  // by hash of the gram: where it last ended; 0 = nowhere

  uint32_t& slot(uint32_t gram);  // of the gram that ends the history
  uint32_t find(uint32_t gram);   // where the gram that ends the history ended before; 0 = nowhere
  void follow(uint32_t end, uint32_t length);
  void leave();
  void come_back(int32_t token);

  std::vector<int32_t> history_;
  std::array<Index, kGramMax - kGramMin + 1> indexes_;
  uint32_t index_bits_;
  uint32_t match_ = 0;          // what follows is guessed from here; 0 = nothing is
  uint32_t length_ = 0;         // of the match
  uint32_t needed_ = kGramMin;  // shortest match that is worth a draft
  uint32_t credit_;             // for drafts, in tokens of the text

  // Where the last long match broke off: behind an edit the text goes on close by.
  uint32_t left_ = 0, left_length_ = 0, left_until_ = 0;
};

}  // namespace merritt::sampling
