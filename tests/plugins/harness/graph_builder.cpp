// SPDX-License-Identifier: Apache-2.0
#include "tests/plugins/harness/graph_builder.hpp"

#include <cmath>
#include <cstring>

#include "support/blocks.hpp"

namespace merritt::testing {

std::vector<float> noise(uint64_t seed, uint64_t n, float scale) {
  std::vector<float> out(n);
  for (uint64_t i = 0; i < n; ++i) {
    uint64_t z = seed * 0x9E3779B97F4A7C15u + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    out[i] = (static_cast<float>(z >> 40) * 0x1p-23f - 1.0f) * scale;
  }
  return out;
}

uint32_t GraphBuilder::weight(uint32_t type, const std::vector<uint64_t>& dims, std::vector<uint8_t> bytes) {
  const uint32_t i = static_cast<uint32_t>(weights.size());
  names.push_back(std::string("weight.").append(std::to_string(i)));
  data.push_back(std::move(bytes));
  mrt_weight w{};
  w.name = names.back().data();
  w.name_len = static_cast<uint32_t>(names.back().size());
  w.type = type;
  w.n_dims = static_cast<uint32_t>(dims.size());
  for (uint32_t d = 0; d < dims.size(); ++d) w.dims[d] = dims[d];
  w.bytes = data.back().size();
  weights.push_back(w);
  return MRT_REF_WEIGHT(i);
}

uint32_t GraphBuilder::weight(const std::vector<uint64_t>& dims, uint64_t seed, float scale) {
  return weight_as(plugin::kF32, dims, seed, scale);
}

uint32_t GraphBuilder::weight_as(uint32_t type, const std::vector<uint64_t>& dims, uint64_t seed, float scale) {
  uint64_t n = 1;
  for (const uint64_t d : dims) n *= d;
  const std::vector<float> values = noise(seed, n, scale);
  std::vector<uint8_t> bytes(plugin::row_bytes(type, n));
  plugin::quantise_row(type, values.data(), bytes.data(), n);
  return weight(type, dims, std::move(bytes));
}

uint32_t GraphBuilder::node(uint32_t op, uint32_t width, const std::vector<uint32_t>& a, const std::vector<Attr>& at,
                            uint32_t rows) {
  nodes.push_back({static_cast<uint16_t>(op), static_cast<uint16_t>(rows), width, static_cast<uint32_t>(args.size()),
                   static_cast<uint32_t>(a.size()), static_cast<uint32_t>(attrs.size()),
                   static_cast<uint32_t>(at.size())});
  args.insert(args.end(), a.begin(), a.end());
  for (const Attr& x : at) attrs.push_back(x.attr);
  return static_cast<uint32_t>(nodes.size() - 1);
}

mrt_graph GraphBuilder::graph() const {
  mrt_graph g{};
  g.struct_size = sizeof g;
  g.n_nodes = static_cast<uint32_t>(nodes.size());
  g.n_args = static_cast<uint32_t>(args.size());
  g.n_attrs = static_cast<uint32_t>(attrs.size());
  g.n_outputs = static_cast<uint32_t>(outputs.size());
  g.max_context = max_context;
  g.nodes = nodes.data();
  g.args = args.data();
  g.attrs = attrs.data();
  g.outputs = outputs.data();
  return g;
}

mrt_weights GraphBuilder::source() const {
  mrt_weights w{};
  w.struct_size = sizeof w;
  w.n_weights = static_cast<uint32_t>(weights.size());
  w.list = weights.data();
  w.ctx = const_cast<GraphBuilder*>(this);
  w.read = [](void* ctx, uint32_t weight, uint64_t offset, void* dst, uint64_t len, mrt_error* err) -> int32_t {
    const auto* self = static_cast<const GraphBuilder*>(ctx);
    __atomic_add_fetch(&self->reads, 1, __ATOMIC_RELAXED);
    if (weight >= self->data.size() || offset > self->data[weight].size() || len > self->data[weight].size() - offset) {
      err->code = MRT_INVALID_ARGUMENT;
      return MRT_INVALID_ARGUMENT;
    }
    std::memcpy(dst, self->data[weight].data() + offset, len);
    return MRT_OK;
  };
  return w;
}

GraphBuilder tiny_decoder(const TinyModel& m) {
  GraphBuilder b;
  uint64_t seed = m.seed * 1000;
  uint32_t rows = MRT_ROWS_TOKENS;
  const auto matrix = [&](uint64_t in, uint64_t out) {
    return b.weight_as(m.weight_type, {in, out}, ++seed, 1.8f / std::sqrt(static_cast<float>(in)));
  };
  const auto norm = [&](uint32_t x, uint32_t width, uint32_t head) {
    std::vector<Attr> attrs = {{MRT_A_EPS, 1e-6}, {MRT_A_OFFSET, 1.0}};
    if (head != 0) attrs.push_back({MRT_A_HEAD_DIM, head});
    return b.node(MRT_OP_RMS_NORM, width, {x, b.weight({head != 0 ? head : width}, ++seed, 0.3f)}, attrs, rows);
  };
  const uint32_t table = matrix(m.width, m.vocab), q_width = m.heads * m.head_dim, kv_width = m.kv_heads * m.head_dim;
  uint32_t x = b.node(MRT_OP_EMBED, m.width, {MRT_REF_INPUT(MRT_IN_TOKENS), table},
                      {{MRT_A_SCALE, m.gemma ? std::sqrt(static_cast<double>(m.width)) : 3.0}});
  for (uint32_t l = 0; l < m.layers; ++l) {
    const bool windowed = m.window != 0 && l % 2 == 0;
    const std::vector<Attr> rope = {
        {MRT_A_HEAD_DIM, m.head_dim}, {MRT_A_BASE, windowed ? 10000.0 : 1000000.0}, {MRT_A_STYLE, m.gemma ? 0 : 1}};
    std::vector<Attr> attention = {{MRT_A_HEAD_DIM, m.head_dim},
                                   {MRT_A_HEADS, m.heads},
                                   {MRT_A_KV_HEADS, m.kv_heads},
                                   {MRT_A_SCALE, 1.0 / std::sqrt(static_cast<double>(m.head_dim))},
                                   {MRT_A_KV_LAYER, l + 1}};
    if (windowed) attention.push_back({MRT_A_WINDOW, m.window});
    const uint32_t h = norm(x, m.width, 0);
    uint32_t q = b.node(MRT_OP_LINEAR, q_width, {h, matrix(m.width, q_width)});
    uint32_t k = b.node(MRT_OP_LINEAR, kv_width, {h, matrix(m.width, kv_width)});
    const uint32_t v = b.node(MRT_OP_LINEAR, kv_width, {h, matrix(m.width, kv_width)});
    if (m.gemma) {
      q = norm(q, q_width, m.head_dim);
      k = norm(k, kv_width, m.head_dim);
    }
    q = b.node(MRT_OP_ROPE, q_width, {q, MRT_REF_INPUT(MRT_IN_POSITIONS)}, rope);
    k = b.node(MRT_OP_ROPE, kv_width, {k, MRT_REF_INPUT(MRT_IN_POSITIONS)}, rope);
    uint32_t y = b.node(MRT_OP_ATTENTION, q_width, {q, k, v}, attention);
    if (l + 1 == m.layers) {
      rows = MRT_ROWS_WANTED;
      y = b.node(MRT_OP_SELECT_ROWS, q_width, {y}, {}, rows);
      x = b.node(MRT_OP_SELECT_ROWS, m.width, {x}, {}, rows);
    }
    y = b.node(MRT_OP_LINEAR, m.width, {y, matrix(q_width, m.width)}, {}, rows);
    if (m.gemma) y = norm(y, m.width, 0);
    x = b.node(MRT_OP_ADD, m.width, {x, y}, {}, rows);
    const uint32_t f = norm(x, m.width, 0);
    const uint32_t gate = b.node(MRT_OP_LINEAR, m.inner, {f, matrix(m.width, m.inner)}, {}, rows);
    const uint32_t up = b.node(MRT_OP_LINEAR, m.inner, {f, matrix(m.width, m.inner)}, {}, rows);
    y = b.node(MRT_OP_GATE, m.inner, {gate, up}, {{MRT_A_ACT, m.gemma ? 2 : 1}}, rows);
    y = b.node(MRT_OP_LINEAR, m.width, {y, matrix(m.inner, m.width)}, {}, rows);
    if (m.gemma) y = norm(y, m.width, 0);
    x = b.node(MRT_OP_ADD, m.width, {x, y}, {}, rows);
  }
  x = norm(x, m.width, 0);
  x = b.node(MRT_OP_LINEAR, m.vocab, {x, table}, {}, MRT_ROWS_WANTED);
  if (m.gemma) x = b.node(MRT_OP_SOFTCAP, m.vocab, {x}, {{MRT_A_SOFTCAP, 30.0}}, MRT_ROWS_WANTED);
  b.output(x);
  b.max_context = 4096;
  return b;
}

}  // namespace merritt::testing
