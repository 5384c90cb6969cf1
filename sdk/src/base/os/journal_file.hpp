// SPDX-License-Identifier: Apache-2.0
// A file that one process at a time appends to, and that no other may have locked. Threads: any; a File may be read
// while it is written.
#pragma once

#include <cstdint>
#include <string>

#include "base/os/file.hpp"
#include "base/status.hpp"

namespace merritt::os {

// Opens or makes a regular file of mode 0600 and locks it until it is closed; its last name may be no symbolic link.
// kFailedPrecondition = somebody else has it.
Result<File> open_journal_file(const std::string& path);
// What was written is on disk when this returns.
Status sync_data(const File& file);
// Gives the lock back, also when a child of fork() has the file open still.
void unlock_journal_file(const File& file);
// Cuts the file off at `bytes`.
Status cut_file(const File& file, uint64_t bytes);

}  // namespace merritt::os
