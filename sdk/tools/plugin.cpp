// SPDX-License-Identifier: Apache-2.0
//
// merritt plugin keygen | sign | verify: who vouches for a plugin file.
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "plugin_signing.hpp"
#include "terminal.hpp"
#include "trust.hpp"

namespace merritt::tools {
namespace {

namespace fs = std::filesystem;

struct KeygenFlags {
  std::string key;
};

struct SignFlags {
  std::string plugin;
  std::string key;
  PluginManifest manifest{.id = "",
                          .version = MERRITT_TOOLS_VERSION,
                          .publisher = "",
                          .digest = "",
                          .abi_min = 1,
                          .abi_max = 1,
                          .cpu_features = {},
                          .capabilities = {},
                          .not_after = 0};
};

struct VerifyFlags {
  std::string plugin;
  std::string trust;
  bool json = false;
};

std::string trust_entry(const std::string& publisher, const std::string& public_hex) {
  const nlohmann::ordered_json entry = {{"name", publisher}, {"key", public_hex}};
  return entry.dump();
}

int keygen(const KeygenFlags& flags) {
  std::string public_hex;
  require(make_key(flags.key, public_hex), "name a file that is not there yet, in a folder you may write to");
  emit(public_hex + "\n");
  std::fprintf(stderr,
               "private key in %s: keep it off the machines that run plugins\n"
               "to trust what it signs, add to \"publishers\" of a trust.json: %s\n",
               flags.key.c_str(), trust_entry("NAME", public_hex).c_str());
  return kExitOk;
}

// libmerritt_onednn.so -> onednn
std::string id_of_file(const std::string& path) {
  const std::string stem = fs::path(path).stem().string();
  constexpr std::string_view kPrefix = "libmerritt_";
  return stem.starts_with(kPrefix) ? stem.substr(kPrefix.size()) : stem;
}

int sign_verb(SignFlags flags) {
  if (flags.manifest.id.empty()) flags.manifest.id = id_of_file(flags.plugin);
  std::string public_hex;
  require(public_key_of_file(flags.key, public_hex), "name a private key that `merritt plugin keygen` made");
  require(sign(flags.plugin, flags.manifest, flags.key),
          "name a plugin file in a folder you may write to; the manifest is written beside it");
  std::fprintf(stderr, "wrote %s.manifest: %s %s by %s\nin a trust list it is %s\n", flags.plugin.c_str(),
               flags.manifest.id.c_str(), flags.manifest.version.c_str(), flags.manifest.publisher.c_str(),
               trust_entry(flags.manifest.publisher, public_hex).c_str());
  return kExitOk;
}

int verify_verb(const VerifyFlags& flags) {
  std::error_code failed;
  const fs::path plugin = fs::absolute(flags.plugin, failed).lexically_normal();
  const fs::path directory = fs::canonical(plugin.parent_path(), failed);
  if (failed) throw with_fix(flags.plugin + ": no such folder", "name a plugin file (lib*.so) that exists");
  const std::string trust = flags.trust.empty() ? (directory / "trust.json").string() : flags.trust;
  std::vector<TrustedPublisher> publishers;
  for (const Publisher& publisher : read_trust(trust)) {
    publishers.push_back({publisher.name, publisher.public_key, publisher.plugin_id, publisher.not_after});
  }
  const std::string path = (directory / plugin.filename()).string();
  PluginManifest manifest;
  std::string problem = read_manifest(path, manifest);
  if (problem.empty()) problem = verify(path, directory.string(), publishers);
  nlohmann::ordered_json out = {{"plugin", path},
                                {"trusted", problem.empty()},
                                {"id", manifest.id},
                                {"version", manifest.version},
                                {"publisher", manifest.publisher},
                                {"sha256", manifest.digest},
                                {"abi", {manifest.abi_min, manifest.abi_max}},
                                {"cpu_features", manifest.cpu_features},
                                {"capabilities", manifest.capabilities},
                                {"not_after", manifest.not_after}};
  if (!problem.empty()) out["problem"] = problem;
  if (flags.json) {
    emit(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } else if (problem.empty()) {
    emit(format("trusted: %s %s by %s, plugin ABI %u to %u, SHA-256 %s\n", manifest.id.c_str(),
                manifest.version.c_str(), manifest.publisher.c_str(), manifest.abi_min, manifest.abi_max,
                manifest.digest.c_str()));
  } else {
    throw with_fix(problem, "sign it with a key of the trust list (" + trust + "): merritt plugin sign " + path +
                                " --key KEY --publisher NAME");
  }
  return problem.empty() ? kExitOk : kExitFailed;
}

}  // namespace

void add_plugin(CLI::App& app, Verb& verb) {
  CLI::App* self = app.add_subcommand("plugin", "Keys and signatures of plugins");
  self->require_subcommand(1);

  auto made = std::make_shared<KeygenFlags>();
  CLI::App* keygen_app = self->add_subcommand("keygen", "Make an Ed25519 key; the public half goes to stdout");
  keygen_app->add_option("KEY", made->key, "The private key file to write")->required();
  keygen_app->callback([made, &verb] { verb = [made] { return keygen(*made); }; });

  auto signing = std::make_shared<SignFlags>();
  CLI::App* sign_app = self->add_subcommand("sign", "Write PLUGIN.manifest, signed");
  sign_app->add_option("PLUGIN", signing->plugin, "The plugin file")->required();
  sign_app->add_option("--key", signing->key, "The private key file")->required();
  sign_app->add_option("--publisher", signing->manifest.publisher, "Name on the trust list")->required();
  sign_app->add_option("--id", signing->manifest.id, "Backend id, by default from the file's name");
  sign_app->add_option("--version", signing->manifest.version, "Version of the plugin");
  sign_app->add_option("--abi-min", signing->manifest.abi_min, "Lowest plugin ABI it speaks");
  sign_app->add_option("--abi-max", signing->manifest.abi_max, "Highest plugin ABI it speaks");
  sign_app->add_option("--cpu-feature", signing->manifest.cpu_features,
                       "CPU feature it cannot do without (repeatable)");
  sign_app->add_option("--capability", signing->manifest.capabilities, "Capability to list (repeatable)");
  sign_app->add_option("--not-after", signing->manifest.not_after, "Seconds since 1970 after which it is void");
  sign_app->callback([signing, &verb] { verb = [signing] { return sign_verb(*signing); }; });

  auto checked = std::make_shared<VerifyFlags>();
  CLI::App* verify_app = self->add_subcommand("verify", "All checks of the loader, without loading");
  verify_app->add_option("PLUGIN", checked->plugin, "The plugin file")->required();
  verify_app->add_option("--trust", checked->trust, "Trust list, by default trust.json beside the plugin");
  verify_app->add_flag("--json", checked->json, "As JSON");
  verify_app->callback([checked, &verb] { verb = [checked] { return verify_verb(*checked); }; });
}

}  // namespace merritt::tools
