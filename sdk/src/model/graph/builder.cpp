// SPDX-License-Identifier: Apache-2.0
#include "model/graph/builder.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"

namespace merritt::model::graph {
namespace {

constexpr uint64_t kWidthMax = 1u << 24;  // columns of a result
constexpr size_t kNodesMax = 1u << 20;
constexpr size_t kShown = 80;

std::string place(Where where) {
  std::string_view file = where.file_name();
  file.remove_prefix(std::min(file.size(), file.rfind('/') + 1));
  return std::string(file) + ":" + std::to_string(where.line());
}

template <class Dims>
std::string shape_text(const Dims& dims) {
  std::string text = "[";
  for (const uint64_t d : dims) text += (text.size() > 1 ? ", " : "") + (d == 0 ? "any" : std::to_string(d));
  return text + "]";
}

// The shapes say the same when they differ only in trailing ones; 0 stands for any size.
bool same_shape(const WeightInfo& weight, std::initializer_list<uint64_t> shape) {
  for (size_t d = 0; d < weight.dims.size(); ++d) {
    const uint64_t wanted = d < shape.size() ? shape.begin()[d] : 1;
    if (wanted != 0 && weight.dims[d] != wanted) return false;
  }
  return shape.size() <= weight.dims.size();
}

}  // namespace

GraphBuilder::GraphBuilder(Catalogue catalogue, uint32_t max_context) : catalogue_(std::move(catalogue)) {
  graph_.max_context_ = max_context;
}

void GraphBuilder::fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

Tensor GraphBuilder::fail_node(uint16_t op, Where where, const std::string& text) {
  fail(Status(Code::kCorrupt, "node " + std::to_string(graph_.nodes_.size()) + " (" + std::string(op_name(op)) +
                                  ") at " + place(where) + ": " + text));
  return {this, 0, 0, MRT_ROWS_TOKENS};
}

Weight GraphBuilder::weight(std::string_view name, std::initializer_list<uint64_t> shape, Where where) {
  return bind(name, shape, true, where);
}

Weight GraphBuilder::optional_weight(std::string_view name, std::initializer_list<uint64_t> shape, Where where) {
  return bind(name, shape, false, where);
}

Weight GraphBuilder::bind(std::string_view name, std::initializer_list<uint64_t> shape, bool required, Where where) {
  if (!status_.ok()) return {};
  std::optional<WeightInfo> found = catalogue_(name);
  const std::string shown = "weight '" + clean_text(name, kShown) + "'";
  if (!found) {
    if (required) {
      fail(Status(Code::kCorrupt, shown + " of shape " + shape_text(shape) + " is missing (" + place(where) + ")"));
    }
    return {};
  }
  if (!same_shape(*found, shape)) {
    const auto dims = std::span(found->dims).first(found->n_dims);
    fail(Status(Code::kCorrupt, shown + " has the shape " + shape_text(dims) + "; the model's numbers ask for " +
                                    shape_text(shape) + " (" + place(where) + ")"));
    return {};
  }
  const std::array<uint64_t, 4> dims = found->dims;
  const auto [at, fresh] = bound_.try_emplace(found->tensor, static_cast<uint32_t>(graph_.weights_.size()));
  if (fresh) graph_.weights_.push_back(std::move(*found));
  return {MRT_REF_WEIGHT(at->second), dims};
}

void GraphBuilder::output(const Tensor& x, Where where) {
  if (!status_.ok()) return;
  if (!x.valid() || x.builder != this) {
    fail(Status(Code::kInternal, "the output at " + place(where) + " is no tensor of this graph"));
  } else if (graph_.outputs_.size() == MRT_MAX_OUTPUTS) {
    fail(Status(Code::kInternal, "more than " + std::to_string(MRT_MAX_OUTPUTS) + " outputs at " + place(where)));
  } else {
    graph_.outputs_.push_back(x.node);
  }
}

Result<Graph> GraphBuilder::build() {
  if (!status_.ok()) return std::exchange(status_, Status(Code::kInternal, "the graph was taken already"));
  if (graph_.outputs_.empty()) return Status(Code::kInternal, "the graph has no output");
  status_ = Status(Code::kInternal, "the graph was taken already");
  return std::exchange(graph_, Graph());
}

GraphBuilder::Attributes& GraphBuilder::Attributes::integer(uint32_t key, uint64_t value) {
  if (value == 0) return *this;
  mrt_attr attr{key, 0, {}};
  attr.v.i = static_cast<int64_t>(value);
  list.push_back(attr);
  return *this;
}

GraphBuilder::Attributes& GraphBuilder::Attributes::real(uint32_t key, double value) {
  if (value == 0) return *this;
  mrt_attr attr{key, 0, {}};
  attr.v.f = value;
  list.push_back(attr);
  return *this;
}

GraphBuilder::Attributes& GraphBuilder::Attributes::scale(double value) {
  if (value == 1) return *this;
  mrt_attr attr{MRT_A_SCALE, 0, {}};
  attr.v.f = value;
  list.push_back(attr);
  return *this;
}

Tensor GraphBuilder::add_node(const NodeSpec& spec, const Attributes& attributes, Where where) {
  if (!status_.ok()) return {this, 0, 0, MRT_ROWS_TOKENS};
  if (spec.width == 0 || spec.width > kWidthMax) {
    return fail_node(spec.op, where, "a result of " + std::to_string(spec.width) + " columns is not possible");
  }
  if (graph_.nodes_.size() >= kNodesMax) return fail_node(spec.op, where, "the graph has too many nodes");
  size_t n_args = spec.args.size();
  while (n_args > 0 && spec.args.begin()[n_args - 1] == MRT_REF_NONE) --n_args;
  mrt_node node{};
  node.op = spec.op;
  node.rows = spec.rows;
  node.width = static_cast<uint32_t>(spec.width);
  node.first_arg = static_cast<uint32_t>(graph_.args_.size());
  node.n_args = static_cast<uint32_t>(n_args);
  node.first_attr = static_cast<uint32_t>(graph_.attrs_.size());
  node.n_attrs = static_cast<uint32_t>(attributes.list.size());
  graph_.args_.insert(graph_.args_.end(), spec.args.begin(), spec.args.begin() + static_cast<ptrdiff_t>(n_args));
  graph_.attrs_.insert(graph_.attrs_.end(), attributes.list.begin(), attributes.list.end());
  graph_.nodes_.push_back(node);
  return {this, static_cast<uint32_t>(graph_.nodes_.size() - 1), node.width, node.rows};
}

}  // namespace merritt::model::graph
