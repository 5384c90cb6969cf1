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
#include "onednn/gemv_impl.hpp"
// clang-format on

namespace merritt::onednn {

const Kernels* kernels_vnni_ahead() noexcept {
  static const Kernels kTable = [] {
    Kernels k = *kernels_vnni();
    k.gemv_q12 = gemv_q12;
    return k;
  }();
  return &kTable;
}

}  // namespace merritt::onednn
