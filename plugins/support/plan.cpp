// SPDX-License-Identifier: Apache-2.0
// From the caller's arrays to a Plan: bounds, references and attributes here, shapes in plan_ops.cpp.
#include "support/plan.hpp"

#include "support/blocks.hpp"
#include "support/plan_ops.hpp"

namespace merritt::plugin {
namespace {

// More than any model has; a graph beyond it is damaged, and the plan stays in the megabytes.
constexpr uint32_t kMaxNodes = 1u << 17;
constexpr uint32_t kMaxWeights = 1u << 17;
constexpr uint64_t kMaxDim = 1ull << 32;

int32_t check_arrays(const mrt_graph& g, mrt_error* err) noexcept {
  const struct {
    const char* name;
    uint32_t count, max;
    const void* array;
  } arrays[] = {
      {"nodes", g.n_nodes, kMaxNodes, g.nodes},
      {"args", g.n_args, kMaxNodes * kMaxArgs, g.args},
      {"attrs", g.n_attrs, kMaxNodes * 32, g.attrs},
      {"outputs", g.n_outputs, MRT_MAX_OUTPUTS, g.outputs},
  };
  for (const auto& a : arrays) {
    if (a.count > a.max) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "graph: %u %s, at most %u", a.count, a.name, a.max);
    }
    if (a.count != 0 && a.array == nullptr) return fail_call(err, MRT_INVALID_ARGUMENT, "graph: %s is null", a.name);
  }
  if (g.n_nodes == 0) return fail_call(err, MRT_INVALID_ARGUMENT, "graph: no nodes");
  return MRT_OK;
}

int32_t parse_ref(uint32_t raw, uint32_t node, uint32_t n_weights, Ref* out, mrt_error* err) noexcept {
  const uint32_t index = raw & 0x3fffffffu;
  switch (raw >> 30) {
    case 0:
      if (index >= node)
        return refuse_node(err, MRT_INVALID_ARGUMENT, node, "refers to node %u, not an earlier one", index);
      *out = {RefKind::kNode, index};
      return MRT_OK;
    case 1:
      if (index >= n_weights)
        return refuse_node(err, MRT_INVALID_ARGUMENT, node, "refers to weight %u of %u", index, n_weights);
      *out = {RefKind::kWeight, index};
      return MRT_OK;
    case 2:
      if (index > MRT_IN_HIDDEN) return refuse_node(err, MRT_UNSUPPORTED, node, "input %u is not known", index);
      *out = {RefKind::kInput, index};
      return MRT_OK;
    default:
      if (index != 0) return refuse_node(err, MRT_INVALID_ARGUMENT, node, "reference %08x is malformed", raw);
      *out = {RefKind::kNone, 0};
      return MRT_OK;
  }
}

int32_t parse_attributes(const mrt_graph& g, const mrt_node& n, const OpRule& rule, uint32_t i, Attributes* a,
                         mrt_error* err) noexcept {
  uint64_t seen = 0;
  for (uint32_t k = 0; k < n.n_attrs; ++k) {
    const mrt_attr& attr = g.attrs[n.first_attr + k];
    const uint64_t bit = attribute_bit(attr.key);
    if (bit == 0) return refuse_node(err, MRT_UNSUPPORTED, i, "%s attribute %u is not known", rule.name, attr.key);
    if ((bit & rule.attributes) == 0) {
      return refuse_node(err, MRT_UNSUPPORTED, i, "%s does not take attribute %u (%s)", rule.name, attr.key,
                         attribute_name(attr.key));
    }
    if ((bit & seen) != 0) {
      return refuse_node(err, MRT_INVALID_ARGUMENT, i, "%s is given twice", attribute_name(attr.key));
    }
    if (attr.reserved != 0) {
      return refuse_node(err, MRT_UNSUPPORTED, i, "attribute %s has reserved bits set", attribute_name(attr.key));
    }
    seen |= bit;
    MERRITT_PLUGIN_TRY(set_attribute(i, rule.name, attr, a, err));
  }
  return MRT_OK;
}

int32_t parse_node(const mrt_graph& g, uint32_t i, Plan* plan, mrt_error* err) {
  const mrt_node& n = g.nodes[i];
  const OpRule* rule = op_rule(n.op);
  if (rule == nullptr) return refuse_node(err, MRT_UNSUPPORTED, i, "op %u is not known", n.op);
  if (n.rows > MRT_ROWS_SEQS) return refuse_node(err, MRT_UNSUPPORTED, i, "rows kind %u is not known", n.rows);
  if (n.width == 0 || n.width > (1u << 24)) {
    return refuse_node(err, MRT_INVALID_ARGUMENT, i, "width %u is not in [1, 2^24]", n.width);
  }
  if (n.first_arg > g.n_args || n.n_args > g.n_args - n.first_arg) {
    return refuse_node(err, MRT_INVALID_ARGUMENT, i, "arguments %u + %u lie outside the %u given", n.first_arg,
                       n.n_args, g.n_args);
  }
  if (n.first_attr > g.n_attrs || n.n_attrs > g.n_attrs - n.first_attr) {
    return refuse_node(err, MRT_INVALID_ARGUMENT, i, "attributes %u + %u lie outside the %u given", n.first_attr,
                       n.n_attrs, g.n_attrs);
  }
  if (n.n_args < rule->min_args || n.n_args > rule->max_args) {
    return refuse_node(err, n.n_args > rule->max_args ? MRT_UNSUPPORTED : MRT_INVALID_ARGUMENT, i,
                       "%s takes %u to %u arguments, not %u", rule->name, rule->min_args, rule->max_args, n.n_args);
  }
  PlanNode node;
  node.op = n.op;
  node.rows = n.rows;
  node.width = n.width;
  node.n_args = n.n_args;
  for (uint32_t k = 0; k < n.n_args; ++k) {
    MERRITT_PLUGIN_TRY(
        parse_ref(g.args[n.first_arg + k], i, static_cast<uint32_t>(plan->weights.size()), &node.args[k], err));
  }
  MERRITT_PLUGIN_TRY(parse_attributes(g, n, *rule, i, &node.a, err));
  plan->nodes.push_back(node);
  return check_node(plan, i, err);
}

