// SPDX-License-Identifier: Apache-2.0
// The bookkeeping behind "an admitted sequence never runs out": what each sequence may still need is claimed, and no
// verb takes pages that another one's claim counts on.
#include <algorithm>
#include <string>

#include "base/checked.hpp"
#include "kv/cache.hpp"

namespace merritt::kv {

Status check_floors(uint64_t others, uint64_t more, uint64_t pool_bytes) {
  if (others <= pool_bytes && more <= pool_bytes - others) return {};
  return Status(Code::kInvalidArgument, "the KV floor is " + std::to_string(more) +
                                            " bytes and those of other tenants " + std::to_string(others) +
                                            "; the pool has " + std::to_string(pool_bytes));
}

GroupPages Cache::pages_needed(uint32_t max_length, uint32_t chunk) const {
  GroupPages most{};
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    uint64_t pages = divide_up<uint64_t>(max_length, shape.page_tokens);
    if (shape.window != 0) {
      // The chunk and the window - 1 tokens before it, at the worst alignment.
      const uint64_t tokens = uint64_t{shape.window} - 1 + std::max(chunk, 1u);
      pages = std::min(pages, (tokens + shape.page_tokens - 2) / shape.page_tokens + 1);
    }
    most[g] = static_cast<uint32_t>(pages);
  }
  return most;
}

Status Cache::check_possible(const KvAccount& account, const Reservation& r) const {
  return check_within(r, account.hard_limit());
}

// What a sequence and its forks need of an empty pool.
Status Cache::check_within(const Reservation& r, uint64_t limit) const {
  if (r.max_length > INT32_MAX || r.fork_length > r.max_length) {
    return Status(Code::kInvalidArgument,
                  "a sequence of " + std::to_string(r.max_length) + " tokens cannot be reserved");
  }
  const GroupPages most = pages_needed(r.max_length, r.chunk);
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    const uint64_t pages = pages_with_forks(r, most, g);
    if (pages <= shape.n_pages) continue;
    return Status(Code::kInvalidArgument, "the request needs " + std::to_string(pages) + " KV pages for " +
                                              std::to_string(r.max_length) + " tokens; the model's pool has " +
                                              std::to_string(shape.n_pages) +
                                              "; ask for fewer tokens or give the model more kv_bytes");
  }
  const uint64_t bytes = bytes_needed(r);
  if (limit == 0 || bytes <= limit) return {};
  return Status(Code::kQuotaExceeded, "the request needs " + std::to_string(bytes) +
                                          " bytes of KV; the tenant's ceiling is " + std::to_string(limit));
}

uint64_t Cache::pages_with_forks(const Reservation& r, const GroupPages& most, uint32_t group) const {
  const GroupShape& shape = pools_[group].shape();
  const uint64_t shared = shape.window != 0 ? 0 : r.fork_length / shape.page_tokens;
  return most[group] + uint64_t{r.forks} * (most[group] - shared);
}

uint64_t Cache::bytes_needed(const Reservation& r) const {
  const GroupPages most = pages_needed(r.max_length, r.chunk);
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < n_groups(); ++g) bytes += pages_with_forks(r, most, g) * pools_[g].shape().page_bytes;
  return bytes;
}

uint64_t Cache::pool_bytes() const {
  uint64_t bytes = 0;
  for (const PagePool& pool : pools_) bytes += pool.shape().n_pages * pool.shape().page_bytes;
  return bytes;
}

uint64_t Cache::claimed_by_owner(SequenceId sequence) const {
  const Sequence* s = find(sequence);
  return s == nullptr ? 0 : s->owner->claimed_bytes;
}

uint64_t Cache::bytes_claimed(SequenceId sequence) const {
  const Sequence* s = find(sequence);
  uint64_t bytes = 0;
  for (uint32_t g = 0; s != nullptr && g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    const Table& table = s->tables[g];
    bytes += (table.claim + (shape.window == 0 ? table.pages.size() : 0)) * shape.page_bytes;
  }
  return bytes;
}

uint32_t Cache::promised_length(SequenceId sequence) const {
  const Sequence* s = find(sequence);
  return s == nullptr ? 0 : s->reservation.max_length;
}

