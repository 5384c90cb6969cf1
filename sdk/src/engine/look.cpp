// SPDX-License-Identifier: Apache-2.0
// Rows of a large vocabulary are looked at by all workers before they are drawn from one after another: reading a
// megabyte is nearly all of a draw's time. What is drawn does not depend on it.
#include "engine/engine.hpp"

namespace merritt::engine {
namespace {

// Fewer logits than these in a step are not worth a worker's attention.
constexpr size_t kLogitsWorthSharing = 65536;

}  // namespace

void Engine::look_at_rows(Model& model, const scheduler::BatchPlan& plan) {
  const mrt_staging& staging = model.compiled->staging();
  const size_t width = staging.output[0].width;
  if (executor_->workers() == 1 || plan.runs.size() < 2 || plan.n_rows * width < kLogitsWorthSharing) return;
  first_row_.resize(plan.runs.size());
  size_t row = 0;
  for (size_t s = 0; s < plan.runs.size(); ++s) {
    first_row_[s] = row;
    row += plan.runs[s].n_rows;
  }
  executor_->parallel_for(static_cast<uint32_t>(plan.runs.size()), [&](uint32_t s, uint32_t) {
    const scheduler::Run& run = plan.runs[s];
    if (run.n_rows == 0 || staging.seq_status[s] != MRT_OK) return;
    Request& request = *model.requests.at(run.request);
    if (request.params.eval.logits != nullptr) return;
    // After a prompt the last sample draws from the row in place, the others from copies.
    Choice& choice = request.choices[run.prompt ? request.params.n - 1 : run.choice];
    choice.sampler->look({staging.output[0].data + first_row_[s] * width, width});
  });
}

}  // namespace merritt::engine
