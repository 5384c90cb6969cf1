// SPDX-License-Identifier: Apache-2.0
// Everything that is asked of a plugin before a byte of it is mapped. Threads: any.
#pragma once

#include <string>

#include "backend/elf_check.hpp"
#include "backend/loader.hpp"
#include "backend/manifest.hpp"
#include "base/os/sealed_file.hpp"
#include "base/status.hpp"

namespace merritt::backend {

struct VerifiedPlugin {
  os::SealedFile file;
  Manifest manifest;
  ElfInfo elf;
  std::string path;
};

Result<VerifiedPlugin> verify_file(const LoaderOptions& options, const std::string& path);

// The parts, for tests and messages.
Status check_trust(const SignedManifest& signed_manifest, const std::vector<Publisher>& publishers, int64_t now);
Status check_fit(const Manifest& manifest, int64_t now);

}  // namespace merritt::backend
