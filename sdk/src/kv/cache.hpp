// SPDX-License-Identifier: Apache-2.0
// The page tables of one model's KV pool: which pages hold which tokens of which sequence.
//
// Threads: the step thread only. No clock; no allocation between reserve() and the end of a generation.
// Invariants, per group:
//   - a sequence's table is {base, pages}: pages[k] holds the tokens [(base + k) * page_tokens, ...); it covers every
//     token that a token at index length() or later may see, and nothing wholly behind the window;
//   - only the last page of a table is ever written, and only while no other table names it;
//   - claims: admitted sequences never run out. A group without a window keeps free pages >= the sum of what is
//   promised
//     but not yet allocated (shared pages count once). A windowed group keeps the sum of the largest table of each
//     sequence <= n_pages (shared pages count for each holder, because each outlives them at its own time);
//   - a page is on the account of who took it until nobody names it, also when only others do (share()).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/kv_account.hpp"
#include "base/status.hpp"
#include "kv/page_pool.hpp"

namespace merritt::kv {

enum class SequenceId : uint64_t { kNone = 0 };

// The arithmetic a token was run with; the numbers of MRT_CLASS_*.
enum class TokenClass : uint32_t { kPrompt = 0, kGenerated = 1 };
struct ClassRun {
  TokenClass token_class;
  uint32_t n_tokens;
};

struct PageTable {
  uint32_t base = 0;  // logical number of pages[0]
  std::span<const uint32_t> pages;
};

// The most a sequence will ever hold: up to max_length tokens, appended at most `chunk` at a time. forks more sequences
// with the same bounds will be forked from it, not before it has fork_length tokens.
struct Reservation {
  uint32_t max_length = 0;
  uint32_t chunk = 0;
  uint32_t forks = 0;
  uint32_t fork_length = 0;
  uint32_t room_length = 0;  // the reservation may be extended to so many tokens without an allocation; 0 = max_length
};

// Whether a floor of `more` bytes can be promised beside those of `others`, of a pool: kInvalidArgument with the
// numbers.
Status check_floors(uint64_t others, uint64_t more, uint64_t pool_bytes);

using GroupPages = std::array<uint32_t, kMaxGroups>;

class Cache {
 public:
  // verbs must outlive the cache. A model that caches nothing has no shapes.
  static Result<std::unique_ptr<Cache>> make(std::span<const GroupShape> shapes, PageVerbs& verbs);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // An empty sequence. Ids are never used twice; every verb answers kNotFound for one that was released.
  SequenceId create(std::shared_ptr<KvAccount> account, uint64_t seq_key = 0);
  // A second sequence with the same tokens: full pages shared, the open tail copied. Takes one of the forks reserved by
  // `sequence` when there are any; else kOverloaded or kQuotaExceeded when the pages are not to be had.
  Result<SequenceId> fork(SequenceId sequence, uint64_t seq_key = 0);
  // A sequence of `account`'s that begins with the first n_tokens of `from`: their pages are shared, none is copied.
  // The account may be another one; a page is on the account of who allocated it for as long as anybody names it.
  // kInvalidArgument: n_tokens is more than there is, or ends within a page (see alignment());
  // kFailedPrecondition: a windowed group has dropped what a token behind them would see; kOverloaded,
  // kQuotaExceeded: a windowed group has no room for another holder.
  Result<SequenceId> share(SequenceId from, uint32_t n_tokens, std::shared_ptr<KvAccount> account,
                           uint64_t seq_key = 0);
  // A multiple of it ends a page in every group.
  uint32_t alignment() const;
  // Of the positions up to `most`, the last one that share() takes but for room; 0 = none.
  uint32_t shareable(SequenceId sequence, uint32_t most) const;
  // Zeroes the pages that nobody else names, and frees them. Never fails: a page whose zeroing fails is zeroed before
  // its next use.
  void release(SequenceId sequence);

