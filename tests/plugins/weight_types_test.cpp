// SPDX-License-Identifier: Apache-2.0
// Opening blocks of every weight type, against values of the gguf package (tests/golden/make_quant_goldens.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/blocks.hpp"
#include "support/kv_layout.hpp"
#include "support/numbers.hpp"
#include "tests/support/places.hpp"

namespace merritt::plugin {
namespace {

std::vector<uint8_t> from_hex(const std::string& text) {
  std::vector<uint8_t> out(text.size() / 2);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint8_t>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return out;
}

TEST(WeightTypes, OpenLikeTheGgufPackage) {
  std::ifstream file(merritt::test::source_dir() + "/tests/golden/quants.json");
  const auto goldens = nlohmann::json::parse(file);
  ASSERT_EQ(goldens.size(), 14u);
  for (const auto& golden : goldens) {
    const uint32_t type = golden["type"];
    const std::string name = golden["name"];
    SCOPED_TRACE(name);
    const auto bytes = from_hex(golden["bytes"]), raw = from_hex(golden["values"]);
    std::vector<float> expect(raw.size() / 4), got(raw.size() / 4, 1e30f);
    std::memcpy(expect.data(), raw.data(), raw.size());
    ASSERT_NE(type_info(type), nullptr);
    ASSERT_EQ(row_bytes(type, expect.size()), bytes.size());
    dequantise_row(type, bytes.data(), got.data(), got.size());
    for (size_t i = 0; i < expect.size(); ++i) ASSERT_EQ(got[i], expect[i]) << "element " << i;
  }
}

TEST(WeightTypes, UnknownTypesAreNotGuessed) {
  for (const uint32_t type : {4u, 5u, 9u, 15u, 16u, 21u, 29u, 31u, 39u, 0xffffffffu}) {
    EXPECT_EQ(type_info(type), nullptr) << type;
  }
}

TEST(Numbers, HalfAndBfloatRoundToNearestEven) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const auto half = static_cast<uint16_t>(h);
    const float f = f16_to_f32(half);
    if (std::isnan(f)) continue;
    ASSERT_EQ(f32_to_f16(f), half) << h;
    const float next = f16_to_f32(static_cast<uint16_t>(half + 1));
    if ((h & 0x7fff) < 0x7bff) {  // halfway goes to the even one, a little more goes up
      const float middle = (f + next) / 2;
      ASSERT_EQ(f32_to_f16(middle), static_cast<uint16_t>(half + (half & 1))) << h;
      ASSERT_EQ(f32_to_f16(std::nextafter(middle, next)), static_cast<uint16_t>(half + 1)) << h;
      ASSERT_EQ(f32_to_f16(std::nextafter(middle, f)), half) << h;
    }
    const float b = bf16_to_f32(half);
    if (!std::isnan(b)) {
      ASSERT_EQ(f32_to_bf16(b), half) << h;
    }
  }
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(NAN))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(NAN))));
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
}

TEST(KvTypes, Q8RoundTripsWithinHalfAStep) {
  float in[64], out[64];
  for (int i = 0; i < 64; ++i) in[i] = std::sin(static_cast<float>(i) * 1.7f) * (i < 32 ? 3.0f : 0.0f);
  uint8_t row[68];
  ASSERT_TRUE(quantise_row(kQ8_0, in, row, 64));
  dequantise_row(kQ8_0, row, out, 64);
  for (int i = 0; i < 64; ++i) EXPECT_NEAR(out[i], in[i], 3.0f / 127.0f * 0.51f);
  EXPECT_FALSE(quantise_row(kQ4_0, in, row, 64));
}

TEST(KvTypes, Q8ShowsWhatIsNoNumber) {
  uint8_t row[68];
  float out[64];
  for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
    for (const int at : {0, 13, 31}) {
      float in[64];
      for (int i = 0; i < 64; ++i) in[i] = static_cast<float>(i);
      in[at] = bad;
      ASSERT_TRUE(quantise_row(kQ8_0, in, row, 64));
      dequantise_row(kQ8_0, row, out, 64);
      for (int i = 0; i < 32; ++i) EXPECT_TRUE(std::isnan(out[i])) << bad << " at " << at << ", " << i;
      for (int i = 32; i < 64; ++i) EXPECT_NEAR(out[i], in[i], 0.26f) << "the other block is as it was";
    }
  }
  // Too large for a half's scale, and too small for a reciprocal.
  float in[64] = {};
  in[0] = 3e38f;
  in[32] = 1e-40f;
  ASSERT_TRUE(quantise_row(kQ8_0, in, row, 64));
  dequantise_row(kQ8_0, row, out, 64);
  EXPECT_FALSE(std::isfinite(out[0]));
  EXPECT_EQ(out[32], 0.0f);
}

// A layout whose pages no machine holds: the product must not wrap to a small pool.
class HugeLayout final : public KvLayout {
 public:
  explicit HugeLayout(uint32_t planes) : planes_(planes) {}
  const char* tag() const noexcept override { return "huge/1"; }
  int32_t shape(const Plan&, const KvGeometry&, uint32_t, mrt_kv_group* out, mrt_error*) const override {
    out->n_planes = planes_;
    out->plane_bytes = uint64_t{1} << 28;
    return MRT_OK;
  }
  UnitPlace place(const KvGeometry&, const KvOperand&, uint32_t, uint32_t, uint32_t) const noexcept override {
    return {};
  }

 private:
  uint32_t planes_;
};

TEST(KvGeometryTest, APoolThatNoMachineHoldsIsRefused) {
  Plan plan;
  plan.groups.push_back({0, {0}});
  plan.kv_layers.push_back({0, 0, 0, 0, 1, 32, 32});
  mrt_kv_policy policy{};
  policy.struct_size = sizeof policy;
  policy.page_tokens = 16;
  policy.n_pages[0] = 1u << 24;
  mrt_error err{};
  for (const uint32_t planes : {1u << 12, (1u << 12) + 1, UINT32_MAX}) {  // 2^64 bytes, a little more, far more
    mrt_kv_spec spec{};
    spec.struct_size = sizeof spec;
    EXPECT_EQ(answer_kv_spec(plan, &policy, HugeLayout(planes), kv_type_bit(kF32), &spec, &err), MRT_UNSUPPORTED);
    KvGeometry geometry;
    EXPECT_EQ(make_geometry(plan, policy, HugeLayout(planes), kv_type_bit(kF32), true, &geometry, &err),
              MRT_UNSUPPORTED);
  }
  policy.n_pages[0] = 1u << 10;
  KvGeometry geometry;
  EXPECT_EQ(make_geometry(plan, policy, HugeLayout(2), kv_type_bit(kF32), true, &geometry, &err), MRT_OK)
      << err.message;
}

}  // namespace
}  // namespace merritt::plugin
