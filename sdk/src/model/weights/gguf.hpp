// SPDX-License-Identifier: Apache-2.0
// The header of a GGUF file (version 2 or 3, little-endian): typed metadata and the list of tensors.
//
// The file is hostile: every count is capped by the bytes that are really there, arithmetic is checked, nothing
// recurses, and memory is taken only as bytes arrive. What parse() accepts holds: keys and tensor names are unique and
// not empty; each tensor has 1 to 4 dimensions, none of them zero, whole blocks in each row, a known element type, an
// aligned offset, and bytes that lie inside the file and belong to no other tensor.
//
// Threads: immutable once parsed, except release_metadata(), which needs the object to itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"
#include "model/weights/source.hpp"

namespace merritt::model::weights {

struct GgufLimits {
  uint64_t header_bytes_max = uint64_t{100} << 20;  // the largest vocabularies take a tenth of it
  uint64_t string_bytes_max = uint64_t{64} << 20;
  uint32_t keys_max = 1u << 16;
  uint32_t tensors_max = 1u << 18;
  uint32_t alignment_max = 1u << 20;
};

enum class MetaType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
std::string_view meta_type_name(MetaType type);

struct MetaValue {
  MetaType type = MetaType::kU8;
  MetaType element = MetaType::kU8;  // of an array
  uint64_t count = 0;                // of an array
  uint64_t bits = 0;                 // of a scalar: as in the file, zero-extended
  std::string text;                  // of a string; of an array of strings all of them, one after another
  std::vector<uint32_t> ends;        // of an array of strings: where each one ends in text
  std::vector<std::byte> data;       // of an array of numbers: as in the file
};

// An array of strings, in place: valid as long as the Gguf keeps its metadata.
class StringArray {
 public:
  StringArray() = default;
  explicit StringArray(const MetaValue* value) : value_(value) {}
  size_t size() const { return value_ == nullptr ? 0 : value_->ends.size(); }
  bool empty() const { return size() == 0; }
  std::string_view operator[](size_t i) const {
    const size_t first = i == 0 ? 0 : value_->ends[i - 1];
    return std::string_view(value_->text).substr(first, value_->ends[i] - first);
  }

 private:
  const MetaValue* value_ = nullptr;
};

struct TensorInfo {
  std::string name;
  uint32_t type = 0;  // id of an ElementType
  uint32_t n_dims = 0;
  std::array<uint64_t, 4> dims{1, 1, 1, 1};  // dims[0] is contiguous
  uint64_t offset = 0;                       // from the start of the file
  uint64_t bytes = 0;
};

class Gguf {
 public:
  static Result<Gguf> parse(std::shared_ptr<const Source> source, const GgufLimits& limits = {});
  Gguf(Gguf&&) noexcept = default;
  Gguf& operator=(Gguf&&) noexcept = default;
  Gguf(const Gguf&) = delete;
  Gguf& operator=(const Gguf&) = delete;

  // Metadata. A getter answers not_found when the key is missing and corrupt when the value is of another type or does
  // not fit; the message names the key and both types. Integers of any width are taken when they fit.
  const MetaValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  Result<uint32_t> get_u32(std::string_view key) const;
  Result<int64_t> get_i64(std::string_view key) const;
  Result<float> get_f32(std::string_view key) const;  // also F64
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string_view> get_string(std::string_view key) const;
  // The same with a value for a missing key; a wrong type is still an error.
  Result<uint32_t> get_u32(std::string_view key, uint32_t missing) const;
  Result<int64_t> get_i64(std::string_view key, int64_t missing) const;
  Result<float> get_f32(std::string_view key, float missing) const;
  Result<bool> get_bool(std::string_view key, bool missing) const;
  Result<std::string_view> get_string(std::string_view key, std::string_view missing) const;
  // Arrays. Integers and bools of any width that fit i32; F32 or F64 as f32; strings in place.
  Result<StringArray> get_strings(std::string_view key) const;
  Result<std::vector<int32_t>> get_i32_array(std::string_view key) const;
  Result<std::vector<float>> get_f32_array(std::string_view key) const;
  // A number for each of `n` layers: one value for all, or an array of exactly n.
  Result<std::vector<uint32_t>> get_u32_per_layer(std::string_view key, uint32_t n) const;

  std::span<const TensorInfo> tensors() const { return tensors_; }
  const TensorInfo* find_tensor(std::string_view name) const;

  uint32_t version() const { return version_; }
  const Source& source() const { return *source_; }
  size_t n_keys() const { return keys_.size(); }
  std::string_view key(size_t i) const { return keys_[i].name; }

  // Frees all metadata (a vocabulary is most of a header); tensors and source stay.
  void release_metadata();

 private:
  friend class GgufParser;
  struct Key {
    std::string name;
    MetaValue value;
  };
  explicit Gguf(std::shared_ptr<const Source> source) : source_(std::move(source)) {}
  Result<int64_t> integer(std::string_view key, int64_t min, int64_t max, std::string_view expected) const;

  std::shared_ptr<const Source> source_;
  uint32_t version_ = 0;
  std::vector<Key> keys_;               // in file order
  std::vector<uint32_t> keys_by_name_;  // sorted: a file cannot choose names that make look-ups slow
  std::vector<TensorInfo> tensors_;     // in file order
  std::vector<uint32_t> tensors_by_name_;
};

}  // namespace merritt::model::weights
