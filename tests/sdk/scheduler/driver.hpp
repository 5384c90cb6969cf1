// SPDX-License-Identifier: Apache-2.0
// An engine without a model, for tests: carries out plans on real page tables, checks every invariant of a plan, and
// writes down what happened.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {

inline constexpr Limits kSmall{.step_tokens_max = 64, .sequences_max = 8, .rows_max = 8};

inline std::vector<kv::GroupShape> pages(uint32_t n) {
  return {{.window = 0, .page_tokens = 16, .n_pages = n, .page_bytes = 16}};
}

class NoBytes final : public kv::PageVerbs {
 public:
  Status copy(uint32_t, uint32_t, uint32_t, uint32_t) override { return {}; }
  Status zero(uint32_t, std::span<const uint32_t>) override { return {}; }
};

struct Live {
  Submission s;
  uint32_t prompt_done = 0;
  uint32_t prefix = 0;           // length of the sequence when the prompt is in
  std::vector<uint32_t> replay;  // of each choice, tokens to be run again
  bool drawn = false;
  std::vector<kv::SequenceId> choices;  // kNone = not forked, or ended
  std::vector<uint32_t> generated;
  std::vector<uint32_t> proposed;  // tokens of each choice's draft
  uint64_t submitted_step = 0, started_step = 0;
  bool started = false;
};

class Driver {
 public:
  explicit Driver(
      const Limits& l,
      std::vector<kv::GroupShape> shapes = {{.window = 0, .page_tokens = 16, .n_pages = 4096, .page_bytes = 16}})
      : limits(l), cache(std::move(kv::Cache::make(shapes, verbs_)).value()), scheduler(l, *cache, policy) {}

  tenant::Tenant* add_tenant(const tenant::TenantLimits& tenant_limits = {}) {
    const auto id = static_cast<uint32_t>(tenants.size() + 1);
    tenants.push_back(std::move(tenant::Tenant::create(TenantId{id}, "t" + std::to_string(id), tenant_limits)).value());
    return tenants.back().get();
  }

  // Admits and submits on a fresh sequence (or the given one); 0 = refused, with `refusal` set.
  uint64_t submit(tenant::Tenant* tenant, uint32_t prompt, uint32_t max_new, uint32_t n = 1, uint64_t deadline = 0,
                  kv::SequenceId sequence = kv::SequenceId::kNone) {
    Submission s{.request = next_request++,
                 .tenant = tenant,
                 .sequence = sequence,
                 .prompt_tokens = prompt,
                 .max_new_tokens = max_new,
                 .n = n,
                 .deadline_ns = deadline};
    return submit(s);
  }
  uint64_t submit(Submission s) {
    refusal = s.tenant->admit({.sequences = s.n}, scheduler.load());
    if (!refusal.ok()) return 0;
    if (s.request == 0) s.request = next_request++;
    if (s.sequence == kv::SequenceId::kNone) s.sequence = cache->create(s.tenant->kv_account());
    refusal = scheduler.submit(s);
    if (!refusal.ok()) {
      s.tenant->leave_queue();
      cache->release(s.sequence);
      return 0;
    }
    Live live{.s = s,
              .prompt_done = 0,
              .prefix = 0,
              .replay = {},
              .drawn = false,
              .choices = {},
              .generated = {},
              .proposed = {},
              .submitted_step = step_number};
    for (const kv::ClassRun& run : s.past) live.s.prompt_tokens += run.n_tokens;
    cached[s.sequence] = cache->length(s.sequence);
    live.choices.resize(s.n);
    live.replay.resize(s.n);
    live.choices[0] = s.sequence;
    live.generated.resize(s.n);
    live.proposed.resize(s.n);
    requests[s.request] = live;
    return s.request;
  }

