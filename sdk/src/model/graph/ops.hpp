// SPDX-License-Identifier: Apache-2.0
// The ops of merritt/backend.h as functions on Tensor values. Each checks its shapes; the meaning of each is in
// backend.h. Weights that are none are left out. Threads: one.
#pragma once

#include <cstdint>

#include "model/graph/builder.hpp"

namespace merritt::model::graph {

enum class Act : uint32_t { kNone, kSilu, kGeluTanh, kGeluErf, kRelu, kReluSquared, kTanh, kSigmoid };
enum class RopeStyle : uint32_t { kHalves, kPairs };
enum class RopeScaling : uint32_t { kNone, kLinear, kYarn };
enum class Score : uint32_t { kSoftmaxAll, kSigmoid, kSoftmaxChosen };
enum class PoolKind : uint32_t { kFirst, kMean, kLast };

struct Norm {
  double eps = 0;
  uint32_t head_dim = 0;  // 0 = over the whole row
  double offset = 0;      // the weight is w + offset
};
struct Rope {
  uint32_t head_dim = 0;
  uint32_t rot_dim = 0;  // 0 = head_dim
  double base = 10000;
  RopeStyle style = RopeStyle::kHalves;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 0;
  uint32_t original_context = 0;
  double beta_fast = 0, beta_slow = 0;
  double scale = 1;  // of the rotated numbers
};
struct Attention {
  uint32_t head_dim = 0;
  uint32_t v_dim = 0;  // 0 = head_dim
  uint32_t heads = 0, kv_heads = 0;
  double scale = 1;
  double softcap = 0;
  uint32_t window = 0;  // 0 = none; else token i sees key j when i - j < window
  bool bidirectional = false;
  uint32_t kv_layer = kNoCache;  // ordinal from 0
  static constexpr uint32_t kNoCache = UINT32_MAX;
};
struct Moe {
  uint32_t experts = 0, top_k = 0;
  Score score = Score::kSoftmaxAll;
  bool norm_topk = false;
  double scale = 1;
  Act act = Act::kSilu;
};

Tensor embed(Input ids, const Weight& table, double scale = 1, Where where = Where::current());
Tensor linear(const Tensor& x, const Weight& w, const Weight& bias = {}, Where where = Where::current());
Tensor rms_norm(const Tensor& x, const Weight& w, const Norm& norm, Where where = Where::current());
Tensor layer_norm(const Tensor& x, const Weight& w, const Weight& b, const Norm& norm, Where where = Where::current());
Tensor rope(const Tensor& x, const Rope& rope, const Weight& factors = {}, Where where = Where::current());
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Attention& attention,
                 const Weight& sinks = {}, Where where = Where::current());
// Reads the cache an earlier node of the same kv_layer wrote.
Tensor attention_shared(const Tensor& q, const Attention& attention, const Weight& sinks = {},
                        Where where = Where::current());
Tensor act(const Tensor& x, Act kind, Where where = Where::current());
Tensor gate(const Tensor& a, const Tensor& b, Act kind, Where where = Where::current());  // act(a) * b
Tensor add(const Tensor& a, const Tensor& b, Where where = Where::current());
Tensor scale(const Tensor& x, double factor, const Weight& columns = {}, Where where = Where::current());
Tensor softcap(const Tensor& x, double cap, Where where = Where::current());  // cap <= 0: x itself
Tensor moe(const Tensor& x, const Tensor& router, const Weight& gate, const Weight& up, const Weight& down,
           const Moe& moe, const Weight& select_bias = {}, Where where = Where::current());
Tensor select_rows(const Tensor& x, Where where = Where::current());
Tensor pool(const Tensor& x, PoolKind kind, Where where = Where::current());

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }

}  // namespace merritt::model::graph
