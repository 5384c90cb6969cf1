// SPDX-License-Identifier: Apache-2.0
// A plugin's signed manifest, `<plugin>.so.manifest`: a Cap'n Proto message {payload, signature, key id}, the payload
// itself a canonical message that is signed as a whole. Hostile input. Threads: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace merritt::backend {

using Digest = std::array<uint8_t, 32>;     // SHA-256
using PublicKey = std::array<uint8_t, 32>;  // Ed25519
using Signature = std::array<uint8_t, 64>;

struct Manifest {
  std::string id, version, publisher;
  Digest digest{};  // of the whole plugin file
  uint32_t abi_min = 0, abi_max = 0;
  std::vector<std::string> cpu_features;  // needed to load it at all; names of base/os/cpu.hpp
  std::vector<std::string> capabilities;  // informative: names of optional slots and extensions
  int64_t not_after = 0;                  // seconds since 1970; 0 = no end
};

struct SignedManifest {
  Manifest manifest;
  std::vector<std::byte> payload;  // the bytes that are signed
  Signature signature{};
  Digest key_id{};  // SHA-256 of the public key
};

Result<std::vector<std::byte>> encode_payload(const Manifest& manifest);
std::vector<std::byte> encode_signed(std::span<const std::byte> payload, const Signature& signature,
                                     const Digest& key_id);
// Refuses (corrupt) whatever is not exactly what the encoders write. The signature is not checked here.
Result<SignedManifest> decode_signed(std::span<const std::byte> file);

std::string to_hex(std::span<const uint8_t> bytes);

}  // namespace merritt::backend
