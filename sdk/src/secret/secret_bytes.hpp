// SPDX-License-Identifier: Apache-2.0
// Bytes that are wiped when they go: prompt text, token ids, keys. In ordinary memory that is left out of core dumps;
// the locked arena is another matter. Threads: as a std::vector.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace merritt::secret {

class SecretBytes {
 public:
  SecretBytes() = default;
  explicit SecretBytes(size_t bytes);  // zeroed; check ok()
  explicit SecretBytes(std::string_view text);
  explicit SecretBytes(std::span<const std::byte> bytes);
  SecretBytes(SecretBytes&& other) noexcept { swap(other); }
  SecretBytes& operator=(SecretBytes&& other) noexcept {
    if (this != &other) {
      clear();
      swap(other);
    }
    return *this;
  }
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { clear(); }

  // False when memory was refused: then empty.
  bool ok() const { return !refused_; }
  size_t size() const { return size_; }
  bool empty() const { return size() == 0; }
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::span<std::byte> span() { return {data_, size()}; }
  std::span<const std::byte> span() const { return {data_, size()}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size()}; }

  // Grows by these bytes; the old place is wiped. False when memory was refused: then unchanged.
  bool append(std::span<const std::byte> bytes);
  bool append(std::string_view text);
  // Forgets everything past `bytes`, wiped.
  void truncate(size_t bytes);
  void clear();

  // Compares in constant time for equal sizes.
  bool equals(std::span<const std::byte> other) const;

 private:
  void swap(SecretBytes& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    std::swap(mapped_, other.mapped_);
    std::swap(refused_, other.refused_);
  }
  bool reserve(size_t bytes);

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
  bool mapped_ = false;  // pages of its own; small ones are in the heap
  bool refused_ = false;
};

}  // namespace merritt::secret
