// SPDX-License-Identifier: Apache-2.0
// The kernels of level MRT_ISA_VNNI with another GEMV. The prefetcher of the second cache of Intel's CPUs stops at the
// end of a page of 4 KiB, so a stream that asks for itself a page ahead reads 1.2 to 1.5 times as fast; and a core has
// more from memory in several streams than in one. On Zen 5 asking makes blocks of 256, in which parts are read by
// turns, 1.3 to 1.6 times as fast; there several streams are slower than one, and so is asking from four rows on.
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

void gemv_codes_in_one(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                       float* const* out, const float* bias) {
  constexpr uint32_t kManyRows = 4;
  if (m >= kManyRows) {
    merritt::onednn::kernels_vnni()->gemv_codes(w, g0, g1, act, act_bytes, m, out, bias);
    return;
  }
  with_quant_type(w.type, [&](auto trait) {
    for (uint64_t g = g0; g < g1; ++g) gemv_rows<decltype(trait), 1>(w, g, act, act_bytes, m, out, bias);
  });
}

}  // namespace

namespace merritt::onednn {

const Kernels* kernels_vnni_ahead() noexcept {
  static const Kernels kTable = [] {
    Kernels k = *kernels_vnni();
    k.gemv_codes = gemv_codes_in_one;
    return k;
  }();
  return &kTable;
}

const Kernels* kernels_vnni_four_ahead() noexcept {
  static const Kernels kTable = [] {
    Kernels k = *kernels_vnni();
    k.gemv_codes = gemv_codes;
    k.gemv_f32 = gemv_f32;
    return k;
  }();
  return &kTable;
}

}  // namespace merritt::onednn
