// SPDX-License-Identifier: Apache-2.0
// What the loader takes and what it refuses. Refused plugins are built with a constructor that leaves a file behind.
#include "backend/loader.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "backend/process_table.hpp"
#include "backend/verify.hpp"
#include "base/os/clock.hpp"
#include "base/os/cpu.hpp"
#include "tests/sdk/backend/signed_folder.hpp"
#include "tests/support/places.hpp"

namespace merritt::backend {
namespace {

class LoaderTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove(kMarker); }
  void TearDown() override { EXPECT_FALSE(fs::exists(kMarker)) << "code of a refused plugin ran"; }

  // A refusal that leaves nothing behind: its code, and a part of its text.
  void expect_refusal(const LoaderOptions& options, const std::string& path, Code code, const std::string& text) {
    const uint32_t builds = mapped_builds();
    const size_t descriptors = open_descriptors();
    Loader loader(options);
    const Result<const Plugin*> loaded = loader.load(path);
    ASSERT_FALSE(loaded.ok()) << path;
    EXPECT_EQ(loaded.status().code(), code) << loaded.status().message();
    EXPECT_NE(loaded.status().message().find(text), std::string_view::npos) << loaded.status().message();
    EXPECT_FALSE(loader.verify(path).ok());
    EXPECT_EQ(mapped_builds(), builds);
    EXPECT_EQ(open_descriptors(), descriptors);
  }
  void expect_denied(const std::string& path, const std::string& text) {
    expect_refusal(folder_.options(), path, Code::kPermissionDenied, text);
  }

  SignedFolder folder_;
};

TEST_F(LoaderTest, LoadsASignedPlugin) {
  Manifest manifest = fixture_manifest();
  manifest.capabilities = {"kv_map", "trace/1"};
  manifest.not_after = os::unix_seconds() + 3600;
  const std::string path = folder_.add_signed("good", manifest, "libgood.so", 1);
  Loader loader(folder_.options());
  ASSERT_TRUE(loader.verify(path).ok()) << loader.verify(path).message();
  EXPECT_EQ(loader.candidates(), std::vector<std::string>{path});
  const Result<const Plugin*> plugin = loader.load(path);
  ASSERT_TRUE(plugin.ok()) << plugin.status().message();
  EXPECT_EQ((*plugin)->id(), "fixture");
  EXPECT_EQ((*plugin)->version(), "1.0");
  EXPECT_EQ((*plugin)->publisher(), "tests");
  EXPECT_EQ((*plugin)->path(), path);
  EXPECT_EQ((*plugin)->abi(), MRT_BACKEND_ABI);
  EXPECT_EQ((*plugin)->digest_hex().size(), 64u);
  EXPECT_EQ((*plugin)->capabilities(), manifest.capabilities);
  mrt_error error{};
  EXPECT_EQ((*plugin)->table().device_describe(0, nullptr, &error), MRT_NOT_FOUND);
}

TEST_F(LoaderTest, TheSameBuildIsOnePluginForAllLoaders) {
  const std::string first = folder_.add_signed("good", fixture_manifest(), "libfirst.so", 2);
  const std::string second = folder_.add_signed("good", fixture_manifest(), "libsecond.so", 2);
  const std::string other = folder_.add_signed("good", fixture_manifest(), "libother.so", 3);
  Loader one(folder_.options()), two(folder_.options());
  const Result<const Plugin*> a = one.load(first), b = two.load(second), c = two.load(other);
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_EQ(*a, *b);
  EXPECT_NE(*a, *c) << "another build must not be taken for the first";
  EXPECT_NE((*a)->digest_hex(), (*c)->digest_hex());
}

TEST_F(LoaderTest, ALoadedBuildStillNeedsTrustFromEveryLoader) {
  const std::string path = folder_.add_signed("good", fixture_manifest(), "libgood.so", 4);
  Loader trusting(folder_.options());
  ASSERT_TRUE(trusting.load(path).ok());
  LoaderOptions options = folder_.options();
  options.publishers.clear();
  expect_refusal(options, path, Code::kPermissionDenied, "not on the trust list");
}

