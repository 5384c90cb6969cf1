// SPDX-License-Identifier: Apache-2.0
#include "engine/prefix_cache.hpp"

#include <algorithm>
#include <string>

#include "base/limits.hpp"

namespace merritt::engine {
namespace {

// Neighbours looked at on each side: the nearest has most in common, and may have lost its pages.
constexpr int kNeighbours = 4;

uint32_t common(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t most = std::min(a.size(), b.size());
  return static_cast<uint32_t>(std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(most), b.begin()).first -
                               a.begin());
}

}  // namespace

PrefixCache::Hit PrefixCache::find(const KvAccount& account, std::span<const int32_t> prompt) {
  Hit best;
  Entry* used = nullptr;
  if (prompt.size() <= 1) return best;
  prompt = prompt.first(prompt.size() - 1);
  for (auto& [tenant, shelf] : published_) look_on(shelf, prompt, &best, &used);
  const auto own = own_.find(account.tenant);
  if (own != own_.end() && account.prefix_bytes.load(std::memory_order_relaxed) != 0) {
    look_on(own->second, prompt, &best, &used);
  }
  if (used != nullptr) {
    used->used = ++clock_;
    cache_.touch(used->sequence);
  }
  return best;
}

// On each side the nearest has most in common; the next one is better only where that has lost pages.
void PrefixCache::look_on(Shelf& shelf, std::span<const int32_t> prompt, Hit* best, Entry** used) {
  const auto look = [&](Shelf::value_type& entry) {
    const uint32_t same = common(entry.first, prompt) / cache_.alignment() * cache_.alignment();
    best->branch = std::max(best->branch, same);
    const uint32_t tokens = cache_.shareable(entry.second.sequence, same);
    if (tokens > best->tokens) {
      best->tokens = tokens;
      best->sequence = entry.second.sequence;
      *used = &entry.second;
    }
    return tokens == same;
  };
  const auto at = shelf.lower_bound(prompt);
  auto next = at, before = at;
  for (int i = 0; i < kNeighbours && next != shelf.end() && !look(*next); ++i) ++next;
  for (int i = 0; i < kNeighbours && before != shelf.begin() && !look(*--before);) ++i;
}

// end() and why, when there is no room.
PrefixCache::Shelf::iterator PrefixCache::insert(Shelf& shelf, std::span<const int32_t> tokens, kv::SequenceId from,
                                                 const std::shared_ptr<KvAccount>& account, uint64_t seq_key,
                                                 Status* why) {
  const auto [entry, fresh] = shelf.try_emplace(std::vector<int32_t>(tokens.begin(), tokens.end()));
  try {
    auto shared = cache_.share(from, static_cast<uint32_t>(tokens.size()), account, seq_key);
    if (shared.ok()) {
      entry->second.sequence = *shared;
      entry->second.used = ++clock_;
      return entry;
    }
    *why = std::move(shared).status();
  } catch (...) {
    shelf.erase(entry);
    throw;
  }
  shelf.erase(entry);
  return shelf.end();
}

void PrefixCache::erase(Shelf& shelf, Shelf::iterator entry) {
  cache_.release(entry->second.sequence);
  if (entry->second.account != nullptr) {
    entry->second.account->floor_used_bytes.fetch_sub(entry->second.floor_bytes, std::memory_order_relaxed);
  }
  shelf.erase(entry);
}

kv::SequenceId PrefixCache::keep(const std::shared_ptr<KvAccount>& account, std::span<const int32_t> tokens,
                                 kv::SequenceId sequence, uint64_t seq_key) {
  const uint64_t bytes_max = account->prefix_bytes.load(std::memory_order_relaxed);
  const uint32_t n = cache_.shareable(sequence, static_cast<uint32_t>(tokens.size()));
  if (bytes_max == 0 || n == 0) return kv::SequenceId::kNone;
  tokens = tokens.first(n);
  Shelf& shelf = own_[account->tenant];
  if (const auto known = shelf.find(tokens); known != shelf.end()) {
    if (cache_.shareable(known->second.sequence, n) == n) {
      known->second.used = ++clock_;
      cache_.touch(known->second.sequence);
      return known->second.sequence;
    }
    erase(shelf, known);  // its pages were taken back
  }
  Status no_room;
  const auto entry = insert(shelf, tokens, sequence, account, seq_key, &no_room);
  if (entry == shelf.end()) return kv::SequenceId::kNone;
  const kv::SequenceId kept = entry->second.sequence;
  trim(shelf, bytes_max);
  return kept;
}

