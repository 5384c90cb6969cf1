// SPDX-License-Identifier: Apache-2.0
// The step loop, on the engine's one step thread: commands of other threads, then one step of every model with work.
//
//   plan ─▶ pages ─▶ staging ─▶ run on the device ─▶ draw tokens ─▶ commit ─▶ hand out text
//
// Outputs of a step may be read (and overwritten as scratch) only between run and commit, so tokens are drawn first and
// handed out after the commit. A step that fails advances nobody.
#include <algorithm>
#include <cmath>

#include "engine/engine.hpp"
#include "engine/thrown.hpp"

namespace merritt::engine {
namespace {

// How long a step may run: far longer than any that will end, and longer on devices that are slow to stop.
constexpr uint64_t kStepLimitNs = 300'000'000'000;
constexpr uint64_t kStepLimitPerCancelUs = 4000;  // nanoseconds

bool all_finite(std::span<const float> logits) {
  return std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); });
}

}  // namespace

void Engine::step_thread_main() {
  step_thread_id_ = std::this_thread::get_id();
  while (wait_for_work()) {
    idle_turn_ = !step_all();
    wake_queues();
  }
  step_thread_id_ = std::thread::id();
}

// One step of every model that has work; false when there was none to be done.
bool Engine::step_all() noexcept {
  bool worked = false;
  check_devices();
  for (size_t i = 0; i < models_.size(); ++i) worked |= step_guarded(*models_[i]);
  return worked;
}

bool Engine::step_guarded(Model& model) noexcept {
  try {
    return step(model);
  } catch (...) {
    recover(model, status_of_exception());
    return true;
  }
}

bool Engine::step(Model& model) {
  if (model.lost || model.scheduler->idle()) return false;
  const uint64_t began_ns = now_ns();
  const scheduler::BatchPlan& plan = model.scheduler->plan(began_ns);
  take_back(model, plan);
  end_planned(model, plan);
  mark_started(model, plan, began_ns);
  publish_load();
  if (!make_choices(model, plan) || plan.empty() || !prepare_pages(model, plan)) return !plan.ended.empty();
  fill_staging(model, plan);

  uint32_t blast = MRT_BLAST_CALL, culprit = UINT32_MAX;
  Status outcome = run_watched(model, plan, &blast, &culprit);
  if (!outcome.ok()) {
    if (outcome.code() == Code::kCancelled && stop_.is_set()) {  // no failure: its requests end with the engine
      for (const scheduler::Run& run : plan.runs) model.cache->abort_append(run.sequence);
      return true;
    }
    handle_step_failure(model, plan, std::move(outcome), blast, culprit);
    return true;
  }
  const uint64_t step_number = steps_.fetch_add(1) + 1;
  look_at_rows(model, plan);
  draw(model, plan);
  outcome = model.compiled->commit(accepted_);
  if (!outcome.ok()) {
    handle_step_failure(model, plan, std::move(outcome), MRT_BLAST_PROGRAM, UINT32_MAX);
    return true;
  }
  charge_step(model, plan, now_ns() - began_ns);
  hand_out(model, plan, step_number);
  model.scheduler->step_done(now_ns() - began_ns);
  publish_load();
  return true;
}

// Runs the step under the watchdog. A step that had to be cancelled for its length has failed, whatever it says.
Status Engine::run_watched(Model& model, const scheduler::BatchPlan& plan, uint32_t* blast, uint32_t* culprit) {
  CancelFlag& cancel = services_->cancel_step;
  cancel.clear();
  if (stop_.is_set()) cancel.set();  // shutdown sets stop_ first, so one of the two is seen
  uint64_t limit_ns = step_limit_ns_;
  if (limit_ns == 0) {
    limit_ns = kStepLimitNs + kStepLimitPerCancelUs * model.compiled->device().description().cancel_bound_us;
  }
  watchdog_->arm(limit_ns);
  Status outcome = model.compiled->run_step(plan.n_tokens, static_cast<uint32_t>(plan.runs.size()), plan.n_rows,
                                            cancel.address(), blast, culprit);
  if (!watchdog_->disarm() || model.compiled->abandoned()) return outcome;
  model.compiled->abort_step();
  *blast = std::max<uint32_t>(*blast, MRT_BLAST_PROGRAM);
  *culprit = UINT32_MAX;
  return Status(Code::kBackend,
                "a step was cancelled because it did not end within " + std::to_string(limit_ns / 1'000'000) + " ms");
}

bool Engine::has_work() const {
  return std::any_of(models_.begin(), models_.end(), [](const auto& model) { return !model->scheduler->idle(); });
}

