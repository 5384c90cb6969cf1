/* SPDX-License-Identifier: Apache-2.0
 * The test-only extension of the far device: lets a test lose it at an exact call. */
#ifndef MERRITT_TESTS_FARDEVICE_H
#define MERRITT_TESTS_FARDEVICE_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#define MERRITT_FARDEVICE_EXT "x.fardevice/1"
typedef struct merritt_fardevice_ext {
  uint32_t struct_size, reserved;
  /* The k-th call from now that reaches a device, of any object on it, loses that device; 0 = never. Destroys,
   * device_status and read-outs are not counted. */
  void (*lose_at)(uint64_t k);
  /* Counted calls since the plugin was loaded. */
  uint64_t (*calls)(void);
  /* Steps take at least this long, so that step_wait is seen to answer MRT_DEADLINE. */
  void (*slow_steps_us)(uint64_t us);
} merritt_fardevice_ext;
#ifdef __cplusplus
}
#endif
#endif
