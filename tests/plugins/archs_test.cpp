// SPDX-License-Identifier: Apache-2.0
// Whole models, from file to logits: the tiny GGUFs are read, built and run on every plugin and compared with logits
// computed from the equations of transformers (tests/golden/make_arch_goldens.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "model/model_file.hpp"
#include "model/weight_source.hpp"
#include "tests/plugins/harness/each_plugin.hpp"
#include "tests/support/places.hpp"
#include "tests/support/tiny_gguf.hpp"

namespace merritt::testing {
namespace {

const nlohmann::json& arch_goldens() {
  static const nlohmann::json all =
      nlohmann::json::parse(std::ifstream(merritt::test::source_dir() + "/tests/golden/archs.json"));
  return all;
}

TinyGguf model_of(const nlohmann::json& j) {
  TinyGguf m;
  m.architecture = j["architecture"];
  m.layers = j["layers"];
  m.width = j["width"];
  m.inner = j["inner"];
  m.heads = j["heads"];
  m.kv_heads = j["kv_heads"];
  m.head_dim = j["head_dim"];
  m.window = j["window"];
  m.rope_linear = j["rope_linear"];
  m.rope_freqs = j["rope_freqs"];
  m.tied_output = j["tied_output"];
  m.seed = j["seed"];
  return m;
}

// The graph and the bytes of its weights, in the form the rig takes.
GraphBuilder rig_graph(const model::ModelFile& file) {
  GraphBuilder b;
  const mrt_graph graph = file.graph.view();
  b.nodes.assign(graph.nodes, graph.nodes + graph.n_nodes);
  b.args.assign(graph.args, graph.args + graph.n_args);
  b.attrs.assign(graph.attrs, graph.attrs + graph.n_attrs);
  b.outputs.assign(graph.outputs, graph.outputs + graph.n_outputs);
  b.max_context = graph.max_context;
  const model::WeightSource source(file);
  const mrt_weights weights = source.view();
  for (uint32_t i = 0; i < weights.n_weights; ++i) {
    const mrt_weight& w = weights.list[i];
    std::vector<uint8_t> bytes(w.bytes);
    mrt_error err{};
    EXPECT_EQ(weights.read(weights.ctx, i, 0, bytes.data(), w.bytes, &err), MRT_OK) << err.message;
    b.weight(w.type, std::vector<uint64_t>(w.dims, w.dims + w.n_dims), std::move(bytes));
  }
  return b;
}

std::unique_ptr<model::ModelFile> open(const TinyGguf& m) {
  auto file = model::open_model(model::weights::memory_source(tiny_gguf(m)));
  EXPECT_TRUE(file.ok()) << file.status().message();
  return file.ok() ? std::make_unique<model::ModelFile>(std::move(file).value()) : nullptr;
}

class Archs : public EachPlugin {
 protected:
  // A rig for each golden model.
  template <class Check>
  void each_model(Check&& check) const {
    for (const nlohmann::json& golden : arch_goldens()) {
      SCOPED_TRACE(golden["name"].get<std::string>());
      const auto file = open(model_of(golden["model"]));
      ASSERT_NE(file, nullptr);
      Rig rig(plugin(), rig_graph(*file));
      ASSERT_TRUE(rig.ok()) << rig.err.message;
      check(golden, rig);
    }
  }
  // The largest difference between the golden rows and those of the rig, prompted in chunks of `chunk` tokens.
  double difference(Rig* rig, const nlohmann::json& golden, uint32_t chunk) {
    const std::vector<uint32_t> tokens = golden["tokens"];
    std::vector<std::vector<float>> logits;
    const uint32_t sequence = rig->add_sequence();
    for (size_t at = 0; at < tokens.size(); at += chunk) {
      const size_t n = std::min<size_t>(chunk, tokens.size() - at);
      const auto from = tokens.begin() + static_cast<ptrdiff_t>(at);
      const Chunk run{sequence, {from, from + static_cast<ptrdiff_t>(n)}, MRT_CLASS_PROMPT, true};
      EXPECT_EQ(rig->go({run}), MRT_OK) << rig->err.message;
      for (uint32_t r = 0; r < n; ++r) logits.emplace_back(rig->row(r), rig->row(r) + rig->width());
    }
    double largest = 0;
    for (size_t i = 0; i < golden["rows"].size(); ++i) {
      const std::vector<float> expected = golden["logits"][i];
      const std::vector<float>& got = logits.at(golden["rows"][i].get<size_t>());
      EXPECT_EQ(got.size(), expected.size());
      for (size_t j = 0; j < expected.size(); ++j) {
        largest = std::max(largest, static_cast<double>(std::fabs(got[j] - expected[j])));
      }
    }
    rig->remove(sequence);
    return largest;
  }
};

TEST_P(Archs, LogitsAreThoseOfTransformers) {
  each_model([&](const nlohmann::json& golden, Rig& rig) {
    // Logits reach 12, the goldens have six digits, and the rig compiles for f32 throughout.
    const double tolerance = 2e-4;
    EXPECT_LT(difference(&rig, golden, 40), tolerance);
    EXPECT_LT(difference(&rig, golden, 7), tolerance);
  });
}

// What the last layer leaves out is nobody's: rows that are asked for alone are the bits of rows among all others.
TEST_P(Archs, RowsAskedForAloneAreTheSame) {
  each_model([&](const nlohmann::json& golden, Rig& rig) {
    const std::vector<uint32_t> tokens = golden["tokens"];
    ASSERT_EQ(rig.go({{rig.add_sequence(), tokens}}), MRT_OK) << rig.err.message;
    const std::vector<float> all = rig.rows();
    ASSERT_EQ(rig.go({{rig.add_sequence(), tokens, MRT_CLASS_PROMPT, false}}), MRT_OK) << rig.err.message;
    ASSERT_EQ(rig.rows().size(), rig.width());
    const float* last = all.data() + (tokens.size() - 1) * rig.width();
    EXPECT_EQ(std::memcmp(rig.row(0), last, rig.width() * sizeof(float)), 0);
  });
}

// The same model with Q8_0 matrices is close, which it would not be with a mistaken block order.
TEST_P(Archs, QuantisedModelStaysClose) {
  const nlohmann::json& golden = arch_goldens()[0];
  TinyGguf m = model_of(golden["model"]);
  m.matrix_type = 8;
  const auto file = open(m);
  ASSERT_NE(file, nullptr);
  Rig rig(plugin(), rig_graph(*file));
  ASSERT_TRUE(rig.ok()) << rig.err.message;
  EXPECT_LT(difference(&rig, golden, 40), 1.0);
}

MERRITT_EACH_PLUGIN(Archs);

}  // namespace
}  // namespace merritt::testing
