// SPDX-License-Identifier: Apache-2.0
// A graph after checking: every reference resolved, every attribute typed, every shape proven. A plugin that works from
// a Plan never looks at the caller's arrays again. Everything not known is refused by name; nothing is guessed.
// Immutable after parse_graph; holds no pointer of the caller.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "merritt/backend.h"
#include "support/error.hpp"

namespace merritt::plugin {

inline constexpr uint32_t kMaxArgs = 6;
inline constexpr uint32_t kNoLayer = UINT32_MAX;
/// Bit of PlanNode::needed_by: the node's result ends up in the cache (k or v of a caching attention).
inline constexpr uint32_t kNeededByCache = 0x80000000u;

enum class RefKind : uint8_t { kNode, kWeight, kInput, kNone };
struct Ref {
  RefKind kind = RefKind::kNone;
  uint32_t index = 0;
  bool is_node() const noexcept { return kind == RefKind::kNode; }
  bool is_weight() const noexcept { return kind == RefKind::kWeight; }
  bool is_none() const noexcept { return kind == RefKind::kNone; }
};

/// All attributes a node may carry; the ones its op does not take keep their defaults.
struct Attributes {
  uint32_t head_dim = 0, v_dim = 0, heads = 0, kv_heads = 0;
  uint32_t kv_layer = kNoLayer;  // from 0
  uint32_t window = 0, mask = 0;
  uint32_t rot_dim = 0, style = 0, scaling = 0, orig_ctx = 0;
  uint32_t act = 0, experts = 0, top_k = 0, score = 0, norm_topk = 0, pool = 0;
  double eps = 0, offset = 0, base = 0, scale = 1, softcap = 0, factor = 0, beta_fast = 0, beta_slow = 0;
};

/// What each argument position means, op by op:
///   EMBED ids, table · LINEAR x, w, [bias] · RMS_NORM x, [w] · LAYER_NORM x, [w], [b] · ROPE x, positions, [factors]
///   ATTENTION q, [k], [v], [sinks] · ACT x · GATE a, b · ADD a, b · SCALE x, [w] · SOFTCAP x
///   MOE x, router (a node: logits of the experts), gate, up, down, [bias] · SELECT_ROWS x · POOL x
struct PlanNode {
  uint16_t op = 0, rows = 0;  // MRT_OP_*, MRT_ROWS_*
  uint32_t width = 0;
  uint32_t n_args = 0;
  Ref args[kMaxArgs];                   // positions after n_args are none
  Attributes a;                         // defaults resolved: v_dim and rot_dim 0 become head_dim
  uint32_t group = 0, group_layer = 0;  // caching attention: its KV group and the ordinal of its layer inside it
  bool caches = false;                  // attention that writes k, v into the cache
  uint32_t needed_by = 0;               // bit i = graph output i, kNeededByCache; 0 = dead
  uint32_t last_use = 0;  // the last node that reads the result (itself when none); outputs live to the end
};

struct PlanWeight {
  std::string name;
  uint32_t type = 0, n_dims = 0;
  uint64_t dims[4] = {1, 1, 1, 1};
  uint64_t cols = 0, rows = 0;  // cols = dims[0]; rows = product of the others
  uint64_t row_bytes = 0, bytes = 0;
};

struct KvLayer {
  uint32_t kv_layer = 0, node = 0;  // as in the graph, from 0; the node that caches it
  uint32_t group = 0, group_layer = 0;
  uint32_t kv_heads = 0, k_dim = 0, v_dim = 0;
};
struct KvGroup {
  uint32_t window = 0;           // 0 = every token stays visible
  std::vector<uint32_t> layers;  // indexes into Plan::kv_layers, in node order
};

struct Plan {
  std::vector<PlanNode> nodes;
  std::vector<PlanWeight> weights;
  std::vector<uint32_t> outputs;  // node indexes
  uint32_t max_context = 0;       // 0 = not stated
  std::vector<KvGroup> groups;
  std::vector<KvLayer> kv_layers;
  bool reads_tokens = false, reads_positions = false, reads_types = false, reads_hidden = false;
  uint32_t hidden_width = 0;
  // An id of the step must be below these (the shortest table it indexes); UINT32_MAX when it indexes none.
  uint32_t token_limit = UINT32_MAX, position_limit = UINT32_MAX, type_limit = UINT32_MAX;
  bool whole_sequence = false;  // uncached attention or pooling: a sequence must fit one step
};

/// Checks graph and weights (their descriptions; reads no byte) and fills *plan. On failure *plan is unspecified, the
/// code is MRT_UNSUPPORTED for what this support library does not know and MRT_INVALID_ARGUMENT for what is malformed,
/// and err->index is the node.
int32_t parse_graph(const mrt_graph* graph, const mrt_weights* weights, Plan* plan, mrt_error* err);

/// Checks the list of weights alone (adapters use it).
int32_t parse_weights(const mrt_weights& weights, std::vector<PlanWeight>* out, mrt_error* err);

/// Refuses compile flags other than the known ones.
int32_t check_compile_flags(uint32_t flags, mrt_error* err) noexcept;

/// "attention", "linear", ..; null when not known.
const char* op_name(uint32_t op) noexcept;
/// "head_dim", ..; null when not known.
const char* attribute_name(uint32_t key) noexcept;

/// A refusal that names the node: "node 2: <text>".
[[gnu::format(printf, 4, 5)]] int32_t refuse_node(mrt_error* err, int32_t code, uint32_t node, const char* format,
                                                  ...) noexcept;

}  // namespace merritt::plugin
