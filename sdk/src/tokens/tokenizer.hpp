// SPDX-License-Identifier: Apache-2.0
// SentencePiece BPE as GGUF files carry it: text is cut at special tokens, blanks become U+2581, and neighbouring
// symbols are merged in the order of the merged piece's score, the leftmost first among equals (Kudo and Richardson,
// 2018). What is no piece in the end is spelled in byte tokens, or becomes the unknown token.
//
// Threads: immutable after create(); encode() needs memory in proportion to the text and O(n log n) time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"
#include "tokens/vocabulary.hpp"

namespace merritt::tokens {

struct EncodeOptions {
  bool add_bos_eos = true;     // as the vocabulary asks
  bool parse_special = false;  // the text of a control token becomes its id
};

class Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(Vocabulary vocabulary);

  Status encode(std::string_view text, EncodeOptions options, std::vector<int32_t>& out) const;

  size_t size() const { return vocabulary_.size(); }
  // The piece as stored, U+2581 and all.
  std::string_view piece(int32_t id) const { return vocabulary_.piece(static_cast<size_t>(id)); }
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
  struct Special {
    std::string_view text;
    int32_t id;
    bool always;  // user-defined: recognised without parse_special
  };

  explicit Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  Status check() const;
  Status index();
  int32_t find(std::string_view piece) const;
  const Special* special_at(std::string_view text, size_t at, bool parse_special) const;
  void encode_plain(std::string_view text, bool first, std::vector<int32_t>& out) const;
  void merge(std::string_view text, std::vector<int32_t>& out) const;
  void spell(std::string_view bytes, std::vector<int32_t>& out) const;

  Vocabulary vocabulary_;
  std::vector<int32_t> table_;  // open addressing over pieces; -1 = free
  uint64_t table_mask_ = 0;
  uint64_t seed_ = 0;
  std::array<int32_t, 256> byte_tokens_{};  // -1 = none
  std::vector<Special> specials_;           // longest first within a first byte
  std::array<std::pair<uint32_t, uint32_t>, 256> specials_by_byte_{};
  std::vector<int32_t> eog_;
};

}  // namespace merritt::tokens
