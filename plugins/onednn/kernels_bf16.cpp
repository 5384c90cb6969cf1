// SPDX-License-Identifier: Apache-2.0
// The kernels of level MRT_ISA_VNNI.
#include "merritt/backend.h"
#include "onednn/simd_avx512.hpp"
#define MERRITT_STREAM_AHEAD 0
#define MERRITT_STREAMS 1
// The order matters: each builds on the ones before.
// clang-format off
#include "onednn/types_impl.hpp"
#include "onednn/gemv_half_impl.hpp"
#include "onednn/matrix_impl.hpp"
#include "onednn/gemv_impl.hpp"
#include "onednn/rows_impl.hpp"
#include "onednn/attention_impl.hpp"
#include "onednn/attention_bf16_impl.hpp"
#include "onednn/tiles_impl.hpp"
#include "onednn/table_impl.hpp"
// clang-format on

namespace merritt::onednn {

const Kernels* kernels_vnni() noexcept {
  static constexpr Kernels kTable = [] {
    Kernels k = make_kernels("vnni", MRT_ISA_VNNI, "vnni");
    k.pack_keys = pack_keys;
    k.pack_values = pack_values;
    k.soften = soften;
    k.open_tiles = open_tiles;
    k.gate_tile = gate_tile;
    return k;
  }();
  return &kTable;
}

}  // namespace merritt::onednn
