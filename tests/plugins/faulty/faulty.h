/* SPDX-License-Identifier: Apache-2.0
 * The test-only extension of the faulty plugins. */
#ifndef MERRITT_TESTS_FAULTY_H
#define MERRITT_TESTS_FAULTY_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#define MERRITT_FAULTY_EXT "x.faulty/1"
typedef struct merritt_faulty_ext {
  uint32_t struct_size, reserved;
  /* fails_kth_call: the k-th call from now of a slot that returns a code fails (BACKEND, blast CALL); 0 = none. */
  void (*fail_at)(uint64_t k);
  uint64_t (*calls)(void);
  /* Turns the fault of a run_*, wait_* or status_* variant off (0) or on (1, from the start). */
  void (*arm)(uint32_t on);
} merritt_faulty_ext;
#ifdef __cplusplus
}
#endif
#endif
