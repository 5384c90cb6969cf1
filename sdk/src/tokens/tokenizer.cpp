// SPDX-License-Identifier: Apache-2.0
#include "tokens/tokenizer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/os/random.hpp"

namespace merritt::tokens {
namespace {

constexpr size_t kPiecesMax = size_t{1} << 22;
constexpr size_t kSpecialBytesMax = 1024;
constexpr std::string_view kBlank = "\xE2\x96\x81";  // U+2581

// Control tokens that end a turn in the published chat formats, beside the ids the file names.
constexpr std::string_view kEndOfTurn[] = {
    "<end_of_turn>",          // Gemma
    "<|eot_id|>",             // Llama 3
    "<|eom_id|>",             // Llama 3, before a tool's answer
    "<|im_end|>",             // ChatML
    "<|end|>",                // Phi 3
    "<|END_OF_TURN_TOKEN|>",  // Command
    "<|endoftext|>",          // GPT-2 family
    "<EOT>",
};

// Seeded, so that a vocabulary cannot be made to collide.
uint64_t hash_bytes(std::string_view bytes, uint64_t seed) {
  uint64_t h = seed ^ (bytes.size() * 0x9E3779B97F4A7C15u);
  while (!bytes.empty()) {
    uint64_t word = 0;
    const size_t n = std::min<size_t>(8, bytes.size());
    std::memcpy(&word, bytes.data(), n);
    bytes.remove_prefix(n);
    h = (h ^ word) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
  }
  h *= 0xD6E8FEB86659FD93u;
  return h ^ h >> 29;
}

bool is_matched_whole(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUserDefined || type == TokenType::kUnknown;
}

// "<0xE2>" is byte 0xE2; anything else is -1.
int byte_of(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9', upper = c >= 'A' && c <= 'F', lower = c >= 'a' && c <= 'f';
    if (!digit && !upper && !lower) return -1;
    value = value * 16 + (digit ? c - '0' : (upper ? c - 'A' : c - 'a') + 10);
  }
  return value;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(Vocabulary vocabulary) {
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(vocabulary)));
  MERRITT_CHECK(tokenizer->check());
  MERRITT_CHECK(tokenizer->index());
  return tokenizer;
}

Status Tokenizer::check() const {
  const Vocabulary& v = vocabulary_;
  if (v.model != "llama") {
    return Status(Code::kUnsupported, "tokenizer model \"" + v.model + "\" is not supported; supported is llama (SPM)");
  }
  if (v.size() == 0) return Status(Code::kCorrupt, "the vocabulary is empty");
  if (v.size() > kPiecesMax) {
    return Status(Code::kCorrupt, "the vocabulary has " + std::to_string(v.size()) + " pieces; the limit is " +
                                      std::to_string(kPiecesMax));
  }
  if (v.scores.size() != v.size() || v.types.size() != v.size()) {
    return Status(Code::kCorrupt, "the vocabulary has " + std::to_string(v.size()) + " pieces, " +
                                      std::to_string(v.scores.size()) + " scores and " +
                                      std::to_string(v.types.size()) + " types; the numbers must be equal");
  }
  uint32_t end = 0;
  for (size_t i = 0; i < v.size(); ++i) {
    if (v.ends[i] < end || v.ends[i] > v.text.size()) return Status(Code::kCorrupt, "piece offsets are not in order");
    end = v.ends[i];
    if (std::isnan(v.scores[i])) return Status(Code::kCorrupt, "the score of piece " + std::to_string(i) + " is NaN");
    if (v.types[i] < TokenType::kNormal || v.types[i] > TokenType::kByte) {
      return Status(Code::kCorrupt, "piece " + std::to_string(i) + " has an unknown token type");
    }
    if (v.types[i] == TokenType::kByte && byte_of(v.piece(i)) < 0) {
      return Status(Code::kCorrupt, "byte token " + std::to_string(i) + " is not of the form <0x00>");
    }
    if (is_matched_whole(v.types[i]) && v.piece(i).size() > kSpecialBytesMax) {
      return Status(Code::kCorrupt, "special token " + std::to_string(i) + " has " + std::to_string(v.piece(i).size()) +
                                        " bytes; the limit is " + std::to_string(kSpecialBytesMax));
    }
  }
  const std::pair<const char*, int32_t> ids[] = {
      {"bos", v.bos}, {"eos", v.eos}, {"eot", v.eot}, {"unknown", v.unknown}, {"padding", v.padding}};
  for (const auto& [name, id] : ids) {
    if (id < -1 || (id >= 0 && static_cast<size_t>(id) >= v.size())) {
      return Status(Code::kCorrupt, std::string("the ") + name + " token id is " + std::to_string(id) + "; there are " +
                                        std::to_string(v.size()) + " pieces");
    }
  }
  return {};
}

