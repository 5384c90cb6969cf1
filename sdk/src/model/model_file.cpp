// SPDX-License-Identifier: Apache-2.0
#include "model/model_file.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "model/arch/arch.hpp"
#include "model/weights/types.hpp"

namespace merritt::model {
namespace {

constexpr size_t kTextShown = 127;

// A text of the header that only informs: one of a wrong type is left out rather than refused.
std::string text_of(const weights::Gguf& gguf, std::string_view key) {
  const auto text = gguf.get_string(key, "");
  return text.ok() ? clean_text(*text, kTextShown) : std::string();
}

// "F32 109, Q5_0 81, Q4_K 27": tensors by type, most first.
std::string quantization_of(const weights::Gguf& gguf) {
  std::vector<std::pair<uint32_t, uint32_t>> count;  // of each type
  for (const weights::TensorInfo& tensor : gguf.tensors()) {
    const auto at = std::find_if(count.begin(), count.end(), [&](const auto& c) { return c.second == tensor.type; });
    if (at == count.end()) {
      count.emplace_back(1, tensor.type);
    } else {
      ++at->first;
    }
  }
  std::stable_sort(count.begin(), count.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text;
  for (const auto& [n, type] : count) {
    const weights::ElementType* known = weights::find_element_type(type);
    text += (text.empty() ? "" : ", ") + std::string(known == nullptr ? "?" : known->name) + " " + std::to_string(n);
  }
  return text;
}

Result<ModelInfo> read_info(const weights::Gguf& gguf, const graph::Graph& graph) {
  ModelInfo info;
  MERRITT_TRY(const std::string_view architecture, gguf.get_string("general.architecture"));
  info.architecture = architecture;
  info.name = text_of(gguf, "general.name");
  info.license = text_of(gguf, "general.license");
  info.quantization = quantization_of(gguf);
  MERRITT_TRY(info.layers, gguf.get_u32(info.architecture + ".block_count"));
  MERRITT_TRY(info.width, gguf.get_u32(info.architecture + ".embedding_length"));
  info.vocabulary = graph.nodes()[graph.outputs()[0]].width;
  info.context_length = graph.max_context();
  for (const weights::TensorInfo& tensor : gguf.tensors()) {
    info.parameters += tensor.dims[0] * tensor.dims[1] * tensor.dims[2] * tensor.dims[3];
  }
  info.file_bytes = gguf.source().size();
  return info;
}

}  // namespace

Result<ModelFile> open_model(std::shared_ptr<const weights::Source> source, const weights::GgufLimits& limits) {
  MERRITT_TRY(weights::Gguf gguf, weights::Gguf::parse(std::move(source), limits));
  MERRITT_TRY(graph::Graph graph, arch::build_graph(gguf));
  MERRITT_TRY(ModelInfo info, read_info(gguf, graph));
  return ModelFile{std::move(gguf), std::move(graph), std::move(info)};
}

}  // namespace merritt::model
