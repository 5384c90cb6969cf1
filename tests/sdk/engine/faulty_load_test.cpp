// SPDX-License-Identifier: Apache-2.0
// Plugins that fail or lie while a model is loaded: a typed error with a text, the engine goes on with another backend,
// and every byte comes back.
#include <gtest/gtest.h>

#include "tests/plugins/faulty/faulty.h"
#include "tests/support/small_engine.hpp"

namespace merritt::test {
namespace {

struct LoadFault {
  const char* fault;
  Code code;
  const char* text;
};

std::ostream& operator<<(std::ostream& out, const LoadFault& c) { return out << c.fault; }

class FaultyLoad : public ::testing::TestWithParam<LoadFault> {};

TEST_P(FaultyLoad, IsATypedErrorAndTheEngineGoesOn) {
  const LoadFault& c = GetParam();
  SmallEngine engine;
  const std::string id = std::string("faulty_") + c.fault;
  ASSERT_NE(engine.load_backend(id), nullptr);
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  for (int i = 0; i < 2; ++i) {
    const auto loaded = engine.load_model(id);
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.status().code(), c.code) << loaded.status().message();
    EXPECT_NE(loaded.status().message().find(c.text), std::string::npos) << loaded.status().message();
  }
  {
    const auto model = engine.load_model("reference");
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_TRUE(generate_one(engine, engine.session("a", *model)).good());
    EXPECT_TRUE(engine->unload_model(*model).ok());
  }
  engine.close();
  EXPECT_EQ(engine.bytes, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Faults, FaultyLoad,
    ::testing::Values(LoadFault{"compile_refuses_op", Code::kUnsupported, "gate"},
                      LoadFault{"compile_throws", Code::kBackend, "threw"},
                      LoadFault{"compile_null_model", Code::kBackend, "made a model without giving it"},
                      LoadFault{"compile_garbage", Code::kBackend, "garbage"},
                      LoadFault{"kv_spec_nonsense", Code::kBackend, "200 KV groups"},
                      LoadFault{"kv_spec_late_nonsense", Code::kBackend, "200 KV groups"},
                      LoadFault{"pool_null", Code::kBackend, "made a KV pool without giving it"},
                      LoadFault{"program_null", Code::kBackend, "made a program without giving it"},
                      LoadFault{"staging_null", Code::kBackend, "no array token"},
                      LoadFault{"staging_pages_null", Code::kBackend, "no array pages"},
                      LoadFault{"output_width_lie", Code::kBackend, "wide"},
                      LoadFault{"status_nonsense", Code::kBackend, "lost"}),
    ::testing::PrintToStringParamName());

TEST(FaultyDevice, WithoutASlotIsRefused) {
  SmallEngine engine;
  const auto plugin = engine->load_backend(test_plugin_dir() + "/libmerritt_faulty_describe_no_slots.so");
  ASSERT_FALSE(plugin.ok());
  EXPECT_EQ(plugin.status().code(), Code::kBackend);
}

// What a plugin leaks is charged until its device goes, and given back then.
TEST(FaultyDevice, LeaksEndWithTheEngine) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("faulty_compile_leaks"), nullptr);
  {
    const auto model = engine.load_model("faulty_compile_leaks");
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_TRUE(generate_one(engine, engine.session("a", *model)).good());
    EXPECT_TRUE(engine->unload_model(*model).ok());
  }
  EXPECT_EQ(engine.bytes, 65536);
  engine.close();
  EXPECT_EQ(engine.bytes, 0);
}

// Every call of a whole life fails once: load, generate for two tenants, generate again, destroy.
TEST(FaultyCalls, EachFailsOnce) {
  uint64_t k = 1;
  for (bool reached = true; reached; ++k) {
    SCOPED_TRACE("call " + std::to_string(k));
    SmallEngine engine;
    const backend::Plugin* plugin = engine.load_backend("faulty_fails_kth_call");
    ASSERT_NE(plugin, nullptr);
    const auto* controls = engine.controls<merritt_faulty_ext>(plugin, MERRITT_FAULTY_EXT);
    const uint64_t before = controls->calls();
    controls->fail_at(k);
    {
      auto model = engine.load_model("faulty_fails_kth_call");
      if (!model.ok()) {
        EXPECT_EQ(model.status().code(), Code::kBackend) << model.status().message();
        controls->fail_at(0);
        model = engine.load_model("faulty_fails_kth_call");
      }
      ASSERT_TRUE(model.ok()) << model.status().message();
      const std::vector sessions{engine.session("a", *model), engine.session("b", *model)};
      for (const Outcome& outcome : generate(engine, sessions)) EXPECT_TRUE(outcome.answered()) << outcome;
      EXPECT_TRUE(engine->close_session(sessions[0]).ok());
      reached = controls->calls() - before >= k;
      controls->fail_at(0);
      EXPECT_TRUE(generate_one(engine, sessions[1]).good());
      EXPECT_TRUE(generate_one(engine, engine.session("c", *model)).good());
      EXPECT_TRUE(engine->unload_model(*model).ok());
    }
    engine.close();
    EXPECT_EQ(engine.bytes, 0);
    if (HasFatalFailure() || HasNonfatalFailure()) break;
  }
  EXPECT_GT(k, 20u);
}

}  // namespace
}  // namespace merritt::test
