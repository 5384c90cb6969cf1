// SPDX-License-Identifier: Apache-2.0
// The journal on disk: a header, then numbered records, each with the usage of some tenants since their last one.
//
// Everything is little-endian. A journal is hostile input when it is opened: sizes follow from counts that are bounded
// here, and nothing is believed before its checksum is right. The checksum finds torn and damaged records; it does not
// prove who wrote them.
//
//   file    = header, record*
//   header  = magic[8], version u32, counters u32, reserved u64, crc u32 of the bytes before, reserved u32
//   record  = magic u32, entries u32, number u64, unix_seconds u64, crc u32 of these, crc u32 of all others, entry*
//   entry   = name_length u32, tenant id u32, name[64], counter u64 * counters
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/limits.hpp"
#include "base/status.hpp"
#include "tenant/archive.hpp"

namespace merritt::tenant::journal {

inline constexpr size_t kHeaderBytes = 32, kRecordHeadBytes = 32, kNameBytes = 64;
inline constexpr size_t kEntryBytes = 8 + kNameBytes + 8 * size_t{kCounters};
inline constexpr size_t kRecordBytesMax = kRecordHeadBytes + kEntryBytes * limits::kJournalEntriesMax;

struct Record {
  uint64_t number = 0;
  uint64_t unix_seconds = 0;
  std::vector<NamedCounts> entries;
};

uint32_t crc32(std::span<const std::byte> bytes, uint32_t seed = 0);

std::vector<std::byte> encode_header();
// kUnsupported for the journal of another version, kCorrupt for anything else.
Status check_header(std::span<const std::byte> bytes);

void encode_record(const Record& record, std::vector<std::byte>& out);
// The bytes of the record that begins like this, or nothing when none does: its first checksum says so, so that a
// record whose end is missing is told from a damaged one.
std::optional<size_t> record_bytes(std::span<const std::byte> head);
// All of one record; kCorrupt names what is wrong.
Result<Record> decode_record(std::span<const std::byte> bytes);

}  // namespace merritt::tenant::journal
