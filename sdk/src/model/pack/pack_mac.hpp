// SPDX-License-Identifier: Apache-2.0
// The tags of a pack file: GMAC (AES-256-GCM without text) under a key of that file alone, which is derived from the
// key of this installation and the whole head. So a tag holds the place of its chunk (the nonce), their number and what
// they belong to (the key); no chunk of another place, file, model or installation has it.
//
// Threads: a PackMac is immutable; each ChunkMac is used by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/status.hpp"
#include "model/pack/pack_header.hpp"
#include "secret/secret_bytes.hpp"

struct evp_cipher_ctx_st;

namespace merritt::model::pack {

inline constexpr size_t kKeyBytes = 32;

class PackMac {
 public:
  static Result<PackMac> derive(std::span<const std::byte> installation_key, const Head& head);
  PackMac(PackMac&&) noexcept;
  PackMac& operator=(PackMac&&) noexcept;
  ~PackMac();

  // Of the head itself, so that a pack that is not ours is known before a chunk of it is read.
  Result<Tag> head_tag(const Head& head) const;

 private:
  friend class ChunkMac;
  struct Library;
  PackMac();
  std::unique_ptr<Library> library_;
  secret::SecretBytes key_;
};

// The tag of one chunk, from its bytes as they come.
class ChunkMac {
 public:
  static Result<ChunkMac> begin(const PackMac& mac, uint64_t index);
  ChunkMac(ChunkMac&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}
  ChunkMac& operator=(ChunkMac&&) = delete;
  ~ChunkMac();

  Status update(std::span<const std::byte> bytes);
  Result<Tag> finish();

 private:
  explicit ChunkMac(evp_cipher_ctx_st* context) : context_(context) {}
  evp_cipher_ctx_st* context_;
};

// In constant time.
bool same_tag(const Tag& a, const Tag& b);

}  // namespace merritt::model::pack
