// SPDX-License-Identifier: Apache-2.0
// Small seeded models as whole GGUF files: gemma3 and cohere2 with windowed and global layers, llama and qwen3. Their
// weights come from splitmix64 over the tensor's name, so tests/golden/make_arch_goldens.py makes the same ones; their
// vocabulary is SPM-like: specials, 256 bytes, letters and a few pieces.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/gguf_writer.hpp"

namespace merritt::testing {

struct TinyGguf {
  std::string architecture = "gemma3";  // or llama, qwen3, cohere2
  uint32_t layers = 8, width = 64, inner = 128, heads = 4, kv_heads = 2, head_dim = 32, context = 512;
  uint32_t window = 16;      // gemma3 and cohere2
  uint32_t matrix_type = 0;  // 0 = F32, 8 = Q8_0
  float rope_linear = 0;     // rope.scaling.factor; 0 = none
  bool rope_freqs = false;   // llama: with rope_freqs.weight
  bool tied_output = true;
  uint64_t seed = 1;
  uint64_t hole = 0;  // see GgufWriter
};

// Numbers in (-scale, scale), exact in f32: the top 24 bits of splitmix64.
inline std::vector<float> tiny_noise(uint64_t seed, std::string_view name, uint64_t n, float scale) {
  uint64_t state = seed * 0x9e3779b97f4a7c15u;
  for (const char c : name) state = (state ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  std::vector<float> out(n);
  for (float& x : out) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    x = (static_cast<float>(z >> 40) * 0x1p-23f - 1.0f) * scale;
  }
  return out;
}

// Round to nearest even; the numbers here are far from the ends of the range, except that tiny ones become zero.
inline uint16_t tiny_half(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const int exponent = static_cast<int>((bits >> 23) & 0xff) - 127 + 15;
  if (exponent <= 0) return static_cast<uint16_t>(sign);
  const uint32_t kept = (static_cast<uint32_t>(exponent) << 10) | ((bits >> 13) & 0x3ff);
  const uint32_t rest = bits & 0x1fff;
  return static_cast<uint16_t>(sign | (kept + (rest > 0x1000 || (rest == 0x1000 && (kept & 1)) ? 1 : 0)));
}

inline std::vector<std::byte> tiny_f32(const std::vector<float>& x) {
  Bytes out;
  for (const float value : x) out.put(value);
  return out.data;
}

inline std::vector<std::byte> tiny_q8_0(const std::vector<float>& x) {
  Bytes out;
  for (size_t at = 0; at + 32 <= x.size(); at += 32) {
    float largest = 0;
    for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[at + i]));
    const float d = largest / 127.0f;
    out.put(tiny_half(d));
    for (size_t i = 0; i < 32; ++i) out.put(static_cast<int8_t>(d == 0 ? 0 : std::lround(x[at + i] / d)));
  }
  return out.data;
}

// Tokens, scores and types under tokenizer.ggml. Gemma numbers its specials another way than Llama.
inline uint32_t tiny_vocabulary(GgufWriter* w, bool gemma) {
  enum : int32_t { kNormal = 1, kUnknown, kControl, kUser, kUnused, kByte };
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  const auto put = [&](std::string_view text, float score, int32_t type) {
    tokens.emplace_back(text);
    scores.push_back(score);
    types.push_back(type);
  };
  if (gemma) {
    for (const char* text : {"<pad>", "<eos>", "<bos>"}) put(text, 0, kControl);
    put("<unk>", 0, kUnknown);
    for (const char* text : {"<start_of_turn>", "<end_of_turn>"}) put(text, 0, kControl);
  } else {
    put("<unk>", 0, kUnknown);
    for (const char* text : {"<s>", "</s>"}) put(text, 0, kControl);
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    put(std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">", 0, kByte);
  }
  const std::string mark = "\u2581";  // stands for a blank
  float score = 0;
  for (const char* text : {"he", "in", "er", "an", "on", "or", "at", "es", "re", "the", "ing", "and", "ion"}) {
    put(text, score -= 1, kNormal);
  }
  for (const char* text : {"t", "a", "s", "w", "o", "the", "and", "of", "to", "in", "is"}) {
    put(mark + text, score -= 1, kNormal);
  }
  put(mark, score -= 1, kNormal);
  for (char c = 'a'; c <= 'z'; ++c) put(std::string(1, c), score -= 1, kNormal);
  for (const char* text : {".", ",", "!", "?", "\n", "\xc3\xa9"}) put(text, score -= 1, kNormal);
  while (tokens.size() % 32 != 0) put("<unused" + std::to_string(tokens.size()) + ">", 0, kUnused);
  w->string("tokenizer.ggml.model", "llama").string("tokenizer.ggml.pre", "default");
  w->strings("tokenizer.ggml.tokens", tokens);
  w->numbers("tokenizer.ggml.scores", GgufWriter::kF32, scores);
  w->numbers("tokenizer.ggml.token_type", GgufWriter::kI32, types);
  w->u32("tokenizer.ggml.bos_token_id", gemma ? 2 : 1).u32("tokenizer.ggml.eos_token_id", gemma ? 1 : 2);
  w->u32("tokenizer.ggml.unknown_token_id", gemma ? 3 : 0);
  w->boolean("tokenizer.ggml.add_bos_token", true).boolean("tokenizer.ggml.add_eos_token", false);
  w->boolean("tokenizer.ggml.add_space_prefix", !gemma);
  return static_cast<uint32_t>(tokens.size());
}

