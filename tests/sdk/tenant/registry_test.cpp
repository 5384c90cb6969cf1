// SPDX-License-Identifier: Apache-2.0
#include "tenant/registry.hpp"

#include <gtest/gtest.h>

namespace merritt::tenant {
namespace {

TEST(Registry, FloorsMustFitTogether) {
  Registry registry;
  const auto a = registry.create("a", {.kv_bytes_floor = 60}, 100, 1).value();
  const Status refused = registry.create("b", {.kv_bytes_floor = 41}, 100, 1).status();
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_NE(refused.message().find("101"), std::string_view::npos) << refused.message();
  EXPECT_NE(refused.message().find("hold 100"), std::string_view::npos) << refused.message();
  const auto b = registry.create("b", {.kv_bytes_floor = 40}, 100, 1).value();
  EXPECT_EQ(registry.set_limits(*b, {.kv_bytes_floor = 41}, 100, 1).code(), Code::kInvalidArgument);
  EXPECT_EQ(b->kv_account()->floor_bytes, 40u);
  EXPECT_TRUE(registry.set_limits(*a, {.kv_bytes_floor = 59}, 100, 1).ok());
  EXPECT_TRUE(registry.set_limits(*b, {.kv_bytes_floor = 41}, 100, 1).ok());
  a->close();
  EXPECT_TRUE(registry.set_limits(*b, {.kv_bytes_floor = 100}, 100, 1).ok());
}

TEST(Registry, ANameIsTakenOnceWhileItsTenantLives) {
  Registry registry;
  const auto a = registry.create("a", {}, 0, 1).value();
  EXPECT_EQ(registry.create("a", {}, 0, 1).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(registry.create("a b", {}, 0, 1).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(registry.n_open(), 1u);
  a->close();
  EXPECT_EQ(registry.n_open(), 0u);
  EXPECT_TRUE(registry.create("a", {}, 0, 1).ok());
}

}  // namespace
}  // namespace merritt::tenant
