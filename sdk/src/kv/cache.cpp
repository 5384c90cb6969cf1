// SPDX-License-Identifier: Apache-2.0
#include "kv/cache.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "base/checked.hpp"

namespace merritt::kv {
namespace {

// The first index that a token at index `length` or later may see.
uint32_t first_visible(uint32_t window, uint32_t length) {
  return window == 0 || length < window ? 0 : length - window + 1;
}

Status unknown() { return Status(Code::kNotFound, "the sequence is not in the KV cache (any more)"); }

}  // namespace

Result<std::unique_ptr<Cache>> Cache::make(std::span<const GroupShape> shapes, PageVerbs& verbs) {
  if (shapes.size() > kMaxGroups) {
    return Status(Code::kInvalidArgument, "a model has " + std::to_string(shapes.size()) + " KV groups; at most " +
                                              std::to_string(kMaxGroups) + " are supported");
  }
  for (const GroupShape& shape : shapes) {
    if (shape.page_tokens == 0 || shape.n_pages == 0 || shape.n_pages > INT32_MAX) {
      return Status(Code::kInvalidArgument, "a KV group has page_tokens " + std::to_string(shape.page_tokens) +
                                                " and n_pages " + std::to_string(shape.n_pages) +
                                                "; both must be positive");
    }
  }
  return std::unique_ptr<Cache>(new Cache(shapes, verbs));
}

Cache::Cache(std::span<const GroupShape> shapes, PageVerbs& verbs) : claims_(shapes.size()), verbs_(verbs) {
  pools_.reserve(shapes.size());
  for (uint32_t g = 0; g < shapes.size(); ++g) pools_.emplace_back(g, shapes[g], verbs);
}

// Accounts outlive caches: what this cache booked on them must not stay there.
Cache::~Cache() {
  for (const auto& s : slots_) {
    if (!s->live) continue;
    s->reservation = {};
    for (uint32_t g = 0; g < n_groups(); ++g) {
      for (const uint32_t page : s->tables[g].pages) drop(*s, g, page);
      s->tables[g].pages.clear();
      s->tables[g].most = 0;
    }
    book(*s);
  }
}

Cache::Sequence* Cache::find(SequenceId id) const {
  const uint64_t bits = static_cast<uint64_t>(id);
  const uint64_t slot = bits & UINT32_MAX;
  if (slot == 0 || slot > slots_.size()) return nullptr;
  Sequence* s = slots_[slot - 1].get();
  return s->live && s->generation == bits >> 32 ? s : nullptr;
}

SequenceId Cache::take_slot(std::shared_ptr<KvAccount> account, uint64_t seq_key) {
  if (free_slots_.empty()) {
    slots_.push_back(std::make_unique<Sequence>());
    free_slots_.reserve(slots_.size());
    free_slots_.push_back(static_cast<uint32_t>(slots_.size() - 1));
  }
  Owner* const owner = owner_of(account);
  const uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  Sequence& s = *slots_[slot];
  s.live = true;
  ++s.generation;
  s.seq_key = seq_key;
  s.account = std::move(account);
  s.owner = owner;
  ++owner->sequences;
  s.classes.reserve(16);
  ++n_sequences_;
  s.id = static_cast<SequenceId>((uint64_t{s.generation} << 32) | (slot + 1));
  return s.id;
}

Cache::Owner* Cache::owner_with(const KvAccount& account) const {
  const auto found =
      std::find_if(owners_.begin(), owners_.end(), [&](const auto& owner) { return owner->account.get() == &account; });
  return found == owners_.end() ? nullptr : found->get();
}

Cache::Owner* Cache::owner_of(const std::shared_ptr<KvAccount>& account) {
  if (Owner* const known = owner_with(*account); known != nullptr) return known;
  owners_.push_back(std::make_unique<Owner>(Owner{.account = account}));
  return owners_.back().get();
}

void Cache::forget_if_gone(const Owner* owner) {
  if (owner->sequences != 0 || owner->pages != 0) return;
  std::erase_if(owners_, [owner](const auto& other) { return other.get() == owner; });
}

SequenceId Cache::create(std::shared_ptr<KvAccount> account, uint64_t seq_key) {
  return take_slot(std::move(account), seq_key);
}

void Cache::release(SequenceId sequence) {
  Sequence* s = find(sequence);
  if (s == nullptr) return;
  s->reservation = {};
  s->length = s->prepared = 0;
  s->classes.clear();
  for (uint32_t g = 0; g < n_groups(); ++g) {
    Table& table = s->tables[g];
    for (const uint32_t page : table.pages) drop(*s, g, page);
    table.pages.clear();
    table.base = table.most = 0;
    // Always: a truncation or the window may have freed pages before, whose bytes are still there.
    (void)pools_[g].wipe(s->account->tenant);
  }
  book(*s);
  --s->owner->sequences;
  forget_if_gone(std::exchange(s->owner, nullptr));
  s->account.reset();
  s->live = false;
  free_slots_.push_back(static_cast<uint32_t>((static_cast<uint64_t>(sequence) & UINT32_MAX) - 1));
  --n_sequences_;
}

// ---- Appending

bool Cache::tail_is_shared(const Sequence& s, uint32_t group) const {
  const PagePool& pool = pools_[group];
  const Table& table = s.tables[group];
  const uint32_t tail = s.length / pool.shape().page_tokens - table.base;
  if (s.length % pool.shape().page_tokens == 0 || tail >= table.pages.size()) return false;
  return pool.references(table.pages[tail]) > 1;
}

Status Cache::prepare_append(SequenceId sequence, uint32_t n_tokens) {
  Sequence* s = find(sequence);
  if (s == nullptr) return unknown();
  const auto end = checked_add<uint32_t>(s->length, n_tokens);
  if (n_tokens == 0 || !end || *end > INT32_MAX) {
    return Status(Code::kInvalidArgument,
                  "cannot append " + std::to_string(n_tokens) + " tokens to " + std::to_string(s->length));
  }
  if (s->prepared != 0) return Status(Code::kFailedPrecondition, "an append is prepared on this sequence already");
  Change change{};
  GroupPages taken{};
  GroupPages page_end{};
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const Table& table = s->tables[g];
    page_end[g] = divide_up(*end, pools_[g].shape().page_tokens);
    const size_t held = page_end[g] - table.base;
    taken[g] = static_cast<uint32_t>(held - table.pages.size()) + (tail_is_shared(*s, g) ? 1 : 0);
    change[g] = int64_t{claim_of(*s, g, held, false)} - table.claim;
  }
  MERRITT_CHECK(check_room(*s->account, change, taken));
  Status status;
  for (uint32_t g = 0; g < n_groups() && status.ok(); ++g) status = grow(*s, g, page_end[g]);
  if (status.ok()) {
    s->prepared = n_tokens;
  } else {
    for (uint32_t g = 0; g < n_groups(); ++g) drop_tail(*s, g);
  }
  book(*s);
  return status;
}

