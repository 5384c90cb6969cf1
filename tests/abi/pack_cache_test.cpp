// SPDX-License-Identifier: Apache-2.0
// The pack cache as a host meets it: off by default, a directory and a key in the load options, a flag in the model's
// information.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <thread>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::test {
namespace {

class PackCacheOptions : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_ = make_engine();
    ASSERT_TRUE(load_backend(engine_, "onednn"));
    path_ = folder_.tiny_model();
    packs_ = folder_.path() + "/packs";
    std::filesystem::create_directory(packs_);
    std::filesystem::permissions(packs_, std::filesystem::perms::owner_all);
  }
  void TearDown() override { EXPECT_EQ(merritt_engine_destroy(engine_, nullptr), MERRITT_OK); }

  merritt_model_options options(const std::string& directory) const {
    merritt_model_options options{};
    options.pack_cache = directory.data();
    options.pack_cache_length = directory.size();
    return options;
  }
  bool loads_from_pack(const merritt_model_options& options) const {
    const merritt_model model = load_model(engine_, path_, options);
    merritt_model_info info{};
    info.struct_size = sizeof(info);
    EXPECT_EQ(merritt_model_info_get(model, &info, nullptr), MERRITT_OK);
    EXPECT_EQ(merritt_model_destroy(model, nullptr), MERRITT_OK);
    return (info.flags & MERRITT_MODEL_FROM_PACK) != 0;
  }
  int32_t refusal(merritt_model_options options) const {
    options.struct_size = sizeof(options);
    merritt_model model = nullptr;
    return merritt_model_load(engine_, path_.data(), path_.size(), &options, &model, nullptr);
  }

  const TempFolder folder_;
  merritt_engine engine_ = nullptr;
  std::string path_, packs_;
};

TEST_F(PackCacheOptions, TheSecondLoadIsFromAPack) {
  std::this_thread::sleep_for(std::chrono::milliseconds(3100));  // a file that changed a moment ago is not kept
  EXPECT_FALSE(loads_from_pack({}));
  EXPECT_TRUE(std::filesystem::is_empty(packs_));
  EXPECT_FALSE(loads_from_pack(options(packs_)));
  EXPECT_TRUE(loads_from_pack(options(packs_)));
  EXPECT_FALSE(loads_from_pack({}));
  std::array<uint8_t, 32> key{};
  key.fill(5);
  merritt_model_options keyed = options(packs_);
  keyed.pack_cache_key = key.data();
  keyed.pack_cache_key_length = key.size();
  EXPECT_FALSE(loads_from_pack(keyed));
  EXPECT_TRUE(loads_from_pack(keyed));
}

TEST_F(PackCacheOptions, WhatMakesNoSenseIsRefused) {
  EXPECT_EQ(refusal(options("packs")), MERRITT_INVALID_ARGUMENT) << "relative";
  EXPECT_EQ(refusal(options(folder_.path() + "/none")), MERRITT_NOT_FOUND);
  EXPECT_EQ(refusal(options(path_)), MERRITT_NOT_FOUND) << "not a directory";
  const std::array<uint8_t, 32> key{};
  merritt_model_options wrong = options(packs_);
  wrong.pack_cache_key = key.data();
  wrong.pack_cache_key_length = 16;
  EXPECT_EQ(refusal(wrong), MERRITT_INVALID_ARGUMENT);
  wrong.pack_cache_key = nullptr;
  wrong.pack_cache_key_length = 32;
  EXPECT_EQ(refusal(wrong), MERRITT_INVALID_ARGUMENT);
  merritt_model_options alone{};
  alone.pack_cache_key = key.data();
  alone.pack_cache_key_length = key.size();
  EXPECT_EQ(refusal(alone), MERRITT_INVALID_ARGUMENT) << "a key without a directory";
  std::filesystem::permissions(packs_, std::filesystem::perms::all);
  EXPECT_EQ(refusal(options(packs_)), MERRITT_PERMISSION_DENIED);
}

// A caller built against the options as they were before.
TEST_F(PackCacheOptions, AnOlderCallersOptionsEndBeforeThem) {
  merritt_model_options older = options("never read");
  older.struct_size = offsetof(merritt_model_options, pack_cache);
  merritt_model model = nullptr;
  ASSERT_EQ(merritt_model_load(engine_, path_.data(), path_.size(), &older, &model, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_model_destroy(model, nullptr), MERRITT_OK);
}

}  // namespace
}  // namespace merritt::test
