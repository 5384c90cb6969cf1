// SPDX-License-Identifier: Apache-2.0
// A private folder with a key, for tests of the loader: puts fixture plugins there, signs them, and says what a loader
// that trusts the key answers.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "backend/loader.hpp"
#include "backend/manifest.hpp"
#include "backend/signing.hpp"
#include "base/os/file.hpp"

namespace merritt::backend {

namespace fs = std::filesystem;

inline const std::string kMarker = std::string(MERRITT_FIXTURES) + "/marks/constructor_ran";

inline std::vector<std::byte> bytes_of(const std::string& path) {
  Result<std::vector<std::byte>> bytes = os::read_file(path, size_t{1} << 30);
  EXPECT_TRUE(bytes.ok()) << bytes.status().message();
  return bytes.ok() ? std::move(bytes).value() : std::vector<std::byte>();
}

// Replaces a file at once, by renaming. Not brought to disk: the tests do it thousands of times.
inline void put(const std::string& path, const std::vector<std::byte>& bytes, uint32_t mode = 0644) {
  const std::string beside = path + ".new";
  std::ofstream file(beside, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  EXPECT_TRUE(file.good()) << beside;
  EXPECT_EQ(chmod(beside.c_str(), mode), 0);
  EXPECT_EQ(std::rename(beside.c_str(), path.c_str()), 0);
}

inline Manifest fixture_manifest() {
  Manifest manifest;
  manifest.id = "fixture";
  manifest.version = "1.0";
  manifest.publisher = "tests";
  manifest.abi_min = manifest.abi_max = MRT_BACKEND_ABI;
  return manifest;
}

inline size_t open_descriptors() {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

class SignedFolder {
 public:
  SignedFolder() {
    std::string pattern = fs::canonical(::testing::TempDir()).string() + "/merritt-loader-XXXXXX";
    path_ = mkdtemp(pattern.data());
    key_ = path_ + "/private.pem";
    Result<PublicKey> made = generate_key(key_);
    EXPECT_TRUE(made.ok()) << made.status().message();
    public_key_ = *made;
    plugins_ = path_ + "/plugins";
    fs::create_directory(plugins_);
    chmod(plugins_.c_str(), 0755);
  }
  ~SignedFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  const std::string& plugins() const { return plugins_; }
  const std::string& key() const { return key_; }
  const PublicKey& public_key() const { return public_key_; }

  // Copies a fixture there; the same fixture with another tail is another build.
  std::string add(const std::string& fixture, const std::string& name = "libplugin.so", uint64_t tail = 0) const {
    std::vector<std::byte> bytes = bytes_of(std::string(MERRITT_FIXTURES) + "/" + fixture + ".so");
    if (tail != 0) {
      bytes.resize(bytes.size() + sizeof(tail));
      std::memcpy(bytes.data() + bytes.size() - sizeof(tail), &tail, sizeof(tail));
    }
    const std::string to = plugins_ + "/" + name;
    put(to, bytes, 0755);
    return to;
  }
  std::string add_signed(const std::string& fixture, const Manifest& manifest = fixture_manifest(),
                         const std::string& name = "libplugin.so", uint64_t tail = 0) const {
    const std::string to = add(fixture, name, tail);
    const Status done = sign_plugin(to, manifest, key_);
    EXPECT_TRUE(done.ok()) << done.message();
    return to;
  }

  LoaderOptions options() const {
    LoaderOptions options;
    options.directories = {plugins_};
    options.publishers = {publisher()};
    return options;
  }
  Publisher publisher() const {
    Publisher publisher;
    publisher.name = "tests";
    publisher.public_key = public_key_;
    return publisher;
  }

 private:
  std::string path_, plugins_, key_;
  PublicKey public_key_{};
};

}  // namespace merritt::backend