  const BatchPlan& step(bool fail = false) {
    ++step_number;
    now_ns += 1'000'000;
    const BatchPlan& plan = scheduler.plan(now_ns);
    for (const Preempted& taken : plan.preempted) take_back(taken);
    for (const Dropped& end : plan.dropped) drop(end, plan);
    note(plan);
    check(plan);
    for (const Ended& ended : plan.ended) {
      outcomes[ended.request] = ended.reason;
      if (ended.reason == EndReason::kRefused) failures[ended.request] = ended.failure;
      forget(ended.request);
    }
    for (const uint64_t request : plan.started) {
      requests.at(request).started = true;
      requests.at(request).started_step = step_number;
      requests.at(request).prefix =
          cache->length(requests.at(request).s.sequence) + requests.at(request).s.prompt_tokens;
    }
    for (const Run& run : plan.runs) {
      const Status prepared = cache->prepare_append(run.sequence, run.n_tokens);
      EXPECT_TRUE(prepared.ok()) << "an admitted sequence ran out: " << prepared.message();
    }
    for (const Run& run : plan.runs) {
      if (fail) {
        cache->abort_append(run.sequence);
        continue;
      }
      if (!requests.contains(run.request)) {
        cache->abort_append(run.sequence);
        continue;
      }
      const uint32_t right =
          run.prompt || run.replay || run.n_tokens == 1 ? run.n_tokens : 1 + accept(run.n_tokens - 1);
      drafted += run.prompt || run.replay ? 0 : run.n_tokens - 1;
      accepted += run.prompt || run.replay ? 0 : right - 1;
      EXPECT_TRUE(cache->commit(run.sequence, right, run.token_class).ok());
      scheduler.advance(run.request, run.choice, right);
      carry_out(run, right);
    }
    scheduler.step_done(1'000'000);
    return plan;
  }

  // Steps until nothing is left, or `most` steps are gone.
  void drain(uint64_t most) {
    for (; most != 0 && !scheduler.idle(); --most) step();
    EXPECT_TRUE(scheduler.idle()) << "requests are left over";
  }

  bool done(uint64_t request) const { return outcomes.contains(request) || finished.contains(request); }

  Limits limits;

 private:
  NoBytes verbs_;

 public:
  std::unique_ptr<kv::Cache> cache;
  std::shared_ptr<Policy> policy = std::make_shared<VirtualTokens>();
  Scheduler scheduler;
  std::vector<std::shared_ptr<tenant::Tenant>> tenants;
  std::map<uint64_t, Live> requests;
  std::map<uint64_t, EndReason> outcomes;
  std::map<uint64_t, Status> failures;
  std::map<uint64_t, uint64_t> finished;     // request -> step
  std::map<uint64_t, uint64_t> first_token;  // request -> step
  Status refusal;
  std::string trace;
  std::function<uint32_t()> draft = [] { return 0u; };                      // tokens a choice proposes
  std::function<uint32_t(uint32_t)> accept = [](uint32_t n) { return n; };  // of n draft tokens, how many are right
  uint64_t drafted = 0, accepted = 0, preempted = 0, begun_again = 0;
  uint64_t now_ns = 0, step_number = 0, next_request = 1;
  bool keep_sequences = false;  // ended requests leave their sequence behind, as sessions do
  std::vector<Dropped> dropped;
  // Sequences of preempted requests, and those that came for them.
  std::vector<std::pair<kv::SequenceId, kv::SequenceId>> moved;
  // Of those left behind, what they ran; of these and of those that wait, what is there of it.
  std::map<kv::SequenceId, uint32_t> lengths, cached;

