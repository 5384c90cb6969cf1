// SPDX-License-Identifier: Apache-2.0
//
// Keys, signatures and verification of plugin files, over the very code the loader uses. Plain types, because that
// code's own Result may not meet the public one in a file. A function answers "" or what is wrong.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace merritt::tools {

struct PluginManifest {
  std::string id;
  std::string version;
  std::string publisher;
  std::string digest;  // hex; filled in by reading, ignored by signing
  uint32_t abi_min = 0;
  uint32_t abi_max = 0;
  std::vector<std::string> cpu_features;
  std::vector<std::string> capabilities;
  int64_t not_after = 0;
};

struct TrustedPublisher {
  std::string name;
  std::array<uint8_t, 32> public_key{};
  std::string plugin_id;
  int64_t not_after = 0;
};

std::string make_key(const std::string& private_path, std::string& public_hex);
std::string public_key_of_file(const std::string& private_path, std::string& public_hex);
std::string sign(const std::string& plugin_path, const PluginManifest& manifest, const std::string& private_path);
// All the loader's checks up to mapping; `directory` must hold the file.
std::string verify(const std::string& plugin_path, const std::string& directory,
                   const std::vector<TrustedPublisher>& publishers);
// What the manifest beside the file says, whoever signed it.
std::string read_manifest(const std::string& plugin_path, PluginManifest& manifest);

}  // namespace merritt::tools
