// SPDX-License-Identifier: Apache-2.0
#include "onednn/schedule.hpp"

#include <algorithm>
#include <iterator>

#include "onednn/kernels.hpp"
#include "support/blocks.hpp"

namespace merritt::onednn {
namespace {
using namespace plugin;

class Builder {
 public:
  Builder(const Plan& plan, const Formats& formats, Schedule* out) : plan_(plan), formats_(formats), s_(*out) {}
  int32_t run(mrt_error* err);

 private:
  int32_t decline(uint32_t i, mrt_error* err) const noexcept;
  void node(uint32_t i);
  void elementwise(uint32_t i, RowKind kind);
  void embed(uint32_t i);
  void norm(uint32_t i);
  void rope(uint32_t i);
  void linear(uint32_t i);
  void attention(uint32_t i);
  void finish();

  uint32_t add_value(uint16_t rows, uint64_t row_bytes);
  uint32_t value_of(const Ref& ref, uint32_t width);
  uint32_t born(uint32_t value) const noexcept { return s_.values[value].ready; }
  void made(uint32_t value, uint32_t first, uint32_t ready) noexcept {
    s_.values[value].first = first;
    s_.values[value].last = s_.values[value].ready = ready;
  }
  void place_row_op(RowOp op, uint16_t rows, uint32_t after, bool local);
  Phase& phase_after(PhaseKind kind, uint16_t rows, uint32_t after, bool local, uint32_t* at);
  void uses(uint32_t value, uint32_t phase) noexcept {
    if (value != kNoValue) s_.values[value].last = std::max(s_.values[value].last, phase);
  }
  uint32_t matrix(uint32_t weight);
  uint32_t vector(const PlanNode& n, uint32_t k, double offset);
  void converted(uint32_t width, MatrixOp* op);

