// SPDX-License-Identifier: Apache-2.0
// A matrix of any type, packed, whose blocks are drawn from those of tests/golden/quants.json: random codes beside
// scales that are numbers.
#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "onednn/packed.hpp"
#include "support/blocks.hpp"
#include "tests/support/places.hpp"

namespace merritt::onednn::test {

struct Free {
  void operator()(uint8_t* p) const { std::free(p); }
};
using Bytes = std::unique_ptr<uint8_t, Free>;
inline Bytes zeros(uint64_t n) {
  n = (n + 63) / 64 * 64;
  Bytes p(static_cast<uint8_t*>(std::aligned_alloc(64, n)));
  std::memset(p.get(), 0, n);
  return p;
}

inline const std::vector<uint8_t>& golden_bytes(uint32_t type) {
  static const std::vector<std::vector<uint8_t>> all = [] {
    std::vector<std::vector<uint8_t>> of(plugin::kBF16 + 1);
    std::ifstream file(merritt::test::source_dir() + "/tests/golden/quants.json");
    for (const auto& golden : nlohmann::json::parse(file)) {
      const std::string hex = golden["bytes"];
      for (size_t i = 0; i + 1 < hex.size(); i += 2) {
        of[golden["type"].get<size_t>()].push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
      }
    }
    return of;
  }();
  return all[type];
}

struct PackedWeights {
  Packed packed;
  std::vector<float> rows;  // [packed.rows][packed.cols], opened by the scalar definition
  Bytes data;

  PackedWeights(uint32_t type, uint64_t n_rows, uint64_t columns) : rows(n_rows * columns) {
    EXPECT_TRUE(describe_packed(type, n_rows, columns, &packed));
    data = zeros(packed.bytes());
    const std::vector<uint8_t>& golden = golden_bytes(type);
    const plugin::TypeInfo& info = *plugin::type_info(type);
    const uint64_t row_bytes = plugin::row_bytes(type, columns), n_blocks = golden.size() / info.block_bytes;
    EXPECT_GT(n_blocks, 1u);
    std::mt19937 random(type);
    std::vector<uint8_t> file(n_rows * row_bytes);
    for (uint64_t at = 0; at < file.size(); at += info.block_bytes) {
      std::memcpy(file.data() + at, golden.data() + random() % n_blocks * info.block_bytes, info.block_bytes);
    }
    for (uint64_t r = 0; r < n_rows; ++r) {
      plugin::dequantise_row(type, file.data() + r * row_bytes, rows.data() + r * columns, columns);
    }
    for (uint64_t g = 0; g < packed.groups; ++g) {
      const uint8_t* sixteen[kLanes] = {};
      for (uint64_t r = 0; r < kLanes && g * kLanes + r < n_rows; ++r) {
        sixteen[r] = file.data() + (g * kLanes + r) * row_bytes;
      }
      pack_group(packed, sixteen, data.get() + g * packed.group_bytes);
    }
    packed.data = data.get();
  }
};

}  // namespace merritt::onednn::test
