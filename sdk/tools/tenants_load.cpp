// SPDX-License-Identifier: Apache-2.0
#include "tenants_load.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <future>

#include "cli.hpp"
#include "interrupt.hpp"
#include "tenants_run.hpp"

namespace merritt::tools {
namespace {

constexpr double kSleepMax = 0.02;  // so that Ctrl-C, and the end of the run, are seen
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

void check_lengths(const LoadSpec& spec, const ModelInfo& model) {
  for (const TenantLoad& load : spec.tenants) {
    const bool is_tokens = load.text_bytes == 0 && load.messages == 0;
    const uint64_t longest = (is_tokens ? load.prompt.most : 0) + uint64_t{load.output.most};
    if (longest <= model.context_max) continue;
    throw with_fix(format("tenant %s: %llu tokens of prompt and output, the context is %u", load.name.c_str(),
                          static_cast<unsigned long long>(longest), model.context_max),
                   "shorter lengths, or a longer --context", kExitUsage);
  }
}

}  // namespace

Course::Course(Engine& engine, const LoadSpec& spec) : engine_(engine), spec_(spec) {
  for (const TenantLoad& load : spec.tenants) left_ += load.requests != 0 ? 1 : 0;
}

void Course::begin() {
  if (!began_.exchange(true)) steps_at_begin_ = expect(engine_.stats(), "statistics").steps;
}

void Course::count_done() {
  if (--left_ == 0) end();
}

void Course::end() {
  if (ended_.exchange(true)) return;
  seconds_ = now();
  steps_at_end_ = expect(engine_.stats(), "statistics").steps;
  over_ = true;
}

LoadRun::LoadRun(Engine& engine, Model& model, const LoadSpec& spec, size_t index, Tenant& capability, Course& course)
    : engine_(engine),
      model_(model),
      spec_(spec),
      load_(spec.tenants[index]),
      capability_(capability),
      own_bill_(load_.as == index),
      course_(course),
      info_(expect(model.info(), "model")),
      queue_(expect(engine.queue(), "queue")),
      descriptor_(expect(queue_.fd(), "queue")),
      dice_(spec.seed * 0x9E3779B97F4A7C15u + index) {
  options_.flags = MERRITT_REQUEST_IGNORE_EOS;
  options_.text = std::string(load_.text_bytes, 'e');
  for (uint32_t i = 0; i < load_.messages; ++i) options_.messages.push_back({i % 2 == 0 ? "user" : "assistant", "e"});
  options_.stop = stop_strings(load_);
  options_.priority = load_.priority;
  figures_.name = load_.name;
  figures_.weight = load_.weight;
}

// The time is over, or of every tenant that is to end so many requests so many have ended.
void LoadRun::look_at_end() {
  if (now() >= spec_.seconds) course_.end();
  if (counted_ || load_.requests == 0 || figures_.done + figures_.cancelled < load_.requests) return;
  counted_ = true;
  course_.count_done();
}

TenantFigures LoadRun::run() {
  at(0, What::kBegin);
  if (load_.arrivals.law == Arrivals::Law::kClosed) {
    for (uint32_t client = 0; client < load_.arrivals.clients; ++client) at(now(), What::kSend);
  } else {
    at(now() + dice_.unit() / load_.arrivals.per_second, What::kSend);
  }
  if (load_.sessions_per_second > 0) at(now(), What::kOpenSession);
  for (look_at_end(); !course_.over(); look_at_end()) {
    if (interrupted()) throw Failure("interrupted");
    fire_due();
    sleep();
    read();
  }
  return finish();
}

void LoadRun::fire_due() {
  const double until = now();
  while (!timers_.empty() && timers_.top().due <= until && !course_.over()) {
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
    case What::kSend: return send(timer.due);
    case What::kOpenSession: return open_session();
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

const RequestOptions& LoadRun::next_request() {
  options_.max_tokens = load_.output.draw(dice_);
  if (load_.text_bytes > 0 || load_.messages > 0) return options_;
  options_.tokens.resize(load_.prompt.draw(dice_));
  for (int32_t& token : options_.tokens) token = static_cast<int32_t>(dice_.below(info_.vocabulary));
  return options_;
}

void LoadRun::send(double due) {
  if (load_.arrivals.law != Arrivals::Law::kClosed) {
    const double gap = load_.arrivals.law == Arrivals::Law::kPoisson ? dice_.wait() : 1;
    at(due + gap / load_.arrivals.per_second, What::kSend);
  }
  const bool measured = measuring_ && due >= 0;
  if (measured) figures_.late_ms.push_back((now() - due) * 1e3);
  const RequestOptions& options = next_request();
  const bool cancels = dice_.unit() < load_.cancel_probability;
  const uint64_t steps = expect(engine_.stats(), "statistics").steps;
  auto session = capability_.session(model_);
  if (!session) return refuse(measured, session.error());
  auto request = session->submit(options);
  if (!request) return refuse(measured, request.error());
  const uint64_t id = ++flight_count_;
  expect(queue_.add(*request, id), "queue");
  if (measured) ++figures_.sent;
  if (cancels) at(now() + load_.cancel_after_ms / 1e3, What::kCancel, id);
  flights_.emplace(id, Flight{std::move(session).value(), std::move(request).value(),
                              static_cast<uint32_t>(options.tokens.size()), due, steps});
}

double LoadRun::wait_after_refusal(uint32_t hint_ms) const {
  if (load_.retry_ms >= 0) return load_.retry_ms / 1e3;
  return hint_ms > 0 ? hint_ms / 1e3 : kRetryDefault;
}

// A client comes again; an arrival of the open loop is lost.
void LoadRun::refuse(bool measured, const Error& error) {
  if (measured) {
    ++figures_.refused[name(error.code())];
    figures_.messages.try_emplace(name(error.code()), error.message());
    ++bucket(now()).refused;
  }
  if (load_.arrivals.law != Arrivals::Law::kClosed) return;
  at(now() + wait_after_refusal(error.retry_after_ms()), What::kSend);
}

void LoadRun::open_session() {
  auto session = capability_.session(model_);
  if (session) {
    sessions_.push_back(std::move(session).value());
    figures_.sessions += measuring_ ? 1 : 0;
    if (sessions_.size() > load_.sessions_held) sessions_.pop_front();
  } else if (measuring_) {
    ++figures_.refused[name(session.error().code())];
  }
  at(now() + 1 / load_.sessions_per_second, What::kOpenSession);
}

LoadFigures run_load(Engine& engine, Model& model, const LoadSpec& spec) {
  const ModelInfo info = expect(model.info(), "model");
  check_lengths(spec, info);
  std::vector<Tenant> tenants;
  for (size_t i = 0; i < spec.tenants.size(); ++i) {
    const TenantLoad& load = spec.tenants[i];
    const bool own = load.as == i;
    tenants.push_back(own ? expect(engine.tenant(load.name, limits_of(load, info)), "tenant " + load.name) : Tenant());
  }
  Course course(engine, spec);
  std::vector<std::future<TenantFigures>> threads;
  for (size_t i = 0; i < spec.tenants.size(); ++i) {
    threads.push_back(std::async(std::launch::async, [&, i] {
      try {
        return LoadRun(engine, model, spec, i, tenants[spec.tenants[i].as], course).run();
      } catch (...) {
        course.end();  // nobody goes on without it
        throw;
      }
    }));
  }
  LoadFigures figures;
  for (std::future<TenantFigures>& thread : threads) thread.wait();
  for (std::future<TenantFigures>& thread : threads) figures.tenants.push_back(thread.get());
  figures.seconds = course.seconds();
  figures.steps = course.steps();
  figures.bucket_seconds = spec.bucket_seconds;
  figures.kv_pool_bytes = info.kv_bytes;
  return figures;
}

}  // namespace merritt::tools