Result<uint32_t> PrefixCache::publish(const std::shared_ptr<KvAccount>& account, std::span<const int32_t> tokens,
                                      kv::SequenceId sequence, uint64_t seq_key) {
  const uint32_t n = cache_.shareable(sequence, static_cast<uint32_t>(tokens.size()));
  if (n == 0) {
    return Status(Code::kFailedPrecondition,
                  "the session begins with " + std::to_string(tokens.size()) + " tokens of a prompt, of which " +
                      std::to_string(cache_.length(sequence)) + " are in the cache; whole pages of " +
                      std::to_string(cache_.alignment()) +
                      " can be published, which no layer with a window has dropped");
  }
  tokens = tokens.first(n);
  Shelf& shelf = published_[account->tenant];
  if (shelf.find(tokens) != shelf.end()) return n;
  size_t published = 0;
  for (const auto& [tenant, other] : published_) published += other.size();
  if (published >= limits::kPrefixesPublishedMax) {
    return Status(Code::kFailedPrecondition, std::to_string(published) +
                                                 " prefixes of this model are published, as many as there may be; "
                                                 "destroy a tenant that published some");
  }
  Status why;
  const auto entry = insert(shelf, tokens, sequence, account, seq_key, &why);
  if (entry == shelf.end()) return why;
  const uint64_t bytes = cache_.bytes_claimed(entry->second.sequence);
  const uint64_t floor = account->floor_bytes.load(std::memory_order_relaxed);
  const uint64_t used = account->floor_used_bytes.load(std::memory_order_relaxed);
  if (used + bytes > floor) {
    erase(shelf, entry);
    return Status(Code::kQuotaExceeded,
                  "the prefix needs " + std::to_string(bytes) +
                      " bytes for as long as it is published; of the tenant's kv_bytes_floor of " +
                      std::to_string(floor) + ", " + std::to_string(used) + " are in use");
  }
  entry->second.account = account;
  entry->second.floor_bytes = bytes;
  account->floor_used_bytes.fetch_add(bytes, std::memory_order_relaxed);
  cache_.end_growth(entry->second.sequence);  // promised, so never at rest
  return n;
}

// Those without pages first, then the ones used least lately. A page that two entries share counts for both.
void PrefixCache::trim(Shelf& shelf, uint64_t bytes_max) {
  uint64_t bytes = 0;
  for (auto entry = shelf.begin(); entry != shelf.end();) {
    const auto next = std::next(entry);
    const uint64_t own = cache_.bytes_claimed(entry->second.sequence);
    if (own == 0) erase(shelf, entry);
    bytes += own;
    entry = next;
  }
  while (!shelf.empty() && (bytes > bytes_max || shelf.size() > limits::kPrefixesKeptMax)) {
    const auto oldest = std::min_element(shelf.begin(), shelf.end(),
                                         [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    bytes -= cache_.bytes_claimed(oldest->second.sequence);
    erase(shelf, oldest);
  }
}

void PrefixCache::trim(const KvAccount& account) {
  const auto own = own_.find(account.tenant);
  if (own != own_.end()) trim(own->second, account.prefix_bytes.load(std::memory_order_relaxed));
}

void PrefixCache::forget(TenantId tenant) {
  for (auto* const shelves : {&own_, &published_}) {
    const auto found = shelves->find(tenant);
    if (found == shelves->end()) continue;
    while (!found->second.empty()) erase(found->second, found->second.begin());
    shelves->erase(found);
  }
}

void PrefixCache::distrust(TenantId tenant, std::span<const int32_t> prompt) noexcept {
  const auto own = own_.find(tenant);
  if (own == own_.end()) return;
  for (auto entry = own->second.begin(); entry != own->second.end();) {
    const auto next = std::next(entry);
    if (common(entry->first, prompt) >= cache_.alignment()) erase(own->second, entry);
    entry = next;
  }
}

void PrefixCache::clear() {
  while (!own_.empty()) forget(own_.begin()->first);
  while (!published_.empty()) forget(published_.begin()->first);
}

uint32_t PrefixCache::n_entries(TenantId tenant) const {
  const auto own = own_.find(tenant);
  return own == own_.end() ? 0 : static_cast<uint32_t>(own->second.size());
}

}  // namespace merritt::engine
