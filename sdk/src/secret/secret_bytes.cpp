// SPDX-License-Identifier: Apache-2.0
#include "secret/secret_bytes.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/os/memory.hpp"

namespace merritt::secret {
namespace {

constexpr size_t kHeapBytesMax = 2048;

}  // namespace

SecretBytes::SecretBytes(size_t bytes) {
  refused_ = !reserve(bytes);
  if (refused_) return;
  if (bytes != 0) std::memset(data_, 0, bytes);
  size_ = bytes;
}

SecretBytes::SecretBytes(std::string_view text) { refused_ = !append(text); }

SecretBytes::SecretBytes(std::span<const std::byte> bytes) { refused_ = !append(bytes); }

bool SecretBytes::reserve(size_t bytes) {
  if (bytes <= capacity_) return true;
  const size_t wanted = std::max(bytes, std::min(capacity_, SIZE_MAX / 2) * 2);
  SecretBytes larger;
  if (wanted <= kHeapBytesMax) {
    larger.data_ = static_cast<std::byte*>(std::malloc(wanted));
    larger.capacity_ = wanted;
  } else {
    const os::Pages pages = os::map_pages(wanted, 1, os::kPagesNoDump | os::kPagesWipeOnFork);
    larger.data_ = static_cast<std::byte*>(pages.data);
    larger.capacity_ = pages.bytes;
    larger.mapped_ = true;
  }
  if (larger.data_ == nullptr) {
    larger.capacity_ = 0;
    return false;
  }
  if (size_ != 0) std::memcpy(larger.data_, data_, size_);
  larger.size_ = size_;
  swap(larger);
  return true;
}

bool SecretBytes::append(std::span<const std::byte> bytes) {
  if (bytes.empty()) return true;
  if (bytes.size() > SIZE_MAX - size_ || !reserve(size_ + bytes.size())) return false;
  std::memcpy(data_ + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
  return true;
}

bool SecretBytes::append(std::string_view text) { return append(std::as_bytes(std::span(text.data(), text.size()))); }

void SecretBytes::truncate(size_t bytes) {
  if (bytes >= size_) return;
  os::wipe(data_ + bytes, size_ - bytes);
  size_ = bytes;
}

void SecretBytes::clear() {
  if (data_ != nullptr) {
    os::wipe(data_, size_);
    if (mapped_) {
      os::unmap_pages(data_, capacity_);
    } else {
      std::free(data_);
    }
  }
  data_ = nullptr;
  size_ = capacity_ = 0;
  mapped_ = refused_ = false;
}

bool SecretBytes::equals(std::span<const std::byte> other) const {
  if (other.size() != size_) return false;
  auto difference = std::byte{0};
  for (size_t i = 0; i < size_; ++i) difference |= data_[i] ^ other[i];
  return difference == std::byte{0};
}

}  // namespace merritt::secret
