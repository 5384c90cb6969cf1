// SPDX-License-Identifier: Apache-2.0
// The step thread's life and the commands that other threads post to it.
#include <algorithm>
#include <exception>
#include <future>
#include <new>

#include "base/limits.hpp"
#include "base/os/thread.hpp"
#include "engine/engine.hpp"
#include "engine/thrown.hpp"

namespace merritt::engine {

Status status_of_exception() noexcept {
  try {
    try {
      throw;
    } catch (const std::bad_alloc&) {
      return Status(Code::kOutOfMemory, "no memory for the engine's own bookkeeping");
    } catch (const std::exception& thrown) {
      return Status(Code::kInternal, std::string("an exception inside the engine: ") + thrown.what());
    } catch (...) {
      return Status(Code::kInternal, "an exception of unknown kind inside the engine");
    }
  } catch (...) {
    return {};
  }
}

Status Engine::check_may_wait() const {
  if (!on_step_thread() && !services_->callbacks.inside()) return {};
  return Status(Code::kFailedPrecondition,
                "called from a callback of this engine, where it would wait for itself; of its functions only "
                "merritt_request_cancel may be called there");
}

Status Engine::check_may_end() const {
  MERRITT_CHECK(check_may_wait());
  const std::lock_guard lock(queues_mutex_);
  const bool delivering = std::any_of(queues_.begin(), queues_.end(), [](const auto& weak) {
    const auto queue = weak.lock();
    return queue != nullptr && queue->delivering_here();
  });
  if (!delivering && polling_.load() != std::this_thread::get_id()) return {};
  return Status(Code::kFailedPrecondition,
                "called from a callback of a queue of this engine, for whose end it would wait");
}

Status Engine::start_step_thread() {
  const std::lock_guard nobody_inline(inline_mutex_);  // what callers run themselves ends before the thread begins
  const std::lock_guard lock(mutex_);
  if (stopping_) return Status(Code::kCancelled, "the engine is shutting down");
  if (step_thread_runs_ || no_threads_) return {};
  MERRITT_CHECK(watchdog_->start());
  MERRITT_TRY(step_thread_, os::start_thread("merritt-step", [this] { step_thread_main(); }));
  step_thread_runs_ = true;
  return {};
}

// Allocates nothing after its check: it is what a destructor does.
Status Engine::shutdown() {
  MERRITT_CHECK(check_may_end());
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    thread = std::move(step_thread_);
  }
  stop_.set();
  services_->cancel_step.set();
  wake_.notify_all();
  quiet_.notify_all();
  if (thread.joinable()) thread.join();
  watchdog_->stop();
  if (no_threads_) {
    const std::lock_guard nobody_inline(inline_mutex_);
    run_inbox();
    end_all_requests();
  }
  wake_queues();
  // One by one outside the lock, because the end of a queue waits for its callback. None is made any more.
  for (size_t i = 0;; ++i) {
    std::shared_ptr<CompletionQueue> queue;
    {
      const std::lock_guard lock(queues_mutex_);
      if (i >= queues_.size()) break;
      queue = queues_[i].lock();
    }
    if (queue != nullptr) queue->close();
  }
  std::shared_ptr<tenant::Journal> journal;
  {
    const std::lock_guard lock(journal_mutex_);
    journal = journal_;
  }
  if (journal != nullptr) journal->stop();
  return {};
}

Status Engine::enqueue_locked(Command command) {
  if (stopping_ || !(step_thread_runs_ || no_threads_)) {
    return Status(Code::kCancelled, "the engine is shutting down");
  }
  inbox_.push_back(std::move(command));
  return {};
}

Status Engine::post(Command command) {
  {
    const std::lock_guard lock(mutex_);
    MERRITT_CHECK(enqueue_locked(std::move(command)));
  }
  wake_.notify_one();
  return {};
}

// Under the lock drain() begins with: what it finds idle stays so, because new work was posted before or never is.
Status Engine::post_new_work(Command command) {
  {
    const std::lock_guard lock(mutex_);
    MERRITT_CHECK(check_not_draining());
    if (inbox_.size() >= limits::kCommandQueueMax) {
      return Status(Code::kOverloaded, std::to_string(inbox_.size()) + " commands wait for the step thread already",
                    Blast::kRequest, 100);
    }
    MERRITT_CHECK(enqueue_locked(std::move(command)));
  }
  wake_.notify_one();
  return {};
}

