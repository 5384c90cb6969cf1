// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/simulator.hpp"

#include <algorithm>

namespace merritt::sim {

using scheduler::BatchPlan;
using scheduler::kStepShare;
using scheduler::Run;

void Ear::enter(TenantId tenant, scheduler::Return from) {
  policy_.enter(tenant, from);
  heard[tenant].first = true;
  ++heard[tenant].second;
}
void Ear::leave(TenantId tenant) {
  policy_.leave(tenant);
  heard[tenant].first = false;
}
void Ear::charge(TenantId tenant, uint32_t weight, const scheduler::Service& service) {
  policy_.charge(tenant, weight, service);
}
void Ear::refund(TenantId tenant, uint32_t weight, const scheduler::Service& service) {
  policy_.refund(tenant, weight, service);
}
uint64_t Ear::served(TenantId tenant, uint32_t weight, const scheduler::Service& more) const {
  return policy_.served(tenant, weight, more);
}

class Simulator::NoBytes final : public kv::PageVerbs {
 public:
  Status copy(uint32_t, uint32_t, uint32_t, uint32_t) override { return {}; }
  Status zero(uint32_t, std::span<const uint32_t>) override { return {}; }
};

struct Simulator::Live {
  size_t arrival = 0;
  std::vector<kv::SequenceId> choices;  // kNone = not forked yet, or ended
  std::vector<uint32_t> generated;
  bool running = false;
};

Simulator::Simulator(const World& world)
    : world_(world),
      verbs_(std::make_unique<NoBytes>()),
      cache_(std::move(kv::Cache::make(world.shapes, *verbs_)).value()),
      ear_(std::make_shared<Ear>()),
      scheduler_(std::make_unique<scheduler::Scheduler>(world.limits, *cache_, ear_)),
      due_(world.tenants.size()),
      n_live_(world.tenants.size()),
      beginnings_(world.tenants.size()),
      outcomes_(world.arrivals.size()),
      delivered_(world.tenants.size()) {
  for (size_t t = 0; t < world.tenants.size(); ++t) {
    const auto id = static_cast<TenantId>(t + 1);
    tenants_.push_back(std::move(tenant::Tenant::create(id, "t" + std::to_string(t), world.tenants[t])).value());
  }
  for (size_t a = 0; a < world.arrivals.size(); ++a) due_[world.arrivals[a].tenant].push_back(a);
  const scheduler::Costs& costs = world.limits.costs;
  compute_price_ = costs.compute_price != 0 ? costs.compute_price
                                            : kStepShare / (world.limits.sequences_max * costs.generated_token);
  if (world.ceilings) ear_->set_tenants(static_cast<uint32_t>(world.tenants.size()));
  for (const kv::GroupShape& shape : world.shapes) pool_bytes_ += shape.page_bytes * shape.n_pages;
}

Simulator::~Simulator() = default;

void Simulator::note(const std::string& what) {
  if (trouble_.empty()) trouble_ = "step " + std::to_string(now_) + ": " + what;
}

bool Simulator::done() const {
  return live_.empty() && std::all_of(due_.begin(), due_.end(), [](const auto& due) { return due.empty(); });
}

void Simulator::run(uint64_t steps) {
  for (uint64_t i = 0; i < steps && !done(); ++i) step();
}

void Simulator::arrive() {
  for (size_t t = 0; t < due_.size(); ++t) {
    while (!due_[t].empty()) {
      const Arrival& next = world_.arrivals[due_[t].front()];
      if (next.step > now_ || (next.live != 0 && n_live_[t] >= next.live)) break;
      if (!submit(due_[t].front())) break;  // its queue is full: the client comes again in the next step
      due_[t].pop_front();
    }
  }
}

// As the engine's prefix cache does it: whole pages of what the tenant's last prompts began with.
scheduler::Beginning Simulator::beginning_of(const Arrival& a) const {
  const kv::SequenceId known = beginnings_[a.tenant];
  return {known, cache_->shareable(known, std::min(a.begins, a.prompt - 1))};
}

kv::SequenceId Simulator::begin(const Arrival& a, const scheduler::Beginning& beginning) {
  const auto& account = tenants_[a.tenant]->kv_account();
  if (beginning.tokens != 0) {
    if (auto shared = cache_->share(beginning.sequence, beginning.tokens, account); shared.ok()) {
      ++hits_;
      cache_->touch(beginning.sequence);
      return *shared;
    }
  }
  return cache_->create(account);
}

// What was taken back is not run again where it is still there.
void Simulator::begin_again(uint64_t request, Live& live) {
  const Arrival& a = world_.arrivals[live.arrival];
  const scheduler::Beginning beginning = beginning_of(a);
  if (beginning.tokens == 0) return;
  const auto shared = cache_->share(beginning.sequence, beginning.tokens, tenants_[a.tenant]->kv_account());
  if (!shared.ok()) return;
  if (!scheduler_->resume_from(request, *shared)) return cache_->release(*shared);
  scheduler_->note_beginning(request, beginning);
  cache_->release(std::exchange(live.choices[0], *shared));
  ++hits_again_;
}

void Simulator::keep_beginning(const Arrival& a, kv::SequenceId sequence) {
  kv::SequenceId& known = beginnings_[a.tenant];
  const uint32_t tokens = cache_->shareable(sequence, std::min(a.begins, cache_->length(sequence)));
  if (tokens <= cache_->length(known)) return;
  auto shared = cache_->share(sequence, tokens, tenants_[a.tenant]->kv_account());
  if (!shared.ok()) return;
  cache_->release(known);
  known = *shared;
}

// False: no place in the queue now.
bool Simulator::submit(size_t arrival) {
  const Arrival& a = world_.arrivals[arrival];
  tenant::Tenant& tenant = *tenants_[a.tenant];
  Outcome& outcome = outcomes_[arrival];
  outcome.tenant = a.tenant;
  if (outcome.arrived == 0) outcome.arrived = now_;
  if (!tenant.admit({.sequences = a.n}, scheduler_->load()).ok()) return false;
  const scheduler::Beginning beginning = beginning_of(a);
  const kv::SequenceId sequence = begin(a, beginning);
  const Status status = scheduler_->submit({.request = arrival + 1,
                                            .tenant = &tenant,
                                            .sequence = sequence,
                                            .prompt_tokens = a.prompt - cache_->length(sequence),
                                            .max_new_tokens = a.output,
                                            .n = a.n,
                                            .priority = a.priority,
                                            .beginning = beginning});
  if (!status.ok()) {
    tenant.leave_queue();
    cache_->release(sequence);
    outcome.refused = true;
    return true;
  }
  outcome.submitted = now_;
  Live live{.arrival = arrival, .choices = {}, .generated = {}};
  live.choices.resize(a.n);
  live.choices[0] = sequence;
  live.generated.resize(a.n);
  live_.emplace(arrival + 1, std::move(live));
  ++n_live_[a.tenant];
  return true;
}

void Simulator::step() {
  ++now_;
  arrive();
  for (const auto& [request, live] : live_) {
    const Arrival& a = world_.arrivals[live.arrival];
    const Outcome& outcome = outcomes_[live.arrival];
    if (a.cancel_after != 0 && outcome.started != 0 && now_ >= outcome.started + a.cancel_after) {
      scheduler_->cancel(request);
      outcomes_[live.arrival].cancelled = true;
    }
  }
  carry_out(scheduler_->plan(now_));
  scheduler_->step_done(1'000'000);
  record();
}

void Simulator::carry_out(const BatchPlan& plan) {
  for (const scheduler::Preempted& taken : plan.preempted) {
    Live& live = live_.at(taken.request);
    ++preempted_;
    longest_stay_ = std::max(longest_stay_, now_ - outcomes_[live.arrival].started + 1);
    std::fill(live.choices.begin() + 1, live.choices.end(), kv::SequenceId::kNone);
    live.running = false;
    begin_again(taken.request, live);
  }
  dropped_ += plan.dropped.size();
  for (const scheduler::Ended& ended : plan.ended) {
    if (ended.reason == scheduler::EndReason::kRefused) outcomes_[ended.request - 1].refused = true;
    forget(ended.request);
  }
  for (const uint64_t request : plan.started) {
    outcomes_[request - 1].started = now_;
    live_.at(request).running = true;
    longest_input_ = std::max(longest_input_, world_.arrivals[request - 1].prompt);
  }
  if (!plan.started.empty()) measure_bound();
  for (const Run& run : plan.runs) {
    if (const Status ready = cache_->prepare_append(run.sequence, run.n_tokens); !ready.ok()) {
      note("a planned sequence has no page: " + std::string(ready.message()));
    }
  }
  for (const auto& [request, live] : live_) {
    if (!live.running) continue;
    uint64_t units = 0;
    for (const kv::SequenceId sequence : live.choices) {
      for (uint32_t g = 0; g < cache_->n_groups(); ++g) {
        const uint64_t page_units = kStepShare * world_.shapes[g].page_bytes / pool_bytes_;
        units += cache_->pages(sequence, g).pages.size() * page_units;
      }
    }
    if (world_.limits.costs.pages) delivered_[world_.arrivals[live.arrival].tenant][1] += units;
  }
  for (const Run& run : plan.runs) carry_out(run);
}

void Simulator::carry_out(const Run& run) {
  const auto found = live_.find(run.request);
  if (found == live_.end()) return cache_->abort_append(run.sequence);
  Live& live = found->second;
  const Arrival& a = world_.arrivals[live.arrival];
  if (!cache_->commit(run.sequence, run.n_tokens, run.token_class).ok()) note("a commit failed");
  scheduler_->advance(run.request, run.choice, run.n_tokens);
  uint64_t& compute = delivered_[a.tenant][0];
  if (run.prompt || run.replay) {
    compute += run.n_tokens * world_.limits.costs.prompt_token * compute_price_;
    if (run.prompt ? !run.last_of_prompt : run.replay) return;
    keep_beginning(a, run.sequence);
    Outcome& outcome = outcomes_[live.arrival];
    if (outcome.first_token == 0) outcome.first_token = now_;
    for (uint32_t c = 1; c < a.n; ++c) {
      if (live.generated[c] >= a.output) continue;
      auto forked = cache_->fork(live.choices[0]);
      if (!forked.ok()) return note("a fork failed: " + std::string(forked.status().message()));
      live.choices[c] = *forked;
      if (!scheduler_->add_choice(run.request, c, *forked).ok()) note("a choice was not taken");
    }
    if (run.replay) return;
  }
  for (uint32_t c = run.prompt ? 0 : run.choice; c < (run.prompt ? a.n : run.choice + 1); ++c) {
    ++live.generated[c];
    compute += world_.limits.costs.generated_token * compute_price_;
    if (live.generated[c] < a.output) continue;
    scheduler_->end_choice(run.request, c);
    if (c != 0) cache_->release(std::exchange(live.choices[c], kv::SequenceId::kNone));
    if (std::all_of(live.generated.begin(), live.generated.end(), [&](uint32_t n) { return n >= a.output; })) {
      return finish(run.request);
    }
  }
}

void Simulator::finish(uint64_t request) {
  scheduler_->finish(request);
  outcomes_[request - 1].finished = now_;
  forget(request);
}

void Simulator::forget(uint64_t request) {
  const Live& live = live_.at(request);
  const Outcome& outcome = outcomes_[live.arrival];
  if (outcome.started != 0) longest_stay_ = std::max(longest_stay_, now_ - outcome.started + 1);
  const size_t kept = world_.arrivals[live.arrival].stays ? 1 : 0;
  for (size_t c = kept; c < live.choices.size(); ++c) cache_->release(live.choices[c]);
  --n_live_[world_.arrivals[live.arrival].tenant];
  live_.erase(request);
}

// Tokens that the requests of one tenant that run now will have had in the end.
void Simulator::measure_bound() {
  std::vector<uint64_t> tokens(tenants_.size());
  for (const auto& [request, live] : live_) {
    const Arrival& a = world_.arrivals[live.arrival];
    if (live.running) tokens[a.tenant] += a.prompt + uint64_t{a.n} * a.output;
  }
  resident_tokens_ = std::max(resident_tokens_, *std::max_element(tokens.begin(), tokens.end()));
}

void Simulator::record() {
  std::vector<Sample> samples(tenants_.size());
  for (size_t t = 0; t < tenants_.size(); ++t) {
    const auto [eligible, epoch] = ear_->heard[static_cast<TenantId>(t + 1)];
    samples[t] = {.delivered = delivered_[t], .epoch = epoch, .eligible = eligible};
  }
  samples_.push_back(std::move(samples));
}

}  // namespace merritt::sim