  struct Forms {
    uint32_t bf16 = kNoValue, q12 = kNoValue, q16 = kNoValue, pairs = kNoValue;
  };
  const Plan& plan_;
  Formats formats_;
  Schedule& s_;
  std::vector<Forms> forms_;      // per value
  std::vector<uint32_t> stored_;  // per plan node that caches: the phase after which its rows are in the cache
  uint32_t hidden_ = kNoValue;
};

int32_t Builder::decline(uint32_t i, mrt_error* err) const noexcept {
  const PlanNode& n = plan_.nodes[i];
  if (n.op == MRT_OP_MOE) return refuse_node(err, MRT_UNSUPPORTED, i, "moe is not offered by this plugin");
  if (n.op == MRT_OP_ATTENTION && n.n_args > 3 && !n.args[3].is_none()) {
    return refuse_node(err, MRT_UNSUPPORTED, i, "attention sinks are not offered by this plugin");
  }
  if (n.op == MRT_OP_LINEAR || n.op == MRT_OP_EMBED) {
    const PlanWeight& w = plan_.weights[n.args[1].index];
    Packed packed;
    if (!describe_packed(w.type, w.rows, w.cols, &packed)) {
      return refuse_node(err, MRT_UNSUPPORTED, i, "weight type %u with %llu columns is not offered by this plugin",
                         w.type, static_cast<unsigned long long>(w.cols));
    }
  }
  return MRT_OK;
}

int32_t Builder::run(mrt_error* err) {
  for (uint32_t i = 0; i < plan_.nodes.size(); ++i) MERRITT_PLUGIN_TRY(decline(i, err));
  s_.node_value.assign(plan_.nodes.size(), kNoValue);
  stored_.assign(plan_.nodes.size(), 0);
  for (uint32_t i = 0; i < plan_.nodes.size(); ++i) node(i);
  finish();
  return MRT_OK;
}

uint32_t Builder::add_value(uint16_t rows, uint64_t row_bytes) {
  Value v;
  v.rows = rows;
  v.row_bytes = row_bytes;
  s_.values.push_back(v);
  forms_.push_back({});
  return static_cast<uint32_t>(s_.values.size() - 1);
}

// The earliest phase of this kind after `after`; `local` lets a row op join the very phase that makes its input.
Phase& Builder::phase_after(PhaseKind kind, uint16_t rows, uint32_t after, bool local, uint32_t* at) {
  for (uint32_t p = local ? after : after + 1; p < s_.phases.size(); ++p) {
    Phase& phase = s_.phases[p];
    if (phase.kind != kind || (kind == PhaseKind::kRows && phase.rows != rows)) continue;
    *at = p;
    return phase;
  }
  Phase fresh;
  fresh.kind = kind;
  fresh.rows = rows;
  s_.phases.push_back(fresh);
  *at = static_cast<uint32_t>(s_.phases.size() - 1);
  return s_.phases.back();
}

void Builder::place_row_op(RowOp op, uint16_t rows, uint32_t after, bool local) {
  uint32_t at = 0;
  Phase& phase = phase_after(PhaseKind::kRows, rows, after, local, &at);
  for (const uint32_t v : {op.in, op.in2}) uses(v, at);
  if (op.angles != kNoValue && op.kind == RowKind::kRope) uses(s_.angles[op.angles].value, at);
  for (const uint32_t v : {op.out, op.out_bf16, op.out_q12, op.out_q16, op.out_pairs}) {
    if (v != kNoValue) made(v, at, at);
  }
  phase.needed_by |= op.needed_by;
  phase.row_ops.push_back(op);
}

uint32_t Builder::value_of(const Ref& ref, uint32_t width) {
  if (ref.is_node()) return s_.node_value[ref.index];
  if (hidden_ == kNoValue) {  // the hidden input, copied into rows of our own order
    hidden_ = add_value(MRT_ROWS_TOKENS, static_cast<uint64_t>(width) * 4);
    RowOp op{RowKind::kHidden};
    op.out = hidden_;
    op.width = width;
    op.needed_by = ~0u;
    place_row_op(op, MRT_ROWS_TOKENS, 0, true);
  }
  return hidden_;
}

uint32_t Builder::matrix(uint32_t weight) {
  const auto it = std::find(s_.matrices.begin(), s_.matrices.end(), weight);
  if (it != s_.matrices.end()) return static_cast<uint32_t>(it - s_.matrices.begin());
  s_.matrices.push_back(weight);
  return static_cast<uint32_t>(s_.matrices.size() - 1);
}

uint32_t Builder::vector(const PlanNode& n, uint32_t k, double offset) {
  if (k >= n.n_args || n.args[k].is_none()) return kNoValue;
  for (uint32_t v = 0; v < s_.vectors.size(); ++v) {
    if (s_.vectors[v].weight == n.args[k].index && s_.vectors[v].offset == offset) return v;
  }
  s_.vectors.push_back({n.args[k].index, offset});
  return static_cast<uint32_t>(s_.vectors.size() - 1);
}

void Builder::node(uint32_t i) {
  const PlanNode& n = plan_.nodes[i];
  if (n.needed_by == 0 && !n.caches) return;  // nothing reads it
  if (n.op != MRT_OP_ATTENTION || n.needed_by != 0) {
    s_.node_value[i] = add_value(n.rows, static_cast<uint64_t>(n.width) * 4);
  }
  switch (n.op) {
    case MRT_OP_EMBED: return embed(i);
    case MRT_OP_LINEAR: return linear(i);
    case MRT_OP_RMS_NORM:
    case MRT_OP_LAYER_NORM: return norm(i);
    case MRT_OP_ROPE: return rope(i);
    case MRT_OP_ATTENTION: return attention(i);
    case MRT_OP_ACT: return elementwise(i, RowKind::kAct);
    case MRT_OP_GATE: return elementwise(i, RowKind::kGate);
    case MRT_OP_ADD: return elementwise(i, RowKind::kAdd);
    case MRT_OP_SCALE: return elementwise(i, RowKind::kScale);
    case MRT_OP_SOFTCAP: return elementwise(i, RowKind::kSoftcap);
    case MRT_OP_SELECT_ROWS: return elementwise(i, RowKind::kSelect);
    default: return elementwise(i, RowKind::kPool);
  }
}

void Builder::elementwise(uint32_t i, RowKind kind) {
  const PlanNode& n = plan_.nodes[i];
  RowOp op{kind};
  op.node = i;
  op.width = n.width;
  op.needed_by = n.needed_by;
  op.out = s_.node_value[i];
  op.in = value_of(n.args[0], n.width);
  uint32_t after = born(op.in);
  if (kind == RowKind::kAdd || kind == RowKind::kGate) {
    op.in2 = value_of(n.args[1], n.width);
    after = std::max(after, born(op.in2));
  }
  if (kind == RowKind::kScale) op.weight = vector(n, 1, 0.0);
  const bool gathers = kind == RowKind::kSelect || kind == RowKind::kPool;
  place_row_op(op, n.rows, after,
               !gathers && s_.phases[after].kind == PhaseKind::kRows && s_.phases[after].rows == n.rows);
}

void Builder::embed(uint32_t i) {
  const PlanNode& n = plan_.nodes[i];
  RowOp op{RowKind::kEmbed};
  op.node = i;
  op.width = n.width;
  op.needed_by = n.needed_by;
  op.out = s_.node_value[i];
  op.weight = matrix(n.args[1].index);
  place_row_op(op, n.rows, 0, true);
}

void Builder::norm(uint32_t i) {
  const PlanNode& n = plan_.nodes[i];
  const bool rms = n.op == MRT_OP_RMS_NORM;
  RowOp op{rms ? RowKind::kRmsNorm : RowKind::kLayerNorm};
  op.node = i;
  op.width = n.width;
  op.needed_by = n.needed_by;
  op.out = s_.node_value[i];
  op.in = value_of(n.args[0], n.width);
  op.weight = vector(n, 1, rms ? n.a.offset : 0.0);
  if (!rms) op.bias = vector(n, 2, 0.0);
  place_row_op(op, n.rows, born(op.in), true);
}

bool same_angles(const PlanNode& x, const PlanNode& y) noexcept {
  const Attributes &a = x.a, &b = y.a;
  const Ref none{RefKind::kNone, 0};
  const Ref fa = x.n_args > 2 ? x.args[2] : none, fb = y.n_args > 2 ? y.args[2] : none;
  return a.rot_dim == b.rot_dim && a.base == b.base && a.scaling == b.scaling && a.factor == b.factor &&
         a.orig_ctx == b.orig_ctx && a.beta_fast == b.beta_fast && a.beta_slow == b.beta_slow && a.scale == b.scale &&
         fa.kind == fb.kind && (!fa.is_weight() || fa.index == fb.index);
}

void Builder::rope(uint32_t i) {
  const PlanNode& n = plan_.nodes[i];
  uint32_t set = 0;
  while (set < s_.angles.size() && !same_angles(plan_.nodes[s_.angles[set].node], n)) ++set;
  if (set == s_.angles.size()) {
    AngleSet fresh;
    fresh.node = i;
    fresh.value = add_value(MRT_ROWS_TOKENS, static_cast<uint64_t>(n.a.rot_dim) * 4);
    s_.angles.push_back(fresh);
    RowOp make{RowKind::kAngles};
    make.node = i;
    make.angles = set;
    make.out = fresh.value;
    make.weight = vector(n, 2, 0.0);
    make.needed_by = ~0u;
    place_row_op(make, MRT_ROWS_TOKENS, 0, true);
  }
  RowOp op{RowKind::kRope};
  op.node = i;
  op.width = n.width;
  op.needed_by = n.needed_by;
  op.out = s_.node_value[i];
  op.in = value_of(n.args[0], n.width);
  op.angles = set;
  place_row_op(op, n.rows, std::max(born(op.in), born(s_.angles[set].value)), true);
}

// The forms in which a product reads its input; made once, right after the value itself.
void Builder::converted(uint32_t width, MatrixOp* product) {
  const uint64_t padded = (static_cast<uint64_t>(width) + 31) / 32 * 32;
  const uint32_t value = product->in, mask = product->needed_by;
  RowOp op{RowKind::kConvert};
  op.in = value;
  op.width = width;
  op.needed_by = mask;
  const uint16_t rows = s_.values[value].rows;
  const auto form = [&](uint32_t Forms::*which, uint64_t row_bytes, uint32_t RowOp::*out) {
    if (forms_[value].*which == kNoValue) {
      const uint32_t made = add_value(rows, row_bytes);
      op.*out = forms_[value].*which = made;
    }
    return forms_[value].*which;
  };
  if (product->prompt_bf16) {
    product->in_bf16 = form(&Forms::bf16, padded * 2, &RowOp::out_bf16);
    s_.values[product->in_bf16].bands = formats_.tiles;
  }
  const uint64_t code_bytes = form_row_bytes(product->generated, padded);
  if (product->generated == RowForm::kQ12) product->in_codes = form(&Forms::q12, code_bytes, &RowOp::out_q12);
  if (product->generated == RowForm::kQ16) product->in_codes = form(&Forms::q16, code_bytes, &RowOp::out_q16);
  if (product->generated == RowForm::kPairs) product->in_codes = form(&Forms::pairs, code_bytes, &RowOp::out_pairs);
  const uint32_t forms[] = {op.out_bf16, op.out_q12, op.out_q16, op.out_pairs};
  if (std::any_of(std::begin(forms), std::end(forms), [](uint32_t v) { return v != kNoValue; })) {
    place_row_op(op, rows, born(value), true);
  }
  for (Phase& phase : s_.phases) {  // an earlier conversion of the same value now serves this product too
    for (RowOp& made : phase.row_ops) {
      if (made.kind != RowKind::kConvert || made.in != value) continue;
      made.needed_by |= mask;
      phase.needed_by |= mask;
    }
  }
}

void Builder::linear(uint32_t i) {
  const PlanNode& n = plan_.nodes[i];
  const PlanWeight& w = plan_.weights[n.args[1].index];
  MatrixOp op;
  op.node = i;
  op.needed_by = n.needed_by;
  op.out = s_.node_value[i];
  op.in = value_of(n.args[0], static_cast<uint32_t>(w.cols));
  op.matrix = matrix(n.args[1].index);
  op.bias = vector(n, 2, 0.0);
  op.prompt_bf16 = formats_.bf16 && !formats_.exact && w.type != kF32;
  if (!formats_.exact) op.generated = row_form(w.type, formats_.pairs);
  converted(static_cast<uint32_t>(w.cols), &op);
  uint32_t after = born(op.in);
  if (op.in_bf16 != kNoValue) after = std::max(after, born(op.in_bf16));
  if (op.in_codes != kNoValue) after = std::max(after, born(op.in_codes));
  uint32_t at = 0;
  Phase& phase = phase_after(PhaseKind::kMatrix, 0, after, false, &at);
  for (const uint32_t v : {op.in, op.in_bf16, op.in_codes}) uses(v, at);
  made(op.out, at, at);
  phase.needed_by |= op.needed_by;
  phase.matrix_ops.push_back(op);
}

void Builder::attention(uint32_t i) {
  const PlanNode& n = plan_.nodes[i];
  const bool cached = n.a.kv_layer != kNoLayer;
  uint32_t after = 0;
  if (n.caches || !cached) {
    for (const bool is_v : {false, true}) {
      RowOp op{is_v ? RowKind::kStoreV : RowKind::kStoreK};
      op.node = i;
      op.width = n.a.kv_heads * (is_v ? n.a.v_dim : n.a.head_dim);
      op.in = value_of(n.args[is_v ? 2 : 1], op.width);
      op.out = kNoValue;
      op.angles = cached ? kNoValue : static_cast<uint32_t>(s_.local.size());
      op.needed_by = cached ? kNeededByCache : n.needed_by;
      place_row_op(op, MRT_ROWS_TOKENS, born(op.in), true);
      for (uint32_t p = 0; p < s_.phases.size(); ++p) {  // where it went
        for (const RowOp& r : s_.phases[p].row_ops) {
          if (r.node == i && r.kind == op.kind) after = std::max(after, p);
        }
      }
    }
    stored_[i] = after;
  } else {
    for (uint32_t j = 0; j < i; ++j) {
      const PlanNode& w = plan_.nodes[j];
      if (w.op == MRT_OP_ATTENTION && w.caches && w.a.kv_layer == n.a.kv_layer) after = stored_[j];
    }
  }
  AttentionOp op;
  op.node = i;
  op.needed_by = n.needed_by;
  op.layer = static_cast<uint32_t>(s_.local.size());
  if (!cached) s_.local.push_back({n.a.kv_heads, n.a.head_dim, n.a.v_dim});
  if (n.needed_by == 0) return;
  op.q = value_of(n.args[0], n.a.heads * n.a.head_dim);
  op.out = s_.node_value[i];
  uint32_t at = 0, merged = 0;
  (void)phase_after(PhaseKind::kAttention, 0, std::max(after, born(op.q)), false, &at);
  (void)phase_after(PhaseKind::kMerge, 0, at, false, &merged);
  uses(op.q, at);
  made(op.out, at, merged);
  op.slot = static_cast<uint32_t>(s_.phases[at].attention_ops.size());
  for (const uint32_t p : {at, merged}) {
    s_.phases[p].needed_by |= op.needed_by;
    s_.phases[p].attention_ops.push_back(op);
  }
}

// Outputs: the result of a product that nothing else reads goes straight to the staging; others are copied there.
void Builder::finish() {
  for (uint32_t o = 0; o < plan_.outputs.size(); ++o) {
    const uint32_t i = plan_.outputs[o];
    const uint32_t value = s_.node_value[i];
    bool read = false;
    for (const PlanNode& n : plan_.nodes) {
      for (uint32_t k = 0; k < n.n_args; ++k) read = read || (n.args[k].is_node() && n.args[k].index == i);
    }
    const bool first = std::find(plan_.outputs.begin(), plan_.outputs.begin() + o, i) == plan_.outputs.begin() + o;
    if (!read && first && plan_.nodes[i].op == MRT_OP_LINEAR &&
        std::count(plan_.outputs.begin(), plan_.outputs.end(), i) == 1) {
      s_.values[value].output = o;
      continue;
    }
    RowOp op{RowKind::kOutput};
    op.node = i;
    op.in = value;
    op.angles = o;
    op.width = plan_.nodes[i].width;
    op.needed_by = 1u << o;
    place_row_op(op, plan_.nodes[i].rows, born(value), true);
  }
}

}  // namespace

int32_t build_schedule(const Plan& plan, const Formats& formats, Schedule* out, mrt_error* err) {
  *out = {};
  MERRITT_PLUGIN_TRY(Builder(plan, formats, out).run(err));
  if (formats.tiles) join_gates(plan, out);
  return MRT_OK;
}

}  // namespace merritt::onednn
