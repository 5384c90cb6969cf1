// SPDX-License-Identifier: Apache-2.0
#include "base/os/private_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/os/random.hpp"
#include "base/os/trusted_file.hpp"

namespace merritt::os {
namespace {

constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;
constexpr mode_t kOthersRead = S_IRGRP | S_IROTH;

Status failure(const std::string& name, const char* doing, int number) {
  return Status(error_code(number), name + ": " + doing + ": " + error_text(number));
}

Status check_private(const struct stat& info, const std::string& label, mode_t forbidden) {
  if (info.st_uid != geteuid()) {
    return Status(Code::kPermissionDenied, label + " belongs to user " + std::to_string(info.st_uid) +
                                               "; it must belong to the user of this process");
  }
  if ((info.st_mode & forbidden) != 0) {
    char mode[8] = {};
    std::snprintf(mode, sizeof(mode), "%04o", static_cast<unsigned>(info.st_mode) & 07777u);
    const bool writable = (info.st_mode & kOthersWrite) != 0;
    return Status(Code::kPermissionDenied, label + " is " + (writable ? "writable" : "readable") + " by others (mode " +
                                               mode + "); run chmod go-" + (writable ? "w" : "rwx") + " on it");
  }
  return {};
}

// Whether the name still stands for the open file: between open and lock another may have renamed or replaced it.
bool is_named(const File& directory, const std::string& name, const struct stat& open) {
  struct stat named {};
  return fstatat(directory.fd(), name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_ino == open.st_ino &&
         named.st_dev == open.st_dev;
}

// A write beyond these limits would end the process with a signal, or fail half-way.
Status take_room(const File& file, const std::string& name, uint64_t bytes) {
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur) {
    return Status(Code::kFailedPrecondition, name + " would have " + std::to_string(bytes) +
                                                 " bytes; a file of this process may have " +
                                                 std::to_string(limit.rlim_cur) + " (RLIMIT_FSIZE)");
  }
  if (bytes > INT64_MAX) return Status(Code::kInvalidArgument, name + " is larger than any file");
  if (fallocate(file.fd(), 0, 0, static_cast<off_t>(bytes)) == 0) return {};
  if (errno == EOPNOTSUPP || errno == ENOSYS) return {};  // then a write finds out
  return failure(name, "there is no room for it", errno);
}

}  // namespace

Result<File> open_private_directory(const std::string& path) {
  MERRITT_TRY(File directory, open_trusted_directory(path));
  struct stat info {};
  if (fstat(directory.fd(), &info) != 0) return failure(path, "cannot be looked at", errno);
  MERRITT_CHECK(check_private(info, "the directory " + path, kOthersWrite));
  return directory;
}

Result<File> open_private_file(const File& directory, const std::string& name, Readers readers) {
  // Non-blocking: a FIFO in its place must not hold us.
  File file(::openat(directory.fd(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open()) return failure(name, errno == ELOOP ? "a symbolic link" : "cannot be opened", errno);
  struct stat info {};
  if (fstat(file.fd(), &info) != 0) return failure(name, "cannot be looked at", errno);
  if (!S_ISREG(info.st_mode)) return Status(Code::kPermissionDenied, name + " is not a regular file");
  const mode_t forbidden = kOthersWrite | (readers == Readers::kOwner ? kOthersRead : 0);
  MERRITT_CHECK(check_private(info, name, forbidden));
  return file;
}

Status create_private_file(const File& directory, const std::string& name, std::span<const std::byte> content) {
  uint64_t random = 0;
  MERRITT_CHECK(random_bytes(std::as_writable_bytes(std::span(&random, 1))));
  const std::string beside = name + "." + std::to_string(random);
  const File file(::openat(directory.fd(), beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.is_open()) return failure(name, "cannot be made", errno);
  Status outcome = write_all_at(file.fd(), 0, content);
  if (outcome.ok() && fsync(file.fd()) != 0) outcome = failure(name, "cannot be brought to disk", errno);
  // A link, unlike a rename, never takes the place of a file that somebody else has made meanwhile.
  if (outcome.ok() && linkat(directory.fd(), beside.c_str(), directory.fd(), name.c_str(), 0) != 0) {
    outcome = errno == EEXIST ? Status(Code::kFailedPrecondition, name + " is there already")
                              : failure(name, "cannot be made", errno);
  }
  unlinkat(directory.fd(), beside.c_str(), 0);
  if (outcome.ok() && fsync(directory.fd()) != 0) outcome = failure(name, "cannot be brought to disk", errno);
  return outcome;
}

Result<FileReplacement> FileReplacement::begin(const File& directory, const std::string& name, uint64_t bytes) {
  const std::string beside = name + ".new";
  File file(::openat(directory.fd(), beside.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                     0600));
  if (!file.is_open()) return failure(beside, "cannot be made", errno);
  struct stat info {};
  if (fstat(file.fd(), &info) != 0) return failure(beside, "cannot be looked at", errno);
  if (!S_ISREG(info.st_mode) || info.st_nlink > 1) {
    return Status(Code::kPermissionDenied, beside + " is in the way and no file of ours");
  }
  MERRITT_CHECK(check_private(info, beside, kOthersWrite));
  // One left by a process that died is not locked: it is taken over.
  if (flock(file.fd(), LOCK_EX | LOCK_NB) != 0 || !is_named(directory, beside, info)) {
    return Status(Code::kOverloaded, name + " is being written by somebody else");
  }
  FileReplacement replacement(directory, name, std::move(file));
  if (ftruncate(replacement.file_.fd(), 0) != 0) return failure(beside, "cannot be emptied", errno);
  MERRITT_CHECK(take_room(replacement.file_, name, bytes));
  return replacement;
}

FileReplacement::~FileReplacement() {
  // Still under the lock: nobody else has begun another one of this name.
  if (file_.is_open()) unlinkat(directory_->fd(), beside().c_str(), 0);
}

Status FileReplacement::write_at(uint64_t offset, std::span<const std::byte> content) {
  Status written = write_all_at(file_.fd(), offset, content);
  return written.ok() ? Status() : std::move(written).with_context(name_);
}

Status FileReplacement::commit() {
  if (fsync(file_.fd()) != 0) return failure(name_, "cannot be brought to disk", errno);
  if (renameat(directory_->fd(), beside().c_str(), directory_->fd(), name_.c_str()) != 0) {
    return failure(name_, "cannot be replaced", errno);
  }
  file_ = File();
  if (fsync(directory_->fd()) != 0) return failure(name_, "cannot be brought to disk", errno);
  return {};
}

}  // namespace merritt::os
