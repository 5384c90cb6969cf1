// SPDX-License-Identifier: Apache-2.0
#include "tenant/bucket.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/sdk/tenant/fake_clock.hpp"
#include "tests/sdk/tenant/ideal_bucket.hpp"

namespace merritt::tenant {
namespace {

TEST(Bucket, WithoutALimitEverythingIsThere) {
  Bucket bucket(kSecond);
  EXPECT_FALSE(bucket.limited());
  EXPECT_EQ(bucket.wait_ns(UINT64_MAX, 5), 0u);
  EXPECT_EQ(bucket.hold(7, 5), 0u);
  bucket.settle(0, 0, 5);
}

TEST(Bucket, WaitIsExactToTheNanosecond) {
  Bucket bucket(kMinute);
  bucket.set(7, 20, 1000);
  bucket.take(20, 1000);
  const uint64_t wait = bucket.wait_ns(3, 1000);
  EXPECT_EQ(wait, (3 * kMinute + 6) / 7);
  EXPECT_NE(bucket.wait_ns(3, 1000 + wait - 1), 0u);
  EXPECT_EQ(bucket.wait_ns(3, 1000 + wait), 0u);
  EXPECT_EQ(bucket.wait_ns(20, 1000 + 1'000 * kMinute), 0u);
  EXPECT_EQ(bucket.wait_ns(21, 1000), Bucket::kNever);
}

TEST(Bucket, PartsOfATokenAreNotLost) {
  Bucket bucket(kMinute);
  bucket.set(1, 10, 0);
  bucket.take(10, 0);
  for (uint64_t t = 1; t <= 1000; ++t) EXPECT_EQ(bucket.level(t * kMinute / 100), t / 100);
}

TEST(Bucket, AClockThatGoesBackGivesNothing) {
  Bucket bucket(kSecond);
  bucket.set(1, 1, 10 * kSecond);
  bucket.take(1, 10 * kSecond);
  EXPECT_EQ(bucket.level(kSecond), 0u);
  EXPECT_EQ(bucket.wait_ns(1, 9 * kSecond), 2 * kSecond);
  EXPECT_EQ(bucket.level(11 * kSecond), 1u);
}

TEST(Bucket, WhatWasNotUsedComesBack) {
  Bucket bucket(kMinute);
  bucket.set(60, 100, 0);
  const uint64_t hold = bucket.hold(90, 0);
  EXPECT_EQ(bucket.level(0), 10u);
  bucket.settle(hold, 30, 2 * kSecond);
  EXPECT_EQ(bucket.level(2 * kSecond), 72u);
  bucket.settle(hold, 0, 2 * kSecond);
  EXPECT_EQ(bucket.level(2 * kSecond), 72u) << "a hold is settled once";
  bucket.settle(bucket.hold(10, 2 * kSecond), 999, 2 * kSecond);
  EXPECT_EQ(bucket.level(2 * kSecond), 62u) << "more than was held is all of it";
}

// Held at 0 and not used; the bucket was full again in the meantime. Giving it back would let three buckets out at
// once.
TEST(Bucket, WhatAFullBucketWouldHaveLostDoesNotComeBack) {
  Bucket bucket(kMinute);
  bucket.set(6000, 6000, 0);
  const uint64_t unused = bucket.hold(6000, 0);
  const uint64_t used = bucket.hold(6000, kMinute);
  bucket.settle(unused, 0, kMinute);
  EXPECT_EQ(bucket.level(kMinute), 0u);
  bucket.settle(used, 6000, kMinute);
  EXPECT_EQ(bucket.level(kMinute), 0u);
}

TEST(Bucket, TwoHoldsDoNotComeBackToTheSameRoom) {
  Bucket bucket(kMinute);
  bucket.set(60, 100, 0);
  const uint64_t a = bucket.hold(50, 0), b = bucket.hold(50, 0);
  // 60 have come back by themselves: room for 40 of the hundred that were held.
  bucket.settle(b, 0, kMinute);
  EXPECT_EQ(bucket.level(kMinute), 100u);
  bucket.settle(a, 0, kMinute);
  EXPECT_EQ(bucket.level(kMinute), 100u);
}

TEST(Bucket, LimitsChangeWhileHoldsAreOpen) {
  Bucket bucket(kMinute);
  bucket.set(60, 100, 0);
  const uint64_t hold = bucket.hold(80, 0);
  bucket.set(60, 30, 0);
  EXPECT_EQ(bucket.level(0), 20u);
  bucket.settle(hold, 0, 0);
  EXPECT_EQ(bucket.level(0), 30u);
  bucket.set(0, 0, 0);
  EXPECT_EQ(bucket.wait_ns(1'000'000, 0), 0u);
  bucket.set(5, 5, kMinute);
  EXPECT_EQ(bucket.level(kMinute), 5u) << "a new limit begins full";
}

TEST(Bucket, HintsInMillisecondsAreRoundedUp) {
  EXPECT_EQ(ms_of_ns(1), 1u);
  EXPECT_EQ(ms_of_ns(1'000'000), 1u);
  EXPECT_EQ(ms_of_ns(1'000'001), 2u);
  EXPECT_EQ(ms_of_ns(UINT64_MAX), UINT32_MAX);
}

// Random holds, settlements in any order, and changes of the limit, against the bucket that the limit promises: ours is
// never above it, so nothing is ever let through that it would not have.
TEST(Bucket, NeverHoldsMoreThanTheLimitPromises) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto pick = [&](uint64_t n) { return random() % n; };
    Bucket bucket(kMinute);
    test::IdealBucket ideal(kMinute);
    struct Open {
      uint64_t hold, amount;
      size_t take;
    };
    std::vector<Open> open;
    uint64_t now = 1;
    bucket.set(600, 500, now);
    ideal.set(600, 500, now);
    for (int i = 0; i < 10'000; ++i) {
      now += pick(4) == 0 ? pick(10 * kSecond) : pick(kSecond / 10);
      const uint64_t what = pick(100);
      if (what == 0) {
        const uint64_t amount = 100 + pick(2000), capacity = 50 + pick(1000);
        bucket.set(amount, capacity, now);
        ideal.set(amount, capacity, now);
      } else if (what < 50) {
        const uint64_t n = 1 + pick(120);
        if (bucket.wait_ns(n, now) != 0) continue;
        ASSERT_GE(ideal.level(now), test::IdealBucket::Wide{n} * kMinute);
        open.push_back({bucket.hold(n, now), n, ideal.take(n, now)});
      } else if (!open.empty()) {
        const size_t at = pick(open.size());
        const uint64_t used = pick(open[at].amount + 1);
        ideal.settle(open[at].take, used);
        bucket.settle(open[at].hold, used, now);
        open.erase(open.begin() + static_cast<ptrdiff_t>(at));
      }
      ASSERT_LE(test::IdealBucket::Wide{bucket.level(now)} * kMinute, ideal.level(now));
      ASSERT_EQ(bucket.n_holds(), open.size());
    }
    EXPECT_GE(ideal.lowest(), 0);
  }
}

TEST(Bucket, PartsOfATokenComeBackToo) {
  Bucket bucket(kMinute);
  bucket.set(1, 10, 0);
  const uint64_t hold = bucket.hold(5, kSecond);
  bucket.settle(hold, 0, 2 * kSecond);
  EXPECT_EQ(bucket.level(2 * kSecond), 10u) << "full, as if nothing had been taken";
}

// As long as the bucket is not full in between, ours is the promised one: nobody pays for tokens that were not used.
TEST(Bucket, GivesBackAllThatTheLimitPromises) {
  std::mt19937_64 random(7);
  Bucket bucket(kMinute);
  test::IdealBucket ideal(kMinute);
  bucket.set(6000, 1'000'000, 0);
  ideal.set(6000, 1'000'000, 0);
  bucket.take(900'000, 0);
  ideal.settle(ideal.take(900'000, 0), 900'000);
  uint64_t now = 0;
  for (int i = 0; i < 2'000; ++i) {
    now += random() % kSecond;
    const uint64_t n = 1 + random() % 400;
    ASSERT_EQ(bucket.wait_ns(n, now), 0u);
    const uint64_t hold = bucket.hold(n, now);
    const size_t take = ideal.take(n, now);
    now += random() % kSecond;
    const uint64_t used = random() % (n + 1);
    bucket.settle(hold, used, now);
    ideal.settle(take, used);
    ASSERT_EQ(test::IdealBucket::Wide{bucket.level(now)}, ideal.level(now) / kMinute);
  }
}

}  // namespace
}  // namespace merritt::tenant
