// SPDX-License-Identifier: Apache-2.0
// Decoding calls no allocator: not the plan, not the page tables, also where pages are taken and dropped.
#include <gtest/gtest.h>

#include "scheduler/scheduler.hpp"
#include "tests/support/count_allocations.hpp"

namespace merritt::scheduler {
namespace {

class Nothing final : public kv::PageVerbs {
 public:
  Status copy(uint32_t, uint32_t, uint32_t, uint32_t) override { return {}; }
  Status zero(uint32_t, std::span<const uint32_t>) override { return {}; }
};

void run_step(Scheduler& scheduler, kv::Cache& cache, uint64_t now_ns) {
  const BatchPlan& plan = scheduler.plan(now_ns);
  for (const Run& run : plan.runs) (void)cache.prepare_append(run.sequence, run.n_tokens);
  for (const Run& run : plan.runs) {
    const uint32_t right = run.prompt ? run.n_tokens : (run.n_tokens + 1) / 2;
    (void)cache.commit(run.sequence, right, run.token_class);
    scheduler.advance(run.request, run.choice, right);
    scheduler.propose(run.request, run.choice, 5);
  }
  scheduler.step_done(1000);
}

TEST(NoAllocation, WhileSequencesDecode) {
  Nothing verbs;
  const std::vector<kv::GroupShape> shapes{{.window = 0, .page_tokens = 8, .n_pages = 512, .page_bytes = 1},
                                           {.window = 24, .page_tokens = 8, .n_pages = 512, .page_bytes = 1}};
  const auto cache = std::move(kv::Cache::make(shapes, verbs)).value();
  Scheduler scheduler({.step_tokens_max = 64, .sequences_max = 8, .rows_max = 16, .draft_rows_max = 12}, *cache);
  std::vector<std::shared_ptr<tenant::Tenant>> tenants;
  for (uint32_t t = 1; t <= 4; ++t) tenants.push_back(std::move(tenant::Tenant::create(TenantId{t}, "t", {})).value());
  for (uint32_t r = 1; r <= 8; ++r) {
    tenant::Tenant* tenant = tenants[r % 4].get();
    ASSERT_TRUE(tenant->admit({}, scheduler.load()).ok());
    ASSERT_TRUE(scheduler
                    .submit({.request = r,
                             .tenant = tenant,
                             .sequence = cache->create(tenant->kv_account()),
                             .prompt_tokens = 10 + r,
                             .max_new_tokens = 450})
                    .ok());
  }
  uint64_t now_ns = 0;
  for (int i = 0; i < 4; ++i) run_step(scheduler, *cache, ++now_ns);
  ASSERT_EQ(scheduler.plan(now_ns).runs.size(), 8u);
  ASSERT_EQ(scheduler.plan(now_ns).n_prompt_tokens, 0u);
  ASSERT_EQ(scheduler.plan(now_ns).n_tokens, 12u) << "four rows of drafts";
  g_counting = true;
  for (int i = 0; i < 200; ++i) run_step(scheduler, *cache, ++now_ns);
  g_counting = false;
  EXPECT_EQ(g_allocations, 0u);
  EXPECT_GT(cache->length(scheduler.plan(now_ns).runs[0].sequence), 200u);
}

}  // namespace
}  // namespace merritt::scheduler
