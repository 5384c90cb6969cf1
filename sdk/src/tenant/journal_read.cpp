// SPDX-License-Identifier: Apache-2.0
// Reading a journal: what is found in the file when it is opened, and the records after a number.
#include <algorithm>
#include <string>

#include "base/os/journal_file.hpp"
#include "tenant/journal.hpp"
#include "tenant/usage_text.hpp"

namespace merritt::tenant {
namespace {

std::string line_of(const journal::Record& record) {
  std::string out = "{\"record\":" + std::to_string(record.number) +
                    ",\"unix_seconds\":" + std::to_string(record.unix_seconds) + ",\"tenants\":[";
  for (const NamedCounts& entry : record.entries) {
    if (out.back() != '[') out += ',';
    out += "{\"tenant\":\"" + entry.name + '"';
    append_counts(entry.counts, false, out);
    out += '}';
  }
  return out + "]}\n";
}

}  // namespace

// Reads on from record to record; the first that is none decides whether the file was torn there or is damaged.
Status Journal::scan() {
  MERRITT_TRY(const uint64_t size, file_.size());
  std::vector<std::byte> header(journal::kHeaderBytes);
  if (size < header.size()) {  // new, or killed while it was made
    std::vector<std::byte> begun(size);
    MERRITT_CHECK(file_.read_at(0, begun));
    header = journal::encode_header();
    const bool torn = std::equal(begun.begin(), begun.end(), header.begin()) ||
                      std::all_of(begun.begin(), begun.end(), [](std::byte b) { return b == std::byte{0}; });
    if (!torn) return Status(Code::kCorrupt, "this is no journal of usage");
    MERRITT_CHECK(os::write_all_at(file_.fd(), 0, header));
    MERRITT_CHECK(os::sync_data(file_));
    end_ = header.size();
    return {};
  }
  MERRITT_CHECK(file_.read_at(0, header));
  MERRITT_CHECK(journal::check_header(header));
  uint64_t at = header.size();
  while (at < size) {
    size_t bytes = 0;
    Result<journal::Record> record = read_record(at, size, &bytes);
    if (record.ok() && record->number != next_) {
      return Status(Code::kCorrupt,
                    "record " + std::to_string(next_) + " is followed by number " + std::to_string(record->number));
    }
    if (!record.ok()) {
      MERRITT_CHECK(check_tail(at, size, record.status()));
      MERRITT_CHECK(os::cut_file(file_, at));
      if (log_ != nullptr) log_->warning("the last record of the journal of usage was torn; it is cut off");
      break;
    }
    note_record(record->number, at);
    at += bytes;
  }
  end_ = at;
  return {};
}

// ok: what begins at `at` is the torn end of a file. A write that did not end leaves the beginning of a record, and a
// machine that stopped leaves zeros where the size was written and the bytes were not. Anything else is damage, which
// is not to be cut off: the records behind it may be good.
Status Journal::check_tail(uint64_t at, uint64_t size, const Status& why) const {
  const Status damaged(Code::kCorrupt, "at byte " + std::to_string(at) + ", after record " + std::to_string(next_ - 1) +
                                           ": " + std::string(why.message()));
  if (size - at > journal::kRecordBytesMax) return damaged;
  std::vector<std::byte> rest(size - at);
  MERRITT_CHECK(file_.read_at(at, rest));
  const auto bytes = journal::record_bytes(rest);
  if (bytes ? *bytes >= rest.size() : rest.size() < journal::kRecordHeadBytes) return {};
  const auto last = std::find_if(rest.rbegin(), rest.rend(), [](std::byte b) { return b != std::byte{0}; });
  return last == rest.rend() ? Status() : damaged;
}

Result<journal::Record> Journal::read_record(uint64_t at, uint64_t end, size_t* bytes) const {
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(end - at, journal::kRecordHeadBytes)));
  MERRITT_CHECK(file_.read_at(at, buffer));
  const auto size = journal::record_bytes(buffer);
  if (!size || *size > end - at) return Status(Code::kCorrupt, "no whole record begins here");
  buffer.resize(*size);
  MERRITT_CHECK(file_.read_at(at + journal::kRecordHeadBytes, std::span(buffer).subspan(journal::kRecordHeadBytes)));
  *bytes = *size;
  return journal::decode_record(buffer);
}

Result<std::string> Journal::read_since(uint64_t after, size_t bytes_max, uint64_t* last) const {
  uint64_t at = journal::kHeaderBytes, end = 0;
  {
    const std::lock_guard lock(mutex_);
    end = end_;
    const auto mark = std::find_if(marks_.rbegin(), marks_.rend(), [&](const Mark& m) { return m.number <= after; });
    if (mark != marks_.rend()) at = mark->at;
  }
  *last = after;
  std::string out;
  while (at < end) {
    size_t bytes = 0;
    MERRITT_TRY(const journal::Record record, read_record(at, end, &bytes));
    at += bytes;
    if (record.number <= after) continue;
    const std::string line = line_of(record);
    if (line.size() > bytes_max - out.size()) {
      if (!out.empty()) break;
      return Status(Code::kFailedPrecondition, "record " + std::to_string(record.number) + " needs " +
                                                   std::to_string(line.size()) + " bytes; there is room for " +
                                                   std::to_string(bytes_max));
    }
    out += line;
    *last = record.number;
  }
  return out;
}

}  // namespace merritt::tenant
