// SPDX-License-Identifier: Apache-2.0
// cohere2: Cohere, "Command A: An Enterprise-Ready Large Language Model" (arXiv:2504.00698), section 2.1; Command R7B.
// Attention and feed-forward stand side by side, behind one norm without a bias (as in GPT-J, and in "PaLM",
// arXiv:2204.02311).
//
//   x0 = E[token]
//   h  = norm(x) Wn       q = h Wq   k = h Wk   v = h Wv
//   q, k = rope(q), rope(k) in the layers with a window; the others see all, and no positions
//   x' = x + attend(q, k, v) Wo + (silu(h Wg) * h Wu) Wd
//   logits = logit_scale norm(xL) Wn ET
//
// Three layers of four see a window: token i sees key j when i - j < window. Rotation works on adjacent pairs.
#include <cmath>

#include "model/arch/architectures.hpp"
#include "model/arch/keys.hpp"

namespace merritt::model::arch {
namespace {

using namespace graph;  // NOLINT: the equations below are written in its words

struct Block {
  Weight norm, wq, wk, wv, wo, gate, up, down;

  static Block bind(GraphBuilder& g, const DecoderSize& s, uint32_t i) {
    return {
        .norm = g.weight(block_name(i, "attn_norm"), {s.width}),
        .wq = g.weight(block_name(i, "attn_q"), {s.width, s.q_width()}),
        .wk = g.weight(block_name(i, "attn_k"), {s.width, s.k_width()}),
        .wv = g.weight(block_name(i, "attn_v"), {s.width, s.v_width()}),
        .wo = g.weight(block_name(i, "attn_output"), {s.o_width(), s.width}),
        .gate = g.weight(block_name(i, "ffn_gate"), {s.width, s.inner}),
        .up = g.weight(block_name(i, "ffn_up"), {s.width, s.inner}),
        .down = g.weight(block_name(i, "ffn_down"), {s.inner, s.width}),
    };
  }
};

struct Config {
  DecoderSize size;
  Rope rope;
  Norm norm;
  Attention attention;
  uint32_t window = 0;
  std::vector<bool> local;  // by layer
  double logit_scale = 1;

  static Config read(Keys& keys) {
    Config c;
    c.size = DecoderSize::read(keys, "attention.layer_norm_epsilon");
    c.rope = read_rope(keys, c.size, RopeStyle::kPairs, 50000);
    c.norm = {.eps = c.size.eps};
    c.attention = {.head_dim = c.size.head_dim,
                   .v_dim = c.size.v_dim == c.size.head_dim ? 0 : c.size.v_dim,
                   .heads = c.size.heads,
                   .kv_heads = c.size.kv_heads,
                   .scale = 1 / std::sqrt(static_cast<double>(c.size.head_dim))};
    c.window = keys.number("attention.sliding_window", 1, kContextMax);
    c.local = read_windowed_layers(keys, c.size.layers, c.window, 4);
    c.logit_scale = keys.real_or("logit_scale", 1);
    return c;
  }
};

Tensor layer(const Tensor& x, const Config& c, const Block& b, uint32_t i) {
  const bool last = i + 1 == c.size.layers;
  Attention at = c.attention;
  at.window = c.local[i] ? c.window : 0;
  at.kv_layer = i;
  const Tensor h = layer_norm(x, b.norm, {}, c.norm);
  Tensor q = linear(h, b.wq);
  Tensor k = linear(h, b.wk);
  const Tensor v = linear(h, b.wv);
  if (c.local[i]) {
    q = rope(q, c.rope);
    k = rope(k, c.rope);
  }
  const Tensor o = linear(rows_read_on(attention(q, k, v, at), last), b.wo);

  const Tensor f = rows_read_on(h, last);
  const Tensor a = linear(f, b.gate);
  const Tensor u = linear(f, b.up);
  const Tensor d = linear(gate(a, u, Act::kSilu), b.down);
  const Tensor r = rows_read_on(x, last);
  return r + o + d;
}

}  // namespace

Result<Graph> build_cohere2(const weights::Gguf& gguf, GraphBuilder::Catalogue catalogue) {
  Keys keys(gguf, "cohere2");
  const Config c = Config::read(keys);
  MERRITT_CHECK(Status(keys.status()));
  GraphBuilder g(std::move(catalogue), c.size.context);
  const Weight table = g.weight("token_embd.weight", {c.size.width, 0});
  Tensor x = embed(g.tokens(), table);
  for (uint32_t i = 0; i < c.size.layers && g.ok(); ++i) x = layer(x, c, Block::bind(g, c.size, i), i);
  const Weight out = g.optional_weight("output.weight", {c.size.width, table.out()});
  x = layer_norm(x, g.weight("output_norm.weight", {c.size.width}), {}, c.norm);
  x = linear(x, out ? out : table);
  g.output(c.logit_scale == 1 ? x : scale(x, c.logit_scale));
  return g.build();
}

}  // namespace merritt::model::arch
