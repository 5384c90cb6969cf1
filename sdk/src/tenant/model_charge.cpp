// SPDX-License-Identifier: Apache-2.0
#include "tenant/model_charge.hpp"

#include <string>
#include <utility>

#include "base/checked.hpp"
#include "base/limits.hpp"
#include "tenant/tenant.hpp"

namespace merritt::tenant {
namespace {

constexpr uint32_t kRetryMs = 1000;  // a load takes about so long

}  // namespace

Tenant::Verdict Tenant::check_load(uint64_t now_ns) {
  if (limits_.model_bytes_max == 0) {
    return {Refusal::kModel,
            Status(Code::kPermissionDenied, "the tenant may load no models: its model_bytes_max is 0")};
  }
  if (models_ >= limits::kTenantModelsMax) {
    return {Refusal::kModel, Status(Code::kQuotaExceeded, "the tenant has " + std::to_string(models_) +
                                                              " models, as many as may be loaded for one")};
  }
  if (loading_) {
    return {Refusal::kQueue,
            Status(Code::kQuotaExceeded, "a model is being loaded for the tenant; it may load one at a time",
                   Blast::kRequest, kRetryMs)};
  }
  return check_request_rate(now_ns);
}

Result<ModelCharge> Tenant::admit_load(uint64_t now_ns) {
  if (closed()) return Status(Code::kNotFound, "the tenant was destroyed");
  std::unique_lock lock(mutex_);
  Verdict verdict = check_load(now_ns);
  if (!verdict.status.ok()) {
    lock.unlock();
    return refuse(verdict.cause, std::move(verdict.status));
  }
  request_rate_.take(1, now_ns);
  loading_ = true;
  ++models_;
  return ModelCharge(shared_from_this());
}

uint64_t Tenant::model_bytes() const {
  const std::lock_guard lock(mutex_);
  return model_bytes_;
}

ModelCharge::ModelCharge(ModelCharge&& other) noexcept
    : tenant_(std::move(other.tenant_)),
      bytes_(std::exchange(other.bytes_, 0)),
      loading_(std::exchange(other.loading_, false)) {}

ModelCharge& ModelCharge::operator=(ModelCharge&& other) noexcept {
  std::swap(tenant_, other.tenant_);
  std::swap(bytes_, other.bytes_);
  std::swap(loading_, other.loading_);
  return *this;
}

ModelCharge::~ModelCharge() {
  if (tenant_ == nullptr) return;
  const std::lock_guard lock(tenant_->mutex_);
  --tenant_->models_;
  tenant_->model_bytes_ -= bytes_;
  if (loading_) tenant_->loading_ = false;
}

Status ModelCharge::hold(uint64_t bytes, Known known) {
  if (tenant_ == nullptr) return {};
  if (tenant_->closed()) return Status(Code::kCancelled, "the tenant was destroyed while its model was loaded");
  std::unique_lock lock(tenant_->mutex_);
  const uint64_t others = tenant_->model_bytes_ - bytes_;
  const uint64_t limit = tenant_->limits_.model_bytes_max;
  // Lower bytes are always right, whatever the limit has become.
  if (bytes > bytes_ && checked_add(others, bytes).value_or(UINT64_MAX) > limit) {
    lock.unlock();
    const std::string what = known == Known::kFile ? "the model's file has " : "the model's weights and KV pool take ";
    return tenant_->refuse(
        Refusal::kModel,
        Status(Code::kQuotaExceeded, what + std::to_string(bytes) + " bytes, the tenant's other models " +
                                         std::to_string(others) + "; its model_bytes_max is " + std::to_string(limit)));
  }
  tenant_->model_bytes_ = others + bytes;
  bytes_ = bytes;
  return {};
}

void ModelCharge::loaded() {
  if (!std::exchange(loading_, false)) return;
  const std::lock_guard lock(tenant_->mutex_);
  tenant_->loading_ = false;
}

}  // namespace merritt::tenant
