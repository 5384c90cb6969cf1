// SPDX-License-Identifier: Apache-2.0
#include "support/pool.hpp"

#include <algorithm>
#include <cstring>

namespace merritt::plugin {
namespace {
constexpr uint32_t kUnitBytesMax = 34;  // of the KV types: a block of q8_0
}

Pool::~Pool() {
  for (uint32_t g = 0; g < geometry_.n_groups; ++g) {
    const uint64_t bytes = geometry_.page_bytes(g);
    const uint32_t used = used_[g].load(std::memory_order_relaxed), hot = std::min(used, geometry_.n_hot[g]);
    if (hot_[g].data() != nullptr) wipe(hot_[g].data(), hot * bytes);
    if (cold_[g].data() != nullptr) wipe(cold_[g].data(), (used - hot) * bytes);
  }
}

void Pool::note_written(uint32_t group, uint32_t id) noexcept {
  uint32_t used = used_[group].load(std::memory_order_relaxed);
  while (used <= id && !used_[group].compare_exchange_weak(used, id + 1, std::memory_order_relaxed)) {
  }
}

int32_t Pool::create(const Plan* plan, const mrt_kv_policy* policy, const mrt_kv_opener* opener, const KvLayout* layout,
                     uint32_t type_bits, Memory* memory, mrt_error* err) {
  mrt_kv_policy p{};
  MERRITT_PLUGIN_TRY(take_struct(policy, &p, "mrt_kv_policy", err));
  if (opener != nullptr) {
    MERRITT_PLUGIN_TRY(take_struct(opener, &opener_, "mrt_kv_opener", err));
    if (opener_.open == nullptr) return fail_call(err, MRT_INVALID_ARGUMENT, "mrt_kv_opener.open is null");
  }
  if (plan->groups.empty())
    return fail_call(err, MRT_FAILED_PRECONDITION, "the graph caches nothing: it needs no pool");
  plan_ = plan;
  layout_ = layout;
  MERRITT_PLUGIN_TRY(make_geometry(*plan, p, *layout, type_bits, true, &geometry_, err));
  for (uint32_t g = 0; g < geometry_.n_groups; ++g) {
    const uint64_t bytes = geometry_.page_bytes(g);
    const uint64_t hot = geometry_.n_hot[g], cold = geometry_.n_pages[g] - geometry_.n_hot[g];
    MERRITT_PLUGIN_TRY(hot_[g].take(memory, MRT_MEM_KV_HOT, hot * bytes, "hot pages", err, 4096));
    MERRITT_PLUGIN_TRY(cold_[g].take(memory, MRT_MEM_KV, cold * bytes, "pages", err, 4096));
  }
  return MRT_OK;
}

uint8_t* Pool::page(uint32_t group, uint32_t id) const noexcept {
  const uint64_t bytes = geometry_.page_bytes(group);
  const uint32_t n_hot = geometry_.n_hot[group];
  return id < n_hot ? hot_[group].data() + id * bytes : cold_[group].data() + (id - n_hot) * bytes;
}

uint8_t* Pool::plane(uint32_t group, uint32_t id, uint32_t plane_index) const noexcept {
  return page(group, id) + plane_index * geometry_.group[group].plane_bytes;
}

KvOperand Pool::operand(const PlanNode& n, bool is_v) const noexcept {
  return {n.group, n.group_layer, is_v, n.a.kv_heads, is_v ? n.a.v_dim : n.a.head_dim};
}

int32_t Pool::check_page(uint32_t group, uint32_t id, mrt_error* err) const noexcept {
  if (group >= geometry_.n_groups) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "group %u of %u", group, geometry_.n_groups);
  }
  if (id >= geometry_.n_pages[group]) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "page %u of %u in group %u", id, geometry_.n_pages[group], group);
  }
  return MRT_OK;
}

