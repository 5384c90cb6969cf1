// SPDX-License-Identifier: Apache-2.0
//
// Ctrl-C: a verb that can cancel what it runs watches for the first one; a second one before it was handled ends the
// process at once, and so does the first one in a verb that does not watch, always with the exit code of a failure.
// Process-wide by nature; only the command installs it, never the library.
#pragma once

namespace merritt::tools {

void end_on_interrupt();  // what main starts with
void watch_interrupts();
bool interrupted();        // only of use after watch_interrupts
void forget_interrupts();  // the verb has dealt with it

}  // namespace merritt::tools
