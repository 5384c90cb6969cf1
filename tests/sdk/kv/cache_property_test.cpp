// SPDX-License-Identifier: Apache-2.0
// Random operations on a Cache against a naive model: each sequence is a vector of content numbers. Whatever a token at
// the end of a sequence may see must be found through the page tables, byte for byte, and nothing else may be held.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <unordered_set>

#include "tests/sdk/kv/page_store.hpp"

namespace merritt::kv {
namespace {

struct Naive {
  SequenceId id{};
  uint32_t tenant = 0;
  std::vector<uint64_t> tokens;
  std::vector<TokenClass> classes;
  Reservation reservation;
};

std::vector<GroupShape> windows() {
  return {{.window = 0, .page_tokens = 4, .n_pages = 160, .page_bytes = 10},
          {.window = 7, .page_tokens = 4, .n_pages = 90, .page_bytes = 3},
          {.window = 1, .page_tokens = 8, .n_pages = 40, .page_bytes = 2},
          {.window = 16, .page_tokens = 8, .n_pages = 100, .page_bytes = 5}};
}
std::vector<GroupShape> no_windows() {
  return {{.window = 0, .page_tokens = 8, .n_pages = 90, .page_bytes = 10},
          {.window = 0, .page_tokens = 4, .n_pages = 170, .page_bytes = 3}};
}

class World {
 public:
  World(uint64_t seed, uint32_t fail_every, const std::vector<GroupShape>& shapes)
      : shapes_(shapes), store_(shapes_), faulty_(fail_every != 0), random_(seed) {
    cache_ = std::move(Cache::make(shapes_, store_)).value();
    store_.fail_every = fail_every;
    for (uint32_t t = 1; t <= 3; ++t) {
      accounts_.push_back(std::make_shared<KvAccount>(TenantId{t}, t == 3 ? 700 : 0));
    }
  }

  void step() {
    const uint32_t what = pick(100);
    if (sequences_.empty() || (what < 4 && sequences_.size() < 24)) return create();
    Naive& s = sequences_[pick(static_cast<uint32_t>(sequences_.size()))];
    if (what < 60) {
      for (uint32_t n = 1 + pick(6); n != 0 && !testing::Test::HasFatalFailure(); --n) append(s), note_owners();
      return;
    }
    if (what < 72) return truncate(s);
    if (what < 77 && sequences_.size() < 24) return fork(s);
    if (what < 82 && sequences_.size() < 24) return share(s);
    if (what < 90) return reserve(s);
    if (what < 91) return unreserve(s);
    if (what < 98) return release(s);
    cache_->end_growth(s.id);
    s.reservation = {.max_length = static_cast<uint32_t>(s.tokens.size())};
  }

  void check_all() {
    std::array<std::map<uint32_t, uint32_t>, kMaxGroups> references;
    std::array<std::set<uint32_t>, kMaxGroups> named_by_owner;
    const auto& owner = owner_;
    for (const Naive& s : sequences_) {
      check(s);
      for (uint32_t g = 0; g < shapes_.size(); ++g) {
        for (const uint32_t page : cache_->pages(s.id, g).pages) {
          ++references[g][page];
          if (owner[g].at(page) == s.tenant) named_by_owner[g].insert(page);
        }
      }
    }
    check_rest();
    std::map<uint32_t, uint64_t> held, claimed;
    for (uint32_t g = 0; g < shapes_.size(); ++g) {
      const PagePool& pool = cache_->pool(g);
      ASSERT_EQ(pool.free_pages() + references[g].size(), shapes_[g].n_pages) << "a page leaked";
      for (uint32_t page = 0; page < shapes_[g].n_pages; ++page) {
        const auto named = references[g].find(page);
        ASSERT_EQ(pool.references(page), named == references[g].end() ? 0 : named->second);
        ASSERT_EQ(static_cast<uint32_t>(pool.owner(page)), owner[g].at(page));
        if (named == references[g].end()) continue;
        const uint32_t tenant = owner[g].at(page);
        held[tenant] += shapes_[g].page_bytes;
        // Whoever holds a page of a windowed group claims it: others may be the last ones to.
        if (shapes_[g].window == 0 || named_by_owner[g].contains(page)) claimed[tenant] += shapes_[g].page_bytes;
      }
    }
    for (uint32_t t = 1; t <= 3; ++t) {
      const KvAccount& account = *accounts_[t - 1];
      ASSERT_EQ(account.held_bytes, held[t]);
      ASSERT_GE(account.claimed_bytes, claimed[t]);
      if (account.limit_bytes != 0) {
        ASSERT_LE(account.claimed_bytes, account.limit_bytes);
      }
    }
  }

