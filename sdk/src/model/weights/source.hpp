// SPDX-License-Identifier: Apache-2.0
// Where the bytes of a model file come from. A source is read at offsets and never mapped: a file that shrinks while it
// is loaded gives an error, not a signal. Threads: read() from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.hpp"

namespace merritt::model::weights {

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
};

// A regular file, opened read-only and close-on-exec. A directory, device or pipe is refused.
Result<std::shared_ptr<Source>> open_file_source(std::string_view path);

// Bytes in memory.
std::shared_ptr<Source> memory_source(std::vector<std::byte> bytes);

}  // namespace merritt::model::weights