 private:
  void carry_out(const Run& run, uint32_t n_tokens) {
    Live& live = requests.at(run.request);
    if (run.replay && !run.prompt) {
      live.replay[run.choice] -= run.n_tokens;
      return;
    }
    if (run.prompt) {
      live.prompt_done += run.n_tokens;
      if (!run.last_of_prompt) return;
      if (live.s.max_new_tokens == 0) return finish(run.request);
      for (uint32_t c = 1; c < live.s.n; ++c) {
        if (live.generated[c] == UINT32_MAX) continue;
        auto forked = cache->fork(live.choices[0]);
        ASSERT_TRUE(forked.ok()) << "a reserved fork failed: " << forked.status().message();
        live.choices[c] = *forked;
        ASSERT_TRUE(scheduler.add_choice(run.request, c, *forked).ok());
      }
      if (std::exchange(live.drawn, true)) return;
      first_token[run.request] = step_number;
      const uint32_t n = live.s.n;  // live may go
      for (uint32_t c = 0; c < n; ++c) drawn(run.request, c, 1);
    } else {
      drawn(run.request, run.choice, n_tokens);
    }
  }
  // Choice c draws tokens; choices end at different lengths.
  void drawn(uint64_t request, uint32_t c, uint32_t n_tokens) {
    const auto found = requests.find(request);
    if (found == requests.end()) return;
    Live& live = found->second;
    live.generated[c] += n_tokens;
    const uint32_t most = std::max(1u, live.s.max_new_tokens - std::min(c, live.s.max_new_tokens - 1));
    if (live.generated[c] < most) {
      live.proposed[c] = std::min(draft(), most - live.generated[c] - 1);
      return scheduler.propose(request, c, live.proposed[c]);
    }
    EXPECT_EQ(live.generated[c], most) << "more was run than may be generated";
    scheduler.end_choice(request, c);
    if (c != 0) cache->release(live.choices[c]);
    if (c != 0) live.choices[c] = kv::SequenceId::kNone;
    live.generated[c] = UINT32_MAX;
    for (const uint32_t generated : live.generated) {
      if (generated != UINT32_MAX) return;
    }
    finish(request);
  }
  void take_back(const Preempted& taken) {
    ++preempted;
    Live& live = requests.at(taken.request);
    EXPECT_TRUE(live.started);
    EXPECT_EQ(cache->length(live.s.sequence), 0u);
    if (taken.n_tokens > live.prefix) live.replay[0] += taken.n_tokens - live.prefix;
    for (uint32_t c = 1; c < live.choices.size(); ++c) {
      if (live.choices[c] == kv::SequenceId::kNone) continue;
      EXPECT_FALSE(cache->contains(live.choices[c]));
      live.choices[c] = kv::SequenceId::kNone;
      live.replay[c] = live.generated[c] - 1;
    }
    live.s.prompt_tokens = live.prefix;
    live.prompt_done = 0;
    live.proposed.assign(live.s.n, 0);
    live.started = false;
    begin_again(live);
  }
  // As far as what it began with is still there.
  void begin_again(Live& live) {
    const Beginning& beginning = live.s.beginning;
    const uint32_t tokens = cache->shareable(beginning.sequence, std::min(beginning.tokens, live.prefix - 1));
    if (tokens == 0) return;
    const auto shared = cache->share(beginning.sequence, tokens, live.s.tenant->kv_account());
    if (!shared.ok()) return;
    if (!scheduler.resume_from(live.s.request, *shared)) return cache->release(*shared);
    moved.emplace_back(live.s.sequence, *shared);
    cache->release(std::exchange(live.s.sequence, *shared));
    live.choices[0] = *shared;
    live.s.prompt_tokens -= tokens;
    cached[*shared] = tokens;
    ++begun_again;
  }
  // Of a sequence at rest; whoever waits on it runs the rest again.
  void drop(const Dropped& end, const BatchPlan& plan) {
    dropped.push_back(end);
    for (auto& [request, live] : requests) {
      const auto same = [r = request](const Ended& e) { return e.request == r; };
      if (live.s.sequence != end.sequence || std::any_of(plan.ended.begin(), plan.ended.end(), same)) continue;
      EXPECT_FALSE(live.started) << "pages of a running request were dropped";
      live.s.prompt_tokens += cached.at(end.sequence) - end.position;
    }
    cached[end.sequence] = end.position;
  }
  void finish(uint64_t request) {
    scheduler.finish(request);
    finished[request] = step_number;
    forget(request);
  }
  void forget(uint64_t request) {
    const Live& live = requests.at(request);
    if (keep_sequences) lengths[live.s.sequence] = cached[live.s.sequence] = cache->length(live.s.sequence);
    for (uint32_t c = keep_sequences ? 1 : 0; c < live.choices.size(); ++c) cache->release(live.choices[c]);
    requests.erase(request);
  }

