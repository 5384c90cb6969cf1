// SPDX-License-Identifier: Apache-2.0
#include "tenant/journal_format.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "tenant/tenant.hpp"

namespace merritt::tenant::journal {
namespace {

constexpr char kMagic[] = "MRTUSAGE";
constexpr uint32_t kVersion = 1, kRecordMagic = 0x4352544d;  // "MTRC"
constexpr size_t kHeaderCrcAt = 24, kHeadCrcAt = 24, kRecordCrcAt = 28;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
    table[i] = value;
  }
  return table;
}
constexpr auto kCrcTable = make_crc_table();

template <class T>
void put(T value, std::vector<std::byte>& out) {
  for (size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

template <class T>
T get(std::span<const std::byte> bytes, size_t at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(std::to_integer<T>(bytes[at + i]) << (8 * i));
  return value;
}

void set_crc(std::span<std::byte> bytes, size_t at, uint32_t crc) {
  for (size_t i = 0; i < sizeof(crc); ++i) bytes[at + i] = static_cast<std::byte>(crc >> (8 * i));
}

// Of a record, whose own checksum counts as left out.
uint32_t record_crc(std::span<const std::byte> bytes) {
  return crc32(bytes.subspan(kRecordHeadBytes), crc32(bytes.first(kRecordCrcAt)));
}

Status corrupt(const std::string& what) { return Status(Code::kCorrupt, what); }

}  // namespace

uint32_t crc32(std::span<const std::byte> bytes, uint32_t seed) {
  uint32_t crc = ~seed;
  for (const std::byte byte : bytes) crc = kCrcTable[(crc ^ std::to_integer<uint32_t>(byte)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

std::vector<std::byte> encode_header() {
  std::vector<std::byte> out;
  for (size_t i = 0; i < 8; ++i) out.push_back(static_cast<std::byte>(kMagic[i]));
  put(kVersion, out);
  put(kCounters, out);
  put(uint64_t{0}, out);
  put(crc32(out), out);
  put(uint32_t{0}, out);
  return out;
}

Status check_header(std::span<const std::byte> bytes) {
  const std::vector<std::byte> own = encode_header();
  if (bytes.size() < kHeaderBytes || !std::equal(own.begin(), own.begin() + 8, bytes.begin())) {
    return corrupt("this is no journal of usage");
  }
  if (get<uint32_t>(bytes, kHeaderCrcAt) != crc32(bytes.first(kHeaderCrcAt))) {
    return corrupt("the checksum of the journal's header is wrong");
  }
  if (std::equal(own.begin(), own.end(), bytes.begin())) return {};
  return Status(Code::kUnsupported, "the journal has version " + std::to_string(get<uint32_t>(bytes, 8)) + " and " +
                                        std::to_string(get<uint32_t>(bytes, 12)) + " counters; this library writes " +
                                        std::to_string(kVersion) + " and " + std::to_string(kCounters) +
                                        ": begin a new file");
}

void encode_record(const Record& record, std::vector<std::byte>& out) {
  const size_t begin = out.size();
  put(kRecordMagic, out);
  put(static_cast<uint32_t>(record.entries.size()), out);
  put(record.number, out);
  put(record.unix_seconds, out);
  put(crc32(std::span(out).subspan(begin)), out);
  put(uint32_t{0}, out);
  for (const NamedCounts& entry : record.entries) {
    put(static_cast<uint32_t>(entry.name.size()), out);
    put(entry.id, out);
    const size_t name_at = out.size();
    out.resize(name_at + kNameBytes);
    std::transform(entry.name.begin(), entry.name.end(), out.begin() + static_cast<ptrdiff_t>(name_at),
                   [](char c) { return static_cast<std::byte>(c); });
    for (const uint64_t count : entry.counts) put(count, out);
  }
  const std::span<std::byte> bytes(out.data() + begin, out.size() - begin);
  set_crc(bytes, kRecordCrcAt, record_crc(bytes));
}

std::optional<size_t> record_bytes(std::span<const std::byte> head) {
  if (head.size() < kRecordHeadBytes || get<uint32_t>(head, 0) != kRecordMagic) return std::nullopt;
  const uint32_t entries = get<uint32_t>(head, 4);
  if (entries == 0 || entries > limits::kJournalEntriesMax) return std::nullopt;
  if (get<uint32_t>(head, kHeadCrcAt) != crc32(head.first(kHeadCrcAt))) return std::nullopt;
  return kRecordHeadBytes + kEntryBytes * entries;
}

Result<Record> decode_record(std::span<const std::byte> bytes) {
  const auto size = record_bytes(bytes);
  if (!size || *size != bytes.size()) return corrupt("no record begins like this");
  if (get<uint32_t>(bytes, kRecordCrcAt) != record_crc(bytes)) return corrupt("its checksum is wrong");
  Record record{.number = get<uint64_t>(bytes, 8), .unix_seconds = get<uint64_t>(bytes, 16), .entries = {}};
  for (size_t at = kRecordHeadBytes; at < bytes.size(); at += kEntryBytes) {
    const auto entry = bytes.subspan(at, kEntryBytes);
    NamedCounts& to = record.entries.emplace_back();
    const uint32_t length = get<uint32_t>(entry, 0);
    to.id = get<uint32_t>(entry, 4);
    if (length >= kNameBytes) return corrupt("a name in it is too long");
    for (uint32_t i = 0; i < length; ++i) to.name += static_cast<char>(entry[8 + i]);
    if (!check_name(to.name).ok()) return corrupt("a name in it is no tenant's");
    const auto padding = entry.subspan(8 + length, kNameBytes - length);
    if (std::any_of(padding.begin(), padding.end(), [](std::byte b) { return b != std::byte{0}; })) {
      return corrupt("there is something behind a name in it");
    }
    for (uint32_t i = 0; i < kCounters; ++i) to.counts[i] = get<uint64_t>(entry, 8 + kNameBytes + 8 * size_t{i});
  }
  return record;
}

}  // namespace merritt::tenant::journal
