// SPDX-License-Identifier: Apache-2.0
// Backends of an engine: a verified plugin and its first device, opened with this engine's services.
#include <algorithm>

#include "engine/engine.hpp"

namespace merritt::engine {

Result<const backend::Plugin*> Engine::load_backend(const std::string& path) {
  MERRITT_TRY(const backend::Plugin* plugin, loader_->load(path));
  const std::lock_guard lock(backends_mutex_);
  for (const auto& device : devices_) {
    if (&device->plugin() == plugin) return plugin;
    if (device->plugin().id() == plugin->id()) {
      return Status(Code::kFailedPrecondition,
                    "another build of backend " + plugin->id() + " is loaded in this engine");
    }
  }
  backend::HostServices::Options services;
  services.ledger = ledger_;
  services.executor = executor_;
  services.log = log_;
  services.isa_max = isa_max_;
  MERRITT_TRY(auto device, backend::Device::open(*plugin, 0, services));
  if (device->description().slots == 0) {
    return Status(Code::kBackend, plugin->id() + ": its device " + device->id() + " has no slot to run a step in");
  }
  devices_.push_back(std::move(device));
  return plugin;
}

// The order is that of speed, not of file names: whoever asks for no backend by name gets the first that accepts.
Result<uint32_t> Engine::load_backends() {
  std::vector<std::string> paths = loader_->candidates();
  std::stable_partition(paths.begin(), paths.end(),
                        [](const std::string& path) { return path.find("reference") == std::string::npos; });
  if (paths.empty()) {
    return Status(Code::kNotFound, "no plugin (lib*.so with its .manifest) is in the configured directories");
  }
  uint32_t loaded = 0;
  Status last;
  for (const std::string& path : paths) {
    auto plugin = load_backend(path);
    if (plugin.ok()) {
      ++loaded;
      continue;
    }
    last = std::move(plugin).status();
    log_->warning("plugin " + path + " was not loaded: " + std::string(last.message()));
  }
  if (loaded == 0) return last;
  return loaded;
}

Result<std::shared_ptr<backend::Device>> Engine::backend_at(uint32_t index) const {
  const std::lock_guard lock(backends_mutex_);
  if (index >= devices_.size()) {
    return Status(Code::kNotFound, "there are " + std::to_string(devices_.size()) + " backends loaded");
  }
  return devices_[index];
}

Result<std::vector<std::shared_ptr<backend::Device>>> Engine::devices_for(const std::string& id) const {
  const std::lock_guard lock(backends_mutex_);
  if (devices_.empty()) {
    return Status(Code::kFailedPrecondition, "no backend is loaded; call merritt_engine_load_backends first");
  }
  if (id.empty()) return devices_;
  std::string known;
  for (const auto& device : devices_) {
    if (device->plugin().id() == id) return std::vector{device};
    known += (known.empty() ? "" : ", ") + device->plugin().id();
  }
  return Status(Code::kNotFound, "no backend named " + id + " is loaded; loaded are: " + known);
}

}  // namespace merritt::engine