TEST_F(LoaderTest, RefusesUnsigned) { expect_denied(folder_.add("evil"), "unsigned: there is no"); }

TEST_F(LoaderTest, RefusesAnUnknownKey) {
  const std::string path = folder_.add_signed("evil");
  LoaderOptions options = folder_.options();
  options.publishers[0].public_key = SignedFolder().public_key();
  expect_refusal(options, path, Code::kPermissionDenied, "not on the trust list");
}

TEST_F(LoaderTest, RefusesAWrongSignature) {
  const std::string path = folder_.add_signed("evil");
  const Result<SignedManifest> decoded = decode_signed(bytes_of(path + ".manifest"));
  ASSERT_TRUE(decoded.ok());
  Signature signature = decoded->signature;
  signature[5] ^= 1;
  put(path + ".manifest", encode_signed(decoded->payload, signature, decoded->key_id));
  expect_denied(path, "signature of the manifest is wrong");
}

TEST_F(LoaderTest, RefusesAManifestWithAnotherPayload) {
  Manifest manifest = fixture_manifest();
  manifest.not_after = os::unix_seconds() - 10;
  const std::string path = folder_.add_signed("evil", manifest);
  Result<SignedManifest> decoded = decode_signed(bytes_of(path + ".manifest"));
  ASSERT_TRUE(decoded.ok());
  decoded->manifest.not_after = 0;
  const Result<std::vector<std::byte>> payload = encode_payload(decoded->manifest);
  ASSERT_TRUE(payload.ok());
  put(path + ".manifest", encode_signed(*payload, decoded->signature, decoded->key_id));
  expect_denied(path, "signature of the manifest is wrong");
}

TEST_F(LoaderTest, RefusesAPluginThatIsOneBitOff) {
  const std::string path = folder_.add_signed("evil");
  std::vector<std::byte> bytes = bytes_of(path);
  bytes[bytes.size() / 2] ^= std::byte{1};
  put(path, bytes, 0755);
  expect_denied(path, "altered after it was signed");
}

TEST_F(LoaderTest, RefusesAnExpiredManifest) {
  Manifest manifest = fixture_manifest();
  manifest.not_after = os::unix_seconds() - 10;
  expect_denied(folder_.add_signed("evil", manifest), "expired");
}

TEST_F(LoaderTest, RefusesAnExpiredKey) {
  LoaderOptions options = folder_.options();
  options.publishers[0].not_after = os::unix_seconds() - 10;
  expect_refusal(options, folder_.add_signed("evil"), Code::kPermissionDenied, "has expired");
}

TEST_F(LoaderTest, AKeyIsScoped) {
  const std::string path = folder_.add_signed("evil");
  LoaderOptions options = folder_.options();
  options.publishers[0].plugin_ids = {"other", "fix"};
  expect_refusal(options, path, Code::kPermissionDenied, "may not sign a plugin with the id fixture");
  options = folder_.options();
  options.publishers[0].name = "somebody";
  expect_refusal(options, path, Code::kPermissionDenied, "names publisher tests");
  options = folder_.options();
  options.publishers[0].abi_min = options.publishers[0].abi_max = 2;
  expect_refusal(options, path, Code::kPermissionDenied, "may not sign for plugin ABI");
  // On the list twice: the second entry covers it.
  options.publishers.push_back(folder_.publisher());
  options.publishers[1].plugin_ids = {"fix*"};
  EXPECT_TRUE(Loader(options).verify(path).ok());
}

TEST_F(LoaderTest, RefusesAnotherAbi) {
  Manifest manifest = fixture_manifest();
  manifest.abi_min = manifest.abi_max = 7;
  expect_refusal(folder_.options(), folder_.add_signed("evil", manifest), Code::kUnsupported, "speaks plugin ABI 7");
}

