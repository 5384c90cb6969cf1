// SPDX-License-Identifier: Apache-2.0
// Teacher-forced evaluation: a request that draws nothing and gives every row's logits to a waiting caller.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/engine.hpp"

namespace merritt::engine {

struct Evaluation {
  std::vector<int32_t> tokens;  // at most context_max
  EvalTarget target;
  uint64_t deadline_ns = 0;             // absolute on the engine's clock; 0 = none
  std::function<bool(float)> progress;  // on this thread; true = cancel
};

// Returns, also by exception, only when the step thread has stopped writing to the target.
Status evaluate(Engine& engine, std::shared_ptr<tenant::Tenant> tenant, std::shared_ptr<Model> model,
                Evaluation evaluation);

}  // namespace merritt::engine
