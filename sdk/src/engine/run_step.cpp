// SPDX-License-Identifier: Apache-2.0
// The step verbs of a compiled model: prepare, run, wait, then commit or abort, exactly one of them for each prepared
// step, and a bound on the wait for a device that has been asked to stop.
#include <algorithm>
#include <iterator>

#include "base/os/clock.hpp"
#include "engine/cancel_flag.hpp"
#include "engine/compiled_model.hpp"

namespace merritt::engine {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kPoll = 100 * kMillisecond;  // how often a running step's cancel flag is looked at
// What a device gets on top of twice its own bound before it counts as one that will never answer.
constexpr uint64_t kCancelSlack = 10'000 * kMillisecond;

}  // namespace

uint64_t CompiledModel::cancel_grace_ns() const {
  if (cancel_grace_ns_ != 0) return cancel_grace_ns_;
  return uint64_t{2000} * device_->description().cancel_bound_us + kCancelSlack;
}

Status CompiledModel::run_step(uint32_t n_tokens, uint32_t n_sequences, uint32_t n_rows,
                               const volatile uint32_t* cancel, uint32_t* blast, uint32_t* culprit) {
  const mrt_backend& table = device_->table();
  mrt_step step{};
  step.struct_size = sizeof(step);
  step.n_tokens = n_tokens;
  step.n_seqs = n_sequences;
  step.n_rows = n_rows;
  step.outputs = n_rows != 0 ? 1 : 0;
  step.cancel = cancel;
  mrt_error error{};
  error.index = UINT32_MAX;
  int32_t code = table.step_prepare(program_, &step, &error);
  step_open_ = code == MRT_OK;
  if (step_open_) code = table.step_run(program_, 0, &error);
  if (step_open_ && code == MRT_OK) code = wait_for_step(cancel, &error);
  if (code == MRT_OK) return {};
  abort_step();
  *blast = error.blast;
  *culprit = error.blast == MRT_BLAST_SEQUENCE && error.index < n_sequences ? error.index : UINT32_MAX;
  return device_->status(code, error);
}

int32_t CompiledModel::wait_for_step(const volatile uint32_t* cancel, mrt_error* error) {
  uint64_t cancelled_at = 0;
  for (;;) {
    const int32_t code = device_->table().step_wait(program_, 0, kPoll, error);
    if (code != MRT_DEADLINE) return code;
    if (!cancel_requested(cancel)) continue;
    const uint64_t now = os::monotonic_ns();
    if (cancelled_at == 0) cancelled_at = now;
    if (now - cancelled_at < cancel_grace_ns()) continue;
    abandoned_ = true;
    static constexpr char kText[] =
        "the device did not end a step that was cancelled; it counts as lost, and the memory it may still use is kept";
    static_assert(sizeof(kText) <= sizeof(error->message));
    *error = {};
    error->code = MRT_BACKEND;
    error->blast = MRT_BLAST_DEVICE;
    error->index = UINT32_MAX;
    std::copy(std::begin(kText), std::end(kText), error->message);
    return MRT_BACKEND;
  }
}

void CompiledModel::abort_step() noexcept {
  if (!step_open_) return;
  step_open_ = false;
  if (abandoned_) return;  // abort waits for the step
  mrt_error error{};
  note_loss(device_->table().step_abort(program_, 0, &error), error);
}

Status CompiledModel::commit(std::span<const uint32_t> accepted) {
  mrt_error error{};
  const int32_t code = device_->table().step_commit(program_, 0, accepted.data(), &error);
  if (code == MRT_OK) {
    step_open_ = false;
    return {};
  }
  abort_step();
  return device_->status(code, error);
}

void CompiledModel::note_loss(int32_t code, const mrt_error& error) noexcept {
  if (code == MRT_OK || error.blast != MRT_BLAST_DEVICE) return;
  try {
    (void)device_->status(code, error);
  } catch (...) {
    return;  // the device is marked before the text is made, and only the mark is wanted
  }
}

// A state that is neither good nor lost is not one to build on.
bool CompiledModel::device_lost() noexcept {
  if (device_->lost() || abandoned_) return true;
  mrt_error error{};
  uint32_t state = UINT32_MAX;
  const int32_t code = device_->table().device_status(device_->handle(), &state, &error);
  if (code == MRT_OK && state == MRT_STATE_GOOD) return false;
  error.blast = MRT_BLAST_DEVICE;
  note_loss(MRT_BACKEND, error);
  return true;
}

}  // namespace merritt::engine