  // Those with tokens and without a reservation, each in its owner's list.
  void check_rest() {
    std::map<SequenceId, uint64_t> expected;
    for (const Naive& s : sequences_) {
      if (s.reservation.max_length == 0 && !s.tokens.empty()) expected[s.id] = bytes_behind(s, 0);
    }
    std::vector<Cache::Rest> owners;
    cache_->owners_at_rest(&owners);
    size_t found = 0;
    for (const Cache::Rest& owner : owners) {
      uint64_t own = 0;
      for (SequenceId id = cache_->next_at_rest(*owner.account, SequenceId::kNone); id != SequenceId::kNone;
           id = cache_->next_at_rest(*owner.account, id), ++found) {
        ASSERT_TRUE(expected.contains(id)) << "not at rest, or of another owner";
        own += expected.at(id);
      }
      ASSERT_EQ(owner.rest_bytes, own);
    }
    ASSERT_EQ(found, expected.size());
    check_given(expected);
    if (sequences_.empty()) return;
    const Naive& s = sequences_[pick(static_cast<uint32_t>(sequences_.size()))];
    const uint64_t most = pick(200);
    const uint32_t position = cache_->position_within(s.id, most);
    uint64_t best = 0;
    for (uint32_t p = 0; p < s.tokens.size(); ++p) {
      if (p != 0 && p < cache_->lowest_truncation(s.id)) continue;
      if (bytes_behind(s, p) <= most) best = std::max(best, bytes_behind(s, p));
    }
    ASSERT_TRUE(position == 0 || position >= cache_->lowest_truncation(s.id));
    ASSERT_EQ(bytes_behind(s, position), best);
  }

  // What those at rest would free, all together and each with those that share its pages, by counting them.
  void check_given(const std::map<SequenceId, uint64_t>& at_rest) {
    struct Holders {
      uint32_t all = 0, resting = 0;
    };
    std::array<std::map<uint32_t, Holders>, kMaxGroups> named;
    for (const Naive& s : sequences_) {
      for (uint32_t g = 0; g < shapes_.size(); ++g) {
        for (const uint32_t page : cache_->pages(s.id, g).pages) {
          ++named[g][page].all;
          named[g][page].resting += at_rest.contains(s.id) ? 1 : 0;
        }
      }
    }
    uint64_t bytes = 0;
    for (uint32_t g = 0; g < shapes_.size(); ++g) {
      for (const auto& [page, holders] : named[g]) {
        const bool given = holders.all == holders.resting;
        bytes += shapes_[g].page_bytes * (shapes_[g].window != 0 ? holders.resting : (given ? 1u : 0u));
      }
    }
    ASSERT_EQ(cache_->rest_bytes(), bytes);
    for (const Naive& s : sequences_) {
      if (!at_rest.contains(s.id)) continue;
      const uint32_t position = pick(static_cast<uint32_t>(s.tokens.size()) + 1);
      uint32_t fewest = 0;
      for (uint32_t g = 0; g < shapes_.size(); ++g) {
        const PageTable table = cache_->pages(s.id, g);
        for (uint32_t i = 0; i < table.pages.size(); ++i) {
          if ((table.base + i) * shapes_[g].page_tokens < position) continue;
          const Holders& holders = named[g].at(table.pages[i]);
          const uint32_t cuts = shapes_[g].window != 0 ? 1 : holders.all == holders.resting ? holders.all : 0;
          if (cuts != 0 && (fewest == 0 || cuts < fewest)) fewest = cuts;
        }
      }
      ASSERT_EQ(cache_->cuts_to_free(s.id, position), fewest);
      most_cuts_ = std::max(most_cuts_, fewest);
    }
  }

  void release_all() {
    store_.fail_every = 0;
    while (!sequences_.empty()) release(sequences_.back());
    note_owners();
    check_all();
    for (const auto& account : accounts_) EXPECT_EQ(account->claimed_bytes, 0u);
    create();  // one more append and release of every tenant wipes what failed to be zeroed
    for (uint32_t t = 1; t <= 3; ++t) {
      const SequenceId id = cache_->create(accounts_[t - 1]);
      ASSERT_TRUE(cache_->prepare_append(id, 1).ok());
      cache_->release(id);
    }
    for (const auto& group : store_.content) {
      for (const uint64_t token : group) ASSERT_EQ(token, 0u) << "bytes left after every release";
    }
  }

