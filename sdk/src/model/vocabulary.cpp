// SPDX-License-Identifier: Apache-2.0
#include "model/vocabulary.hpp"

#include <limits>
#include <string>

namespace merritt::model {
namespace {

// A token id that may be missing: -1.
Status read_id(const weights::Gguf& gguf, std::string_view key, int32_t& out) {
  MERRITT_TRY(const int64_t id, gguf.get_i64(key, -1));
  // Files write "none" as -1 or as its unsigned image.
  if (id == std::numeric_limits<uint32_t>::max() || id == -1) {
    out = -1;
    return {};
  }
  if (id < 0 || id > std::numeric_limits<int32_t>::max()) {
    return Status(Code::kCorrupt, std::string(key) + " is " + std::to_string(id) + "; it must be a token id");
  }
  out = static_cast<int32_t>(id);
  return {};
}

Status read_pieces(const weights::Gguf& gguf, tokens::Vocabulary& out) {
  MERRITT_TRY(const weights::StringArray pieces, gguf.get_strings("tokenizer.ggml.tokens"));
  out.ends.reserve(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    out.text += pieces[i];
    if (out.text.size() > std::numeric_limits<uint32_t>::max()) {
      return Status(Code::kCorrupt, "tokenizer.ggml.tokens holds more than 4 GiB of text");
    }
    out.ends.push_back(static_cast<uint32_t>(out.text.size()));
  }
  if (gguf.has("tokenizer.ggml.scores")) {
    MERRITT_TRY(out.scores, gguf.get_f32_array("tokenizer.ggml.scores"));
  } else {
    out.scores.assign(pieces.size(), 0.0f);
  }
  if (!gguf.has("tokenizer.ggml.token_type")) {
    out.types.assign(pieces.size(), tokens::TokenType::kNormal);
    return {};
  }
  MERRITT_TRY(const std::vector<int32_t> types, gguf.get_i32_array("tokenizer.ggml.token_type"));
  out.types.reserve(types.size());
  for (const int32_t type : types) {
    if (type < 1 || type > 6) {
      return Status(Code::kCorrupt, "tokenizer.ggml.token_type holds " + std::to_string(type) + "; known are 1 to 6");
    }
    out.types.push_back(static_cast<tokens::TokenType>(type));
  }
  return {};
}

}  // namespace

Result<tokens::Vocabulary> load_vocabulary(const weights::Gguf& gguf) {
  tokens::Vocabulary out;
  MERRITT_TRY(const std::string_view kind, gguf.get_string("tokenizer.ggml.model"));
  out.model = kind;
  if (out.model != "llama") {
    return Status(Code::kUnsupported, "tokenizer.ggml.model is \"" + out.model + "\"; supported is \"llama\" (SPM)");
  }
  MERRITT_CHECK(read_pieces(gguf, out));
  MERRITT_CHECK(read_id(gguf, "tokenizer.ggml.bos_token_id", out.bos));
  MERRITT_CHECK(read_id(gguf, "tokenizer.ggml.eos_token_id", out.eos));
  MERRITT_CHECK(read_id(gguf, "tokenizer.ggml.eot_token_id", out.eot));
  MERRITT_CHECK(read_id(gguf, "tokenizer.ggml.unknown_token_id", out.unknown));
  MERRITT_CHECK(read_id(gguf, "tokenizer.ggml.padding_token_id", out.padding));
  MERRITT_TRY(out.add_bos, gguf.get_bool("tokenizer.ggml.add_bos_token", true));
  MERRITT_TRY(out.add_eos, gguf.get_bool("tokenizer.ggml.add_eos_token", false));
  MERRITT_TRY(out.add_space_prefix, gguf.get_bool("tokenizer.ggml.add_space_prefix", true));
  MERRITT_TRY(const std::string_view chat_template, gguf.get_string("tokenizer.chat_template", ""));
  out.chat_template = chat_template;
  return out;
}

// Converters pad the list of pieces where a model has more rows than tokens, so that the numbers are equal in every
// file that is whole. A row without a piece could be drawn and have no text; a piece without a row could be asked for.
Result<tokens::Vocabulary> load_vocabulary(const ModelFile& file) {
  MERRITT_TRY(tokens::Vocabulary vocabulary, load_vocabulary(file.gguf));
  if (vocabulary.size() != file.info.vocabulary) {
    return Status(Code::kCorrupt, "tokenizer.ggml.tokens has " + std::to_string(vocabulary.size()) +
                                      " pieces, but the model's embedding has " + std::to_string(file.info.vocabulary) +
                                      " rows; convert the model again, its tokenizer belongs to another one");
  }
  return vocabulary;
}

}  // namespace merritt::model
