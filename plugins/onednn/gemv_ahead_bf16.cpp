// SPDX-License-Identifier: Apache-2.0
// The kernels of level MRT_ISA_VNNI with another GEMV, for Intel's CPUs: their prefetcher of the second cache stops at
// the end of a page of 4 KiB, so a stream that asks for itself a page ahead reads 1.2 to 1.5 times as fast. And a core
// has more from memory in several streams than in one.
#include "merritt/backend.h"
#include "onednn/simd_avx512.hpp"
#define MERRITT_STREAM_AHEAD 4096
#define MERRITT_STREAMS 4
// The order matters: each builds on the ones before.
// clang-format off
#include "onednn/types_impl.hpp"
#include "onednn/gemv_half_impl.hpp"
#include "onednn/gemv_impl.hpp"
// clang-format on

namespace {

void gemv_f32(const Packed& w, uint64_t g0, uint64_t g1, const float* x, uint64_t stride, uint32_t m, float* const* out,
              const float* bias) {
  if (gemv_half_typed(w, g0, g1, x, stride, m, out, bias)) return;
  merritt::onednn::kernels_vnni()->gemv_f32(w, g0, g1, x, stride, m, out, bias);
}

}  // namespace

namespace merritt::onednn {

const Kernels* kernels_vnni_ahead() noexcept {
  static const Kernels kTable = [] {
    Kernels k = *kernels_vnni();
    k.gemv_codes = gemv_codes;
    k.gemv_f32 = gemv_f32;
    return k;
  }();
  return &kTable;
}

}  // namespace merritt::onednn
