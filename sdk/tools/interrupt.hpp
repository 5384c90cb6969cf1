// SPDX-License-Identifier: Apache-2.0
//
// Ctrl-C: the first one is counted, so that a verb can cancel what runs; a second one before it was handled ends the
// process. Process-wide by nature; only the command installs it, never the library.
#pragma once

namespace merritt::tools {

void watch_interrupts();
bool interrupted();
void forget_interrupts();  // the verb has dealt with it

}  // namespace merritt::tools