Code Cache::extend(SequenceId sequence, uint32_t max_length) {
  Sequence* s = find(sequence);
  if (s == nullptr) return Code::kNotFound;
  if (max_length <= s->reservation.max_length) return Code::kOk;
  Reservation longer = s->reservation;
  longer.max_length = max_length;
  if (const Code room = room_for(sequence, longer, Room::kAll); room != Code::kOk) return room;
  const GroupPages most = pages_needed(max_length, longer.chunk);
  s->reservation = longer;
  for (uint32_t g = 0; g < n_groups(); ++g) s->tables[g].most = most[g];
  book(*s);
  return Code::kOk;
}

uint32_t Cache::claim_of(const Sequence& s, uint32_t group, size_t held, bool shared_tail) const {
  return claim_of(s.reservation, s.tables[group].most, group, held, shared_tail);
}

uint32_t Cache::claim_of(const Reservation& r, uint32_t most, uint32_t group, size_t held, bool shared_tail) const {
  const GroupShape& shape = pools_[group].shape();
  const uint32_t have = static_cast<uint32_t>(held);
  if (shape.window != 0) return std::max(most, have) + r.forks * most;
  if (most == 0) return 0;
  const uint32_t to_come = most > have ? most - have : 0;
  return to_come + (shared_tail ? 1 : 0) + r.forks * (most - r.fork_length / shape.page_tokens);
}

// check_room without its text.
Code Cache::room_of(const KvAccount& account, const Change& change, const GroupPages& taken, Room room,
                    uint64_t back) const {
  int64_t bytes = 0;
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    const bool windowed = shape.window != 0;
    const int64_t more = change[g] + (windowed ? 0 : int64_t{taken[g]});
    const int64_t left = int64_t{windowed ? shape.n_pages : pools_[g].free_pages()} - static_cast<int64_t>(claims_[g]);
    bytes += more * static_cast<int64_t>(shape.page_bytes);
    if (room == Room::kAll && more > left && more > 0) return Code::kOverloaded;
  }
  const uint64_t claimed_now = account.claimed_bytes.load(std::memory_order_relaxed);
  const int64_t claimed = static_cast<int64_t>(claimed_now - std::min(claimed_now, back)) + bytes;
  const uint64_t limit = account.limit_in_force();
  const bool within = limit == 0 || bytes <= 0 || claimed <= 0 || static_cast<uint64_t>(claimed) <= limit;
  return within ? Code::kOk : Code::kQuotaExceeded;
}

Status Cache::check_room(const KvAccount& account, const Change& change, const GroupPages& taken) const {
  if (room_of(account, change, taken, Room::kAll, 0) == Code::kOk) return {};
  int64_t bytes = 0;
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    const bool windowed = shape.window != 0;
    const int64_t more = change[g] + (windowed ? 0 : int64_t{taken[g]});
    const int64_t room = int64_t{windowed ? shape.n_pages : pools_[g].free_pages()} - static_cast<int64_t>(claims_[g]);
    bytes += more * static_cast<int64_t>(shape.page_bytes);
    if (more <= room || more <= 0) continue;
    return Status(Code::kOverloaded, "the KV cache is too full: " + std::to_string(more) + " pages of group " +
                                         std::to_string(g) + " are needed, " + std::to_string(room) + " of " +
                                         std::to_string(shape.n_pages) + " are neither held nor promised");
  }
  const int64_t claimed = static_cast<int64_t>(account.claimed_bytes.load(std::memory_order_relaxed)) + bytes;
  const uint64_t limit = account.limit_in_force();
  return Status(Code::kQuotaExceeded, "the tenant's KV ceiling is " + std::to_string(limit) +
                                          " bytes; with this it would need " + std::to_string(claimed));
}

void Cache::claim(Owner& owner, uint64_t more_bytes) {
  owner.account->claimed_bytes.fetch_add(more_bytes, std::memory_order_relaxed);
  owner.claimed_bytes += more_bytes;
}

void Cache::book(Sequence& s) {
  for (uint32_t g = 0; g < n_groups(); ++g) {
    Table& table = s.tables[g];
    const uint32_t claim = claim_of(s, g, table.pages.size(), tail_is_shared(s, g));
    // Unsigned differences wrap and add up to the right sum.
    claims_[g] += uint64_t{claim} - table.claim;
    this->claim(*s.owner, (uint64_t{claim} - table.claim) * pools_[g].shape().page_bytes);
    table.claim = claim;
  }
  note_rest(s);
}

