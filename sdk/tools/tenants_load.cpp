// SPDX-License-Identifier: Apache-2.0
#include "tenants_load.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "cli.hpp"
#include "interrupt.hpp"
#include "tenants_run.hpp"

namespace merritt::tools {
namespace {

constexpr double kSleepMax = 0.05;  // so that Ctrl-C is seen
constexpr double kRetryDefault = 0.01;

std::vector<std::string> stop_strings(const TenantLoad& load) {
  // Each is all but one letter of a text that a model may repeat, so that much of it must be compared.
  std::vector<std::string> all;
  for (uint32_t i = 0; i < load.stop_strings; ++i) {
    std::string text(load.stop_bytes, ' ');
    for (size_t at = 0; at < text.size(); ++at) text[at] = " e"[(at + i) % 2];
    text.back() = static_cast<char>('A' + i % 26);
    if (text.size() > 1) text[text.size() - 2] = static_cast<char>('a' + i / 26 % 26);
    all.push_back(std::move(text));
  }
  return all;
}

TenantOptions limits_of(const TenantLoad& load, const ModelInfo& model) {
  TenantOptions options;
  options.weight = load.weight;
  options.sequences_max = load.sequences_max;
  options.queue_max = load.queue_max;
  options.requests_per_second = load.requests_per_second;
  options.tokens_per_minute = load.tokens_per_minute;
  options.prompt_bytes_max = load.prompt_bytes_max;
  options.kv_bytes_max = static_cast<uint64_t>(load.kv_ceiling * static_cast<double>(model.kv_bytes));
  options.kv_bytes_floor = static_cast<uint64_t>(load.kv_floor * static_cast<double>(model.kv_bytes));
  return options;
}

}  // namespace

LoadRun::LoadRun(Engine& engine, Model& model, const LoadSpec& spec) : engine_(engine), model_(model), spec_(spec) {
  info_ = expect(model.info(), "model");
  queue_ = expect(engine.queue(), "queue");
  descriptor_ = expect(queue_.fd(), "queue");
  figures_.bucket_seconds = spec.bucket_seconds;
  figures_.kv_pool_bytes = info_.kv_bytes;
  for (size_t i = 0; i < spec.tenants.size(); ++i) {
    const TenantLoad& load = spec.tenants[i];
    const uint64_t longest = (load.text_bytes > 0 ? 0 : load.prompt.most) + uint64_t{load.output.most};
    if (longest > info_.context_max) {
      throw with_fix(format("tenant %s: %llu tokens of prompt and output, the context is %u", load.name.c_str(),
                            static_cast<unsigned long long>(longest), info_.context_max),
                     "shorter lengths, or a longer --context", kExitUsage);
    }
    auto tenant =
        load.as == i ? expect(engine.tenant(load.name, limits_of(load, info_)), "tenant " + load.name) : Tenant();
    sides_.push_back({std::move(tenant), Dice(spec.seed * 0x9E3779B97F4A7C15u + i), std::string(load.text_bytes, 'e'),
                      stop_strings(load), std::deque<Session>()});
    TenantFigures figures;
    figures.name = load.name;
    figures.weight = load.weight;
    figures_.tenants.push_back(std::move(figures));
  }
}

// Of every tenant that is to end so many requests, so many have ended.
bool LoadRun::over() const {
  if (now() >= spec_.seconds) return true;
  bool counted = false;
  for (size_t i = 0; i < spec_.tenants.size(); ++i) {
    if (spec_.tenants[i].requests == 0) continue;
    counted = true;
    if (figures_.tenants[i].done + figures_.tenants[i].cancelled < spec_.tenants[i].requests) return false;
  }
  return counted;
}

LoadFigures LoadRun::run() {
  watch_ = Stopwatch();
  at(0, What::kBegin);
  for (uint32_t i = 0; i < sides_.size(); ++i) {
    const TenantLoad& load = spec_.tenants[i];
    if (load.arrivals.law == Arrivals::Law::kClosed) {
      for (uint32_t client = 0; client < load.arrivals.clients; ++client) at(now(), What::kSend, i);
    } else {
      at(now() + sides_[i].dice.unit() / load.arrivals.per_second, What::kSend, i);
    }
    if (load.sessions_per_second > 0) at(now(), What::kOpenSession, i);
  }
  while (!over()) {
    if (interrupted()) throw Failure("interrupted");
    fire_due();
    sleep();
    read();
  }
  return finish();
}

void LoadRun::fire_due() {
  const double until = now();
  while (!timers_.empty() && timers_.top().due <= until) {
    const Timer timer = timers_.top();
    timers_.pop();
    fire(timer);
  }
}

void LoadRun::fire(const Timer& timer) {
  const auto flight = flights_.find(timer.flight);
  switch (timer.what) {
    case What::kBegin: return begin();
    case What::kSample: return sample();
    case What::kSend: return send(timer.tenant, timer.due);
    case What::kOpenSession: return open_session(timer.tenant);
    case What::kCancel:
      if (flight != flights_.end()) expect(flight->second.request.cancel(), "cancel");
      return;
    case What::kReadAgain:
      if (flight != flights_.end()) expect(queue_.add(flight->second.request, timer.flight), "queue");
      return;
  }
}

void LoadRun::sleep() {
  const double until = timers_.empty() ? kSleepMax : std::clamp(timers_.top().due - now(), 0.0, kSleepMax);
  pollfd wanted = {static_cast<int>(descriptor_), POLLIN, 0};
  const auto nanoseconds = static_cast<long>(until * 1e9);
  const timespec timeout = {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  if (ppoll(&wanted, 1, &timeout, nullptr) < 0 && errno != EINTR) throw Failure("poll failed");
}

RequestOptions LoadRun::request_of(uint32_t tenant) {
  const TenantLoad& load = spec_.tenants[tenant];
  Side& side = sides_[tenant];
  RequestOptions options;
  options.flags = MERRITT_REQUEST_IGNORE_EOS;
  options.max_tokens = load.output.draw(side.dice);
  options.stop = side.stop;
  if (load.text_bytes > 0) {
    options.text = side.text;
    return options;
  }
  options.tokens.resize(load.prompt.draw(side.dice));
  for (int32_t& token : options.tokens) token = static_cast<int32_t>(side.dice.below(info_.vocabulary));
  return options;
}

void LoadRun::send(uint32_t tenant, double due) {
  const TenantLoad& load = spec_.tenants[tenant];
  Side& side = sides_[tenant];
  if (load.arrivals.law != Arrivals::Law::kClosed) {
    const double gap = load.arrivals.law == Arrivals::Law::kPoisson ? side.dice.wait() : 1;
    at(due + gap / load.arrivals.per_second, What::kSend, tenant);
  }
  const bool measured = measuring_ && due >= 0;
  if (measured) figures_.tenants[tenant].late_ms.push_back((now() - due) * 1e3);
  const RequestOptions options = request_of(tenant);
  const bool cancels = side.dice.unit() < load.cancel_probability;
  const uint64_t steps = expect(engine_.stats(), "statistics").steps;
  auto session = capability(tenant).session(model_);
  if (!session) return refuse(tenant, measured, session.error());
  auto request = session->submit(options);
  if (!request) return refuse(tenant, measured, request.error());
  const uint64_t id = ++flight_count_;
  expect(queue_.add(*request, id), "queue");
  if (measured) ++figures_.tenants[tenant].sent;
  if (cancels) at(now() + load.cancel_after_ms / 1e3, What::kCancel, tenant, id);
  flights_.emplace(id, Flight{std::move(session).value(), std::move(request).value(), tenant,
                              static_cast<uint32_t>(options.tokens.size()), due, steps});
}

double LoadRun::wait_after_refusal(uint32_t tenant, uint32_t hint_ms) const {
  const double own = spec_.tenants[tenant].retry_ms;
  if (own >= 0) return own / 1e3;
  return hint_ms > 0 ? hint_ms / 1e3 : kRetryDefault;
}

// A client comes again; an arrival of the open loop is lost.
void LoadRun::refuse(uint32_t tenant, bool measured, const Error& error) {
  if (measured) {
    ++figures_.tenants[tenant].refused[name(error.code())];
    figures_.tenants[tenant].messages.try_emplace(name(error.code()), error.message());
    ++bucket(tenant, now()).refused;
  }
  if (spec_.tenants[tenant].arrivals.law != Arrivals::Law::kClosed) return;
  at(now() + wait_after_refusal(tenant, error.retry_after_ms()), What::kSend, tenant);
}

void LoadRun::open_session(uint32_t tenant) {
  const TenantLoad& load = spec_.tenants[tenant];
  Side& side = sides_[tenant];
  auto session = capability(tenant).session(model_);
  if (session) {
    side.sessions.push_back(std::move(session).value());
    figures_.tenants[tenant].sessions += measuring_ ? 1 : 0;
    if (side.sessions.size() > load.sessions_held) side.sessions.pop_front();
  } else if (measuring_) {
    ++figures_.tenants[tenant].refused[name(session.error().code())];
  }
  at(now() + 1 / load.sessions_per_second, What::kOpenSession, tenant);
}

LoadFigures run_load(Engine& engine, Model& model, const LoadSpec& spec) {
  LoadRun run(engine, model, spec);
  return run.run();
}

}  // namespace merritt::tools
