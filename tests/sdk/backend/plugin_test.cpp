// SPDX-License-Identifier: Apache-2.0
// Answers of plugins, good and faulty: the reference plugin and the faulty fixtures, loaded through the loader with the
// key of this build. None of them may take the process down.
#include "backend/plugin.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "backend/device.hpp"
#include "backend/loader.hpp"
#include "tests/support/places.hpp"

namespace merritt::backend {
namespace {

namespace fs = std::filesystem;

mrt_error error_of(int32_t code, uint32_t blast, const std::string& text) {
  mrt_error error{};
  error.code = code;
  error.blast = blast;
  text.copy(error.message, sizeof(error.message));
  return error;
}

TEST(MrtErrorTest, CodesAndBlastAreTranslated) {
  const mrt_error error = error_of(MRT_CORRUPT, MRT_BLAST_SEQUENCE, "page 3 is broken");
  const Status status = from_mrt_error(MRT_CORRUPT, error, "reference");
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_EQ(status.blast(), Blast::kSession);
  EXPECT_EQ(status.message(), "reference: page 3 is broken");
  EXPECT_TRUE(from_mrt_error(MRT_OK, error).ok());
}

TEST(MrtErrorTest, NonsenseIsClamped) {
  mrt_error error{};
  std::fill(std::begin(error.message), std::end(error.message), 'A');
  error.blast = 4242;
  error.native = -5;
  for (const int32_t code : {-12345, 3, 5, 6, 14, 987654}) {
    const Status status = from_mrt_error(code, error, "x");
    EXPECT_EQ(status.code(), Code::kBackend);
    EXPECT_EQ(status.blast(), Blast::kDevice);
    EXPECT_NE(status.message().find(std::string(sizeof(error.message), 'A') + " (its code " + std::to_string(code)),
              std::string_view::npos);
  }
  const Status status = from_mrt_error(MRT_BACKEND, error_of(MRT_BACKEND, 0, "a\nb\x80\x1b[31m"), {});
  EXPECT_EQ(status.message(), "the backend: a b? [31m");
  EXPECT_EQ(from_mrt_error(MRT_BACKEND, mrt_error{}).message(), "the backend: failed without saying why");
}

LoaderOptions build_options(const std::string& folder) {
  const std::string root = fs::canonical(merritt::test::output_dir()).string() + "/lib/merritt/";
  LoaderOptions options;
  options.directories = {root + folder};
  std::ifstream file(root + "plugins/trust.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t at = text.find("\"key\": \"");
  EXPECT_NE(at, std::string::npos) << "the build wrote no trust list";
  if (at == std::string::npos) return options;
  Publisher publisher;
  publisher.name = "merritt-build";
  for (size_t i = 0; i < publisher.public_key.size(); ++i) {
    publisher.public_key[i] = static_cast<uint8_t>(std::stoul(text.substr(at + 8 + 2 * i, 2), nullptr, 16));
  }
  options.publishers = {publisher};
  return options;
}

class Services {
 public:
  Services() : executor(std::move(Executor::create(2)).value()) {}
  HostServices::Options options() { return {&ledger, nullptr, executor.get(), nullptr, MRT_ISA_ANY}; }
  Ledger ledger;
  std::unique_ptr<Executor> executor;
};

TEST(PluginTest, TheReferencePluginLoadsAndOpens) {
  Loader loader(build_options("plugins"));
  const Result<const Plugin*> plugin = loader.load(loader.options().directories[0] + "/libmerritt_reference.so");
  ASSERT_TRUE(plugin.ok()) << plugin.status().message();
  EXPECT_EQ((*plugin)->id(), "reference");
  EXPECT_TRUE((*plugin)->can_map());
  const Result<uint32_t> count = Device::count(**plugin);
  ASSERT_TRUE(count.ok()) << count.status().message();
  EXPECT_EQ(*count, 1u);
  Services services;
  {
    const Result<std::shared_ptr<Device>> device = Device::open(**plugin, 0, services.options());
    ASSERT_TRUE(device.ok()) << device.status().message();
    EXPECT_FALSE((*device)->id().empty());
    EXPECT_FALSE((*device)->name().empty());
    EXPECT_GE((*device)->description().slots, 1u);
    EXPECT_EQ(Device::open(**plugin, 5, services.options()).status().code(), Code::kNotFound);
  }
  EXPECT_EQ(services.ledger.held(), 0u);
  EXPECT_EQ((*plugin)->extension("x.never/1", 8), nullptr);
}

TEST(PluginTest, FaultyHandshakesAreRefusedByName) {
  const std::map<std::string, std::string> refusals = {
      {"hello_refuses", "refuses this library"},    {"hello_unterminated_reason", "refuses this library"},
      {"hello_throws", "threw an exception"},       {"hello_nonsense_code", "refuses this library"},
      {"hello_wrong_abi", "which was not offered"}, {"hello_null_table", "gives no table"},
      {"table_too_small", "lacks required slots"},  {"table_size_lie", "bytes"},
      {"missing_required", "lacks required slots"},
  };
  Loader loader(build_options("test_plugins"));
  for (const auto& [fault, text] : refusals) {
    const Result<const Plugin*> plugin =
        loader.load(loader.options().directories[0] + "/libmerritt_faulty_" + fault + ".so");
    ASSERT_FALSE(plugin.ok()) << fault;
    EXPECT_NE(plugin.status().message().find(text), std::string_view::npos)
        << fault << ": " << plugin.status().message();
  }
}

TEST(PluginTest, OtherFaultyPluginsLoadAndAnswerWithCodes) {
  Loader loader(build_options("test_plugins"));
  Services services;
  uint32_t loaded = 0, refused = 0;
  for (const std::string& path : loader.candidates()) {
    if (path.find("_faulty_") == std::string::npos) continue;
    const Result<const Plugin*> plugin = loader.load(path);
    if (!plugin.ok()) {
      ++refused;
      continue;
    }
    ++loaded;
    const Plugin& faulty = **plugin;
    mrt_error error{};
    void* address = nullptr;
    const int32_t mapped =
        faulty.has_slot(offsetof(mrt_backend, kv_map) / sizeof(void*))
            ? MRT_UNSUPPORTED
            : fenced(faulty.table().kv_map, static_cast<mrt_pool*>(nullptr), 0u, 0u, 0u, &address, &error);
    EXPECT_EQ(mapped, MRT_UNSUPPORTED) << path;
    const Result<uint32_t> count = Device::count(faulty);
    EXPECT_TRUE(!count.ok() || *count <= 64) << path;
    const Result<std::shared_ptr<Device>> device = Device::open(faulty, 0, services.options());
    if (path.find("open_throws") != std::string::npos) {
      EXPECT_NE(device.status().message().find("threw an exception"), std::string_view::npos) << path;
    }
    if (path.find("open_unterminated") != std::string::npos) {
      EXPECT_EQ(device.status().code(), Code::kBackend);
    }
    if (device.ok()) {
      EXPECT_LT((*device)->name().size(), 129u);
    }
  }
  EXPECT_GE(loaded, 20u);
  EXPECT_GE(refused, 9u);
  EXPECT_EQ(services.ledger.held(), 0u);
}

TEST(PluginTest, MissingOptionalSlotsAnswerUnsupported) {
  Loader loader(build_options("test_plugins"));
  const Result<const Plugin*> plugin =
      loader.load(loader.options().directories[0] + "/libmerritt_faulty_missing_optional.so");
  ASSERT_TRUE(plugin.ok()) << plugin.status().message();
  EXPECT_FALSE((*plugin)->can_map());
  EXPECT_FALSE((*plugin)->has_adapters());
  mrt_error error{};
  EXPECT_EQ((*plugin)->table().kv_export(nullptr, nullptr, nullptr, 0, &error), MRT_UNSUPPORTED);
  EXPECT_STREQ(error.message, "the plugin does not offer this");
  (*plugin)->table().adapter_destroy(nullptr);
  EXPECT_EQ((*plugin)->extension(MRT_EXT_TRACE, sizeof(mrt_ext_trace)), nullptr);
}

TEST(PluginTest, WhatAPluginThrowsComesOutOfItsTableAsACode) {
  Loader loader(build_options("test_plugins"));
  const Result<const Plugin*> plugin =
      loader.load(loader.options().directories[0] + "/libmerritt_faulty_open_throws.so");
  ASSERT_TRUE(plugin.ok()) << plugin.status().message();
  Services services;
  const HostServices host(services.options());
  mrt_device* device = nullptr;
  mrt_error error{};
  EXPECT_EQ((*plugin)->table().device_open(0, &host.table(), &device, &error), MRT_BACKEND);
  EXPECT_EQ(error.blast, static_cast<uint32_t>(MRT_BLAST_PROGRAM));
  EXPECT_NE(std::string(error.message).find("threw an exception"), std::string::npos);
}

TEST(FencedTest, AThrowBecomesACode) {
  int32_t (*const throws)(uint32_t, mrt_error*) = [](uint32_t, mrt_error*) -> int32_t { throw 42; };
  void (*const throws_too)(uint32_t) = [](uint32_t) { throw 42; };
  mrt_error error{};
  EXPECT_EQ(fenced(throws, 1u, &error), MRT_BACKEND);
  EXPECT_EQ(error.blast, static_cast<uint32_t>(MRT_BLAST_PROGRAM));
  EXPECT_EQ(error.index, UINT32_MAX);
  fenced(throws_too, 1u);
}

}  // namespace
}  // namespace merritt::backend