int32_t Pool::check_span(const mrt_kv_span* span, const void* data, uint64_t bytes, bool has_data,
                         mrt_error* err) const noexcept {
  if (span == nullptr) return fail_call(err, MRT_INVALID_ARGUMENT, "mrt_kv_span is null");
  if (span->n_pages != 0 && span->pages == nullptr) return fail_call(err, MRT_INVALID_ARGUMENT, "span: pages is null");
  if (span->group >= geometry_.n_groups) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "group %u of %u", span->group, geometry_.n_groups);
  }
  const mrt_kv_group& group = geometry_.group[span->group];
  if (span->plane > group.n_planes || span->n_planes > group.n_planes - span->plane) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "span: planes %u + %u of %u", span->plane, span->n_planes,
                     group.n_planes);
  }
  for (uint32_t i = 0; i < span->n_pages; ++i) MERRITT_PLUGIN_TRY(check_page(span->group, span->pages[i], err));
  if (!has_data) return MRT_OK;
  const uint64_t want = static_cast<uint64_t>(span->n_pages) * span->n_planes * group.plane_bytes;
  if (bytes != want || (want != 0 && data == nullptr)) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "span: a buffer of %llu bytes for %llu",
                     static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(want));
  }
  return MRT_OK;
}

int32_t Pool::read(const mrt_kv_span* span, void* dst, uint64_t bytes, mrt_error* err) const noexcept {
  MERRITT_PLUGIN_TRY(check_span(span, dst, bytes, true, err));
  const uint64_t run = span->n_planes * geometry_.group[span->group].plane_bytes;
  auto* to = static_cast<uint8_t*>(dst);
  for (uint32_t i = 0; i < span->n_pages; ++i) {
    std::memcpy(to + i * run, plane(span->group, span->pages[i], span->plane), run);
  }
  return MRT_OK;
}

int32_t Pool::write(const mrt_kv_span* span, const void* src, uint64_t bytes, mrt_error* err) noexcept {
  MERRITT_PLUGIN_TRY(check_span(span, src, bytes, true, err));
  const uint64_t run = span->n_planes * geometry_.group[span->group].plane_bytes;
  const auto* from = static_cast<const uint8_t*>(src);
  for (uint32_t i = 0; i < span->n_pages; ++i) {
    note_written(span->group, span->pages[i]);
    std::memcpy(plane(span->group, span->pages[i], span->plane), from + i * run, run);
  }
  return MRT_OK;
}

int32_t Pool::zero(const mrt_kv_span* span, mrt_error* err) noexcept {
  MERRITT_PLUGIN_TRY(check_span(span, nullptr, 0, false, err));
  const uint64_t run = span->n_planes * geometry_.group[span->group].plane_bytes;
  const uint32_t used = used_[span->group].load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < span->n_pages; ++i) {
    if (span->pages[i] < used) wipe(plane(span->group, span->pages[i], span->plane), run);
  }
  return MRT_OK;
}

int32_t Pool::copy(uint32_t group, const uint32_t* from, const uint32_t* to, uint32_t n_pages, uint32_t n_tokens,
                   mrt_error* err) noexcept {
  if (n_pages != 0 && (from == nullptr || to == nullptr)) return fail_call(err, MRT_INVALID_ARGUMENT, "pages are null");
  if (n_tokens > geometry_.page_tokens) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "%u tokens of a page of %u", n_tokens, geometry_.page_tokens);
  }
  for (uint32_t i = 0; i < n_pages; ++i) {
    MERRITT_PLUGIN_TRY(check_page(group, from[i], err));
    MERRITT_PLUGIN_TRY(check_page(group, to[i], err));
  }
  for (uint32_t i = 0; i < n_pages; ++i) {
    note_written(group, to[i]);
    const uint8_t* source = page(group, from[i]);
    uint8_t* target = page(group, to[i]);
    if (from[i] == to[i]) continue;
    if (n_tokens == geometry_.page_tokens) {
      std::memcpy(target, source, geometry_.page_bytes(group));
      continue;
    }
    for (const uint32_t l : plan_->groups[group].layers) {
      for (const bool is_v : {false, true}) {
        const KvOperand op = operand(plan_->nodes[plan_->kv_layers[l].node], is_v);
        for (uint32_t t = 0; t < n_tokens; ++t) {
          for (uint32_t h = 0; h < op.kv_heads; ++h) {
            for (uint32_t u = 0; u < op.units(geometry_); ++u) {
              uint8_t bytes[kUnitBytesMax];
              layout_->get_unit(geometry_, op, source, t, h, u, bytes);
              layout_->put_unit(geometry_, op, bytes, t, h, u, target);
            }
          }
        }
      }
    }
  }
  return MRT_OK;
}

