// SPDX-License-Identifier: Apache-2.0
// From headers to graphs: what each architecture reads and refuses. Their numbers are compared with transformers' in
// tests/plugins/archs_test.cpp.
#include "model/arch/arch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "model/model_file.hpp"
#include "tests/support/places.hpp"
#include "tests/support/tiny_gguf.hpp"

namespace merritt::model {
namespace {

using testing::GgufWriter;
using testing::TinyGguf;

Result<ModelFile> open(const GgufWriter& writer) { return open_model(weights::memory_source(writer.finish())); }

ModelFile opened(const GgufWriter& writer) {
  auto file = open(writer);
  EXPECT_TRUE(file.ok()) << file.status().message();
  return std::move(file).value();
}

std::map<uint32_t, mrt_attr> attrs_of(const graph::Graph& g, const mrt_node& node) {
  std::map<uint32_t, mrt_attr> all;
  for (const mrt_attr& a : g.attrs(node)) all[a.key] = a;
  return all;
}

std::vector<mrt_node> nodes_of(const graph::Graph& g, uint32_t op) {
  std::vector<mrt_node> found;
  for (const mrt_node& node : g.nodes()) {
    if (node.op == op) found.push_back(node);
  }
  return found;
}

void expect_refused(const GgufWriter& writer, Code code, std::string_view says) {
  const auto file = open(writer);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), code) << file.status().message();
  EXPECT_NE(file.status().message().find(says), std::string_view::npos) << file.status().message();
}

TinyGguf tiny(const char* architecture) {
  TinyGguf m;
  m.architecture = architecture;
  return m;
}

TEST(Gemma3, FiveOfSixLayersAreWindowed) {
  const ModelFile file = opened(testing::tiny_gguf_writer(tiny("gemma3")));
  const auto attention = nodes_of(file.graph, MRT_OP_ATTENTION);
  const auto rope = nodes_of(file.graph, MRT_OP_ROPE);
  ASSERT_EQ(attention.size(), 8u);
  ASSERT_EQ(rope.size(), 16u);
  for (uint32_t i = 0; i < 8; ++i) {
    auto at = attrs_of(file.graph, attention[i]);
    const bool global = i == 5;
    EXPECT_EQ(at[MRT_A_WINDOW].v.i, global ? 0 : 16) << i;
    EXPECT_EQ(at[MRT_A_KV_LAYER].v.i, i + 1);
    EXPECT_DOUBLE_EQ(at[MRT_A_SCALE].v.f, 1 / std::sqrt(32.0));
    for (const uint32_t r : {2 * i, 2 * i + 1}) {
      EXPECT_EQ(attrs_of(file.graph, rope[r])[MRT_A_BASE].v.f, global ? 1e6 : 1e4) << i;
    }
  }
  auto embed = attrs_of(file.graph, file.graph.nodes()[0]);
  EXPECT_EQ(embed[MRT_A_SCALE].v.f, 8.0);
}

TEST(Gemma3, KeysThatMoveTheWindow) {
  GgufWriter every = testing::tiny_gguf_writer(tiny("gemma3"));
  every.u32("gemma3.attention.sliding_window_pattern", 2).f32("gemma3.final_logit_softcapping", 30.0f);
  const ModelFile file = opened(every);
  const auto attention = nodes_of(file.graph, MRT_OP_ATTENTION);
  for (uint32_t i = 0; i < 8; ++i) {
    EXPECT_EQ(attrs_of(file.graph, attention[i])[MRT_A_WINDOW].v.i, i % 2 == 0 ? 16 : 0);
  }
  EXPECT_EQ(nodes_of(file.graph, MRT_OP_SOFTCAP).size(), 1u);

  GgufWriter listed = testing::tiny_gguf_writer(tiny("gemma3"));
  listed.numbers<uint8_t>("gemma3.attention.sliding_window_pattern", GgufWriter::kBool, {1, 1, 1, 0, 0, 0, 0, 1});
  const ModelFile other = opened(listed);
  const auto nodes = nodes_of(other.graph, MRT_OP_ATTENTION);
  EXPECT_EQ(attrs_of(other.graph, nodes[2])[MRT_A_WINDOW].v.i, 16);
  EXPECT_EQ(attrs_of(other.graph, nodes[3])[MRT_A_WINDOW].v.i, 0);
  EXPECT_EQ(attrs_of(other.graph, nodes[7])[MRT_A_WINDOW].v.i, 16);
}

