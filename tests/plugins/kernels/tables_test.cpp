// SPDX-License-Identifier: Apache-2.0
// The tables of kernels that a level has for several makes of CPU read memory in different ways and give the same bits:
// the numerics that a model reports name the level, not the make. All levels that this CPU has are looked at, whichever
// table the plugin would choose.
#include "onednn/kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "merritt/backend.h"
#include "onednn/isa.hpp"
#include "support/numbers.hpp"
#include "tests/plugins/kernels/packed_weights.hpp"

namespace merritt::onednn::test {
namespace {
using namespace plugin;

constexpr uint32_t kTypes[] = {kF32,  kF16,  kBF16, kQ4_0, kQ4_1, kQ5_0, kQ5_1,
                               kQ8_0, kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K, kIQ4_NL};
constexpr uint32_t kCounts[] = {1, 2, 3, 4, 5, 8, 15, 17};

// AMX makes its own of the last one: the same vectors, and tiles with the same bits.
std::vector<std::vector<const Kernels*>> tables() {
  std::vector<std::vector<const Kernels*>> all;
  const uint32_t level = cpu_level();
  if (level >= MRT_ISA_AVX2) all.push_back({kernels_avx2()});
  if (level >= MRT_ISA_AVX512) all.push_back({kernels_avx512()});
  if (level >= MRT_ISA_VNNI) all.push_back({kernels_vnni(), kernels_vnni_ahead(), kernels_vnni_four_ahead()});
  return all;
}

// m rows, of which the first are the same for every m.
std::vector<float> inputs(uint64_t m, uint64_t columns) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(m * columns);
  for (float& v : x) v = normal(random);
  return x;
}

std::vector<float> product(const Kernels& kernels, const Packed& w, uint32_t m) {
  const std::vector<float> x = inputs(m, w.cols), bias = inputs(1, w.rows);
  std::vector<float> y(m * w.rows);
  std::vector<float*> out;
  for (uint32_t i = 0; i < m; ++i) out.push_back(y.data() + i * w.rows);
  const RowForm form = row_form(w.type, kernels.quantise_pairs != nullptr);
  if (form == RowForm::kF32) {
    kernels.gemv_f32(w, 0, w.groups, x.data(), w.cols, m, out.data(), bias.data());
    return y;
  }
  const uint64_t row_bytes = form_row_bytes(form, w.padded);
  const Bytes rows = zeros(m * row_bytes);
  for (uint32_t i = 0; i < m; ++i) {
    const uint32_t first = i / kBand * kBand;
    if (form == RowForm::kPairs) {
      kernels.quantise_pairs(x.data() + i * w.cols, w.cols, w.padded, rows.get() + i * row_bytes);
    } else {
      const auto quantise = form == RowForm::kQ12 ? kernels.quantise_q12 : kernels.quantise_q16;
      quantise(x.data() + i * w.cols, w.cols, w.padded, rows.get() + first * row_bytes, std::min(kBand, m - first),
               i - first);
    }
  }
  kernels.gemv_codes(w, 0, w.groups, rows.get(), row_bytes, m, out.data(), bias.data());
  return y;
}

TEST(KernelTables, OfALevelGiveTheSameBits) {
  ASSERT_FALSE(tables().empty());
  for (const uint32_t type : kTypes) {
    SCOPED_TRACE(type_info(type)->name);
    // Two fours of groups, and a part of one.
    const PackedWeights w(type, 8 * kLanes + 5, 768);
    for (const auto& level : tables()) {
      const std::vector<float> alone = product(*level[0], w.packed, 1);
      ASSERT_TRUE(std::all_of(alone.begin(), alone.end(), [](float v) { return std::isfinite(v); }));
      ASSERT_TRUE(std::any_of(alone.begin(), alone.end(), [](float v) { return v != 0; }));
      for (const uint32_t m : kCounts) {
        SCOPED_TRACE(testing::Message() << level[0]->name << ", " << m << " rows");
        const std::vector<float> first = product(*level[0], w.packed, m);
        EXPECT_EQ(std::memcmp(alone.data(), first.data(), alone.size() * sizeof(float)), 0);
        for (size_t i = 1; i < level.size(); ++i) {
          const std::vector<float> other = product(*level[i], w.packed, m);
          EXPECT_EQ(std::memcmp(other.data(), first.data(), first.size() * sizeof(float)), 0) << "table " << i;
        }
      }
    }
  }
}

TEST(KernelTables, OneOfThemIsChosen) {
  const auto all = tables();
  ASSERT_FALSE(all.empty());
  const Kernels* chosen = kernels_of(std::min<uint32_t>(cpu_level(), MRT_ISA_VNNI));
  EXPECT_NE(std::find(all.back().begin(), all.back().end(), chosen), all.back().end());
}

// A panel against the scalar definition: blocks that are no whole number of parts, a group that is not full, one that
// is not there, and columns that fill no block of floats.
TEST(Panels, HoldWhatTheDefinitionOpens) {
  constexpr uint32_t kGroups = 4;
  ASSERT_FALSE(tables().empty());
  for (const uint32_t type : kTypes) {
    SCOPED_TRACE(type_info(type)->name);
    const uint64_t columns = type_info(type)->block_elements == 1 ? 300 : type_info(type)->block_elements * 7ull;
    const PackedWeights w(type, 2 * kLanes + 3, columns);
    const uint64_t ld = kGroups * kLanes;
    float largest = 0;
    for (const float v : w.rows) largest = std::max(largest, std::fabs(v));
    ASSERT_GT(largest, 0);
    for (const auto& level : tables()) {
      std::vector<float> panel(w.packed.padded * ld, 1e30f);
      level.back()->panel_f32(w.packed, 0, kGroups, panel.data());
      for (uint64_t k = 0; k < w.packed.padded; ++k) {
        for (uint64_t r = 0; r < ld; ++r) {
          const float expected = r < w.packed.rows && k < columns ? w.rows[r * columns + k] : 0;
          ASSERT_NEAR(panel[k * ld + r], expected, 1e-6f * largest) << level[0]->name << " row " << r << " input " << k;
        }
      }
      if (!level.back()->bf16) continue;
      std::vector<uint16_t> pairs(w.packed.padded * ld, 0x7fff);
      level.back()->panel_bf16(w.packed, 0, kGroups, pairs.data());
      for (uint64_t k = 0; k < w.packed.padded; ++k) {
        for (uint64_t r = 0; r < ld; ++r) {
          ASSERT_EQ(pairs[(k / 2 * ld + r) * 2 + k % 2], f32_to_bf16(panel[k * ld + r]))
              << "row " << r << " input " << k;
        }
      }
    }
  }
}

}  // namespace
}  // namespace merritt::onednn::test
