// SPDX-License-Identifier: Apache-2.0
#include "model/graph/graph.hpp"

namespace merritt::model::graph {

mrt_graph Graph::view() const {
  mrt_graph view{};
  view.struct_size = sizeof(view);
  view.n_nodes = static_cast<uint32_t>(nodes_.size());
  view.n_args = static_cast<uint32_t>(args_.size());
  view.n_attrs = static_cast<uint32_t>(attrs_.size());
  view.n_outputs = static_cast<uint32_t>(outputs_.size());
  view.max_context = max_context_;
  view.nodes = nodes_.data();
  view.args = args_.data();
  view.attrs = attrs_.data();
  view.outputs = outputs_.data();
  return view;
}

std::span<const uint32_t> Graph::args(const mrt_node& node) const {
  return std::span(args_).subspan(node.first_arg, node.n_args);
}

std::span<const mrt_attr> Graph::attrs(const mrt_node& node) const {
  return std::span(attrs_).subspan(node.first_attr, node.n_attrs);
}

std::string_view op_name(uint32_t op) {
  switch (op) {
    case MRT_OP_EMBED: return "embed";
    case MRT_OP_LINEAR: return "linear";
    case MRT_OP_RMS_NORM: return "rms_norm";
    case MRT_OP_LAYER_NORM: return "layer_norm";
    case MRT_OP_ROPE: return "rope";
    case MRT_OP_ATTENTION: return "attention";
    case MRT_OP_ACT: return "act";
    case MRT_OP_GATE: return "gate";
    case MRT_OP_ADD: return "add";
    case MRT_OP_SCALE: return "scale";
    case MRT_OP_SOFTCAP: return "softcap";
    case MRT_OP_MOE: return "moe";
    case MRT_OP_SELECT_ROWS: return "select_rows";
    case MRT_OP_POOL: return "pool";
    default: return "unknown";
  }
}

}  // namespace merritt::model::graph