inline GgufWriter tiny_gguf_writer(const TinyGguf& m) {
  GgufWriter w;
  w.hole = m.hole;
  const std::string& a = m.architecture;
  const bool gemma = a == "gemma3", cohere = a == "cohere2", head_norms = gemma || a == "qwen3";
  w.string("general.architecture", a).string("general.name", "tiny " + a).string("general.license", "apache-2.0");
  w.u32(a + ".context_length", m.context).u32(a + ".embedding_length", m.width).u32(a + ".block_count", m.layers);
  w.u32(a + ".feed_forward_length", m.inner).u32(a + ".attention.head_count", m.heads);
  w.u32(a + ".attention.head_count_kv", m.kv_heads)
      .f32(a + (cohere ? ".attention.layer_norm_epsilon" : ".attention.layer_norm_rms_epsilon"), 1e-6f);
  w.u32(a + ".attention.key_length", m.head_dim).u32(a + ".attention.value_length", m.head_dim);
  w.f32(a + ".rope.freq_base", a == "llama" ? 10000.0f : cohere ? 50000.0f : 1000000.0f);
  if (cohere) w.f32(a + ".logit_scale", 0.25f);
  if (gemma || cohere) w.u32(a + ".attention.sliding_window", m.window);
  if (m.rope_linear != 0) {
    w.string(a + ".rope.scaling.type", "linear").f32(a + ".rope.scaling.factor", m.rope_linear);
  }
  const uint32_t vocabulary = tiny_vocabulary(&w, gemma);

  const auto matrix = [&](const std::string& name, uint64_t in, uint64_t out, float scale) {
    const std::vector<float> x = tiny_noise(m.seed, name, in * out, scale);
    w.tensor(name, m.matrix_type, {in, out}, m.matrix_type == 8 ? tiny_q8_0(x) : tiny_f32(x));
  };
  // Rows come out about as large as they went in.
  const auto linear = [&](const std::string& name, uint64_t in, uint64_t out) {
    matrix(name, in, out, 1.75f / std::sqrt(static_cast<float>(in)));
  };
  const auto norm = [&](const std::string& name, uint64_t n) {
    std::vector<float> x = tiny_noise(m.seed, name, n, 0.25f);
    for (float& value : x) value += 1.0f;
    w.tensor(name, 0, {n}, tiny_f32(x));
  };
  matrix("token_embd.weight", m.width, vocabulary, 0.5f);
  if (m.rope_freqs) {
    std::vector<float> factors = tiny_noise(m.seed, "rope_freqs.weight", m.head_dim / 2, 1.0f);
    for (float& value : factors) value += 2.0f;
    w.tensor("rope_freqs.weight", 0, {m.head_dim / 2}, tiny_f32(factors));
  }
  for (uint32_t i = 0; i < m.layers; ++i) {
    const std::string b = "blk." + std::to_string(i) + ".";
    norm(b + "attn_norm.weight", m.width);
    linear(b + "attn_q.weight", m.width, uint64_t{m.heads} * m.head_dim);
    linear(b + "attn_k.weight", m.width, uint64_t{m.kv_heads} * m.head_dim);
    linear(b + "attn_v.weight", m.width, uint64_t{m.kv_heads} * m.head_dim);
    if (head_norms) norm(b + "attn_q_norm.weight", m.head_dim);
    if (head_norms) norm(b + "attn_k_norm.weight", m.head_dim);
    linear(b + "attn_output.weight", uint64_t{m.heads} * m.head_dim, m.width);
    if (gemma) norm(b + "post_attention_norm.weight", m.width);
    if (!cohere) norm(b + "ffn_norm.weight", m.width);
    linear(b + "ffn_gate.weight", m.width, m.inner);
    linear(b + "ffn_up.weight", m.width, m.inner);
    linear(b + "ffn_down.weight", m.inner, m.width);
    if (gemma) norm(b + "post_ffw_norm.weight", m.width);
  }
  norm("output_norm.weight", m.width);
  if (!m.tied_output) matrix("output.weight", m.width, vocabulary, 0.5f);
  return w;
}

inline std::vector<std::byte> tiny_gguf(const TinyGguf& m) { return tiny_gguf_writer(m).finish(); }

}  // namespace merritt::testing
