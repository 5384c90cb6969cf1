// SPDX-License-Identifier: Apache-2.0
// One builder per architecture; all.cpp lists them.
#pragma once

#include "base/status.hpp"
#include "model/graph/builder.hpp"
#include "model/graph/ops.hpp"
#include "model/weights/gguf.hpp"

namespace merritt::model::arch {

// Once the last layer has attended, only rows whose logits are asked for are read: one of a whole prompt.
inline graph::Tensor rows_read_on(const graph::Tensor& x, bool last, graph::Where where = graph::Where::current()) {
  return last ? graph::select_rows(x, where) : x;
}

Result<graph::Graph> build_cohere2(const weights::Gguf& gguf, graph::GraphBuilder::Catalogue catalogue);
Result<graph::Graph> build_gemma3(const weights::Gguf& gguf, graph::GraphBuilder::Catalogue catalogue);
Result<graph::Graph> build_llama(const weights::Gguf& gguf, graph::GraphBuilder::Catalogue catalogue);
Result<graph::Graph> build_qwen3(const weights::Gguf& gguf, graph::GraphBuilder::Catalogue catalogue);

}  // namespace merritt::model::arch
