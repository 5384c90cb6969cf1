// SPDX-License-Identifier: Apache-2.0
// What the dynamic linker knows that Boost.DLL does not tell. Threads: any.
#pragma once

#include <cstdint>
#include <string>

namespace merritt::os {

// Why the last dlopen or dlsym of this thread failed, cleared by reading; empty when it did not.
std::string dynamic_linker_error();
// Where the object that holds this address was loaded (what its ELF addresses are relative to); 0 = in none.
uintptr_t load_address_of(uintptr_t address);

}  // namespace merritt::os