  void check(const BatchPlan& plan) {
    uint32_t tokens = 0, rows = 0, prompt_tokens = 0, decode_rows = 0, draft_rows = 0;
    std::set<kv::SequenceId> seen;
    std::set<std::pair<uint64_t, uint32_t>> runs;
    bool prompts_began = false;
    for (const Run& run : plan.runs) {
      tokens += run.n_tokens;
      rows += run.n_rows;
      if (run.prompt || run.replay) prompt_tokens += run.n_tokens;
      EXPECT_GT(run.n_tokens, 0u);
      EXPECT_LE(run.n_rows, run.n_tokens);
      EXPECT_TRUE(seen.insert(run.sequence).second) << "a sequence stands in a step twice";
      EXPECT_FALSE(prompts_began && !run.prompt && !run.replay) << "a decode after a prompt";
      prompts_began |= run.prompt || run.replay;
      runs.insert({run.request, run.choice});
      const Live& live = requests.at(run.request);
      if (run.prompt) {
        EXPECT_EQ(run.prompt_first, live.prompt_done);
        EXPECT_EQ(run.last_of_prompt, live.prompt_done + run.n_tokens == live.s.prompt_tokens);
        EXPECT_LE(run.prompt_first + run.n_tokens, live.s.prompt_tokens);
      } else if (run.replay) {
        EXPECT_EQ(run.token_class, kv::TokenClass::kGenerated);
        EXPECT_EQ(run.n_rows, 0u);
        EXPECT_LE(run.n_tokens, live.replay[run.choice]);
        EXPECT_EQ(cache->length(run.sequence), live.prefix + run.prompt_first);
      } else {
        ++decode_rows;
        draft_rows += run.n_tokens - 1;
        EXPECT_EQ(run.n_rows, run.n_tokens) << "a draft is looked at row by row";
        EXPECT_LE(run.n_tokens - 1, live.proposed[run.choice]);
      }
    }
    EXPECT_EQ(tokens, plan.n_tokens);
    EXPECT_EQ(rows, plan.n_rows);
    EXPECT_EQ(prompt_tokens, plan.n_prompt_tokens);
    EXPECT_LE(tokens, limits.step_tokens_max);
    EXPECT_LE(rows, limits.rows_max);
    if (draft_rows != 0) {
      EXPECT_LE(decode_rows + draft_rows, limits.draft_rows_max);
    }
    EXPECT_LE(plan.runs.size(), limits.sequences_max);
    const std::set<uint64_t> started(plan.started.begin(), plan.started.end());
    std::set<uint64_t> ended;
    for (const Ended& e : plan.ended) ended.insert(e.request);
    for (const auto& [request, live] : requests) {
      if (!live.started || ended.contains(request) || live.prompt_done < live.s.prompt_tokens) continue;
      for (uint32_t c = 0; c < live.choices.size(); ++c) {
        if (live.generated[c] == UINT32_MAX || live.replay[c] != 0) continue;
        EXPECT_TRUE(runs.contains({request, c})) << "a decoding sequence was left out";
      }
    }
  }

  void note(const BatchPlan& plan) {
    trace += std::to_string(step_number) + ":";
    for (const Ended& e : plan.ended) trace += " !" + std::to_string(e.request);
    for (const uint64_t request : plan.started) trace += " +" + std::to_string(request);
    for (const Run& run : plan.runs) {
      trace += " " + std::to_string(run.request) + "." + std::to_string(run.choice) +
               (run.prompt   ? "p"
                : run.replay ? "r"
                             : "d") +
               std::to_string(run.n_tokens);
    }
    trace += "\n";
  }
};

}  // namespace merritt::scheduler
