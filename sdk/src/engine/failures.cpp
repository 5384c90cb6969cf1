// SPDX-License-Identifier: Apache-2.0
// What a failed step, a lost device and an exception cost, and whom. Step thread.
#include "engine/engine.hpp"

namespace merritt::engine {
namespace {

// A copy for one more victim; without memory for it, the finish reason has to do.
Status copy_of(const Status& failure) noexcept {
  try {
    return failure;
  } catch (...) {
    return {};
  }
}

}  // namespace

// Nobody advanced. Who pays depends on the blast radius the backend reports: one sequence, the step, the program (it is
// rebuilt; without one the model is lost), or the device (every request of every model on it).
void Engine::handle_step_failure(Model& model, const scheduler::BatchPlan& plan, Status failure, uint32_t blast,
                                 uint32_t culprit) {
  log_->write(observe::LogLevel::kError, "step failed: " + std::string(failure.message()));
  for (const scheduler::Run& run : plan.runs) model.cache->abort_append(run.sequence);
  if (model.compiled->device_lost()) {
    if (model.compiled->abandoned()) abandoned_ = true;
    lose(model, Status(failure.code(), std::string(failure.message()), Blast::kDevice));
    check_devices();
    return;
  }
  if (blast >= MRT_BLAST_PROGRAM) {
    ++model.program_rebuilds;
    const Status rebuilt = model.compiled->rebuild_program();
    if (!rebuilt.ok()) {
      lose(model, Status(Code::kBackend,
                         "a failed step broke the program and no other could be made (" +
                             std::string(rebuilt.message()) + "); destroy the model and load it again",
                         Blast::kDevice));
      check_devices();
      return;
    }
  }
  for (uint32_t s = 0; s < plan.runs.size(); ++s) {
    if (culprit == UINT32_MAX || culprit == s) fail_request(model, plan.runs[s].request, failure);
  }
}

// After an exception in a step: where it was is not known, so everything the step may have had in hand is given up.
// What the model is made of stays good.
void Engine::recover(Model& model, const Status& failure) noexcept {
  log_->error("an exception ended a step; all requests of its model fail");
  model.compiled->abort_step();
  for (const scheduler::Run& run : model.scheduler->last_plan().runs) model.cache->abort_append(run.sequence);
  end_requests(model, FinishReason::kError, failure);
  publish_load();
}

void Engine::end_requests(Model& model, FinishReason reason, const Status& failure) noexcept {
  while (!model.requests.empty()) {
    const std::shared_ptr<Request> request = model.requests.begin()->second;
    finish_request(model, *request, reason, copy_of(failure));
  }
}

void Engine::end_all_requests() noexcept {
  for (const auto& model : models_) end_requests(*model, FinishReason::kCancelled, Status());
  publish_load();
}

// No step of this model runs any more; only its destruction is left.
void Engine::lose(Model& model, const Status& failure) noexcept {
  model.lost = true;
  end_requests(model, FinishReason::kError, failure);
}

// A device is shared: what one model has learnt of it is true for all. Page copies and wipes learn of it too.
void Engine::check_devices() noexcept {
  for (const auto& model : models_) {
    if (model->lost || !model->compiled->device().lost()) continue;
    Status lost;
    try {
      lost = Status(Code::kBackend, "the device of this model is lost; destroy the model and load it again",
                    Blast::kDevice);
    } catch (...) {
      lost = Status();
    }
    log_->error("a device is lost; all requests of a model on it fail");
    lose(*model, lost);
  }
}

}  // namespace merritt::engine
