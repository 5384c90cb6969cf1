// SPDX-License-Identifier: Apache-2.0
// Where the bytes of a model file come from. A source is read at offsets and never mapped: a file that shrinks while it
// is loaded gives an error, not a signal. Threads: read() from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.hpp"

namespace merritt::model::weights {

// What changes whenever the bytes of a file do; the change time no program can set.
struct FileState {
  uint64_t size = 0, device = 0, inode = 0;
  int64_t modified_ns = 0, changed_ns = 0;  // since 1970
  bool operator==(const FileState&) const = default;
};

class Source {
 public:
  virtual ~Source() = default;
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // The size when it was opened.
  virtual uint64_t size() const = 0;
  // All of `out` from `offset`, or an error: corrupt when the bytes are not there (any more).
  virtual Status read(uint64_t offset, std::span<std::byte> out) const = 0;
  // Of the file behind it, now; nothing when there is none.
  virtual std::optional<FileState> file_state() const { return std::nullopt; }
};

// A regular file, opened read-only and close-on-exec. A directory, device or pipe is refused.
Result<std::shared_ptr<Source>> open_file_source(std::string_view path);

// Bytes in memory.
std::shared_ptr<Source> memory_source(std::vector<std::byte> bytes);

}  // namespace merritt::model::weights
