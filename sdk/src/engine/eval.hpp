// SPDX-License-Identifier: Apache-2.0
// Teacher-forced evaluation: a request that draws nothing and gives every row's logits to a waiting caller.
#pragma once

#include <memory>
#include <vector>

#include "engine/engine.hpp"

namespace merritt::engine {

Status evaluate(Engine& engine, std::shared_ptr<tenant::Tenant> tenant, std::shared_ptr<Model> model,
                std::vector<int32_t> tokens, EvalTarget target);

}  // namespace merritt::engine
