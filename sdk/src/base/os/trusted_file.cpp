// SPDX-License-Identifier: Apache-2.0
#include "base/os/trusted_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace merritt::os {
namespace {

std::string octal(mode_t mode) {
  char text[8] = {};
  std::snprintf(text, sizeof(text), "%04o", static_cast<unsigned>(mode) & 07777u);
  return text;
}

// Owner and mode of a file or directory that code is taken from.
Status check_owner(const struct stat& info, const std::string& label) {
  if (info.st_uid != 0 && info.st_uid != geteuid()) {
    return Status(Code::kPermissionDenied, label + " belongs to user " + std::to_string(info.st_uid) +
                                               "; it must belong to root or to the user of this process");
  }
  // In a sticky directory others can add files but not replace ours.
  const bool sticky = S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX) != 0;
  if (!sticky && (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    const char* who = (info.st_mode & S_IWOTH) != 0 ? "everybody" : "its group";
    return Status(Code::kPermissionDenied,
                  label + " is writable by " + who + " (mode " + octal(info.st_mode) + "); run chmod go-w on it");
  }
  return {};
}

Status open_failure(int number, const std::string& label) {
  // With O_DIRECTORY the kernel calls a link "not a directory"; the caller has looked.
  if (number == ELOOP) return Status(Code::kPermissionDenied, label + " is a symbolic link; give the real path");
  return Status(error_code(number), label + " cannot be opened: " + error_text(number));
}

bool is_link(int directory, const std::string& name) {
  struct stat info {};
  return fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode);
}

}  // namespace

Result<std::string> plain_absolute_path(std::string_view path) {
  if (path.empty() || path.front() != '/') {
    return Status(Code::kInvalidArgument, "\"" + std::string(path) + "\" is a relative path; give an absolute one");
  }
  if (path.find('\0') != std::string_view::npos) return Status(Code::kInvalidArgument, "a path holds a zero byte");
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  for (std::string_view rest = path.substr(1); !rest.empty();) {
    const std::string_view part = rest.substr(0, std::min(rest.find('/'), rest.size()));
    if (part.empty() || part == "." || part == "..") {
      return Status(Code::kInvalidArgument, std::string(path) + ": the path has an empty, . or .. component");
    }
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
  }
  return std::string(path);
}

Result<File> open_trusted_directory(const std::string& path) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  MERRITT_TRY(const std::string plain, plain_absolute_path(path));
  File at(::open("/", kFlags));
  if (!at.is_open()) return open_failure(errno, "/");
  for (size_t begin = 1; begin < plain.size();) {
    const size_t end = std::min(plain.find('/', begin), plain.size());
    const std::string part = plain.substr(begin, end - begin);
    File next(::openat(at.fd(), part.c_str(), kFlags));
    if (!next.is_open()) {
      const int number = is_link(at.fd(), part) ? ELOOP : errno;
      return open_failure(number, plain.substr(0, end));
    }
    at = std::move(next);
    begin = end + 1;
  }
  struct stat info {};
  if (fstat(at.fd(), &info) != 0) return open_failure(errno, plain);
  MERRITT_CHECK(check_owner(info, "the directory " + plain));
  return at;
}

Result<File> open_trusted_file(const File& directory, const std::string& name, uint64_t bytes_max,
                               const std::string& label) {
  // Non-blocking: a FIFO in its place must not hold us.
  File file(::openat(directory.fd(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open()) return open_failure(errno, label);
  struct stat info {};
  if (fstat(file.fd(), &info) != 0) return open_failure(errno, label);
  if (!S_ISREG(info.st_mode)) return Status(Code::kPermissionDenied, label + " is not a regular file");
  MERRITT_CHECK(check_owner(info, label));
  if (static_cast<uint64_t>(info.st_size) > bytes_max) {
    return Status(Code::kPermissionDenied,
                  label + " has " + std::to_string(info.st_size) + " bytes; the limit is " + std::to_string(bytes_max));
  }
  return file;
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  DIR* const directory = opendir(path.c_str());
  if (directory == nullptr) return open_failure(errno, path);
  std::vector<std::string> names;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc locks the stream, and this one is ours alone
  while (const dirent* entry = readdir(directory)) names.emplace_back(entry->d_name);
  closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace merritt::os
