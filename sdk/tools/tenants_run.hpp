// SPDX-License-Identifier: Apache-2.0
//
// One run of a load. Time is in seconds since the end of the warm-up; before it, it is negative. Each tenant's load has
// a thread of its own, as its clients would: none of them waits while another one sends or reads. What is to happen on
// it is a timer; between timers it sleeps on its queue's descriptor. tenants_load.cpp sends, tenants_read.cpp reads and
// counts.
#pragma once

#include <atomic>
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
  uint64_t flight;

  bool operator<(const Timer& other) const { return std::tie(other.due, other.order) < std::tie(due, order); }
};

// A request on its way. The session is made for it alone.
struct Flight {
  Session session;
  Request request;
  uint32_t prompt_tokens;
  double due;
  uint64_t steps_before;  // of the engine when it was sent
  double last_token = 0;
  uint32_t tokens = 0;
  bool spoke = false;  // since its reader last paused
};

// What the threads of a run share.
class Course {
 public:
  Course(Engine& engine, const LoadSpec& spec);
  double now() const { return watch_.seconds() - spec_.warmup_seconds; }
  void begin();       // of the measured time
  void count_done();  // one of the tenants that are to end so many requests has
  void end();
  bool over() const { return over_; }
  double seconds() const { return seconds_; }
  uint64_t steps() const { return steps_at_end_ - steps_at_begin_; }

 private:
  Engine& engine_;
  const LoadSpec& spec_;
  Stopwatch watch_;
  std::atomic<uint32_t> left_{0};
  std::atomic<bool> over_{false};
  std::atomic<bool> began_{false}, ended_{false};
  std::atomic<uint64_t> steps_at_begin_{0};
  uint64_t steps_at_end_ = 0;  // as seconds_: read when the threads have ended
  double seconds_ = 0;
};

class LoadRun {
 public:
  // capability: of the tenant itself, or of the one whose bill it is on.
  LoadRun(Engine& engine, Model& model, const LoadSpec& spec, size_t index, Tenant& capability, Course& course);
  TenantFigures run();

 private:
  double now() const { return course_.now(); }
  void at(double due, What what, uint64_t flight = 0) { timers_.push({due, ++timer_count_, what, flight}); }
  void look_at_end();
  void fire_due();
  void fire(const Timer& timer);
  void sleep();
  void read();
  void hear(const Completion& completion);
  void close(uint64_t id);
  void hear_token(Flight& flight, uint64_t step);
  void hear_end(Flight& flight, const Completion& completion);
  void pause_readers();
  void send(double due);
  const RequestOptions& next_request();
  void refuse(bool measured, const Error& error);
  double wait_after_refusal(uint32_t hint_ms) const;
  void open_session();
  TenantUsage usage() const;
  void begin();
  void sample();
  TenantFigures finish();
  Bucket& bucket(double when);

  Engine& engine_;
  Model& model_;
  const LoadSpec& spec_;
  const TenantLoad& load_;
  Tenant& capability_;
  const bool own_bill_;
  Course& course_;
  ModelInfo info_;
  Queue queue_;
  int64_t descriptor_ = -1;
  Dice dice_;
  RequestOptions options_;  // of the next request: what all have in common is made once, it may be large
  std::deque<Session> sessions_, kept_;
  TenantUsage usage_begin_{}, usage_last_{};
  std::unordered_map<uint64_t, Flight> flights_;  // by the number the queue marks them with
  std::vector<uint64_t> heard_;                   // of those with a slow reader, in this turn
  std::vector<uint64_t> ended_;
  std::priority_queue<Timer> timers_;
  uint64_t timer_count_ = 0;
  uint64_t flight_count_ = 0;
  bool measuring_ = false;
  bool counted_ = false;
  TenantFigures figures_;
};

}  // namespace merritt::tools
