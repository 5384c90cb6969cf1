// SPDX-License-Identifier: Apache-2.0
// Sessions that nobody runs give their pages to whoever runs, down to their owner's floor: the owner furthest above its
// part first, and of its sessions the one that has been at rest for longest. Nobody waits, and nobody is refused, for
// pages that only such sessions hold.
#include <random>

#include "tests/sdk/scheduler/driver.hpp"

namespace merritt::scheduler {
namespace {

// A session that has run n_pages pages of tokens and rests.
kv::SequenceId rested(Driver& d, tenant::Tenant* tenant, uint32_t n_pages) {
  const uint64_t r = d.submit(tenant, n_pages * 16 - 1, 2);  // the second token is never run
  EXPECT_NE(r, 0u) << d.refusal.message();
  const kv::SequenceId sequence = d.requests.at(r).s.sequence;
  d.drain(100);
  EXPECT_EQ(d.cache->pages(sequence, 0).pages.size(), n_pages);
  return sequence;
}

struct AtRest : ::testing::Test {
  AtRest() { d.keep_sequences = true; }
  Driver d{kSmall, pages(16)};
  tenant::Tenant *hoarder = d.add_tenant(), *other = d.add_tenant(), *victim = d.add_tenant();
};

TEST_F(AtRest, PagesGiveWayBeforeAnybodyIsRefused) {
  for (int i = 0; i < 4; ++i) rested(d, hoarder, 4);
  const uint64_t r = d.submit(victim, 60, 30);
  d.step();
  EXPECT_TRUE(d.requests.at(r).started) << "in the first step";
  d.drain(100);
  EXPECT_TRUE(d.finished.contains(r)) << d.failures[r].message();
  EXPECT_EQ(d.preempted, 0u);
}

TEST_F(AtRest, PagesGiveWayToARequestThatGrows) {
  for (int i = 0; i < 3; ++i) rested(d, hoarder, 4);
  const uint64_t runs = d.submit(victim, 16, 200);
  d.drain(400);
  EXPECT_TRUE(d.finished.contains(runs));
  EXPECT_EQ(d.preempted, 0u);
  EXPECT_GE(d.dropped.size(), 2u);
}

TEST_F(AtRest, TheOwnerFurthestAboveItsPartGivesFirst) {
  const kv::SequenceId small = rested(d, other, 4), first = rested(d, hoarder, 5), second = rested(d, hoarder, 5);
  const uint64_t r = d.submit(victim, 100, 20);  // eight pages, six more than are free
  d.drain(100);
  EXPECT_TRUE(d.finished.contains(r));
  EXPECT_EQ(d.cache->length(first), 0u) << "at rest for longest";
  EXPECT_EQ(d.cache->length(second), 0u) << "five pages are still more than four";
  EXPECT_NE(d.cache->length(small), 0u);
}

TEST_F(AtRest, AWeightIsAPart) {
  ASSERT_TRUE(hoarder->set_limits({.weight = 4}, 0).ok());
  const kv::SequenceId light = rested(d, other, 4), heavy = rested(d, hoarder, 10);
  d.submit(victim, 60, 4);
  d.drain(100);
  EXPECT_EQ(d.cache->length(light), 0u) << "four pages by one are more than ten by four";
  EXPECT_NE(d.cache->length(heavy), 0u);
}

TEST(AtRestFloor, NobodyIsBroughtBelowIt) {
  Driver d(kSmall, pages(17));
  d.keep_sequences = true;
  tenant::Tenant *owner = d.add_tenant(), *victim = d.add_tenant();
  owner->kv_account()->floor_bytes = 6 * 16;
  const kv::SequenceId first = rested(d, owner, 8), second = rested(d, owner, 8);
  const uint64_t r = d.submit(victim, 100, 60);  // ten pages, as many as are above the floor
  d.drain(200);
  EXPECT_TRUE(d.finished.contains(r)) << d.failures[r].message();
  EXPECT_EQ(d.cache->length(first), 0u);
  EXPECT_EQ(d.cache->length(second), 6u * 16) << "cut";
  EXPECT_EQ(owner->kv_account()->claimed_bytes, 6u * 16);
  const uint64_t more = d.submit(victim, 170, 20);  // twelve, of eleven
  d.drain(200);
  EXPECT_EQ(d.outcomes.at(more), EndReason::kRefused);
  EXPECT_NE(d.failures.at(more).message().find("within KV floors"), std::string::npos);
  EXPECT_EQ(owner->kv_account()->claimed_bytes, 6u * 16);
}

// A sequence that has dropped what is behind its window cannot be cut: one that is larger than the floor goes whole,
// else a floor of a page would keep a pool.
TEST(AtRestFloor, KeepsNoSequenceThatIsLargerThanIt) {
  Driver d(kSmall, {{.window = 0, .page_tokens = 16, .n_pages = 17, .page_bytes = 16},
                    {.window = 16, .page_tokens = 16, .n_pages = 32, .page_bytes = 16}});
  d.keep_sequences = true;
  tenant::Tenant *owner = d.add_tenant(), *victim = d.add_tenant();
  owner->kv_account()->floor_bytes = 6 * 16;
  const kv::SequenceId large = rested(d, owner, 12), small = rested(d, owner, 3);
  ASSERT_LT(d.cache->bytes_claimed(small), 6u * 16);
  const uint64_t r = d.submit(victim, 100, 60);
  d.drain(200);
  EXPECT_TRUE(d.finished.contains(r)) << d.failures[r].message();
  EXPECT_EQ(d.cache->length(large), 0u);
  EXPECT_NE(d.cache->length(small), 0u);
}

// Its ceiling is for what it holds in all; its own sessions at rest are the first to go, and nobody else's.
TEST_F(AtRest, AtItsCeilingATenantLosesItsOwn) {
  const kv::SequenceId mine = rested(d, hoarder, 4), theirs = rested(d, other, 4);
  hoarder->kv_account()->limit_bytes = 6 * 16;
  const uint64_t r = d.submit(hoarder, 60, 30);  // six pages
  d.drain(100);
  EXPECT_TRUE(d.finished.contains(r)) << d.failures[r].message();
  EXPECT_EQ(d.cache->length(mine), 0u);
  EXPECT_NE(d.cache->length(theirs), 0u);
}

TEST_F(AtRest, AboveThreeQuartersOfThePoolATenantLosesItsOwn) {
  d.policy->set_tenants(3);
  const kv::SequenceId mine = rested(d, hoarder, 8), theirs = rested(d, other, 2);
  const uint64_t first = d.submit(hoarder, 30, 30), second = d.submit(hoarder, 30, 30);
  d.step();
  EXPECT_TRUE(d.requests.at(first).started && d.requests.at(second).started);
  EXPECT_EQ(d.cache->length(mine), 0u);
  d.drain(100);
  EXPECT_NE(d.cache->length(theirs), 0u);
}

// Its request waits, so nobody runs on the session: what it held is run again, before the prompt.
TEST(AtRestWaiting, TheSessionOfARequestThatWaitsGivesWayToo) {
  Driver d({.step_tokens_max = 64, .sequences_max = 4, .rows_max = 4}, pages(16));
  d.keep_sequences = true;
  tenant::Tenant* hoarder = d.add_tenant();
  const kv::SequenceId sequence = rested(d, hoarder, 6);
  std::vector<uint64_t> all;
  for (int i = 0; i < 4; ++i) all.push_back(d.submit(d.add_tenant(), 4, 40));
  d.step();
  all.push_back(d.submit(hoarder, 50, 20, 1, 0, sequence));
  EXPECT_TRUE(d.dropped.empty());
  while (d.dropped.empty() && d.step_number < 100) d.step();
  EXPECT_FALSE(d.requests.at(all.back()).started) << "dropped while it waits";
  d.drain(600);
  for (const uint64_t r : all) EXPECT_TRUE(d.finished.contains(r)) << r;
  EXPECT_EQ(d.cache->length(sequence), 6 * 16 + 50 + 19u);
}

// A sequence at rest whose pages somebody runs on has nothing to give: it stays, and whoever has something gives.
TEST_F(AtRest, PagesThatSomebodyRunsOnAreNotDroppedInVain) {
  const kv::SequenceId runs = rested(d, hoarder, 6), idle = rested(d, other, 5);
  const kv::SequenceId shared = *d.cache->share(runs, 6 * 16, hoarder->kv_account());
  d.submit(hoarder, 4, 10, 1, 0, runs);
  d.step();
  EXPECT_EQ(d.cache->rest_bytes(), 5u * 16);
  const uint64_t r = d.submit(victim, 100, 20);  // eight pages, of four that are free
  d.drain(100);
  EXPECT_TRUE(d.finished.contains(r));
  EXPECT_EQ(d.cache->length(shared), 6u * 16);
  EXPECT_EQ(d.cache->length(idle), 0u);
  EXPECT_EQ(d.dropped.size(), 1u);
  EXPECT_EQ(d.preempted, 0u);
}

// What only sequences at rest share becomes free with the last of them: those go first that need fewest others to go.
TEST_F(AtRest, OfThoseThatShareTheFewestGo) {
  const auto sharers = [&](kv::SequenceId of, int n) {
    std::vector<kv::SequenceId> all{of};
    while (n-- != 0) all.push_back(*d.cache->share(of, d.cache->length(of), hoarder->kv_account()));
    return all;
  };
  const auto three = sharers(rested(d, hoarder, 5), 2), two = sharers(rested(d, hoarder, 5), 1);
  EXPECT_EQ(d.cache->rest_bytes(), 10u * 16);
  const uint64_t r = d.submit(victim, 100, 40);  // nine pages, of six that are free
  d.drain(100);
  EXPECT_TRUE(d.finished.contains(r));
  EXPECT_EQ(d.dropped.size(), 2u);
  for (const kv::SequenceId each : two) EXPECT_EQ(d.cache->length(each), 0u);
  for (const kv::SequenceId each : three) EXPECT_EQ(d.cache->length(each), 5u * 16);
}

// The tenant's next request does not fit beside it, and then another tenant's takes its pages: both wait.
TEST_F(AtRest, ARequestThatIsTakenBackIsNotRefusedForWhatItHeld) {
  d.policy->set_tenants(3);
  const kv::SequenceId stays = d.cache->create(hoarder->kv_account());
  ASSERT_TRUE(d.cache->prepare_append(stays, 64).ok() && d.cache->commit(stays, 64, kv::TokenClass::kPrompt).ok());
  d.cache->end_growth(stays);
  ASSERT_TRUE(d.cache->share(stays, 64, hoarder->kv_account()).ok()) << "at rest, with nothing to give";
  const uint64_t runs = d.submit(hoarder, 60, 10);
  d.step();
  other->kv_account()->floor_bytes = 8 * 16;
  const uint64_t waits = d.submit(hoarder, 60, 10), promised = d.submit(other, 100, 20);
  d.step();
  EXPECT_EQ(d.preempted, 1u);
  EXPECT_TRUE(d.requests.at(promised).started);
  other->kv_account()->floor_bytes = 0;  // its session stays
  d.drain(200);
  EXPECT_TRUE(d.finished.contains(runs)) << d.failures[runs].message();
  EXPECT_TRUE(d.finished.contains(waits));
}

// Choice 0 has ended and another one of the request runs on: its sequence is not at rest.
TEST_F(AtRest, AnEndedSampleRestsWithItsRequest) {
  const uint64_t r = d.submit(other, 30, 40, 2);  // the driver's later choices are shorter: here the first goes first
  d.step();
  Live& live = d.requests.at(r);
  d.scheduler.end_choice(r, 0);
  live.generated[0] = UINT32_MAX;
  EXPECT_EQ(d.cache->rest_bytes(), 0u);
  const uint64_t more = d.submit(victim, 200, 30);
  d.drain(400);
  EXPECT_TRUE(d.finished.contains(r) && d.finished.contains(more));
}

// Sessions of many sizes that go on, whatever was dropped of them; floors, forks, weights. Everybody ends, the driver
// finds each token run in its place, and no account is brought below its floor by others.
TEST(AtRestProperty, EverySessionGoesOn) {
  size_t dropped = 0, begun_again = 0;
  for (uint64_t seed = 1; seed <= 12 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto pick = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    Driver d(kSmall, {{.window = 0, .page_tokens = 8, .n_pages = 40, .page_bytes = 8},
                      {.window = seed % 2 == 0 ? 24u : 0u, .page_tokens = 8, .n_pages = 64, .page_bytes = 8}});
    d.keep_sequences = true;
    for (uint32_t t = 0; t < 3; ++t) d.add_tenant({.weight = 1 + pick(4)});
    if (pick(2) == 0) d.tenants[0]->kv_account()->floor_bytes = 96;
    d.policy->set_tenants(1 + pick(3));
    std::map<kv::SequenceId, uint32_t> sessions;  // and their tenants
    std::map<kv::SequenceId, uint64_t> latest;
    std::map<kv::SequenceId, Beginning> beginnings;  // of those that began with pages of another one
    const kv::SequenceId entry = d.cache->create(d.tenants[0]->kv_account());
    ASSERT_TRUE(d.cache->prepare_append(entry, 24).ok() && d.cache->commit(entry, 24, kv::TokenClass::kPrompt).ok());
    d.cache->end_growth(entry);  // never at rest
    const auto follow = [&] {
      const auto rename = [](auto& map, kv::SequenceId from, kv::SequenceId to) {
        auto node = map.extract(from);
        if (node.empty()) return;
        node.key() = to;
        map.insert(std::move(node));
      };
      for (const auto& [from, to] : std::exchange(d.moved, {})) {
        rename(sessions, from, to);
        rename(latest, from, to);
        rename(beginnings, from, to);
      }
    };
    uint32_t refused = 0, submitted = 0;
    for (uint32_t i = 0; i < 400; ++i) {
      const uint32_t t = pick(3);
      kv::SequenceId sequence = kv::SequenceId::kNone;
      for (const auto& [id, owner] : sessions) {
        const bool idle = !latest.contains(id) || d.done(latest.at(id));
        if (owner == t && idle && pick(3) == 0) sequence = id;
      }
      if (pick(3) == 0) {  // a session that begins with pages of that one, or with what stays
        const kv::SequenceId from = sequence == kv::SequenceId::kNone ? entry : sequence;
        const uint32_t n = d.cache->shareable(from, UINT32_MAX);
        auto shared = n == 0 ? Result<kv::SequenceId>(Status(Code::kNotFound, "nothing"))
                             : d.cache->share(from, n, d.tenants[t]->kv_account());
        if (shared.ok()) {
          sequence = *shared;
          sessions[sequence] = t;
          d.lengths[sequence] = d.cached[sequence] = n;
          beginnings[sequence] = {from, n};
        }
      }
      const uint32_t prompt = 1 + pick(60), output = 1 + pick(40);
      if (sequence != kv::SequenceId::kNone && (pick(4) == 0 || d.lengths[sequence] + prompt + output > 200)) {
        d.cache->release(sequence);
        sessions.erase(sequence);
        latest.erase(sequence);
        sequence = kv::SequenceId::kNone;
      }
      Submission s{
          .tenant = d.tenants[t].get(), .sequence = sequence, .prompt_tokens = prompt, .max_new_tokens = output};
      if (sequence != kv::SequenceId::kNone && d.cache->length(sequence) < d.lengths[sequence]) {
        s.past.push_back({kv::TokenClass::kPrompt, d.lengths[sequence] - d.cache->length(sequence)});
      }
      if (beginnings.contains(sequence)) s.beginning = beginnings.at(sequence);
      const uint64_t r = d.submit(s);
      submitted += r != 0;
      if (r != 0) {
        const kv::SequenceId on = d.requests.at(r).s.sequence;
        sessions[on] = t;
        latest[on] = r;
      }
      for (uint32_t n = pick(6); n != 0; --n) d.step(pick(50) == 0);
      follow();
    }
    d.drain(20'000);
    follow();
    for (const auto& [r, reason] : d.outcomes) refused += reason == EndReason::kRefused ? 1 : 0;
    EXPECT_EQ(refused, 0u);
    EXPECT_GT(submitted, 200u);
    dropped += d.dropped.size();
    begun_again += d.begun_again;
    for (const auto& [id, t] : sessions) d.cache->release(id);
    d.cache->release(entry);
    for (const auto& tenant : d.tenants) {
      EXPECT_EQ(tenant->kv_account()->claimed_bytes, 0u);
      EXPECT_EQ(tenant->usage().requests_running + tenant->usage().requests_waiting, 0u);
    }
    EXPECT_EQ(d.cache->rest_bytes(), 0u);
  }
  EXPECT_GT(dropped, 100u);
  EXPECT_GT(begun_again, 0u);
}

}  // namespace
}  // namespace merritt::scheduler
