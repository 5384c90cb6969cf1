// SPDX-License-Identifier: Apache-2.0
#include "model_view.hpp"

#include <algorithm>
#include <bit>
#include <map>

#include "base/text.hpp"
#include "model/arch/arch.hpp"
#include "model/vocabulary.hpp"
#include "model/weights/gguf.hpp"
#include "model/weights/types.hpp"
#include "tokens/tokenizer.hpp"

namespace merritt::tools {
namespace {

namespace weights = model::weights;

constexpr size_t kTextShown = 200;

std::string number_text(weights::MetaType type, uint64_t bits) {
  switch (type) {
    case weights::MetaType::kBool: return bits != 0 ? "true" : "false";
    case weights::MetaType::kI8: return std::to_string(static_cast<int8_t>(bits));
    case weights::MetaType::kI16: return std::to_string(static_cast<int16_t>(bits));
    case weights::MetaType::kI32: return std::to_string(static_cast<int32_t>(bits));
    case weights::MetaType::kI64: return std::to_string(static_cast<int64_t>(bits));
    case weights::MetaType::kF32: return std::to_string(std::bit_cast<float>(static_cast<uint32_t>(bits)));
    case weights::MetaType::kF64: return std::to_string(std::bit_cast<double>(bits));
    default: return std::to_string(bits);
  }
}

std::string value_text(const weights::MetaValue& value) {
  if (value.type == weights::MetaType::kString) return clean_text(value.text, kTextShown);
  if (value.type == weights::MetaType::kArray) {
    return std::to_string(value.count) + " of " + std::string(weights::meta_type_name(value.element));
  }
  return number_text(value.type, value.bits);
}

std::string short_text(const weights::Gguf& gguf, std::string_view key) {
  const auto text = gguf.get_string(key, "");
  return text.ok() ? clean_text(*text, kTextShown) : std::string();
}

uint32_t number(const weights::Gguf& gguf, const std::string& key) {
  const auto value = gguf.get_u32(key, 0);
  return value.ok() ? *value : 0;
}

// "" or why text cannot be turned into tokens with this file.
std::string vocabulary_problem(const weights::Gguf& gguf) {
  auto vocabulary = model::load_vocabulary(gguf);
  if (!vocabulary.ok()) return std::string(vocabulary.status().message());
  const auto tokenizer = tokens::Tokenizer::create(std::move(vocabulary).value());
  return tokenizer.ok() ? "" : std::string(tokenizer.status().message());
}

void view_tensors(const weights::Gguf& gguf, FileView& view) {
  std::map<std::string, uint32_t> count;
  for (const weights::TensorInfo& tensor : gguf.tensors()) {
    const weights::ElementType* type = weights::find_element_type(tensor.type);
    TensorView out{.name = clean_text(tensor.name, kTextShown),
                   .type = type == nullptr ? "?" : std::string(type->name),
                   .dims = {tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims},
                   .bytes = tensor.bytes};
    uint64_t elements = 1;
    for (const uint64_t dim : out.dims) elements *= dim;
    view.parameters += elements;
    ++count[out.type];
    view.tensors.push_back(std::move(out));
  }
  std::vector<std::pair<std::string, uint32_t>> most_first(count.begin(), count.end());
  std::stable_sort(most_first.begin(), most_first.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [type, n] : most_first) {
    view.quantization += (view.quantization.empty() ? "" : ", ") + type + " " + std::to_string(n);
  }
}

}  // namespace

std::string view_file(const std::string& path, FileView& view) {
  auto source = weights::open_file_source(path);
  if (!source.ok()) return std::string(source.status().message());
  auto parsed = weights::Gguf::parse(*source);
  if (!parsed.ok()) return std::string(parsed.status().message());
  const weights::Gguf& gguf = *parsed;
  view.gguf_version = gguf.version();
  view.file_bytes = gguf.source().size();
  view.architecture = short_text(gguf, "general.architecture");
  view.name = short_text(gguf, "general.name");
  view.license = short_text(gguf, "general.license");
  view.layers = number(gguf, view.architecture + ".block_count");
  view.width = number(gguf, view.architecture + ".embedding_length");
  view.context = number(gguf, view.architecture + ".context_length");
  const auto tokens = gguf.get_strings("tokenizer.ggml.tokens");
  if (tokens.ok()) view.vocabulary = static_cast<uint32_t>(tokens->size());
  for (size_t i = 0; i < gguf.n_keys(); ++i) {
    const std::string_view key = gguf.key(i);
    view.metadata.emplace_back(clean_text(key, kTextShown), value_text(*gguf.find(key)));
  }
  view_tensors(gguf, view);
  const auto graph = model::arch::build_graph(gguf);
  if (!graph.ok()) {
    view.unsupported = std::string(graph.status().message());
  } else {
    view.unsupported = vocabulary_problem(gguf);
  }
  return "";
}

}  // namespace merritt::tools
