// SPDX-License-Identifier: Apache-2.0
// A model file, read and understood: its header, the graph its architecture makes of it, and its vital statistics.
// The tensors stay in the file until a backend asks for them through a WeightSource.
//
// Threads: immutable once opened, except release_metadata().
#pragma once

#include <memory>

#include "base/status.hpp"
#include "model/graph/graph.hpp"
#include "model/model_info.hpp"
#include "model/weights/gguf.hpp"
#include "model/weights/source.hpp"

namespace merritt::model {

struct ModelFile {
  weights::Gguf gguf;
  graph::Graph graph;
  ModelInfo info;

  // Frees the metadata once vocabulary and template have been read from it.
  void release_metadata() { gguf.release_metadata(); }
};

Result<ModelFile> open_model(std::shared_ptr<const weights::Source> source, const weights::GgufLimits& limits = {});

}  // namespace merritt::model
