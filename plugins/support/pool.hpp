// SPDX-License-Identifier: Apache-2.0
// The page pool: memory taken by kind (hot ids first, in MRT_MEM_KV_HOT), raw plane reads and writes, tail copies, and
// canonical rows through the layout. A plugin's mrt_pool holds or derives from it. [pool] unless said otherwise: page
// addresses are fixed for life, so steps read and write pages in place from many workers.
#pragma once
#include <atomic>
#include <cstdint>

#include "support/host.hpp"
#include "support/kv_layout.hpp"

namespace merritt::plugin {

class Pool {
 public:
  Pool() = default;
  ~Pool();  // zeroes every page first
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// plan, layout and memory must outlive the pool. opener may be null.
  int32_t create(const Plan* plan, const mrt_kv_policy* policy, const mrt_kv_opener* opener, const KvLayout* layout,
                 uint32_t type_bits, Memory* memory, mrt_error* err);

  const KvGeometry& geometry() const noexcept { return geometry_; }
  const Plan& plan() const noexcept { return *plan_; }
  const KvLayout& layout() const noexcept { return *layout_; }
  bool has_opener() const noexcept { return opener_.open != nullptr; }
  const mrt_kv_opener& opener() const noexcept { return opener_; }
  /// [any] Address of a page: its planes follow one another. Indexes must be valid.
  uint8_t* page(uint32_t group, uint32_t id) const noexcept;
  uint8_t* plane(uint32_t group, uint32_t id, uint32_t plane_index) const noexcept;
  /// [any] To be told before a page is written in place. Pages that never were are zero, and not even taken from the
  /// system: they need no wiping.
  void note_written(uint32_t group, uint32_t id) noexcept;
  /// K or V of a caching node's layer.
  KvOperand operand(const PlanNode& attention, bool is_v) const noexcept;

  int32_t read(const mrt_kv_span* span, void* dst, uint64_t bytes, mrt_error* err) const noexcept;
  int32_t write(const mrt_kv_span* span, const void* src, uint64_t bytes, mrt_error* err) noexcept;
  int32_t zero(const mrt_kv_span* span, mrt_error* err) noexcept;
  int32_t copy(uint32_t group, const uint32_t* from, const uint32_t* to, uint32_t n_pages, uint32_t n_tokens,
               mrt_error* err) noexcept;
  int32_t map(uint32_t group, uint32_t page_id, uint32_t plane_index, void** p, mrt_error* err) noexcept;
  int32_t export_rows(const mrt_kv_rows* rows, void* dst, uint64_t bytes, mrt_error* err) const noexcept;
  int32_t import_rows(const mrt_kv_rows* rows, const void* src, uint64_t bytes, mrt_error* err) noexcept;

 private:
  int32_t check_span(const mrt_kv_span* span, const void* data, uint64_t bytes, bool has_data,
                     mrt_error* err) const noexcept;
  int32_t check_rows(const mrt_kv_rows* rows, const void* data, uint64_t bytes, KvOperand* operand,
                     mrt_error* err) const noexcept;
  int32_t check_page(uint32_t group, uint32_t id, mrt_error* err) const noexcept;
  const Plan* plan_ = nullptr;
  const KvLayout* layout_ = nullptr;
  KvGeometry geometry_{};
  mrt_kv_opener opener_{};
  Buffer hot_[MRT_MAX_GROUPS], cold_[MRT_MAX_GROUPS];
  std::atomic<uint32_t> used_[MRT_MAX_GROUPS] = {};  // pages [0, used) may hold something; the core takes low ids first
};

}  // namespace merritt::plugin
