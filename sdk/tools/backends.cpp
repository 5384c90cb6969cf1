// SPDX-License-Identifier: Apache-2.0
//
// merritt backends: every plugin file, whether it could be loaded, and what it offers.
#include <memory>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

struct BackendsFlags {
  EngineFlags engine;
  bool json = false;
};

nlohmann::json json_of(const BackendInfo& info) {
  return {{"id", info.id},
          {"version", info.version},
          {"abi", info.abi},
          {"devices", info.devices},
          {"device", info.device_name},
          {"batch_invariant", (info.flags & MERRITT_BACKEND_BATCH_INVARIANT) != 0},
          {"sha256", info.digest}};
}

int backends(const BackendsFlags& flags) {
  const EngineFlags resolved_flags = resolved(flags.engine);
  Engine engine = open_bare_engine(resolved_flags);
  const std::vector<PluginFile> files = load_plugins(engine, plugin_files(resolved_flags));
  const std::vector<BackendInfo> loaded = expect(engine.backends(), "backends");
  nlohmann::json all = nlohmann::json::array();
  std::string text;
  for (const PluginFile& file : files) {
    nlohmann::json entry = {{"path", file.path}, {"loaded", file.error.empty()}};
    if (!file.error.empty()) {
      entry["error"] = file.error;
      text += "refused  " + file.path + "\n         " + file.error + "\n";
    }
    for (const BackendInfo& info : loaded) {
      if (!file.error.empty() || file.id != info.id) continue;
      entry.update(json_of(info));
      text += format("loaded   %s %s, plugin ABI %u, %u device%s: %s%s\n         %s\n", info.id, info.version, info.abi,
                     info.devices, info.devices == 1 ? "" : "s", info.device_name,
                     (info.flags & MERRITT_BACKEND_BATCH_INVARIANT) != 0 ? ", batch-invariant" : "", file.path.c_str());
    }
    all.push_back(entry);
  }
  if (files.empty()) text = "no plugins (lib*.so) in " + resolved_flags.plugin_dirs.front() + "\n";
  emit(flags.json ? all.dump(2) + "\n" : text);
  return loaded.empty() ? kExitFailed : kExitOk;
}

}  // namespace

void add_backends(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<BackendsFlags>();
  CLI::App* self = app.add_subcommand("backends", "The plugins found here and what they offer");
  add_engine_flags(*self, flags->engine);
  self->add_flag("--json", flags->json, "As JSON");
  self->callback([flags, &verb] { verb = [flags] { return backends(*flags); }; });
}

}  // namespace merritt::tools
