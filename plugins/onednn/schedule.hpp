// SPDX-License-Identifier: Apache-2.0
// From a checked graph to the phases of a step. A phase is work that may run on all workers at once; between two phases
// lies a barrier. Kinds: row phases (a list of row-local ops, a task is some rows), matrix phases (products that
// share a barrier, a task is a panel or some groups of weight rows) and attention phases, each followed by the merge of
// what several workers computed for one row (without tasks, and so without a barrier, where none was shared). An op
// joins the earliest phase that comes after all it needs, so a chain such as norm, rope, cache write, conversion costs
// one barrier.
// Immutable after build; shared by all programs of a model.
#pragma once
#include <cstdint>
#include <vector>

#include "onednn/row_form.hpp"
#include "support/plan.hpp"

namespace merritt::onednn {

enum class RowKind : uint8_t {
  kEmbed,
  kHidden,
  kRmsNorm,
  kLayerNorm,
  kAngles,
  kRope,
  kStoreK,
  kStoreV,
  kAdd,
  kScale,
  kGate,
  kAct,
  kSoftcap,
  kSelect,
  kPool,
  kConvert,
  kOutput
};
inline constexpr uint32_t kNoValue = UINT32_MAX;

/// Rows that the step keeps in memory: results of nodes, and forms of them that products read.
struct Value {
  uint16_t rows = 0;  // MRT_ROWS_*
  uint64_t row_bytes = 0;
  uint32_t first = 0, last = 0;  // phases between which it lives
  uint32_t ready = 0;            // the phase after which it may be read
  uint32_t output = kNoValue;    // lies in the staging output of this number instead
  bool bands = false;            // in tiles: of the last sixteen rows all have their place, used or not
};

struct RowOp {
  RowKind kind;
  uint32_t node = 0;  // whose attributes apply
  uint32_t in = kNoValue, in2 = kNoValue, out = kNoValue;
  uint32_t out_bf16 = kNoValue, out_q12 = kNoValue, out_q16 = kNoValue, out_pairs = kNoValue;  // kConvert
  uint32_t weight = kNoValue, bias = kNoValue;  // vectors, or the packed matrix of kEmbed
  uint32_t width = 0;
  uint32_t angles = kNoValue;  // index of the angle set
  uint32_t needed_by = 0;
  bool generated_only = false;  // PROMPT rows are made by products (GateOf)
};

/// For PROMPT rows in tiles: the product of `up`, an op of the same phase, goes through a gate made of this op's, and
/// only rows in bf16 for the next product are kept of both.
struct GateOf {
  uint32_t up = kNoValue, act = 0;
  uint32_t out_bf16 = kNoValue;
};

struct MatrixOp {
  uint32_t node = 0;
  uint32_t in = kNoValue, in_bf16 = kNoValue, in_codes = kNoValue, out = kNoValue;
  uint32_t matrix = 0, bias = kNoValue;
  bool prompt_bf16 = false;
  RowForm generated = RowForm::kF32;  // kPairs: PROMPT rows as well
  uint32_t needed_by = 0;
  GateOf gate;
  bool behind_gate = false;  // its PROMPT rows are made by the op whose `up` it is
};

struct AttentionOp {
  uint32_t node = 0;
  uint32_t q = kNoValue, out = kNoValue;
  uint32_t layer = 0;  // index of the uncached layer's own K and V, or unused
  uint32_t slot = 0;   // its place among the attention of its phase
  uint32_t needed_by = 0;
};

enum class PhaseKind : uint8_t { kRows, kMatrix, kAttention, kMerge };
struct Phase {
  PhaseKind kind = PhaseKind::kRows;
  uint16_t rows = 0;
  std::vector<RowOp> row_ops;
  std::vector<MatrixOp> matrix_ops;
  std::vector<AttentionOp> attention_ops;  // also those that a merge phase completes
  uint32_t needed_by = 0;
};

/// A vector weight as f32, with OFFSET added.
struct VectorUse {
  uint32_t weight = 0;
  double offset = 0;
};
/// Cosines and sines that several ROPE nodes share.
struct AngleSet {
  uint32_t node = 0;
  uint32_t value = kNoValue;
};
/// K and V of an uncached attention, in the layout of pages but in f32.
struct LocalKv {
  uint32_t kv_heads = 0, k_dim = 0, v_dim = 0;
};

struct Schedule {
  std::vector<Value> values;
  std::vector<Phase> phases;
  std::vector<uint32_t> matrices;  // plan weights that are packed
  std::vector<VectorUse> vectors;
  std::vector<AngleSet> angles;
  std::vector<LocalKv> local;
  std::vector<uint32_t> node_value;  // per plan node; kNoValue = none
};

/// What the device can do, as far as the choice of formats goes.
struct Formats {
  bool bf16 = false;   // PROMPT rows in bf16
  bool tiles = false;  // and as tiles
  bool exact = false;  // f32 throughout
  bool pairs = false;  // rows of both classes in that form
};

/// Finds the products that may be made together with their gate, and marks them and the row ops that this saves.
void join_gates(const plugin::Plan& plan, Schedule* s);
/// Of a GATE node.
bool is_joined(const Schedule& s, uint32_t node);

/// Declines, naming the node, what this plugin cannot do.
int32_t build_schedule(const plugin::Plan& plan, const Formats& formats, Schedule* out, mrt_error* err);

}  // namespace merritt::onednn