int32_t parse_weight(const mrt_weight& w, uint32_t i, PlanWeight* out, mrt_error* err) {
  const auto refuse = [&](int32_t code, const char* why) {
    return fail(err, code, MRT_BLAST_CALL, i, "weight %u (%.80s): %s", i, out->name.c_str(), why);
  };
  if (w.name != nullptr) out->name.assign(w.name, w.name_len < 256 ? w.name_len : 256);
  const TypeInfo* type = type_info(w.type);
  if (type == nullptr) {
    return fail(err, MRT_UNSUPPORTED, MRT_BLAST_CALL, i, "weight %u (%.80s): type %u is not known", i,
                out->name.c_str(), w.type);
  }
  if (w.reserved != 0) return refuse(MRT_UNSUPPORTED, "reserved bits are set");
  if (w.n_dims == 0 || w.n_dims > 4) return refuse(MRT_INVALID_ARGUMENT, "the number of dimensions is not 1 to 4");
  out->type = w.type;
  out->n_dims = w.n_dims;
  uint64_t rows = 1;
  for (uint32_t d = 0; d < 4; ++d) {
    out->dims[d] = d < w.n_dims ? w.dims[d] : 1;
    if (out->dims[d] == 0 || out->dims[d] > kMaxDim) return refuse(MRT_INVALID_ARGUMENT, "a dimension is out of range");
    if (d > 0 && __builtin_mul_overflow(rows, out->dims[d], &rows)) {
      return refuse(MRT_INVALID_ARGUMENT, "the product of the dimensions overflows");
    }
  }
  out->cols = out->dims[0];
  out->rows = rows;
  if (out->cols % type->block_elements != 0)
    return refuse(MRT_INVALID_ARGUMENT, "a row is not a whole number of blocks");
  out->row_bytes = row_bytes(w.type, out->cols);
  if (__builtin_mul_overflow(out->row_bytes, rows, &out->bytes) || out->bytes != w.bytes) {
    return refuse(MRT_INVALID_ARGUMENT, "bytes is not what type and dimensions make");
  }
  return MRT_OK;
}

// A weight is refused in the name of the first node that reads it: a refusal is about the graph.
int32_t refuse_weight_as_node(const mrt_graph& g, int32_t code, mrt_error* err) noexcept {
  const uint32_t ref = MRT_REF_WEIGHT(err->index);
  for (uint32_t i = 0; err->index != kNoIndex && i < g.n_nodes; ++i) {
    const mrt_node& n = g.nodes[i];
    if (n.first_arg > g.n_args || n.n_args > g.n_args - n.first_arg) continue;
    for (uint32_t k = 0; k < n.n_args; ++k) {
      if (g.args[n.first_arg + k] != ref) continue;
      char text[sizeof err->message];
      copy_text(text, sizeof text, err->message);
      return refuse_node(err, code, i, "%s", text);
    }
  }
  return code;
}

}  // namespace

int32_t parse_weights(const mrt_weights& weights, std::vector<PlanWeight>* out, mrt_error* err) {
  if (weights.n_weights > kMaxWeights || (weights.n_weights != 0 && weights.list == nullptr)) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "weights: %u, at most %u, and not null", weights.n_weights,
                     kMaxWeights);
  }
  if (weights.n_weights != 0 && weights.read == nullptr) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "mrt_weights.read is null");
  }
  out->clear();
  out->reserve(weights.n_weights);
  for (uint32_t i = 0; i < weights.n_weights; ++i) {
    out->emplace_back();
    MERRITT_PLUGIN_TRY(parse_weight(weights.list[i], i, &out->back(), err));
  }
  return MRT_OK;
}

int32_t parse_graph(const mrt_graph* graph, const mrt_weights* weights, Plan* plan, mrt_error* err) {
  mrt_graph g{};
  mrt_weights w{};
  MERRITT_PLUGIN_TRY(take_struct(graph, &g, "mrt_graph", err));
  MERRITT_PLUGIN_TRY(take_struct(weights, &w, "mrt_weights", err));
  MERRITT_PLUGIN_TRY(check_arrays(g, err));
  *plan = Plan{};
  plan->max_context = g.max_context;
  const int32_t weights_code = parse_weights(w, &plan->weights, err);
  if (weights_code != MRT_OK) return refuse_weight_as_node(g, weights_code, err);
  plan->nodes.reserve(g.n_nodes);
  for (uint32_t i = 0; i < g.n_nodes; ++i) MERRITT_PLUGIN_TRY(parse_node(g, i, plan, err));
  for (uint32_t o = 0; o < g.n_outputs; ++o) {
    if (g.outputs[o] >= g.n_nodes) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "graph: output %u is node %u of %u", o, g.outputs[o], g.n_nodes);
    }
    plan->outputs.push_back(g.outputs[o]);
  }
  MERRITT_PLUGIN_TRY(derive_groups(plan, err));
  derive_uses(plan);
  return MRT_OK;
}

int32_t check_compile_flags(uint32_t flags, mrt_error* err) noexcept {
  const uint32_t unknown = flags & ~static_cast<uint32_t>(MRT_COMPILE_PLAN_ONLY | MRT_COMPILE_EXACT);
  if (unknown != 0) return fail_call(err, MRT_UNSUPPORTED, "compile flags %08x are not known", unknown);
  return MRT_OK;
}

}  // namespace merritt::plugin
