// SPDX-License-Identifier: Apache-2.0
// What the oneDNN plugin takes from the process it lives in: nothing of the environment, and AMX only when the kernel
// grants it. Each needs a fresh process: this program again, with one test of it.
#include <gtest/gtest.h>
#include <signal.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "support/blocks.hpp"
#include "tests/plugins/harness/rig.hpp"
#include "tests/support/run_case.hpp"

namespace merritt::testing {
namespace {

constexpr const char* kSmallStack = "MERRITT_TEST_SMALL_SIGNAL_STACK";

class OneDnnProcess : public ::testing::Test {
 protected:
  void SetUp() override {
    if (plugin_named("onednn").name.empty()) GTEST_SKIP() << "the onednn plugin is not built";
  }
};

// Weights that the library multiplies on a CPU without AMX, whatever else that has.
GraphBuilder decoder() {
  TinyModel m;
  m.width = 64;
  m.weight_type = plugin::kF16;
  return tiny_decoder(m);
}

RigOptions level(uint32_t isa_max) {
  RigOptions options;
  options.isa_max = isa_max;
  options.compile_flags = 0;
  return options;
}

// Prints one line that tells the kernels and the bits of a prompt and a generated step.
TEST_F(OneDnnProcess, SaysWhichKernelsRan) {
  std::vector<char> stack(8192);
  stack_t small{};
  small.ss_sp = stack.data();
  small.ss_size = stack.size();
  const bool small_stack = std::getenv(kSmallStack) != nullptr;  // NOLINT(concurrency-mt-unsafe): one thread
  if (small_stack) {
    ASSERT_EQ(sigaltstack(&small, nullptr), 0);
  }
  const GraphBuilder graph = decoder();
  Rig rig(plugin_named("onednn"), graph, level(0));
  ASSERT_TRUE(rig.ok()) << rig.err.message;
  const auto* trace = static_cast<const mrt_ext_trace*>(rig.table().extension(MRT_EXT_TRACE, sizeof MRT_EXT_TRACE - 1));
  ASSERT_NE(trace, nullptr);
  std::string line = "kernels:";
  for (uint32_t node = 0; node < graph.nodes.size(); ++node) {
    for (const uint32_t row_class : {MRT_CLASS_PROMPT, MRT_CLASS_GENERATED}) {
      char name[64] = {};
      ASSERT_EQ(trace->kernel_name(rig.model, node, row_class, name, sizeof name, &rig.err), MRT_OK);
      line += " " + std::string(name);
    }
  }
  const uint32_t s = rig.add_sequence();
  uint64_t hash = 0xcbf29ce484222325u;
  for (const Chunk& chunk : {Chunk{s, {1, 2, 3, 4, 5, 6, 7, 8, 9}}, Chunk{s, {10}, MRT_CLASS_GENERATED}}) {
    ASSERT_EQ(rig.go({chunk}), MRT_OK) << rig.err.message;
    for (const float value : rig.rows()) hash = (hash ^ std::bit_cast<uint32_t>(value)) * 0x100000001b3u;
  }
  std::printf("%s bits %llx\n", line.c_str(), static_cast<unsigned long long>(hash));
  if (!small_stack) return;
  // AMX state does not fit on that signal stack, so the kernel refuses it; the level below runs, as if capped.
  const Rig capped(plugin_named("onednn"), graph, level(MRT_ISA_VNNI));
  EXPECT_EQ(std::memcmp(rig.info.numerics, capped.info.numerics, sizeof rig.info.numerics), 0);
  small.ss_flags = SS_DISABLE;
  EXPECT_EQ(sigaltstack(&small, nullptr), 0);
}

// What SaysWhichKernelsRan writes in a fresh process with this variable.
std::string in_fresh_process(const std::string& variable) {
  const CaseRun run = run_case(this_program(), "OneDnnProcess.SaysWhichKernelsRan", variable);
  EXPECT_TRUE(run.code == 0 && run.ran()) << run.output;
  return run.output;
}

std::string kernels_line(const std::string& text) {
  const size_t at = text.find("kernels:");
  return at == std::string::npos ? text : text.substr(at, text.find('\n', at) - at);
}

TEST_F(OneDnnProcess, TheEnvironmentIsNotRead) {
  const std::string plain = kernels_line(in_fresh_process("MERRITT_NOTHING=1"));
  EXPECT_NE(plain.find("onednn:brgemm_"), std::string::npos) << plain;
  for (const char* prefix : {"ONEDNN_", "DNNL_"}) {
    const std::string verbose = in_fresh_process(std::string(prefix) + "VERBOSE=2");
    EXPECT_EQ(verbose.find("nednn_verbose"), std::string::npos) << verbose;
    EXPECT_EQ(kernels_line(verbose), plain);
    EXPECT_EQ(kernels_line(in_fresh_process(std::string(prefix) + "MAX_CPU_ISA=SSE41")), plain);
  }
}

TEST_F(OneDnnProcess, ARefusedAmxPermissionIsNoError) {
  const std::string text = in_fresh_process(std::string(kSmallStack) + "=1");
  EXPECT_NE(text.find("kernels:"), std::string::npos) << text;
}

}  // namespace
}  // namespace merritt::testing
