// SPDX-License-Identifier: Apache-2.0
// What a step costs beside its computing: scheduler, page tables, staging, plugin ABI, draws from a small vocabulary,
// text and events, with a plugin whose steps compute nothing. Arguments: sequences decoding at the same time; 1 = a
// thread waits for the events of each as a host's would, 0 = nobody reads until the end.
#include <benchmark/benchmark.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/support/small_engine.hpp"

namespace merritt::test {
namespace {

constexpr uint32_t kTokens = 4000;

// A windowed and a global KV group; the vocabulary has 320 tokens.
const std::string& model_path() {
  static const std::string path = [] {
    const std::string made = ::testing::TempDir() + "merritt_bench_" + std::to_string(::getpid()) + ".gguf";
    const auto bytes = ::merritt::testing::tiny_gguf(
        {.layers = 6, .width = 32, .inner = 64, .heads = 2, .kv_heads = 1, .head_dim = 16, .context = 4096});
    std::ofstream(made, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return made;
  }();
  return path;
}

// Sessions of tenants that take turns.
struct Setup {
  explicit Setup(uint32_t sequences) : engine(two_threads()) {
    engine.load_backend("idle");
    auto options = SmallEngine::load_options("idle");
    options.path = model_path();
    options.compile.page_tokens = 64;
    options.compile.context_max = 4096;
    options.compile.sequences_max = 32;
    options.compile.step_tokens_max = 512;
    options.compile.kv_bytes = uint64_t{1} << 30;
    auto loaded = engine->load_model(options);
    if (!loaded.ok()) throw std::runtime_error(std::string(loaded.status().message()));
    for (uint32_t s = 0; s < sequences; ++s) sessions.push_back(engine.session("t" + std::to_string(s), *loaded));
  }
  static engine::EngineOptions two_threads() {
    engine::EngineOptions options;
    options.threads = 2;
    return options;
  }
  SmallEngine engine;
  std::vector<std::shared_ptr<engine::Session>> sessions;
};

void BM_Step(benchmark::State& state) {
  Setup setup(static_cast<uint32_t>(state.range(0)));
  const bool readers = state.range(1) != 0;
  engine::RequestParams params = SmallEngine::params(kTokens);
  for (auto _ : state) {
    for (const auto& session : setup.sessions) (void)setup.engine->truncate_session(session, 0);
    const uint64_t steps = setup.engine->stats().steps;
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::shared_ptr<engine::Request>> requests;
    for (const auto& session : setup.sessions) requests.push_back(*setup.engine->submit(session, params));
    std::vector<std::thread> threads;
    for (size_t i = 0; readers && i < requests.size(); ++i) {
      threads.emplace_back([&request = *requests[i]] { read_outcome(request); });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& request : requests) {
      while (!request->stream.ended()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    state.SetIterationTime(seconds.count() / static_cast<double>(setup.engine->stats().steps - steps));
  }
}
// One iteration is a whole generation; its time is that of a step.
BENCHMARK(BM_Step)
    ->ArgNames({"sequences", "readers"})
    ->ArgsProduct({{1, 16}, {0, 1}})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(12);

}  // namespace
}  // namespace merritt::test

BENCHMARK_MAIN();
