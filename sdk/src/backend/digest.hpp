// SPDX-License-Identifier: Apache-2.0
// SHA-256 and Ed25519 verification, by OpenSSL in a library context of its own: no configuration file is read, no exit
// handler is registered. Threads: any.
#pragma once

#include <cstddef>
#include <span>

#include "backend/manifest.hpp"
#include "base/status.hpp"

namespace merritt::backend {

Result<Digest> sha256(std::span<const std::byte> bytes);
Result<Digest> key_id_of(const PublicKey& key);
// False also when the key is no point of the curve, or OpenSSL fails.
bool signature_is_good(std::span<const std::byte> payload, const Signature& signature, const PublicKey& key);

}  // namespace merritt::backend
