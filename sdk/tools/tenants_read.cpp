// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cli.hpp"
#include "tenants_run.hpp"

namespace merritt::tools {
namespace {

constexpr uint32_t kReadAtOnce = 256;

}  // namespace

void LoadRun::read() {
  const auto completions = expect(queue_.next(0, kReadAtOnce), "queue");
  for (const Completion& completion : completions) hear(completion);
  pause_readers();
  for (const uint64_t id : ended_) flights_.erase(id);
  ended_.clear();
}

void LoadRun::hear(const Completion& completion) {
  const auto found = flights_.find(completion.user);
  if (found == flights_.end()) return;
  Flight& flight = found->second;
  if (spec_.tenants[flight.tenant].reader_pause_ms > 0 && !flight.spoke) {
    flight.spoke = true;
    heard_.push_back(completion.user);
  }
  if (completion.event.kind == EventKind::kText && completion.event.token >= 0)
    hear_token(flight, completion.event.step);
  if (completion.event.kind == EventKind::kEnd) {
    hear_end(flight, completion);
    flight.spoke = false;
    ended_.push_back(completion.user);
  }
}

void LoadRun::hear_token(Flight& flight, uint64_t step) {
  const double when = now();
  TenantFigures& figures = figures_.tenants[flight.tenant];
  const bool first = flight.tokens++ == 0;
  if (measuring_) {
    Bucket& piece = bucket(flight.tenant, when);
    ++figures.tokens_out;
    ++piece.tokens_out;
    if (first) {
      figures.tokens_in += flight.prompt_tokens;
      piece.tokens_in += flight.prompt_tokens;
    } else {
      figures.between_ms.push_back((when - flight.last_token) * 1e3);
    }
    if (first && flight.due >= 0) {
      figures.first_token_ms.push_back((when - flight.due) * 1e3);
      figures.first_token_steps.push_back(static_cast<double>(step) - static_cast<double>(flight.steps_before));
      piece.first_token_ms.push_back((when - flight.due) * 1e3);
    }
  }
  flight.last_token = when;
}

void LoadRun::hear_end(Flight& flight, const Completion& completion) {
  TenantFigures& figures = figures_.tenants[flight.tenant];
  const TenantLoad& load = spec_.tenants[flight.tenant];
  const bool error = completion.event.finish == Finish::kError;
  if (flight.due >= 0) {
    if (error) {
      ++figures.failed[name(completion.code)];
      figures.messages.try_emplace(name(completion.code), completion.message);
    } else if (completion.event.finish == Finish::kCancelled) {
      ++figures.cancelled;
    } else {
      ++figures.done;
    }
  }
  if (load.arrivals.law != Arrivals::Law::kClosed) return;
  const double wait =
      error ? wait_after_refusal(flight.tenant, completion.retry_after_ms) : load.arrivals.think_ms / 1e3;
  at(now() + wait, What::kSend, flight.tenant);
}

// What a slow reader has not read waits with its request; the queue says no more of it until it is added again.
void LoadRun::pause_readers() {
  for (const uint64_t id : heard_) {
    Flight& flight = flights_.at(id);
    if (!flight.spoke) continue;  // it has ended
    flight.spoke = false;
    expect(queue_.remove(flight.request), "queue");
    at(now() + spec_.tenants[flight.tenant].reader_pause_ms / 1e3, What::kReadAgain, flight.tenant, id);
  }
  heard_.clear();
}

Bucket& LoadRun::bucket(uint32_t tenant, double when) {
  std::vector<Bucket>& timeline = figures_.tenants[tenant].timeline;
  const auto index = static_cast<size_t>(std::max(0.0, when) / spec_.bucket_seconds);
  if (index >= timeline.size()) timeline.resize(index + 1);
  return timeline[index];
}

// What a load with another's capability uses is among the other's.
TenantUsage LoadRun::usage_of(uint32_t tenant) const {
  if (spec_.tenants[tenant].as != tenant) return {};
  return expect(sides_[tenant].tenant.usage(), "usage");
}

void LoadRun::begin() {
  for (uint32_t i = 0; i < sides_.size(); ++i) sides_[i].begin = sides_[i].last = usage_of(i);
  steps_at_begin_ = expect(engine_.stats(), "statistics").steps;
  measuring_ = true;
  at(spec_.bucket_seconds, What::kSample);
}

// What passed since the last sample belongs to the piece that has just ended.
void LoadRun::sample() {
  const double when = now();
  for (uint32_t i = 0; i < sides_.size(); ++i) {
    const TenantUsage usage = usage_of(i);
    Bucket& piece = bucket(i, when - spec_.bucket_seconds / 2);
    piece.compute_ns += usage.compute_ns - sides_[i].last.compute_ns;
    piece.kv_bytes = usage.kv_bytes;
    piece.running = usage.requests_running;
    piece.waiting = usage.requests_waiting;
    sides_[i].last = usage;
  }
  at(when + spec_.bucket_seconds, What::kSample);
}

LoadFigures LoadRun::finish() {
  const double end = now();
  figures_.seconds = end;
  figures_.steps = expect(engine_.stats(), "statistics").steps - steps_at_begin_;
  for (uint32_t i = 0; i < sides_.size(); ++i) {
    const TenantUsage usage = usage_of(i);
    TenantFigures& figures = figures_.tenants[i];
    figures.compute_ns = usage.compute_ns - sides_[i].begin.compute_ns;
    figures.kv_byte_seconds = usage.kv_byte_seconds - sides_[i].begin.kv_byte_seconds;
  }
  for (const auto& [id, flight] : flights_) {
    if (flight.due < 0) continue;
    TenantFigures& figures = figures_.tenants[flight.tenant];
    ++figures.unfinished;
    if (flight.tokens > 0) continue;
    ++figures.unanswered;
    figures.first_token_ms.push_back((end - flight.due) * 1e3);  // at least
  }
  flights_.clear();
  return std::move(figures_);
}

}  // namespace merritt::tools
