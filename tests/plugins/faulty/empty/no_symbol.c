/* SPDX-License-Identifier: Apache-2.0
 * A shared object that is no plugin: nothing of the handshake is exported. */
int merritt_not_a_plugin(void);
int merritt_not_a_plugin(void) { return 1; }
