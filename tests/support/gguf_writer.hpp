// SPDX-License-Identifier: Apache-2.0
// Writes GGUF v3 files for tests, well-formed unless told otherwise. Shares nothing with the reader it tests.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace merritt::testing {

class Bytes {
 public:
  template <class T>
    requires std::is_arithmetic_v<T>
  Bytes& put(T value) {
    std::byte raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));  // the machines under test are little-endian, as the format is
    data.insert(data.end(), raw, raw + sizeof(T));
    return *this;
  }
  Bytes& raw(std::string_view text) {
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    data.insert(data.end(), bytes, bytes + text.size());
    return *this;
  }
  Bytes& text(std::string_view value) { return put<uint64_t>(value.size()).raw(value); }
  Bytes& append(const std::vector<std::byte>& more) {
    data.insert(data.end(), more.begin(), more.end());
    return *this;
  }
  std::vector<std::byte> data;
};

class GgufWriter {
 public:
  // Type ids of metadata values.
  enum : uint32_t { kU8 = 0, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

  GgufWriter& u32(std::string_view key, uint32_t value) { return scalar(key, kU32, value); }
  GgufWriter& f32(std::string_view key, float value) { return scalar(key, kF32, value); }
  GgufWriter& boolean(std::string_view key, bool value) { return scalar<uint8_t>(key, kBool, value ? 1 : 0); }
  GgufWriter& string(std::string_view key, std::string_view value) {
    begin(key, kString).text(value);
    return *this;
  }
  GgufWriter& strings(std::string_view key, const std::vector<std::string>& values) {
    Bytes& b = begin(key, kArray).put<uint32_t>(kString).put<uint64_t>(values.size());
    for (const std::string& value : values) b.text(value);
    return *this;
  }
  template <class T>
  GgufWriter& numbers(std::string_view key, uint32_t type, const std::vector<T>& values) {
    Bytes& b = begin(key, kArray).put(type).template put<uint64_t>(values.size());
    for (const T value : values) b.put(value);
    return *this;
  }
  template <class T>
  GgufWriter& scalar(std::string_view key, uint32_t type, T value) {
    begin(key, type).put(value);
    return *this;
  }
  // The rest of a key's value is written by the caller.
  Bytes& begin(std::string_view key, uint32_t type) {
    ++n_keys;
    return keys.text(key).put(type);
  }

  // dims: contiguous first.
  GgufWriter& tensor(std::string_view name, uint32_t type, const std::vector<uint64_t>& dims,
                     const std::vector<std::byte>& bytes) {
    pad(&contents);
    describe(name, type, dims, hole + contents.data.size());
    contents.append(bytes);
    return *this;
  }
  // Only the line of the table.
  GgufWriter& describe(std::string_view name, uint32_t type, const std::vector<uint64_t>& dims, uint64_t offset) {
    ++n_tensors;
    table.text(name).put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) table.put(d);
    table.put(type).put(offset);
    return *this;
  }

  std::vector<std::byte> finish() const {
    Bytes out;
    out.raw("GGUF").put(version).put(n_tensors).put(n_keys).append(keys.data).append(table.data);
    pad(&out);
    return out.append(contents.data).data;
  }

  uint32_t version = 3;
  uint64_t alignment = 32;  // of the layout; the key is the caller's
  uint64_t hole = 0;        // what lies before the contents, says the table; finish() leaves it out
  uint64_t n_keys = 0, n_tensors = 0;
  Bytes keys, table, contents;

 private:
  void pad(Bytes* bytes) const {
    while (bytes->data.size() % alignment != 0) bytes->put<uint8_t>(0);
  }
};

}  // namespace merritt::testing
