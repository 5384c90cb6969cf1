// SPDX-License-Identifier: Apache-2.0
// Sequences at rest: they hold pages that nobody needs now. Each owner's are in a list, the one that has been at rest
// for longest first, so that whoever is short of pages finds what can be had in the time that it takes to go through
// the owners, however many sessions they have.
#include <algorithm>
#include <utility>

#include "base/checked.hpp"
#include "kv/cache.hpp"

namespace merritt::kv {

void Cache::note_rest(Sequence& s) {
  const auto has_pages = [this, &s] {
    return std::any_of(s.tables.begin(), s.tables.begin() + n_groups(),
                       [](const Table& t) { return !t.pages.empty(); });
  };
  if (s.reservation.max_length != 0 || s.prepared != 0 || !has_pages()) return leave_rest(s);
  const uint64_t bytes = bytes_behind(s, 0);
  Owner& owner = *s.owner;
  owner.rest_bytes += bytes - s.rest_bytes;  // a difference: it may wrap
  s.rest_bytes = bytes;
  if (std::exchange(s.at_rest, true)) return;
  for (uint32_t g = 0; g < n_groups(); ++g) {
    for (const uint32_t page : s.tables[g].pages) pools_[g].rest(page);
  }
  link_rest(s);
}

void Cache::leave_rest(Sequence& s) {
  if (!std::exchange(s.at_rest, false)) return;
  s.owner->rest_bytes -= std::exchange(s.rest_bytes, 0);
  for (uint32_t g = 0; g < n_groups(); ++g) {
    for (const uint32_t page : s.tables[g].pages) pools_[g].unrest(page);
  }
  unlink_rest(s);
}

void Cache::link_rest(Sequence& s) {
  Owner& owner = *s.owner;
  s.before = std::exchange(owner.last_at_rest, &s);
  (s.before == nullptr ? owner.first_at_rest : s.before->after) = &s;
}

void Cache::unlink_rest(Sequence& s) {
  Owner& owner = *s.owner;
  (s.before == nullptr ? owner.first_at_rest : s.before->after) = s.after;
  (s.after == nullptr ? owner.last_at_rest : s.after->before) = s.before;
  s.before = s.after = nullptr;
}

void Cache::touch(SequenceId sequence) {
  Sequence* s = find(sequence);
  if (s == nullptr || !s->at_rest) return;
  unlink_rest(*s);
  link_rest(*s);
}

uint64_t Cache::rest_bytes() const {
  uint64_t bytes = 0;
  for (const PagePool& pool : pools_) bytes += pool.pages_at_rest() * pool.shape().page_bytes;
  return bytes;
}

void Cache::owners_at_rest(std::vector<Rest>* out) const {
  out->clear();
  const bool departed =  // hardly ever: who published has ended, and others go on from it
      std::any_of(owners_.begin(), owners_.end(), [](const auto& owner) { return owner->sequences == 0; });
  for (const auto& owner : owners_) {
    if (owner->first_at_rest == nullptr) continue;
    out->push_back(
        {owner->account.get(), owner->claimed_bytes, owner->rest_bytes, departed ? departed_bytes(*owner) : 0});
  }
}

uint64_t Cache::rest_of_owner(SequenceId sequence) const {
  const Sequence* s = find(sequence);
  return s == nullptr ? 0 : s->owner->rest_bytes - s->rest_bytes;
}

SequenceId Cache::next_at_rest(const KvAccount& account, SequenceId after) const {
  if (const Sequence* s = find(after); s != nullptr && s->at_rest) {
    return s->after == nullptr ? SequenceId::kNone : s->after->id;
  }
  const Owner* const owner = owner_with(account);
  return owner == nullptr || owner->first_at_rest == nullptr ? SequenceId::kNone : owner->first_at_rest->id;
}

uint64_t Cache::departed_bytes(const Owner& owner) const {
  uint64_t bytes = 0;
  const KvAccount* known = nullptr;  // of the page before: mostly the same
  bool departed = false;
  for (const Sequence* s = owner.first_at_rest; s != nullptr; s = s->after) {
    for (uint32_t g = 0; g < n_groups(); ++g) {
      for (const uint32_t page : s->tables[g].pages) {
        const KvAccount* const account = pools_[g].account(page);
        if (account != known) departed = owner_with(*account)->sequences == 0;
        known = account;
        if (departed) bytes += pools_[g].shape().page_bytes;
      }
    }
  }
  return bytes;
}

// Who names a page of a group without a window names all before it too: of all pages, the last one is named by fewest.
uint32_t Cache::cuts_to_free(SequenceId sequence, uint32_t position) const {
  const Sequence* s = find(sequence);
  uint32_t fewest = 0;
  for (uint32_t g = 0; s != nullptr && g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    const Table& table = s->tables[g];
    const uint32_t end = divide_up(position, shape.page_tokens);
    if (table.pages.size() <= end - std::min(end, table.base)) continue;
    if (shape.window != 0) return 1;  // promised to each holder by itself
    const uint32_t last = table.pages.back();
    if (!pools_[g].all_rest(last)) continue;
    const uint32_t holders = pools_[g].references(last);
    fewest = fewest == 0 ? holders : std::min(fewest, holders);
  }
  return fewest;
}

// Of the pages that truncate would take from the table.
uint64_t Cache::bytes_behind(const Sequence& s, uint32_t position) const {
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    const Table& table = s.tables[g];
    const uint32_t end = divide_up(position, shape.page_tokens);
    const size_t kept = std::min<size_t>(end - std::min(end, table.base), table.pages.size());
    bytes += (table.pages.size() - kept) * shape.page_bytes;
  }
  return bytes;
}

uint32_t Cache::position_within(SequenceId sequence, uint64_t bytes) const {
  const Sequence* s = find(sequence);
  if (s == nullptr || bytes_behind(*s, 0) <= bytes) return 0;
  uint32_t page = UINT32_MAX;
  for (const PagePool& pool : pools_) page = std::min(page, pool.shape().page_tokens);
  for (uint64_t position = divide_up<uint64_t>(lowest_truncation(sequence), page) * page; position < s->length;
       position += page) {
    if (bytes_behind(*s, static_cast<uint32_t>(position)) <= bytes) return static_cast<uint32_t>(position);
  }
  return s->length;
}

}  // namespace merritt::kv