TEST(Gemma3, OnlyGlobalLayersAreStretched) {
  TinyGguf m = tiny("gemma3");
  m.rope_linear = 8;
  const ModelFile file = opened(testing::tiny_gguf_writer(m));
  const auto rope = nodes_of(file.graph, MRT_OP_ROPE);
  EXPECT_EQ(attrs_of(file.graph, rope[0]).count(MRT_A_SCALING), 0u);
  auto global = attrs_of(file.graph, rope[10]);
  EXPECT_EQ(global[MRT_A_SCALING].v.i, 1);
  EXPECT_EQ(global[MRT_A_FACTOR].v.f, 8.0);
}

// Layers with a window rotate pairs, the others nothing; both halves of a block read the same norm.
TEST(Cohere2, GlobalLayersKnowNoPositions) {
  GgufWriter w = testing::tiny_gguf_writer(tiny("cohere2"));
  const ModelFile file = opened(w);
  const graph::Graph& g = file.graph;
  const auto attention = nodes_of(g, MRT_OP_ATTENTION);
  const auto rope = nodes_of(g, MRT_OP_ROPE);
  ASSERT_EQ(attention.size(), 8u);
  ASSERT_EQ(rope.size(), 12u) << "q and k of six layers";
  for (uint32_t i = 0; i < 8; ++i) {
    EXPECT_EQ(attrs_of(g, attention[i])[MRT_A_WINDOW].v.i, i % 4 == 3 ? 0 : 16) << i;
    EXPECT_EQ(g.nodes()[g.args(attention[i])[0]].op, i % 4 == 3 ? MRT_OP_LINEAR : MRT_OP_ROPE) << i;
  }
  EXPECT_EQ(attrs_of(g, rope[0])[MRT_A_STYLE].v.i, 1);
  EXPECT_EQ(attrs_of(g, rope[0])[MRT_A_BASE].v.f, 50000);
  EXPECT_EQ(nodes_of(g, MRT_OP_LAYER_NORM).size(), 9u);
  const mrt_node last = g.nodes()[g.outputs()[0]];
  EXPECT_EQ(last.op, MRT_OP_SCALE);
  EXPECT_EQ(attrs_of(g, last)[MRT_A_SCALE].v.f, 0.25);

  GgufWriter bias = testing::tiny_gguf_writer(tiny("cohere2"));
  bias.tensor("blk.0.attn_norm.bias", 0, {64}, std::vector<std::byte>(256));
  expect_refused(bias, Code::kUnsupported, "'blk.0.attn_norm.bias' has no place in the architecture cohere2");
}

// Backends fuse by order: q, k, v, their norms, their rotations, attention.
TEST(Decoders, NodesStandInTheCanonicalOrder) {
  const auto attention_block = [](const graph::Graph& g) {
    std::vector<uint32_t> ops;
    for (const mrt_node& node : g.nodes()) {
      if (ops.size() < 10) ops.push_back(node.op);
    }
    return ops;
  };
  const ModelFile llama = opened(testing::tiny_gguf_writer(tiny("llama")));
  EXPECT_EQ(attention_block(llama.graph),
            (std::vector<uint32_t>{MRT_OP_EMBED, MRT_OP_RMS_NORM, MRT_OP_LINEAR, MRT_OP_LINEAR, MRT_OP_LINEAR,
                                   MRT_OP_ROPE, MRT_OP_ROPE, MRT_OP_ATTENTION, MRT_OP_LINEAR, MRT_OP_ADD}));
  const ModelFile gemma = opened(testing::tiny_gguf_writer(tiny("gemma3")));
  EXPECT_EQ(attention_block(gemma.graph),
            (std::vector<uint32_t>{MRT_OP_EMBED, MRT_OP_RMS_NORM, MRT_OP_LINEAR, MRT_OP_LINEAR, MRT_OP_LINEAR,
                                   MRT_OP_RMS_NORM, MRT_OP_RMS_NORM, MRT_OP_ROPE, MRT_OP_ROPE, MRT_OP_ATTENTION}));
}

