// SPDX-License-Identifier: Apache-2.0
// Weights as a backend asks for them: the file's bytes, checked ranges, progress and cancelling.
#include "model/weight_source.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/tiny_gguf.hpp"

namespace merritt::model {
namespace {

class Weights : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = open_model(weights::memory_source(testing::tiny_gguf({})));
    ASSERT_TRUE(file.ok()) << file.status().message();
    file_ = std::make_unique<ModelFile>(std::move(file).value());
  }
  int32_t read(const WeightSource& source, uint32_t weight, uint64_t offset, uint64_t len) {
    const mrt_weights view = source.view();
    out_.assign(len < (1u << 24) ? len : 16, std::byte{0});
    error_ = mrt_error{};
    return view.read(view.ctx, weight, offset, out_.data(), len, &error_);
  }
  std::unique_ptr<ModelFile> file_;
  std::vector<std::byte> out_;
  mrt_error error_{};
};

TEST_F(Weights, AreTheBytesOfTheirTensors) {
  const WeightSource source(*file_);
  const mrt_weights view = source.view();
  ASSERT_EQ(view.n_weights, file_->graph.weights().size());
  for (uint32_t i = 0; i < view.n_weights; ++i) {
    const mrt_weight& w = view.list[i];
    const std::string name(w.name, w.name_len);
    ASSERT_EQ(read(source, i, 0, w.bytes), MRT_OK);
    std::vector<float> expected = testing::tiny_noise(1, name, w.bytes / 4, 1.0f);
    const auto first = *reinterpret_cast<const float*>(out_.data());
    if (w.n_dims == 1) {
      EXPECT_FLOAT_EQ(first, 1.0f + 0.25f * expected[0]) << name;
    } else {
      EXPECT_EQ(std::signbit(first), std::signbit(expected[0])) << name;
    }
    EXPECT_EQ(read(source, i, 4, 4), MRT_OK);
  }
}

TEST_F(Weights, RangesAreChecked) {
  const WeightSource source(*file_);
  const uint64_t bytes = source.view().list[0].bytes;
  EXPECT_EQ(read(source, 0, bytes, 0), MRT_OK);
  EXPECT_EQ(read(source, 0, bytes - 4, 5), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(read(source, 0, UINT64_MAX, 8), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(read(source, 0, 8, UINT64_MAX), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(error_.index, 0u);
  EXPECT_NE(std::string_view(error_.message).find("token_embd.weight"), std::string_view::npos);
  EXPECT_EQ(read(source, source.view().n_weights, 0, 4), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(error_.code, MRT_INVALID_ARGUMENT);
}

TEST_F(Weights, ProgressEndsAtOneAndCanCancel) {
  std::vector<float> seen;
  const WeightSource source(*file_, [&](float fraction) {
    seen.push_back(fraction);
    return false;
  });
  for (uint32_t i = 0; i < source.view().n_weights; ++i) {
    ASSERT_EQ(read(source, i, 0, source.view().list[i].bytes), MRT_OK);
  }
  ASSERT_FALSE(seen.empty());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_LE(seen.size(), 100u);
  EXPECT_EQ(seen.back(), 1.0f);
  EXPECT_EQ(source.bytes_read(), source.bytes_total());

  const WeightSource cancelled(*file_, [](float fraction) { return fraction > 0.1f; });
  int32_t code = MRT_OK;
  uint32_t i = 0;
  for (; i < cancelled.view().n_weights && code == MRT_OK; ++i) {
    code = read(cancelled, i, 0, cancelled.view().list[i].bytes);
  }
  EXPECT_EQ(code, MRT_CANCELLED);
  EXPECT_LT(i, cancelled.view().n_weights);
  EXPECT_EQ(read(cancelled, 0, 0, 4), MRT_CANCELLED);
}

TEST_F(Weights, ManyThreadsReadAtOnce) {
  std::atomic<int> calls{0}, inside{0}, overlapping{0};
  const WeightSource source(*file_, [&](float) {
    if (inside.fetch_add(1) != 0) ++overlapping;
    ++calls;
    inside.fetch_sub(1);
    return false;
  });
  const mrt_weights view = source.view();
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (uint32_t i = 0; i < view.n_weights; ++i) {
        std::vector<std::byte> bytes(view.list[i].bytes);
        mrt_error err{};
        if (view.read(view.ctx, i, 0, bytes.data(), bytes.size(), &err) != MRT_OK) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(overlapping, 0);
  EXPECT_GT(calls, 0);
}

}  // namespace
}  // namespace merritt::model
