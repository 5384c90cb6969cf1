// SPDX-License-Identifier: Apache-2.0
// Memory is taken from the system when it is used: a large KV pool costs a process only the pages that tokens stand in,
// from load to unload.
#include <gtest/gtest.h>

#include <fstream>

#include "base/os/memory.hpp"
#include "tests/support/small_engine.hpp"

// A sanitizer has memory of its own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace merritt::test {
namespace {

class ResidentMemory : public ::testing::TestWithParam<const char*> {};

TEST_P(ResidentMemory, AnIdlePoolIsNotResident) {
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
  const uint64_t before = os::memory_state().rss_bytes;
  constexpr uint64_t kPool = uint64_t{512} << 20;
  {
    SmallEngine engine;
    ASSERT_NE(engine.load_backend(GetParam()), nullptr);
    engine::ModelLoadOptions options = SmallEngine::load_options(GetParam());
    options.compile.kv_bytes = kPool;
    const auto model = engine->load_model(std::move(options));
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_GE(engine->stats().kv_bytes, kPool / 2);
    EXPECT_TRUE(generate_one(engine, engine.session("a", *model)).good());
    EXPECT_TRUE(engine->unload_model(*model).ok());
  }
  EXPECT_LT(os::memory_state().rss_peak_bytes, before + kPool / 4);
}

INSTANTIATE_TEST_SUITE_P(Plugins, ResidentMemory, ::testing::Values("reference", "onednn"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace merritt::test

#endif
