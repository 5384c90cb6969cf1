// SPDX-License-Identifier: Apache-2.0
// From the bytes of a GGUF header to a Gguf. See gguf.hpp for what is promised about the result.
#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "base/checked.hpp"
#include "base/text.hpp"
#include "model/weights/gguf.hpp"
#include "model/weights/reader.hpp"
#include "model/weights/types.hpp"

namespace merritt::model::weights {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kTensorNameMax = 64;
constexpr uint64_t kKeyMax = 65535;
constexpr uint64_t kKeyBytesMin = 8 + 1 + 4 + 1;  // name, type and value of the smallest key
constexpr uint64_t kTensorBytesMin = 8 + 1 + 4 + 8 + 4 + 8;
constexpr uint32_t kDefaultAlignment = 32;
constexpr size_t kNameShown = 80;  // of a name in a message

std::string quoted(std::string_view name) { return "'" + clean_text(name, kNameShown) + "'"; }
Status corrupt(std::string text) { return Status(Code::kCorrupt, std::move(text)); }

// Bytes of a scalar; 0 for strings and arrays.
uint32_t scalar_bytes(MetaType type) {
  switch (type) {
    case MetaType::kU8:
    case MetaType::kI8:
    case MetaType::kBool: return 1;
    case MetaType::kU16:
    case MetaType::kI16: return 2;
    case MetaType::kU32:
    case MetaType::kI32:
    case MetaType::kF32: return 4;
    case MetaType::kU64:
    case MetaType::kI64:
    case MetaType::kF64: return 8;
    default: return 0;
  }
}

// Places of `items` in the order of their names, or the place of a second item of the same name.
template <class Items>
std::pair<std::vector<uint32_t>, const std::string*> sort_by_name(const Items& items) {
  std::vector<uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return items[a].name < items[b].name; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (items[order[i]].name == items[order[i - 1]].name) return {std::move(order), &items[order[i]].name};
  }
  return {std::move(order), nullptr};
}

}  // namespace

class GgufParser {
 public:
  GgufParser(std::shared_ptr<const Source> source, const GgufLimits& limits)
      : limits_(limits), gguf_(source), reader_(*source, limits.header_bytes_max) {}

  Result<Gguf> parse() {
    MERRITT_CHECK(read_preamble());
    MERRITT_CHECK(read_keys());
    MERRITT_CHECK(check_whole_file());
    MERRITT_CHECK(read_alignment());
    MERRITT_CHECK(read_tensors());
    MERRITT_CHECK(place_tensors());
    return std::move(gguf_);
  }

 private:
  Status read_preamble();
  Status read_keys();
  Status read_value(std::string_view key, MetaValue* value);
  Status read_array(std::string_view key, MetaValue* value);
  Status read_string(std::string* out, uint64_t bytes_max, const std::string& what);
  Status check_whole_file() const;
  Status read_alignment();
  Status read_tensors();
  Status read_tensor(TensorInfo* tensor);
  Status measure(TensorInfo* tensor) const;
  Status place_tensors();

  const GgufLimits limits_;
  Gguf gguf_;
  Reader reader_;
  uint64_t n_keys_ = 0, n_tensors_ = 0;
  uint32_t alignment_ = kDefaultAlignment;
};

Status GgufParser::read_preamble() {
  uint32_t magic = 0;
  MERRITT_CHECK(reader_.number(&magic, "the magic"));
  if (magic != kMagic) return corrupt("this is not a GGUF file: it does not begin with \"GGUF\"");
  MERRITT_CHECK(reader_.number(&gguf_.version_, "the version"));
  const uint32_t version = gguf_.version_;
  if (version != 0 && (version & 0xffff) == 0) {
    return Status(Code::kUnsupported, "this GGUF file is big-endian; convert it to little-endian");
  }
  if (version < 2 || version > 3) {
    return Status(Code::kUnsupported, "GGUF version " + std::to_string(version) + " is not known; 2 and 3 are");
  }
  MERRITT_CHECK(reader_.number(&n_tensors_, "the number of tensors"));
  MERRITT_CHECK(reader_.number(&n_keys_, "the number of keys"));
  const uint64_t keys_fit = std::min<uint64_t>(limits_.keys_max, reader_.remaining() / kKeyBytesMin);
  if (n_keys_ > keys_fit) {
    return corrupt("the header claims " + std::to_string(n_keys_) + " keys; there is room for " +
                   std::to_string(keys_fit));
  }
  const uint64_t tensors_fit = std::min<uint64_t>(limits_.tensors_max, reader_.remaining() / kTensorBytesMin);
  if (n_tensors_ > tensors_fit) {
    return corrupt("the header claims " + std::to_string(n_tensors_) + " tensors; there is room for " +
                   std::to_string(tensors_fit));
  }
  return {};
}