TEST(Llama, RotatesPairsWithFactorsAndTiesItsOutput) {
  TinyGguf m = tiny("llama");
  m.rope_freqs = true;
  const ModelFile tied = opened(testing::tiny_gguf_writer(m));
  const mrt_node rope = nodes_of(tied.graph, MRT_OP_ROPE)[0];
  EXPECT_EQ(attrs_of(tied.graph, rope)[MRT_A_STYLE].v.i, 1);
  EXPECT_EQ(rope.n_args, 3u);
  const mrt_node out = tied.graph.nodes()[tied.graph.outputs()[0]];
  EXPECT_EQ(tied.graph.args(out)[1], tied.graph.args(tied.graph.nodes()[0])[1]);
  EXPECT_EQ(out.rows, MRT_ROWS_WANTED);

  m.tied_output = false;
  const ModelFile own = opened(testing::tiny_gguf_writer(m));
  const mrt_node last = own.graph.nodes()[own.graph.outputs()[0]];
  EXPECT_NE(own.graph.args(last)[1], own.graph.args(own.graph.nodes()[0])[1]);
}

TEST(Llama, YarnIsReadWithItsDefaults) {
  GgufWriter w = testing::tiny_gguf_writer(tiny("llama"));
  w.string("llama.rope.scaling.type", "yarn").f32("llama.rope.scaling.factor", 4.0f);
  w.u32("llama.rope.scaling.original_context_length", 128);
  const ModelFile file = opened(w);
  auto rope = attrs_of(file.graph, nodes_of(file.graph, MRT_OP_ROPE)[0]);
  EXPECT_EQ(rope[MRT_A_SCALING].v.i, 2);
  EXPECT_EQ(rope[MRT_A_ORIG_CTX].v.i, 128);
  EXPECT_EQ(rope[MRT_A_BETA_FAST].v.f, 32.0);
  EXPECT_EQ(rope[MRT_A_BETA_SLOW].v.f, 1.0);
  EXPECT_DOUBLE_EQ(rope[MRT_A_SCALE].v.f, 1 + 0.1 * std::log(4.0));
}

TEST(Decoders, WhatIsNotBuiltIsRefusedByName) {
  GgufWriter scaling = testing::tiny_gguf_writer(tiny("llama"));
  scaling.string("llama.rope.scaling.type", "longrope").f32("llama.rope.scaling.factor", 4.0f);
  expect_refused(scaling, Code::kUnsupported, "'longrope' scaling");
  GgufWriter experts = testing::tiny_gguf_writer(tiny("llama"));
  experts.u32("llama.expert_count", 8);
  expect_refused(experts, Code::kUnsupported, "llama.expert_count asks for a mixture of experts");
  GgufWriter window = testing::tiny_gguf_writer(tiny("llama"));
  window.u32("llama.attention.sliding_window", 64);
  expect_refused(window, Code::kUnsupported, "llama.attention.sliding_window");
  GgufWriter bias = testing::tiny_gguf_writer(tiny("llama"));
  bias.tensor("blk.0.attn_q.bias", 0, {128}, std::vector<std::byte>(512));
  expect_refused(bias, Code::kUnsupported, "'blk.0.attn_q.bias' has no place in the architecture llama");
  GgufWriter old = testing::tiny_gguf_writer(tiny("llama"));
  old.tensor("blk.0.attn_rot_embd.weight", 0, {128}, std::vector<std::byte>(512));
  EXPECT_TRUE(open(old).ok());
}