  // Promises the pages. Replaces an earlier reservation. kOverloaded: the pool is too full now; kQuotaExceeded: the
  // tenant's KV ceiling; kInvalidArgument: more than the whole pool.
  Status reserve(SequenceId sequence, const Reservation& reservation);
  void unreserve(SequenceId sequence);
  // It grows no more, and is not at rest yet: its request runs on.
  void end_growth(SequenceId sequence);
  // What reserve would answer, without a text: of the tenant's own ceiling alone, or of everything; were `back` bytes
  // of the tenant's given back before.
  enum class Room : uint32_t { kOwn = 0, kAll = 1 };
  Code room_for(SequenceId sequence, const Reservation& reservation, Room room, uint64_t back = 0) const;
  // Promises the pages up to max_length tokens, when more than what is promised already. Allocates nothing.
  Code extend(SequenceId sequence, uint32_t max_length);
  uint32_t promised_length(SequenceId sequence) const;

  // Makes the pages of the next n_tokens tokens writable, or changes nothing. One append at a time: commit or abort
  // ends it. Cannot fail for want of pages within the reservation.
  Status prepare_append(SequenceId sequence, uint32_t n_tokens);
  // The first `accepted` of the prepared tokens become past; the rest is dropped.
  Status commit(SequenceId sequence, uint32_t accepted, TokenClass token_class);
  void abort_append(SequenceId sequence);
  // Drops the tokens from `position` on, and the reservation. kInvalidArgument: position > length.
  // kFailedPrecondition: a windowed group has dropped what a token at position would see, or an append is prepared.
  Status truncate(SequenceId sequence, uint32_t position);
  // The lowest position other than 0 that truncate takes. Position 0 is always possible.
  uint32_t lowest_truncation(SequenceId sequence) const;

  // A sequence is at rest while it holds pages and nothing is promised to it: nobody runs it. (kv/at_rest.cpp)
  struct Rest {  // of one owner
    const KvAccount* account = nullptr;
    uint64_t claimed_bytes = 0;  // by all its sequences in this cache
    uint64_t rest_bytes = 0;     // of it, held by those at rest; a shared page counts for each
    // Of these, in pages on the accounts of owners without sequences, who cannot give them.
    uint64_t departed_bytes = 0;
  };
  // Bytes that become free when all sequences at rest are dropped: a page counts once, and not while somebody who is
  // not at rest names it.
  uint64_t rest_bytes() const;
  // The owners with sequences at rest.
  void owners_at_rest(std::vector<Rest>* out) const;
  // Of the owner of this one, without it.
  uint64_t rest_of_owner(SequenceId sequence) const;
  // How many sequences at rest, this one among them, have to be cut for a page behind the position to become free. 1 =
  // this one alone; 0 = no number of them: somebody who is not at rest names them all.
  uint32_t cuts_to_free(SequenceId sequence, uint32_t position) const;
  // The owner's sequence that has been at rest for longest, or for longest after `after`; kNone = no more.
  SequenceId next_at_rest(const KvAccount& account, SequenceId after) const;
  // As if it had come to rest now.
  void touch(SequenceId sequence);
  // The lowest position whose truncation gives back no more than so many bytes; length() = there is none.
  uint32_t position_within(SequenceId sequence, uint64_t bytes) const;

  // Queries; a released id has length 0 and empty tables.
  bool contains(SequenceId sequence) const { return find(sequence) != nullptr; }
  uint32_t length(SequenceId sequence) const;
  uint64_t seq_key(SequenceId sequence) const;
  PageTable pages(SequenceId sequence, uint32_t group) const;  // with the prepared pages; valid until the next verb
  std::span<const ClassRun> classes(SequenceId sequence) const;
  uint32_t n_groups() const { return static_cast<uint32_t>(pools_.size()); }
  const PagePool& pool(uint32_t group) const { return pools_[group]; }
  uint32_t n_sequences() const { return n_sequences_; }
  uint64_t bytes_held() const;  // by everybody
  // The largest table in each group of a sequence of max_length tokens appended `chunk` at a time.
  GroupPages pages_needed(uint32_t max_length, uint32_t chunk) const;
  uint64_t bytes_needed(const Reservation& reservation) const;  // by the sequence and its forks
  uint64_t pool_bytes() const;
  // Held by, and promised to, all sequences of the owner of this one, in this cache.
  uint64_t claimed_by_owner(SequenceId sequence) const;
  uint64_t bytes_claimed(SequenceId sequence) const;  // by this one alone; a shared page counts for each
  // Whether such a sequence and its forks could ever run: kInvalidArgument when the empty pool is too small for them,
  // kQuotaExceeded when the tenant's KV ceiling is; both numbers are named.
  Status check_possible(const KvAccount& account, const Reservation& reservation) const;

