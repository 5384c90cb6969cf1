// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "base/text.hpp"
#include "model/arch/arch.hpp"
#include "model/arch/architectures.hpp"

namespace merritt::model::arch {
namespace {

struct Architecture {
  std::string_view name;
  Result<graph::Graph> (*build)(const weights::Gguf& gguf, graph::GraphBuilder::Catalogue catalogue);
};

constexpr Architecture kArchitectures[] = {
    {"cohere2", build_cohere2},
    {"gemma3", build_gemma3},
    {"llama", build_llama},
    {"qwen3", build_qwen3},
};

constexpr auto kNames = [] {
  std::array<std::string_view, std::size(kArchitectures)> names;
  for (size_t i = 0; i < names.size(); ++i) names[i] = kArchitectures[i].name;
  return names;
}();

graph::GraphBuilder::Catalogue catalogue_of(const weights::Gguf& gguf) {
  return [&gguf](std::string_view name) -> std::optional<graph::WeightInfo> {
    const weights::TensorInfo* tensor = gguf.find_tensor(name);
    if (tensor == nullptr) return std::nullopt;
    return graph::WeightInfo{.name = tensor->name,
                             .type = tensor->type,
                             .n_dims = tensor->n_dims,
                             .dims = tensor->dims,
                             .bytes = tensor->bytes,
                             .tensor = static_cast<uint32_t>(tensor - gguf.tensors().data())};
  };
}

// Tables that old converters wrote and that follow from the header anyway.
bool is_redundant(std::string_view tensor) {
  return tensor.ends_with(".attn_rot_embd.weight") || tensor.ends_with(".rotary_emb.inv_freq");
}

// A tensor nobody uses means mathematics this version does not know, such as a bias: wrong results, not a detail.
Status check_all_used(const weights::Gguf& gguf, const graph::Graph& graph, std::string_view name) {
  std::vector<bool> used(gguf.tensors().size(), false);
  for (const graph::WeightInfo& weight : graph.weights()) used[weight.tensor] = true;
  for (size_t i = 0; i < used.size(); ++i) {
    const std::string& tensor = gguf.tensors()[i].name;
    if (used[i] || is_redundant(tensor)) continue;
    return Status(Code::kUnsupported, "tensor '" + clean_text(tensor, 64) + "' has no place in the architecture " +
                                          std::string(name) + " as this version builds it");
  }
  return {};
}

}  // namespace

std::span<const std::string_view> supported_architectures() { return kNames; }

Result<graph::Graph> build_graph(const weights::Gguf& gguf) {
  MERRITT_TRY(const std::string_view name, gguf.get_string("general.architecture"));
  const auto* found = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                   [&](const Architecture& a) { return a.name == name; });
  if (found == std::end(kArchitectures)) {
    std::string list;
    for (const std::string_view known : kNames) list += (list.empty() ? "" : ", ") + std::string(known);
    return Status(Code::kUnsupported, "architecture '" + clean_text(name, 40) + "' is not supported; " + list + " are");
  }
  MERRITT_TRY(graph::Graph graph, found->build(gguf, catalogue_of(gguf)));
  MERRITT_CHECK(check_all_used(gguf, graph, name));
  return graph;
}

}  // namespace merritt::model::arch