// Makes the table of a group reach to logical page `end`, with a tail of its own.
Status Cache::grow(Sequence& s, uint32_t group, uint32_t end) {
  Table& table = s.tables[group];
  if (tail_is_shared(s, group)) MERRITT_CHECK(own_tail(s, group));
  const size_t have = table.base + table.pages.size();
  if (end <= have) return {};
  return allocate(s, group, static_cast<uint32_t>(end - have), &table.pages);
}

// Copy on write of the open page.
Status Cache::own_tail(Sequence& s, uint32_t group) {
  Table& table = s.tables[group];
  const uint32_t page_tokens = pools_[group].shape().page_tokens;
  uint32_t& tail = table.pages[s.length / page_tokens - table.base];
  scratch_.clear();
  MERRITT_CHECK(allocate(s, group, 1, &scratch_));
  if (Status status = verbs_.copy(group, tail, scratch_[0], s.length % page_tokens); !status.ok()) {
    drop(s, group, scratch_[0]);
    return status;
  }
  drop(s, group, tail);
  tail = scratch_[0];
  return {};
}

Status Cache::commit(SequenceId sequence, uint32_t accepted, TokenClass token_class) {
  Sequence* s = find(sequence);
  if (s == nullptr) return unknown();
  if (accepted > s->prepared) {
    return Status(Code::kInvalidArgument, "cannot commit " + std::to_string(accepted) +
                                              " tokens: " + std::to_string(s->prepared) + " are prepared");
  }
  s->length += accepted;
  s->prepared = 0;
  if (accepted != 0) {
    if (s->classes.empty() || s->classes.back().token_class != token_class) s->classes.push_back({token_class, 0});
    s->classes.back().n_tokens += accepted;
  }
  for (uint32_t g = 0; g < n_groups(); ++g) drop_tail(*s, g);
  drop_behind_window(*s);
  book(*s);
  return {};
}

void Cache::abort_append(SequenceId sequence) {
  Sequence* s = find(sequence);
  if (s == nullptr || s->prepared == 0) return;
  s->prepared = 0;
  for (uint32_t g = 0; g < n_groups(); ++g) drop_tail(*s, g);
  book(*s);
}

