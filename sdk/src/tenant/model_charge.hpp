// SPDX-License-Identifier: Apache-2.0
// A model on a tenant's account: who loaded it, and the bytes that it holds there until this dies.
//
// Threads: made, and told what the load came to, by the thread that loads; afterwards it is read only, by any thread,
// and may die on any.
#pragma once

#include <cstdint>
#include <memory>

#include "base/status.hpp"

namespace merritt::tenant {

class Tenant;

class ModelCharge {
 public:
  ModelCharge() = default;  // of a model that the operator loaded: on nobody's account
  ModelCharge(ModelCharge&& other) noexcept;
  ModelCharge& operator=(ModelCharge&& other) noexcept;
  ~ModelCharge();

  // Whose model it is; null = the operator's, for all tenants.
  const std::shared_ptr<Tenant>& tenant() const { return tenant_; }
  // What is known of its size: before the load, and when its weights are there.
  enum class Known : uint32_t { kFile = 0, kLoaded = 1 };
  // Holds `bytes` in place of those held so far. kQuotaExceeded, and counted, where they and the tenant's other models
  // come to more than its model_bytes_max; then it holds what it did. kCancelled: the tenant was destroyed meanwhile.
  Status hold(uint64_t bytes, Known known = Known::kLoaded);
  // The model is ready. Its tenant may load the next one.
  void loaded();

 private:
  friend class Tenant;
  explicit ModelCharge(std::shared_ptr<Tenant> tenant) : tenant_(std::move(tenant)), loading_(true) {}

  std::shared_ptr<Tenant> tenant_;
  uint64_t bytes_ = 0;
  bool loading_ = false;
};

}  // namespace merritt::tenant
