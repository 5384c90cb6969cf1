// SPDX-License-Identifier: Apache-2.0
// Loads plugins that somebody on the trust list has signed. Order of a load: path and directory rules, one open, bytes
// into a sealed memory file, digest of that very file, signature, digest, ABI, CPU and dates of the manifest, ELF
// check: all before a byte of it is mapped. Then the sealed file is opened by Boost.DLL, the handshake is made and the
// table copied. A load that fails leaves nothing behind, except that an object whose handshake fails stays mapped: code
// that ran is never unmapped.
//
// Threads: any.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "backend/plugin.hpp"
#include "base/limits.hpp"
#include "base/status.hpp"

namespace merritt::backend {

// A publisher whose plugins may be loaded.
struct Publisher {
  std::string name;                      // as in the manifest
  std::array<uint8_t, 32> public_key{};  // Ed25519
  std::vector<std::string> plugin_ids;   // it may sign these; "*" at the end matches any rest; empty = any
  uint32_t abi_min = 0, abi_max = 0;     // plugin ABIs it may sign for; 0 = any
  int64_t not_after = 0;                 // seconds since 1970; 0 = no end
};

struct LoaderOptions {
  std::vector<std::string> directories;  // absolute
  std::vector<Publisher> publishers;
  uint64_t plugin_bytes_max = limits::kPluginBytesMax;
};

class Loader {
 public:
  explicit Loader(LoaderOptions options);

  // path: absolute, directly in one of the directories, its manifest beside it (path + ".manifest"). Loading the same
  // build again, also through another Loader, gives the same Plugin.
  Result<const Plugin*> load(const std::string& path);
  // Paths of lib*.so with a manifest in the directories, in their order and by name.
  std::vector<std::string> candidates() const;
  // All checks up to mapping, without mapping: what `merritt plugin verify` says.
  Status verify(const std::string& path) const;

  const LoaderOptions& options() const { return options_; }

 private:
  LoaderOptions options_;
};

}  // namespace merritt::backend
