// SPDX-License-Identifier: Apache-2.0
// An engine without a model, in steps: the real scheduler over real page tables, on a clock that ticks once a step.
// Replays a trace and writes down what every tenant got in every step. Nothing in it is random.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/scheduler.hpp"

namespace merritt::sim {

struct Arrival {
  uint64_t step = 0;
  uint32_t tenant = 0;
  uint32_t prompt = 0, output = 0;  // tokens; the request asks for `output` and gets them
  uint32_t n = 1;
  uint32_t cancel_after = 0;  // steps after its start; 0 = never
  uint32_t live = 0;          // 0 = at `step`; else also not before fewer than so many of the tenant's requests live
  uint32_t begins = 0;        // tokens that begin its prompt and all others of the tenant that have some
  int32_t priority = 0;       // among the tenant's
  bool stays = false;         // its session is never ended: it rests on its pages
};

struct World {
  scheduler::Limits limits;
  std::vector<kv::GroupShape> shapes;
  std::vector<tenant::TenantLimits> tenants;
  std::vector<Arrival> arrivals;  // of each tenant in the order of steps
  bool ceilings = false;          // those of tenants that have none of their own
};

// What one tenant had of each resource, in counter units and delivered: prompt tokens when they run, generated tokens
// when they are produced, pages for each step in which requests hold them.
using Delivered = scheduler::Service;

struct Sample {  // of one tenant after one step
  Delivered delivered{};
  uint32_t epoch = 0;  // changes with every return
  bool eligible = false;
};

struct Outcome {
  uint64_t arrived = 0, submitted = 0, started = 0, first_token = 0, finished = 0;  // steps; 0 = not so far
  uint32_t tenant = 0;
  bool refused = false, cancelled = false;
};

// The policy with an ear: who waits for service, by the policy's own account.
class Ear final : public scheduler::Policy {
 public:
  void enter(TenantId tenant, scheduler::Return from) override;
  void leave(TenantId tenant) override;
  size_t pick(std::span<const scheduler::Candidate> candidates) const override { return policy_.pick(candidates); }
  void charge(TenantId tenant, uint32_t weight, const scheduler::Service& service) override;
  void refund(TenantId tenant, uint32_t weight, const scheduler::Service& service) override;
  uint64_t served(TenantId tenant, uint32_t weight, const scheduler::Service& more) const override;

  std::map<TenantId, std::pair<bool, uint32_t>> heard;  // entered, epoch

 private:
  scheduler::VirtualTokens policy_;
};

class Simulator {
 public:
  explicit Simulator(const World& world);
  ~Simulator();
  void run(uint64_t steps);
  void step();
  bool done() const;  // every arrival has come and gone

  const std::vector<std::vector<Sample>>& samples() const { return samples_; }  // [step][tenant]
  const std::vector<Outcome>& outcomes() const { return outcomes_; }            // [arrival]
  uint64_t now() const { return now_; }
  uint64_t preempted() const { return preempted_; }
  uint64_t hits() const { return hits_; }              // prompts whose beginning was there
  uint64_t hits_again() const { return hits_again_; }  // of those that were preempted
  uint64_t dropped() const { return dropped_; }        // times that pages of a sequence at rest were
  // For the bound: the longest stay of a request in steps, the most tokens in the end of requests that ran together,
  // the longest input.
  uint64_t longest_stay() const { return longest_stay_; }
  uint64_t resident_tokens() const { return resident_tokens_; }
  uint32_t longest_input() const { return longest_input_; }
  uint64_t compute_price() const { return compute_price_; }
  const World& world() const { return world_; }
  const std::string& trouble() const { return trouble_; }  // the first broken promise; empty = none

 private:
  struct Live;
  class NoBytes;
  void arrive();
  scheduler::Beginning beginning_of(const Arrival& a) const;
  kv::SequenceId begin(const Arrival& a, const scheduler::Beginning& beginning);
  void begin_again(uint64_t request, Live& live);
  void keep_beginning(const Arrival& a, kv::SequenceId sequence);
  bool submit(size_t arrival);
  void carry_out(const scheduler::BatchPlan& plan);
  void carry_out(const scheduler::Run& run);
  void finish(uint64_t request);
  void forget(uint64_t request);
  void record();
  void measure_bound();
  void note(const std::string& what);

  const World world_;
  std::unique_ptr<NoBytes> verbs_;
  std::unique_ptr<kv::Cache> cache_;
  std::shared_ptr<Ear> ear_;
  std::unique_ptr<scheduler::Scheduler> scheduler_;
  std::vector<std::shared_ptr<tenant::Tenant>> tenants_;
  std::vector<std::deque<size_t>> due_;  // arrivals of each tenant
  std::vector<uint32_t> n_live_;
  std::vector<kv::SequenceId> beginnings_;  // at rest, one of each tenant
  std::map<uint64_t, Live> live_;           // by request = arrival + 1
  std::vector<Outcome> outcomes_;
  std::vector<Delivered> delivered_;
  std::vector<std::vector<Sample>> samples_;
  uint64_t now_ = 0, preempted_ = 0, dropped_ = 0, hits_ = 0, hits_again_ = 0, longest_stay_ = 0, resident_tokens_ = 0,
           compute_price_ = 1;
  uint64_t pool_bytes_ = 0;
  uint32_t longest_input_ = 0;
  std::string trouble_;
};

}  // namespace merritt::sim
