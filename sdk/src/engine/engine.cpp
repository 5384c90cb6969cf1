// SPDX-License-Identifier: Apache-2.0
// Life of an engine: creation, the step thread and the commands posted to it, shutdown, statistics.
#include "engine/engine.hpp"

#include <future>

#include "base/os/clock.hpp"
#include "base/os/cpu.hpp"

namespace merritt::engine {

Result<std::unique_ptr<Engine>> Engine::create(EngineOptions options) {
  std::unique_ptr<Engine> engine(new Engine());
  engine->log_ = std::make_unique<observe::Log>(options.log_level, options.log);
  engine->ledger_ = std::make_unique<backend::Ledger>(options.memory_bytes_max, options.ledger);
  MERRITT_TRY(engine->executor_, backend::Executor::create(options.threads, options.executor));
  engine->threads_ = engine->executor_->workers();
  engine->isa_max_ = options.isa_max;
  engine->loader_ = std::make_unique<backend::Loader>(std::move(options.loader));
  return engine;
}

Engine::~Engine() { shutdown(); }

void Engine::shutdown() {
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    thread = std::move(step_thread_);
  }
  __atomic_store_n(&stop_step_, 1u, __ATOMIC_RELAXED);  // plugins read it the same way
  wake_.notify_all();
  if (thread.joinable()) thread.join();
}

void Engine::start_step_thread() {
  const std::lock_guard lock(mutex_);
  if (stopping_ || step_thread_runs_) return;
  step_thread_ = std::thread([this] {
    os::name_this_thread("merritt-step");
    step_thread_main();
  });
  step_thread_runs_ = true;
}

bool Engine::post(Command command) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || !step_thread_runs_) return false;
    inbox_.push_back(std::move(command));
  }
  wake_.notify_one();
  return true;
}

Status Engine::call(std::function<Status()> command) {
  auto done = std::make_shared<std::promise<Status>>();
  std::future<Status> result = done->get_future();
  {
    const std::lock_guard lock(mutex_);
    if (step_thread_runs_) {
      inbox_.push_back([done, command] { done->set_value(command()); });
      command = nullptr;
    }
  }
  if (command == nullptr) {
    wake_.notify_one();
    return result.get();
  }
  const std::lock_guard lock(inline_mutex_);
  return command();
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
  stats.prompt_tokens = prompt_tokens_;
  stats.generated_tokens = generated_tokens_;
  stats.steps_mixed = steps_mixed_;
  stats.requests_running = requests_running_;
  stats.requests_waiting = requests_waiting_;
  return stats;
}

}  // namespace merritt::engine
