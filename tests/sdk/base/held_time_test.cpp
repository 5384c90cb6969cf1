// SPDX-License-Identifier: Apache-2.0
#include "base/held_time.hpp"

#include <gtest/gtest.h>

namespace merritt {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

TEST(HeldTime, IsExact) {
  HeldTime held;
  held.change(3, 10);
  held.change(5, 10 + 1'500'000'000);
  EXPECT_EQ(held.byte_seconds(10 + 1'500'000'000), 4u);
  EXPECT_EQ(held.byte_seconds(10 + 1'600'000'000), 5u);  // 4.5 and a half
  held.change(uint64_t{1} << 40, 10 + 1'600'000'000);
  held.change(0, 10 + 1'600'000'000 + 1'000 * kSecond);
  EXPECT_EQ(held.byte_seconds(UINT64_MAX), 5 + 1'000 * (uint64_t{1} << 40));
}

}  // namespace
}  // namespace merritt