  // Whose a page is, is settled when it is taken, and stays so for as long as anybody names it.
  void note_owners() {
    for (uint32_t g = 0; g < shapes_.size(); ++g) {
      owner_[g].resize(shapes_[g].n_pages);
      for (uint32_t page = 0; page < owner_[g].size(); ++page) {
        if (cache_->pool(g).references(page) == 0) owner_[g][page] = 0;
      }
      for (const Naive& s : sequences_) {
        for (const uint32_t page : cache_->pages(s.id, g).pages) {
          if (owner_[g][page] == 0) owner_[g][page] = s.tenant;
        }
      }
    }
  }

  uint64_t copies() const { return store_.copies; }
  uint64_t shared_by_two() const { return shared_by_two_; }
  uint32_t most_cuts() const { return most_cuts_; }
  uint64_t refusals() const { return refusals_; }
  uint64_t reserved_appends() const { return reserved_appends_; }

 private:
  uint32_t pick(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
  bool failed_verb(const Status& status) const { return faulty_ && status.code() == Code::kBackend; }
  bool refused(const Status& status) {
    ++refusals_;
    return status.code() == Code::kOverloaded || status.code() == Code::kQuotaExceeded || failed_verb(status);
  }

  void create() {
    const uint32_t tenant = 1 + pick(3);
    sequences_.push_back({.id = cache_->create(accounts_[tenant - 1]),
                          .tenant = tenant,
                          .tokens = {},
                          .classes = {},
                          .reservation = {}});
  }

  void append(Naive& s) {
    const uint32_t length = static_cast<uint32_t>(s.tokens.size());
    const Reservation& r = s.reservation;
    uint32_t n = 1 + pick(12);
    bool promised = r.max_length > length && r.forks == 0 && pick(10) != 0;
    if (promised) n = 1 + pick(std::min(r.chunk, r.max_length - length));
    const Status status = cache_->prepare_append(s.id, n);
    if (!status.ok()) {
      ASSERT_TRUE(failed_verb(status) || (!promised && refused(status))) << status.message();
      return check(s);
    }
    reserved_appends_ += promised;
    std::vector<uint64_t> fresh;
    for (uint32_t i = 0; i < n; ++i) fresh.push_back((uint64_t{s.tenant} << 48) | ++content_);
    for (uint32_t g = 0; g < shapes_.size(); ++g) write(s, g, fresh);
    if (pick(8) == 0) return cache_->abort_append(s.id), check(s);
    const uint32_t accepted = pick(4) == 0 ? pick(n + 1) : n;
    const TokenClass token_class = pick(2) == 0 ? TokenClass::kPrompt : TokenClass::kGenerated;
    ASSERT_TRUE(cache_->commit(s.id, accepted, token_class).ok());
    s.tokens.insert(s.tokens.end(), fresh.begin(), fresh.begin() + accepted);
    s.classes.insert(s.classes.end(), accepted, token_class);
    check(s);
  }

  // The step's writes: only pages with a position in [length, length + n), each named by this table alone.
  void write(const Naive& s, uint32_t g, const std::vector<uint64_t>& fresh) {
    const PageTable table = cache_->pages(s.id, g);
    const uint32_t page_tokens = shapes_[g].page_tokens;
    for (size_t i = 0; i < fresh.size(); ++i) {
      const size_t position = s.tokens.size() + i;
      const uint32_t page = table.pages[position / page_tokens - table.base];
      ASSERT_EQ(cache_->pool(g).references(page), 1u) << "a shared page is written";
      for (uint32_t t = 0; t < page_tokens; ++t) {
        const uint64_t before = store_.at(g, page, t);
        ASSERT_TRUE(before == 0 || before >> 48 == s.tenant || given_[s.tenant].contains(before))
            << "another tenant's bytes in a fresh page";
      }
      store_.at(g, page, static_cast<uint32_t>(position % page_tokens)) = fresh[i];
    }
  }

  void truncate(Naive& s) {
    const uint32_t length = static_cast<uint32_t>(s.tokens.size());
    const uint32_t position = pick(3) == 0 ? length - std::min(length, pick(6)) : pick(length + 2);
    bool possible = position <= length;
    for (const GroupShape& shape : shapes_) {
      // By definition: the keys in (position - window, position) must lie in pages not wholly behind the window of a
      // token at length.
      if (shape.window == 0 || position == 0) continue;
      const uint32_t base = first_visible(shape, length) / shape.page_tokens;
      const uint32_t first = first_visible(shape, position);
      if (first < position && first / shape.page_tokens < base) possible = false;
    }
    const uint32_t lowest = cache_->lowest_truncation(s.id);
    if (position <= length && position != 0) {
      ASSERT_EQ(possible, position >= lowest);
    }
    const Status status = cache_->truncate(s.id, position);
    ASSERT_EQ(status.ok(), possible) << status.message();
    if (!status.ok()) {
      ASSERT_EQ(status.code(), position > length ? Code::kInvalidArgument : Code::kFailedPrecondition);
    } else {
      s.tokens.resize(position);
      s.classes.resize(position);
      s.reservation = {};
    }
    check(s);
  }

  void fork(Naive& s) {
    const Reservation& r = s.reservation;
    const bool promised = r.forks != 0 && s.tokens.size() >= r.fork_length && s.tokens.size() <= r.max_length;
    auto forked = cache_->fork(s.id);
    if (!forked.ok()) {
      ASSERT_TRUE(failed_verb(forked.status()) || (!promised && refused(forked.status()))) << forked.status().message();
      return check(s);
    }
    Naive copy = s;
    copy.id = *forked;
    copy.reservation = {};
    if (s.reservation.forks != 0) {
      copy.reservation = {.max_length = s.reservation.max_length, .chunk = s.reservation.chunk};
      --s.reservation.forks;
    }
    check(s);
    sequences_.push_back(copy);
    check(sequences_.back());
  }

  // Perhaps with another tenant, which may see these tokens from then on.
  void share(Naive& s) {
    const uint32_t length = static_cast<uint32_t>(s.tokens.size()), tenant = 1 + pick(3);
    const uint32_t n = pick(3) == 0 ? pick(length + 3) : cache_->shareable(s.id, length - std::min(length, pick(6)));
    bool possible = n != 0 && n <= length && n % cache_->alignment() == 0;
    ASSERT_EQ(cache_->alignment(), 8u);
    for (uint32_t g = 0; possible && g < shapes_.size(); ++g) {
      // By definition: what a token at n sees before it must lie in pages that the table still has.
      const uint32_t first = first_visible(shapes_[g], n);
      if (first < n && first / shapes_[g].page_tokens < cache_->pages(s.id, g).base) possible = false;
    }
    auto shared = cache_->share(s.id, n, accounts_[tenant - 1]);
    if (!shared.ok()) {
      const Code code = shared.status().code();
      if (!possible) {
        ASSERT_TRUE(code == Code::kInvalidArgument || code == Code::kFailedPrecondition) << shared.status().message();
      } else {
        ASSERT_TRUE(refused(shared.status())) << shared.status().message();
      }
      return check(s);
    }
    ASSERT_TRUE(possible);
    Naive copy = s;
    copy.id = *shared;
    copy.tenant = tenant;
    copy.tokens.resize(n);
    copy.classes.resize(n);
    copy.reservation = {};
    if (tenant != s.tenant) {
      given_[tenant].insert(copy.tokens.begin(), copy.tokens.end());
      ++shared_by_two_;
    }
    check(s);
    sequences_.push_back(copy);
    check(sequences_.back());
  }

  void reserve(Naive& s) {
    const uint32_t length = static_cast<uint32_t>(s.tokens.size());
    Reservation r{.max_length = length + pick(40), .chunk = 1 + pick(12)};
    if (pick(3) == 0) {
      r.forks = 1 + pick(3);
      r.fork_length = std::min(length, r.max_length);
    }
    const Status status = cache_->reserve(s.id, r);
    if (status.ok()) s.reservation = r;
    ASSERT_TRUE(status.ok() || refused(status) || status.code() == Code::kInvalidArgument) << status.message();
  }
  void unreserve(Naive& s) {
    cache_->unreserve(s.id);
    s.reservation = {};
  }
  void release(Naive& s) {
    const SequenceId id = s.id;
    cache_->release(id);
    EXPECT_FALSE(cache_->contains(id));
    EXPECT_EQ(cache_->prepare_append(id, 1).code(), Code::kNotFound);
    std::swap(s, sequences_.back());
    sequences_.pop_back();
  }

  // Of the pages that a truncation takes from the sequence's tables.
  uint64_t bytes_behind(const Naive& s, uint32_t position) const {
    uint64_t bytes = 0;
    for (uint32_t g = 0; g < shapes_.size(); ++g) {
      const PageTable table = cache_->pages(s.id, g);
      for (uint32_t i = 0; i < table.pages.size(); ++i) {
        if ((table.base + i) * shapes_[g].page_tokens >= position) bytes += shapes_[g].page_bytes;
      }
    }
    return bytes;
  }

  static uint32_t first_visible(const GroupShape& shape, size_t length) {
    if (shape.window == 0) return 0;
    uint32_t j = static_cast<uint32_t>(length);  // a token sees itself; go back while i - j < window
    while (j > 0 && length - (j - 1) < shape.window) --j;
    return j;
  }

  void check(const Naive& s) {
    ASSERT_EQ(cache_->length(s.id), s.tokens.size());
    for (uint32_t g = 0; g < shapes_.size(); ++g) {
      const uint32_t page_tokens = shapes_[g].page_tokens;
      const PageTable table = cache_->pages(s.id, g);
      const uint32_t first = first_visible(shapes_[g], s.tokens.size());
      ASSERT_EQ(table.base, first / page_tokens) << "window " << shapes_[g].window << " length " << s.tokens.size();
      ASSERT_LE(table.base + table.pages.size(), (s.tokens.size() + page_tokens - 1) / page_tokens);
      for (size_t j = first; j < s.tokens.size(); ++j) {
        const size_t index = j / page_tokens - table.base;
        ASSERT_LT(index, table.pages.size());
        ASSERT_EQ(store_.at(g, table.pages[index], static_cast<uint32_t>(j % page_tokens)), s.tokens[j]);
      }
    }
    size_t at = 0;
    for (const ClassRun& run : cache_->classes(s.id)) {
      for (uint32_t i = 0; i < run.n_tokens; ++i, ++at) ASSERT_EQ(run.token_class, s.classes.at(at));
    }
    ASSERT_EQ(at, s.classes.size());
  }

  std::vector<GroupShape> shapes_;
  PageStore store_;
  bool faulty_;
  std::mt19937_64 random_;
  std::unique_ptr<Cache> cache_;
  std::vector<std::shared_ptr<KvAccount>> accounts_;
  std::vector<Naive> sequences_;
  std::array<std::vector<uint32_t>, kMaxGroups> owner_;  // of each page; 0 = nobody names it
  std::array<std::unordered_set<uint64_t>, 4> given_;    // to each tenant by others
  uint64_t shared_by_two_ = 0;
  uint32_t most_cuts_ = 0;  // that a page at rest has needed to become free
  uint64_t content_ = 0, refusals_ = 0, reserved_appends_ = 0;
};

void run_world(uint64_t seed, uint32_t fail_every, uint32_t n_operations,
               const std::vector<GroupShape>& shapes = windows()) {
  World world(seed, fail_every, shapes);
  for (uint32_t i = 0; i < n_operations && !testing::Test::HasFatalFailure(); ++i) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " operation " + std::to_string(i));
    world.step();
    world.note_owners();
    if (i % 8 == 0) world.check_all();
  }
  if (testing::Test::HasFatalFailure()) return;
  world.release_all();
  EXPECT_GT(world.shared_by_two(), 5u);
  EXPECT_GT(world.copies(), 100u);  // the trace went where it hurts
  EXPECT_GT(world.refusals(), 100u);
  EXPECT_GT(world.reserved_appends(), 1000u);
  if (shapes[1].window == 0) {
    EXPECT_GT(world.most_cuts(), 2u);
  }
}

TEST(CacheProperty, AgreesWithANaiveModel) {
  for (uint64_t seed = 1; seed <= 4; ++seed) run_world(seed, 0, 25'000);
}

// A windowed group always gives something: here what is shared gives nothing by itself.
TEST(CacheProperty, AgreesWithANaiveModelWithoutWindows) {
  for (uint64_t seed = 6; seed <= 8; ++seed) run_world(seed, 0, 25'000, no_windows());
}

TEST(CacheProperty, AgreesWithANaiveModelWhenVerbsFail) { run_world(5, 17, 25'000); }

}  // namespace
}  // namespace merritt::kv
