// SPDX-License-Identifier: Apache-2.0
// What a reader gets of the text: what stop strings and characters hold back is given out when the end comes otherwise,
// and stop strings wait for min_tokens.
#include <gtest/gtest.h>

#include "base/limits.hpp"
#include "tests/support/small_engine.hpp"

namespace merritt::test {
namespace {

class Text : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(engine_.load_backend("reference"), nullptr);
    auto model = engine_.load_model("reference");
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = *model;
    session_ = engine_.session("a", model_);
  }
  // Generates nothing but `byte`.
  static engine::RequestParams only(uint8_t byte, uint32_t max_tokens) {
    engine::RequestParams params = SmallEngine::params(max_tokens);
    params.sampling.logit_bias = {{byte_token(byte), 1000.0f}};
    return params;
  }
  // Cancels after a few tokens and reads to the end.
  Outcome cancelled(engine::RequestParams params) {
    auto request = engine_->submit(session_, std::move(params));
    EXPECT_TRUE(request.ok()) << request.status().message();
    Outcome out;
    while (out.tokens.size() < 3 && read_one(**request, out)) {
    }
    engine_->cancel(**request);
    while (read_one(**request, out)) {
    }
    return out;
  }

  SmallEngine engine_;
  std::shared_ptr<engine::Model> model_;
  std::shared_ptr<engine::Session> session_;
};

TEST_F(Text, HeldForAStopStringIsGivenOutOnCancel) {
  engine::RequestParams params = only('a', 200);
  params.stop_strings = {"ab"};
  const Outcome out = cancelled(params);
  EXPECT_EQ(out.end, engine::FinishReason::kCancelled);
  EXPECT_EQ(out.text, std::string(out.tokens.size(), 'a'));
}

TEST_F(Text, HalfACharacterIsGivenOutOnCancel) {
  const Outcome out = cancelled(only(0xC3, 200));
  EXPECT_EQ(out.end, engine::FinishReason::kCancelled);
  std::string expected;
  for (size_t i = 0; i < out.tokens.size(); ++i) expected += "\xEF\xBF\xBD";
  EXPECT_EQ(out.text, expected);
}

TEST_F(Text, HeldForAStopStringIsGivenOutAtADeadline) {
  engine::RequestParams params = only('a', 200);
  params.stop_strings = {"ab"};
  params.deadline_ns = engine_->now_ns() + 20'000'000;
  const Outcome out = generate_one(engine_, session_, params);
  EXPECT_TRUE(out.end == engine::FinishReason::kDeadline || out.end == engine::FinishReason::kLength) << out;
  EXPECT_EQ(out.text, std::string(out.tokens.size(), 'a'));
}

TEST_F(Text, StopStringsWaitForMinTokens) {
  engine::RequestParams params = only('a', 20);
  params.stop_strings = {"aa"};
  Outcome out = generate_one(engine_, session_, params);
  EXPECT_EQ(out.end, engine::FinishReason::kStop);
  EXPECT_EQ(out.tokens.size(), 2u);
  EXPECT_EQ(out.text, "");
  params.sampling.min_tokens = 5;
  out = generate_one(engine_, session_, params);
  EXPECT_EQ(out.end, engine::FinishReason::kStop);
  EXPECT_EQ(out.tokens.size(), 6u);
  EXPECT_EQ(out.text, "aaaa");  // the match begins in the fifth and ends with the sixth
  params.sampling.min_tokens = 20;
  out = generate_one(engine_, session_, params);
  EXPECT_EQ(out.end, engine::FinishReason::kLength);
  EXPECT_EQ(out.text, std::string(20, 'a'));
}

TEST(StreamBound, RefusesEventsNobodyReads) {
  engine::Stream stream;
  const engine::Event text{engine::EventKind::kText, 0, engine::FinishReason::kNone, 1, 0, {}, 1};
  for (uint32_t i = 0; i < limits::kEventQueueMax; ++i) ASSERT_TRUE(stream.push(text));
  EXPECT_FALSE(stream.push(text));
  EXPECT_TRUE(stream.push({engine::EventKind::kChoiceEnd, 0, engine::FinishReason::kError, -1, 0, {}, 1}));
  ASSERT_TRUE(stream.next(0).ok());
  ASSERT_TRUE(stream.next(0).ok());
  EXPECT_TRUE(stream.push(text));
}

}  // namespace
}  // namespace merritt::test
