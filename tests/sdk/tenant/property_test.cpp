// SPDX-License-Identifier: Apache-2.0
// Quotas as a property: random operations on several tenants against a model that knows nothing of the code but what
// the limits mean. Hard limits are overshot by 0, and the ledger differs from the model's count by 0.
#include <gtest/gtest.h>

#include <random>

#include "tests/sdk/tenant/quota_model.hpp"

namespace merritt::tenant {
namespace {

using namespace test;  // NOLINT: in tests only
constexpr uint32_t kModel = 3;

class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {
    fake_now = 1;
    for (uint32_t i = 0; i < 4; ++i) {
      Twin& twin = twins_.emplace_back();
      auto made = Tenant::create(TenantId{i + 1}, "t" + std::to_string(i), {}, fake_now, archive_, fake_clock);
      twin.tenant = std::move(made).value();
      twin.limits = twin.tenant->limits();
      change_limits(twin);
    }
  }

  void run(int operations) {
    for (int i = 0; i < operations && !::testing::Test::HasFatalFailure(); ++i) {
      one();
      if (i % 64 == 0) check();
    }
    finish_all();
    check();
  }
  uint64_t admitted() const { return admitted_; }
  uint64_t refused() const { return refused_; }
  uint64_t refused_needlessly() const { return refused_needlessly_; }

 private:
  uint64_t pick(uint64_t n) { return random_() % n; }
  Twin& any() { return twins_[pick(twins_.size())]; }

  void one() {
    Twin& twin = any();
    const uint64_t what = pick(1000);
    if (what < 2) return change_limits(twin);
    if (what < 300) return submit(twin);
    if (what < 420) return start(twin);
    if (what < 650) return step();
    if (what < 760) return finish(twin);
    if (what < 780) return leave_queue(twin);
    if (what < 860) return hold_kv(twin);
    fake_now += pick(8) == 0 ? pick(5 * kSecond) : pick(kSecond / 20);
  }

  void change_limits(Twin& twin) {
    TenantLimits limits;
    limits.sequences_max = static_cast<uint32_t>(pick(5));
    limits.queue_max = static_cast<uint32_t>(1 + pick(6));
    limits.prompt_bytes_max = static_cast<uint32_t>(200 + pick(400));
    limits.output_max = static_cast<uint32_t>(pick(2) * (50 + pick(100)));
    limits.context_max = static_cast<uint32_t>(pick(2) * (60 + pick(100)));
    limits.kv_bytes_max = pick(2) * (10'000 + pick(20'000));
    limits.kv_bytes_burst = limits.kv_bytes_max == 0 ? 0 : pick(2) * pick(5'000);
    limits.requests_per_second = static_cast<uint32_t>(pick(3) * 4);
    limits.requests_burst = limits.requests_per_second == 0 ? 0 : static_cast<uint32_t>(pick(8));
    limits.tokens_per_minute = pick(4) == 0 ? 0 : 20'000 + pick(40'000);
    limits.tokens_burst = limits.tokens_per_minute == 0 ? 0 : pick(3) * 400;
    if (pick(4) == 0) limits.models = {{.id = kModel, .handle = 1}, {.id = kModel + 1, .handle = 2}};
    ASSERT_TRUE(twin.tenant->set_limits(limits, fake_now).ok());
    twin.limits = checked_limits(limits).value();
    twin.tokens.set(twin.limits.tokens_per_minute, twin.limits.tokens_burst, fake_now);
    twin.requests.set(twin.limits.requests_per_second, twin.limits.requests_burst, fake_now);
  }

