// SPDX-License-Identifier: Apache-2.0
#include "model/weights/source.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "base/text.hpp"

namespace merritt::model::weights {
namespace {

constexpr size_t kPathShown = 256;

std::string error_text(int number) { return std::generic_category().message(number); }

// offset + n as far as the source is concerned; n bytes at offset must lie inside it.
Status check_range(uint64_t size, uint64_t offset, uint64_t n) {
  if (offset <= size && n <= size - offset) return {};
  return Status(Code::kCorrupt, "bytes " + std::to_string(offset) + " to " + std::to_string(offset) + " + " +
                                    std::to_string(n) + " lie outside the file of " + std::to_string(size) + " bytes");
}

class FileSource final : public Source {
 public:
  FileSource(int fd, uint64_t size) : fd_(fd), size_(size) {}
  ~FileSource() override { ::close(fd_); }
  uint64_t size() const override { return size_; }

  Status read(uint64_t offset, std::span<std::byte> out) const override {
    MERRITT_CHECK(check_range(size_, offset, out.size()));
    constexpr size_t kOnce = size_t{1} << 30;  // below what one pread takes
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t n =
          ::pread(fd_, out.data() + done, std::min(out.size() - done, kOnce), static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        return Status(Code::kCorrupt,
                      "the file cannot be read at " + std::to_string(offset + done) + ": " + error_text(errno));
      }
      if (n == 0) {
        return Status(Code::kCorrupt,
                      "the file was truncated while it was being read: " + std::to_string(out.size() - done) +
                          " bytes at " + std::to_string(offset + done) + " are missing");
      }
      done += static_cast<size_t>(n);
    }
    return {};
  }

  std::optional<FileState> file_state() const override {
    struct stat info {};
    if (::fstat(fd_, &info) != 0) return std::nullopt;
    const auto ns = [](const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; };
    return FileState{static_cast<uint64_t>(info.st_size), info.st_dev, info.st_ino, ns(info.st_mtim), ns(info.st_ctim)};
  }

 private:
  int fd_;
  uint64_t size_;
};

class MemorySource final : public Source {
 public:
  explicit MemorySource(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  Status read(uint64_t offset, std::span<std::byte> out) const override {
    MERRITT_CHECK(check_range(bytes_.size(), offset, out.size()));
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  std::vector<std::byte> bytes_;
};

Status open_failure(std::string_view path, int number) {
  const std::string text = clean_text(path, kPathShown) + ": " + error_text(number);
  switch (number) {
    case ENOENT:
    case ENOTDIR: return Status(Code::kNotFound, text);
    case EACCES:
    case EPERM: return Status(Code::kPermissionDenied, text);
    case EMFILE:
    case ENFILE:
    case ENOMEM: return Status(Code::kOutOfMemory, text);
    default: return Status(Code::kInvalidArgument, text);
  }
}

}  // namespace

Result<std::shared_ptr<Source>> open_file_source(std::string_view path) {
  if (path.find('\0') != std::string_view::npos) {
    return Status(Code::kInvalidArgument, "the path of a model file holds a zero byte");
  }
  // Not blocking, so that a pipe nobody writes to is refused rather than waited for.
  int fd = -1;
  do {
    fd = ::open(std::string(path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return open_failure(path, errno);
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    Status failure = open_failure(path, errno);
    ::close(fd);
    return failure;
  }
  if (!S_ISREG(info.st_mode) || info.st_size < 0) {
    ::close(fd);
    return Status(Code::kInvalidArgument, clean_text(path, kPathShown) + ": a model is a regular file, and this is " +
                                              (S_ISDIR(info.st_mode) ? "a folder" : "not one"));
  }
  return std::shared_ptr<Source>(std::make_shared<FileSource>(fd, static_cast<uint64_t>(info.st_size)));
}

std::shared_ptr<Source> memory_source(std::vector<std::byte> bytes) {
  return std::make_shared<MemorySource>(std::move(bytes));
}

}  // namespace merritt::model::weights
