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
  for (const uint64_t id : ended_) close(id);
  ended_.clear();
}

void LoadRun::close(uint64_t id) {
  const auto found = flights_.find(id);
  if (load_.sessions_kept != 0) kept_.push_back(std::move(found->second.session));
  if (kept_.size() > load_.sessions_kept) kept_.pop_front();
  flights_.erase(found);
}

void LoadRun::hear(const Completion& completion) {
  const auto found = flights_.find(completion.user);
  if (found == flights_.end()) return;
  Flight& flight = found->second;
  if (load_.reader_pause_ms > 0 && !flight.spoke) {
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
  const bool first = flight.tokens++ == 0;
  if (measuring_) {
    Bucket& piece = bucket(when);
    ++figures_.tokens_out;
    ++piece.tokens_out;
    if (first) {
      figures_.tokens_in += flight.prompt_tokens;
      piece.tokens_in += flight.prompt_tokens;
    } else {
      figures_.between_ms.push_back((when - flight.last_token) * 1e3);
    }
    if (first && flight.due >= 0) {
      figures_.first_token_ms.push_back((when - flight.due) * 1e3);
      figures_.first_token_steps.push_back(static_cast<double>(step) - static_cast<double>(flight.steps_before));
      piece.first_token_ms.push_back((when - flight.due) * 1e3);
    }
  }
  flight.last_token = when;
}

void LoadRun::hear_end(Flight& flight, const Completion& completion) {
  const bool error = completion.event.finish == Finish::kError;
  if (flight.due >= 0) {
    if (error) {
      ++figures_.failed[name(completion.code)];
      figures_.messages.try_emplace(name(completion.code), completion.message);
    } else if (completion.event.finish == Finish::kCancelled) {
      ++figures_.cancelled;
    } else {
      ++figures_.done;
    }
  }
  if (load_.arrivals.law != Arrivals::Law::kClosed) return;
  const double wait = error ? wait_after_refusal(completion.retry_after_ms) : load_.arrivals.think_ms / 1e3;
  at(now() + wait, What::kSend);
}

// What a slow reader has not read waits with its request; the queue says no more of it until it is added again.
void LoadRun::pause_readers() {
  for (const uint64_t id : heard_) {
    Flight& flight = flights_.at(id);
    if (!flight.spoke) continue;  // it has ended
    flight.spoke = false;
    expect(queue_.remove(flight.request), "queue");
    at(now() + load_.reader_pause_ms / 1e3, What::kReadAgain, id);
  }
  heard_.clear();
}

Bucket& LoadRun::bucket(double when) {
  std::vector<Bucket>& timeline = figures_.timeline;
  const auto index = static_cast<size_t>(std::max(0.0, when) / spec_.bucket_seconds);
  if (index >= timeline.size()) timeline.resize(index + 1);
  return timeline[index];
}

// What a load with another's capability uses is among the other's.
TenantUsage LoadRun::usage() const {
  if (!own_bill_) return {};
  return expect(capability_.usage(), "usage");
}

void LoadRun::begin() {
  course_.begin();
  usage_begin_ = usage_last_ = usage();
  measuring_ = true;
  at(spec_.bucket_seconds, What::kSample);
}

// What passed since the last sample belongs to the piece that has just ended.
void LoadRun::sample() {
  const double when = now();
  const TenantUsage usage = this->usage();
  Bucket& piece = bucket(when - spec_.bucket_seconds / 2);
  piece.compute_ns += usage.compute_ns - usage_last_.compute_ns;
  piece.kv_bytes = usage.kv_bytes;
  piece.running = usage.requests_running;
  piece.waiting = usage.requests_waiting;
  usage_last_ = usage;
  at(when + spec_.bucket_seconds, What::kSample);
}

TenantFigures LoadRun::finish() {
  const double end = now();
  const TenantUsage usage = this->usage();
  figures_.compute_ns = usage.compute_ns - usage_begin_.compute_ns;
  figures_.kv_byte_seconds = usage.kv_byte_seconds - usage_begin_.kv_byte_seconds;
  for (const auto& [id, flight] : flights_) {
    if (flight.due < 0) continue;
    ++figures_.unfinished;
    if (flight.tokens > 0) continue;
    ++figures_.unanswered;
    figures_.first_token_ms.push_back((end - flight.due) * 1e3);  // at least
  }
  flights_.clear();
  return std::move(figures_);
}

}  // namespace merritt::tools
