// SPDX-License-Identifier: Apache-2.0
// Files: an owned descriptor (always close-on-exec), reading at an offset, writing anew. Threads: a File may be read
// from any thread; nothing here keeps a file position.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.hpp"

namespace merritt::os {

class File {
 public:
  File() = default;
  explicit File(int fd) : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept;
  ~File();

  static Result<File> open_read(const std::string& path);

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

  Result<uint64_t> size() const;  // of a regular file; invalid_argument for anything else
  // All of `out` from `offset`; corrupt when the file ends before.
  Status read_at(uint64_t offset, std::span<std::byte> out) const;
  // What one read from the start gives, for files of /proc and /sys that have no size; 0 on any failure.
  size_t read_some(std::span<std::byte> out) const;

 private:
  int fd_ = -1;
};

// The whole file, refused above `bytes_max`.
Result<std::vector<std::byte>> read_file(const std::string& path, size_t bytes_max);
// Writes beside the file and renames over it, so that a reader sees the old or the new one. mode: such as 0600.
Status write_file(const std::string& path, std::span<const std::byte> content, uint32_t mode);
// All of `content` from `offset` of an open file.
Status write_all_at(int fd, uint64_t offset, std::span<const std::byte> content);
// Like write_file, but an existing file is refused (failed_precondition) and left alone.
Status create_file(const std::string& path, std::span<const std::byte> content, uint32_t mode);
// The absolute path that no link and no ".." is in.
Result<std::string> real_path(const std::string& path);
// Permission bits, such as 0644.
Result<uint32_t> file_mode(const std::string& path);

// "No such file or directory" and so on.
std::string error_text(int error_number);
// The code that suits an errno of open or stat.
Code error_code(int error_number);

}  // namespace merritt::os
