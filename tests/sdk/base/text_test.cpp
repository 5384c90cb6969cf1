// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <gtest/gtest.h>

namespace merritt {
namespace {

TEST(TextTest, CleansControlsAndBrokenBytes) {
  EXPECT_EQ(clean_text("plain \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80", 100),
            "plain \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80");
  EXPECT_EQ(clean_text("a\nb\x1b[0m\x7f", 100), "a b [0m ");
  EXPECT_EQ(clean_text("\xFF\xC3", 100), "??");
  EXPECT_EQ(clean_text("\xC0\xAF\xED\xA0\x80", 100), "?????") << "overlong and surrogate";
  EXPECT_EQ(clean_text("\xF4\x90\x80\x80", 100), "????") << "above the last character";
}

TEST(TextTest, NeverCutsACharacter) {
  EXPECT_EQ(clean_text("ab\xE2\x82\xAC", 4), "ab");
  EXPECT_EQ(clean_text("ab\xE2\x82\xAC", 5), "ab\xE2\x82\xAC");
  EXPECT_EQ(clean_text("abc", 0), "");
}

TEST(TextTest, PlainNames) {
  EXPECT_TRUE(is_plain_name("onednn-3.7+x_1", 63));
  for (const char* bad : {"", "a b", "a/b", "\xC3\xA4", "a\n"}) EXPECT_FALSE(is_plain_name(bad, 63)) << bad;
  EXPECT_FALSE(is_plain_name("abcd", 3));
}

}  // namespace
}  // namespace merritt