TEST_F(LoaderTest, RefusesMissingCpuFeaturesByName) {
  Manifest manifest = fixture_manifest();
  manifest.cpu_features = {"avx9000"};
  expect_refusal(folder_.options(), folder_.add_signed("evil", manifest), Code::kUnsupported,
                 "avx9000, which this library does not know");
  for (const char* name : {"avx2", "avx512f", "amx_tile"}) {
    if (os::has_cpu_feature(name)) continue;
    manifest.cpu_features = {name};
    expect_refusal(folder_.options(), folder_.add_signed("evil", manifest), Code::kUnsupported, name);
  }
}

TEST_F(LoaderTest, RefusesSymbolicLinks) {
  const std::string path = folder_.add_signed("evil");
  const std::string link = folder_.plugins() + "/liblink.so";
  fs::create_symlink(path, link);
  fs::copy_file(path + ".manifest", link + ".manifest");
  expect_denied(link, "symbolic link");
  const std::string folder_link = folder_.path() + "/link";
  fs::create_directory_symlink(folder_.plugins(), folder_link);
  LoaderOptions options = folder_.options();
  options.directories = {folder_link};
  expect_refusal(options, folder_link + "/libplugin.so", Code::kPermissionDenied, "symbolic link");
  fs::remove(path + ".manifest");
  fs::create_symlink(link + ".manifest", path + ".manifest");
  expect_denied(path, "symbolic link");
}

TEST_F(LoaderTest, RefusesWhatOthersMayWrite) {
  const std::string path = folder_.add_signed("evil");
  chmod(path.c_str(), 0775);
  expect_denied(path, "writable by its group");
  chmod(path.c_str(), 0757);
  expect_denied(path, "writable by everybody");
  chmod(path.c_str(), 0755);
  chmod((path + ".manifest").c_str(), 0664);
  expect_denied(path, "writable by its group");
  chmod((path + ".manifest").c_str(), 0644);
  chmod(folder_.plugins().c_str(), 0775);
  expect_denied(path, "the directory");
  chmod(folder_.plugins().c_str(), 0755);
  EXPECT_TRUE(Loader(folder_.options()).verify(path).ok());
}

TEST_F(LoaderTest, RefusesFilesOfOthers) {
  if (geteuid() != 0) {
    expect_refusal(folder_.options(), "/etc/passwd", Code::kPermissionDenied, "not directly in one of");
    return;
  }
  const std::string path = folder_.add_signed("evil");
  ASSERT_EQ(chown(path.c_str(), 12345, 12345), 0);
  expect_denied(path, "belongs to user 12345");
}

TEST_F(LoaderTest, RefusesPathsThatAreNotPlain) {
  const std::string path = folder_.add_signed("evil");
  const LoaderOptions options = folder_.options();
  const auto refuse = [&](const std::string& bad, const std::string& text) {
    expect_refusal(options, bad, Code::kInvalidArgument, text);
  };
  refuse("libplugin.so", "relative path");
  refuse("./plugins/libplugin.so", "relative path");
  refuse("", "relative path");
  refuse(folder_.plugins() + "/../plugins/libplugin.so", "component");
  refuse(folder_.plugins() + "//libplugin.so", "component");
  refuse(path + std::string(1, '\0') + ".so", "zero byte");
  LoaderOptions relative = options;
  relative.directories = {"plugins"};
  expect_refusal(relative, path, Code::kInvalidArgument, "relative path");
}

TEST_F(LoaderTest, RefusesDirectoriesThatAreNotConfigured) {
  const std::string path = folder_.add_signed("evil");
  LoaderOptions options = folder_.options();
  options.directories = {folder_.path()};  // the parent does not count
  expect_refusal(options, path, Code::kPermissionDenied, "not directly in one of");
  options.directories.clear();
  expect_refusal(options, path, Code::kPermissionDenied, "not directly in one of");
}

