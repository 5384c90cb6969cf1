// SPDX-License-Identifier: Apache-2.0
// Packed weights kept between runs, a file for each model, plugin and layout, in a directory the host names. Only what
// this installation wrote for exactly this model file and plugin comes out again: every chunk is checked while it is
// read (pack_mac.hpp), and one that is not as it was written is a failure, never weights. docs/adr/0012 says why.
//
// Threads: any; PackReader::read() from many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/os/file.hpp"
#include "base/status.hpp"
#include "model/pack/pack_header.hpp"
#include "model/pack/pack_mac.hpp"

namespace merritt::model::pack {

// Which pack is meant: the name of its file, and the digest of all that it belongs to.
struct PackId {
  std::string name;
  Binding binding{};
};

class PackReader {
 public:
  uint64_t bytes() const { return header_.bytes; }
  uint32_t chunk_bytes() const { return header_.chunk_bytes; }
  // Whole chunks only: offset is a multiple of chunk_bytes(), and `out` a chunk or what is left of the last one. After
  // kCorrupt `out` holds zeros.
  Status read(uint64_t offset, std::span<std::byte> out) const;

 private:
  friend class PackCache;
  PackReader(os::File file, const PackHeader& header, PackMac mac)
      : file_(std::move(file)), header_(header), mac_(std::move(mac)) {}
  Status read_checked(uint64_t index, std::span<std::byte> out) const;

  os::File file_;
  PackHeader header_;
  PackMac mac_;
  std::vector<Tag> tags_;
};

class PackCache {
 public:
  // Gives the bytes [offset, offset + out.size()) of the weights that are kept.
  using Export = std::function<Status(uint64_t offset, std::span<std::byte> out)>;

  // `key` is the installation's, kKeyBytes of it; empty = that of the file "key" in the directory, which is made on
  // first use. The directory must be this user's and writable by nobody else, or kPermissionDenied says what is wrong.
  static Result<PackCache> open(const std::string& directory, std::span<const std::byte> key);

  // kNotFound = there is none; kCorrupt, kPermissionDenied = there is a file that is not ours, or of something else.
  Result<PackReader> find(const PackId& id) const;
  // Writes a new file and puts it in the place of an older one. kOverloaded = another process is doing that.
  Status store(const PackId& id, uint64_t bytes, const Export& weights) const;

 private:
  PackCache(os::File directory, secret::SecretBytes key) : directory_(std::move(directory)), key_(std::move(key)) {}

  os::File directory_;
  secret::SecretBytes key_;
};

}  // namespace merritt::model::pack
