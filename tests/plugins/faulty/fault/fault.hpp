// SPDX-License-Identifier: Apache-2.0
// The faults there are, and the one of this plugin.
#pragma once

namespace merritt::faulty {

// clang-format off
enum class Fault {
  none, hello_refuses, hello_unterminated_reason, hello_throws, hello_nonsense_code, hello_wrong_abi, hello_null_table,
  table_too_small, table_size_lie, missing_required, missing_optional,
  describe_endless, describe_unterminated, describe_no_slots, open_unterminated_error, open_throws,
  compile_refuses_op, compile_throws, compile_null_model, compile_garbage, compile_leaks, compile_waits_for_cancel,
  kv_spec_nonsense, kv_spec_late_nonsense, pool_null, program_null, staging_null, staging_pages_null, output_width_lie,
  fails_kth_call, run_throws, run_nonsense_code, run_fails_step, run_fails_program, run_breaks_program, run_loses_device,
  run_fails_sequence, run_nonsense_status, run_nan_rows, run_hangs_until_cancel, wait_never_done, wait_ignores_cancel,
  status_nonsense
};
// clang-format on

extern const Fault kFault;

}  // namespace merritt::faulty
