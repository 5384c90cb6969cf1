// SPDX-License-Identifier: Apache-2.0
// Look-ups in a parsed header.
#include "model/weights/gguf.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/text.hpp"

namespace merritt::model::weights {
namespace {

constexpr size_t kShown = 80;

Status missing(std::string_view key) {
  return Status(Code::kNotFound, "key " + clean_text(key, kShown) + " is missing");
}

std::string described(const MetaValue& value) {
  if (value.type != MetaType::kArray) return std::string(meta_type_name(value.type));
  return "array of " + std::string(meta_type_name(value.element));
}

Status wrong_type(std::string_view key, std::string_view expected, const MetaValue& value) {
  return Status(Code::kCorrupt, "key " + clean_text(key, kShown) + " is of type " + described(value) + "; " +
                                    std::string(expected) + " is expected");
}

// The number that `bits` stand for, when it fits an int64.
std::optional<int64_t> integer_of(MetaType type, uint64_t bits) {
  switch (type) {
    case MetaType::kU8:
    case MetaType::kU16:
    case MetaType::kU32:
    case MetaType::kBool: return static_cast<int64_t>(bits);
    case MetaType::kI8: return static_cast<int8_t>(bits);
    case MetaType::kI16: return static_cast<int16_t>(bits);
    case MetaType::kI32: return static_cast<int32_t>(bits);
    case MetaType::kI64: return static_cast<int64_t>(bits);
    case MetaType::kU64:
      if (bits > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(bits);
    default: return std::nullopt;
  }
}

bool is_integer(MetaType type) {
  return type != MetaType::kF32 && type != MetaType::kF64 && type != MetaType::kBool && type != MetaType::kString &&
         type != MetaType::kArray;
}

size_t element_bytes(MetaType type) {
  switch (type) {
    case MetaType::kU8:
    case MetaType::kI8:
    case MetaType::kBool: return 1;
    case MetaType::kU16:
    case MetaType::kI16: return 2;
    case MetaType::kU64:
    case MetaType::kI64:
    case MetaType::kF64: return 8;
    default: return 4;
  }
}

uint64_t element_bits(const MetaValue& value, size_t i) {
  const size_t n = element_bytes(value.element);
  uint64_t bits = 0;
  for (size_t b = 0; b < n; ++b) bits |= std::to_integer<uint64_t>(value.data[i * n + b]) << (8 * b);
  return bits;
}

float real_of(MetaType type, uint64_t bits) {
  if (type == MetaType::kF32) return std::bit_cast<float>(static_cast<uint32_t>(bits));
  return static_cast<float>(std::bit_cast<double>(bits));
}

template <class Items>
size_t find_sorted(const Items& items, const std::vector<uint32_t>& order, std::string_view name) {
  const auto at = std::lower_bound(order.begin(), order.end(), name,
                                   [&](uint32_t i, std::string_view wanted) { return items[i].name < wanted; });
  return at == order.end() || items[*at].name != name ? SIZE_MAX : *at;
}

}  // namespace

std::string_view meta_type_name(MetaType type) {
  constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
  const auto i = static_cast<uint32_t>(type);
  return i < std::size(kNames) ? kNames[i] : "unknown";
}

const MetaValue* Gguf::find(std::string_view key) const {
  const size_t i = find_sorted(keys_, keys_by_name_, key);
  return i == SIZE_MAX ? nullptr : &keys_[i].value;
}

const TensorInfo* Gguf::find_tensor(std::string_view name) const {
  const size_t i = find_sorted(tensors_, tensors_by_name_, name);
  return i == SIZE_MAX ? nullptr : &tensors_[i];
}

Result<int64_t> Gguf::integer(std::string_view key, int64_t min, int64_t max, std::string_view expected) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return missing(key);
  if (!is_integer(value->type)) return wrong_type(key, expected, *value);
  const std::optional<int64_t> number = integer_of(value->type, value->bits);
  if (!number || *number < min || *number > max) {
    return Status(Code::kCorrupt, "key " + clean_text(key, kShown) + " is " +
                                      (number ? std::to_string(*number) : std::to_string(value->bits)) +
                                      ", which does not fit " + std::string(expected));
  }
  return *number;
}

Result<uint32_t> Gguf::get_u32(std::string_view key) const {
  MERRITT_TRY(const int64_t number, integer(key, 0, UINT32_MAX, "u32"));
  return static_cast<uint32_t>(number);
}

Result<int64_t> Gguf::get_i64(std::string_view key) const { return integer(key, INT64_MIN, INT64_MAX, "i64"); }

Result<float> Gguf::get_f32(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return missing(key);
  if (value->type != MetaType::kF32 && value->type != MetaType::kF64) return wrong_type(key, "f32", *value);
  const float number = real_of(value->type, value->bits);
  if (!std::isfinite(number)) return Status(Code::kCorrupt, "key " + clean_text(key, kShown) + " is not a finite f32");
  return number;
}

Result<bool> Gguf::get_bool(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return missing(key);
  if (value->type != MetaType::kBool) return wrong_type(key, "bool", *value);
  return value->bits != 0;
}

Result<std::string_view> Gguf::get_string(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return missing(key);
  if (value->type != MetaType::kString) return wrong_type(key, "string", *value);
  return std::string_view(value->text);
}

Result<uint32_t> Gguf::get_u32(std::string_view key, uint32_t other) const {
  return has(key) ? get_u32(key) : Result<uint32_t>(other);
}
Result<int64_t> Gguf::get_i64(std::string_view key, int64_t other) const {
  return has(key) ? get_i64(key) : Result<int64_t>(other);
}
Result<float> Gguf::get_f32(std::string_view key, float other) const {
  return has(key) ? get_f32(key) : Result<float>(other);
}
Result<bool> Gguf::get_bool(std::string_view key, bool other) const {
  return has(key) ? get_bool(key) : Result<bool>(other);
}
Result<std::string_view> Gguf::get_string(std::string_view key, std::string_view other) const {
  return has(key) ? get_string(key) : Result<std::string_view>(other);
}

Result<StringArray> Gguf::get_strings(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return missing(key);
  if (value->type != MetaType::kArray || value->element != MetaType::kString) {
    return wrong_type(key, "array of string", *value);
  }
  return StringArray(value);
}

Result<std::vector<int32_t>> Gguf::get_i32_array(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return missing(key);
  if (value->type != MetaType::kArray || !(is_integer(value->element) || value->element == MetaType::kBool)) {
    return wrong_type(key, "array of i32", *value);
  }
  std::vector<int32_t> numbers(value->count);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const std::optional<int64_t> number = integer_of(value->element, element_bits(*value, i));
    if (!number || *number < INT32_MIN || *number > INT32_MAX) {
      return Status(Code::kCorrupt,
                    "key " + clean_text(key, kShown) + ": element " + std::to_string(i) + " does not fit i32");
    }
    numbers[i] = static_cast<int32_t>(*number);
  }
  return numbers;
}

