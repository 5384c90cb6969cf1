// SPDX-License-Identifier: Apache-2.0
// A copy of a file's bytes that nobody can change any more: a sealed memory file. What was checked is what is mapped.
// Threads: any; immutable once made.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/os/file.hpp"
#include "base/status.hpp"

namespace merritt::os {

class SealedFile {
 public:
  // Copies what the file holds now. `label` shows in /proc/self/maps.
  static Result<SealedFile> copy_of(const File& file, const std::string& label);
  SealedFile(SealedFile&& other) noexcept;
  SealedFile& operator=(SealedFile&& other) noexcept;
  ~SealedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // The name under which the dynamic linker opens these bytes, as long as the descriptor lives.
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_.fd()); }
  // Keeps the descriptor open for ever, so that its number, and with it path(), never means anything else.
  void keep_for_ever() { file_.release(); }

 private:
  SealedFile() = default;
  void unmap();

  File file_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace merritt::os
