// SPDX-License-Identifier: Apache-2.0
// Any bytes as a model file: header, graph, vocabulary and tokenizer either work or answer a typed error, within memory
// that the file's size bounds. What was accepted is then used: every getter, every tensor's range, a short encoding.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_file.hpp"
#include "model/vocabulary.hpp"
#include "tokens/chat_template.hpp"
#include "tokens/detokenizer.hpp"
#include "tokens/tokenizer.hpp"
#include "tokens/utf8.hpp"

namespace {

using namespace merritt;

void use_vocabulary(const model::weights::Gguf& gguf) {
  auto vocabulary = model::load_vocabulary(gguf);
  if (!vocabulary.ok()) return;
  const std::string source = vocabulary.value().chat_template;
  auto tokenizer = tokens::Tokenizer::create(std::move(vocabulary).value());
  if (!tokenizer.ok()) return;
  std::string scratch, text;
  tokens::Detokenizer detokenizer(*tokenizer.value(), true);
  for (size_t id = 0; id <= tokenizer.value()->size(); ++id) detokenizer.push(static_cast<int32_t>(id), text);
  detokenizer.flush(text);
  for (std::string_view rest = text; !rest.empty();) {
    const tokens::Utf8Step step = tokens::utf8_step(rest);
    if (step.state != tokens::Utf8State::kWhole) std::abort();  // half a character
    rest.remove_prefix(step.bytes);
  }
  std::vector<int32_t> ids;
  text = "Once <s>\xC3\xA9\xFF x " + text.substr(0, 2000);  // its own pieces, special ones too
  if (!tokenizer.value()->encode(text, {.add_bos_eos = true, .parse_special = true}, ids).ok()) return;
  for (int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= tokenizer.value()->size()) std::abort();  // an id that is no token
    (void)tokenizer.value()->bytes(id, scratch);
  }
  (void)tokens::ChatTemplate::compile(source);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  auto source = model::weights::memory_source(std::vector<std::byte>(bytes, bytes + size));
  auto parsed = model::weights::Gguf::parse(source);
  if (!parsed.ok()) return 0;
  for (const model::weights::TensorInfo& tensor : parsed.value().tensors()) {
    if (tensor.offset > size || tensor.bytes > size - tensor.offset) std::abort();  // accepted outside the file
    if (parsed.value().find_tensor(tensor.name) != &tensor) std::abort();
  }
  for (size_t i = 0; i < parsed.value().n_keys(); ++i) {
    const auto key = parsed.value().key(i);
    (void)parsed.value().get_i64(key);
    (void)parsed.value().get_f32(key);
    (void)parsed.value().get_strings(key);
    (void)parsed.value().get_i32_array(key);
    (void)parsed.value().get_f32_array(key);
    (void)parsed.value().get_u32_per_layer(key, 4);
  }
  use_vocabulary(parsed.value());
  const auto file = model::open_model(source);
  if (!file.ok()) return 0;
  const auto vocabulary = model::load_vocabulary(*file);
  if (vocabulary.ok() && vocabulary.value().size() != file.value().info.vocabulary)
    std::abort();  // ids without a piece
  return 0;
}
