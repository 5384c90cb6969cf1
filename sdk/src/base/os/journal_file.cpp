// SPDX-License-Identifier: Apache-2.0
#include "base/os/journal_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace merritt::os {
namespace {

Status failure(const std::string& what) {
  const int number = errno;
  return Status(error_code(number), what + ": " + error_text(number));
}

}  // namespace

Result<File> open_journal_file(const std::string& path) {
  if (path.find('\0') != std::string::npos) return Status(Code::kInvalidArgument, "a path holds a zero byte");
  File file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600));
  if (!file.is_open()) return failure(path + ": cannot be opened for writing");
  struct stat info {};
  if (fstat(file.fd(), &info) != 0) return failure(path + ": no file state");
  if (!S_ISREG(info.st_mode)) return Status(Code::kInvalidArgument, path + ": not a regular file");
  while (flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return Status(Code::kFailedPrecondition, path + ": another engine writes it");
    return failure(path + ": cannot be locked");
  }
  return file;
}

Status sync_data(const File& file) {
  while (fdatasync(file.fd()) != 0) {
    if (errno != EINTR) return failure("cannot be brought to disk");
  }
  return {};
}

void unlock_journal_file(const File& file) { (void)flock(file.fd(), LOCK_UN); }

Status cut_file(const File& file, uint64_t bytes) {
  while (ftruncate(file.fd(), static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return failure("cannot be cut off");
  }
  return {};
}

}  // namespace merritt::os
