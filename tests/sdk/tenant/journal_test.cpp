// SPDX-License-Identifier: Apache-2.0
// The journal: numbered records that outlive the process, however it ends and whatever is in the file.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <random>
#include <thread>

#include "tests/sdk/tenant/journal_site.hpp"
#include "tests/support/places.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::tenant {
namespace {

using namespace test;  // NOLINT: in tests only

class JournalTest : public ::testing::Test {
 protected:
  const ::merritt::test::TempFolder folder_;
  const std::string path_ = folder_.path() + "/usage.journal";
};

TEST_F(JournalTest, RecordsWhatWasUsedSinceTheLastRecord) {
  Site site;
  const auto a = site.tenant("a");
  a->add_prompt_tokens(1'000);  // before the journal
  ASSERT_TRUE(site.open(path_).ok());
  EXPECT_TRUE(site.journal->flush().ok());
  EXPECT_EQ(site.journal->stats().records, 0u) << "nothing was used";
  const auto b = site.tenant("b");
  a->add_prompt_tokens(5);
  b->add_prompt_tokens(7);
  b->add_refusal(Refusal::kQueue);
  ASSERT_TRUE(site.journal->flush().ok());
  a->add_prompt_tokens(2);
  ASSERT_TRUE(site.journal->flush().ok());
  uint64_t last = 0;
  const std::string all = site.journal->read_since(0, 1 << 20, &last).value();
  EXPECT_EQ(last, 2u);
  EXPECT_NE(all.find("{\"record\":1,\"unix_seconds\":"), std::string::npos) << all;
  EXPECT_NE(all.find("[{\"tenant\":\"a\",\"prompt_tokens\":5},{\"tenant\":\"b\",\"prompt_tokens\":7,\"refusals\":{"
                     "\"queue\":1}}]}\n"),
            std::string::npos)
      << all;
  const std::string rest = site.journal->read_since(1, 1 << 20, &last).value();
  EXPECT_EQ(rest.find("{\"record\":2"), 0u) << rest;
  EXPECT_EQ(site.journal->read_since(2, 1 << 20, &last).value(), "");
  EXPECT_EQ(last, 2u);
  EXPECT_EQ(site.journal->read_since(0, all.size() - 1, &last).value(), all.substr(0, all.size() - rest.size()));
  EXPECT_EQ(last, 1u);
  EXPECT_EQ(site.journal->read_since(0, 10, &last).status().code(), Code::kFailedPrecondition);
}

TEST_F(JournalTest, ATenantThatIsGoneIsRecordedOnce) {
  Site site;
  ASSERT_TRUE(site.open(path_).ok());
  auto a = site.tenant("a");
  a->add_prompt_tokens(3);
  ASSERT_TRUE(site.journal->flush().ok());
  a->add_prompt_tokens(4);
  a->close();
  a = nullptr;
  const auto again = site.tenant("a");
  again->add_prompt_tokens(10);
  ASSERT_TRUE(site.journal->flush().ok());
  ASSERT_TRUE(site.journal->flush().ok());
  uint64_t records = 0;
  EXPECT_EQ(totals_of(path_, &records)["a"], 17u);
  EXPECT_EQ(records, 2u);
}

TEST_F(JournalTest, NumberingGoesOnInTheNextProcess) {
  for (uint64_t round = 1; round <= 3; ++round) {
    Site site;
    ASSERT_TRUE(site.open(path_).ok());
    EXPECT_EQ(site.journal->stats().records, round - 1);
    site.tenant("a")->add_prompt_tokens(round);
    site.journal->stop();
    EXPECT_EQ(site.journal->stats().records, round);
  }
  EXPECT_EQ(totals_of(path_)["a"], 6u);
}

// Written by tests/fuzz/make_corpus.py, which knows the layout from its description.
TEST_F(JournalTest, TheLayoutIsTheOneThatIsDescribed) {
  write_bytes(path_, bytes_of(merritt::test::source_dir() + "/tests/fuzz/corpus/journal/two_records.journal"));
  Site site;
  ASSERT_TRUE(site.open(path_).ok());
  EXPECT_EQ(site.journal->stats().records, 2u);
  uint64_t last = 0;
  const std::string lines = site.journal->read_since(1, 1 << 20, &last).value();
  EXPECT_NE(lines.find("\"unix_seconds\":1700000000"), std::string::npos) << lines;
  EXPECT_NE(lines.find("{\"tenant\":\"globex\",\"prompt_tokens\":1,\"cached_tokens\":2,"), std::string::npos) << lines;
  EXPECT_NE(lines.find("\"error\":27},\"model_loads\":28,\"model_load_ns\":29}]}\n"), std::string::npos) << lines;
}

TEST_F(JournalTest, OneEngineWritesIt) {
  Site one, other;
  ASSERT_TRUE(one.open(path_).ok());
  EXPECT_EQ(other.open(path_).code(), Code::kFailedPrecondition);
  one.journal->stop();
  EXPECT_TRUE(other.open(path_).ok());
  EXPECT_EQ(Site().open(folder_.path()).code(), Code::kFailedPrecondition) << "a folder";
  ASSERT_EQ(::symlink(path_.c_str(), (path_ + ".link").c_str()), 0);
  EXPECT_EQ(Site().open(path_ + ".link").code(), Code::kPermissionDenied);
}

TEST_F(JournalTest, ATornLastRecordIsCutOff) {
  uint64_t before = 0;
  {
    Site site;
    ASSERT_TRUE(site.open(path_).ok());
    const auto a = site.tenant("a");
    a->add_prompt_tokens(5);
    ASSERT_TRUE(site.journal->flush().ok());
    before = bytes_of(path_).size();
    a->add_prompt_tokens(100);
    ASSERT_TRUE(site.journal->flush().ok());
  }
  const std::string whole = bytes_of(path_);
  for (size_t size = 0; size < whole.size(); ++size) {
    write_bytes(path_, whole.substr(0, size));
    Site site;
    ASSERT_TRUE(site.open(path_).ok()) << size;
    ASSERT_EQ(site.journal->stats().records, size < before ? 0u : 1u) << size;
    if (size % 16 != 0) continue;
    site.tenant("a")->add_prompt_tokens(1);
    ASSERT_TRUE(site.journal->flush().ok());
    ASSERT_EQ(totals_of(path_)["a"], size < before ? 1u : 6u) << size;
  }
  write_bytes(path_, whole + std::string(500, '\0'));
  Site site;
  ASSERT_TRUE(site.open(path_).ok()) << "zeros where a machine that stopped had only written the size";
  EXPECT_EQ(site.journal->stats().records, 2u);
}

TEST_F(JournalTest, ADamagedJournalIsLeftAlone) {
  {
    Site site;
    ASSERT_TRUE(site.open(path_).ok());
    const auto a = site.tenant("a");
    for (int i = 0; i < 4; ++i) {
      a->add_prompt_tokens(5);
      ASSERT_TRUE(site.journal->flush().ok());
    }
  }
  const std::string whole = bytes_of(path_);
  const size_t record = (whole.size() - journal::kHeaderBytes) / 4;
  std::mt19937 random(3);
  for (int i = 0; i < 3'000; ++i) {
    std::string bad = whole;
    const size_t at = random() % bad.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
    write_bytes(path_, bad);
    Site site;
    const Status opened = site.open(path_);
    if (at >= whole.size() - record && opened.ok()) {  // of the last record nobody knows whether it was torn
      ASSERT_EQ(site.journal->stats().records, 3u);
      continue;
    }
    ASSERT_TRUE(opened.code() == Code::kCorrupt || opened.code() == Code::kUnsupported)
        << at << ": " << opened.message();
    ASSERT_EQ(bytes_of(path_), bad);
  }
  std::string other = whole;
  other.erase(journal::kHeaderBytes + record, record);  // a record is missing
  write_bytes(path_, other);
  EXPECT_EQ(Site().open(path_).code(), Code::kCorrupt);
  write_bytes(path_, "some other file that happens to be longer than a header");
  EXPECT_EQ(Site().open(path_).code(), Code::kCorrupt);
  write_bytes(path_, "short");
  EXPECT_EQ(Site().open(path_).code(), Code::kCorrupt);
}

// Runs `body` in a child and answers its exit status.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(JournalTest, WithoutRoomOnTheDiskNothingIsLost) {
  const int failed = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    Site site;
    if (!site.open(path_).ok()) return 1;
    const auto a = site.tenant("a");
    a->add_prompt_tokens(1);
    if (!site.journal->flush().ok()) return 2;
    const size_t full = bytes_of(path_).size();
    const rlimit small{full + 100, RLIM_INFINITY};  // room for a part of a record
    if (::setrlimit(RLIMIT_FSIZE, &small) != 0) return 3;
    for (int i = 0; i < 5; ++i) {
      a->add_prompt_tokens(10);
      if (site.journal->flush().code() != Code::kFailedPrecondition) return 4;
    }
    if (bytes_of(path_).size() != full || site.journal->stats().failures != 5) return 5;
    const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &all) != 0 || !site.journal->flush().ok()) return 6;
    return site.journal->stats().records == 2 ? 0 : 7;
  });
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(totals_of(path_)["a"], 51u);
}

TEST_F(JournalTest, WithoutAThreadWhoeverPollsWritesWhatIsDue) {
  Site site;
  ASSERT_TRUE(site.open(path_).ok());
  const auto a = site.tenant("a");
  constexpr uint64_t kMs = 1'000'000;
  for (const uint64_t at : {1'000 * kMs, 1'499 * kMs, 1'500 * kMs, 1'501 * kMs}) {
    a->add_prompt_tokens(1);
    EXPECT_TRUE(site.journal->flush_if_due(at, 500).ok());
  }
  EXPECT_EQ(site.journal->stats().records, 2u);
  EXPECT_EQ(totals_of(path_)["a"], 3u);
}

TEST_F(JournalTest, ItsThreadWritesByItself) {
  Site site;
  ASSERT_TRUE(site.open(path_).ok());
  ASSERT_TRUE(site.journal->start(10).ok());
  const auto a = site.tenant("a");
  a->add_prompt_tokens(9);
  while (totals_of(path_)["a"] != 9) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  a->add_prompt_tokens(1);
  site.journal->stop();
  EXPECT_EQ(totals_of(path_)["a"], 10u) << "the end of an engine writes the rest";
}

}  // namespace
}  // namespace merritt::tenant
