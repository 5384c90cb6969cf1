// SPDX-License-Identifier: Apache-2.0
// One opened device of a plugin with the services it uses. Closes the device when it goes: models, pools and programs
// hold a shared_ptr to it, so children go first.
//
// Threads: status() and the getters any; open and destruction one at a time per device.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "backend/host.hpp"
#include "backend/plugin.hpp"
#include "base/status.hpp"

namespace merritt::backend {

class Device {
 public:
  static Result<std::shared_ptr<Device>> open(const Plugin& plugin, uint32_t index,
                                              const HostServices::Options& services);
  // The number of devices a plugin shows, at most limits::kDevicesMax.
  static Result<uint32_t> count(const Plugin& plugin);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const mrt_backend& table() const { return plugin_.table(); }
  mrt_device* handle() const { return handle_; }
  const Plugin& plugin() const { return plugin_; }
  const mrt_device_desc& description() const { return description_; }
  const std::string& id() const { return id_; }
  const std::string& name() const { return name_; }
  // Opens sealed planes; the identity until pages are sealed.
  const mrt_kv_opener* opener() const { return &opener_; }
  const HostServices& host() const { return host_; }

  // from_mrt_error with the plugin's name; blast DEVICE marks the device lost.
  Status status(int32_t code, const mrt_error& error);
  bool lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  Device(const Plugin& plugin, const HostServices::Options& services);

  const Plugin& plugin_;
  HostServices host_;
  mrt_device* handle_ = nullptr;
  mrt_device_desc description_{};
  mrt_kv_opener opener_{};
  std::string id_, name_;
  std::atomic<bool> lost_{false};
};

}  // namespace merritt::backend