TEST_F(LoaderTest, RefusesWhatIsNoRegularFile) {
  const std::string path = folder_.add_signed("evil");
  fs::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0644), 0);
  expect_denied(path, "not a regular file");
  fs::remove(path);
  fs::create_directory(path);
  chmod(path.c_str(), 0755);
  expect_denied(path, "not a regular file");
  fs::remove(path);
  expect_refusal(folder_.options(), path, Code::kNotFound, "No such file");
}

TEST_F(LoaderTest, RefusesFilesAboveTheLimit) {
  LoaderOptions options = folder_.options();
  options.plugin_bytes_max = 1000;
  expect_refusal(options, folder_.add_signed("evil"), Code::kPermissionDenied, "the limit is 1000");
}

TEST_F(LoaderTest, RefusesOddObjects) {
  expect_denied(folder_.add_signed("second_export"), "exports 2 symbols");
  expect_denied(folder_.add_signed("old_hash"), "exports 2 symbols");
  expect_denied(folder_.add_signed("dependency"), "needs libfixture_dependency.so");
  expect_denied(folder_.add_signed("search_path"), "library search path");
  expect_denied(folder_.add_signed("executable_stack"), "executable stack");
}

TEST_F(LoaderTest, RefusesAnEntryThatIsNoPlainFunctionInItsCode) {
  expect_denied(folder_.add_signed("data_hello"), "no plain function in its code");
  expect_denied(folder_.add_signed("false_hello"), "no plain function in its code");
  expect_denied(folder_.add_signed("resolved_hello"), "no plain function in its code");
}

// Without a word about its stack glibc makes every stack of the process executable.
TEST_F(LoaderTest, RefusesAnObjectThatSaysNothingOfItsStack) {
  const std::string path = folder_.add("evil");
  std::vector<std::byte> bytes = bytes_of(path);
  Elf64_Ehdr header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  bool found = false;
  for (size_t i = 0; i < header.e_phnum; ++i) {
    const size_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
    Elf64_Phdr program{};
    std::memcpy(&program, bytes.data() + at, sizeof(program));
    if (program.p_type != PT_GNU_STACK) continue;
    found = true;
    program.p_type = PT_NULL;
    std::memcpy(bytes.data() + at, &program, sizeof(program));
  }
  ASSERT_TRUE(found);
  put(path, bytes, 0755);
  ASSERT_TRUE(sign_plugin(path, fixture_manifest(), folder_.key()).ok());
  expect_denied(path, "executable stack");
}

TEST_F(LoaderTest, AFailedHandshakeIsRememberedAndNotRepeated) {
  const std::string slot = folder_.add_signed("foreign_slot", fixture_manifest(), "libslot.so");
  const std::string table = folder_.add_signed("foreign_table", fixture_manifest(), "libtable.so");
  Loader loader(folder_.options());
  const uint32_t builds = mapped_builds();
  for (int i = 0; i < 3; ++i) {
    const Result<const Plugin*> a = loader.load(slot), b = loader.load(table);
    ASSERT_FALSE(a.ok());
    ASSERT_FALSE(b.ok());
    EXPECT_EQ(a.status().code(), Code::kBackend);
    EXPECT_NE(a.status().message().find("device_describe that is not in the plugin's code"), std::string_view::npos)
        << a.status().message();
    EXPECT_NE(b.status().message().find("not in its own memory"), std::string_view::npos) << b.status().message();
  }
  EXPECT_EQ(mapped_builds(), builds + 2) << "mapped once, and its code is never unmapped";
}

