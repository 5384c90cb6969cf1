// SPDX-License-Identifier: Apache-2.0
// The signing side, for tools: key files and signed manifests. The library itself only verifies. Threads: any.
#pragma once

#include <string>

#include "backend/digest.hpp"
#include "backend/manifest.hpp"
#include "base/status.hpp"

namespace merritt::backend {

// Makes an Ed25519 key; the private half goes to `private_path` as PEM (PKCS#8), mode 0600. An existing file is
// refused.
Result<PublicKey> generate_key(const std::string& private_path);
// The public half of a private key file. Refused when others may read the file.
Result<PublicKey> public_key_of(const std::string& private_path);

// Fills in digest, signs and writes `<plugin_path>.manifest`.
Status sign_plugin(const std::string& plugin_path, Manifest manifest, const std::string& private_path);
// Checks a manifest's signature and the digest of the plugin beside it against one key, and gives what it says. The
// loader's rules on paths, owners, dates, ABI and CPU are not applied: see Loader::verify.
Result<Manifest> verify_plugin(const std::string& plugin_path, const PublicKey& key);

}  // namespace merritt::backend
