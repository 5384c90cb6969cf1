// SPDX-License-Identifier: Apache-2.0
// Keys, signatures and digests of plugins, by OpenSSL in a library context of its own: no configuration file is read,
// no exit handler is registered. Used by the loader and by the tool that signs. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/manifest.hpp"
#include "base/os/file.hpp"
#include "base/status.hpp"

namespace merritt::backend {

// Makes an Ed25519 key; the private half goes to `private_path` as PEM (PKCS#8), mode 0600. An existing file is
// refused.
Result<PublicKey> generate_key(const std::string& private_path);
// The public half of a private key file. Refused when others may read the file.
Result<PublicKey> public_key_of(const std::string& private_path);

// Fills in digest, signs and writes `<plugin_path>.manifest`.
Status sign_plugin(const std::string& plugin_path, Manifest manifest, const std::string& private_path);
// Checks a manifest file's signature and the digest of the plugin beside it against one key, and gives what it says.
Result<Manifest> verify_plugin(const std::string& plugin_path, const PublicKey& key);

Digest key_id_of(const PublicKey& key);
bool signature_is_good(std::span<const std::byte> payload, const Signature& signature, const PublicKey& key);
Result<Digest> sha256(std::span<const std::byte> bytes);
Result<Digest> sha256_of_file(const os::File& file, uint64_t bytes);

}  // namespace merritt::backend