Status Tokenizer::index() {
  uint64_t slots = 16;
  while (slots < vocabulary_.size() * 2) slots *= 2;
  table_.assign(slots, -1);
  table_mask_ = slots - 1;
  MERRITT_CHECK(os::random_bytes(std::as_writable_bytes(std::span(&seed_, 1))));
  std::vector<SpecialIndex::Entry> user_defined, specials;
  for (size_t i = 0; i < vocabulary_.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string_view piece = vocabulary_.piece(i);
    const TokenType type = vocabulary_.types[i];
    const bool ends = type == TokenType::kControl &&
                      std::find(std::begin(kEndOfTurn), std::end(kEndOfTurn), piece) != std::end(kEndOfTurn);
    if (ends || id == vocabulary_.eos || id == vocabulary_.eot) eog_.push_back(id);
    if (piece.empty()) continue;
    longest_piece_ = std::max(longest_piece_, piece.size());
    if (is_matched_whole(type)) specials.push_back({piece, id});
    if (type == TokenType::kUserDefined) user_defined.push_back({piece, id});
    uint64_t at = hash_bytes(piece, seed_) & table_mask_;
    while (table_[at] >= 0 && vocabulary_.piece(static_cast<size_t>(table_[at])) != piece) at = (at + 1) & table_mask_;
    table_[at] = id;  // of equal pieces the last is the one that is found, as in llama.cpp
  }
  user_defined_.build(std::move(user_defined));
  specials_.build(std::move(specials));
  index_bytes();
  index_neighbours();
  return {};
}

// The token of a byte is the piece with its name, whatever type the file gives it, or else the byte itself as a piece.
void Tokenizer::index_bytes() {
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
    const char named[] = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
    const char plain = static_cast<char>(byte);
    byte_tokens_[byte] = find({named, sizeof named});
    if (byte_tokens_[byte] < 0) byte_tokens_[byte] = find({&plain, 1});
  }
  for (size_t i = 0; i < vocabulary_.size(); ++i) {  // those that are spelled <0xe2>
    if (vocabulary_.types[i] != TokenType::kByte) continue;
    int32_t& token = byte_tokens_[static_cast<size_t>(byte_of(vocabulary_.piece(i)))];
    if (token < 0) token = static_cast<int32_t>(i);
  }
}

int32_t Tokenizer::find(std::string_view piece) const {
  for (uint64_t at = hash_bytes(piece, seed_) & table_mask_; table_[at] >= 0; at = (at + 1) & table_mask_) {
    if (vocabulary_.piece(static_cast<size_t>(table_[at])) == piece) return table_[at];
  }
  return -1;
}

bool Tokenizer::is_special(int32_t id) const {
  if (!contains(id)) return false;
  const TokenType type = vocabulary_.types[static_cast<size_t>(id)];
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

bool Tokenizer::is_eog(int32_t id) const { return std::binary_search(eog_.begin(), eog_.end(), id); }

std::string_view Tokenizer::bytes(int32_t id, std::string& scratch) const {
  if (!contains(id)) return {};
  const std::string_view piece = vocabulary_.piece(static_cast<size_t>(id));
  const TokenType type = vocabulary_.types[static_cast<size_t>(id)];
  if (type == TokenType::kByte) {
    scratch.assign(1, static_cast<char>(byte_of(piece)));
    return scratch;
  }
  if (type == TokenType::kControl || piece.find(kBlank) == std::string_view::npos) return piece;
  scratch.clear();
  for (size_t at = 0; at < piece.size();) {
    if (piece.substr(at, kBlank.size()) == kBlank) {
      scratch += ' ';
      at += kBlank.size();
    } else {
      scratch += piece[at++];
    }
  }
  return scratch;
}

Status Tokenizer::encode(std::string_view text, EncodeOptions options, std::vector<int32_t>& out) const {
  out.clear();
  if (options.add_bos_eos && adds_bos()) out.push_back(vocabulary_.bos);
  const SpecialIndex& specials = options.parse_special ? specials_ : user_defined_;
  bool after_special = true;
  size_t plain = 0, at = 0;
  while (at < text.size()) {
    const SpecialIndex::Entry* special = specials.longest_prefix_of(text.substr(at));
    if (special == nullptr) {
      ++at;
      continue;
    }
    if (at > plain) MERRITT_CHECK(encode_plain(text.substr(plain, at - plain), after_special, out));
    out.push_back(special->id);
    after_special = true;
    at += special->text.size();
    plain = at;
  }
  if (at > plain) MERRITT_CHECK(encode_plain(text.substr(plain), after_special, out));
  if (options.add_bos_eos && adds_eos()) out.push_back(vocabulary_.eos);
  return {};
}

}  // namespace merritt::tokens
