// SPDX-License-Identifier: Apache-2.0
// The far device's own heap: charged to the host, never mapped into it, and a page layout unlike the reference's.
#pragma once
#include "support/host.hpp"
#include "support/kv_layout.hpp"

namespace merritt::plugin::far {

/// Takes bytes beside the host's memory and tells the ledger first.
class FarMemory final : public Memory {
 public:
  void attach(const Host* host) noexcept { host_ = host; }
  void* take(uint32_t kind, uint64_t bytes, uint64_t align) noexcept override;
  void give(uint32_t kind, void* p, uint64_t bytes) noexcept override;

 private:
  const Host* host_ = nullptr;
};

/// One plane a layer, K and V in it; [head][unit][token], tokens from last to first.
class FarLayout final : public KvLayout {
 public:
  const char* tag() const noexcept override { return "far/1"; }
  int32_t shape(const Plan& plan, const KvGeometry& geometry, uint32_t g, mrt_kv_group* out,
                mrt_error* err) const override;
  UnitPlace place(const KvGeometry& geometry, const KvOperand& operand, uint32_t token, uint32_t head,
                  uint32_t unit) const noexcept override;
  void planes(const KvGeometry& geometry, const KvOperand& operand, uint32_t* first,
              uint32_t* n) const noexcept override;
};

}  // namespace merritt::plugin::far
