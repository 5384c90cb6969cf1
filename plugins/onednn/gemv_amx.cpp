// SPDX-License-Identifier: Apache-2.0
// GENERATED rows in tiles where there are enough of them for a tile to be worth its loads, else in vectors: the
// integers and what follows them are the same.
#include <type_traits>

#include "onednn/kernels.hpp"
#include "onednn/simd_avx512.hpp"
// They build on the ones before.
// clang-format off
#include "onednn/types_impl.hpp"
#include "onednn/gemv_amx_q16_impl.hpp"
// clang-format on

namespace {

constexpr RowConfigs kConfigs;

// Groups [g0, g1) times the first `rows` of m rows.
template <class T>
void gemm_codes(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t rows,
                uint32_t m, float* const* out, const float* bias) {
  uint32_t configured = 0;
  for (uint64_t g = g0; g < g1; ++g) {
    for (uint32_t i = 0; i < rows; i += kBand) {
      const uint32_t n = rows - i < kBand ? rows - i : kBand;
      if (n != configured) _tile_loadconfig(&kConfigs.of[n]);
      configured = n;
      const auto multiply = [&](auto all) __attribute__((always_inline)) {
        constexpr bool kAll = decltype(all)::value;
        const int count = static_cast<int>(n);
        const Ahead ahead(w, g, i == 0 && g == g0, i == 0 && g + 1 < g1);
        if constexpr (T::kHalves) {
          multiply_q16<T, kAll>(w, g, q16_rows(w, act, act_bytes, m, i), count, ahead, out + i, bias);
        } else {
          multiply_q12<T, kAll>(w, g, q12_rows(w, act, act_bytes, m, i), count, ahead, out + i, bias);
        }
      };
      if (n == kBand) {
        multiply(std::true_type{});
      } else {
        multiply(std::false_type{});
      }
    }
  }
  _tile_release();
}

}  // namespace

namespace merritt::onednn {

void gemv_codes_amx(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                    float* const* out, const float* bias) {
  (void)with_quant_type(w.type, [&](auto trait) {
    using T = decltype(trait);
    constexpr uint32_t kLeast = 5;  // below, vectors are faster
    const uint32_t rest = m % kBand < kLeast ? m % kBand : 0, rows = m - rest;
    if (rows != 0) gemm_codes<T>(w, g0, g1, act, act_bytes, rows, m, out, bias);
    if (rest != 0) {
      kernels_vnni_four_ahead()->gemv_codes(w, g0, g1, act + rows * act_bytes, act_bytes, rest, out + rows, bias);
    }
  });
}

}  // namespace merritt::onednn