Result<std::vector<float>> Gguf::get_f32_array(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return missing(key);
  if (value->type != MetaType::kArray || (value->element != MetaType::kF32 && value->element != MetaType::kF64)) {
    return wrong_type(key, "array of f32", *value);
  }
  std::vector<float> numbers(value->count);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = real_of(value->element, element_bits(*value, i));
  return numbers;
}

Result<std::vector<uint32_t>> Gguf::get_u32_per_layer(std::string_view key, uint32_t n) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return missing(key);
  if (value->type != MetaType::kArray) {
    MERRITT_TRY(const uint32_t number, get_u32(key));
    return std::vector<uint32_t>(n, number);
  }
  MERRITT_TRY(const std::vector<int32_t> numbers, get_i32_array(key));
  if (numbers.size() != n) {
    return Status(Code::kCorrupt, "key " + clean_text(key, kShown) + " has " + std::to_string(numbers.size()) +
                                      " elements for " + std::to_string(n) + " layers");
  }
  std::vector<uint32_t> out;
  for (const int32_t number : numbers) {
    if (number < 0) return Status(Code::kCorrupt, "key " + clean_text(key, kShown) + " holds a negative number");
    out.push_back(static_cast<uint32_t>(number));
  }
  return out;
}

void Gguf::release_metadata() {
  std::vector<Key>().swap(keys_);
  std::vector<uint32_t>().swap(keys_by_name_);
}

}  // namespace merritt::model::weights
