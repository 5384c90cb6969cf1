// SPDX-License-Identifier: Apache-2.0
// act(x Wg) * (x Wu) of PROMPT rows in tiles. On its own each of the three writes rows as wide as the model's widest
// layer in f32, which do not fit a cache and are read again by the next phase. Side by side in one task the sums of
// both products stay in the second cache, and only the bf16 rows of the next product leave it.
#include <algorithm>

#include "onednn/packed.hpp"
#include "onednn/schedule.hpp"
#include "onednn/tiles.hpp"

namespace merritt::onednn {
namespace {
using namespace plugin;

// How often a value is read: by row ops (conversions to the forms that products read apart), by products, by attention.
struct Readers {
  uint32_t row_ops = 0, conversions = 0, in_f32 = 0;
};

Readers readers_of(const Schedule& s, uint32_t value) {
  Readers found;
  for (const Phase& phase : s.phases) {
    for (const RowOp& op : phase.row_ops) {
      const uint32_t times = (op.in == value ? 1u : 0u) + (op.in2 == value ? 1u : 0u);
      (op.kind == RowKind::kConvert ? found.conversions : found.row_ops) += times;
    }
    for (const MatrixOp& op : phase.matrix_ops) found.in_f32 += op.in == value && op.in_bf16 == kNoValue ? 1 : 0;
    for (const AttentionOp& op : phase.attention_ops) found.row_ops += op.q == value ? 1 : 0;
  }
  return found;
}

// Read by nothing but one row op, so that nobody misses it.
bool is_passing(const Schedule& s, uint32_t value) {
  const Readers r = readers_of(s, value);
  return s.values[value].output == kNoValue && r.row_ops == 1 && r.conversions == 0 && r.in_f32 == 0;
}

struct Place {
  uint32_t phase = 0, op = kNoValue;
};
Place product_of(const Schedule& s, uint32_t value) {
  for (uint32_t p = 0; p < s.phases.size(); ++p) {
    const auto& ops = s.phases[p].matrix_ops;
    const auto it = std::find_if(ops.begin(), ops.end(), [&](const MatrixOp& op) { return op.out == value; });
    if (it != ops.end()) return {p, static_cast<uint32_t>(it - ops.begin())};
  }
  return {};
}

// Same rows, same inputs, outputs that fill tiles of the next product's rows.
bool fit_together(const Plan& plan, const Schedule& s, const MatrixOp& a, const MatrixOp& b) {
  const PlanWeight &wa = plan.weights[s.matrices[a.matrix]], &wb = plan.weights[s.matrices[b.matrix]];
  Packed pa, pb;
  if (!describe_packed(wa.type, wa.rows, wa.cols, &pa) || !describe_packed(wb.type, wb.rows, wb.cols, &pb))
    return false;
  return a.in_bf16 != kNoValue && a.in_bf16 == b.in_bf16 && a.bias == kNoValue && b.bias == kNoValue &&
         a.needed_by == b.needed_by && wa.rows == wb.rows && wa.rows % kTileDepth == 0 && pa.padded == pb.padded;
}

void join(const Plan& plan, Schedule* s, RowOp* gate) {
  if (gate->in == gate->in2 || !is_passing(*s, gate->in) || !is_passing(*s, gate->in2)) return;
  const Place a = product_of(*s, gate->in), b = product_of(*s, gate->in2);
  if (a.op == kNoValue || b.op == kNoValue || a.phase != b.phase) return;
  MatrixOp &first = s->phases[a.phase].matrix_ops[a.op], &second = s->phases[b.phase].matrix_ops[b.op];
  if (!fit_together(plan, *s, first, second)) return;
  const Readers readers = readers_of(*s, gate->out);
  if (s->values[gate->out].output != kNoValue || readers.row_ops != 0 || readers.in_f32 != 0) return;
  GateOf joined{b.op, plan.nodes[gate->node].a.act, kNoValue};
  std::vector<RowOp*> conversions;
  for (Phase& phase : s->phases) {
    for (RowOp& op : phase.row_ops) {
      if (op.kind != RowKind::kConvert || op.in != gate->out) continue;
      conversions.push_back(&op);
      if (op.out_bf16 != kNoValue) joined.out_bf16 = op.out_bf16;
    }
  }
  if (joined.out_bf16 == kNoValue) return;
  for (RowOp* op : conversions) op->generated_only = true;
  gate->generated_only = true;
  first.gate = joined;
  second.behind_gate = true;
  s->values[joined.out_bf16].first = a.phase;
}

}  // namespace

bool is_joined(const Schedule& s, uint32_t node) {
  return std::any_of(s.phases.begin(), s.phases.end(), [&](const Phase& phase) {
    return std::any_of(phase.row_ops.begin(), phase.row_ops.end(), [&](const RowOp& op) {
      return op.node == node && op.kind == RowKind::kGate && op.generated_only;
    });
  });
}

void join_gates(const Plan& plan, Schedule* s) {
  for (Phase& phase : s->phases) {
    for (RowOp& op : phase.row_ops) {
      if (op.kind == RowKind::kGate) join(plan, s, &op);
    }
  }
}

}  // namespace merritt::onednn
