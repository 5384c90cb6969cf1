// SPDX-License-Identifier: Apache-2.0
// Pages named as sealed are read through the core's opener: in this version it hands out what was stored, so a step
// over them gives the same bits as one that reads them in place.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/step_host.hpp"
#include "tests/support/tiny_gguf.hpp"

namespace merritt::test {
namespace {

class SealedPages : public ::testing::TestWithParam<const char*> {};

TEST_P(SealedPages, TheCoresOpenerGivesTheSameBits) {
  engine::CompileOptions options;
  options.page_tokens = 16;
  options.context_max = 256;
  options.sequences_max = 4;
  options.step_tokens_max = 128;
  options.rows_max = 8;
  DeviceHost host(GetParam(), 2);
  ASSERT_NE(host.device, nullptr);
  ModelHost model(host, model::weights::memory_source(::merritt::testing::tiny_gguf({.architecture = "gemma3"})),
                  options);
  ASSERT_TRUE(model.ok());
  Tokens prompt, next;
  for (int32_t i = 0; i < 100; ++i) prompt.push_back({(i * 37 + 5) % 200, kv::TokenClass::kPrompt});
  for (int32_t i = 0; i < 5; ++i) next.push_back({i * 11 + 3, kv::TokenClass::kGenerated});
  const kv::SequenceId plain = model.cache->create(account()), sealed = model.cache->create(account());
  for (const kv::SequenceId sequence : {plain, sealed}) {
    ASSERT_EQ(run_step(model, {{sequence, prompt, 100, 1}}).size(), 1u);
  }
  for (const Token& token : next) {
    const std::span<const Token> one(&token, 1);
    // Alone, and beside a sequence whose pages are not sealed.
    const auto want = run_step(model, {{plain, one, 0, 1}});
    const auto alone = run_step(model, {{sealed, one, 0, 1, true}});
    const auto both = run_step(model, {{plain, one, 1, 1}, {sealed, one, 1, 1, true}});
    ASSERT_TRUE(want.size() == 1 && alone.size() == 1 && both.size() == 2);
    const size_t bytes = want[0].size() * sizeof(float);
    EXPECT_EQ(std::memcmp(want[0].data(), alone[0].data(), bytes), 0);
    EXPECT_EQ(std::memcmp(want[0].data(), both[0].data(), bytes), 0);
    EXPECT_EQ(std::memcmp(want[0].data(), both[1].data(), bytes), 0);
  }
  model.cache->release(plain);
  model.cache->release(sealed);
}

INSTANTIATE_TEST_SUITE_P(Plugins, SealedPages, ::testing::Values("reference", "fardevice", "onednn"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace merritt::test
