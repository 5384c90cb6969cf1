/* SPDX-License-Identifier: Apache-2.0 */
#include <merritt/merritt.h>
#include <stdio.h>

int main(void) {
  merritt_engine engine = NULL;
  if (merritt_engine_create(NULL, &engine, NULL) != MERRITT_OK) return 1;
  printf("merritt %s\n", merritt_version_string());
  return merritt_engine_destroy(engine, NULL) == MERRITT_OK ? 0 : 1;
}
