// SPDX-License-Identifier: Apache-2.0
#include "support/kv_layout.hpp"

#include <algorithm>
#include <cstring>

namespace merritt::plugin {
namespace {

constexpr uint32_t kMaxPageTokens = 4096;
constexpr uint32_t kMaxPages = 1u << 24;
constexpr uint64_t kMaxPlane = 1ull << 28;
constexpr uint64_t kMaxPool = 1ull << 48;  // no address space holds more

uint64_t operand_bytes(const KvGeometry& g, uint32_t kv_heads, uint32_t dim) noexcept {
  return static_cast<uint64_t>(g.page_tokens) * kv_heads * (dim / g.unit_elements) * g.unit_bytes;
}

int32_t check_counts(const Plan& plan, const mrt_kv_policy& p, bool wants_pages, mrt_error* err) noexcept {
  for (uint32_t g = 0; g < MRT_MAX_GROUPS; ++g) {
    if (g >= plan.groups.size()) {
      if (p.n_pages[g] != 0 || p.n_hot[g] != 0) {
        return fail_call(err, MRT_INVALID_ARGUMENT, "kv policy: pages for group %u, the model has %zu", g,
                         plan.groups.size());
      }
      continue;
    }
    if (p.n_pages[g] > kMaxPages) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "kv policy: %u pages in group %u, at most %u", p.n_pages[g], g,
                       kMaxPages);
    }
    if (p.n_hot[g] > p.n_pages[g]) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "kv policy: %u hot pages of %u in group %u", p.n_hot[g], p.n_pages[g],
                       g);
    }
    if (wants_pages && p.n_pages[g] == 0) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "kv policy: no pages for group %u", g);
    }
  }
  return MRT_OK;
}

}  // namespace

void KvLayout::get_unit(const KvGeometry& geometry, const KvOperand& operand, const uint8_t* page, uint32_t token,
                        uint32_t head, uint32_t unit, uint8_t* to) const noexcept {
  const UnitPlace at = place(geometry, operand, token, head, unit);
  std::memcpy(to, page + at.plane * geometry.group[operand.group].plane_bytes + at.offset, geometry.unit_bytes);
}

void KvLayout::put_unit(const KvGeometry& geometry, const KvOperand& operand, const uint8_t* from, uint32_t token,
                        uint32_t head, uint32_t unit, uint8_t* page) const noexcept {
  const UnitPlace at = place(geometry, operand, token, head, unit);
  std::memcpy(page + at.plane * geometry.group[operand.group].plane_bytes + at.offset, from, geometry.unit_bytes);
}

int32_t PlainLayout::shape(const Plan& plan, const KvGeometry& geometry, uint32_t g, mrt_kv_group* out,
                           mrt_error*) const {
  uint64_t widest = 0;
  for (const uint32_t l : plan.groups[g].layers) {
    const KvLayer& layer = plan.kv_layers[l];
    widest = std::max({widest, operand_bytes(geometry, layer.kv_heads, layer.k_dim),
                       operand_bytes(geometry, layer.kv_heads, layer.v_dim)});
  }
  out->n_planes = 2 * out->n_layers;
  out->plane_bytes = (widest + 63) / 64 * 64;
  return MRT_OK;
}

UnitPlace PlainLayout::place(const KvGeometry& geometry, const KvOperand& operand, uint32_t token, uint32_t head,
                             uint32_t unit) const noexcept {
  const uint64_t row = static_cast<uint64_t>(token) * operand.kv_heads + head;
  return {2 * operand.group_layer + (operand.is_v ? 1u : 0u),
          (row * operand.units(geometry) + unit) * geometry.unit_bytes};
}

void PlainLayout::planes(const KvGeometry&, const KvOperand& operand, uint32_t* first, uint32_t* n) const noexcept {
  *first = 2 * operand.group_layer + (operand.is_v ? 1u : 0u);
  *n = 1;
}

