// SPDX-License-Identifier: Apache-2.0
// The graph builder: what ops write into the arrays, and how shapes that do not fit are reported.
#include <gtest/gtest.h>

#include <map>

#include "model/graph/ops.hpp"

namespace merritt::model::graph {
namespace {

GraphBuilder::Catalogue catalogue(std::map<std::string, std::vector<uint64_t>, std::less<>> shapes) {
  return [shapes = std::move(shapes)](std::string_view name) -> std::optional<WeightInfo> {
    const auto found = shapes.find(name);
    if (found == shapes.end()) return std::nullopt;
    WeightInfo info;
    info.name = name;
    info.n_dims = static_cast<uint32_t>(found->second.size());
    std::copy(found->second.begin(), found->second.end(), info.dims.begin());
    info.tensor = static_cast<uint32_t>(std::distance(shapes.begin(), found));
    return info;
  };
}

std::map<uint32_t, mrt_attr> attrs_of(const Graph& g, size_t node) {
  std::map<uint32_t, mrt_attr> all;
  for (const mrt_attr& a : g.attrs(g.nodes()[node])) all[a.key] = a;
  return all;
}

std::string failure(GraphBuilder& g) {
  auto built = g.build();
  EXPECT_FALSE(built.ok());
  return built.ok() ? "" : std::string(built.status().message());
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(GraphBuilder, WritesArraysThatPluginsRead) {
  GraphBuilder g(catalogue({{"e", {8, 100}}, {"w", {8, 16}}, {"n", {8}}}), 512);
  const Weight table = g.weight("e", {8, 100});
  Tensor x = embed(g.tokens(), table, 2.5);
  x = rms_norm(x, g.weight("n", {8}), {.eps = 1e-6, .offset = 1});
  const Tensor q = linear(x, g.weight("w", {8, 16}));
  const Tensor r = rope(q, {.head_dim = 8, .base = 500, .style = RopeStyle::kPairs});
  const Tensor o =
      attention(r, q, q, {.head_dim = 8, .heads = 2, .kv_heads = 2, .scale = 0.5, .window = 4, .kv_layer = 0});
  const Tensor sum = o + q;
  g.output(linear(select_rows(scale(gate(sum, sum, Act::kSilu), 3)), g.weight("w2", {16, 3})));
  EXPECT_FALSE(g.ok());  // w2 is not in the catalogue

  GraphBuilder h(catalogue({{"e", {8, 100}}, {"w", {8, 16}}, {"n", {8}}}), 512);
  const Weight again = h.weight("e", {8, 0});  // 0 = any
  EXPECT_EQ(again.out(), 100u);
  Tensor y = embed(h.tokens(), again, 2.5);
  y = rms_norm(y, h.weight("n", {8}), {.eps = 1e-6, .offset = 1});
  const Tensor z = linear(y, h.weight("w", {8, 16}));
  const Tensor t = rope(z, {.head_dim = 8, .base = 500, .style = RopeStyle::kPairs});
  attention(t, z, z, {.head_dim = 8, .heads = 2, .kv_heads = 2, .scale = 0.5, .window = 4, .kv_layer = 0});
  h.output(linear(select_rows(y), h.weight("e", {8, 100})));
  auto built = h.build();
  ASSERT_TRUE(built.ok()) << built.status().message();
  const Graph& graph = *built;
  const mrt_graph view = graph.view();
  ASSERT_EQ(view.n_nodes, 7u);
  EXPECT_EQ(view.struct_size, sizeof(mrt_graph));
  EXPECT_EQ(view.max_context, 512u);
  EXPECT_EQ(view.nodes[0].op, MRT_OP_EMBED);
  EXPECT_EQ(graph.args(view.nodes[0])[0], MRT_REF_INPUT(MRT_IN_TOKENS));
  EXPECT_EQ(graph.args(view.nodes[0])[1], MRT_REF_WEIGHT(0));
  EXPECT_EQ(attrs_of(graph, 0)[MRT_A_SCALE].v.f, 2.5);
  EXPECT_EQ(attrs_of(graph, 1)[MRT_A_OFFSET].v.f, 1.0);
  EXPECT_EQ(view.nodes[2].width, 16u);
  EXPECT_EQ(view.nodes[2].n_args, 2u);  // no bias, so no third argument
  EXPECT_EQ(graph.args(view.nodes[3])[1], MRT_REF_INPUT(MRT_IN_POSITIONS));
  EXPECT_EQ(attrs_of(graph, 3)[MRT_A_STYLE].v.i, 1);
  EXPECT_EQ(attrs_of(graph, 4)[MRT_A_KV_LAYER].v.i, 1);  // ordinal + 1
  EXPECT_EQ(attrs_of(graph, 4)[MRT_A_WINDOW].v.i, 4);
  EXPECT_EQ(attrs_of(graph, 4).count(MRT_A_MASK), 0u);
  EXPECT_EQ(view.nodes[5].rows, MRT_ROWS_WANTED);
  EXPECT_EQ(view.nodes[6].rows, MRT_ROWS_WANTED);
  EXPECT_EQ(graph.args(view.nodes[6])[1], MRT_REF_WEIGHT(0));  // the tied table is listed once
  EXPECT_EQ(graph.weights().size(), 3u);
  EXPECT_EQ(view.outputs[0], 6u);
}

TEST(GraphBuilder, FirstErrorSticks) {
  GraphBuilder g(catalogue({{"e", {8, 100}}, {"w", {9, 16}}}), 0);
  const Tensor x = embed(g.tokens(), g.weight("e", {8, 100}));
  const uint32_t line = __LINE__ + 1;
  const Tensor y = linear(x, g.weight("w", {9, 16}));
  EXPECT_FALSE(y.valid());
  g.output(rope(y, {.head_dim = 7}));  // later mistakes are ignored
  const std::string text = failure(g);
  EXPECT_TRUE(contains(text, "node 1 (linear) at graph_test.cpp:" + std::to_string(line))) << text;
  EXPECT_TRUE(contains(text, "rows of 8 meet a weight that takes 9")) << text;
}

TEST(GraphBuilder, WeightsOfAnotherShapeAreRefusedWithBoth) {
  GraphBuilder g(catalogue({{"w", {8, 16}}}), 0);
  EXPECT_FALSE(g.weight("w", {16, 8}));
  const std::string text = failure(g);
  EXPECT_TRUE(contains(text, "'w' has the shape [8, 16]; the model's numbers ask for [16, 8]")) << text;
  GraphBuilder missing(catalogue({}), 0);
  EXPECT_FALSE(missing.optional_weight("bias", {8}));
  EXPECT_TRUE(missing.ok());
  EXPECT_FALSE(missing.weight("w", {8, 0}));
  EXPECT_TRUE(contains(failure(missing), "'w' of shape [8, any] is missing"));
}

TEST(GraphBuilder, EveryOpChecksItsShapes) {
  struct Case {
    const char* says;
    void (*build)(GraphBuilder& g, const Tensor& x);
  };
  const Case cases[] = {
      {"heads of 5 do not divide 8", [](GraphBuilder&, const Tensor& x) { rms_norm(x, {}, {.head_dim = 5}); }},
      {"a weight of 9", [](GraphBuilder& g, const Tensor& x) { layer_norm(x, g.weight("n9", {9}), {}, {}); }},
      {"a bias of 9",
       [](GraphBuilder& g, const Tensor& x) {
         linear(x, g.weight("w", {8, 16}), g.weight("n9", {9}));
       }},
      {"there is no weight", [](GraphBuilder&, const Tensor& x) { linear(x, {}); }},
      {"there is no table", [](GraphBuilder& g, const Tensor&) { embed(g.tokens(), {}); }},
      {"3 rotated of 8", [](GraphBuilder&, const Tensor& x) { rope(x, {.head_dim = 8, .rot_dim = 3}); }},
      {"base must be above 1", [](GraphBuilder&, const Tensor& x) { rope(x, {.head_dim = 8, .base = 0}); }},
      {"frequency factors", [](GraphBuilder& g, const Tensor& x) { rope(x, {.head_dim = 8}, g.weight("n9", {9})); }},
      {"over 3 KV heads",
       [](GraphBuilder&, const Tensor& x) { attention(x, x, x, {.head_dim = 2, .heads = 4, .kv_heads = 3}); }},
      {"q is 8 wide",
       [](GraphBuilder&, const Tensor& x) { attention(x, x, x, {.head_dim = 4, .heads = 4, .kv_heads = 2}); }},
      {"k and v are 8 and 8 wide",
       [](GraphBuilder&, const Tensor& x) { attention(x, x, x, {.head_dim = 2, .heads = 4, .kv_heads = 2}); }},
      {"over the cache is causal",
       [](GraphBuilder&, const Tensor& x) {
         attention(x, x, x, {.head_dim = 2, .heads = 4, .kv_heads = 4, .bidirectional = true, .kv_layer = 1});
       }},
      {"do not match",
       [](GraphBuilder& g, const Tensor& x) {
         add(x, linear(x, g.weight("w", {8, 16})));
       }},
      {"do not match", [](GraphBuilder&, const Tensor& x) { add(x, select_rows(x)); }},
      {"9 factors for 8 columns", [](GraphBuilder& g, const Tensor& x) { scale(x, 1, g.weight("n9", {9})); }},
      {"selected once", [](GraphBuilder&, const Tensor& x) { select_rows(select_rows(x)); }},
      {"pooled once", [](GraphBuilder&, const Tensor& x) { pool(pool(x, PoolKind::kMean), PoolKind::kMean); }},
      {"gate, up and down", [](GraphBuilder&, const Tensor& x) { moe(x, x, {}, {}, {}, {}); }},
      {"of another graph", [](GraphBuilder&, const Tensor& x) { add(x, Tensor{}); }},
  };
  for (const Case& c : cases) {
    GraphBuilder g(catalogue({{"e", {8, 100}}, {"w", {8, 16}}, {"n9", {9}}}), 0);
    const Tensor x = embed(g.tokens(), g.weight("e", {8, 100}));
    c.build(g, x);
    const std::string text = failure(g);
    EXPECT_TRUE(contains(text, c.says)) << c.says << " | " << text;
  }
}

TEST(GraphBuilder, MixtureOfExperts) {
  GraphBuilder g(catalogue({{"e", {8, 100}}, {"r", {8, 4}}, {"up", {8, 6, 4}}, {"down", {6, 8, 4}}}), 0);
  const Tensor x = embed(g.tokens(), g.weight("e", {8, 100}));
  const Weight up = g.weight("up", {8, 6, 4});
  const Tensor router = linear(x, g.weight("r", {8, 4}));
  g.output(moe(x, router, up, up, g.weight("down", {6, 8, 4}), {.experts = 4, .top_k = 2, .norm_topk = true}));
  auto built = g.build();
  ASSERT_TRUE(built.ok()) << built.status().message();
  EXPECT_EQ(built->nodes().back().n_args, 5u);
  EXPECT_EQ(attrs_of(*built, 2)[MRT_A_TOP_K].v.i, 2);
}

TEST(GraphBuilder, EmptyAndTakenGraphsAreErrors) {
  GraphBuilder g(catalogue({{"e", {8, 100}}}), 0);
  EXPECT_TRUE(contains(failure(g), "no output"));
  g.output(embed(g.tokens(), g.weight("e", {8, 100})));
  EXPECT_TRUE(g.build().ok());
  EXPECT_TRUE(contains(failure(g), "taken already"));
}

}  // namespace
}  // namespace merritt::model::graph
