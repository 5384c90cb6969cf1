// SPDX-License-Identifier: Apache-2.0
// qwen3: Qwen Team, "Qwen3 Technical Report" (arXiv:2505.09388), the dense models.
//
//   x0 = E[token]
//   h  = rms(x) Wn        q = rope(rms_head(h Wq))   k = rope(rms_head(h Wk))   v = h Wv
//   x' = x + softmax(q kT / sqrt(d)) v Wo
//   f  = rms(x') Wf       x'' = x' + (silu(f Wg) * f Wu) Wd
//   logits = rms(xL) Wn Wout, where Wout is E when the file has no output.weight
//
// That is llama with norms of q and k, no interleaving of heads (rotation works on halves) and a head size of its own.
#include <cmath>

#include "model/arch/architectures.hpp"
#include "model/arch/keys.hpp"

namespace merritt::model::arch {
namespace {

using namespace graph;  // NOLINT: the equations below are written in its words

struct Block {
  Weight attn_norm, wq, wk, wv, q_norm, k_norm, wo, ffn_norm, gate, up, down;

  static Block bind(GraphBuilder& g, const DecoderSize& s, uint32_t i) {
    return {
        .attn_norm = g.weight(block_name(i, "attn_norm"), {s.width}),
        .wq = g.weight(block_name(i, "attn_q"), {s.width, s.q_width()}),
        .wk = g.weight(block_name(i, "attn_k"), {s.width, s.k_width()}),
        .wv = g.weight(block_name(i, "attn_v"), {s.width, s.v_width()}),
        .q_norm = g.weight(block_name(i, "attn_q_norm"), {s.head_dim}),
        .k_norm = g.weight(block_name(i, "attn_k_norm"), {s.head_dim}),
        .wo = g.weight(block_name(i, "attn_output"), {s.o_width(), s.width}),
        .ffn_norm = g.weight(block_name(i, "ffn_norm"), {s.width}),
        .gate = g.weight(block_name(i, "ffn_gate"), {s.width, s.inner}),
        .up = g.weight(block_name(i, "ffn_up"), {s.width, s.inner}),
        .down = g.weight(block_name(i, "ffn_down"), {s.inner, s.width}),
    };
  }
};

struct Config {
  DecoderSize size;
  Rope rope;
  Norm norm, head_norm;
  Attention attention;

  static Config read(Keys& keys) {
    Config c;
    c.size = DecoderSize::read(keys);
    c.rope = read_rope(keys, c.size, RopeStyle::kHalves, 1000000);
    c.norm = {.eps = c.size.eps};
    c.head_norm = {.eps = c.size.eps, .head_dim = c.size.head_dim};
    c.attention = {.head_dim = c.size.head_dim,
                   .v_dim = c.size.v_dim == c.size.head_dim ? 0 : c.size.v_dim,
                   .heads = c.size.heads,
                   .kv_heads = c.size.kv_heads,
                   .scale = 1 / std::sqrt(static_cast<double>(c.size.head_dim))};
    return c;
  }
};

Tensor layer(const Tensor& x, const Config& c, const Block& b, uint32_t i) {
  const bool last = i + 1 == c.size.layers;
  Attention at = c.attention;
  at.kv_layer = i;
  const Tensor h = rms_norm(x, b.attn_norm, c.norm);
  Tensor q = linear(h, b.wq);
  Tensor k = linear(h, b.wk);
  const Tensor v = linear(h, b.wv);
  q = rms_norm(q, b.q_norm, c.head_norm);
  k = rms_norm(k, b.k_norm, c.head_norm);
  q = rope(q, c.rope);
  k = rope(k, c.rope);
  const Tensor o = rows_read_on(attention(q, k, v, at), last);
  const Tensor r = rows_read_on(x, last);
  const Tensor y = r + linear(o, b.wo);

  const Tensor f = rms_norm(y, b.ffn_norm, c.norm);
  const Tensor a = linear(f, b.gate);
  const Tensor u = linear(f, b.up);
  return y + linear(gate(a, u, Act::kSilu), b.down);
}

}  // namespace

Result<Graph> build_qwen3(const weights::Gguf& gguf, GraphBuilder::Catalogue catalogue) {
  Keys keys(gguf, "qwen3");
  const Config c = Config::read(keys);
  MERRITT_CHECK(Status(keys.status()));
  GraphBuilder g(std::move(catalogue), c.size.context);
  const Weight table = g.weight("token_embd.weight", {c.size.width, 0});
  Tensor x = embed(g.tokens(), table);
  for (uint32_t i = 0; i < c.size.layers && g.ok(); ++i) x = layer(x, c, Block::bind(g, c.size, i), i);
  const Weight out = g.optional_weight("output.weight", {c.size.width, table.out()});
  x = rms_norm(x, g.weight("output_norm.weight", {c.size.width}), c.norm);
  g.output(linear(x, out ? out : table));
  return g.build();
}

}  // namespace merritt::model::arch
