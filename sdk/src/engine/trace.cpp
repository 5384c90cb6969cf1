// SPDX-License-Identifier: Apache-2.0
// Which kernel runs each node, and its share of the step's multiply-adds, those of attention at one length: for
// `merritt bench --trace-kernels`.
#include <algorithm>
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

// The length at which shares are counted: attention's depends on it.
constexpr double kTracedTokens = 512;

int64_t attribute(const mrt_graph& graph, const mrt_node& node, uint32_t key) {
  for (uint32_t i = 0; i < node.n_attrs; ++i) {
    const mrt_attr& attr = graph.attrs[node.first_attr + i];
    if (attr.key == key) return attr.v.i;
  }
  return 0;
}

// Twice the multiply-adds of q kT and of the weighted sum of v, over the keys that the tokens see: those of a whole
// prompt, or those of one token after it.
double attention_flops(const mrt_graph& graph, const mrt_node& node, double tokens, uint32_t row_class) {
  const auto window = static_cast<double>(attribute(graph, node, MRT_A_WINDOW));
  const double seen = window > 0 && window < tokens ? window : tokens;
  // Of a prompt, the first tokens see a triangle, the rest a whole window each.
  const double keys = row_class == MRT_CLASS_PROMPT ? seen * (seen + 1) / 2 + (tokens - seen) * seen : seen;
  const int64_t head_dim = attribute(graph, node, MRT_A_HEAD_DIM);
  const int64_t v_dim = attribute(graph, node, MRT_A_V_DIM);
  const int64_t dims = head_dim + (v_dim != 0 ? v_dim : head_dim);
  return 2.0 * keys * static_cast<double>(attribute(graph, node, MRT_A_HEADS)) * static_cast<double>(dims);
}

// FLOPs of a prompt of kTracedTokens, or of one token after it. Nodes over wanted rows run for one row of the prompt.
double node_flops(const mrt_graph& graph, const mrt_weight* weights, const mrt_node& node, uint32_t row_class) {
  const double tokens = std::min<double>(kTracedTokens, graph.max_context);
  if (node.op == MRT_OP_ATTENTION) return attention_flops(graph, node, tokens, row_class);
  if (node.op != MRT_OP_LINEAR || node.n_args < 2) return 0;
  const uint32_t ref = graph.args[node.first_arg + 1];
  if ((ref >> 30) != 1) return 0;
  const mrt_weight& weight = weights[ref & 0x3FFFFFFFu];
  const double rows = row_class == MRT_CLASS_PROMPT && node.rows == MRT_ROWS_TOKENS ? tokens : 1;
  return 2.0 * rows * static_cast<double>(weight.dims[0]) * static_cast<double>(weight.dims[1]);
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
    const int32_t code = backend::fenced(extension->kernel_name, model_, i, row_class, name,
                                         static_cast<uint32_t>(sizeof(name)), &error);
    MERRITT_CHECK(device_->status(code, error));
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