  Demand any_demand() {
    Demand demand;
    demand.prompt_bytes = pick(500);
    demand.sequences = static_cast<uint32_t>(1 + pick(4));
    demand.kv_bytes = pick(3) * pick(16'000);
    demand.prompt_tokens = pick(2) * (1 + pick(120));
    demand.output_default = pick(3) == 0;
    demand.output_tokens = static_cast<uint32_t>(demand.output_default ? 100 : 1 + pick(120));
    demand.context_max = 4096;
    demand.model = kModel + pick(6) / 5 * pick(3);
    return demand;
  }

  void submit(Twin& twin) {
    Job job{.demand = any_demand(), .grant = {}, .take = 0, .takes_tokens = false, .prompt = 0, .output = 0};
    const Load load{.waiting = static_cast<uint32_t>(pick(10)), .queue_max = 9, .step_ns = 1'000'000};
    const uint32_t cause = expected(twin, job.demand, load, fake_now);
    auto admitted = twin.tenant->admit(job.demand, load, fake_now);
    if (!admitted.ok()) return refused(twin, job, cause, admitted.status());
    ASSERT_EQ(cause, kRefusals);
    job.grant = *admitted;
    if (twin.limits.requests_per_second != 0) twin.requests.settle(twin.requests.take(1, fake_now), 1);
    take_tokens(twin, job);
    if (pick(10) == 0) {  // it turned out to be invalid
      twin.tenant->withdraw(job.grant, fake_now);
      return settle(twin, job, 0);
    }
    if (job.demand.prompt_tokens == 0 && !count_prompt(twin, job)) return;
    twin.tenant->accept();
    ++twin.counts[index_of(Counter::kRequests)];
    ++admitted_;
    twin.waiting.push_back(job);
  }
  void take_tokens(Twin& twin, Job& job) {
    job.takes_tokens = twin.limits.tokens_per_minute != 0;
    if (job.takes_tokens) job.take = twin.tokens.take(job.grant.tokens, fake_now);
  }
  // The prompt has been tokenised, some time later.
  bool count_prompt(Twin& twin, Job& job) {
    fake_now += pick(kSecond / 100);
    job.demand.prompt_tokens = 1 + pick(120);
    settle(twin, job, 0);
    const uint64_t tokens = job.demand.prompt_tokens + uint64_t{job.demand.sequences} * job.grant.output_tokens;
    const bool lacking = tokens != job.grant.tokens && lacks(twin, tokens, fake_now);
    Status charged = twin.tenant->charge(job.grant, job.demand, fake_now);
    if (!charged.ok()) {
      refused(twin, job, lacking ? static_cast<uint32_t>(Refusal::kTokenRate) : kRefusals, charged);
      twin.tenant->withdraw(job.grant, fake_now);
      return false;
    }
    EXPECT_FALSE(lacking);
    EXPECT_EQ(job.grant.tokens, tokens);
    take_tokens(twin, job);
    return true;
  }
  // Ours may refuse what the promised bucket has, where it was full between two settlements; never the opposite.
  void refused(Twin& twin, const Job& job, uint32_t cause, const Status& status) {
    const uint32_t token_rate = static_cast<uint32_t>(Refusal::kTokenRate);
    if (cause == kRefusals) {
      ++refused_needlessly_;
      cause = token_rate;
    }
    ++refused_;
    ++twin.counts[index_of(Counter::kRefused) + cause];
    const Code code = cause == static_cast<uint32_t>(Refusal::kModel)      ? Code::kPermissionDenied
                      : cause == static_cast<uint32_t>(Refusal::kOverload) ? Code::kOverloaded
                                                                           : Code::kQuotaExceeded;
    ASSERT_EQ(status.code(), code) << status.message();
    if (cause == static_cast<uint32_t>(Refusal::kRequestRate)) check_hint(twin, status);
    if (cause == token_rate && tokens_of(job.demand, std::max<uint64_t>(job.demand.prompt_tokens, 1),
                                         twin.limits.output_max) <= twin.limits.tokens_burst) {
      ASSERT_GT(status.retry_after_ms(), 0u);
    }
  }
  // Exact: a millisecond earlier there is no request, at the time there is.
  void check_hint(Twin& twin, const Status& status) {
    const uint64_t at = fake_now + uint64_t{status.retry_after_ms()} * 1'000'000;
    ASSERT_GE(twin.requests.level(at), kSecond);
    ASSERT_LT(twin.requests.level(at - 1'000'000), kSecond);
  }

  void settle(Twin& twin, Job& job, uint64_t used) {
    if (job.takes_tokens) twin.tokens.settle(job.take, used);
    job.takes_tokens = false;
  }

  void start(Twin& twin) {
    if (twin.waiting.empty()) return;
    const uint32_t n = twin.waiting.front().demand.sequences;
    const uint32_t max = twin.limits.sequences_max;
    const bool fits = max == 0 || twin.sequences + n <= max || twin.sequences == 0;
    ASSERT_EQ(twin.tenant->start(n), fits);
    if (!fits) return;
    twin.sequences += n;
    if (max != 0 && n <= max) {
      ASSERT_LE(twin.tenant->usage().sequences_running, max);
    }
    twin.running.push_back(twin.waiting.front());
    twin.waiting.erase(twin.waiting.begin());
  }

  // A step of everybody's running requests: its time is shared out by rows.
  void step() {
    struct Row {
      Twin* twin;
      Job* job;
      uint64_t rows;
    };
    std::vector<Row> plan;
    uint64_t total = 0;
    for (Twin& twin : twins_) {
      for (Job& job : twin.running) {
        const bool prefills = job.prompt < job.demand.prompt_tokens;
        const uint64_t left = uint64_t{job.grant.output_tokens} * job.demand.sequences - job.output;
        const uint64_t rows = prefills ? std::min<uint64_t>(32, job.demand.prompt_tokens - job.prompt)
                                       : std::min<uint64_t>(job.demand.sequences, left);
        if (rows == 0) continue;
        plan.push_back({&twin, &job, rows});
        total += rows;
      }
    }
    if (plan.empty()) return;
    const uint64_t step_ns = 1 + pick(50'000'000);
    uint64_t rows = 0, charged = 0;
    for (const Row& row : plan) {
      rows += row.rows;
      const uint64_t until = share_until(step_ns, rows, total);
      Ledger& ledger = row.twin->tenant->ledger();
      ledger.add(Counter::kComputeNs, until - charged);
      row.twin->counts[index_of(Counter::kComputeNs)] += until - charged;
      charged = until;
      if (row.job->prompt < row.job->demand.prompt_tokens) {
        row.job->prompt += row.rows;
        row.twin->tenant->add_prompt_tokens(row.rows);
        row.twin->counts[index_of(Counter::kPromptTokens)] += row.rows;
      } else {
        row.job->output += row.rows;
        row.twin->tenant->add_generated_tokens(row.rows);
        row.twin->counts[index_of(Counter::kGeneratedTokens)] += row.rows;
      }
    }
    ASSERT_EQ(charged, step_ns) << "the shares of a step add up to it";
    compute_ns_ += step_ns;
  }

  void finish(Twin& twin) {
    if (!twin.running.empty()) end(twin, twin.running, pick(twin.running.size()), true);
  }
  void leave_queue(Twin& twin) {
    if (!twin.waiting.empty()) end(twin, twin.waiting, pick(twin.waiting.size()), false);
  }
  void end(Twin& twin, std::vector<Job>& jobs, size_t at, bool ran) {
    Job job = jobs[at];
    jobs.erase(jobs.begin() + static_cast<ptrdiff_t>(at));
    const uint32_t reason = static_cast<uint32_t>(1 + pick(6));
    if (ran) {
      twin.tenant->finish(job.demand.sequences);
      twin.sequences -= job.demand.sequences;
    } else {
      twin.tenant->leave_queue();
    }
    twin.tenant->settle(job.grant, job.prompt + job.output, fake_now);
    settle(twin, job, job.prompt + job.output);
    twin.tenant->add_finished(reason);
    ++twin.counts[index_of(Counter::kFinished) + reason];
  }
  void finish_all() {
    for (Twin& twin : twins_) {
      while (!twin.running.empty()) end(twin, twin.running, 0, true);
      while (!twin.waiting.empty()) end(twin, twin.waiting, 0, false);
      ASSERT_GE(twin.tokens.lowest(), 0) << "tokens were let through that the limit does not promise";
      ASSERT_GE(twin.requests.lowest(), 0);
    }
  }

  void integrate(Twin& twin) {
    twin.kv_parts += IdealBucket::Wide{fake_now - twin.kv_since} * twin.kv_bytes;
    twin.kv_since = fake_now;
  }
  void hold_kv(Twin& twin) {
    integrate(twin);
    const int64_t more = pick(2) == 0 ? static_cast<int64_t>(pick(100'000)) : -static_cast<int64_t>(twin.kv_bytes / 2);
    twin.tenant->kv_account()->hold(more);
    twin.kv_bytes += static_cast<uint64_t>(more);
  }

  void check() {
    uint64_t compute_ns = 0;
    for (Twin& twin : twins_) {
      integrate(twin);
      twin.counts[index_of(Counter::kKvByteSeconds)] = static_cast<uint64_t>(twin.kv_parts / kSecond);
      const TenantUsage usage = twin.tenant->usage();
      ASSERT_EQ(usage.counts, twin.counts);
      ASSERT_EQ(usage.requests_waiting, twin.waiting.size());
      ASSERT_EQ(usage.requests_running, twin.running.size());
      ASSERT_EQ(usage.sequences_running, twin.sequences);
      ASSERT_EQ(usage.kv_bytes, twin.kv_bytes);
      compute_ns += usage.counts[index_of(Counter::kComputeNs)];
    }
    ASSERT_EQ(compute_ns, compute_ns_);
  }

  std::mt19937_64 random_;
  std::shared_ptr<Archive> archive_ = std::make_shared<Archive>();
  std::vector<Twin> twins_;
  uint64_t compute_ns_ = 0, admitted_ = 0, refused_ = 0, refused_needlessly_ = 0;
};

TEST(Quotas, OvershootByNothingAndCountEverything) {
  for (const uint64_t seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(seed);
    World world(seed);
    world.run(100'000);
    EXPECT_GT(world.admitted(), 5'000u);
    EXPECT_GT(world.refused(), 5'000u);
    EXPECT_LT(world.refused_needlessly(), world.refused() / 20);
  }
}

}  // namespace
}  // namespace merritt::tenant
