// SPDX-License-Identifier: Apache-2.0
// Life of an engine: creation, its end, statistics.
#include "engine/engine.hpp"

#include "base/os/clock.hpp"
#include "engine/abandoned.hpp"

namespace merritt::engine {

Result<std::unique_ptr<Engine>> Engine::create(EngineOptions options) {
  std::unique_ptr<Engine> engine(new Engine());
  auto services = std::make_shared<Services>(options.log, options.ledger);
  services->log = std::make_unique<observe::Log>(options.log_level, services->callbacks.log());
  services->ledger = std::make_unique<backend::Ledger>(options.memory_bytes_max, services->callbacks.ledger());
  MERRITT_TRY(services->executor, backend::Executor::create(options.threads, options.executor));
  engine->log_ = services->log.get();
  engine->ledger_ = services->ledger.get();
  engine->executor_ = services->executor.get();
  engine->watchdog_ = std::make_unique<Watchdog>(services->cancel_step);
  engine->services_ = std::move(services);
  engine->threads_ = engine->executor_->workers();
  engine->isa_max_ = options.isa_max;
  engine->step_limit_ns_ = options.step_limit_ns;
  engine->no_threads_ = options.no_threads;
  engine->loader_ = std::make_unique<backend::Loader>(std::move(options.loader));
  return engine;
}

Engine::~Engine() {
  if (services_ == nullptr) return;  // create() failed
  (void)shutdown();
  if (!abandoned_) return;
  // A device that never answered may still use these; the host's part in them ends here.
  services_->callbacks.silence();
  keep_for_ever(services_);
}

uint64_t Engine::now_ns() const { return os::monotonic_ns(); }

EngineStats Engine::stats() const {
  EngineStats stats;
  stats.threads = threads_;
  stats.memory_bytes = ledger_->held();
  stats.memory_bytes_peak = ledger_->peak();
  stats.kv_bytes = ledger_->held(backend::MemoryKind::kKv) + ledger_->held(backend::MemoryKind::kKvHot);
  stats.weight_bytes = ledger_->held(backend::MemoryKind::kWeights);
  stats.steps = steps_;
  stats.step_ns = step_ns_;
  stats.prompt_tokens = prompt_tokens_;
  stats.generated_tokens = generated_tokens_;
  stats.steps_mixed = steps_mixed_;
  stats.draft_tokens = draft_tokens_;
  stats.draft_tokens_accepted = draft_tokens_accepted_;
  stats.preemptions = preemptions_;
  stats.requests_running = requests_running_;
  stats.requests_waiting = requests_waiting_;
  return stats;
}

}  // namespace merritt::engine
