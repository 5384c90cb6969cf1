// SPDX-License-Identifier: Apache-2.0
// The engine: composition root of everything below the C ABI. One step thread runs all models' steps; other threads
// talk to it by posting commands, which it drains between steps. An engine without threads has whoever polls or waits
// for it as its step thread, one at a time.
//
// Threads: every public function may be called from any thread unless it says otherwise. Functions that change what the
// step thread owns post a command and wait for it (bounded by one step); on the step thread itself, and in a callback
// of this engine on any thread, they would wait for themselves and answer kFailedPrecondition.
//
// Nothing that is thrown ends the step thread: what a command throws is its own failure, and what a step throws fails
// the requests of its model.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/device.hpp"
#include "backend/executor.hpp"
#include "backend/ledger.hpp"
#include "backend/loader.hpp"
#include "base/limits.hpp"
#include "base/os/fork_marker.hpp"
#include "base/status.hpp"
#include "engine/callbacks.hpp"
#include "engine/cancel_flag.hpp"
#include "engine/completion_queue.hpp"
#include "engine/model.hpp"
#include "engine/request.hpp"
#include "engine/session.hpp"
#include "engine/watchdog.hpp"
#include "observe/log.hpp"
#include "secret/secret_bytes.hpp"
#include "tenant/journal.hpp"
#include "tenant/registry.hpp"
#include "tenant/tenant.hpp"

