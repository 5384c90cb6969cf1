// SPDX-License-Identifier: Apache-2.0
// Which kernel runs each node, and its share of the step's multiply-adds: for `merritt bench --trace-kernels`.
#include <charconv>

#include "engine/compiled_model.hpp"

namespace merritt::engine {
namespace {

const char* op_name(uint32_t op) {
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

// Multiply-adds of one row: a linear node's weight elements. Nodes over wanted rows only run for one row in a prompt,
// so they are left out of a prompt's sum, as attention is, whose work depends on the length.
double node_flops(const mrt_graph& graph, const mrt_weight* weights, const mrt_node& node, uint32_t row_class) {
  if (node.op != MRT_OP_LINEAR || node.n_args < 2) return 0;
  if (row_class == MRT_CLASS_PROMPT && node.rows != MRT_ROWS_TOKENS) return 0;
  const uint32_t ref = graph.args[node.first_arg + 1];
  if ((ref >> 30) != 1) return 0;
  const mrt_weight& weight = weights[ref & 0x3FFFFFFFu];
  return 2.0 * static_cast<double>(weight.dims[0]) * static_cast<double>(weight.dims[1]);
}

}  // namespace

Result<std::string> CompiledModel::trace(const model::ModelFile& file, uint32_t row_class) const {
  const auto* extension =
      static_cast<const mrt_ext_trace*>(device_->plugin().extension(MRT_EXT_TRACE, sizeof(mrt_ext_trace)));
  if (extension == nullptr || extension->kernel_name == nullptr) {
    return Status(Code::kUnsupported, "backend " + device_->plugin().id() + " does not name its kernels");
  }
  const model::WeightSource source(file);
  const mrt_graph graph = file.graph.view();
  const mrt_weights weights = source.view();
  double total = 0;
  for (uint32_t i = 0; i < graph.n_nodes; ++i) total += node_flops(graph, weights.list, graph.nodes[i], row_class);
  std::string out;
  for (uint32_t i = 0; i < graph.n_nodes; ++i) {
    char name[128] = {};
    mrt_error error{};
    MERRITT_CHECK(device_->status(extension->kernel_name(model_, i, row_class, name, sizeof(name), &error), error));
    name[sizeof(name) - 1] = '\0';
    const double flops = node_flops(graph, weights.list, graph.nodes[i], row_class);
    char share[32];
    const auto end =
        std::to_chars(share, share + sizeof(share), total > 0 ? flops / total : 0.0, std::chars_format::fixed, 6);
    out += std::to_string(i) + " " + op_name(graph.nodes[i].op) + " " + name + " " + std::string(share, end.ptr) + "\n";
  }
  return out;
}

}  // namespace merritt::engine
