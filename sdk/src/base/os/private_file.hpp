// SPDX-License-Identifier: Apache-2.0
// Files in a directory that this user alone may write: looked at through the open directory, never through a path, and
// no symbolic link is followed. What is written appears whole or not at all. Threads: any; one object, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/os/file.hpp"
#include "base/status.hpp"

namespace merritt::os {

// An absolute path without links; the directory must belong to the user of this process and be writable by nobody else,
// not even where a sticky bit would keep them from our files.
Result<File> open_private_directory(const std::string& path);

enum class Readers { kAny, kOwner };
// A regular file of this user in it, writable by nobody else and, with kOwner, readable by nobody else. kNotFound =
// there is none.
Result<File> open_private_file(const File& directory, const std::string& name, Readers readers);

// Makes a file of mode 0600 with its content at once; kFailedPrecondition = there is one already, left alone.
Status create_private_file(const File& directory, const std::string& name, std::span<const std::byte> content);

// A new content for `name`, written beside it. Whoever reads `name` meanwhile sees the old content, or none.
class FileReplacement {
 public:
  // Room for `bytes` is taken at once where the file system can. kOverloaded = somebody else is writing this file;
  // kFailedPrecondition = no room, or more than a file of this process may have.
  static Result<FileReplacement> begin(const File& directory, const std::string& name, uint64_t bytes);
  FileReplacement(FileReplacement&&) noexcept = default;
  FileReplacement& operator=(FileReplacement&&) = delete;
  ~FileReplacement();  // without commit() nothing remains

  Status write_at(uint64_t offset, std::span<const std::byte> content);
  // On disk, then under its name.
  Status commit();

 private:
  FileReplacement(const File& directory, std::string name, File file)
      : directory_(&directory), name_(std::move(name)), file_(std::move(file)) {}
  std::string beside() const { return name_ + ".new"; }

  const File* directory_;
  std::string name_;
  File file_;  // locked for as long as it is open
};

}  // namespace merritt::os
