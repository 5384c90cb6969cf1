// SPDX-License-Identifier: Apache-2.0
// SentencePiece BPE as GGUF files carry it: text is cut at special tokens, blanks become U+2581, and neighbouring
// symbols are merged in the order of the merged piece's score, the leftmost first among equals (Kudo and Richardson,
// 2018). What is no piece in the end is spelled in byte tokens, or becomes the unknown token.
//
// Text is merged in runs: it is cut between two characters that stand side by side in no piece, which changes no token,
// so that memory is bounded by the longest run and not by the text.
//
// Threads: immutable after create(); encode() takes O(n log n) time, and memory for one run beside its tokens.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"
#include "tokens/special_index.hpp"
#include "tokens/vocabulary.hpp"

namespace merritt::tokens {

struct EncodeOptions {
  bool add_bos_eos = true;     // as the vocabulary asks
  bool parse_special = false;  // the text of a control token becomes its id
};

class Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(Vocabulary vocabulary);

  // kInvalidArgument when the text has more tokens than a prompt may have, or too long a run.
  Status encode(std::string_view text, EncodeOptions options, std::vector<int32_t>& out) const;

  size_t size() const { return vocabulary_.size(); }
  // An id outside the vocabulary has no piece, no bytes, and is nothing special.
  bool contains(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < vocabulary_.size(); }
  // The piece as stored, U+2581 and all.
  std::string_view piece(int32_t id) const {
    return contains(id) ? vocabulary_.piece(static_cast<size_t>(id)) : std::string_view();
  }
  // The bytes a token stands for: blanks for U+2581, one byte for a byte token, the text of a special token. The view
  // of a piece without U+2581 is in place; else it is written to scratch.
  std::string_view bytes(int32_t id, std::string& scratch) const;
  bool is_special(int32_t id) const;  // control or unknown: hidden unless asked for
  bool is_eog(int32_t id) const;
  std::span<const int32_t> eog_ids() const { return eog_; }
  int32_t bos() const { return vocabulary_.bos; }
  int32_t eos() const { return vocabulary_.eos; }
  bool adds_bos() const { return vocabulary_.add_bos && vocabulary_.bos >= 0; }
  bool adds_eos() const { return vocabulary_.add_eos && vocabulary_.eos >= 0; }
  bool adds_space_prefix() const { return vocabulary_.add_space_prefix; }

 private:
  class Merger;  // merge.cpp

  explicit Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  Status check() const;
  Status index();
  void index_bytes();
  void index_neighbours();
  int32_t find(std::string_view piece) const;
  bool neighbours(uint32_t left, uint32_t right) const;
  Status encode_plain(std::string_view text, bool first, std::vector<int32_t>& out) const;
  void spell(std::string_view bytes, std::vector<int32_t>& out) const;

  Vocabulary vocabulary_;
  std::vector<int32_t> table_;  // open addressing over pieces; -1 = free
  uint64_t table_mask_ = 0;
  uint64_t seed_ = 0;
  size_t longest_piece_ = 0;
  std::array<int32_t, 256> byte_tokens_{};  // -1 = none
  SpecialIndex user_defined_;               // recognised in every text
  SpecialIndex specials_;                   // these, control and unknown tokens: when asked for
  std::vector<uint64_t> neighbours_;        // bits: which characters stand side by side in a piece; some more are set
  std::vector<int32_t> eog_;
};

}  // namespace merritt::tokens
