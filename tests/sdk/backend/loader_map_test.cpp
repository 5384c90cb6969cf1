// SPDX-License-Identifier: Apache-2.0
// What happens once a plugin is verified: what is mapped is what was verified, and a load that fails there leaves the
// process as it was or says that it cannot.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <atomic>
#include <climits>
#include <cstdlib>
#include <thread>

#include "backend/loader.hpp"
#include "backend/map_plugin.hpp"
#include "backend/process_table.hpp"
#include "backend/verify.hpp"
#include "tests/sdk/backend/signed_folder.hpp"
#include "tests/support/run_case.hpp"

namespace merritt::backend {
namespace {

// Runs a body in a child process and answers its result; the child leaves without exit handlers. -1 = it did not end
// by itself.
template <class Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int state = 0;
  if (child < 0 || waitpid(child, &state, 0) != child || !WIFEXITED(state)) return -1;
  return WEXITSTATUS(state);
}

bool is_fixture(const Result<const Plugin*>& plugin) {
  if (!plugin.ok() || (*plugin)->id() != "fixture") return false;
  mrt_error error{};
  return (*plugin)->table().device_describe(0, nullptr, &error) == MRT_NOT_FOUND;
}

class LoaderMapTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove(kMarker); }
  void TearDown() override { EXPECT_FALSE(fs::exists(kMarker)) << "code of a refused plugin ran"; }

  SignedFolder folder_;
};

// The file is replaced after the last check and before the map: a loader that opened the path again would run it.
TEST_F(LoaderMapTest, WhatIsMappedIsWhatWasVerified) {
  const std::string path = folder_.add_signed("good", fixture_manifest(), "libswapped.so", 100);
  Result<VerifiedPlugin> renamed = verify_file(folder_.options(), path);
  ASSERT_TRUE(renamed.ok()) << renamed.status().message();
  folder_.add("evil", "libswapped.so");
  EXPECT_TRUE(is_fixture(find_or_map_verified(std::move(renamed).value())));

  folder_.add_signed("good", fixture_manifest(), "libswapped.so", 101);
  Result<VerifiedPlugin> overwritten = verify_file(folder_.options(), path);
  ASSERT_TRUE(overwritten.ok()) << overwritten.status().message();
  const std::vector<std::byte> evil = bytes_of(std::string(MERRITT_FIXTURES) + "/evil.so");
  const os::File file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(pwrite(file.fd(), evil.data(), evil.size(), 0), static_cast<ssize_t>(evil.size()));
  EXPECT_TRUE(is_fixture(find_or_map_verified(std::move(overwritten).value())));
}

// One thread loads builds that nobody has loaded yet, another replaces their files by renaming and by writing in place.
struct Races {
  Races(const SignedFolder& in, int number_of_child) : folder(in), child(number_of_child) {
    evil = bytes_of(std::string(MERRITT_FIXTURES) + "/evil.so");
  }

  void race(int number) {
    const std::string name = "librace" + std::to_string(child) + ".so";
    path = folder.add_signed("good", fixture_manifest(), name,
                             1000 + 1000 * static_cast<uint64_t>(child) + static_cast<uint64_t>(number));
    good = bytes_of(path);
    over.store(false);
    std::atomic<bool> swapping{false};
    // On a busy machine whoever replaces without end always wins: some stop when they have put the right file back.
    const unsigned first = number % 8 == 7 ? 0 : static_cast<unsigned>(number);
    const unsigned last = number % 8 == 7 ? 1 : UINT_MAX;
    std::thread swapper([&] {
      for (unsigned turn = first; !over.load() && turn <= last; ++turn) {
        swap(turn % 4);
        swapping.store(true);
      }
    });
    while (!swapping.load()) std::this_thread::yield();
    const uint32_t builds = mapped_builds();
    const Result<const Plugin*> plugin = Loader(folder.options()).load(path);
    over.store(true);
    swapper.join();
    if (plugin.ok()) {
      ++loaded;
      check(is_fixture(plugin) && mapped_builds() == builds + 1);
    } else {
      ++refused;
      check(plugin.status().code() == Code::kPermissionDenied || plugin.status().code() == Code::kCorrupt);
      check(mapped_builds() == builds);
    }
  }
  void swap(unsigned how) {
    const std::vector<std::byte>& bytes = how % 2 == 0 ? evil : good;
    if (how < 2) return put(path, bytes, 0755);
    const os::File file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    check(pwrite(file.fd(), bytes.data(), bytes.size(), 0) >= 0);
  }
  void check(bool holds) {
    if (!holds) wrong.store(true);
  }

  const SignedFolder& folder;
  int child;
  std::vector<std::byte> evil, good;
  std::string path;
  std::atomic<bool> over{false}, wrong{false};
  int loaded = 0, refused = 0;
};

