// SPDX-License-Identifier: Apache-2.0
// Ops, attribute keys and their ranges as data.
#include <cmath>
#include <cstddef>
#include <cstdio>

#include "support/plan_ops.hpp"

namespace merritt::plugin {
namespace {

struct IntegerKey {
  uint32_t key;
  const char* name;
  uint32_t Attributes::*field;
  uint32_t max;      // of the stored value
  bool enumeration;  // above max is "not known" rather than "too large"
};
constexpr uint32_t kBig = 1u << 24;
constexpr IntegerKey kIntegers[] = {
    {MRT_A_HEAD_DIM, "head_dim", &Attributes::head_dim, 65536, false},
    {MRT_A_V_DIM, "v_dim", &Attributes::v_dim, 65536, false},
    {MRT_A_HEADS, "heads", &Attributes::heads, 65536, false},
    {MRT_A_KV_HEADS, "kv_heads", &Attributes::kv_heads, 65536, false},
    {MRT_A_KV_LAYER, "kv_layer", &Attributes::kv_layer, 65536, false},
    {MRT_A_WINDOW, "window", &Attributes::window, kBig, false},
    {MRT_A_MASK, "mask", &Attributes::mask, 1, true},
    {MRT_A_ROT_DIM, "rot_dim", &Attributes::rot_dim, 65536, false},
    {MRT_A_STYLE, "style", &Attributes::style, 1, true},
    {MRT_A_SCALING, "scaling", &Attributes::scaling, 2, true},
    {MRT_A_ORIG_CTX, "orig_ctx", &Attributes::orig_ctx, kBig, false},
    {MRT_A_ACT, "act", &Attributes::act, 7, true},
    {MRT_A_EXPERTS, "experts", &Attributes::experts, 65536, false},
    {MRT_A_TOP_K, "top_k", &Attributes::top_k, 65536, false},
    {MRT_A_SCORE, "score", &Attributes::score, 2, true},
    {MRT_A_NORM_TOPK, "norm_topk", &Attributes::norm_topk, 1, true},
    {MRT_A_POOL, "pool", &Attributes::pool, 2, true},
};
struct RealKey {
  uint32_t key;
  const char* name;
  double Attributes::*field;
};
constexpr RealKey kReals[] = {
    {MRT_A_EPS, "eps", &Attributes::eps},
    {MRT_A_OFFSET, "offset", &Attributes::offset},
    {MRT_A_BASE, "base", &Attributes::base},
    {MRT_A_SCALE, "scale", &Attributes::scale},
    {MRT_A_SOFTCAP, "softcap", &Attributes::softcap},
    {MRT_A_FACTOR, "factor", &Attributes::factor},
    {MRT_A_BETA_FAST, "beta_fast", &Attributes::beta_fast},
    {MRT_A_BETA_SLOW, "beta_slow", &Attributes::beta_slow},
};

constexpr uint64_t bit(uint32_t key) {
  return key < 0x100 ? (key < 32 ? 1ull << key : 0) : (key < 0x120 ? 1ull << (32 + key - 0x100) : 0);
}
template <class... K>
constexpr uint64_t bits(K... keys) {
  return (0ull | ... | bit(static_cast<uint32_t>(keys)));
}

constexpr OpRule kOps[] = {
    {MRT_OP_EMBED, "embed", 2, 2, bits(MRT_A_SCALE)},
    {MRT_OP_LINEAR, "linear", 2, 3, 0},
    {MRT_OP_RMS_NORM, "rms_norm", 1, 2, bits(MRT_A_EPS, MRT_A_HEAD_DIM, MRT_A_OFFSET)},
    {MRT_OP_LAYER_NORM, "layer_norm", 1, 3, bits(MRT_A_EPS, MRT_A_HEAD_DIM)},
    {MRT_OP_ROPE, "rope", 2, 3,
     bits(MRT_A_HEAD_DIM, MRT_A_ROT_DIM, MRT_A_BASE, MRT_A_STYLE, MRT_A_SCALING, MRT_A_ORIG_CTX, MRT_A_FACTOR,
          MRT_A_BETA_FAST, MRT_A_BETA_SLOW, MRT_A_SCALE)},
    {MRT_OP_ATTENTION, "attention", 1, 4,
     bits(MRT_A_HEAD_DIM, MRT_A_V_DIM, MRT_A_HEADS, MRT_A_KV_HEADS, MRT_A_SCALE, MRT_A_SOFTCAP, MRT_A_WINDOW,
          MRT_A_MASK, MRT_A_KV_LAYER)},
    {MRT_OP_ACT, "act", 1, 1, bits(MRT_A_ACT)},
    {MRT_OP_GATE, "gate", 2, 2, bits(MRT_A_ACT)},
    {MRT_OP_ADD, "add", 2, 2, 0},
    {MRT_OP_SCALE, "scale", 1, 2, bits(MRT_A_SCALE)},
    {MRT_OP_SOFTCAP, "softcap", 1, 1, bits(MRT_A_SOFTCAP)},
    {MRT_OP_MOE, "moe", 5, 6, bits(MRT_A_EXPERTS, MRT_A_TOP_K, MRT_A_SCORE, MRT_A_NORM_TOPK, MRT_A_SCALE, MRT_A_ACT)},
    {MRT_OP_SELECT_ROWS, "select_rows", 1, 1, 0},
    {MRT_OP_POOL, "pool", 1, 1, bits(MRT_A_POOL)},
};

}  // namespace

const OpRule* op_rule(uint32_t op) noexcept {
  for (const OpRule& r : kOps) {
    if (r.op == op) return &r;
  }
  return nullptr;
}

const char* op_name(uint32_t op) noexcept {
  const OpRule* rule = op_rule(op);
  return rule == nullptr ? nullptr : rule->name;
}

const char* attribute_name(uint32_t key) noexcept {
  for (const IntegerKey& k : kIntegers) {
    if (k.key == key) return k.name;
  }
  for (const RealKey& k : kReals) {
    if (k.key == key) return k.name;
  }
  return nullptr;
}

uint64_t attribute_bit(uint32_t key) noexcept { return attribute_name(key) == nullptr ? 0 : bit(key); }

int32_t set_attribute(uint32_t node, const char* op, const mrt_attr& attr, Attributes* a, mrt_error* err) noexcept {
  for (const IntegerKey& k : kIntegers) {
    if (k.key != attr.key) continue;
    const int64_t value = attr.v.i;
    if (value < 0 || value > static_cast<int64_t>(k.max)) {
      const bool unknown = k.enumeration && value >= 0;
      return refuse_node(err, unknown ? MRT_UNSUPPORTED : MRT_INVALID_ARGUMENT, node,
                         unknown ? "%s %s %lld is not known" : "%s %s %lld is out of range", op, k.name,
                         static_cast<long long>(value));
    }
    if (k.key == MRT_A_KV_LAYER) {
      a->kv_layer = value == 0 ? kNoLayer : static_cast<uint32_t>(value - 1);
    } else {
      a->*k.field = static_cast<uint32_t>(value);
    }
    return MRT_OK;
  }
  for (const RealKey& k : kReals) {
    if (k.key != attr.key) continue;
    if (!std::isfinite(attr.v.f)) {
      return refuse_node(err, MRT_INVALID_ARGUMENT, node, "%s %s is not a finite number", op, k.name);
    }
    a->*k.field = attr.v.f;
    return MRT_OK;
  }
  return refuse_node(err, MRT_UNSUPPORTED, node, "%s attribute %u is not known", op, attr.key);
}

int32_t refuse_node(mrt_error* err, int32_t code, uint32_t node, const char* format, ...) noexcept {
  char text[sizeof err->message];
  va_list args;
  va_start(args, format);
  if (std::vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
  va_end(args);
  return fail(err, code, MRT_BLAST_CALL, node, "node %u: %.210s", node, text);
}

}  // namespace merritt::plugin
