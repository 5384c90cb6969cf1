// SPDX-License-Identifier: Apache-2.0
// Drafts in the plan: they take what nobody else wants, and cost no tenant a row, a page or a turn.
#include "tests/sdk/scheduler/driver.hpp"

namespace merritt::scheduler {
namespace {

constexpr Limits kDrafting{.step_tokens_max = 64, .sequences_max = 8, .rows_max = 16, .draft_rows_max = 12};

TEST(Drafts, RunBesideTheirTokenAndEndTheRequestSooner) {
  Driver d(kDrafting);
  d.draft = [] { return 3u; };
  const uint64_t r = d.submit(d.add_tenant(), 20, 10);
  d.drain(20);
  // The last of ten tokens is drawn and not run, so the draft before it is one shorter.
  EXPECT_EQ(d.trace, "1: +1 1.0p20\n2: 1.0d4\n3: 1.0d4\n4: 1.0d1\n");
  EXPECT_TRUE(d.finished.contains(r));
  EXPECT_EQ(d.tenants[0]->kv_account()->claimed_bytes, 0u);
}

TEST(Drafts, ThatAreRefusedCostTheirRowsOnly) {
  Driver d(kDrafting);
  d.draft = [] { return 3u; };
  d.accept = [](uint32_t) { return 0u; };
  d.submit(d.add_tenant(), 20, 4);
  d.drain(20);
  EXPECT_EQ(d.trace, "1: +1 1.0p20\n2: 1.0d3\n3: 1.0d2\n4: 1.0d1\n");
}

TEST(Drafts, AreSharedOutRowByRow) {
  Driver d(kDrafting);
  tenant::Tenant *a = d.add_tenant(), *b = d.add_tenant();
  uint32_t wish = 9;
  d.draft = [&] { return wish; };
  d.submit(a, 4, 50);
  d.submit(b, 4, 50, 2);
  d.step();
  d.trace.clear();
  d.step();
  EXPECT_EQ(d.trace, "2: 1.0d4 2.0d4 2.1d4\n");  // twelve decoding rows in all
  wish = 1;
  d.step();
  d.trace.clear();
  d.step();
  EXPECT_EQ(d.trace, "4: 1.0d2 2.0d2 2.1d2\n");
}

// A step full of decoding sequences, of prompts or of rows has no drafts; nobody gets less than without them.
TEST(Drafts, ComeLast) {
  Driver d(kDrafting), plain(kDrafting);
  d.draft = [] { return 8u; };
  for (Driver* each : {&d, &plain}) {
    tenant::Tenant *a = each->add_tenant(), *b = each->add_tenant();
    each->submit(a, 4, 50);
    each->step();
    each->submit(b, 150, 5);
    each->trace.clear();
    for (int i = 0; i < 3; ++i) each->step();
  }
  EXPECT_EQ(plain.trace, "2: +2 1.0d1 2.0p63\n3: 1.0d1 2.0p63\n4: 1.0d1 2.0p24\n");
  EXPECT_EQ(d.trace, "2: +2 1.0d1 2.0p63\n3: 1.0d1 2.0p63\n4: 1.0d9 2.0p24\n");

  Limits limits = kDrafting;
  limits.draft_rows_max = 4;
  Driver wide(limits);
  wide.draft = [] { return 8u; };
  wide.submit(wide.add_tenant(), 4, 50, 4);
  wide.submit(wide.add_tenant(), 4, 50, 1);
  wide.step();
  EXPECT_EQ(wide.step().n_tokens, 5u);  // more decoding rows than drafts may fill

  // An evaluation takes every row there is.
  Driver rows({.step_tokens_max = 64, .sequences_max = 4, .rows_max = 8, .draft_rows_max = 8});
  rows.draft = [] { return 8u; };
  tenant::Tenant* c = rows.add_tenant();
  rows.submit(c, 4, 50);
  rows.step();
  rows.submit({.tenant = c, .prompt_tokens = 20, .prompt_rows = Rows::kAll});
  const BatchPlan& plan = rows.step();
  EXPECT_EQ(plan.n_rows, 8u);
  EXPECT_EQ(plan.runs[0].n_tokens, 1u);
}

TEST(Drafts, StayWithinTheChunkThatPagesAreReservedFor) {
  Limits limits = kDrafting;
  limits.prefill_chunk = 3;
  Driver d(limits, {{.window = 8, .page_tokens = 2, .n_pages = 8, .page_bytes = 1}});
  d.draft = [] { return 9u; };
  d.submit(d.add_tenant(), 6, 40);
  d.step();
  d.step();
  EXPECT_EQ(d.step().n_tokens, 3u);
  d.drain(60);
}

TEST(Drafts, OfAFailedStepAreRunAgain) {
  Driver d(kDrafting);
  d.draft = [] { return 3u; };
  d.submit(d.add_tenant(), 4, 50);
  d.step();
  EXPECT_EQ(d.step(true).n_tokens, 4u);
  EXPECT_EQ(d.step().n_tokens, 4u);
  d.draft = [] { return 0u; };
  d.step();
  EXPECT_EQ(d.step().n_tokens, 1u) << "the draft was for one run";
}

// In tokens: the prices below make one a unit.
class Counting final : public Policy {
 public:
  explicit Counting(uint64_t* charged) : charged_(charged) {}
  void enter(TenantId, Return) override {}
  void leave(TenantId) override {}
  size_t pick(std::span<const Candidate>) const override { return 0; }
  void charge(TenantId, uint32_t, const Service& service) override { *charged_ += service[0]; }
  void refund(TenantId, uint32_t, const Service& service) override { *charged_ -= service[0]; }
  uint64_t served(TenantId, uint32_t, const Service&) const override { return 0; }

 private:
  uint64_t* charged_;
};

// A tenant pays for what its requests got, not for what was guessed.
TEST(Drafts, AreChargedWhenTheyAreRight) {
  NoBytes verbs;
  const std::vector<kv::GroupShape> shapes{{.window = 0, .page_tokens = 16, .n_pages = 64, .page_bytes = 1}};
  const auto cache = std::move(kv::Cache::make(shapes, verbs)).value();
  uint64_t charged = 0;
  Limits limits = kDrafting;
  limits.costs = {.prompt_token = 1, .generated_token = 1, .compute_price = 1, .pages = false};
  Scheduler scheduler(limits, *cache, std::make_shared<Counting>(&charged));
  const auto tenant = std::move(tenant::Tenant::create(TenantId{1}, "t", {})).value();
  ASSERT_TRUE(tenant->admit({}, scheduler.load()).ok());
  const kv::SequenceId sequence = cache->create(tenant->kv_account());
  ASSERT_TRUE(
      scheduler
          .submit(
              {.request = 1, .tenant = tenant.get(), .sequence = sequence, .prompt_tokens = 10, .max_new_tokens = 30})
          .ok());
  EXPECT_EQ(scheduler.plan(1).n_tokens, 10u);
  EXPECT_EQ(charged, 10u);
  scheduler.advance(1, 0, 10);
  EXPECT_EQ(charged, 11u) << "the token drawn after the prompt";
  scheduler.propose(1, 0, 6);
  EXPECT_EQ(scheduler.plan(2).n_tokens, 7u);
  EXPECT_EQ(charged, 11u);
  scheduler.advance(1, 0, 3);
  EXPECT_EQ(charged, 14u);
  scheduler.propose(1, 1, 6);  // no such choice
  scheduler.propose(2, 0, 6);  // no such request
  EXPECT_EQ(scheduler.plan(3).n_tokens, 1u);
}

}  // namespace
}  // namespace merritt::scheduler
