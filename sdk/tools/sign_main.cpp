// SPDX-License-Identifier: Apache-2.0
//
// merritt_sign: signs the plugins of a build with the key of that build. Not shipped; people use `merritt plugin`.
//
//   merritt_sign key KEY TRUST PUBLISHER          make KEY unless it is there; write the trust list TRUST
//   merritt_sign plugin PLUGIN KEY PUBLISHER ID VERSION [FEATURE...]     write PLUGIN.manifest
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "backend/signing.hpp"
#include "base/os/file.hpp"
#include "merritt/backend.h"

namespace {

namespace fs = std::filesystem;
using merritt::Status;
using merritt::backend::PublicKey;

Status write_trust(const std::string& path, const std::string& publisher, const PublicKey& key) {
  const std::string text = "{\n  \"publishers\": [\n    {\"name\": \"" + publisher + "\", \"key\": \"" +
                           merritt::backend::to_hex(key) + "\"}\n  ]\n}\n";
  return merritt::os::write_file(path, std::as_bytes(std::span(text.data(), text.size())), 0644);
}

Status make_key(const std::vector<std::string>& arguments) {
  const std::string& path = arguments[1];
  std::error_code ignored;
  const fs::path folder = fs::path(arguments[2]).parent_path();
  fs::create_directories(folder, ignored);
  const bool exists = fs::exists(path, ignored);
  MERRITT_TRY(const PublicKey key,
              exists ? merritt::backend::public_key_of(path) : merritt::backend::generate_key(path));
  return write_trust(arguments[2], arguments[3], key);
}

// The loader takes code only from files and folders that nobody else may write to, whatever the builder's umask is.
void close_to_others(const fs::path& path) {
  constexpr fs::perms kOthers = fs::perms::group_write | fs::perms::others_write;
  std::error_code ignored;
  fs::permissions(path, kOthers, fs::perm_options::remove, ignored);
}

Status sign(const std::vector<std::string>& arguments) {
  const std::string& plugin = arguments[1];
  merritt::backend::Manifest manifest;
  manifest.publisher = arguments[3];
  manifest.id = arguments[4];
  manifest.version = arguments[5];
  manifest.abi_min = manifest.abi_max = MRT_BACKEND_ABI;
  manifest.cpu_features.assign(arguments.begin() + 6, arguments.end());
  close_to_others(fs::path(plugin).parent_path());
  close_to_others(plugin);
  return merritt::backend::sign_plugin(plugin, std::move(manifest), arguments[2]);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  Status done(merritt::Code::kInvalidArgument,
              "usage: merritt_sign key KEY TRUST PUBLISHER | plugin PLUGIN KEY "
              "PUBLISHER ID VERSION [FEATURE...]");
  if (arguments.size() == 4 && arguments[0] == "key") done = make_key(arguments);
  if (arguments.size() >= 6 && arguments[0] == "plugin") done = sign(arguments);
  if (done.ok()) return 0;
  std::fprintf(stderr, "merritt_sign: %s\n", std::string(done.message()).c_str());
  return 1;
}