Status GgufParser::read_string(std::string* out, uint64_t bytes_max, const std::string& what) {
  uint64_t length = 0;
  MERRITT_CHECK(reader_.number(&length, what));
  if (length > bytes_max || length > reader_.remaining()) {
    return corrupt(what + " claims " + std::to_string(length) + " bytes; at most " +
                   std::to_string(std::min(bytes_max, reader_.remaining())) + " are possible");
  }
  return reader_.append(out, length, what);
}

Status GgufParser::read_keys() {
  for (uint64_t i = 0; i < n_keys_; ++i) {
    Gguf::Key key;
    MERRITT_CHECK(read_string(&key.name, kKeyMax, "the name of key " + std::to_string(i)));
    if (key.name.empty()) return corrupt("key " + std::to_string(i) + " has no name");
    MERRITT_CHECK(read_value(key.name, &key.value));
    gguf_.keys_.push_back(std::move(key));
  }
  auto [order, twice] = sort_by_name(gguf_.keys_);
  if (twice != nullptr) return corrupt("key " + quoted(*twice) + " is given twice");
  gguf_.keys_by_name_ = std::move(order);
  return {};
}

Status GgufParser::read_value(std::string_view key, MetaValue* value) {
  const std::string what = "key " + quoted(key);
  uint32_t type = 0;
  MERRITT_CHECK(reader_.number(&type, what));
  if (type > static_cast<uint32_t>(MetaType::kF64)) {
    return corrupt(what + " has the unknown type " + std::to_string(type));
  }
  value->type = static_cast<MetaType>(type);
  if (value->type == MetaType::kString) return read_string(&value->text, limits_.string_bytes_max, what);
  if (value->type == MetaType::kArray) return read_array(key, value);
  std::byte bytes[8] = {};
  const uint32_t n = scalar_bytes(value->type);
  MERRITT_CHECK(reader_.copy(std::span(bytes, n), what));
  for (uint32_t i = 0; i < n; ++i) value->bits |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  if (value->type == MetaType::kBool && value->bits > 1) {
    return corrupt(what + " is a bool of value " + std::to_string(value->bits));
  }
  return {};
}

Status GgufParser::read_array(std::string_view key, MetaValue* value) {
  const std::string what = "key " + quoted(key);
  uint32_t element = 0;
  MERRITT_CHECK(reader_.number(&element, what));
  MERRITT_CHECK(reader_.number(&value->count, what));
  if (element > static_cast<uint32_t>(MetaType::kF64)) {
    return corrupt(what + " is an array of the unknown type " + std::to_string(element));
  }
  value->element = static_cast<MetaType>(element);
  if (value->element == MetaType::kArray) {
    return Status(Code::kUnsupported, what + " is an array of arrays, which no model needs");
  }
  const bool strings = value->element == MetaType::kString;
  const uint64_t each = strings ? 8 : scalar_bytes(value->element);
  if (value->count > reader_.remaining() / each) {
    return corrupt(what + " claims " + std::to_string(value->count) + " elements; there is room for " +
                   std::to_string(reader_.remaining() / each));
  }
  if (!strings) {
    MERRITT_CHECK(reader_.append(&value->data, value->count * each, what));
    const bool bools = value->element == MetaType::kBool;
    if (bools && std::any_of(value->data.begin(), value->data.end(), [](std::byte b) { return b > std::byte{1}; })) {
      return corrupt(what + " is an array of bools with a value above 1");
    }
    return {};
  }
  for (uint64_t i = 0; i < value->count; ++i) {
    MERRITT_CHECK(read_string(&value->text, limits_.string_bytes_max, what));
    const auto end = checked_cast<uint32_t>(value->text.size());
    if (!end) return corrupt(what + " holds more than 4 GiB of text");
    value->ends.push_back(*end);
  }
  value->text.shrink_to_fit();
  value->ends.shrink_to_fit();
  return {};
}

// A model cut into several files cannot be loaded from one of them.
Status GgufParser::check_whole_file() const {
  if (!gguf_.has("split.count")) return {};
  MERRITT_TRY(const uint32_t parts, gguf_.get_u32("split.count"));
  if (parts <= 1) return {};
  MERRITT_TRY(const uint32_t part, gguf_.get_u32("split.no", 0));
  return Status(Code::kUnsupported, "this is part " + std::to_string(uint64_t{part} + 1) + " of " +
                                        std::to_string(parts) + " of a sharded model (split.count); merge the parts " +
                                        "into one GGUF file first");
}