// Pages of a windowed group are booked by their claims alone; the others when they are taken and given back.
Status Cache::allocate(Sequence& s, uint32_t group, uint32_t n, std::vector<uint32_t>* out) {
  const GroupShape& shape = pools_[group].shape();
  MERRITT_CHECK(pools_[group].allocate(*s.account, n, out));
  s.owner->pages += n;
  for (size_t i = out->size() - n; s.at_rest && i < out->size(); ++i) pools_[group].rest((*out)[i]);
  if (shape.window == 0) claim(*s.owner, n * shape.page_bytes);
  return {};
}

// Whoever was the last to name it, it comes off the account that it is on.
bool Cache::drop(Sequence& s, uint32_t group, uint32_t page) {
  const KvAccount* const account = pools_[group].account(page);
  if (s.at_rest) pools_[group].unrest(page);
  if (!pools_[group].drop(page)) return false;
  Owner& owner = account == s.account.get() ? *s.owner : *owner_with(*account);
  const GroupShape& shape = pools_[group].shape();
  if (shape.window == 0) claim(owner, uint64_t{0} - shape.page_bytes);
  --owner.pages;
  if (&owner != s.owner) {  // who would have zeroed it may be gone
    (void)pools_[group].wipe_page(page);
    forget_if_gone(&owner);
  }
  return true;
}

Code Cache::room_for(SequenceId sequence, const Reservation& reservation, Room room, uint64_t back) const {
  const Sequence* s = find(sequence);
  if (s == nullptr) return Code::kNotFound;
  if (reservation.max_length < s->length + s->prepared) return Code::kInvalidArgument;
  const GroupPages most = pages_needed(reservation.max_length, reservation.chunk);
  Change change{};
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const Table& table = s->tables[g];
    change[g] = int64_t{claim_of(reservation, most[g], g, table.pages.size(), tail_is_shared(*s, g))} - table.claim;
  }
  return room_of(*s->account, change, {}, room, back);
}

Status Cache::reserve(SequenceId sequence, const Reservation& reservation) {
  Sequence* s = find(sequence);
  if (s == nullptr) return Status(Code::kNotFound, "the sequence is not in the KV cache (any more)");
  if (reservation.max_length < s->length + s->prepared) {
    return Status(Code::kInvalidArgument, "cannot reserve " + std::to_string(reservation.max_length) +
                                              " tokens for a sequence of " + std::to_string(s->length));
  }
  MERRITT_CHECK(check_within(reservation, s->account->limit_in_force()));
  const GroupPages most = pages_needed(reservation.max_length, reservation.chunk);
  const Reservation before = std::exchange(s->reservation, reservation);
  GroupPages most_before{};
  Change change{};
  for (uint32_t g = 0; g < n_groups(); ++g) {
    Table& table = s->tables[g];
    most_before[g] = std::exchange(table.most, most[g]);
    change[g] = int64_t{claim_of(*s, g, table.pages.size(), tail_is_shared(*s, g))} - table.claim;
  }
  if (Status status = check_room(*s->account, change, {}); !status.ok()) {
    s->reservation = before;
    for (uint32_t g = 0; g < n_groups(); ++g) s->tables[g].most = most_before[g];
    return status;
  }
  const GroupPages room = pages_needed(std::max(reservation.room_length, reservation.max_length), reservation.chunk);
  for (uint32_t g = 0; g < n_groups(); ++g) s->tables[g].pages.reserve(room[g]);
  s->classes.reserve(s->classes.size() + 4);
  scratch_.reserve(1);
  book(*s);
  return {};
}

void Cache::unreserve(SequenceId sequence) {
  Sequence* s = find(sequence);
  if (s == nullptr) return;
  s->reservation = {};
  for (uint32_t g = 0; g < n_groups(); ++g) s->tables[g].most = 0;
  book(*s);
}

// A reservation of what is there claims no page: its tables have no `most`.
void Cache::end_growth(SequenceId sequence) {
  Sequence* s = find(sequence);
  if (s == nullptr) return;
  s->reservation = {.max_length = s->length};
  for (uint32_t g = 0; g < n_groups(); ++g) s->tables[g].most = 0;
  book(*s);
}

}  // namespace merritt::kv
