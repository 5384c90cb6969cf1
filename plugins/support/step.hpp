// SPDX-License-Identifier: Apache-2.0
// The step's checks and its life. StepChecker proves every index of a staged step before anything runs; SlotState keeps
// the rule that each prepared slot ends in exactly one commit or abort. Nothing here allocates after create.
#pragma once
#include <cstdint>

#include "support/host.hpp"
#include "support/pool.hpp"
#include "support/staging.hpp"

namespace merritt::plugin {

class StepChecker {
 public:
  /// pool may be null when the graph caches nothing. All pointers outlive the checker.
  int32_t create(const Plan* plan, Pool* pool, const mrt_program_policy& policy, Memory* memory, mrt_error* err);
  /// The whole of step_prepare's validation; the pool hears which pages the step will write. A failure that one
  /// sequence caused has blast SEQUENCE and its index; every other failure has blast CALL. On success *out is the step,
  /// copied.
  int32_t check(const mrt_step* step, const mrt_staging& staging, uint32_t n_slots, mrt_step* out,
                mrt_error* err) noexcept;

 private:
  int32_t check_counts(const mrt_step& step, uint32_t n_slots, mrt_error* err) const noexcept;
  int32_t check_sequence(const mrt_step& step, const mrt_staging& staging, uint32_t s, uint32_t first,
                         mrt_error* err) const noexcept;
  int32_t check_tokens(const mrt_staging& staging, uint32_t s, uint32_t first, uint32_t n,
                       mrt_error* err) const noexcept;
  int32_t check_rows(const mrt_step& step, const mrt_staging& staging, mrt_error* err) const noexcept;
  int32_t check_pages(const mrt_staging& staging, uint32_t s, uint32_t g, mrt_error* err) const noexcept;
  int32_t claim_written(const mrt_step& step, const mrt_staging& staging, mrt_error* err) const noexcept;
  const Plan* plan_ = nullptr;
  Pool* pool_ = nullptr;
  mrt_program_policy policy_{};
  Buffer writers_;  // per page: 1 + the sequence that writes it in this step; zero between calls
  uint64_t writers_at_[MRT_MAX_GROUPS] = {};
};

/// Pages of sequence s in group g that a step reads or writes. Valid after a successful check.
struct PageRange {
  uint32_t first_logical = 0;  // page_base
  uint32_t n_entries = 0;      // entries of the table that are in use, up to the page of the last token
  uint32_t write_from = 0;     // entry of the first page written
};
PageRange page_range(const mrt_staging& staging, uint32_t s, uint32_t g, uint32_t page_tokens) noexcept;

/// First cache index that a token at cache index i sees under `window` (0 = all).
inline uint64_t first_visible(uint64_t i, uint32_t window) noexcept {
  return window == 0 || i + 1 < window ? 0 : i + 1 - window;
}

enum class SlotPhase : uint32_t { kIdle, kPrepared, kRunning, kDone };

/// One per slot. [program]
class SlotState {
 public:
  /// kIdle is required to prepare; call prepared() after a successful check.
  int32_t may_prepare(mrt_error* err) const noexcept;
  void prepared(const mrt_step& step) noexcept;
  int32_t start(mrt_error* err) noexcept;         // kPrepared to kRunning
  void finish(const mrt_error& result) noexcept;  // kRunning to kDone, with the step's own result
  int32_t result(mrt_error* err) const noexcept;  // of step_wait once kDone (or precondition failure)
  int32_t commit(const uint32_t* accepted, const mrt_staging& staging, mrt_error* err) noexcept;  // to kIdle
  int32_t abort(mrt_error* err) noexcept;  // to kIdle; the caller has waited
  SlotPhase phase() const noexcept { return phase_; }
  const mrt_step& step() const noexcept { return step_; }
  bool cancelled() const noexcept { return cancel_requested(step_.cancel); }

 private:
  SlotPhase phase_ = SlotPhase::kIdle;
  mrt_step step_{};
  mrt_error result_{};
};

}  // namespace merritt::plugin
