// SPDX-License-Identifier: Apache-2.0
// Any bytes as a journal of usage, its checksums made right so that what lies behind them is reached: refused, or
// exactly what the encoder would have written.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "tenant/journal_format.hpp"

namespace {

namespace journal = merritt::tenant::journal;

void put_crc(std::span<std::byte> bytes, size_t at, uint32_t crc) { std::memcpy(bytes.data() + at, &crc, sizeof(crc)); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> file(reinterpret_cast<const std::byte*>(data),
                              reinterpret_cast<const std::byte*>(data) + size);
  (void)journal::check_header(file);
  for (size_t at = std::min(size, journal::kHeaderBytes); size - at >= journal::kRecordHeadBytes;) {
    const std::span<std::byte> rest(file.data() + at, size - at);
    put_crc(rest, 24, journal::crc32(rest.first(24)));
    const auto bytes = journal::record_bytes(rest);
    if (!bytes || *bytes > rest.size()) return 0;
    const std::span<std::byte> whole = rest.first(*bytes);
    put_crc(whole, 28, journal::crc32(whole.subspan(journal::kRecordHeadBytes), journal::crc32(whole.first(28))));
    const auto record = journal::decode_record(whole);
    if (!record.ok()) return 0;
    std::vector<std::byte> again;
    journal::encode_record(*record, again);
    if (!std::equal(again.begin(), again.end(), whole.begin(), whole.end())) std::abort();
    at += *bytes;
  }
  return 0;
}
