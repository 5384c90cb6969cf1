// SPDX-License-Identifier: Apache-2.0
// A pack comes back as it was stored, or not at all: every way in which its file can be another one is tried.
#include "model/pack/pack_cache.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "tests/support/temp_folder.hpp"

namespace merritt::model::pack {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

Bytes noise(size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(n);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

PackId id_of(uint8_t what, const std::string& name = "model.pack") {
  PackId id;
  id.name = name;
  id.binding.fill(what);
  return id;
}

Bytes read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Bytes bytes(fs::file_size(path));
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

void write_bytes(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

PackCache::Export export_of(const Bytes& weights) {
  return [&weights](uint64_t offset, std::span<std::byte> out) -> Status {
    std::copy_n(weights.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  };
}

class PackCacheTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::permissions(folder_.path(), fs::perms::owner_all); }
  std::string file(const std::string& name) const { return folder_.path() + "/" + name; }
  PackCache open() const {
    auto cache = PackCache::open(folder_.path(), {});
    EXPECT_TRUE(cache.ok()) << cache.status().message();
    return std::move(cache).value();
  }
  void store(const PackId& id, const Bytes& weights) const {
    const Status stored = open().store(id, weights.size(), export_of(weights));
    ASSERT_TRUE(stored.ok()) << stored.message();
  }
  // All chunks in order, or the first failure. After a failure the chunk must be zeros.
  static Result<Bytes> read_all(const PackReader& reader) {
    Bytes out(reader.bytes(), std::byte{0xEE});
    for (uint64_t at = 0; at < out.size(); at += reader.chunk_bytes()) {
      const auto chunk = std::span(out).subspan(at, std::min<uint64_t>(reader.chunk_bytes(), out.size() - at));
      Status read = reader.read(at, chunk);
      if (read.ok()) continue;
      EXPECT_TRUE(std::all_of(chunk.begin(), chunk.end(), [](std::byte b) { return b == std::byte{0}; }));
      return read;
    }
    return out;
  }
  Result<Bytes> load(const PackId& id) const {
    auto found = open().find(id);
    if (!found.ok()) return std::move(found).status();
    return read_all(*found);
  }

  const test::TempFolder folder_;
  const Bytes weights_ = noise(2 * kChunkBytes + 12345, 1);
};

TEST_F(PackCacheTest, ComesBackAsItWasStored) {
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kNotFound);
  store(id_of(1), weights_);
  const auto loaded = load(id_of(1));
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(*loaded, weights_);
  const Bytes other = noise(kChunkBytes, 2);
  store(id_of(2), other);  // takes the place of the first
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kCorrupt);
  EXPECT_EQ(*load(id_of(2)), other);
}

TEST_F(PackCacheTest, IsReadInWholeChunksOnly) {
  store(id_of(1), weights_);
  const auto found = open().find(id_of(1));
  ASSERT_TRUE(found.ok());
  Bytes out(kChunkBytes);
  EXPECT_TRUE(found->read(0, out).ok());
  EXPECT_EQ(found->read(1, out).code(), Code::kInvalidArgument);
  EXPECT_EQ(found->read(0, std::span(out).first(100)).code(), Code::kInvalidArgument);
  EXPECT_EQ(found->read(2 * kChunkBytes, out).code(), Code::kInvalidArgument);
  EXPECT_EQ(found->read(64 * uint64_t{kChunkBytes}, out).code(), Code::kInvalidArgument);
}