namespace merritt::engine {

struct EngineOptions {
  uint32_t threads = 0;
  uint32_t isa_max = 0;
  uint64_t memory_bytes_max = 0;
  observe::LogLevel log_level = observe::LogLevel::kInfo;
  observe::LogCallback log;        // empty = dropped
  backend::LedgerCallback ledger;  // empty = none
  backend::HostExecutor executor;  // empty = the engine's own threads
  backend::LoaderOptions loader;   // directories and trust list
  uint64_t step_limit_ns = 0;      // a step that runs longer is cancelled and fails; 0 = a few minutes
  bool no_threads = false;         // the callers' threads run the steps: see poll()
};

struct ModelLoadOptions {
  std::string path;
  std::string backend;                                        // empty = the first that accepts the model
  CompileOptions compile;                                     // zeros = defaults
  std::string pack_cache;                                     // directory of packed weights; empty = none are kept
  std::shared_ptr<const secret::SecretBytes> pack_cache_key;  // null = that of the directory
  std::function<bool(float)> progress;                        // true = cancel
  std::shared_ptr<tenant::Tenant> tenant;                     // on whose account; null = the operator's
};

enum class UsageFormat : uint32_t { kJsonLines = 0, kPrometheus = 1 };

struct EngineStats {
  uint32_t threads = 0;
  uint64_t memory_bytes = 0, memory_bytes_peak = 0, kv_bytes = 0, weight_bytes = 0;
  uint64_t steps = 0, prompt_tokens = 0, generated_tokens = 0, steps_mixed = 0;
  uint64_t draft_tokens = 0, draft_tokens_accepted = 0, preemptions = 0;
  uint64_t requests_running = 0, requests_waiting = 0;
  uint64_t step_ns = 0;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> create(EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Ends every request and refuses new work; safe to call twice. Waiting readers wake, a load is cancelled.
  Status shutdown();
  // kFailedPrecondition where waiting for this engine would wait for the caller: see Threads above.
  Status check_may_wait() const;
  // The same for the engine's end, which waits for more: for callbacks of its queues, and for whoever polls.
  Status check_may_end() const;
  // A progress function of the host, known as a callback of this engine while it runs.
  std::function<bool(float)> as_callback(std::function<bool(float)> host) {
    return services_->callbacks.progress(std::move(host));
  }
  bool in_forked_child() const { return fork_marker_.in_child(); }

  // ---- backends (engine/backends.cpp)
  Result<const backend::Plugin*> load_backend(const std::string& path);
  Result<uint32_t> load_backends();
  Result<std::shared_ptr<backend::Device>> backend_at(uint32_t index) const;

  // ---- models (engine/load_model.cpp)
  // For a tenant: admitted before the file is opened, and cancelled when the tenant is destroyed. The model is that
  // tenant's alone.
  Result<std::shared_ptr<Model>> load_model(ModelLoadOptions options);
  Status unload_model(const std::shared_ptr<Model>& model);

  // ---- tenants and what they use (engine/tenants.cpp)
  Result<std::shared_ptr<tenant::Tenant>> create_tenant(std::string_view name, const tenant::TenantLimits& limits);
  Status set_limits(tenant::Tenant& tenant, const tenant::TenantLimits& limits);
  std::string usage_text(UsageFormat format) const;
  // kFailedPrecondition: this engine has one, or another engine has this one.
  Status open_journal(const std::string& path);
  // kFailedPrecondition: there is none. A host that steps the engine itself flushes it at least once a second.
  Result<std::shared_ptr<tenant::Journal>> journal() const;

  // ---- sessions (engine/sessions.cpp)
  Status close_tenant(const std::shared_ptr<tenant::Tenant>& tenant);
  Result<std::shared_ptr<Session>> open_session(std::shared_ptr<tenant::Tenant> tenant, std::shared_ptr<Model> model);
  Status close_session(const std::shared_ptr<Session>& session);
  Status truncate_session(const std::shared_ptr<Session>& session, uint32_t position);
  Result<std::shared_ptr<Session>> fork_session(const std::shared_ptr<Session>& session);
  // What the session begins with of a prompt, in whole pages, is there for the prompts of every tenant of the model for
  // as long as the session's tenant lives; the number of tokens. Waits. kPermissionDenied: its limits do not say
  // publishes; kFailedPrecondition: a request runs, or PrefixCache::publish has a reason.
  Result<uint32_t> publish_prefix(const std::shared_ptr<Session>& session);

  // ---- requests (engine/submit.cpp)
  // What is decided without looking at the prompt: the session is claimed, the tenant's quota taken.
  Result<Admission> admit(const std::shared_ptr<Session>& session, tenant::Demand demand);
  Result<std::shared_ptr<Request>> submit(Admission admission, RequestParams params);
  // Both, for a prompt that is tokens already.
  Result<std::shared_ptr<Request>> submit(const std::shared_ptr<Session>& session, RequestParams params);
  void cancel(Request& request);
  // The stream's next event; without threads of its own the engine runs its steps while the caller waits.
  Result<Event> next_event(Request& request, uint32_t timeout_ms);

  // ---- queues, polling and the end of work (engine/poll.cpp)
  Result<std::shared_ptr<CompletionQueue>> create_queue(CompletionQueue::Callback callback);
  Status close_queue(const std::shared_ptr<CompletionQueue>& queue);
  Status next_completions(CompletionQueue& queue, uint32_t timeout_ms, size_t most, std::vector<Completion>* out);
  // Runs steps on this thread for about budget_ns, one at least; true = there is more to do now.
  Result<bool> poll(uint64_t budget_ns);
  // Takes nothing new, and waits for what was taken; kDeadlineExceeded = what was left has been cancelled.
  Status drain(uint64_t timeout_ns);

  EngineStats stats() const;
  uint64_t now_ns() const;
  observe::Log& log() { return *log_; }
  uint32_t threads() const { return threads_; }

 private:
  using Command = std::function<void()>;

  Engine() = default;
  uint64_t kv_capacity() const;
  bool on_step_thread() const { return step_thread_id_.load() == std::this_thread::get_id(); }
  // The devices of the backend called `id`, or all in the order of preference.
  Result<std::vector<std::shared_ptr<backend::Device>>> devices_for(const std::string& id) const;
  // ---- commands (engine/commands.cpp)
  Status start_step_thread();
  // kCancelled when the engine is shutting down: the command was not taken.
  Status post(Command command);
  // kFailedPrecondition while the engine drains, and kOverloaded when many commands wait already.
  Status post_new_work(Command command);
  Status enqueue_locked(Command command);
  // Runs `command` on the step thread and waits for it; runs it here when the step thread is not there (any more).
  Status call(std::function<Status()> command);
  void run_posted(std::vector<Command>& commands) noexcept;
  Result<std::shared_ptr<Model>> load_for_tenant(ModelLoadOptions options);
  Result<std::shared_ptr<Model>> make_model(ModelLoadOptions options, tenant::ModelCharge charge);
  Status attach_model(const std::shared_ptr<Model>& model);
  void detach_model(const std::shared_ptr<Model>& model);
  void count_tenants();
  Status check_not_draining() const;

  // ---- without threads, and queues (engine/poll.cpp)
  Status drive(uint32_t timeout_ms, const std::function<bool(uint32_t wait_ms)>& look);
  Result<bool> poll_once();
  void run_inbox() noexcept;
  void wake_queues() noexcept;
  void deliver_completions();
  void write_journal_if_due();
  std::vector<std::shared_ptr<CompletionQueue>> queues() const;

  // ---- the step thread (engine/step.cpp, look.cpp, begin.cpp, hand_out.cpp, finish.cpp)
  struct Draw {
    size_t run;
    uint32_t choice;
    Result<sampling::Drawn> drawn;
    Event event{};                              // what the reader gets,
    FinishReason reason = FinishReason::kNone;  // and whether the choice ends with it: set by tell()
  };
  void step_thread_main();
  bool wait_for_work();
  bool has_work() const;
  bool step_all() noexcept;
  bool step_guarded(Model& model) noexcept;
  bool step(Model& model);
  Status run_watched(Model& model, const scheduler::BatchPlan& plan, uint32_t* blast, uint32_t* culprit);
  bool prepare_pages(Model& model, const scheduler::BatchPlan& plan);
  void fill_staging(Model& model, const scheduler::BatchPlan& plan);
  void look_at_rows(Model& model, const scheduler::BatchPlan& plan);
  void draw(Model& model, const scheduler::BatchPlan& plan);
  void draw_after_prompt(Request& request, size_t run, std::span<float> logits);
  uint32_t draw_decode(Request& request, const scheduler::Run& run, size_t index, float* rows, size_t width);

  void begin(const std::shared_ptr<Request>& request) noexcept;
  void end_unplaced(const std::shared_ptr<Request>& request, FinishReason reason, Status failure) noexcept;
  Status place(Model& model, Request& request);
  bool make_choices(Model& model, const scheduler::BatchPlan& plan);
  Status match_cache(Model& model, Request& request);
  // ---- beginnings that prompts have in common (engine/prefixes.cpp)
  scheduler::Beginning adopt_prefix(Model& model, Request& request);
  void adopt_again(Model& model, Request& request) noexcept;
  static void give_up_prefix(Request& request) noexcept;
  static void distrust_prefixes(Model& model, const Request& request) noexcept;
  void keep_prefix(Model& model, const Request& request, const scheduler::Run& run) noexcept;
  void trim_prefixes(const tenant::Tenant& tenant);
  // ---- sessions whose pages were taken back (engine/cold.cpp)
  void take_back(Model& model, const scheduler::BatchPlan& plan);
  static void note_class(Session& session, kv::TokenClass token_class, uint32_t n_tokens);
  static std::vector<kv::ClassRun> missing_past(const Model& model, const Session& session);
  static Status cut_history(Session& session, uint32_t position);
  static int32_t token_of(const Request& request, const scheduler::Run& run, uint32_t past, uint32_t i);

  void hand_out(Model& model, const scheduler::BatchPlan& plan, uint64_t step_number);
  void hand_out_prompt(Model& model, Request& request, const scheduler::Run& run, std::span<Draw> draws);
  void hand_out_decode(Model& model, Request& request, const scheduler::Run& run, std::span<Draw> draws);
  bool commit_run(Model& model, Request& request, const scheduler::Run& run, uint32_t n_tokens);
  void note_progress(Request& request, const scheduler::Run& run, uint32_t n_tokens);
  void count_prompt(Request& request, uint32_t fresh);
  void charge_step(Model& model, const scheduler::BatchPlan& plan, uint64_t step_ns);
  bool fork_samples(Model& model, Request& request);
  bool tell(Model& model, Request& request, Draw& draw);
  void give(Model& model, Request& request, Draw& draw);

  // ---- speculation (engine/draft.cpp)
  static bool ends_choice(const Model& model, const Request& request, int32_t token);
  void propose(Model& model, Request& request, uint32_t choice_index);
  void note_draft(Request& request, Choice& choice, uint32_t drafted, uint32_t accepted);

  void end_choice(Model& model, Request& request, uint32_t choice_index, FinishReason reason, uint64_t step_number);
  void fail_request(Model& model, uint64_t id, Status failure) noexcept;
  void finish_request(Model& model, Request& request, FinishReason reason, Status failure) noexcept;
  void settle(const Request& request, FinishReason reason) noexcept;
  void finish_choice(Model& model, Request& request, uint32_t choice_index, FinishReason reason) noexcept;
  void end_planned(Model& model, const scheduler::BatchPlan& plan);
  void mark_started(Model& model, const scheduler::BatchPlan& plan, uint64_t now);

  // ---- failures (engine/failures.cpp)
  void handle_step_failure(Model& model, const scheduler::BatchPlan& plan, Status failure, uint32_t blast,
                           uint32_t culprit);
  void recover(Model& model, const Status& failure) noexcept;
  void end_requests(Model& model, FinishReason reason, const Status& failure) noexcept;
  void end_all_requests() noexcept;
  void lose(Model& model, const Status& failure) noexcept;
  void check_devices() noexcept;
  void publish_load() noexcept;

  // What an opened device may use; kept for ever when one was abandoned.
  struct Services {
    Services(observe::LogCallback on_log, backend::LedgerCallback on_ledger) : callbacks(on_log, on_ledger) {}
    HostCallbacks callbacks;
    CancelFlag cancel_step;  // of the step in hand
    std::unique_ptr<observe::Log> log;
    std::unique_ptr<backend::Ledger> ledger;
    std::unique_ptr<backend::Executor> executor;
  };
  std::shared_ptr<Services> services_;
  observe::Log* log_ = nullptr;
  backend::Ledger* ledger_ = nullptr;
  backend::Executor* executor_ = nullptr;
  std::unique_ptr<Watchdog> watchdog_;
  std::unique_ptr<backend::Loader> loader_;
  ForkMarker fork_marker_;
  uint32_t threads_ = 1;
  uint32_t isa_max_ = 0;
  uint64_t step_limit_ns_ = 0;
  bool no_threads_ = false;
  CancelFlag stop_;  // set by shutdown; cancels loads
  std::atomic<bool> abandoned_{false};
  std::atomic<std::thread::id> step_thread_id_{};

  tenant::Registry tenants_;
  std::atomic<uint64_t> next_model_id_{1};
  std::atomic<uint32_t> tenant_loads_{0};  // models that are being loaded for tenants
  std::atomic<uint64_t> shared_pools_{0};  // bytes of the KV pools of models that are all tenants'
  mutable std::mutex journal_mutex_;       // guards journal_
  std::shared_ptr<tenant::Journal> journal_;
  std::atomic<bool> journal_taken_{false};

  mutable std::mutex backends_mutex_;  // guards devices_
  std::vector<std::shared_ptr<backend::Device>> devices_;

  mutable std::mutex mutex_;  // guards all down to the blank line
  std::condition_variable wake_;
  std::vector<Command> inbox_;
  bool stopping_ = false;
  std::condition_variable quiet_;  // while draining: nothing runs and nothing waits
  bool step_thread_runs_ = false;
  std::thread step_thread_;
  std::mutex inline_mutex_;  // serialises commands and steps run by callers while there is no step thread
  std::atomic<bool> draining_{false};
  std::atomic<std::thread::id> polling_{};  // whose turn it is to run steps

  mutable std::mutex queues_mutex_;  // guards queues_
  std::vector<std::weak_ptr<CompletionQueue>> queues_;

  // Step thread. All models' schedulers share the policy: nobody doubles its share by using two.
  const std::shared_ptr<scheduler::Policy> policy_ = std::make_shared<scheduler::VirtualTokens>();
  std::vector<std::shared_ptr<Model>> models_;
  std::vector<uint32_t> accepted_;  // of the step in hand, as draws_: rows of each run that become past
  std::vector<Draw> draws_;
  std::vector<float> logits_scratch_;
  std::vector<size_t> first_row_;  // of each run
  uint64_t next_request_id_ = 1;
  uint64_t next_seq_key_ = 1;
  bool idle_turn_ = false;  // the last turn over all models ran nothing

  std::atomic<uint64_t> steps_{0}, prompt_tokens_{0}, generated_tokens_{0}, steps_mixed_{0};
  std::atomic<uint64_t> draft_tokens_{0}, draft_tokens_accepted_{0}, preemptions_{0}, step_ns_{0};
  std::atomic<uint64_t> requests_running_{0}, requests_waiting_{0};
};

}  // namespace merritt::engine
