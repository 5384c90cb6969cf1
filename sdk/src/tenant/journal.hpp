// SPDX-License-Identifier: Apache-2.0
// The journal of an engine's usage: what each tenant used since its last record, appended to a file of the host's and
// brought to disk at least once a second.
//
// A record holds what was counted, and counters grow after the work was delivered; so a process that is killed loses
// what it did since the last record, and no record ever says more than was delivered. What could not be written is in
// the next record that can. A torn last record is cut off when the file is opened again, and numbering goes on.
//
// Threads: any. The step thread never comes here.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/os/file.hpp"
#include "base/status.hpp"
#include "observe/log.hpp"
#include "tenant/archive.hpp"
#include "tenant/journal_format.hpp"

namespace merritt::tenant {

// Where the counters come from: all tenants that live, and those that are gone since this was asked last, whose
// counters are final.
struct JournalSource {
  std::function<std::vector<NamedCounts>()> live, departed;
};

struct JournalStats {
  uint64_t records = 0;   // the number of the last one on disk
  uint64_t failures = 0;  // times that writing failed
};

class Journal {
 public:
  // Opens or makes the file and reads what is in it. kCorrupt: damaged, and left alone. kFailedPrecondition: another
  // engine writes it. log may be null. What `live` has counted already is not recorded.
  static Result<std::unique_ptr<Journal>> open(const std::string& path, JournalSource source, observe::Log* log);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // A thread that calls flush() every interval_ms.
  Status start(uint32_t interval_ms);
  // In place of that thread: flush(), when the last one by this function is interval_ms ago.
  Status flush_if_due(uint64_t now_ns, uint32_t interval_ms);
  // Ends the thread and writes the last record.
  void stop() noexcept;
  // Writes what was used since the last record, if anything, and brings it to disk.
  Status flush();

  // The records after number `after`, as lines of JSON, as many as fit in bytes_max; *last is the number of the last
  // one told. One that does not fit alone: kFailedPrecondition, with the bytes it needs.
  Result<std::string> read_since(uint64_t after, size_t bytes_max, uint64_t* last) const;
  JournalStats stats() const;

 private:
  Journal(os::File file, JournalSource source, observe::Log* log)
      : file_(std::move(file)), source_(std::move(source)), log_(log) {}
  Status scan();
  Status check_tail(uint64_t at, uint64_t size, const Status& why) const;
  Result<journal::Record> read_record(uint64_t at, uint64_t end, size_t* bytes) const;
  void note_record(uint64_t number, uint64_t at);
  std::vector<NamedCounts> deltas(const std::vector<NamedCounts>& live, const std::vector<NamedCounts>& gone) const;
  Status flush_locked(bool* turned);
  void forget_oldest();
  Status write(const std::vector<NamedCounts>& changed);
  void run(uint32_t interval_ms);

  const os::File file_;
  const JournalSource source_;
  observe::Log* const log_;

  std::mutex flush_mutex_;                     // one flush at a time; guards what it remembers
  std::unordered_map<uint32_t, Counts> told_;  // by tenant: what records say
  std::vector<NamedCounts> departed_;          // not written yet
  bool failing_ = false;

  mutable std::mutex mutex_;  // guards all down to the blank line
  uint64_t end_ = 0;          // of what is on disk
  uint64_t next_ = 1;
  uint64_t failures_ = 0;
  struct Mark {
    uint64_t number, at;
  };
  std::vector<Mark> marks_;  // where some of the records are

  std::atomic<uint64_t> due_ns_{0};
  std::mutex wake_mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace merritt::tenant
