// SPDX-License-Identifier: Apache-2.0
//
// One run of a load. Time is in seconds since the end of the warm-up; before it, it is negative. Everything that is to
// happen is a timer; between timers the thread sleeps on the queue's descriptor. tenants_load.cpp sends,
// tenants_read.cpp reads and counts.
#pragma once

#include <deque>
#include <merritt/merritt.hpp>
#include <queue>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "tenants_figures.hpp"
#include "tenants_spec.hpp"
#include "terminal.hpp"

namespace merritt::tools {

enum class What { kBegin, kSample, kSend, kCancel, kReadAgain, kOpenSession };

struct Timer {
  double due;
  uint64_t order;  // of those due at the same time
  What what;
  uint32_t tenant;
  uint64_t flight;

  bool operator<(const Timer& other) const { return std::tie(other.due, other.order) < std::tie(due, order); }
};

// A request on its way. The session is made for it alone.
struct Flight {
  Session session;
  Request request;
  uint32_t tenant;
  uint32_t prompt_tokens;
  double due;
  uint64_t steps_before;  // of the engine when it was sent
  double last_token = 0;
  uint32_t tokens = 0;
  bool spoke = false;  // since its reader last paused
};

struct Side {
  Tenant tenant;  // none of its own where the load has `as`
  Dice dice;
  std::string text;  // of prompts that are no random tokens
  std::vector<std::string> stop;
  std::deque<Session> sessions;
  TenantUsage begin{};
  TenantUsage last{};
};

class LoadRun {
 public:
  LoadRun(Engine& engine, Model& model, const LoadSpec& spec);
  LoadFigures run();

 private:
  double now() const { return watch_.seconds() - spec_.warmup_seconds; }
  void at(double due, What what, uint32_t tenant = 0, uint64_t flight = 0) {
    timers_.push({due, ++timer_count_, what, tenant, flight});
  }
  bool over() const;
  void fire_due();
  void fire(const Timer& timer);
  void sleep();
  void read();
  void hear(const Completion& completion);
  void hear_token(Flight& flight, uint64_t step);
  void hear_end(Flight& flight, const Completion& completion);
  void pause_readers();
  void send(uint32_t tenant, double due);
  Tenant& capability(uint32_t tenant) { return sides_[spec_.tenants[tenant].as].tenant; }
  RequestOptions request_of(uint32_t tenant);
  void refuse(uint32_t tenant, bool measured, const Error& error);
  double wait_after_refusal(uint32_t tenant, uint32_t hint_ms) const;
  void open_session(uint32_t tenant);
  TenantUsage usage_of(uint32_t tenant) const;
  void begin();
  void sample();
  LoadFigures finish();
  Bucket& bucket(uint32_t tenant, double when);

  Engine& engine_;
  Model& model_;
  const LoadSpec& spec_;
  ModelInfo info_;
  Queue queue_;
  int64_t descriptor_ = -1;
  std::vector<Side> sides_;
  std::unordered_map<uint64_t, Flight> flights_;  // by the number the queue marks them with
  std::vector<uint64_t> heard_;                   // of those with a slow reader, in this turn
  std::vector<uint64_t> ended_;
  std::priority_queue<Timer> timers_;
  uint64_t timer_count_ = 0;
  uint64_t flight_count_ = 0;
  uint64_t steps_at_begin_ = 0;
  bool measuring_ = false;
  LoadFigures figures_;
  Stopwatch watch_;
};

}  // namespace merritt::tools