// One bit in every field, every tag, and many places of every chunk.
TEST_F(PackCacheTest, EveryFlippedBitIsFound) {
  store(id_of(1), weights_);
  const Bytes good = read_bytes(file("model.pack"));
  PackHeader header;
  header.bytes = weights_.size();
  ASSERT_EQ(good.size(), header.file_bytes());
  std::vector<uint64_t> places;
  for (uint64_t at = 0; at < kHeadBytes + (1 + header.chunks()) * kTagBytes; ++at) places.push_back(at);
  for (uint64_t at = header.data_at(); at < good.size(); at += 400'009) places.push_back(at);
  for (const uint64_t at : {header.data_at(), header.data_at() + kChunkBytes, uint64_t{good.size()} - 1}) {
    places.push_back(at);
  }
  for (const uint64_t at : places) {
    Bytes bad = good;
    bad[at] ^= std::byte{1} << (at % 8);
    write_bytes(file("model.pack"), bad);
    EXPECT_EQ(load(id_of(1)).status().code(), Code::kCorrupt) << "byte " << at;
  }
  write_bytes(file("model.pack"), good);
  EXPECT_TRUE(load(id_of(1)).ok());
}

TEST_F(PackCacheTest, EveryOtherLengthIsRefused) {
  store(id_of(1), weights_);
  const Bytes good = read_bytes(file("model.pack"));
  for (const size_t length : {size_t{0}, size_t{1}, kHeadBytes - 1, kHeadBytes, size_t{4096}, good.size() / 2,
                              good.size() - 1, good.size() + 1, good.size() + kChunkBytes}) {
    Bytes bad = good;
    bad.resize(length);
    write_bytes(file("model.pack"), bad);
    EXPECT_EQ(load(id_of(1)).status().code(), Code::kCorrupt) << length << " bytes";
  }
}

TEST_F(PackCacheTest, ChunksStayInTheirPlace) {
  store(id_of(1), weights_);
  const Bytes good = read_bytes(file("model.pack"));
  PackHeader header;
  header.bytes = weights_.size();
  const auto data = good.begin() + static_cast<ptrdiff_t>(header.data_at());
  const auto tags = static_cast<ptrdiff_t>(kHeadBytes + kTagBytes);
  Bytes swapped = good;
  std::swap_ranges(swapped.begin() + (data - good.begin()), swapped.begin() + (data - good.begin()) + kChunkBytes,
                   swapped.begin() + (data - good.begin()) + kChunkBytes);
  write_bytes(file("model.pack"), swapped);
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kCorrupt);
  // With their tags, too.
  std::swap_ranges(swapped.begin() + tags, swapped.begin() + tags + kTagBytes, swapped.begin() + tags + kTagBytes);
  write_bytes(file("model.pack"), swapped);
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kCorrupt);
}

// Even of the same weights stored twice: each file has a key of its own.
TEST_F(PackCacheTest, ChunksOfAnOlderFileAreRefused) {
  store(id_of(1), weights_);
  const Bytes older = read_bytes(file("model.pack"));
  store(id_of(1), noise(weights_.size(), 7));
  Bytes mixed = read_bytes(file("model.pack"));
  PackHeader header;
  header.bytes = weights_.size();
  const auto tag = static_cast<ptrdiff_t>(kHeadBytes + kTagBytes), at = static_cast<ptrdiff_t>(header.data_at());
  std::copy_n(older.begin() + tag, kTagBytes, mixed.begin() + tag);
  std::copy_n(older.begin() + at, kChunkBytes, mixed.begin() + at);
  write_bytes(file("model.pack"), mixed);
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kCorrupt);
}

TEST_F(PackCacheTest, APackOfSomethingElseIsRefused) {
  store(id_of(1), weights_);
  store(id_of(2, "other.pack"), weights_);
  fs::copy_file(file("other.pack"), file("model.pack"), fs::copy_options::overwrite_existing);
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kCorrupt);
  EXPECT_TRUE(load(id_of(2)).ok());
}

TEST_F(PackCacheTest, AnotherKeyIsAnotherInstallation) {
  store(id_of(1), weights_);
  const Bytes key = noise(kKeyBytes, 3);
  const auto other = PackCache::open(folder_.path(), key);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->find(id_of(1)).status().code(), Code::kCorrupt);
  ASSERT_TRUE(other->store(id_of(1), weights_.size(), export_of(weights_)).ok());
  EXPECT_TRUE(other->find(id_of(1)).ok());
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kCorrupt);
  EXPECT_EQ(PackCache::open(folder_.path(), std::span(key).first(16)).status().code(), Code::kInvalidArgument);
}