int32_t make_geometry(const Plan& plan, const mrt_kv_policy& policy, const KvLayout& layout, uint32_t type_bits,
                      bool wants_pages, KvGeometry* out, mrt_error* err) {
  const TypeInfo* type = type_info(policy.type);
  if (type == nullptr || (kv_type_bit(policy.type) & type_bits) == 0) {
    return fail_call(err, MRT_UNSUPPORTED, "kv policy: type %u (%s) is not one this plugin caches", policy.type,
                     type == nullptr ? "not known" : type->name);
  }
  if (policy.reserved != 0) return fail_call(err, MRT_UNSUPPORTED, "kv policy: reserved is set");
  if (policy.page_tokens == 0 || policy.page_tokens > kMaxPageTokens) {
    return fail_call(err, MRT_UNSUPPORTED, "kv policy: %u tokens a page, not in [1, %u]", policy.page_tokens,
                     kMaxPageTokens);
  }
  MERRITT_PLUGIN_TRY(check_counts(plan, policy, wants_pages, err));
  KvGeometry geometry;
  geometry.type = policy.type;
  geometry.page_tokens = policy.page_tokens;
  geometry.n_groups = static_cast<uint32_t>(plan.groups.size());
  geometry.unit_elements = type->block_elements;
  geometry.unit_bytes = type->block_bytes;
  for (const KvLayer& layer : plan.kv_layers) {
    if (layer.k_dim % geometry.unit_elements != 0 || layer.v_dim % geometry.unit_elements != 0) {
      return fail(err, MRT_UNSUPPORTED, MRT_BLAST_CALL, layer.node,
                  "node %u: heads of %u and %u do not cut into %s blocks", layer.node, layer.k_dim, layer.v_dim,
                  type->name);
    }
  }
  uint64_t pool = 0;
  for (uint32_t g = 0; g < geometry.n_groups; ++g) {
    geometry.n_pages[g] = policy.n_pages[g];
    geometry.n_hot[g] = policy.n_hot[g];
    mrt_kv_group& group = geometry.group[g];
    group.window = plan.groups[g].window;
    group.n_layers = static_cast<uint32_t>(plan.groups[g].layers.size());
    MERRITT_PLUGIN_TRY(layout.shape(plan, geometry, g, &group, err));
    if (group.plane_bytes == 0 || group.plane_bytes > kMaxPlane) {
      return fail_call(err, MRT_UNSUPPORTED, "kv policy: a plane of group %u would take %llu bytes", g,
                       static_cast<unsigned long long>(group.plane_bytes));
    }
    uint64_t page = 0, pages = 0;
    if (__builtin_mul_overflow(group.plane_bytes, group.n_planes, &page) ||
        __builtin_mul_overflow(page, geometry.n_pages[g], &pages) || __builtin_add_overflow(pool, pages, &pool) ||
        page > kMaxPool || pool > kMaxPool) {
      return fail_call(err, MRT_UNSUPPORTED, "kv policy: %u pages of %u planes of %llu bytes in group %u are too many",
                       geometry.n_pages[g], group.n_planes, static_cast<unsigned long long>(group.plane_bytes), g);
    }
  }
  *out = geometry;
  return MRT_OK;
}

int32_t make_spec(const Plan& plan, const KvGeometry& geometry, const KvLayout& layout, mrt_kv_spec* spec,
                  mrt_error* err) {
  mrt_kv_spec s{};
  s.struct_size = sizeof s;
  s.n_groups = geometry.n_groups;
  Identity id;
  id.add(layout.tag()).add(geometry.type).add(geometry.page_tokens);
  for (uint32_t g = 0; g < geometry.n_groups; ++g) {
    s.group[g] = geometry.group[g];
    s.pool_bytes += geometry.n_pages[g] * geometry.page_bytes(g);
    id.add(geometry.group[g].window).add(geometry.group[g].n_planes).add(geometry.group[g].plane_bytes);
  }
  for (const KvLayer& l : plan.kv_layers) id.add(l.kv_layer).add(l.group).add(l.kv_heads).add(l.k_dim).add(l.v_dim);
  id.write(s.layout);
  return give_struct(s, spec, "mrt_kv_spec", err);
}

int32_t answer_kv_spec(const Plan& plan, const mrt_kv_policy* policy, const KvLayout& layout, uint32_t type_bits,
                       mrt_kv_spec* spec, mrt_error* err) {
  mrt_kv_policy p{};
  MERRITT_PLUGIN_TRY(take_struct(policy, &p, "mrt_kv_policy", err));
  KvGeometry geometry;
  MERRITT_PLUGIN_TRY(make_geometry(plan, p, layout, type_bits, false, &geometry, err));
  return make_spec(plan, geometry, layout, spec, err);
}

Identity& Identity::add(uint64_t value) noexcept {
  for (int i = 0; i < 8; ++i) {
    const uint64_t byte = (value >> (8 * i)) & 0xff;
    a_ = (a_ ^ byte) * 0x100000001b3u;
    b_ = (b_ + byte) * 0xff51afd7ed558ccdu;
    b_ ^= b_ >> 33;
  }
  return *this;
}

Identity& Identity::add(const char* text) noexcept {
  for (const char* c = text; *c != 0; ++c) add(static_cast<unsigned char>(*c));
  return add(uint64_t{0x100});
}

void Identity::write(uint8_t out[16]) const noexcept {
  std::memcpy(out, &a_, 8);
  std::memcpy(out + 8, &b_, 8);
}

}  // namespace merritt::plugin
