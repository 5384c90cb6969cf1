// SPDX-License-Identifier: Apache-2.0
// The staging of one slot: every array cut from one block of host memory, at addresses that stay for the life of the
// program, given out once.
#pragma once
#include <cstdint>

#include "support/host.hpp"
#include "support/plan.hpp"

namespace merritt::plugin {

/// Checks a program policy against the plan and fills in a copy. n_buckets is a hint; buckets are not kept.
/// n_groups: of the pool, 0 without one.
int32_t take_policy(const mrt_program_policy* policy, const Plan& plan, uint32_t n_groups, mrt_program_policy* out,
                    mrt_error* err);

/// Rows that a result of this kind can have under the policy: max_tokens, max_rows or max_seqs.
uint32_t max_rows_of(uint16_t rows_kind, const mrt_program_policy& policy) noexcept;

class Staging {
 public:
  /// with_adapters: the plugin loads adapters, so seq_adapter is an array and not null.
  int32_t create(const Plan& plan, const mrt_program_policy& policy, uint32_t n_groups, uint32_t n_slots,
                 bool with_adapters, Memory* memory, mrt_error* err);
  /// The arrays, for the plugin itself.
  const mrt_staging& view() const noexcept { return view_; }
  /// The program_staging slot: refuses to be asked twice.
  int32_t give(mrt_staging* out, mrt_error* err) noexcept;

 private:
  Buffer block_;
  mrt_staging view_{};
  bool given_ = false;
};

}  // namespace merritt::plugin
