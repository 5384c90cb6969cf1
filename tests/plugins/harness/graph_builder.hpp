// SPDX-License-Identifier: Apache-2.0
// Writes mrt_graph and mrt_weights for tests, and fills weights with numbers that Python makes the same.
#pragma once
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <string>
#include <vector>

#include "merritt/backend.h"

namespace merritt::testing {

/// n values in (-scale, scale): splitmix64, the same as noise() of tests/golden/make_op_goldens.py.
std::vector<float> noise(uint64_t seed, uint64_t n, float scale);

struct Attr {
  Attr(uint32_t key, int64_t value) : attr{key, 0, {}} { attr.v.i = value; }
  Attr(uint32_t key, int value) : Attr(key, static_cast<int64_t>(value)) {}
  Attr(uint32_t key, uint32_t value) : Attr(key, static_cast<int64_t>(value)) {}
  Attr(uint32_t key, double value) : attr{key, 0, {}} { attr.v.f = value; }
  mrt_attr attr;
};

class GraphBuilder {
 public:
  /// A weight of file bytes; returns its reference.
  uint32_t weight(uint32_t type, const std::vector<uint64_t>& dims, std::vector<uint8_t> bytes);
  /// An f32 weight of noise.
  uint32_t weight(const std::vector<uint64_t>& dims, uint64_t seed, float scale = 1.0f);
  /// A weight of the type: noise, rounded; for the types quantise_row writes (f32, f16, bf16, q8_0).
  uint32_t weight_as(uint32_t type, const std::vector<uint64_t>& dims, uint64_t seed, float scale);
  uint32_t node(uint32_t op, uint32_t width, std::initializer_list<uint32_t> a, const std::vector<Attr>& at = {},
                uint32_t rows = MRT_ROWS_TOKENS) {
    return node(op, width, std::vector<uint32_t>(a), at, rows);
  }
  uint32_t node(uint32_t op, uint32_t width, const std::vector<uint32_t>& a, const std::vector<Attr>& at,
                uint32_t rows);
  void output(uint32_t node) { outputs.push_back(node); }

  /// Valid until the builder changes.
  mrt_graph graph() const;
  mrt_weights source() const;

  std::vector<mrt_node> nodes;
  std::vector<uint32_t> args;
  std::vector<mrt_attr> attrs;
  std::vector<uint32_t> outputs;
  std::vector<mrt_weight> weights;
  std::deque<std::string> names;
  std::vector<std::vector<uint8_t>> data;
  uint32_t max_context = 0;
  mutable uint64_t reads = 0;
};

/// A small random decoder: two kinds of layers when window != 0 (every second one windowed), gemma-like or llama-like.
struct TinyModel {
  uint32_t vocab = 64, width = 32, heads = 4, kv_heads = 2, head_dim = 32, layers = 4, inner = 64, window = 6;
  uint32_t weight_type = 0;
  bool gemma = true;  // sandwich norms, scaled embedding, softcap; otherwise plain llama
  uint64_t seed = 5;
};
GraphBuilder tiny_decoder(const TinyModel& m);

}  // namespace merritt::testing
