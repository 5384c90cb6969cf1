// SPDX-License-Identifier: Apache-2.0
// Opens files that will be run: no symbolic link anywhere in the path, directory and file owned by root or by this user
// and writable by nobody else. Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/os/file.hpp"
#include "base/status.hpp"

namespace merritt::os {

// An absolute path without empty, "." and ".." components, or why not. One slash at the end is taken off.
Result<std::string> plain_absolute_path(std::string_view path);

// Opens the directory component by component, following no link.
Result<File> open_trusted_directory(const std::string& path);
// Opens a regular file of at most bytes_max in it. `label` is how messages call it.
Result<File> open_trusted_file(const File& directory, const std::string& name, uint64_t bytes_max,
                               const std::string& label);
// Names in the directory, sorted.
Result<std::vector<std::string>> list_directory(const std::string& path);

}  // namespace merritt::os