 private:
  struct Table {
    uint32_t base = 0;
    uint32_t most = 0;   // the largest this table may become under the reservation
    uint32_t claim = 0;  // booked in claims_
    std::vector<uint32_t> pages;
  };
  struct Sequence;
  struct Owner {
    std::shared_ptr<KvAccount> account;
    uint64_t claimed_bytes = 0;
    uint32_t sequences = 0;
    uint64_t pages = 0;  // on its account, perhaps named by sequences of others only
    uint64_t rest_bytes = 0;
    Sequence *first_at_rest = nullptr, *last_at_rest = nullptr;  // in the order in which they came to rest
  };
  struct Sequence {
    SequenceId id{};
    uint32_t generation = 0;
    bool live = false;
    uint32_t length = 0;
    uint32_t prepared = 0;
    uint64_t seq_key = 0;
    Reservation reservation;
    std::shared_ptr<KvAccount> account;
    Owner* owner = nullptr;
    std::array<Table, kMaxGroups> tables;
    std::vector<ClassRun> classes;
    bool at_rest = false;
    uint64_t rest_bytes = 0;  // as its owner counts it
    Sequence *before = nullptr, *after = nullptr;
  };

  using Change = std::array<int64_t, kMaxGroups>;

  Cache(std::span<const GroupShape> shapes, PageVerbs& verbs);
  Sequence* find(SequenceId id) const;
  SequenceId take_slot(std::shared_ptr<KvAccount> account, uint64_t seq_key);
  Owner* owner_of(const std::shared_ptr<KvAccount>& account);
  Owner* owner_with(const KvAccount& account) const;  // null = it has neither sequences nor pages here
  void forget_if_gone(const Owner* owner);
  static void claim(Owner& owner, uint64_t more_bytes);  // a difference: it may wrap

  bool tail_is_shared(const Sequence& s, uint32_t group) const;
  uint64_t pages_with_forks(const Reservation& r, const GroupPages& most, uint32_t group) const;
  // Pages of `group` that s must be able to count on beside those it holds (no window), or in all (window).
  uint32_t claim_of(const Sequence& s, uint32_t group, size_t held, bool shared_tail) const;
  uint32_t claim_of(const Reservation& r, uint32_t most, uint32_t group, size_t held, bool shared_tail) const;
  // Whether `change` more claimed pages and `taken` pages from the free lists leave every promise whole.
  Code room_of(const KvAccount& account, const Change& change, const GroupPages& taken, Room room, uint64_t back) const;
  Status check_within(const Reservation& reservation, uint64_t limit) const;
  Status check_room(const KvAccount& account, const Change& change, const GroupPages& taken) const;
  void book(Sequence& s);  // brings the claims of s up to date
  void note_rest(Sequence& s);
  void leave_rest(Sequence& s);
  static void link_rest(Sequence& s);
  static void unlink_rest(Sequence& s);
  uint64_t bytes_behind(const Sequence& s, uint32_t position) const;
  uint64_t departed_bytes(const Owner& owner) const;
  Status allocate(Sequence& s, uint32_t group, uint32_t n, std::vector<uint32_t>* out);
  bool drop(Sequence& s, uint32_t group, uint32_t page);
  void drop_tail(Sequence& s, uint32_t group);  // the pages past length
  static void cut_classes(Sequence& s, uint32_t position);
  void drop_behind_window(Sequence& s);
  Status own_tail(Sequence& s, uint32_t group);
  Status grow(Sequence& s, uint32_t group, uint32_t end);
  Status copy_tables(Sequence& from, Sequence& to);

  std::vector<PagePool> pools_;
  std::vector<uint64_t> claims_;  // per group, over all sequences
  PageVerbs& verbs_;
  std::vector<std::unique_ptr<Sequence>> slots_;
  std::vector<uint32_t> free_slots_;
  std::vector<std::unique_ptr<Owner>> owners_;  // with sequences or pages
  std::vector<uint32_t> scratch_;               // one page
  uint32_t n_sequences_ = 0;
};

}  // namespace merritt::kv
