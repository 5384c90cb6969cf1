// SPDX-License-Identifier: Apache-2.0
// From the header of a model file to its graph: one file per architecture, one table of them. Threads: any.
#pragma once

#include <span>
#include <string_view>

#include "base/status.hpp"
#include "model/graph/graph.hpp"
#include "model/weights/gguf.hpp"

namespace merritt::model::arch {

// Reads general.architecture and builds its graph. Unsupported with the list of what there is when nobody here knows
// it, corrupt or not_found when the header does not describe such a model.
Result<graph::Graph> build_graph(const weights::Gguf& gguf);

std::span<const std::string_view> supported_architectures();

}  // namespace merritt::model::arch
