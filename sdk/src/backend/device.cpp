// SPDX-License-Identifier: Apache-2.0
#include "backend/device.hpp"

#include <cstring>

#include "base/limits.hpp"

namespace merritt::backend {
namespace {

// Pages are not sealed in this version: what was sealed is what comes out.
int32_t open_identity(void*, uint64_t, uint32_t, uint32_t, uint32_t, const void* sealed, void* plain, uint64_t bytes) {
  std::memcpy(plain, sealed, bytes);
  return MRT_OK;
}

Result<mrt_device_desc> describe(const Plugin& plugin, uint32_t index) {
  mrt_device_desc description{};
  description.struct_size = sizeof(description);
  mrt_error error{};
  const int32_t code = fenced(plugin.table().device_describe, index, &description, &error);
  MERRITT_CHECK(from_mrt_error(code, error, plugin.id()));
  return description;
}

}  // namespace

Device::Device(const Plugin& plugin, const HostServices::Options& services) : plugin_(plugin), host_(services) {
  opener_.struct_size = sizeof(opener_);
  opener_.open = &open_identity;
}

Result<uint32_t> Device::count(const Plugin& plugin) {
  for (uint32_t index = 0; index < limits::kDevicesMax; ++index) {
    const Result<mrt_device_desc> description = describe(plugin, index);
    if (description.ok()) continue;
    if (description.status().code() == Code::kNotFound) return index;
    return description.status();
  }
  return limits::kDevicesMax;
}

Result<std::shared_ptr<Device>> Device::open(const Plugin& plugin, uint32_t index,
                                             const HostServices::Options& services) {
  std::shared_ptr<Device> device(new Device(plugin, services));
  MERRITT_TRY(device->description_, describe(plugin, index));
  device->id_ = clamp_text(device->description_.id, sizeof(device->description_.id));
  device->name_ = clamp_text(device->description_.name, sizeof(device->description_.name));
  mrt_error error{};
  const int32_t code = fenced(plugin.table().device_open, index, &device->host_.table(), &device->handle_, &error);
  if (code != MRT_OK) device->handle_ = nullptr;
  MERRITT_CHECK(from_mrt_error(code, error, plugin.id()));
  if (device->handle_ == nullptr) return Status(Code::kBackend, plugin.id() + ": opened a device without giving it");
  return device;
}

Device::~Device() {
  if (handle_ != nullptr) fenced(plugin_.table().device_close, handle_);
}

Status Device::status(int32_t code, const mrt_error& error) {
  if (code == MRT_OK) return {};
  if (error.blast == MRT_BLAST_DEVICE) lost_.store(true, std::memory_order_relaxed);
  return from_mrt_error(code, error, plugin_.id());
}

}  // namespace merritt::backend
