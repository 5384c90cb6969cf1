// SPDX-License-Identifier: Apache-2.0
// llama: Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (arXiv:2302.13971), "Llama 2"
// (2307.09288); Grattafiori et al., "The Llama 3 Herd of Models" (2407.21783). Also Mistral 7B, TinyLlama and the many
// others whose files call themselves llama.
//
//   x0 = E[token]
//   h  = rms(x) Wn        q = rope(h Wq)   k = rope(h Wk)   v = h Wv
//   x' = x + softmax(q kT / sqrt(d)) v Wo
//   f  = rms(x') Wf       x'' = x' + (silu(f Wg) * f Wu) Wd
//   logits = rms(xL) Wn Wout, where Wout is E when the file has no output.weight
//
// The files hold Wq and Wk with the two halves of each head interleaved, so rotation works on adjacent pairs.
// Llama 3.1 stretches frequencies by the factors of rope_freqs.weight.
#include <cmath>

#include "model/arch/architectures.hpp"
#include "model/arch/keys.hpp"

namespace merritt::model::arch {
namespace {

using namespace graph;  // NOLINT: the equations below are written in its words

struct Block {
  Weight attn_norm, wq, wk, wv, wo, ffn_norm, gate, up, down;

  static Block bind(GraphBuilder& g, const DecoderSize& s, uint32_t i) {
    return {
        .attn_norm = g.weight(block_name(i, "attn_norm"), {s.width}),
        .wq = g.weight(block_name(i, "attn_q"), {s.width, s.q_width()}),
        .wk = g.weight(block_name(i, "attn_k"), {s.width, s.k_width()}),
        .wv = g.weight(block_name(i, "attn_v"), {s.width, s.v_width()}),
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
  Norm norm;
  Attention attention;

  static Config read(Keys& keys) {
    Config c;
    c.size = DecoderSize::read(keys);
    c.rope = read_rope(keys, c.size, RopeStyle::kPairs, 10000);
    c.norm = {.eps = c.size.eps};
    c.attention = {.head_dim = c.size.head_dim,
                   .v_dim = c.size.v_dim == c.size.head_dim ? 0 : c.size.v_dim,
                   .heads = c.size.heads,
                   .kv_heads = c.size.kv_heads,
                   .scale = 1 / std::sqrt(static_cast<double>(c.size.head_dim))};
    const uint32_t window = keys.number_or("attention.sliding_window", 0, 0, UINT32_MAX);
    keys.refuse_unless(window == 0 || window >= c.size.context, "attention.sliding_window",
                       "windowed attention, which llama is not built with");
    return c;
  }
};

Tensor layer(const Tensor& x, const Config& c, const Block& b, const Weight& factors, uint32_t i) {
  const bool last = i + 1 == c.size.layers;
  Attention at = c.attention;
  at.kv_layer = i;
  const Tensor h = rms_norm(x, b.attn_norm, c.norm);
  Tensor q = linear(h, b.wq);
  Tensor k = linear(h, b.wk);
  const Tensor v = linear(h, b.wv);
  q = rope(q, c.rope, factors);
  k = rope(k, c.rope, factors);
  const Tensor o = rows_read_on(attention(q, k, v, at), last);
  const Tensor r = rows_read_on(x, last);
  const Tensor y = r + linear(o, b.wo);

  const Tensor f = rms_norm(y, b.ffn_norm, c.norm);
  const Tensor a = linear(f, b.gate);
  const Tensor u = linear(f, b.up);
  return y + linear(gate(a, u, Act::kSilu), b.down);
}

}  // namespace

Result<Graph> build_llama(const weights::Gguf& gguf, GraphBuilder::Catalogue catalogue) {
  Keys keys(gguf, "llama");
  const Config c = Config::read(keys);
  MERRITT_CHECK(Status(keys.status()));
  GraphBuilder g(std::move(catalogue), c.size.context);
  const Weight table = g.weight("token_embd.weight", {c.size.width, 0});
  const Weight factors = g.optional_weight("rope_freqs.weight", {c.rope.rot_dim / 2});
  Tensor x = embed(g.tokens(), table);
  for (uint32_t i = 0; i < c.size.layers && g.ok(); ++i) x = layer(x, c, Block::bind(g, c.size, i), factors, i);
  const Weight out = g.optional_weight("output.weight", {c.size.width, table.out()});
  x = rms_norm(x, g.weight("output_norm.weight", {c.size.width}), c.norm);
  g.output(linear(x, out ? out : table));
  return g.build();
}

}  // namespace merritt::model::arch