void Cache::drop_tail(Sequence& s, uint32_t group) {
  Table& table = s.tables[group];
  const uint32_t keep = divide_up(s.length, pools_[group].shape().page_tokens) - table.base;
  while (table.pages.size() > keep) {
    drop(s, group, table.pages.back());
    table.pages.pop_back();
  }
}

void Cache::drop_behind_window(Sequence& s) {
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    Table& table = s.tables[g];
    const uint32_t base = first_visible(shape.window, s.length) / shape.page_tokens;
    if (base <= table.base) continue;
    const auto kept = table.pages.begin() + (base - table.base);
    for (auto page = table.pages.begin(); page != kept; ++page) drop(s, g, *page);
    table.pages.erase(table.pages.begin(), kept);
    table.base = base;
  }
}

// ---- Going back

uint32_t Cache::lowest_truncation(SequenceId sequence) const {
  const Sequence* s = find(sequence);
  if (s == nullptr) return 0;
  uint32_t lowest = 1;
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    const uint32_t base = s->tables[g].base;
    if (base != 0 && shape.window > 1) lowest = std::max(lowest, base * shape.page_tokens + shape.window - 1);
  }
  return std::min(lowest, s->length);
}

void Cache::cut_classes(Sequence& s, uint32_t position) {
  uint32_t kept = 0;
  for (ClassRun& run : s.classes) {
    run.n_tokens = std::min(run.n_tokens, position - kept);
    kept += run.n_tokens;
  }
  while (!s.classes.empty() && s.classes.back().n_tokens == 0) s.classes.pop_back();
}

Status Cache::truncate(SequenceId sequence, uint32_t position) {
  Sequence* s = find(sequence);
  if (s == nullptr) return unknown();
  if (position > s->length) {
    return Status(Code::kInvalidArgument, "position is " + std::to_string(position) + "; the sequence has " +
                                              std::to_string(s->length) + " tokens");
  }
  if (s->prepared != 0) return Status(Code::kFailedPrecondition, "an append is prepared on this sequence");
  if (const uint32_t lowest = lowest_truncation(sequence); position != 0 && position < lowest) {
    return Status(Code::kFailedPrecondition, "position is " + std::to_string(position) +
                                                 ", but the layers with a window have dropped what it would see; the "
                                                 "lowest position is " +
                                                 std::to_string(lowest) + ", or 0 to begin anew");
  }
  s->length = position;
  s->reservation = {};
  cut_classes(*s, position);
  for (uint32_t g = 0; g < n_groups(); ++g) {
    Table& table = s->tables[g];
    table.most = 0;
    // Nothing below the base is seen from here (position 0, or a window of 1): the table begins anew.
    const uint32_t base = std::min(table.base, position / pools_[g].shape().page_tokens);
    if (base < table.base) {
      for (const uint32_t page : table.pages) drop(*s, g, page);
      table.pages.clear();
      table.base = base;
    } else {
      drop_tail(*s, g);
    }
  }
  book(*s);
  return {};
}

// ---- Forking

Result<SequenceId> Cache::fork(SequenceId sequence, uint64_t seq_key) {
  Sequence* from = find(sequence);
  if (from == nullptr) return unknown();
  if (from->prepared != 0) return Status(Code::kFailedPrecondition, "an append is prepared on this sequence");
  const bool reserved = from->reservation.forks != 0;
  const SequenceId id = take_slot(from->account, seq_key);
  Sequence& to = *find(id);
  if (reserved) {
    to.reservation = {.max_length = from->reservation.max_length, .chunk = from->reservation.chunk};
    for (uint32_t g = 0; g < n_groups(); ++g) to.tables[g].most = from->tables[g].most;
    --from->reservation.forks;
  }
  Status status = copy_tables(*from, to);
  if (!status.ok()) {
    if (reserved) ++from->reservation.forks;
    release(id);
    return status;
  }
  to.length = from->length;
  to.classes = from->classes;
  to.classes.reserve(from->classes.size() + 4);
  book(*from);
  book(to);
  return id;
}

