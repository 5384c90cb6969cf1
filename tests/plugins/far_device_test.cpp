// SPDX-License-Identifier: Apache-2.0
// What only the far device shows: steps that are not done yet, inputs copied at run, and a device lost at any call.
#include "tests/plugins/fardevice/fardevice.h"

#include <cstring>

#include "tests/plugins/harness/each_plugin.hpp"
#include "tests/support/places.hpp"

namespace merritt::testing {
namespace {

class FarDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    plugin = &plugin_named("fardevice");
    ASSERT_NE(plugin->table.extension, nullptr);
    controls = static_cast<const merritt_fardevice_ext*>(
        plugin->table.extension(MERRITT_FARDEVICE_EXT, sizeof MERRITT_FARDEVICE_EXT - 1));
    ASSERT_NE(controls, nullptr);
  }
  void TearDown() override {
    controls->lose_at(0);
    controls->slow_steps_us(0);
  }
  const PluginLibrary* plugin = nullptr;
  const merritt_fardevice_ext* controls = nullptr;
};

TEST_F(FarDevice, StepsRunOnTheirOwnAndReadInputsAtRun) {
  Rig rig(*plugin, tiny_decoder({})), quick(*plugin, tiny_decoder({}));
  const auto tokens = random_tokens(5, 12, 64);
  ASSERT_EQ(quick.go({{quick.add_sequence(), tokens}}), MRT_OK);
  controls->slow_steps_us(50'000);
  ASSERT_TRUE(rig.fill({{rig.add_sequence(), tokens}}));
  ASSERT_EQ(rig.prepare(), MRT_OK);
  ASSERT_EQ(rig.run(), MRT_OK);
  EXPECT_EQ(rig.table().step_wait(rig.program, 0, 0, &rig.err), MRT_DEADLINE);
  EXPECT_EQ(rig.table().step_commit(rig.program, 0, nullptr, &rig.err), MRT_FAILED_PRECONDITION);
  std::memset(rig.staging.token, 0xff, 12 * sizeof(uint32_t));  // the device has its copy
  ASSERT_EQ(rig.wait(), MRT_OK) << rig.err.message;
  EXPECT_EQ(std::memcmp(rig.staging.output[0].data, quick.rows().data(), quick.rows().size() * sizeof(float)), 0);
  EXPECT_EQ(rig.commit(), MRT_OK);
}

TEST_F(FarDevice, LostAtAnyCallEverythingSaysSoAndTheLedgerEndsAtZero) {
  const GraphBuilder graph = tiny_decoder({});
  bool finished = false;
  for (uint64_t k = 1; k < 60 && !finished; ++k) {
    SCOPED_TRACE(::testing::Message() << "lost at call " << k);
    controls->lose_at(k);
    Rig rig(*plugin, graph);
    int32_t code = rig.err.code;
    if (rig.ok()) {
      code = MRT_OK;
      const uint32_t a = rig.add_sequence();
      for (uint32_t i = 0; i < 4 && code == MRT_OK; ++i) code = rig.go({{a, {1 + i, 2, 3}}});
      if (code == MRT_OK) {
        const uint32_t from = 0, to = 9;
        code = rig.table().kv_copy(rig.pool, 0, &from, &to, 1, 2, &rig.err);
      }
    }
    finished = code == MRT_OK;
    if (finished) {
      rig.close();
      EXPECT_EQ(rig.host.charged(), 0u);
      break;
    }
    EXPECT_EQ(code, MRT_BACKEND);
    EXPECT_EQ(rig.err.blast, static_cast<uint32_t>(MRT_BLAST_DEVICE)) << rig.err.message;
    uint32_t state = 99;
    EXPECT_EQ(rig.table().device_status(rig.device, &state, &rig.err), MRT_OK);
    EXPECT_EQ(state, static_cast<uint32_t>(MRT_STATE_LOST));
    if (rig.program != nullptr && rig.pool != nullptr) {
      EXPECT_EQ(rig.prepare(), MRT_BACKEND);
      EXPECT_EQ(rig.err.blast, static_cast<uint32_t>(MRT_BLAST_DEVICE));
      EXPECT_FALSE(rig.pool_bytes().empty()) << "read-outs remain";
    }
    rig.close();
    EXPECT_EQ(rig.host.charged(), 0u) << "the ledger ends at zero";
    EXPECT_EQ(rig.host.n_errors(), 0u);
  }
  EXPECT_TRUE(finished) << "the run ended without a fault once k was past it";
}

TEST(FaultyPlugin, EveryKthCallMayFailAndNothingIsLost) {
  PluginLibrary faulty;
  faulty.name = "faulty";
  std::string reason;
  ASSERT_TRUE(load_plugin(merritt::test::output_dir() + "/lib/merritt/test_plugins/libmerritt_faulty_fails_kth_call.so",
                          &faulty, &reason))
      << reason;
  struct Controls {
    uint32_t struct_size, reserved;
    void (*fail_at)(uint64_t);
    uint64_t (*calls)(void);
  };
  const auto* controls = static_cast<const Controls*>(faulty.table.extension("x.faulty/1", 10));
  ASSERT_NE(controls, nullptr);
  const GraphBuilder graph = tiny_decoder({});
  const auto tokens = random_tokens(6, 9, 64);
  Rig good(plugin_named("reference"), graph);
  ASSERT_EQ(good.go({{good.add_sequence(), tokens}}), MRT_OK);
  bool finished = false;
  for (uint64_t k = 1; k < 40 && !finished; ++k) {
    controls->fail_at(k);
    Rig rig(faulty, graph);
    if (!rig.ok()) {
      EXPECT_EQ(rig.err.code, MRT_BACKEND) << rig.err.message;
      rig.close();
      EXPECT_EQ(rig.host.charged(), 0u) << "failed at call " << k;
      continue;
    }
    const uint32_t a = rig.add_sequence();
    int32_t code = rig.go({{a, tokens}});
    finished = code == MRT_OK && controls->calls() > 0;
    if (code == MRT_OK) break;
    rig.table().step_abort(rig.program, 0, &rig.err);
    code = rig.go({{a, tokens}});
    ASSERT_EQ(code, MRT_OK) << rig.err.message;
    EXPECT_EQ(rig.rows(), good.rows()) << "a failed call changed nothing";
    rig.close();
    EXPECT_EQ(rig.host.charged(), 0u) << "failed at call " << k;
  }
  EXPECT_TRUE(finished);
  controls->fail_at(0);
}

}  // namespace
}  // namespace merritt::testing
