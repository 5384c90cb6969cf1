// SPDX-License-Identifier: Apache-2.0
// One task's queries, for the files that compute attention.
#pragma once
#include "onednn/layout.hpp"
#include "onednn/runner.hpp"

namespace merritt::onednn {

/// A block of queries, for some KV heads of a node. Rows of a head: token by token, and of each token the query heads
/// that share the KV head.
struct Runner::Queries {
  const AttentionOp* op;
  const plugin::Attributes* a;
  QueryBlock block;
  HeadRange heads;
  uint32_t share, rows, padded;  // query heads of a KV head; rows of a KV head; floats of a row of values
  uint32_t panels() const noexcept { return (a->v_dim + kPanelColumns - 1) / kPanelColumns; }  // of values
};

}  // namespace merritt::onednn
