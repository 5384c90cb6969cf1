// SPDX-License-Identifier: Apache-2.0
// The kernels of level MRT_ISA_AVX2.
#include "merritt/backend.h"
#include "onednn/simd_avx2.hpp"
#define MERRITT_STREAM_AHEAD 0
#define MERRITT_STREAMS 1  // of weights of sixteen bits
// The order matters: each builds on the ones before.
// clang-format off
#include "onednn/types_impl.hpp"
#include "onednn/gemv_half_impl.hpp"
#include "onednn/matrix_impl.hpp"
#include "onednn/rows_impl.hpp"
#include "onednn/gemv_pairs_impl.hpp"
#include "onednn/attention_impl.hpp"
#include "onednn/table_impl.hpp"
// clang-format on

namespace merritt::onednn {

const Kernels* kernels_avx2() noexcept {
  static constexpr Kernels kTable = [] {
    Kernels k = make_kernels("avx2", MRT_ISA_AVX2, "avx2");
    k.quantise_pairs = quantise_pairs;
    return k;
  }();
  return &kTable;
}

}  // namespace merritt::onednn
