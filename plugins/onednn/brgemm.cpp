// SPDX-License-Identifier: Apache-2.0
#include "onednn/brgemm.hpp"

#include <algorithm>

#include "oneapi/dnnl/dnnl_ukernel.h"

namespace merritt::onednn {
namespace {
constexpr uint32_t kSizes[] = {64, 32, 16, 8, 4, 2, 1};
constexpr uint32_t kCount = 7;

// Neither call can fail for a finalized kernel and non-null operands.
void execute(dnnl_brgemm_t kernel, const void* a, const void* panel, float* c, void* scratch) noexcept {
  const dnnl_dim_t offsets[2] = {0, 0};
  (void)dnnl_brgemm_set_hw_context(kernel);
  (void)dnnl_brgemm_execute(kernel, a, panel, offsets, c, scratch);
}
}  // namespace

struct MatrixKernel::Kernels {
  dnnl_brgemm_t of[kCount] = {};
  ~Kernels() {
    for (dnnl_brgemm_t k : of) {
      if (k != nullptr) dnnl_brgemm_destroy(k);
    }
  }
};

MatrixKernel::MatrixKernel() noexcept = default;
MatrixKernel::MatrixKernel(MatrixKernel&&) noexcept = default;
MatrixKernel& MatrixKernel::operator=(MatrixKernel&&) noexcept = default;
MatrixKernel::~MatrixKernel() = default;

bool MatrixKernel::create(uint32_t k, uint32_t lda, bool bf16, Cut cut, bool add) {
  auto made = std::make_unique<Kernels>();
  const dnnl_data_type_t type = bf16 ? dnnl_bf16 : dnnl_f32;
  uint64_t scratch = 0;
  for (uint32_t i = 0; i < kCount; i += cut == Cut::kExact ? 2 : 1) {
    dnnl_brgemm_t& b = made->of[i];
    dnnl_pack_type_t pack = dnnl_pack_type_undef;
    size_t bytes = 0;
    const bool ok = dnnl_brgemm_create(&b, kSizes[i], kPanelColumns, k, 1, lda, kPanelColumns, kPanelColumns, type,
                                       type, dnnl_f32) == dnnl_success &&
                    dnnl_brgemm_set_add_C(b, add ? 1 : 0) == dnnl_success && dnnl_brgemm_finalize(b) == dnnl_success &&
                    dnnl_brgemm_get_B_pack_type(b, &pack) == dnnl_success &&
                    pack == (bf16 ? dnnl_pack_type_pack32 : dnnl_pack_type_no_trans) &&
                    dnnl_brgemm_get_scratchpad_size(b, &bytes) == dnnl_success &&
                    dnnl_brgemm_generate(b) == dnnl_success;
    if (!ok) return false;
    scratch = std::max<uint64_t>(scratch, bytes);
  }
  kernels_ = std::move(made);
  scratch_bytes_ = scratch;
  k_ = k;
  lda_ = lda;
  bf16_ = bf16;
  return true;
}

void MatrixKernel::run(uint32_t rows, const void* a, const void* panel, float* c, void* scratch) const noexcept {
  uint32_t i = kCount - 1;
  while (i > 0 && kSizes[i] < rows) --i;
  execute(kernels_->of[i], a, panel, c, scratch);
}

void MatrixKernel::run_exact(uint32_t rows, const void* a, const void* panel, float* c, void* scratch) const noexcept {
  const auto* from = static_cast<const uint8_t*>(a);
  for (uint32_t i = 0; i < kCount; i += 2) {
    for (; rows >= kSizes[i]; rows -= kSizes[i]) {
      execute(kernels_->of[i], from, panel, c, scratch);
      from += static_cast<uint64_t>(kSizes[i]) * lda_ * (bf16_ ? 2 : 4);
      c += static_cast<uint64_t>(kSizes[i]) * kPanelColumns;
    }
  }
}

void MatrixKernel::release() noexcept { (void)dnnl_brgemm_release_hw_context(); }

}  // namespace merritt::onednn