Status Engine::call(std::function<Status()> command) {
  MERRITT_CHECK(check_may_wait());
  try {
    auto done = std::make_shared<std::promise<Status>>();
    std::future<Status> result = done->get_future();
    const auto posted = [&] {
      const std::lock_guard lock(mutex_);
      if (!step_thread_runs_) return false;
      inbox_.push_back([done, &command] {
        try {
          done->set_value(command());
        } catch (...) {
          done->set_exception(std::current_exception());
        }
      });
      return true;
    };
    bool waits = posted();
    if (!waits) {
      const std::lock_guard lock(inline_mutex_);
      waits = posted();  // the step thread may have begun before this had the lock
      if (!waits) {
        run_inbox();  // what was posted before comes first
        Status outcome = command();
        wake_queues();
        return outcome;
      }
    }
    wake_.notify_one();
    return result.get();
  } catch (...) {
    Status thrown = status_of_exception();
    if (!thrown.ok()) return thrown;
    throw;  // no memory to say so: the edge of the library has an error put by for that
  }
}

// Each command goes as soon as it has run: what it holds must not outlive the wait of whoever posted it.
void Engine::run_posted(std::vector<Command>& commands) noexcept {
  for (Command& command : commands) {
    try {
      command();
    } catch (...) {
      log_->error("a command of the engine threw an exception; it is dropped");
    }
    command = nullptr;
  }
}

// Sleeps until there is something to do, runs posted commands, and says whether to go on.
bool Engine::wait_for_work() {
  std::vector<Command> commands;
  bool stopping = false;
  {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return stopping_ || !inbox_.empty(); };
    if (!has_work()) {
      wake_.wait(lock, ready);
    } else if (idle_turn_) {
      // Requests wait, but none can start now (a tenant's limit, a deadline to come): look again soon.
      wake_.wait_for(lock, std::chrono::milliseconds(1), ready);
    }
    commands.swap(inbox_);
    stopping = stopping_;
  }
  run_posted(commands);
  wake_queues();
  if (!stopping) return true;
  // The end of every request comes first; only when nothing is posted any more may callers run commands themselves.
  end_all_requests();
  wake_queues();
  const std::lock_guard lock(mutex_);
  step_thread_runs_ = !inbox_.empty();
  return step_thread_runs_;  // another turn for what came meanwhile: idle, so that no model steps
}

Status Engine::attach_model(const std::shared_ptr<Model>& model) {
  MERRITT_CHECK(start_step_thread());
  return call([this, &model]() -> Status {
    if (models_.size() >= limits::kModelsMax) {
      return Status(Code::kOverloaded, "this engine holds " + std::to_string(models_.size()) +
                                           " models, as many as it may: destroy one first");
    }
    if (const tenant::Tenant* owner = model->charge.tenant().get(); owner != nullptr) {
      // Closed before close_tenant looks for its models: that finds this one, or it is seen here.
      if (owner->closed()) return Status(Code::kCancelled, "the tenant was destroyed while its model was loaded");
      const auto owned = [](const auto& each) { return each->charge.tenant() != nullptr; };
      if (std::count_if(models_.begin(), models_.end(), owned) >= limits::kTenantsModelsMax) {
        return Status(Code::kOverloaded, "this engine holds " + std::to_string(limits::kTenantsModelsMax) +
                                             " models of tenants, as many as it may");
      }
    }
    models_.push_back(model);
    if (model->charge.tenant() == nullptr) shared_pools_ += model->compiled->kv_spec().pool_bytes;
    return {};
  });
}

// Step thread.
void Engine::detach_model(const std::shared_ptr<Model>& model) {
  end_requests(*model, FinishReason::kCancelled, Status());
  model->prefixes->clear();  // here: the accounts that they are on are written by this thread only
  const bool there = std::erase(models_, model) != 0;
  if (there && model->charge.tenant() == nullptr) shared_pools_ -= model->compiled->kv_spec().pool_bytes;
}

}  // namespace merritt::engine
