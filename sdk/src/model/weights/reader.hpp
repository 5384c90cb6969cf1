// SPDX-License-Identifier: Apache-2.0
// Reads a source from its start through a buffer, counting every byte against a limit. Threads: one.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"
#include "model/weights/source.hpp"

namespace merritt::model::weights {

class Reader {
 public:
  Reader(const Source& source, uint64_t bytes_max)
      : source_(source), end_(std::min(source.size(), bytes_max)), limited_(source.size() > bytes_max) {}

  uint64_t position() const { return position_; }
  // Bytes that may still be read: the cap of every count in the header.
  uint64_t remaining() const { return end_ - position_; }

  template <class T>
    requires std::unsigned_integral<T>
  Status number(T* out, std::string_view what) {
    std::byte bytes[sizeof(T)];
    MERRITT_CHECK(copy(bytes, what));
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(std::to_integer<T>(bytes[i])) << (8 * i);
    *out = value;
    return {};
  }

  Status copy(std::span<std::byte> out, std::string_view what) {
    if (out.size() > remaining()) return ends_early(out.size(), what);
    while (!out.empty()) {
      if (next_ == buffer_.size()) MERRITT_CHECK(fill());
      const size_t n = std::min(out.size(), buffer_.size() - next_);
      std::memcpy(out.data(), buffer_.data() + next_, n);
      next_ += n;
      position_ += n;
      out = out.subspan(n);
    }
    return {};
  }

  // Appends n bytes to a string or vector, which grows only as bytes arrive.
  template <class Bytes>
  Status append(Bytes* out, uint64_t n, std::string_view what) {
    if (n > remaining()) return ends_early(n, what);
    while (n > 0) {
      const size_t part = static_cast<size_t>(std::min<uint64_t>(n, kPart));
      const size_t old = out->size();
      out->resize(old + part);
      MERRITT_CHECK(copy(std::as_writable_bytes(std::span(out->data() + old, part)), what));
      n -= part;
    }
    return {};
  }

 private:
  static constexpr size_t kBuffer = size_t{256} << 10;
  static constexpr size_t kPart = size_t{4} << 20;

  Status fill() {
    buffer_.resize(static_cast<size_t>(std::min<uint64_t>(kBuffer, end_ - position_)));
    next_ = 0;
    return source_.read(position_, buffer_);
  }
  Status ends_early(uint64_t wanted, std::string_view what) const {
    const std::string where = limited_ ? "the header limit of " + std::to_string(end_) + " bytes is reached"
                                       : "the file ends at byte " + std::to_string(end_);
    return Status(Code::kCorrupt, std::string(what) + " at byte " + std::to_string(position_) + " needs " +
                                      std::to_string(wanted) + " bytes, but " + where);
  }

  const Source& source_;
  const uint64_t end_;
  const bool limited_;
  uint64_t position_ = 0;  // in the source, of the next byte handed out
  std::vector<std::byte> buffer_;
  size_t next_ = 0;
};

}  // namespace merritt::model::weights
