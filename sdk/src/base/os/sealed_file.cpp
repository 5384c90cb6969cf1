// SPDX-License-Identifier: Apache-2.0
#include "base/os/sealed_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

namespace merritt::os {
namespace {

// Newer than some headers: says that the bytes are meant to be run. Kernels before 6.3 refuse the bit.
constexpr unsigned kMemfdExec = 0x0010u;

Result<File> make_memory_file(const std::string& label) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = memfd_create(label.c_str(), kFlags | kMemfdExec);
  if (fd < 0 && errno == EINVAL) fd = memfd_create(label.c_str(), kFlags);
  if (fd >= 0) return File(fd);
  const int number = errno;
  if (number == EACCES || number == EPERM) {
    return Status(Code::kPermissionDenied,
                  "this system forbids code in memory files, which plugins are loaded through; allow it with "
                  "sysctl vm.memfd_noexec=1 or 0");
  }
  return Status(error_code(number), "no memory file for a plugin: " + error_text(number));
}

Status copy_bytes(const File& from, int to) {
  std::vector<std::byte> buffer(size_t{1} << 20);
  MERRITT_TRY(const uint64_t size, from.size());
  for (uint64_t at = 0; at < size;) {
    const std::span<std::byte> part(buffer.data(), std::min<uint64_t>(buffer.size(), size - at));
    MERRITT_CHECK(from.read_at(at, part));
    for (size_t done = 0; done < part.size();) {
      const ssize_t n = ::write(to, part.data() + done, part.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return Status(error_code(errno), "a plugin cannot be copied to memory: " + error_text(errno));
      done += static_cast<size_t>(n);
    }
    at += part.size();
  }
  return {};
}

}  // namespace

Result<SealedFile> SealedFile::copy_of(const File& file, const std::string& label) {
  MERRITT_TRY(File memory, make_memory_file(label));
  MERRITT_CHECK(copy_bytes(file, memory.fd()));
  if (fcntl(memory.fd(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Status(Code::kUnsupported, "a memory file cannot be sealed here: " + error_text(errno));
  }
  MERRITT_TRY(const uint64_t size, memory.size());
  SealedFile sealed;
  sealed.file_ = std::move(memory);
  if (size == 0) return sealed;
  // Sealed, so it can neither change nor shrink under the mapping.
  void* const data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, sealed.file_.fd(), 0);
  if (data == MAP_FAILED) return Status(error_code(errno), "a plugin cannot be read in memory: " + error_text(errno));
  sealed.data_ = static_cast<const std::byte*>(data);
  sealed.size_ = size;
  return sealed;
}

SealedFile::SealedFile(SealedFile&& other) noexcept
    : file_(std::move(other.file_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

SealedFile& SealedFile::operator=(SealedFile&& other) noexcept {
  if (this != &other) {
    unmap();
    file_ = std::move(other.file_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

SealedFile::~SealedFile() { unmap(); }

void SealedFile::unmap() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
  data_ = nullptr;
}

}  // namespace merritt::os
