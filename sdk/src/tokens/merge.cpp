// SPDX-License-Identifier: Apache-2.0
// The merging of SentencePiece BPE: symbols in a doubly linked list, candidate pairs in a heap.
#include <algorithm>

#include "tokens/tokenizer.hpp"

namespace merritt::tokens {
namespace {

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

}  // namespace

void Tokenizer::merge(std::string_view text, std::vector<int32_t>& out) const {
  std::vector<Symbol> symbols;
  symbols.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = std::min(text.size() - at, claimed_length(text[at]));
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({index - 1, index + 1, static_cast<uint32_t>(at), static_cast<uint32_t>(bytes)});
    at += bytes;
  }
  symbols.back().next = -1;

  std::vector<Pair> heap;
  heap.reserve(symbols.size());
  const auto try_pair = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Symbol &a = symbols[static_cast<size_t>(left)], &b = symbols[static_cast<size_t>(right)];
    const int32_t id = find(text.substr(a.first, a.bytes + b.bytes));
    if (id < 0) return;
    heap.push_back({vocabulary_.scores[static_cast<size_t>(id)], left, right, a.bytes + b.bytes});
    std::push_heap(heap.begin(), heap.end(), Later());
  };
  for (size_t i = 1; i < symbols.size(); ++i) try_pair(static_cast<int32_t>(i) - 1, static_cast<int32_t>(i));

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), Later());
    const Pair pair = heap.back();
    heap.pop_back();
    Symbol &a = symbols[static_cast<size_t>(pair.left)], &b = symbols[static_cast<size_t>(pair.right)];
    if (a.bytes == 0 || b.bytes == 0 || a.bytes + b.bytes != pair.bytes) continue;
    a.bytes += b.bytes;
    b.bytes = 0;
    a.next = b.next;
    if (b.next >= 0) symbols[static_cast<size_t>(b.next)].previous = pair.left;
    try_pair(a.previous, pair.left);
    try_pair(pair.left, a.next);
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const Symbol& symbol = symbols[static_cast<size_t>(i)];
    const std::string_view piece = text.substr(symbol.first, symbol.bytes);
    const int32_t id = find(piece);
    if (id >= 0) {
      out.push_back(id);
    } else {
      spell(piece, out);
    }
  }
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