bool Engine::prepare_pages(Model& model, const scheduler::BatchPlan& plan) {
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    Status prepared = model.cache->prepare_append(plan.runs[i].sequence, plan.runs[i].n_tokens);
    if (prepared.ok()) continue;
    for (size_t k = 0; k < i; ++k) model.cache->abort_append(plan.runs[k].sequence);
    fail_request(model, plan.runs[i].request, std::move(prepared));
    return false;
  }
  return true;
}

void Engine::fill_staging(Model& model, const scheduler::BatchPlan& plan) {
  const mrt_staging& staging = model.compiled->staging();
  uint32_t token = 0, row = 0;
  for (uint32_t s = 0; s < plan.runs.size(); ++s) {
    const scheduler::Run& run = plan.runs[s];
    const Request& request = *model.requests.at(run.request);
    const uint32_t past = model.cache->length(run.sequence);
    staging.seq_first[s] = token;
    staging.seq_tokens[s] = run.n_tokens;
    staging.seq_past[s] = past;
    staging.seq_class[s] = static_cast<uint32_t>(run.token_class);
    staging.seq_key[s] = model.cache->seq_key(run.sequence);
    if (staging.seq_adapter != nullptr) staging.seq_adapter[s] = nullptr;
    staging.seq_status[s] = MRT_OK;
    for (uint32_t i = 0; i < run.n_tokens; ++i, ++token) {
      staging.token[token] = static_cast<uint32_t>(token_of(request, run, past, i));
      staging.position[token] = past + i;
    }
    for (uint32_t i = run.n_rows; i != 0; --i) staging.rows[row++] = token - i;
    for (uint32_t g = 0; g < model.cache->n_groups(); ++g) {
      const kv::PageTable table = model.cache->pages(run.sequence, g);
      std::copy(table.pages.begin(), table.pages.end(), staging.pages[g] + size_t{s} * model.compiled->max_pages(g));
      staging.page_base[g][s] = table.base;
    }
  }
}

// Draws the tokens of every run and says how many rows of it are right, or copies the rows to whoever evaluates. A
// sampler takes its tokens here: a step that fails after this ends all its requests.
void Engine::draw(Model& model, const scheduler::BatchPlan& plan) {
  const mrt_staging& staging = model.compiled->staging();
  const size_t width = staging.output[0].width;
  draws_.clear();
  accepted_.assign(plan.runs.size(), 0);
  size_t row = 0;
  for (size_t s = 0; s < plan.runs.size(); ++s) {
    const scheduler::Run& run = plan.runs[s];
    Request& request = *model.requests.at(run.request);
    float* logits = staging.output[0].data + row * width;
    row += run.n_rows;
    if (staging.seq_status[s] != MRT_OK) continue;
    accepted_[s] = run.n_tokens;
    if (run.n_rows == 0) continue;
    if (request.params.eval.logits != nullptr) {
      const std::span<const float> rows(logits, run.n_rows * width);
      if (!all_finite(rows)) {
        draws_.push_back(
            {s, 0, Status(Code::kBackend, "the backend computed logits that are not finite for this sequence")});
        continue;
      }
      std::copy(rows.begin(), rows.end(), request.params.eval.logits + size_t{request.eval_rows} * width);
    } else if (run.prompt) {
      draw_after_prompt(request, s, {logits, width});
    } else {
      accepted_[s] = draw_decode(request, run, s, logits, width);
    }
  }
}

// The first token of every choice. Outputs are scratch: the last choice samples in place, the others from a copy.
void Engine::draw_after_prompt(Request& request, size_t run, std::span<float> logits) {
  for (uint32_t c = 0; c < request.params.n; ++c) {
    std::span<float> scratch = logits;
    if (c + 1 != request.params.n) {
      logits_scratch_.assign(logits.begin(), logits.end());
      scratch = logits_scratch_;
    }
    draws_.push_back({run, c, request.choices[c].draw(scratch)});
  }
}

// Row by row: each draw is the one that a run without a draft would make, from the same logits, because the row's past
// is the same as long as every draft token before it was the one drawn. The first that was not ends the run.
uint32_t Engine::draw_decode(Request& request, const scheduler::Run& run, size_t index, float* rows, size_t width) {
  Choice& choice = request.choices[run.choice];
  for (uint32_t i = 0;; ++i) {
    const Draw& draw = draws_.emplace_back(index, run.choice, choice.draw({rows + i * width, width}));
    const bool guessed = draw.drawn.ok() && i + 1 < run.n_tokens && draw.drawn->token == choice.token_at(i + 1);
    if (!guessed) return i + 1;
  }
}

}  // namespace merritt::engine