int32_t Pool::map(uint32_t group, uint32_t page_id, uint32_t plane_index, void** p, mrt_error* err) noexcept {
  MERRITT_PLUGIN_TRY(check_page(group, page_id, err));
  if (p == nullptr || plane_index >= geometry_.group[group].n_planes) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "plane %u of %u", plane_index, geometry_.group[group].n_planes);
  }
  note_written(group, page_id);
  *p = plane(group, page_id, plane_index);
  return MRT_OK;
}

int32_t Pool::check_rows(const mrt_kv_rows* rows, const void* data, uint64_t bytes, KvOperand* op,
                         mrt_error* err) const noexcept {
  if (rows == nullptr) return fail_call(err, MRT_INVALID_ARGUMENT, "mrt_kv_rows is null");
  MERRITT_PLUGIN_TRY(check_page(rows->group, rows->page, err));
  const KvLayer* layer = nullptr;
  for (const KvLayer& l : plan_->kv_layers) {
    if (l.kv_layer == rows->kv_layer && l.group == rows->group) layer = &l;
  }
  if (layer == nullptr || rows->is_v > 1 || rows->reserved != 0) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "rows: no operand %u of layer %u in group %u", rows->is_v,
                     rows->kv_layer, rows->group);
  }
  if (rows->first > geometry_.page_tokens || rows->n_tokens > geometry_.page_tokens - rows->first) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "rows: tokens %u + %u of a page of %u", rows->first, rows->n_tokens,
                     geometry_.page_tokens);
  }
  if (rows->type != geometry_.type && rows->type != kF32) {
    return fail_call(err, MRT_UNSUPPORTED, "rows: type %u is neither the pool's own (%u) nor f32", rows->type,
                     geometry_.type);
  }
  *op = operand(plan_->nodes[layer->node], rows->is_v != 0);
  const uint64_t want = static_cast<uint64_t>(rows->n_tokens) * op->kv_heads * row_bytes(rows->type, op->dim);
  if (bytes != want || (want != 0 && data == nullptr)) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "rows: a buffer of %llu bytes for %llu",
                     static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(want));
  }
  return MRT_OK;
}

int32_t Pool::export_rows(const mrt_kv_rows* rows, void* dst, uint64_t bytes, mrt_error* err) const noexcept {
  KvOperand op;
  MERRITT_PLUGIN_TRY(check_rows(rows, dst, bytes, &op, err));
  auto* to = static_cast<uint8_t*>(dst);
  const uint64_t out_unit = row_bytes(rows->type, geometry_.unit_elements);
  float values[32];
  for (uint32_t t = 0; t < rows->n_tokens; ++t) {
    for (uint32_t h = 0; h < op.kv_heads; ++h) {
      for (uint32_t u = 0; u < op.units(geometry_); ++u, to += out_unit) {
        uint8_t unit[kUnitBytesMax];
        layout_->get_unit(geometry_, op, page(rows->group, rows->page), rows->first + t, h, u, unit);
        if (rows->type == geometry_.type) {
          std::memcpy(to, unit, geometry_.unit_bytes);
        } else {
          dequantise_row(geometry_.type, unit, values, geometry_.unit_elements);
          std::memcpy(to, values, out_unit);
        }
      }
    }
  }
  return MRT_OK;
}

int32_t Pool::import_rows(const mrt_kv_rows* rows, const void* src, uint64_t bytes, mrt_error* err) noexcept {
  KvOperand op;
  MERRITT_PLUGIN_TRY(check_rows(rows, src, bytes, &op, err));
  note_written(rows->group, rows->page);
  const auto* from = static_cast<const uint8_t*>(src);
  const uint64_t in_unit = row_bytes(rows->type, geometry_.unit_elements);
  float values[32];
  for (uint32_t t = 0; t < rows->n_tokens; ++t) {
    for (uint32_t h = 0; h < op.kv_heads; ++h) {
      for (uint32_t u = 0; u < op.units(geometry_); ++u, from += in_unit) {
        uint8_t unit[kUnitBytesMax];
        if (rows->type == geometry_.type) {
          std::memcpy(unit, from, geometry_.unit_bytes);
        } else {
          std::memcpy(values, from, in_unit);
          quantise_row(geometry_.type, values, unit, geometry_.unit_elements);
        }
        layout_->put_unit(geometry_, op, unit, rows->first + t, h, u, page(rows->group, rows->page));
      }
    }
  }
  return MRT_OK;
}

}  // namespace merritt::plugin