TEST_F(PackCacheTest, TheKeyIsTheOwnersAlone) {
  store(id_of(1), weights_);
  EXPECT_EQ(fs::status(file("key")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(fs::status(file("model.pack")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  for (const auto more : {fs::perms::group_read, fs::perms::others_read, fs::perms::group_write}) {
    fs::permissions(file("key"), fs::perms::owner_all | more);
    EXPECT_EQ(PackCache::open(folder_.path(), {}).status().code(), Code::kPermissionDenied);
  }
  fs::permissions(file("key"), fs::perms::owner_all);
  for (const size_t length : {0u, 31u, 33u}) {
    write_bytes(file("key"), noise(length, 1));
    EXPECT_EQ(PackCache::open(folder_.path(), {}).status().code(), Code::kCorrupt);
  }
  fs::remove(file("key"));
  fs::create_symlink(file("model.pack"), file("key"));
  EXPECT_EQ(PackCache::open(folder_.path(), {}).status().code(), Code::kPermissionDenied);
}

TEST_F(PackCacheTest, TheDirectoryIsTheOwnersAlone) {
  EXPECT_EQ(PackCache::open("relative", {}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(PackCache::open(file("missing"), {}).status().code(), Code::kNotFound);
  for (const auto more :
       {fs::perms::group_write, fs::perms::others_write, fs::perms::others_write | fs::perms::sticky_bit}) {
    fs::permissions(folder_.path(), fs::perms::owner_all | more);
    EXPECT_EQ(PackCache::open(folder_.path(), {}).status().code(), Code::kPermissionDenied);
  }
  fs::permissions(folder_.path(), fs::perms::owner_all);
  fs::create_directory(file("real"));
  fs::create_directory_symlink(file("real"), file("link"));
  EXPECT_EQ(PackCache::open(file("link"), {}).status().code(), Code::kPermissionDenied);
  if (geteuid() == 0) {
    ASSERT_EQ(chown(file("real").c_str(), 1234, 1234), 0);
    EXPECT_EQ(PackCache::open(file("real"), {}).status().code(), Code::kPermissionDenied);
  }
}

TEST_F(PackCacheTest, LinksPipesAndOthersFilesAreNotRead) {
  store(id_of(1, "target"), weights_);
  fs::create_symlink(file("target"), file("model.pack"));
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kPermissionDenied);
  fs::remove(file("model.pack"));
  ASSERT_EQ(mkfifo(file("model.pack").c_str(), 0600), 0);
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kPermissionDenied);
  fs::remove(file("model.pack"));
  store(id_of(1), weights_);
  fs::permissions(file("model.pack"), fs::perms::owner_all | fs::perms::group_write);
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kPermissionDenied);
  // What is written takes the place of all of them.
  fs::remove(file("model.pack"));
  fs::create_symlink(file("target"), file("model.pack"));
  const Bytes target = read_bytes(file("target"));
  store(id_of(1), noise(kChunkBytes, 9));
  EXPECT_FALSE(fs::is_symlink(file("model.pack")));
  EXPECT_EQ(read_bytes(file("target")), target);
}

TEST_F(PackCacheTest, WhatIsInTheWayOfANewFileIsNotWrittenThrough) {
  write_bytes(file("victim"), noise(10, 1));
  fs::create_symlink(file("victim"), file("model.pack.new"));
  EXPECT_FALSE(open().store(id_of(1), weights_.size(), export_of(weights_)).ok());
  fs::remove(file("model.pack.new"));
  fs::create_hard_link(file("victim"), file("model.pack.new"));
  EXPECT_EQ(open().store(id_of(1), weights_.size(), export_of(weights_)).code(), Code::kPermissionDenied);
  EXPECT_EQ(read_bytes(file("victim")), noise(10, 1));
  fs::remove(file("model.pack.new"));
  write_bytes(file("model.pack.new"), noise(99, 1));  // left by a process that died
  store(id_of(1), weights_);
  EXPECT_FALSE(fs::exists(file("model.pack.new")));
  EXPECT_TRUE(load(id_of(1)).ok());
}

TEST_F(PackCacheTest, AFailedWriteLeavesTheOldFile) {
  store(id_of(1), weights_);
  uint64_t calls = 0;
  const Status stored = open().store(id_of(2), weights_.size(), [&](uint64_t, std::span<std::byte>) -> Status {
    return ++calls < 2 ? Status() : Status(Code::kCancelled, "stop");
  });
  EXPECT_EQ(stored.code(), Code::kCancelled);
  EXPECT_FALSE(fs::exists(file("model.pack.new")));
  EXPECT_EQ(*load(id_of(1)), weights_);
}

// A write past the limit would be answered with a signal that ends the process.
TEST_F(PackCacheTest, AFileTooLargeForTheProcessIsAnError) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit low = before;
  low.rlim_cur = kChunkBytes;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  const Status stored = open().store(id_of(1), weights_.size(), export_of(weights_));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(stored.code(), Code::kFailedPrecondition) << stored.message();
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kNotFound);
  EXPECT_FALSE(fs::exists(file("model.pack.new")));
}

TEST_F(PackCacheTest, AFullDiskIsAnError) {
  constexpr uint64_t kTooMuch = uint64_t{1} << 47;  // of any disk
  const Status stored = open().store(id_of(1), kTooMuch, [](uint64_t, std::span<std::byte>) -> Status {
    return Status(Code::kCancelled, "this file system takes no room before");
  });
  EXPECT_FALSE(stored.ok());
  EXPECT_EQ(load(id_of(1)).status().code(), Code::kNotFound);
  EXPECT_FALSE(fs::exists(file("model.pack.new")));
}

// Whoever reads while others write sees one whole file or none; all of them make one key.
TEST_F(PackCacheTest, ManyWritersAndReaders) {
  std::atomic<int> stored{0}, seen{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 4; ++i) {
        auto cache = PackCache::open(folder_.path(), {});
        ASSERT_TRUE(cache.ok()) << cache.status().message();
        if (t < 2) {
          const Status outcome = cache->store(id_of(1), weights_.size(), export_of(weights_));
          stored += outcome.ok();
          EXPECT_TRUE(outcome.ok() || outcome.code() == Code::kOverloaded) << outcome.message();
          continue;
        }
        auto found = cache->find(id_of(1));
        if (!found.ok()) {
          EXPECT_EQ(found.status().code(), Code::kNotFound) << found.status().message();
          continue;
        }
        const auto all = read_all(*found);
        ASSERT_TRUE(all.ok()) << all.status().message();
        EXPECT_EQ(*all, weights_);
        ++seen;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(stored, 0);
  EXPECT_TRUE(load(id_of(1)).ok());
  EXPECT_FALSE(fs::exists(file("model.pack.new")));
}

TEST(PackHeader, OneEncodingOnly) {
  PackHeader header;
  header.bytes = 12'345'678;
  header.salt.fill(7);
  header.binding.fill(9);
  Head head = encode_header(header);
  const auto parsed = parse_header(head, header.file_bytes());
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(encode_header(*parsed), head);
  EXPECT_EQ(parse_header(std::span(head).first(kHeadBytes - 1), header.file_bytes()).status().code(), Code::kCorrupt);
  for (const uint64_t size : {uint64_t{0}, header.file_bytes() - 1, header.file_bytes() + 1, UINT64_MAX}) {
    EXPECT_EQ(parse_header(head, size).status().code(), Code::kCorrupt);
  }
  const auto with = [&](size_t at, uint8_t value) {
    Head bad = head;
    bad[at] = std::byte{value};
    return parse_header(bad, header.file_bytes()).status().code();
  };
  EXPECT_EQ(with(0, 'X'), Code::kCorrupt);   // magic
  EXPECT_EQ(with(7, 2), Code::kCorrupt);     // version
  EXPECT_EQ(with(8, 97), Code::kCorrupt);    // size of the header
  EXPECT_EQ(with(12, 1), Code::kCorrupt);    // chunk size: no power of two
  EXPECT_EQ(with(15, 255), Code::kCorrupt);  // chunk size: too large
  EXPECT_EQ(with(23, 255), Code::kCorrupt);  // more bytes than any file has
  EXPECT_EQ(with(24, 1), Code::kCorrupt);    // reserved
}

}  // namespace
}  // namespace merritt::model::pack
