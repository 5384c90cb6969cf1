// SPDX-License-Identifier: Apache-2.0
#include "engine/plugin_answers.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace merritt::engine {
namespace {

Status lie(const std::string& plugin, const std::string& text) { return Status(Code::kBackend, plugin + ": " + text); }

int64_t attribute(const model::graph::Graph& graph, const mrt_node& node, uint32_t key) {
  for (const mrt_attr& attr : graph.attrs(node)) {
    if (attr.key == key) return attr.v.i;
  }
  return 0;
}

// Names the first array that is not there.
const char* missing_array(const mrt_staging& s, uint32_t n_groups) {
  if (s.token == nullptr) return "token";
  if (s.position == nullptr) return "position";
  if (s.rows == nullptr) return "rows";
  if (s.seq_first == nullptr) return "seq_first";
  if (s.seq_tokens == nullptr) return "seq_tokens";
  if (s.seq_past == nullptr) return "seq_past";
  if (s.seq_class == nullptr) return "seq_class";
  if (s.seq_key == nullptr) return "seq_key";
  if (s.seq_status == nullptr) return "seq_status";
  if (s.output[0].data == nullptr) return "output[0]";
  for (uint32_t g = 0; g < n_groups; ++g) {
    if (s.pages[g] == nullptr) return "pages";
    if (s.page_base[g] == nullptr) return "page_base";
  }
  return nullptr;
}

}  // namespace

std::vector<uint32_t> cache_windows(const model::graph::Graph& graph) {
  std::vector<uint32_t> windows;
  for (const mrt_node& node : graph.nodes()) {
    if (node.op != MRT_OP_ATTENTION || attribute(graph, node, MRT_A_KV_LAYER) == 0) continue;
    const auto window = static_cast<uint32_t>(attribute(graph, node, MRT_A_WINDOW));
    if (std::find(windows.begin(), windows.end(), window) == windows.end()) windows.push_back(window);
  }
  return windows;
}

Status check_kv_spec(const mrt_kv_spec& spec, const mrt_kv_policy& policy, std::span<const uint32_t> windows,
                     const std::string& plugin) {
  if (windows.size() > MRT_MAX_GROUPS) {
    return Status(Code::kUnsupported, "the model has " + std::to_string(windows.size()) +
                                          " KV groups; the backend ABI has room for " + std::to_string(MRT_MAX_GROUPS));
  }
  if (spec.n_groups != windows.size()) {
    return lie(plugin, "answers " + std::to_string(spec.n_groups) + " KV groups; the graph has " +
                           std::to_string(windows.size()));
  }
  uint64_t pool_bytes = 0;
  for (uint32_t g = 0; g < spec.n_groups; ++g) {
    const mrt_kv_group& group = spec.group[g];
    const std::string name = "KV group " + std::to_string(g);
    if (group.window != windows[g]) {
      return lie(plugin, name + " has window " + std::to_string(group.window) + "; the graph says " +
                             std::to_string(windows[g]));
    }
    const auto page = checked_mul<uint64_t>(group.n_planes, group.plane_bytes);
    if (!page || *page == 0) return lie(plugin, name + " has a page size that is not usable");
    const auto bytes = checked_mul<uint64_t>(*page, policy.n_pages[g]);
    const auto sum = bytes ? checked_add<uint64_t>(pool_bytes, *bytes) : std::nullopt;
    if (!sum) return lie(plugin, name + " is larger than numbers can count");
    pool_bytes = *sum;
  }
  return {};
}

Status check_staging(const mrt_staging& staging, const mrt_program_policy& policy, uint32_t n_groups,
                     uint32_t vocabulary, const std::string& plugin) {
  if (staging.n_slots == 0) return lie(plugin, "the program has no slot for a step");
  if (const char* missing = missing_array(staging, n_groups)) {
    return lie(plugin, std::string("its staging has no array ") + missing + ", which every step needs");
  }
  const mrt_output& output = staging.output[0];
  if (output.width != vocabulary) {
    return lie(plugin, "its logits are " + std::to_string(output.width) + " wide; the vocabulary has " +
                           std::to_string(vocabulary) + " tokens");
  }
  if (output.max_rows < policy.max_rows) {
    return lie(plugin, "it has room for " + std::to_string(output.max_rows) + " rows of logits; asked for were " +
                           std::to_string(policy.max_rows));
  }
  return {};
}

}  // namespace merritt::engine