Status Cache::copy_tables(Sequence& from, Sequence& to) {
  Change change{};
  GroupPages taken{};
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const size_t held = from.tables[g].pages.size();
    taken[g] = held != 0 && from.length % pools_[g].shape().page_tokens != 0 ? 1 : 0;
    change[g] = int64_t{claim_of(to, g, held, false)} + int64_t{claim_of(from, g, held, tail_is_shared(from, g))} -
                from.tables[g].claim;
  }
  MERRITT_CHECK(check_room(*from.account, change, taken));
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const Table& source = from.tables[g];
    Table& table = to.tables[g];
    table.base = source.base;
    table.pages.reserve(std::max(source.pages.capacity(), size_t{table.most}));
    for (size_t i = 0; i + taken[g] < source.pages.size(); ++i) {
      pools_[g].share(source.pages[i]);
      table.pages.push_back(source.pages[i]);
    }
    if (taken[g] == 0) continue;
    MERRITT_CHECK(allocate(to, g, 1, &table.pages));
    MERRITT_CHECK(verbs_.copy(g, source.pages.back(), table.pages.back(), from.length % pools_[g].shape().page_tokens));
  }
  return {};
}

// ---- Sharing a beginning

uint32_t Cache::alignment() const {
  uint64_t tokens = 1;
  for (const PagePool& pool : pools_) tokens = std::lcm(tokens, uint64_t{pool.shape().page_tokens});
  return static_cast<uint32_t>(std::min<uint64_t>(tokens, UINT32_MAX));
}

uint32_t Cache::shareable(SequenceId sequence, uint32_t most) const {
  const Sequence* s = find(sequence);
  if (s == nullptr || s->prepared != 0) return 0;
  const uint32_t end = std::min(most, s->length) / alignment() * alignment();
  // A window asks for the tokens before the end: what holds for one position holds for all behind it.
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    const uint32_t first = first_visible(shape.window, end);
    if (first < end && first / shape.page_tokens < s->tables[g].base) return 0;
  }
  return end;
}

Result<SequenceId> Cache::share(SequenceId from_id, uint32_t n_tokens, std::shared_ptr<KvAccount> account,
                                uint64_t seq_key) {
  const Sequence* from = find(from_id);
  if (from == nullptr) return unknown();
  if (n_tokens == 0 || n_tokens > from->length || n_tokens % alignment() != 0) {
    return Status(Code::kInvalidArgument, "cannot share " + std::to_string(n_tokens) + " tokens of " +
                                              std::to_string(from->length) + "; pages end at multiples of " +
                                              std::to_string(alignment()));
  }
  if (shareable(from_id, n_tokens) != n_tokens) {
    return Status(Code::kFailedPrecondition,
                  "layers with a window have dropped what a token at " + std::to_string(n_tokens) + " would see");
  }
  Change change{};
  GroupPages base{}, end{};
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const GroupShape& shape = pools_[g].shape();
    base[g] = first_visible(shape.window, n_tokens) / shape.page_tokens;
    end[g] = n_tokens / shape.page_tokens;
    if (shape.window != 0) change[g] = end[g] - base[g];
  }
  MERRITT_CHECK(check_room(*account, change, {}));
  const SequenceId id = take_slot(std::move(account), seq_key);
  Sequence& to = *find(id);
  try {
    to.classes.assign(from->classes.begin(), from->classes.end());
    for (uint32_t g = 0; g < n_groups(); ++g) to.tables[g].pages.reserve(end[g] - base[g]);
  } catch (...) {
    release(id);
    throw;
  }
  for (uint32_t g = 0; g < n_groups(); ++g) {
    const Table& source = from->tables[g];
    to.tables[g].base = base[g];
    for (uint32_t page = base[g]; page < end[g]; ++page) {
      to.tables[g].pages.push_back(source.pages[page - source.base]);
      pools_[g].share(to.tables[g].pages.back());
    }
  }
  to.length = n_tokens;
  cut_classes(to, n_tokens);
  book(to);
  return id;
}

// ---- Queries

uint32_t Cache::length(SequenceId sequence) const {
  const Sequence* s = find(sequence);
  return s == nullptr ? 0 : s->length;
}

uint64_t Cache::seq_key(SequenceId sequence) const {
  const Sequence* s = find(sequence);
  return s == nullptr ? 0 : s->seq_key;
}

PageTable Cache::pages(SequenceId sequence, uint32_t group) const {
  const Sequence* s = find(sequence);
  if (s == nullptr || group >= n_groups()) return {};
  return {.base = s->tables[group].base, .pages = s->tables[group].pages};
}

std::span<const ClassRun> Cache::classes(SequenceId sequence) const {
  const Sequence* s = find(sequence);
  if (s == nullptr) return {};
  return s->classes;
}

uint64_t Cache::bytes_held() const {
  uint64_t bytes = 0;
  for (const PagePool& pool : pools_) bytes += (pool.shape().n_pages - pool.free_pages()) * pool.shape().page_bytes;
  return bytes;
}

}  // namespace merritt::kv
