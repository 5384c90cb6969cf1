// SPDX-License-Identifier: Apache-2.0
// The slots of mrt_backend in its order; R(name) required, O(name) optional.
#pragma once

// clang-format off
#define MERRITT_SLOTS(R, O)                                                             \
  R(device_describe) R(device_open) R(device_status) R(device_close)                    \
  R(model_compile) R(model_destroy) O(adapter_load) O(adapter_destroy)                  \
  R(kv_spec) R(pool_create) R(pool_destroy) R(kv_read) R(kv_write) R(kv_zero)           \
  R(kv_copy) O(kv_map) O(kv_export) O(kv_import)                                        \
  R(program_create) R(program_destroy) R(program_staging)                               \
  R(step_prepare) R(step_run) R(step_wait) R(step_commit) R(step_abort)                 \
  O(extension)
// clang-format on