TEST(Architectures, UnknownOnesAreRefusedWithTheList) {
  GgufWriter other;
  other.string("general.architecture", "mamba\n\x01");
  expect_refused(other, Code::kUnsupported, "is not supported; cohere2, gemma3, llama, qwen3 are");
  expect_refused(GgufWriter(), Code::kNotFound, "general.architecture is missing");
  EXPECT_EQ(arch::supported_architectures().size(), 4u);
}

TEST(Architectures, MissingAndMisshapenTensorsAreNamed) {
  GgufWriter w;
  w.string("general.architecture", "llama").u32("llama.block_count", 1).u32("llama.embedding_length", 8);
  w.u32("llama.feed_forward_length", 8).u32("llama.attention.head_count", 2).u32("llama.context_length", 16);
  w.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  expect_refused(w, Code::kCorrupt, "weight 'token_embd.weight' of shape [8, any] is missing");
  w.tensor("token_embd.weight", 0, {4, 4}, std::vector<std::byte>(64));
  expect_refused(w, Code::kCorrupt, "has the shape [4, 4]; the model's numbers ask for [8, any]");
  // One more layer than there are tensors for.
  TinyGguf m = tiny("gemma3");
  GgufWriter short_of_one = testing::tiny_gguf_writer(m);
  auto& keys = short_of_one.keys.data;
  const std::string_view name = "gemma3.block_count";
  const auto* first = reinterpret_cast<const std::byte*>(name.data());
  const auto at = std::search(keys.begin(), keys.end(), first, first + name.size());
  ASSERT_NE(at, keys.end());
  *(at + static_cast<ptrdiff_t>(name.size()) + 4) = std::byte{9};
  expect_refused(short_of_one, Code::kCorrupt, "'blk.8.attn_norm.weight' of shape [64] is missing");
}

TEST(ModelFile, TellsWhatItIs) {
  TinyGguf m = tiny("gemma3");
  m.matrix_type = 8;
  ModelFile file = opened(testing::tiny_gguf_writer(m));
  EXPECT_EQ(file.info.architecture, "gemma3");
  EXPECT_EQ(file.info.name, "tiny gemma3");
  EXPECT_EQ(file.info.license, "apache-2.0");
  EXPECT_EQ(file.info.quantization, "Q8_0 57, F32 49");
  EXPECT_EQ(file.info.layers, 8u);
  EXPECT_EQ(file.info.width, 64u);
  EXPECT_EQ(file.info.vocabulary, 320u);
  EXPECT_EQ(file.info.context_length, 512u);
  EXPECT_EQ(file.info.parameters, 416320u);
  EXPECT_EQ(file.info.file_bytes, file.gguf.source().size());
  file.release_metadata();
  EXPECT_EQ(file.gguf.n_keys(), 0u);
  EXPECT_EQ(file.graph.weights().size(), file.gguf.tensors().size());
}

TEST(ModelFile, RealGemma) {
  const std::string path = merritt::test::source_dir() + "/models/gemma-3-270m-q4_k_m.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "models/gemma-3-270m-q4_k_m.gguf is absent; run ./dev setup";
  auto source = weights::open_file_source(path);
  ASSERT_TRUE(source.ok());
  auto file = open_model(*source);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->info.vocabulary, 262144u);
  EXPECT_EQ(file->info.parameters, 268098176u);
  EXPECT_EQ(file->info.layers, 18u);
  std::map<int64_t, int> windows;
  for (const mrt_node& node : nodes_of(file->graph, MRT_OP_ATTENTION)) {
    ++windows[attrs_of(file->graph, node)[MRT_A_WINDOW].v.i];
  }
  EXPECT_EQ(windows, (std::map<int64_t, int>{{0, 3}, {512, 15}}));
}

}  // namespace
}  // namespace merritt::model
