// SPDX-License-Identifier: Apache-2.0
// Every op on every plugin: reference and far device against NumPy (tests/golden/make_op_goldens.py), the others
// against the same numbers within the tolerance of their arithmetic.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/plugins/harness/rig.hpp"
#include "tests/support/places.hpp"

namespace merritt::testing {
namespace {

const nlohmann::json& op_goldens() {
  static const nlohmann::json all =
      nlohmann::json::parse(std::ifstream(merritt::test::source_dir() + "/tests/golden/ops.json"));
  return all;
}

GraphBuilder graph_of(const nlohmann::json& c) {
  GraphBuilder b;
  for (const auto& w : c["weights"]) b.weight(w["dims"].get<std::vector<uint64_t>>(), w["seed"], w["scale"]);
  uint32_t last = 0;
  for (const auto& n : c["nodes"]) {
    std::vector<Attr> attrs;
    for (const auto& a : n["attrs"]) {
      const uint32_t key = a[0];
      attrs.push_back(key < 0x100 ? Attr(key, a[1].get<int64_t>()) : Attr(key, a[1].get<double>()));
    }
    last = b.node(n["op"], n["width"], n["args"].get<std::vector<uint32_t>>(), attrs, n["rows"]);
  }
  b.output(last);
  return b;
}

// One step over all runs of the case; the hidden rows, positions, types and wanted rows are the case's own.
int32_t run_case(const nlohmann::json& c, Rig* rig) {
  std::vector<Chunk> runs;
  uint32_t first = 0;
  for (const uint32_t n : c["runs"]) {
    Chunk run{rig->add_sequence(), {}, MRT_CLASS_PROMPT, true};
    for (uint32_t t = first; t < first + n; ++t) run.tokens.push_back(c["ids"][t]);
    first += n;
    runs.push_back(run);
  }
  if (!rig->fill(runs)) return MRT_OUT_OF_MEMORY;
  const auto hidden =
      noise(c["hidden"]["seed"], static_cast<uint64_t>(first) * c["hidden"]["width"].get<uint64_t>(), 1);
  if (rig->staging.hidden != nullptr) std::copy(hidden.begin(), hidden.end(), rig->staging.hidden);
  for (uint32_t t = 0; t < first; ++t) {
    rig->staging.position[t] = c["positions"][t];
    if (rig->staging.type != nullptr) rig->staging.type[t] = c["types"][t];
  }
  rig->step.n_rows = static_cast<uint32_t>(c["rows"].size());
  for (uint32_t r = 0; r < rig->step.n_rows; ++r) rig->staging.rows[r] = c["rows"][r];
  int32_t code = rig->prepare();
  if (code == MRT_OK) code = rig->run();
  if (code == MRT_OK) code = rig->wait();
  return code;
}

struct OpCase {
  std::string plugin;
  size_t index;
};
void PrintTo(const OpCase& c, std::ostream* os) { *os << c.plugin << " " << op_goldens()[c.index]["name"]; }

std::vector<OpCase> op_cases() {
  std::vector<OpCase> all;
  for (const PluginLibrary& p : plugins()) {
    for (size_t i = 0; i < op_goldens().size(); ++i) all.push_back({p.name, i});
  }
  return all;
}

// What a plugin says it does not offer. Everything else it must compute: a refusal that is not in this list is a
// failure.
bool is_declined(const PluginLibrary& plugin, const std::string& name) {
  return plugin.name == "onednn" && (name.find("moe") == 0 || name.find("sinks") != std::string::npos);
}

class Ops : public ::testing::TestWithParam<OpCase> {};

TEST_P(Ops, AgreeWithNumPy) {
  const auto& c = op_goldens()[GetParam().index];
  const PluginLibrary& plugin = plugin_named(GetParam().plugin);
  const GraphBuilder graph = graph_of(c);
  for (const Executor executor : {Executor::kOneThread, Executor::kLate, Executor::kTwoThreads, Executor::kNoGang}) {
    RigOptions options;
    options.executor = executor;
    Rig rig(plugin, graph, options);
    if (is_declined(plugin, c["name"])) {
      EXPECT_FALSE(rig.ok()) << "offered by now: take it out of the list";
      EXPECT_EQ(rig.err.code, MRT_UNSUPPORTED);
      ASSERT_LT(rig.err.index, graph.nodes.size()) << "a refusal names its node: " << rig.err.message;
      const uint32_t op = graph.nodes[rig.err.index].op;
      EXPECT_TRUE(op == MRT_OP_MOE || op == MRT_OP_ATTENTION) << rig.err.message;
      continue;
    }
    ASSERT_TRUE(rig.ok()) << rig.err.message;
    ASSERT_EQ(run_case(c, &rig), MRT_OK) << rig.err.message;
    const auto& expect = c["expect"];
    double largest = 0;
    for (const double e : expect) largest = std::max(largest, std::fabs(e));
    // f32 results of double sums for the reference; the others sum in f32 or round their inputs to bf16 nowhere, since
    // the rig compiles with EXACT.
    const double tolerance = plugin.exact() ? 2e-6 : 5e-5;
    for (size_t i = 0; i < expect.size(); ++i) {
      ASSERT_NEAR(rig.staging.output[0].data[i], expect[i].get<double>(), tolerance * (largest + 1e-3))
          << "value " << i;
    }
    ASSERT_EQ(rig.commit(), MRT_OK) << rig.err.message;
  }
}

std::string case_name(const ::testing::TestParamInfo<OpCase>& c) {
  return c.param.plugin + "_" + op_goldens()[c.param.index]["name"].get<std::string>();
}
INSTANTIATE_TEST_SUITE_P(EveryPlugin, Ops, ::testing::ValuesIn(op_cases()), case_name);

TEST(Plugins, ReferenceAndFarDeviceAreThere) {
  EXPECT_FALSE(plugin_named("reference").name.empty());
  EXPECT_FALSE(plugin_named("fardevice").name.empty());
  EXPECT_EQ(plugin_load_errors(), "");
}

}  // namespace
}  // namespace merritt::testing
