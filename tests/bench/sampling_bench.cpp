// SPDX-License-Identifier: Apache-2.0
// One draw from a row of 262,144 logits, for each instruction set of this CPU. Rows are made anew outside the time, so
// they come from the second or third cache, as after a step. Peaked: a few dozen tokens share most of the mass, as in
// text; flat: none does, and top_p keeps nearly all.
#include <benchmark/benchmark.h>

#include <chrono>
#include <random>
#include <vector>

#include "sampling/sampler.hpp"

namespace merritt::sampling {
namespace {

constexpr uint32_t kVocabulary = 262144;

std::vector<float> row(bool peaked) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, peaked ? 3.0f : 1.0f);
  std::vector<float> logits(kVocabulary);
  for (float& x : logits) x = normal(random);
  for (int i = 0; peaked && i < 30; ++i) logits[random() % kVocabulary] += 8.0f + 0.12f * static_cast<float>(i);
  return logits;
}

void draw(benchmark::State& state, const RowKernels& kernels, const SamplingParams& params, bool peaked) {
  auto sampler = std::move(Sampler::create(params, kVocabulary, {}, 0, 4096, kernels)).value();
  const std::vector<float> original = row(peaked);
  std::vector<float> logits = original;
  for (auto _ : state) {
    std::copy(original.begin(), original.end(), logits.begin());
    const auto begin = std::chrono::steady_clock::now();
    const auto drawn = sampler->sample(logits, nullptr);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    sampler->accept(drawn->token);
    state.SetIterationTime(seconds.count());
  }
}

void add(const std::string& name, const RowKernels& kernels, const SamplingParams& params, bool peaked) {
  benchmark::RegisterBenchmark((name + (peaked ? "/peaked/" : "/flat/") + kernels.name).c_str(),
                               [=, &kernels](benchmark::State& state) { draw(state, kernels, params, peaked); })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

void add_all() {
  for (const bool peaked : {true, false}) {
    for (const uint32_t isa_max : {1u, 0u}) {
      const RowKernels& kernels = row_kernels(isa_max);
      SamplingParams p;
      add("greedy", kernels, p, peaked);
      p.repetition_penalty = 1.1f;
      add("greedy_penalty", kernels, p, peaked);
      p = {};
      p.temperature = 0.8f;
      add("temperature", kernels, p, peaked);
      p.top_k = 40;
      add("top_k", kernels, p, peaked);
      p.top_p = 0.95f;
      add("top_k_top_p", kernels, p, peaked);
      p.top_k = 0;
      add("top_p", kernels, p, peaked);
      p.top_k = 5000;
      add("large_top_k_top_p", kernels, p, peaked);
    }
  }
}

}  // namespace
}  // namespace merritt::sampling

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  merritt::sampling::add_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
