// SPDX-License-Identifier: Apache-2.0
// What tests below the C ABI share: a verified plugin with its device, a compiled model and its page tables.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "backend/device.hpp"
#include "backend/loader.hpp"
#include "engine/compiled_model.hpp"
#include "kv/cache.hpp"
#include "model/model_file.hpp"
#include "tests/support/abi_host.hpp"

namespace merritt::test {

inline backend::LoaderOptions loader_options() {
  backend::LoaderOptions options;
  options.directories = {plugin_dir(), test_plugin_dir()};
  std::vector<std::string> names;
  names.reserve(8);
  for (const merritt_publisher& publisher : read_trust(plugin_dir() + "/trust.json", names)) {
    backend::Publisher trusted;
    trusted.name = std::string(publisher.name, publisher.name_length);
    std::copy(std::begin(publisher.public_key), std::end(publisher.public_key), trusted.public_key.begin());
    options.publishers.push_back(std::move(trusted));
  }
  return options;
}

// A device of its own: plugin, ledger and executor.
struct DeviceHost {
  backend::Ledger ledger;
  std::unique_ptr<backend::Executor> executor;
  std::shared_ptr<backend::Device> device;

  DeviceHost(const std::string& plugin, uint32_t threads, uint32_t isa_max = 0) {
    auto made = backend::Executor::create(threads);
    EXPECT_TRUE(made.ok());
    executor = std::move(made).value();
    const bool fixture = plugin == "fardevice" || plugin.starts_with("faulty");
    backend::Loader loader(loader_options());
    auto loaded = loader.load((fixture ? test_plugin_dir() : plugin_dir()) + "/libmerritt_" + plugin + ".so");
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
    if (!loaded.ok()) return;
    backend::HostServices::Options services;
    services.ledger = &ledger;
    services.executor = executor.get();
    services.isa_max = isa_max;
    auto opened = backend::Device::open(**loaded, 0, services);
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    if (opened.ok()) device = std::move(opened).value();
  }
};

struct ModelHost {
  std::unique_ptr<model::ModelFile> file;
  std::unique_ptr<engine::CompiledModel> compiled;
  std::unique_ptr<kv::Cache> cache;

  ModelHost(DeviceHost& host, std::shared_ptr<const model::weights::Source> source, engine::CompileOptions options) {
    auto opened = model::open_model(std::move(source));
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    if (!opened.ok()) return;
    file = std::make_unique<model::ModelFile>(std::move(opened).value());
    auto made = engine::CompiledModel::create(host.device, *file, options, {});
    EXPECT_TRUE(made.ok()) << made.status().message();
    if (!made.ok()) return;
    compiled = std::move(made).value();
    auto tables = kv::Cache::make(compiled->group_shapes(), *compiled);
    EXPECT_TRUE(tables.ok()) << tables.status().message();
    if (tables.ok()) cache = std::move(tables).value();
  }
  bool ok() const { return cache != nullptr; }
};

}  // namespace merritt::test
