// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/os/clock.hpp"
#include "base/os/cpu.hpp"
#include "base/os/file.hpp"
#include "base/os/fork_marker.hpp"
#include "base/os/memory.hpp"
#include "base/os/random.hpp"
#include "base/os/sealed_file.hpp"
#include "base/os/thread.hpp"

namespace merritt::os {
namespace {

namespace fs = std::filesystem;

class Folder : public ::testing::Test {
 protected:
  Folder() {
    std::string pattern = fs::canonical(::testing::TempDir()).string() + "/merritt-os-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() override { fs::remove_all(path_); }
  void write(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(path_ + "/" + name).parent_path());
    std::ofstream(path_ + "/" + name) << text;
  }
  std::string path_;
};
using CgroupTest = Folder;
using FileTest = Folder;

TEST(CpuTest, FeaturesAgreeWithTheKernel) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  std::set<std::string> kernel;
  while (std::getline(file, line) && kernel.empty()) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) kernel.insert(word == "avx512vbmi" ? "avx512_vbmi" : word);
  }
  if (kernel.empty()) GTEST_SKIP() << "this kernel lists no CPU flags";
  const std::vector<std::string> ours = cpu_features();
  for (const char* name : {"avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni",
                           "avx512_vbmi", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"}) {
    EXPECT_TRUE(is_cpu_feature_name(name));
    EXPECT_EQ(has_cpu_feature(name), kernel.contains(name)) << name;
    EXPECT_EQ(std::count(ours.begin(), ours.end(), name), has_cpu_feature(name) ? 1 : 0) << name;
  }
  EXPECT_FALSE(is_cpu_feature_name("avx"));
  EXPECT_FALSE(has_cpu_feature(""));
}

TEST(CpuTest, ThreadsFollowTheAffinity) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(default_thread_count(), 1u);
  EXPECT_LE(default_thread_count(), static_cast<uint32_t>(CPU_COUNT(&before)));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(default_thread_count(), 1u);
  sched_setaffinity(0, sizeof(before), &before);
}

