// SPDX-License-Identifier: Apache-2.0
// What lies where in a KV page. The geometry (groups, planes, bytes) is derived once from the plan and the policy; the
// order of bytes inside a plane is the plugin's, told through KvLayout::place, and everything else (canonical export
// and import, copy of an open tail) is written once on top of it.
#pragma once
#include <cstdint>

#include "merritt/backend.h"
#include "support/blocks.hpp"
#include "support/plan.hpp"

namespace merritt::plugin {

/// A unit is what a KV type cannot cut: one element of f32, f16, bf16; one block of 32 of q8_0.
struct UnitPlace {
  uint32_t plane = 0;
  uint64_t offset = 0;  // bytes within the plane
};

struct KvGeometry {
  uint32_t type = 0, page_tokens = 0, n_groups = 0;
  uint32_t unit_elements = 1, unit_bytes = 4;
  uint32_t n_pages[MRT_MAX_GROUPS] = {}, n_hot[MRT_MAX_GROUPS] = {};
  mrt_kv_group group[MRT_MAX_GROUPS] = {};
  uint64_t page_bytes(uint32_t g) const noexcept { return group[g].n_planes * group[g].plane_bytes; }
};

/// One K or V row set: which layer of which group, and its shape.
struct KvOperand {
  uint32_t group = 0, group_layer = 0;
  bool is_v = false;
  uint32_t kv_heads = 0, dim = 0;
  uint32_t units(const KvGeometry& g) const noexcept { return dim / g.unit_elements; }  // per head
};

class KvLayout {
 public:
  virtual ~KvLayout() = default;
  /// Name and version of the byte order; part of the layout id.
  virtual const char* tag() const noexcept = 0;
  /// Fills n_planes and plane_bytes of group g, whose layers and window are set.
  virtual int32_t shape(const Plan& plan, const KvGeometry& geometry, uint32_t g, mrt_kv_group* out,
                        mrt_error* err) const = 0;
  /// Where unit `unit` of token `token` (within the page), head `head` lies.
  virtual UnitPlace place(const KvGeometry& geometry, const KvOperand& operand, uint32_t token, uint32_t head,
                          uint32_t unit) const noexcept = 0;
  /// A unit's bytes, in the order of the type, out of and into the planes of a page. Layouts that take a unit apart say
  /// how; place() is then not asked.
  virtual void get_unit(const KvGeometry& geometry, const KvOperand& operand, const uint8_t* page, uint32_t token,
                        uint32_t head, uint32_t unit, uint8_t* to) const noexcept;
  virtual void put_unit(const KvGeometry& geometry, const KvOperand& operand, const uint8_t* from, uint32_t token,
                        uint32_t head, uint32_t unit, uint8_t* page) const noexcept;
  /// The planes that hold an operand, all of them in one run: what a reader of a sealed page has to open. A layout that
  /// does not say is read with all its planes open.
  virtual void planes(const KvGeometry& geometry, const KvOperand& operand, uint32_t* first,
                      uint32_t* n) const noexcept {
    *first = 0;
    *n = geometry.group[operand.group].n_planes;
  }
  /// True when the units of one head follow one another, so that a row of a head is one place.
  virtual bool rows_are_contiguous() const noexcept { return false; }
};

/// The plain order: plane 2 l is K, 2 l + 1 is V of layer l; in it [token][head][unit].
class PlainLayout final : public KvLayout {
 public:
  const char* tag() const noexcept override { return "plain/1"; }
  int32_t shape(const Plan& plan, const KvGeometry& geometry, uint32_t g, mrt_kv_group* out,
                mrt_error* err) const override;
  UnitPlace place(const KvGeometry& geometry, const KvOperand& operand, uint32_t token, uint32_t head,
                  uint32_t unit) const noexcept override;
  void planes(const KvGeometry& geometry, const KvOperand& operand, uint32_t* first,
              uint32_t* n) const noexcept override;
  bool rows_are_contiguous() const noexcept override { return true; }
};

/// Which KV types a plugin takes, as a bit for each: 1u << type (all ids are below 32).
inline constexpr uint32_t kv_type_bit(uint32_t type) { return type < 32 ? 1u << type : 0; }

/// Policy and plan to geometry: types, page sizes, counts and products are checked. `wants_pages`: a pool is to be
/// made, so every group needs at least one page (kv_spec may ask with none).
int32_t make_geometry(const Plan& plan, const mrt_kv_policy& policy, const KvLayout& layout, uint32_t type_bits,
                      bool wants_pages, KvGeometry* out, mrt_error* err);
/// The answer of kv_spec: groups, layout id, pool bytes.
int32_t make_spec(const Plan& plan, const KvGeometry& geometry, const KvLayout& layout, mrt_kv_spec* spec,
                  mrt_error* err);
/// The whole of a kv_spec slot.
int32_t answer_kv_spec(const Plan& plan, const mrt_kv_policy* policy, const KvLayout& layout, uint32_t type_bits,
                       mrt_kv_spec* spec, mrt_error* err);

/// 128 bits over a sequence of words and texts; for layout and numerics ids. Not for secrets.
class Identity {
 public:
  Identity& add(uint64_t value) noexcept;
  Identity& add(const char* text) noexcept;
  void write(uint8_t out[16]) const noexcept;

 private:
  uint64_t a_ = 0xcbf29ce484222325u, b_ = 0x9e3779b97f4a7c15u;
};

}  // namespace merritt::plugin
