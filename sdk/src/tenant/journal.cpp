// SPDX-License-Identifier: Apache-2.0
#include "tenant/journal.hpp"

#include <algorithm>
#include <chrono>
#include <unordered_set>
#include <utility>

#include "base/os/clock.hpp"
#include "base/os/journal_file.hpp"
#include "base/os/thread.hpp"

namespace merritt::tenant {
namespace {

constexpr uint64_t kMarkEvery = 256;  // records between two that are found without reading
// Tenants that are gone and not written yet, because the disk is full: then the oldest are forgotten.
constexpr size_t kDepartedMax = size_t{1} << 16;

bool differs(const Counts& a, const Counts& b) { return a != b; }

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(const std::string& path, JournalSource source, observe::Log* log) {
  MERRITT_TRY(os::File file, os::open_journal_file(path));
  std::unique_ptr<Journal> journal(new Journal(std::move(file), std::move(source), log));
  if (Status scanned = journal->scan(); !scanned.ok()) return std::move(scanned).with_context(path);
  (void)journal->source_.departed();
  for (const NamedCounts& one : journal->source_.live()) journal->told_[one.id] = one.counts;
  return journal;
}

Journal::~Journal() { stop(); }

Status Journal::start(uint32_t interval_ms) {
  MERRITT_TRY(thread_, os::start_thread("merritt-journal", [this, interval_ms] { run(interval_ms); }));
  return {};
}

void Journal::stop() noexcept {
  {
    const std::lock_guard lock(wake_mutex_);
    if (std::exchange(stop_, true)) return;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  try {
    (void)flush();
  } catch (...) {
    if (log_ != nullptr) log_->error("no memory to write the last record of the journal of usage");
  }
  os::unlock_journal_file(file_);
}

void Journal::run(uint32_t interval_ms) {
  std::unique_lock lock(wake_mutex_);
  while (!wake_.wait_for(lock, std::chrono::milliseconds(interval_ms), [this] { return stop_; })) {
    lock.unlock();
    try {
      (void)flush();
    } catch (...) {
      if (log_ != nullptr) log_->error("no memory to write the journal of usage; the next record has it all");
    }
    lock.lock();
  }
}

Status Journal::flush_if_due(uint64_t now_ns, uint32_t interval_ms) {
  uint64_t due = due_ns_.load();
  if (now_ns < due || !due_ns_.compare_exchange_strong(due, now_ns + uint64_t{interval_ms} * 1'000'000)) return {};
  return flush();
}

// The log may be the host's function, which is never called under a lock.
Status Journal::flush() {
  bool turned = false;
  Status written = flush_locked(&turned);
  if (!turned || log_ == nullptr) return written;
  if (written.ok()) {
    log_->info("the journal of usage is written again; nothing is missing in it");
  } else {
    log_->error("the journal of usage cannot be written; it is tried again: " + std::string(written.message()));
  }
  return written;
}

Status Journal::flush_locked(bool* turned) {
  const std::lock_guard one(flush_mutex_);
  // The living first: a tenant that goes in between is among the departed the next time.
  const std::vector<NamedCounts> live = source_.live();
  std::vector<NamedCounts> gone = source_.departed();
  departed_.insert(departed_.end(), std::make_move_iterator(gone.begin()), std::make_move_iterator(gone.end()));
  const std::vector<NamedCounts> changed = deltas(live, departed_);
  Status written = changed.empty() ? Status() : write(changed);
  if (written.ok()) {
    for (const NamedCounts& tenant : live) told_[tenant.id] = tenant.counts;
    for (const NamedCounts& tenant : departed_) told_.erase(tenant.id);
    departed_.clear();
  } else {
    forget_oldest();
    const std::lock_guard lock(mutex_);
    ++failures_;
  }
  *turned = failing_ == written.ok();
  failing_ = !written.ok();
  return written;
}

void Journal::forget_oldest() {
  if (departed_.size() <= kDepartedMax) return;
  const auto end = departed_.end() - static_cast<ptrdiff_t>(kDepartedMax);
  for (auto tenant = departed_.begin(); tenant != end; ++tenant) told_.erase(tenant->id);
  departed_.erase(departed_.begin(), end);
}

// A tenant that was seen alive may be among the departed as well: then its final counters are the ones that count.
std::vector<NamedCounts> Journal::deltas(const std::vector<NamedCounts>& live,
                                         const std::vector<NamedCounts>& gone) const {
  std::vector<NamedCounts> changed;
  const auto add = [&](const NamedCounts& now) {
    const auto told = told_.find(now.id);
    const Counts before = told == told_.end() ? Counts{} : told->second;
    if (!differs(now.counts, before)) return;
    NamedCounts& delta = changed.emplace_back(now);
    for (uint32_t i = 0; i < kCounters; ++i) delta.counts[i] = now.counts[i] - before[i];
  };
  for (const NamedCounts& tenant : gone) add(tenant);
  std::unordered_set<uint32_t> closed;
  for (const NamedCounts& tenant : gone) closed.insert(tenant.id);
  for (const NamedCounts& tenant : live) {
    if (!closed.contains(tenant.id)) add(tenant);
  }
  return changed;
}

Status Journal::write(const std::vector<NamedCounts>& changed) {
  uint64_t end = 0, number = 0;
  {
    const std::lock_guard lock(mutex_);
    end = end_;
    number = next_;
  }
  std::vector<std::byte> bytes;
  std::vector<Mark> marks;
  for (size_t i = 0; i < changed.size(); i += limits::kJournalEntriesMax) {
    const size_t n = std::min<size_t>(limits::kJournalEntriesMax, changed.size() - i);
    journal::Record record{.number = number, .unix_seconds = static_cast<uint64_t>(os::unix_seconds()), .entries = {}};
    record.entries.assign(changed.begin() + static_cast<ptrdiff_t>(i), changed.begin() + static_cast<ptrdiff_t>(i + n));
    marks.push_back({number++, end + bytes.size()});
    journal::encode_record(record, bytes);
  }
  Status written = os::write_all_at(file_.fd(), end, bytes);
  if (written.ok()) written = os::sync_data(file_);
  if (!written.ok()) {
    (void)os::cut_file(file_, end);  // what got there is torn; when it stays, it is written over
    return written;
  }
  const std::lock_guard lock(mutex_);
  for (const Mark& mark : marks) note_record(mark.number, mark.at);
  end_ = end + bytes.size();
  return {};
}

void Journal::note_record(uint64_t number, uint64_t at) {
  if (marks_.empty() || number >= marks_.back().number + kMarkEvery) marks_.push_back({number, at});
  next_ = number + 1;
}

JournalStats Journal::stats() const {
  const std::lock_guard lock(mutex_);
  return {.records = next_ - 1, .failures = failures_};
}

}  // namespace merritt::tenant
