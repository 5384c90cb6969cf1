// SPDX-License-Identifier: Apache-2.0
// gemma3: Gemma Team, "Gemma 3 Technical Report" (arXiv:2503.19786), text part. Norms before and after each half of a
// block are those of "Gemma 2" (2408.00118); norms of q and k are from Dehghani et al. (2302.05442).
//
//   x0 = sqrt(width) E[token]
//   h  = rms(x) Wn        q = rope(rms_head(h Wq))   k = rope(rms_head(h Wk))   v = h Wv
//   x' = x + rms(attend(q, k, v) Wo) Wp
//   f  = rms(x') Wf       x'' = x' + rms((gelu_tanh(f Wg) * f Wu) Wd) Wq
//   logits = rms(xL) Wn ET
//
// Five layers of six see a window: token i sees key j when i - j < window (the same in HF transformers and llama.cpp).
// Those rotate with base 10000, unscaled; every sixth layer sees all and rotates with rope.freq_base and its scaling.
// The norm weights in the files already contain Gemma's +1.
#include <cmath>

#include "model/arch/architectures.hpp"
#include "model/arch/keys.hpp"

namespace merritt::model::arch {
namespace {

using namespace graph;  // NOLINT: the equations below are written in its words

struct Block {
  Weight attn_norm, wq, wk, wv, q_norm, k_norm, wo, post_attn, ffn_norm, gate, up, down, post_ffn;

  static Block bind(GraphBuilder& g, const DecoderSize& s, uint32_t i) {
    return {
        .attn_norm = g.weight(block_name(i, "attn_norm"), {s.width}),
        .wq = g.weight(block_name(i, "attn_q"), {s.width, s.q_width()}),
        .wk = g.weight(block_name(i, "attn_k"), {s.width, s.k_width()}),
        .wv = g.weight(block_name(i, "attn_v"), {s.width, s.v_width()}),
        .q_norm = g.weight(block_name(i, "attn_q_norm"), {s.head_dim}),
        .k_norm = g.weight(block_name(i, "attn_k_norm"), {s.head_dim}),
        .wo = g.weight(block_name(i, "attn_output"), {s.o_width(), s.width}),
        .post_attn = g.weight(block_name(i, "post_attention_norm"), {s.width}),
        .ffn_norm = g.weight(block_name(i, "ffn_norm"), {s.width}),
        .gate = g.weight(block_name(i, "ffn_gate"), {s.width, s.inner}),
        .up = g.weight(block_name(i, "ffn_up"), {s.width, s.inner}),
        .down = g.weight(block_name(i, "ffn_down"), {s.inner, s.width}),
        .post_ffn = g.weight(block_name(i, "post_ffw_norm"), {s.width}),
    };
  }
};

struct Config {
  DecoderSize size;
  Rope global_rope, local_rope;
  Norm norm, head_norm;
  Attention attention;
  uint32_t window = 0;
  std::vector<bool> local;  // by layer
  double embedding_scale = 1, final_softcap = 0;

  static Config read(Keys& keys) {
    Config c;
    c.size = DecoderSize::read(keys);
    const DecoderSize& s = c.size;
    c.global_rope = read_rope(keys, s, RopeStyle::kHalves, 1000000);
    c.local_rope = {.head_dim = s.head_dim, .rot_dim = c.global_rope.rot_dim};
    c.local_rope.base = keys.real_or("rope.freq_base_swa", 10000);
    c.norm = {.eps = s.eps};
    c.head_norm = {.eps = s.eps, .head_dim = s.head_dim};
    // The 27B model (62 layers) is scaled by width / heads instead of the head's size; the files do not say so.
    constexpr uint32_t kLayersOf27B = 62;
    const double scaled_by = s.layers == kLayersOf27B ? static_cast<double>(s.width) / s.heads : s.head_dim;
    c.attention = {.head_dim = s.head_dim,
                   .v_dim = s.v_dim == s.head_dim ? 0 : s.v_dim,
                   .heads = s.heads,
                   .kv_heads = s.kv_heads,
                   .scale = 1 / std::sqrt(scaled_by),
                   .softcap = keys.real_or("attn_logit_softcapping", 0)};
    c.final_softcap = keys.real_or("final_logit_softcapping", 0);
    c.embedding_scale = static_cast<double>(std::sqrt(static_cast<float>(s.width)));
    c.window = keys.number_or("attention.sliding_window", 0, 0, kContextMax);
    c.local = read_windowed_layers(keys, s.layers, c.window, 6);
    return c;
  }
};

Tensor layer(const Tensor& x, const Config& c, const Block& b, uint32_t i) {
  const bool last = i + 1 == c.size.layers;
  const Rope& turn = c.local[i] ? c.local_rope : c.global_rope;
  Attention at = c.attention;
  at.window = c.local[i] ? c.window : 0;
  at.kv_layer = i;
  const Tensor h = rms_norm(x, b.attn_norm, c.norm);
  Tensor q = linear(h, b.wq);
  Tensor k = linear(h, b.wk);
  const Tensor v = linear(h, b.wv);
  q = rms_norm(q, b.q_norm, c.head_norm);
  k = rms_norm(k, b.k_norm, c.head_norm);
  q = rope(q, turn);
  k = rope(k, turn);
  const Tensor o = linear(rows_read_on(attention(q, k, v, at), last), b.wo);
  const Tensor r = rows_read_on(x, last);
  const Tensor y = r + rms_norm(o, b.post_attn, c.norm);

  const Tensor f = rms_norm(y, b.ffn_norm, c.norm);
  const Tensor a = linear(f, b.gate);
  const Tensor u = linear(f, b.up);
  const Tensor d = linear(gate(a, u, Act::kGeluTanh), b.down);
  return y + rms_norm(d, b.post_ffn, c.norm);
}

}  // namespace

Result<Graph> build_gemma3(const weights::Gguf& gguf, GraphBuilder::Catalogue catalogue) {
  Keys keys(gguf, "gemma3");
  const Config c = Config::read(keys);
  MERRITT_CHECK(Status(keys.status()));
  GraphBuilder g(std::move(catalogue), c.size.context);
  const Weight table = g.weight("token_embd.weight", {c.size.width, 0});
  Tensor x = embed(g.tokens(), table, c.embedding_scale);
  for (uint32_t i = 0; i < c.size.layers && g.ok(); ++i) x = layer(x, c, Block::bind(g, c.size, i), i);
  const Weight out = g.optional_weight("output.weight", {c.size.width, table.out()});
  x = rms_norm(x, g.weight("output_norm.weight", {c.size.width}), c.norm);
  g.output(softcap(linear(x, out ? out : table), c.final_softcap));
  return g.build();
}

}  // namespace merritt::model::arch
