// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/sdk/kv/page_store.hpp"

namespace merritt::kv {
namespace {

struct Fixture {
  explicit Fixture(std::vector<GroupShape> s, uint64_t limit = 0)
      : shapes(std::move(s)), store(shapes), account(std::make_shared<KvAccount>(TenantId{1}, limit)) {
    cache = std::move(Cache::make(shapes, store)).value();
  }
  void append(SequenceId id, uint32_t n) {
    ASSERT_TRUE(cache->prepare_append(id, n).ok());
    ASSERT_TRUE(cache->commit(id, n, TokenClass::kPrompt).ok());
  }
  std::vector<GroupShape> shapes;
  PageStore store;
  std::shared_ptr<KvAccount> account;
  std::unique_ptr<Cache> cache;
};

const GroupShape kGlobal{.window = 0, .page_tokens = 4, .n_pages = 8, .page_bytes = 100};

TEST(Cache, RefusesShapesThatMakeNoPages) {
  PageStore store({});
  const GroupShape shape{.window = 0, .page_tokens = 0, .n_pages = 8, .page_bytes = 1};
  EXPECT_EQ(Cache::make(std::span(&shape, 1), store).status().code(), Code::kInvalidArgument);
  const std::vector<GroupShape> many(5, kGlobal);
  EXPECT_EQ(Cache::make(many, store).status().code(), Code::kInvalidArgument);
}

TEST(Cache, AppendIsAllOrNothing) {
  Fixture f({kGlobal, {.window = 0, .page_tokens = 4, .n_pages = 2, .page_bytes = 1}});
  const SequenceId id = f.cache->create(f.account);
  EXPECT_EQ(f.cache->prepare_append(id, 9).code(), Code::kOverloaded);
  EXPECT_EQ(f.cache->pool(0).free_pages(), 8u);
  EXPECT_EQ(f.cache->prepare_append(id, 0).code(), Code::kInvalidArgument);
  EXPECT_TRUE(f.cache->prepare_append(id, 8).ok());
  EXPECT_EQ(f.cache->prepare_append(id, 1).code(), Code::kFailedPrecondition);
  EXPECT_EQ(f.cache->commit(id, 9, TokenClass::kPrompt).code(), Code::kInvalidArgument);
  EXPECT_TRUE(f.cache->commit(id, 5, TokenClass::kPrompt).ok());
  EXPECT_EQ(f.cache->length(id), 5u);
  EXPECT_EQ(f.cache->pages(id, 0).pages.size(), 2u);
}

// The window w shows the keys j with i - j < w: with w = 5 and pages of 4, the token at index 8 sees 4..8, so page 0
// may go when 8 tokens are in, and not one token earlier.
TEST(Cache, WindowDropsAPageExactlyWhenItIsBehind) {
  Fixture f({{.window = 5, .page_tokens = 4, .n_pages = 8, .page_bytes = 1}});
  const SequenceId id = f.cache->create(f.account);
  f.append(id, 7);
  EXPECT_EQ(f.cache->pages(id, 0).base, 0u);
  f.append(id, 1);
  EXPECT_EQ(f.cache->pages(id, 0).base, 1u);
  EXPECT_EQ(f.cache->pages(id, 0).pages.size(), 1u);
  EXPECT_EQ(f.cache->pool(0).free_pages(), 7u);
}

TEST(Cache, TruncateNamesTheLowestPositionPossible) {
  Fixture f({kGlobal, {.window = 5, .page_tokens = 4, .n_pages = 8, .page_bytes = 1}});
  const SequenceId id = f.cache->create(f.account);
  f.append(id, 14);  // 14 sees 10..; page 2 begins at 8, so position 12 (sees 8..) is the lowest
  EXPECT_EQ(f.cache->lowest_truncation(id), 12u);
  const Status refused = f.cache->truncate(id, 11);
  EXPECT_EQ(refused.code(), Code::kFailedPrecondition);
  EXPECT_NE(refused.message().find("12"), std::string_view::npos);
  EXPECT_EQ(f.cache->length(id), 14u);
  EXPECT_EQ(f.cache->truncate(id, 15).code(), Code::kInvalidArgument);
  EXPECT_TRUE(f.cache->truncate(id, 12).ok());
  EXPECT_TRUE(f.cache->truncate(id, 0).ok());
  EXPECT_EQ(f.cache->pool(0).free_pages(), 8u);
  EXPECT_EQ(f.cache->pool(1).free_pages(), 8u);
  f.append(id, 3);
  EXPECT_EQ(f.cache->pages(id, 1).base, 0u);
}

TEST(Cache, ForkSharesFullPagesAndCopiesTheTail) {
  Fixture f({kGlobal});
  const SequenceId a = f.cache->create(f.account, 7);
  f.append(a, 10);
  auto b = f.cache->fork(a, 8);
  ASSERT_TRUE(b.ok());
  EXPECT_EQ(f.cache->seq_key(a), 7u);
  EXPECT_EQ(f.cache->seq_key(*b), 8u);
  const auto pa = f.cache->pages(a, 0).pages, pb = f.cache->pages(*b, 0).pages;
  EXPECT_EQ(pa[0], pb[0]);
  EXPECT_EQ(pa[1], pb[1]);
  EXPECT_NE(pa[2], pb[2]);
  EXPECT_EQ(f.store.copies, 1u);
  EXPECT_EQ(f.cache->pool(0).free_pages(), 4u);
  EXPECT_EQ(f.account->held_bytes, 400u);
  f.cache->release(a);
  EXPECT_EQ(f.cache->pool(0).free_pages(), 5u);
  EXPECT_EQ(f.cache->length(*b), 10u);
}

// Truncating into a shared full page makes it an open tail: the first write copies it.
TEST(Cache, SharedTailIsCopiedBeforeItIsWritten) {
  Fixture f({kGlobal});
  const SequenceId a = f.cache->create(f.account);
  f.append(a, 8);
  const SequenceId b = *f.cache->fork(a);
  ASSERT_TRUE(f.cache->truncate(b, 6).ok());
  EXPECT_EQ(f.store.copies, 0u);
  f.append(b, 1);
  EXPECT_EQ(f.store.copies, 1u);
  EXPECT_NE(f.cache->pages(a, 0).pages[1], f.cache->pages(b, 0).pages[1]);
  EXPECT_EQ(f.cache->pages(a, 0).pages[0], f.cache->pages(b, 0).pages[0]);
}

TEST(Cache, ReservationsKeepOthersOut) {
  Fixture f({kGlobal});
  const SequenceId a = f.cache->create(f.account), b = f.cache->create(f.account);
  ASSERT_TRUE(f.cache->reserve(a, {.max_length = 24, .chunk = 24}).ok());
  EXPECT_EQ(f.cache->reserve(b, {.max_length = 9, .chunk = 9}).code(), Code::kOverloaded);
  EXPECT_EQ(f.cache->prepare_append(b, 9).code(), Code::kOverloaded);  // nor without a reservation
  EXPECT_TRUE(f.cache->reserve(b, {.max_length = 8, .chunk = 8}).ok());
  f.append(b, 8);
  f.append(a, 24);
  f.cache->release(a);
  EXPECT_TRUE(f.cache->reserve(b, {.max_length = 32, .chunk = 1}).ok());
  EXPECT_EQ(f.cache->reserve(b, {.max_length = 33, .chunk = 1}).code(), Code::kInvalidArgument);  // more than the pool
}

TEST(Cache, WindowedReservationIsTheWindowAndTheChunk) {
  Fixture f({{.window = 8, .page_tokens = 4, .n_pages = 8, .page_bytes = 1}});
  EXPECT_EQ(f.cache->pages_needed(1000, 1)[0], 3u);   // 8 tokens at the worst alignment
  EXPECT_EQ(f.cache->pages_needed(1000, 16)[0], 7u);  // 23 tokens
  EXPECT_EQ(f.cache->pages_needed(6, 16)[0], 2u);
  const SequenceId a = f.cache->create(f.account);
  ASSERT_TRUE(f.cache->reserve(a, {.max_length = 1000, .chunk = 16}).ok());
  for (int i = 0; i < 50; ++i) f.append(a, 16);
  for (int i = 0; i < 50; ++i) f.append(a, 1);
}

TEST(Cache, ForksOfAReservationAreCovered) {
  Fixture f({kGlobal, {.window = 4, .page_tokens = 4, .n_pages = 16, .page_bytes = 1}});
  const SequenceId a = f.cache->create(f.account), other = f.cache->create(f.account);
  // 10 tokens of prompt (2 full pages) and 6 more for each of 3: 4 + 2 * 2 pages.
  ASSERT_TRUE(f.cache->reserve(a, {.max_length = 16, .chunk = 10, .forks = 2, .fork_length = 10}).ok());
  EXPECT_EQ(f.cache->prepare_append(other, 1).code(), Code::kOverloaded);
  f.append(a, 10);
  std::vector<SequenceId> all{a, *f.cache->fork(a), *f.cache->fork(a)};
  for (const SequenceId id : all) f.append(id, 6);
  EXPECT_EQ(f.cache->pool(0).free_pages(), 0u);
}

TEST(Cache, TenantCeilingIsItsOwn) {
  Fixture f({kGlobal}, 300);
  const SequenceId a = f.cache->create(f.account);
  EXPECT_EQ(f.cache->reserve(a, {.max_length = 13, .chunk = 1}).code(), Code::kQuotaExceeded);
  ASSERT_TRUE(f.cache->reserve(a, {.max_length = 12, .chunk = 1}).ok());
  EXPECT_EQ(f.account->claimed_bytes, 300u);
  const SequenceId b = f.cache->create(f.account);
  EXPECT_EQ(f.cache->prepare_append(b, 1).code(), Code::kQuotaExceeded);
  const SequenceId c = f.cache->create(std::make_shared<KvAccount>(TenantId{2}, 0));
  EXPECT_TRUE(f.cache->prepare_append(c, 1).ok());
  f.cache->release(a);
  EXPECT_EQ(f.account->claimed_bytes, 0u);
}

TEST(Cache, ReleaseZeroesAndOthersNeverSeeOldBytes) {
  Fixture f({kGlobal});
  const SequenceId a = f.cache->create(f.account);
  f.append(a, 32);
  for (uint32_t page = 0; page < 8; ++page) f.store.at(0, page, 0) = 99;
  f.cache->release(a);
  for (const uint64_t token : f.store.content[0]) EXPECT_EQ(token, 0u);

  const SequenceId b = f.cache->create(f.account);
  f.append(b, 32);
  for (uint32_t page = 0; page < 8; ++page) f.store.at(0, page, 0) = 99;
  f.store.fail_every = 1;
  f.cache->release(b);  // the zeroing fails, so the pages are zeroed when another tenant gets them
  const SequenceId c = f.cache->create(std::make_shared<KvAccount>(TenantId{2}, 0));
  EXPECT_EQ(f.cache->prepare_append(c, 4).code(), Code::kBackend);
  f.store.fail_every = 0;
  ASSERT_TRUE(f.cache->prepare_append(c, 4).ok());
  EXPECT_EQ(f.store.at(0, f.cache->pages(c, 0).pages[0], 0), 0u);
}

// The pages went back to the pool long before the sequence did.
TEST(Cache, ReleaseZeroesWhatTruncationAndWindowFreedBefore) {
  Fixture f({kGlobal, {.window = 4, .page_tokens = 4, .n_pages = 8, .page_bytes = 1}});
  const SequenceId id = f.cache->create(f.account);
  for (uint32_t token = 0; token < 12; ++token) {
    ASSERT_TRUE(f.cache->prepare_append(id, 1).ok());
    for (uint32_t group = 0; group < 2; ++group) {
      const PageTable table = f.cache->pages(id, group);
      f.store.at(group, table.pages[token / 4 - table.base], token % 4) = 7;
    }
    ASSERT_TRUE(f.cache->commit(id, 1, TokenClass::kPrompt).ok());
  }
  ASSERT_TRUE(f.cache->truncate(id, 0).ok());
  f.cache->release(id);
  for (const auto& group : f.store.content) {
    EXPECT_EQ(std::count(group.begin(), group.end(), 7u), 0) << "a destroyed sequence's bytes are still there";
  }
}

TEST(Cache, ADestroyedCacheLeavesNothingOnTheAccount) {
  auto account = std::make_shared<KvAccount>(TenantId{1}, 0);
  {
    Fixture f({kGlobal, {.window = 4, .page_tokens = 4, .n_pages = 8, .page_bytes = 7}});
    f.account = account;
    const SequenceId a = f.cache->create(account);
    ASSERT_TRUE(f.cache->reserve(a, {.max_length = 20, .chunk = 4}).ok());
    f.append(a, 6);
    (void)f.cache->fork(a);
    EXPECT_NE(account->claimed_bytes, 0u);
  }
  EXPECT_EQ(account->claimed_bytes, 0u);
  EXPECT_EQ(account->held_bytes, 0u);
}

// Another tenant's sequence begins with the pages of the first: nothing is copied, each page stays on the account it is
// on until nobody names it, whoever that is, and is zeroed then.
TEST(Cache, ASharedBeginningStaysOnTheAccountOfWhoMadeIt) {
  Fixture f({kGlobal});
  const auto other = std::make_shared<KvAccount>(TenantId{2}, 0);
  const SequenceId a = f.cache->create(f.account);
  f.append(a, 10);
  EXPECT_EQ(f.cache->share(a, 9, other).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(f.cache->share(a, 12, other).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(f.cache->shareable(a, 100), 8u);
  const SequenceId b = *f.cache->share(a, 8, other);
  EXPECT_EQ(f.store.copies, 0u);
  EXPECT_EQ(f.cache->pool(0).free_pages(), 5u);
  EXPECT_EQ(other->claimed_bytes, 0u);
  f.append(b, 1);
  EXPECT_EQ(other->claimed_bytes, 100u);
  f.store.at(0, f.cache->pages(b, 0).pages[0], 0) = 7;
  f.cache->release(a);
  EXPECT_EQ(f.account->held_bytes, 200u) << "somebody names them still";
  EXPECT_EQ(f.account->claimed_bytes, 200u);
  EXPECT_EQ(f.store.at(0, f.cache->pages(b, 0).pages[0], 0), 7u);
  f.account.reset();
  f.cache->release(b);
  EXPECT_EQ(other->claimed_bytes, 0u);
  EXPECT_EQ(f.cache->pool(0).free_pages(), 8u);
  for (const uint64_t token : f.store.content[0]) EXPECT_EQ(token, 0u);
}

// What a token behind the beginning sees must be there.
TEST(Cache, ABeginningBehindAWindowIsNotShared) {
  Fixture f({kGlobal, {.window = 5, .page_tokens = 4, .n_pages = 8, .page_bytes = 1}});
  const SequenceId a = f.cache->create(f.account);
  f.append(a, 14);  // pages of the second group begin at 8: the token at 12 sees 8.., that at 8 sees 4..
  EXPECT_EQ(f.cache->share(a, 8, f.account).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(f.cache->shareable(a, 11), 0u);
  EXPECT_EQ(f.cache->shareable(a, 14), 12u);
  const SequenceId b = *f.cache->share(a, 12, f.account);
  EXPECT_EQ(f.cache->pages(b, 1).base, 2u);
  EXPECT_EQ(f.cache->pages(b, 1).pages.size(), 1u);
}

TEST(Cache, ATouchedSequenceHasComeToRestLast) {
  Fixture f({kGlobal});
  const SequenceId a = f.cache->create(f.account), b = f.cache->create(f.account);
  f.append(a, 4);
  f.append(b, 4);
  EXPECT_EQ(f.cache->next_at_rest(*f.account, SequenceId::kNone), a);
  f.cache->touch(a);
  EXPECT_EQ(f.cache->next_at_rest(*f.account, SequenceId::kNone), b);
  EXPECT_EQ(f.cache->next_at_rest(*f.account, b), a);
}

TEST(Cache, AModelWithoutGroupsOnlyCounts) {
  Fixture f({});
  const SequenceId a = f.cache->create(f.account);
  f.append(a, 3);
  EXPECT_EQ(f.cache->length(a), 3u);
  EXPECT_TRUE(f.cache->truncate(a, 1).ok());
}

}  // namespace
}  // namespace merritt::kv