TEST_F(LoaderTest, EveryChangedBitOfAManifestIsRefused) {
  const std::vector<std::byte> good = bytes_of(folder_.add_signed("evil") + ".manifest");
  const Result<SignedManifest> decoded = decode_signed(good);
  ASSERT_TRUE(decoded.ok()) << decoded.status().message();
  const std::vector<Publisher> publishers = folder_.options().publishers;
  const auto taken = [&](std::span<const std::byte> file) {
    const Result<SignedManifest> other = decode_signed(file);
    return other.ok() && check_trust(*other, publishers, os::unix_seconds()).ok();
  };
  ASSERT_TRUE(taken(good));
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::vector<std::byte> bad = good;
    bad[bit / 8] ^= std::byte{static_cast<uint8_t>(1u << (bit % 8))};
    EXPECT_FALSE(taken(bad)) << "byte " << bit / 8 << " bit " << bit % 8;
  }
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(taken(std::span(good).first(length))) << "cut to " << length;
  }
}

TEST(ManifestTest, TheSeedsOfItsFuzzerAreManifests) {
  int seeds = 0;
  for (const auto& entry : fs::directory_iterator(merritt::test::source_dir() + "/tests/fuzz/corpus/manifest")) {
    const Result<SignedManifest> decoded = decode_signed(bytes_of(entry.path().string()));
    EXPECT_TRUE(decoded.ok()) << entry.path() << ": " << decoded.status().message();
    ++seeds;
  }
  EXPECT_GE(seeds, 2);
}

TEST_F(LoaderTest, ChangedBitsOfAPluginAreRefused) {
  const std::string path = folder_.add_signed("evil");
  const std::vector<std::byte> good = bytes_of(path);
  Loader loader(folder_.options());
  ASSERT_TRUE(loader.verify(path).ok());
  // A sample over the whole file, first and last bit included.
  constexpr size_t kSamples = 64;
  const size_t last = 8 * good.size() - 1;
  for (size_t i = 0; i < kSamples; ++i) {
    const size_t bit = last * i / (kSamples - 1);
    std::vector<std::byte> bad = good;
    bad[bit / 8] ^= std::byte{static_cast<uint8_t>(1u << (bit % 8))};
    put(path, bad, 0755);
    const Status refused = loader.verify(path);
    EXPECT_EQ(refused.code(), Code::kPermissionDenied) << "bit " << bit << ": " << refused.message();
  }
}

// What the schema of a later library may add to the signed payload: canonical, decodable, and unknown here.
TEST_F(LoaderTest, AManifestWithUnknownFieldsIsRefused) {
  Manifest manifest = fixture_manifest();
  manifest.not_after = os::unix_seconds() + 3600;  // the last known word of data; canonical form drops zeros at the end
  const Result<std::vector<std::byte>> payload = encode_payload(manifest);
  ASSERT_TRUE(payload.ok());
  // The root pointer: 30 bits of offset, 16 bits of data words, 16 bits of pointers. One more data word, not zero.
  std::vector<std::byte> longer = *payload;
  uint16_t data_words = 0;
  std::memcpy(&data_words, longer.data() + 4, sizeof(data_words));
  const auto at = static_cast<ptrdiff_t>(8 * (1 + size_t{data_words}));
  longer.insert(longer.begin() + at, 8, std::byte{0});
  longer[static_cast<size_t>(at)] = std::byte{1};
  ++data_words;
  std::memcpy(longer.data() + 4, &data_words, sizeof(data_words));
  const Result<SignedManifest> decoded = decode_signed(encode_signed(longer, {}, {}));
  ASSERT_FALSE(decoded.ok());
  EXPECT_EQ(decoded.status().code(), Code::kCorrupt);
  EXPECT_NE(decoded.status().message().find("does not know"), std::string_view::npos) << decoded.status().message();
}

// The marker works: loaded the ordinary way, the same file runs its constructor.
TEST(LoaderControlTest, AnOrdinaryDlopenRunsTheConstructor) {
  fs::remove(kMarker);
  void* const handle = dlopen((std::string(MERRITT_FIXTURES) + "/evil.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(handle, nullptr) << dlerror();
  EXPECT_TRUE(fs::exists(kMarker));
  fs::remove(kMarker);
}

}  // namespace
}  // namespace merritt::backend
