// SPDX-License-Identifier: Apache-2.0
//
// Which kernel runs each node of a model's graph, and how much of the arithmetic oneDNN does.
#pragma once

#include <merritt/model.hpp>
#include <nlohmann/json.hpp>
#include <string>

namespace merritt::tools {

nlohmann::json trace_json(const Model& model);
// The kernels' names, for features_used(); "" when the backend does not tell.
std::string kernel_names(const Model& model);
std::string trace_text(const Model& model);

}  // namespace merritt::tools
