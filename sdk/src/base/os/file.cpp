// SPDX-License-Identifier: Apache-2.0
#include "base/os/file.hpp"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

namespace merritt::os {
namespace {

Status failure(const std::string& path, const char* doing) {
  const int number = errno;
  return Status(error_code(number), path + ": " + doing + ": " + error_text(number));
}

Status write_all(int fd, std::span<const std::byte> content) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Status(error_code(errno), "cannot be written: " + error_text(errno));
    content = content.subspan(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<File> File::open_read(const std::string& path) {
  if (path.find('\0') != std::string::npos) return Status(Code::kInvalidArgument, "a path holds a zero byte");
  // Non-blocking, so that a FIFO in the place of a file cannot hold the caller; regular files do not mind.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return failure(path, "cannot be opened");
  return File(fd);
}

Result<uint64_t> File::size() const {
  struct stat info {};
  if (fstat(fd_, &info) != 0) return Status(error_code(errno), "no file state: " + error_text(errno));
  if (!S_ISREG(info.st_mode)) return Status(Code::kInvalidArgument, "not a regular file");
  return static_cast<uint64_t>(info.st_size);
}

Status File::read_at(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    if (offset > INT64_MAX) return Status(Code::kCorrupt, "read at an offset no file has");
    const ssize_t n = pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status(error_code(errno), "read at byte " + std::to_string(offset) + ": " + error_text(errno));
    if (n == 0) {
      return Status(Code::kCorrupt, "the file ends at byte " + std::to_string(offset) + ", " +
                                        std::to_string(out.size()) + " bytes early");
    }
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
  return {};
}

size_t File::read_some(std::span<std::byte> out) const {
  const ssize_t n = pread(fd_, out.data(), out.size(), 0);
  return n > 0 ? static_cast<size_t>(n) : 0;
}

Result<std::vector<std::byte>> read_file(const std::string& path, size_t bytes_max) {
  MERRITT_TRY(const File file, File::open_read(path));
  Result<uint64_t> size = file.size();
  if (!size.ok()) return std::move(size).status().with_context(path);
  if (*size > bytes_max) {
    return Status(Code::kCorrupt,
                  path + " has " + std::to_string(*size) + " bytes; the limit is " + std::to_string(bytes_max));
  }
  std::vector<std::byte> content(static_cast<size_t>(*size));
  Status read = file.read_at(0, content);
  if (!read.ok()) return std::move(read).with_context(path);
  return content;
}

Status write_file(const std::string& path, std::span<const std::byte> content, uint32_t mode) {
  std::string beside = path + ".XXXXXX";
  const int fd = mkostemp(beside.data(), O_CLOEXEC);
  if (fd < 0) return failure(path, "no file can be made beside it");
  const File file(fd);
  Status written = fchmod(fd, mode) == 0 ? write_all(fd, content) : failure(path, "its mode cannot be set");
  if (written.ok() && fsync(fd) != 0) written = failure(path, "cannot be brought to disk");
  if (written.ok() && std::rename(beside.c_str(), path.c_str()) != 0) written = failure(path, "cannot be replaced");
  if (!written.ok()) ::unlink(beside.c_str());
  return written.ok() ? Status() : std::move(written).with_context(path);
}

Status write_all_at(int fd, uint64_t offset, std::span<const std::byte> content) {
  constexpr size_t kOnce = size_t{1} << 30;  // below what one pwrite takes
  while (!content.empty()) {
    const ssize_t n = pwrite(fd, content.data(), std::min(content.size(), kOnce), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Status(error_code(errno), "cannot be written: " + error_text(errno));
    content = content.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Status create_file(const std::string& path, std::span<const std::byte> content, uint32_t mode) {
  const File file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!file.is_open()) return failure(path, "cannot be made");
  Status written = write_all(file.fd(), content);
  if (!written.ok()) ::unlink(path.c_str());
  return written.ok() ? Status() : std::move(written).with_context(path);
}

Result<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr), &std::free);
  if (real == nullptr) return failure(path, "cannot be found");
  return std::string(real.get());
}

Result<uint32_t> file_mode(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return failure(path, "cannot be looked at");
  return static_cast<uint32_t>(info.st_mode) & 07777;
}

std::string error_text(int error_number) {
  char buffer[128] = {};
  return strerror_r(error_number, buffer, sizeof(buffer));
}

Code error_code(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR: return Code::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP: return Code::kPermissionDenied;
    case ENOMEM: return Code::kOutOfMemory;
    case EINVAL:
    case ENAMETOOLONG: return Code::kInvalidArgument;
    default: return Code::kFailedPrecondition;
  }
}

}  // namespace merritt::os