Status GgufParser::read_alignment() {
  const MetaValue* value = gguf_.find("general.alignment");
  if (value == nullptr) return {};
  if (value->type != MetaType::kU32) {
    return corrupt("general.alignment is of type " + std::string(meta_type_name(value->type)) + ", not u32");
  }
  if (!std::has_single_bit(value->bits) || value->bits > limits_.alignment_max) {
    return corrupt("general.alignment is " + std::to_string(value->bits) + "; it must be a power of two up to " +
                   std::to_string(limits_.alignment_max));
  }
  alignment_ = static_cast<uint32_t>(value->bits);
  return {};
}

Status GgufParser::read_tensors() {
  for (uint64_t i = 0; i < n_tensors_; ++i) {
    TensorInfo tensor;
    MERRITT_CHECK(read_string(&tensor.name, kTensorNameMax, "the name of tensor " + std::to_string(i)));
    if (tensor.name.empty()) return corrupt("tensor " + std::to_string(i) + " has no name");
    MERRITT_CHECK(read_tensor(&tensor));
    gguf_.tensors_.push_back(std::move(tensor));
  }
  auto [order, twice] = sort_by_name(gguf_.tensors_);
  if (twice != nullptr) return corrupt("tensor " + quoted(*twice) + " is listed twice");
  gguf_.tensors_by_name_ = std::move(order);
  return {};
}

Status GgufParser::read_tensor(TensorInfo* tensor) {
  const std::string what = "tensor " + quoted(tensor->name);
  MERRITT_CHECK(reader_.number(&tensor->n_dims, what));
  if (tensor->n_dims < 1 || tensor->n_dims > tensor->dims.size()) {
    return corrupt(what + " has " + std::to_string(tensor->n_dims) + " dimensions; 1 to 4 are possible");
  }
  for (uint32_t d = 0; d < tensor->n_dims; ++d) {
    MERRITT_CHECK(reader_.number(&tensor->dims[d], what));
    if (tensor->dims[d] == 0) return corrupt(what + ": dimension " + std::to_string(d) + " is zero");
  }
  MERRITT_CHECK(reader_.number(&tensor->type, what));
  MERRITT_CHECK(reader_.number(&tensor->offset, what));
  if (tensor->offset % alignment_ != 0) {
    return corrupt(what + ": offset " + std::to_string(tensor->offset) + " is not a multiple of the alignment " +
                   std::to_string(alignment_));
  }
  return measure(tensor);
}

// The bytes of a tensor from its type and dimensions.
Status GgufParser::measure(TensorInfo* tensor) const {
  const std::string what = "tensor " + quoted(tensor->name);
  const ElementType* type = find_element_type(tensor->type);
  if (type == nullptr) {
    return Status(Code::kUnsupported, what + " has the element type " + std::to_string(tensor->type) +
                                          ", which this version does not know");
  }
  if (tensor->dims[0] % type->block_elements != 0) {
    return corrupt(what + ": rows of " + std::to_string(tensor->dims[0]) + " elements are not whole " +
                   std::string(type->name) + " blocks of " + std::to_string(type->block_elements));
  }
  std::optional<uint64_t> bytes = checked_mul<uint64_t>(tensor->dims[0] / type->block_elements, type->block_bytes);
  std::optional<uint64_t> elements = tensor->dims[0];
  for (size_t d = 1; d < tensor->dims.size(); ++d) {
    bytes = bytes ? checked_mul(*bytes, tensor->dims[d]) : bytes;
    elements = elements ? checked_mul(*elements, tensor->dims[d]) : elements;
  }
  if (!bytes || !elements || *elements > INT64_MAX) return corrupt(what + ": its dimensions multiply beyond 64 bits");
  tensor->bytes = *bytes;
  return {};
}

// Turns offsets into places in the file and makes sure that no two tensors share bytes.
Status GgufParser::place_tensors() {
  const uint64_t size = gguf_.source_->size();
  const auto data = checked_align<uint64_t>(reader_.position(), alignment_);
  std::vector<const TensorInfo*> order;
  for (TensorInfo& tensor : gguf_.tensors_) {
    const auto offset = data ? checked_add(*data, tensor.offset) : data;
    const auto end = offset ? checked_add(*offset, tensor.bytes) : offset;
    if (!end || *end > size) {
      return corrupt("tensor " + quoted(tensor.name) + " needs " + std::to_string(tensor.bytes) + " bytes at offset " +
                     std::to_string(tensor.offset) + " of the data, but the file ends at byte " + std::to_string(size));
    }
    tensor.offset = *offset;
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset - order[i - 1]->offset < order[i - 1]->bytes) {
      return corrupt("tensors " + quoted(order[i - 1]->name) + " and " + quoted(order[i]->name) + " overlap");
    }
  }
  return {};
}

Result<Gguf> Gguf::parse(std::shared_ptr<const Source> source, const GgufLimits& limits) {
  return GgufParser(std::move(source), limits).parse();
}

}  // namespace merritt::model::weights
