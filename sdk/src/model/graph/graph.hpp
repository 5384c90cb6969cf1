// SPDX-License-Identifier: Apache-2.0
// A whole model as data: nodes, arguments and attributes in the form of mrt_graph, and the weights they name. Owns its
// arrays; made by GraphBuilder. Threads: immutable.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "merritt/backend.h"

namespace merritt::model::graph {

// A weight as the file lists it. `tensor` is its place in the catalogue it came from.
struct WeightInfo {
  std::string name;
  uint32_t type = 0;  // ggml type id
  uint32_t n_dims = 0;
  std::array<uint64_t, 4> dims{1, 1, 1, 1};  // dims[0] is contiguous (input)
  uint64_t bytes = 0;
  uint32_t tensor = 0;
};

class Graph {
 public:
  Graph() = default;

  // Borrowed arrays: valid while the graph lives and is not moved from.
  mrt_graph view() const;

  std::span<const mrt_node> nodes() const { return nodes_; }
  std::span<const uint32_t> args(const mrt_node& node) const;
  std::span<const mrt_attr> attrs(const mrt_node& node) const;
  std::span<const uint32_t> outputs() const { return outputs_; }
  // Weight i is what MRT_REF_WEIGHT(i) refers to; each tensor is listed once.
  std::span<const WeightInfo> weights() const { return weights_; }
  uint32_t max_context() const { return max_context_; }

 private:
  friend class GraphBuilder;
  std::vector<mrt_node> nodes_;
  std::vector<uint32_t> args_;
  std::vector<mrt_attr> attrs_;
  std::vector<uint32_t> outputs_;
  std::vector<WeightInfo> weights_;
  uint32_t max_context_ = 0;
};

// "linear", "rms_norm", ...; "unknown" for anything else.
std::string_view op_name(uint32_t op);

}  // namespace merritt::model::graph
