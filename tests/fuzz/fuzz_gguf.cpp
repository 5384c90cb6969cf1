// SPDX-License-Identifier: Apache-2.0
// Any bytes as a model file: header, graph, vocabulary and tokenizer either work or answer a typed error, within memory
// that the file's size bounds. What was accepted is then used: every getter, every tensor's range, a short encoding.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "model/model_file.hpp"
#include "model/vocabulary.hpp"
#include "tokens/chat_template.hpp"
#include "tokens/tokenizer.hpp"

namespace {

using namespace merritt;

void use_vocabulary(const model::weights::Gguf& gguf) {
  auto vocabulary = model::load_vocabulary(gguf);
  if (!vocabulary.ok()) return;
  const std::string source = vocabulary.value().chat_template;
  auto tokenizer = tokens::Tokenizer::create(std::move(vocabulary).value());
  if (!tokenizer.ok()) return;
  std::vector<int32_t> ids;
  if (!tokenizer.value()->encode("Once <s>\xC3\xA9\xFF x", {}, ids).ok()) return;
  std::string scratch;
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
  (void)model::open_model(source);
  return 0;
}
