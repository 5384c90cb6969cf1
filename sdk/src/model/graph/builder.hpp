// SPDX-License-Identifier: Apache-2.0
// Builds a Graph from equations: ops are free functions on Tensor values (graph/ops.hpp), weights are bound by name and
// shape. Errors stick: the first bad shape is kept with its node, op and source line, everything after it is ignored,
// and build() returns it. So an architecture file reads as its mathematics.
//
// Nodes stand in the order they were written. Backends fuse by that order, so an attention block is written
// q, k, v, [norm q, norm k], rope q, rope k, attention. Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.hpp"
#include "model/graph/graph.hpp"

namespace merritt::model::graph {

class GraphBuilder;
using Where = std::source_location;

// Rows of numbers: the result of a node. An invalid one (after an error) may be passed on; ops on it do nothing.
struct Tensor {
  GraphBuilder* builder = nullptr;
  uint32_t node = 0;
  uint32_t width = 0;
  uint16_t rows = MRT_ROWS_TOKENS;
  bool valid() const { return builder != nullptr && width != 0; }
};

// A bound weight, or none (an optional one that the file does not have).
struct Weight {
  uint32_t ref = MRT_REF_NONE;
  std::array<uint64_t, 4> dims{0, 0, 0, 0};
  explicit operator bool() const { return ref != MRT_REF_NONE; }
  uint64_t in() const { return dims[0]; }
  uint64_t out() const { return dims[1]; }
};

// Ids that EMBED reads and the positions that ROPE reads.
struct Input {
  GraphBuilder* builder = nullptr;
  uint32_t which = MRT_IN_TOKENS;
};

class GraphBuilder {
 public:
  // The weight of that name, or nothing. Called while weights are bound, never after build().
  using Catalogue = std::function<std::optional<WeightInfo>(std::string_view name)>;

  GraphBuilder(Catalogue catalogue, uint32_t max_context);
  GraphBuilder(const GraphBuilder&) = delete;
  GraphBuilder& operator=(const GraphBuilder&) = delete;

  Input tokens() { return {this, MRT_IN_TOKENS}; }
  Input positions() { return {this, MRT_IN_POSITIONS}; }
  Input types() { return {this, MRT_IN_TYPES}; }

  // Shape as in the file, contiguous dimension first: {in, out}; 0 = any. A missing weight or another shape is an
  // error.
  Weight weight(std::string_view name, std::initializer_list<uint64_t> shape, Where where = Where::current());
  Weight optional_weight(std::string_view name, std::initializer_list<uint64_t> shape, Where where = Where::current());
  bool has_weight(std::string_view name) const { return catalogue_(name).has_value(); }

  void output(const Tensor& x, Where where = Where::current());
  // Keeps the first failure.
  void fail(Status status);
  bool ok() const { return status_.ok(); }
  // The graph, or the first error. The builder is empty afterwards.
  Result<Graph> build();

  // For ops.
  struct NodeSpec {
    uint16_t op = 0;
    uint16_t rows = MRT_ROWS_TOKENS;
    uint64_t width = 0;
    std::initializer_list<uint32_t> args;
  };
  class Attributes {
   public:
    Attributes& integer(uint32_t key, uint64_t value);  // left out when 0
    Attributes& real(uint32_t key, double value);       // left out when 0
    Attributes& scale(double value);                    // left out when 1
    std::vector<mrt_attr> list;
  };
  Tensor add_node(const NodeSpec& spec, const Attributes& attributes, Where where);
  // "node 17 (linear) at llama.cpp:84: text".
  Tensor fail_node(uint16_t op, Where where, const std::string& text);

 private:
  Weight bind(std::string_view name, std::initializer_list<uint64_t> shape, bool required, Where where);

  Catalogue catalogue_;
  Graph graph_;
  std::unordered_map<uint32_t, uint32_t> bound_;  // tensor of the catalogue to weight
  Status status_;
};

}  // namespace merritt::model::graph
