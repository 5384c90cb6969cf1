// SPDX-License-Identifier: Apache-2.0
// A process that is killed while it delivers, counts and writes its journal, sixty times on one file.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "tests/sdk/tenant/journal_site.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::tenant {
namespace {

using namespace test;  // NOLINT: in tests only

// What a process said in a pipe, in the order it happened.
struct Said {
  uint32_t kind;  // 0: so many tokens were delivered to `tenant`. 1: a flush has ended.
  uint32_t tenant;
  uint64_t tokens;
};

// Delivers, then counts, as the engine does, while the journal's thread writes and this one flushes as well.
[[noreturn]] void deliver_for_ever(const std::string& path, int pipe, uint64_t seed) {
  std::mt19937_64 random(seed);
  Site site;
  if (!site.open(path).ok() || !site.journal->start(2).ok()) ::_exit(1);
  const std::shared_ptr<Tenant> tenants[] = {site.tenant("a"), site.tenant("b")};
  for (;;) {
    const Said said{0, static_cast<uint32_t>(random() % 2), 1 + random() % 50};
    if (::write(pipe, &said, sizeof(said)) != sizeof(said)) ::_exit(2);
    tenants[said.tenant]->add_prompt_tokens(said.tokens);
    if (random() % 64 != 0 || !site.journal->flush().ok()) continue;
    const Said flushed{1, 0, 0};
    if (::write(pipe, &flushed, sizeof(flushed)) != sizeof(flushed)) ::_exit(2);
  }
}

TEST(JournalCrash, AKilledProcessBillsNothingThatItDidNotDeliver) {
  constexpr int kKills = 60;
  const ::merritt::test::TempFolder folder;
  const std::string path = folder.path() + "/usage.journal";
  std::mt19937_64 random(11);
  uint64_t billed[2] = {}, records = 0;
  int flushed_rounds = 0;
  for (int round = 0; round < kKills; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(pipe[0]);
      deliver_for_ever(path, pipe[1], random());
    }
    ::close(pipe[1]);
    const uint64_t until = 1 + random() % 2'000;  // messages, then the kill, wherever the child is
    uint64_t delivered[2] = {}, flushed[2] = {};
    Said said{};
    for (uint64_t n = 0; ::read(pipe[0], &said, sizeof(said)) == sizeof(said); ++n) {
      if (n == until) ::kill(child, SIGKILL);
      if (said.kind == 0) delivered[said.tenant] += said.tokens;
      if (said.kind == 1) std::copy_n(delivered, 2, flushed);
    }
    ::close(pipe[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    flushed_rounds += flushed[0] + flushed[1] != 0 ? 1 : 0;
    {
      Site site;  // cuts off what was torn
      ASSERT_TRUE(site.open(path).ok());
      EXPECT_GE(site.journal->stats().records, records) << "numbers never go back";
      records = site.journal->stats().records;
    }
    auto totals = totals_of(path);
    const uint64_t now[2] = {totals["a"], totals["b"]};
    for (int t = 0; t < 2; ++t) {
      ASSERT_LE(now[t] - billed[t], delivered[t]) << "round " << round;
      ASSERT_GE(now[t] - billed[t], flushed[t]) << "round " << round;
      billed[t] = now[t];
    }
  }
  EXPECT_GT(flushed_rounds, kKills / 4);
}

}  // namespace
}  // namespace merritt::tenant