#if defined(MERRITT_SANITIZED)
// A child of fork may not make threads there: fewer races, in this program started again, for the 64 builds of a
// process.
TEST_F(LoaderMapTest, SwapsNeverRunTheOtherCode) {
  constexpr const char* kHere = "MERRITT_TEST_RACES_HERE";
  if (std::getenv(kHere) == nullptr) {
    const testing::CaseRun run = testing::run_case(testing::this_program(), "LoaderMapTest.SwapsNeverRunTheOtherCode",
                                                   std::string(kHere) + "=1");
    EXPECT_TRUE(run.code == 0 && run.ran()) << run.output;
    return;
  }
  Races races(folder_, 0);
  for (int number = 0; number < 40; ++number) races.race(number);
  EXPECT_FALSE(races.wrong.load());
}
#else
TEST_F(LoaderMapTest, AThousandSwapsNeverRunTheOtherCode) {
  constexpr int kChildren = 25, kRaces = 40;  // a process maps 64 builds at most
  int loaded = 0;
  for (int child = 0; child < kChildren; ++child) {
    const int loads = in_child([&] {
      Races races(folder_, child);
      for (int number = 0; number < kRaces; ++number) races.race(number);
      if (races.loaded + races.refused != kRaces) return 101;
      return races.wrong.load() || fs::exists(kMarker) || ::testing::Test::HasFailure() ? 100 : races.loaded;
    });
    ASSERT_GE(loads, 0) << "child " << child << " died";
    ASSERT_LE(loads, kRaces) << "child " << child << " ran or mapped something else";
    loaded += loads;
  }
  EXPECT_GT(loaded, kChildren) << "the races were lost too early to show anything";
  EXPECT_LT(loaded, kChildren * kRaces) << "the file was never replaced in time";
}
#endif

// The linker refuses it after everything was verified. Its descriptor is closed, its number goes to the next plugin,
// and the linker must not take that one for it.
TEST_F(LoaderMapTest, ARefusalOfTheLinkerIsRolledBack) {
  const std::string broken = folder_.add_signed("undefined", fixture_manifest(), "libbroken.so");
  Manifest manifest = fixture_manifest();
  manifest.id = "after";
  const std::string good = folder_.add_signed("good", manifest, "libgood.so", 200);
  Loader loader(folder_.options());
  const uint32_t builds = mapped_builds();
  const size_t descriptors = open_descriptors();
  for (int i = 0; i < 3; ++i) {
    const Result<const Plugin*> refused = loader.load(broken);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.status().code(), Code::kBackend);
    EXPECT_NE(refused.status().message().find("merritt_fixture_defined_nowhere"), std::string_view::npos)
        << refused.status().message();
    EXPECT_EQ(mapped_builds(), builds);
    EXPECT_EQ(open_descriptors(), descriptors);
  }
  const Result<const Plugin*> plugin = loader.load(good);
  ASSERT_TRUE(plugin.ok()) << plugin.status().message();
  EXPECT_EQ((*plugin)->id(), "after");
  mrt_error error{};
  EXPECT_EQ((*plugin)->table().device_describe(0, nullptr, &error), MRT_NOT_FOUND);
  EXPECT_EQ(mapped_builds(), builds + 1);
  EXPECT_EQ(open_descriptors(), descriptors + 1) << "the one descriptor that names the new plugin";
  EXPECT_FALSE(loader.load(broken).ok());
}

#if !defined(MERRITT_SANITIZED)
// In a child: the linker's lock stays taken.
TEST_F(LoaderMapTest, AConstructorThatThrowsEndsTheLoadAndNotTheProcess) {
  const std::string throwing = folder_.add_signed("throwing", fixture_manifest(), "libthrowing.so");
  const std::string good = folder_.add_signed("good", fixture_manifest(), "libgood.so", 201);
  EXPECT_EQ(in_child([&] {
              Loader loader(folder_.options());
              const uint32_t builds = mapped_builds();
              const size_t descriptors = open_descriptors();
              for (int i = 0; i < 3; ++i) {
                const Result<const Plugin*> plugin = loader.load(throwing);
                if (plugin.ok() || plugin.status().code() != Code::kBackend) return 1;
                if (plugin.status().blast() != Blast::kProcess) return 2;
                if (plugin.status().message().find("threw an exception") == std::string_view::npos) return 3;
                if (mapped_builds() != builds + 1 || open_descriptors() != descriptors + 1) return 4;
              }
              return is_fixture(loader.load(good)) && mapped_builds() == builds + 2 ? 0 : 5;
            }),
            0);
}
#endif

TEST_F(LoaderMapTest, ExtensionsMustBeThePluginsOwn) {
  Loader loader(folder_.options());
  const Result<const Plugin*> plugin = loader.load(folder_.add_signed("extension"));
  ASSERT_TRUE(plugin.ok()) << plugin.status().message();
  constexpr uint32_t kBytes = sizeof(mrt_ext_trace);
  EXPECT_NE((*plugin)->extension("x.g", kBytes), nullptr);
  EXPECT_NE((*plugin)->extension("x.n", kBytes), nullptr) << "a function that is not offered";
  EXPECT_EQ((*plugin)->extension("x.g", kBytes + 8), nullptr) << "shorter than asked for";
  EXPECT_EQ((*plugin)->extension("x.f", kBytes), nullptr) << "a function of another object";
  EXPECT_EQ((*plugin)->extension("x.l", kBytes), nullptr) << "reaches beyond its memory";
  EXPECT_EQ((*plugin)->extension("x.o", kBytes), nullptr) << "an odd address";
  EXPECT_EQ((*plugin)->extension("x.a", kBytes), nullptr) << "nobody's memory";
  EXPECT_EQ((*plugin)->extension("the caller's own memory", kBytes), nullptr);
}

}  // namespace
}  // namespace merritt::backend
