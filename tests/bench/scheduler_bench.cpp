// SPDX-License-Identifier: Apache-2.0
// What planning a step and telling the scheduler of its runs cost; page tables move outside the time. Every sequence
// decodes. Arguments: sequences, tenants, requests that each tenant has waiting, and tenants beside them that have an
// open session with pages and have run before, but want nothing now; 1 = the pool is full, so that each step looks in
// vain for somebody who could start.
#include <benchmark/benchmark.h>

#include <chrono>
#include <vector>

#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {
namespace {

constexpr uint32_t kTokens = 20'000, kPageTokens = 64, kPages = 1u << 17;

class NoBytes final : public kv::PageVerbs {
 public:
  Status copy(uint32_t, uint32_t, uint32_t, uint32_t) override { return {}; }
  Status zero(uint32_t, std::span<const uint32_t>) override { return {}; }
};

struct Setup {
  Setup(uint32_t sequences, uint32_t tenants, uint32_t waiting, uint32_t idle, bool full)
      : cache(std::move(
                  kv::Cache::make(
                      std::vector<kv::GroupShape>{
                          {.window = 0, .page_tokens = kPageTokens, .n_pages = kPages, .page_bytes = 1u << 16},
                          {.window = 1024, .page_tokens = kPageTokens, .n_pages = 1u << 16, .page_bytes = 1u << 16}},
                      verbs))
                  .value()),
        scheduler({.step_tokens_max = 512, .sequences_max = sequences * (full ? 2 : 1), .rows_max = 512}, *cache,
                  policy) {
    policy->set_tenants(tenants + idle);
    for (uint32_t t = 0; t < idle; ++t) {
      add_tenant();
      submit(t, 64, 1);
      step();
      scheduler.finish(request);  // the session keeps its pages
    }
    for (uint32_t t = 0; t < tenants; ++t) add_tenant();
    for (uint32_t s = 0; s < sequences; ++s) submit(idle + s % tenants, 32, kTokens);
    while (scheduler.n_running() != sequences || scheduler.last_plan().n_prompt_tokens != 0) step();
    // What waits has no sequence to run in, or wants more pages than are left.
    const uint32_t prompt = full ? (kPages - sequences) * kPageTokens : 32;
    for (uint32_t w = 0; w < waiting * tenants; ++w) submit(idle + w % tenants, prompt, 1);
  }
  void add_tenant() {
    const auto id = static_cast<TenantId>(all.size() + 1);
    all.push_back(std::move(tenant::Tenant::create(id, "t", {.queue_max = 4096, .weight = 1 + id_of(id) % 4})).value());
  }
  static uint32_t id_of(TenantId id) { return static_cast<uint32_t>(id); }
  void submit(uint32_t t, uint32_t prompt, uint32_t tokens) {
    tenant::Tenant* tenant = all[t].get();
    if (!tenant->admit({}, scheduler.load()).ok()) std::abort();
    const kv::SequenceId sequence = cache->create(tenant->kv_account());
    const Status status = scheduler.submit({.request = ++request,
                                            .tenant = tenant,
                                            .sequence = sequence,
                                            .prompt_tokens = prompt,
                                            .max_new_tokens = tokens});
    if (!status.ok()) std::abort();
  }
  // Seconds of the scheduler's own.
  double step() {
    using Clock = std::chrono::steady_clock;
    auto began = Clock::now();
    const BatchPlan& plan = scheduler.plan(++now);
    std::chrono::duration<double> time = Clock::now() - began;
    for (const Run& run : plan.runs) {
      if (!cache->prepare_append(run.sequence, run.n_tokens).ok()) std::abort();
    }
    for (const Run& run : plan.runs) {
      if (!cache->commit(run.sequence, run.n_tokens, run.token_class).ok()) std::abort();
    }
    began = Clock::now();
    for (const Run& run : plan.runs) scheduler.advance(run.request, run.choice, run.n_tokens);
    scheduler.step_done(1000);
    time += Clock::now() - began;
    return time.count();
  }

  NoBytes verbs;
  std::unique_ptr<kv::Cache> cache;
  std::shared_ptr<Policy> policy = std::make_shared<VirtualTokens>();
  Scheduler scheduler;
  std::vector<std::shared_ptr<tenant::Tenant>> all;
  uint64_t now = 0, request = 0;
};

void BM_SchedulerStep(benchmark::State& state) {
  const auto at = [&](int i) { return static_cast<uint32_t>(state.range(i)); };
  Setup setup(at(0), at(1), at(2), at(3), at(4) != 0);
  for (auto _ : state) state.SetIterationTime(setup.step());
  state.counters["running"] = setup.scheduler.n_running();
}

BENCHMARK(BM_SchedulerStep)
    ->Args({256, 64, 0, 0, 0})
    ->Args({256, 64, 4, 0, 0})
    ->Args({256, 64, 4, 0, 1})
    ->Args({100, 100, 1, 0, 0})
    ->Args({100, 100, 1, 1900, 0})
    ->UseManualTime()
    ->Iterations(10'000)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace merritt::scheduler

BENCHMARK_MAIN();
