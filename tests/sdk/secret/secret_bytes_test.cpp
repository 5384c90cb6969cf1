// SPDX-License-Identifier: Apache-2.0
#include "secret/secret_bytes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace merritt::secret {
namespace {

TEST(SecretBytesTest, GrowsFromHeapToPages) {
  SecretBytes secret;
  EXPECT_TRUE(secret.empty());
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string part = std::to_string(i) + ",";
    ASSERT_TRUE(secret.append(part));
    expected += part;
    ASSERT_EQ(secret.size(), expected.size());
  }
  EXPECT_EQ(secret.text(), expected);
  secret.truncate(5);
  EXPECT_EQ(secret.text(), expected.substr(0, 5));
  secret.clear();
  EXPECT_TRUE(secret.empty());
  EXPECT_TRUE(secret.ok());
}

TEST(SecretBytesTest, TruncatingWipes) {
  for (const size_t size : {size_t{100}, size_t{100'000}}) {
    SecretBytes secret(std::string(size, 'k'));
    const std::byte* const tail = secret.data() + 10;
    secret.truncate(10);
    EXPECT_TRUE(std::all_of(tail, tail + size - 10, [](std::byte b) { return b == std::byte{0}; }));
  }
}

TEST(SecretBytesTest, MovesWithoutACopy) {
  SecretBytes a(std::string_view("key"));
  const std::byte* const where = a.data();
  SecretBytes b(std::move(a));
  EXPECT_EQ(b.data(), where);
  EXPECT_TRUE(a.empty());  // NOLINT: moved-from is empty by contract
  SecretBytes c(std::string_view("other"));
  c = std::move(b);
  EXPECT_EQ(c.text(), "key");
}

TEST(SecretBytesTest, ComparesAndZeroes) {
  SecretBytes zero(64);
  ASSERT_TRUE(zero.ok());
  EXPECT_TRUE(std::all_of(zero.data(), zero.data() + 64, [](std::byte b) { return b == std::byte{0}; }));
  const SecretBytes a(std::string_view("abc")), b(std::string_view("abc")), c(std::string_view("abd"));
  EXPECT_TRUE(a.equals(b.span()));
  EXPECT_FALSE(a.equals(c.span()));
  EXPECT_FALSE(a.equals(zero.span()));
}

TEST(SecretBytesTest, RefusedMemoryIsAnAnswer) {
  const SecretBytes impossible(SIZE_MAX - 1);
  EXPECT_FALSE(impossible.ok());
  EXPECT_TRUE(impossible.empty());
}

}  // namespace
}  // namespace merritt::secret