TEST_F(CgroupTest, VersionTwoRoundsUpAndTakesTheTightest) {
  write("a/b/cpu.max", "150000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit("0::/a/b\n", path_), 2u);
  write("a/cpu.max", "100000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit("0::/a/b\n", path_), 1u);
  write("a/cpu.max", "max 100000\n");
  EXPECT_EQ(cgroup_cpu_limit("0::/a/b\n", path_), 2u);
  EXPECT_EQ(cgroup_cpu_limit("0::/a\n", path_), 0u);
  write("cpu.max", "1000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit("0::/\n", path_), 1u) << "a small quota is still one thread";
  EXPECT_EQ(cgroup_cpu_limit("0::/gone/elsewhere\n", path_), 1u) << "the visible ancestor counts";
}

TEST_F(CgroupTest, VersionOneFindsItsController) {
  write("cpu,cpuacct/x/cpu.cfs_quota_us", "350000\n");
  write("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cgroup_cpu_limit("5:memory:/x\n3:cpu,cpuacct:/x\n", path_), 4u);
  write("cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cgroup_cpu_limit("3:cpu,cpuacct:/x\n", path_), 0u);
}

TEST_F(CgroupTest, NonsenseIsNoLimit) {
  write("a/cpu.max", "garbage");
  for (const char* text : {"", "\n\n", "no colons", "0:", "0::/../..\n", "0::/a\n"}) {
    EXPECT_EQ(cgroup_cpu_limit(text, path_), 0u) << text;
  }
}

TEST(MemoryTest, PagesAreZeroedAndAligned) {
  for (const size_t bytes : {size_t{1}, size_t{4096}, size_t{70'000}, size_t{5} << 20}) {
    for (const size_t align : {size_t{1}, size_t{4096}, size_t{1} << 21}) {
      const Pages pages = map_pages(bytes, align, kPagesHuge | kPagesNoDump | kPagesWipeOnFork);
      ASSERT_NE(pages.data, nullptr);
      EXPECT_GE(pages.bytes, bytes);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(pages.data) % std::max(align, page_size()), 0u);
      auto* const p = static_cast<char*>(pages.data);
      EXPECT_EQ(p[0] | p[bytes - 1], 0);
      p[bytes - 1] = 1;
      unmap_pages(pages.data, pages.bytes);
    }
  }
  EXPECT_EQ(map_pages(SIZE_MAX - 10, 1, 0).data, nullptr);
  EXPECT_EQ(map_pages(size_t{1} << 60, 1, 0).data, nullptr);
}

TEST(MemoryTest, StateIsPlausible) {
  const MemoryState state = memory_state();
  EXPECT_GT(state.rss_bytes, size_t{1} << 20);
  EXPECT_GE(state.rss_peak_bytes, state.rss_bytes);
}

TEST(ForkMarkerTest, OnlyTheChildIsAChild) {
  const ForkMarker marker;
  EXPECT_FALSE(marker.in_child());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(marker.in_child() ? 0 : 1);
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0);
  EXPECT_FALSE(marker.in_child());
}

TEST(ClockTest, MonotonicNeverGoesBack) {
  uint64_t before = monotonic_ns();
  for (int i = 0; i < 1000; ++i) {
    const uint64_t now = monotonic_ns();
    EXPECT_GE(now, before);
    before = now;
  }
  EXPECT_GT(unix_seconds(), 1'600'000'000);
}

TEST(RandomTest, BytesDiffer) {
  std::array<std::byte, 64> a{}, b{};
  ASSERT_TRUE(random_bytes(a).ok());
  ASSERT_TRUE(random_bytes(b).ok());
  EXPECT_NE(a, b);
  EXPECT_TRUE(random_bytes({}).ok());
}

TEST_F(FileTest, ReadsAtOffsetsAndSaysWhereAFileEnds) {
  write("f", "0123456789");
  const Result<File> file = File::open_read(path_ + "/f");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*file->size(), 10u);
  EXPECT_NE(fcntl(file->fd(), F_GETFD) & FD_CLOEXEC, 0);
  std::array<std::byte, 4> out{};
  ASSERT_TRUE(file->read_at(6, out).ok());
  EXPECT_EQ(out[0], std::byte{'6'});
  const Status late = file->read_at(8, out);
  EXPECT_EQ(late.code(), Code::kCorrupt);
  EXPECT_EQ(late.message(), "the file ends at byte 10, 2 bytes early");
  EXPECT_EQ(File::open_read(path_ + "/none").status().code(), Code::kNotFound);
  EXPECT_EQ(File::open_read(path_)->size().status().code(), Code::kInvalidArgument);
  EXPECT_EQ(read_file(path_ + "/f", 9).status().code(), Code::kCorrupt);
}

TEST_F(FileTest, WritesAnewWithItsMode) {
  const std::string text = "hello";
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  ASSERT_TRUE(write_file(path_ + "/w", bytes, 0600).ok());
  ASSERT_TRUE(write_file(path_ + "/w", bytes.first(2), 0644).ok());
  EXPECT_EQ(read_file(path_ + "/w", 100)->size(), 2u);
  EXPECT_EQ(*file_mode(path_ + "/w"), 0644u);
  EXPECT_EQ(create_file(path_ + "/w", bytes, 0600).code(), Code::kFailedPrecondition);
  ASSERT_TRUE(create_file(path_ + "/new", bytes, 0600).ok());
  EXPECT_EQ(*file_mode(path_ + "/new"), 0600u);
  EXPECT_FALSE(write_file(path_ + "/no/such/folder", bytes, 0600).ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(path_), fs::directory_iterator()), 2) << "nothing left beside";
}

TEST_F(FileTest, ASealedCopyCannotBeChanged) {
  write("f", "sealed");
  const Result<File> file = File::open_read(path_ + "/f");
  ASSERT_TRUE(file.ok());
  const Result<SealedFile> sealed = SealedFile::copy_of(*file, "test");
  ASSERT_TRUE(sealed.ok()) << sealed.status().message();
  write("f", "changed");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(sealed->bytes().data()), sealed->bytes().size()), "sealed");
  const File again(open(sealed->path().c_str(), O_RDWR | O_CLOEXEC));
  if (again.is_open()) {
    EXPECT_LT(pwrite(again.fd(), "x", 1, 0), 0);
    EXPECT_NE(ftruncate(again.fd(), 0), 0);
  }
}

// Pages that hold something become zeros; those that nobody touched stay with the system.
TEST(MemoryTest, WipesWhatWasTouchedAndNothingElse) {
  const size_t page = page_size(), bytes = 4096 * page;
  for (const uint32_t flags : {0u, uint32_t{kPagesHuge}}) {
    const Pages pages = map_pages(bytes, 64, flags);
    ASSERT_NE(pages.data, nullptr);
    auto* data = static_cast<unsigned char*>(pages.data);
    for (const size_t at : {size_t{0}, 7 * page + 5, 1024 * page, 2048 * page - 1, bytes - 1}) data[at] = 0xAB;
    wipe_pages(data, bytes);
    std::vector<unsigned char> resident(bytes / page);
    ASSERT_EQ(mincore(data, bytes, resident.data()), 0);
    if (flags == 0) {
      EXPECT_EQ(std::count_if(resident.begin(), resident.end(), [](unsigned char r) { return (r & 1) != 0; }), 5);
    }
    EXPECT_TRUE(std::all_of(data, data + bytes, [](unsigned char b) { return b == 0; }));
    unmap_pages(pages.data, pages.bytes);
  }
}

TEST(ThreadTest, BlocksSignalsAndIsNamed) {
  std::string name(16, '\0');
  bool blocked = false;
  Result<std::thread> thread = start_thread("merritt-test-name-too-long", [&] {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR1) == 1;
    pthread_getname_np(pthread_self(), name.data(), name.size());
  });
  ASSERT_TRUE(thread.ok());
  thread->join();
  EXPECT_TRUE(blocked);
  EXPECT_STREQ(name.c_str(), "merritt-test-na");
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGTERM), 0);
}

}  // namespace
}  // namespace merritt::os
