// SPDX-License-Identifier: Apache-2.0
// What the dynamic linker knows that Boost.DLL does not tell. Threads: any.
#pragma once

#include <cstdint>
#include <string>

namespace merritt::os {

enum class MapResult { kMapped, kRefused, kThrew };
// Maps a shared object for ever, its symbols all bound and its own. kRefused: nothing stays mapped and
// dynamic_linker_error() says why. kThrew: one of its constructors threw. C++ takes for granted that nothing comes out
// of dlopen, so an ordinary call would end the process; here it comes back, but the object stays half started and glibc
// never gives back its lock: from then on only this thread may load, look up or exit.
MapResult map_for_ever(const std::string& path) noexcept;
// Why the last dlopen or dlsym of this thread failed, cleared by reading; empty when it did not.
std::string dynamic_linker_error();
// Where the object that holds this address was loaded (what its ELF addresses are relative to); 0 = in none.
uintptr_t load_address_of(uintptr_t address);

}  // namespace merritt::os
