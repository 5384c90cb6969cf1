// SPDX-License-Identifier: Apache-2.0
// The merging of SentencePiece BPE: runs of text, symbols in a doubly linked list, candidate pairs in a heap.
#include <algorithm>

#include "base/limits.hpp"
#include "tokens/tokenizer.hpp"

namespace merritt::tokens {
namespace {

constexpr std::string_view kBlank = "\xE2\x96\x81";  // U+2581
constexpr size_t kBlockBytes = size_t{64} << 10;     // of text, taken at a time
constexpr uint32_t kNeighbourBits = 20;

struct Symbol {
  int32_t previous, next;  // -1 = none
  uint32_t first, bytes;   // 0 bytes = merged into its left neighbour
};

struct Pair {
  float score;
  int32_t left, right;
  uint32_t bytes;  // of both when the pair was made: tells stale pairs
};

// The heap's top is the pair to merge next: the best score, the leftmost among equals.
struct Later {
  bool operator()(const Pair& a, const Pair& b) const {
    return a.score != b.score ? a.score < b.score : a.left > b.left;
  }
};

// How many bytes the character that starts here claims to have: by its first byte alone, so that bytes that are not
// UTF-8 are cut the same way as in the implementations the vocabularies were made for.
size_t claimed_length(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// The character that starts at `at`, and how many bytes of it there are.
struct Character {
  uint32_t code;  // its bytes
  size_t bytes;
};
Character character_at(std::string_view text, size_t at) {
  const size_t bytes = std::min(text.size() - at, claimed_length(text[at]));
  uint32_t code = 0;
  for (size_t i = 0; i < bytes; ++i) code = code << 8 | static_cast<uint8_t>(text[at + i]);
  return {code, bytes};
}

uint64_t neighbour_bit(uint32_t left, uint32_t right) {
  return ((uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15u ^ uint64_t{right} * 0xD6E8FEB86659FD93u) >>
         (64 - kNeighbourBits);
}

void append_escaped(std::string_view text, std::string& out) {
  for (const char c : text) {
    if (c == ' ') {
      out += kBlank;
    } else {
      out += c;
    }
  }
}

}  // namespace

// Merges one run after another with the same memory.
class Tokenizer::Merger {
 public:
  explicit Merger(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // run is not empty.
  void merge(std::string_view run, std::vector<int32_t>& out) {
    text_ = run;
    symbols_.clear();
    heap_.clear();
    for (size_t at = 0; at < text_.size();) {
      const size_t bytes = std::min(text_.size() - at, claimed_length(text_[at]));
      const auto index = static_cast<int32_t>(symbols_.size());
      symbols_.push_back({index - 1, index + 1, static_cast<uint32_t>(at), static_cast<uint32_t>(bytes)});
      at += bytes;
    }
    symbols_.back().next = -1;
    for (size_t i = 1; i < symbols_.size(); ++i) try_pair(static_cast<int32_t>(i) - 1, static_cast<int32_t>(i));
    while (!heap_.empty()) merge_best();
    for (int32_t i = 0; i >= 0; i = symbols_[static_cast<size_t>(i)].next) {
      const Symbol& symbol = symbols_[static_cast<size_t>(i)];
      const std::string_view piece = text_.substr(symbol.first, symbol.bytes);
      const int32_t id = tokenizer_.find(piece);
      if (id >= 0) {
        out.push_back(id);
      } else {
        tokenizer_.spell(piece, out);
      }
    }
  }

 private:
  void try_pair(int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Symbol &a = symbols_[static_cast<size_t>(left)], &b = symbols_[static_cast<size_t>(right)];
    if (size_t{a.bytes} + b.bytes > tokenizer_.longest_piece_) return;
    const int32_t id = tokenizer_.find(text_.substr(a.first, a.bytes + b.bytes));
    if (id < 0) return;
    heap_.push_back({tokenizer_.vocabulary_.scores[static_cast<size_t>(id)], left, right, a.bytes + b.bytes});
    std::push_heap(heap_.begin(), heap_.end(), Later());
  }

  void merge_best() {
    std::pop_heap(heap_.begin(), heap_.end(), Later());
    const Pair pair = heap_.back();
    heap_.pop_back();
    Symbol &a = symbols_[static_cast<size_t>(pair.left)], &b = symbols_[static_cast<size_t>(pair.right)];
    if (a.bytes == 0 || b.bytes == 0 || a.bytes + b.bytes != pair.bytes) return;
    a.bytes += b.bytes;
    b.bytes = 0;
    a.next = b.next;
    if (b.next >= 0) symbols_[static_cast<size_t>(b.next)].previous = pair.left;
    try_pair(a.previous, pair.left);
    try_pair(pair.left, a.next);
  }

  const Tokenizer& tokenizer_;
  std::string_view text_;
  std::vector<Symbol> symbols_;
  std::vector<Pair> heap_;
};

// Every symbol that merging makes is a piece, so two characters that are side by side in no piece end up in different
// tokens, and what is on one side of them has no influence on the other.
void Tokenizer::index_neighbours() {
  neighbours_.assign((size_t{1} << kNeighbourBits) / 64, 0);
  for (size_t i = 0; i < vocabulary_.size(); ++i) {
    const std::string_view piece = vocabulary_.piece(i);
    uint32_t left = 0;
    for (size_t at = 0; at < piece.size();) {
      const Character c = character_at(piece, at);
      const uint64_t bit = neighbour_bit(left, c.code);
      if (at != 0) neighbours_[bit / 64] |= uint64_t{1} << bit % 64;
      left = c.code;
      at += c.bytes;
    }
  }
}

bool Tokenizer::neighbours(uint32_t left, uint32_t right) const {
  const uint64_t bit = neighbour_bit(left, right);
  return (neighbours_[bit / 64] >> bit % 64 & 1) != 0;
}

// Text without special tokens: blanks escaped, cut into runs, each run merged. first: the text begins here.
Status Tokenizer::encode_plain(std::string_view text, bool first, std::vector<int32_t>& out) const {
  Merger merger(*this);
  std::string escaped;  // the part of the text that is being looked at; it begins with the run
  if (first && vocabulary_.add_space_prefix) escaped += kBlank;
  size_t run = 0, at = 0;
  uint32_t left = 0;
  for (;;) {
    if (escaped.size() - at < 4 && !text.empty()) {
      escaped.erase(0, run);
      at -= run;
      run = 0;
      append_escaped(text.substr(0, kBlockBytes), escaped);
      text.remove_prefix(std::min(text.size(), kBlockBytes));
    }
    if (at == escaped.size()) break;
    const Character c = character_at(escaped, at);
    if (at != run && !neighbours(left, c.code)) {
      merger.merge(std::string_view(escaped).substr(run, at - run), out);
      run = at;
    }
    at += c.bytes;
    left = c.code;
    if (at - run > limits::kTextRunBytesMax) {
      return Status(Code::kInvalidArgument, "the text has more than " + std::to_string(limits::kTextRunBytesMax) +
                                                " bytes in a row that may all be one token, such as blanks; break it "
                                                "into lines or words");
    }
    if (out.size() > limits::kPromptTokensMax) {
      return Status(Code::kInvalidArgument,
                    "the text has more than " + std::to_string(limits::kPromptTokensMax) + " tokens; give it in parts");
    }
  }
  if (at > run) merger.merge(std::string_view(escaped).substr(run, at - run), out);
  return {};
}

// A character that is no piece: its bytes as byte tokens, or the unknown token for those there are none of.
void Tokenizer::spell(std::string_view bytes, std::vector<int32_t>& out) const {
  for (const char c : bytes) {
    const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
    if (id >= 0) {
      out.push_back(id);
    } else if (vocabulary_.unknown >= 0) {
      out.push_back(vocabulary_.unknown);
    }
  }
}

}  // namespace merritt::tokens
