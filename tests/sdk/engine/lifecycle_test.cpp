// SPDX-License-Identifier: Apache-2.0
// The engine's beginning and end, and calls from places where it would wait for itself.
#include <gtest/gtest.h>
#include <signal.h>

#include <future>
#include <thread>

#include "base/limits.hpp"
#include "tests/plugins/faulty/faulty.h"
#include "tests/support/small_engine.hpp"

namespace merritt::test {
namespace {

// What a callback found when it called back.
struct CallBack {
  SmallEngine* engine = nullptr;
  std::shared_ptr<engine::Session> session;
  std::atomic<uint32_t> calls{0}, refused{0};
  void call() {
    if (engine == nullptr || session == nullptr) return;
    ++calls;
    const Status shut = (*engine)->shutdown(), truncated = (*engine)->truncate_session(session, 0);
    const bool both = shut.code() == Code::kFailedPrecondition && truncated.code() == Code::kFailedPrecondition;
    refused += both ? 1 : 0;
  }
};

TEST(Callbacks, OfTheStepThreadAreRefusedWhatWouldWaitForIt) {
  CallBack back;
  engine::EngineOptions options;
  options.log = {[](void* user, uint32_t, const char*, size_t) { static_cast<CallBack*>(user)->call(); }, &back};
  SmallEngine engine(options);
  ASSERT_NE(engine.load_backend("faulty_run_fails_step"), nullptr);
  const auto model = engine.load_model("faulty_run_fails_step");
  ASSERT_TRUE(model.ok());
  back.session = engine.session("idle", *model);
  back.engine = &engine;
  const Outcome failed = generate_one(engine, engine.session("a", *model));  // logs
  EXPECT_EQ(failed.failure.code(), Code::kBackend) << failed;
  back.engine = nullptr;
  EXPECT_GT(back.calls, 0u);
  EXPECT_EQ(back.refused, back.calls);
  back.session.reset();
}

TEST(Callbacks, OfALoadAreRefusedWhatWouldWaitForTheLoad) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  const auto first = engine.load_model("reference");
  ASSERT_TRUE(first.ok());
  CallBack back;
  back.engine = &engine;
  back.session = engine.session("idle", *first);
  auto load = SmallEngine::load_options("reference");
  load.progress = [&back](float) {
    back.call();
    return false;
  };
  EXPECT_TRUE(engine->load_model(load).ok());
  EXPECT_GT(back.calls, 0u);
  EXPECT_EQ(back.refused, back.calls);
  EXPECT_TRUE(generate_one(engine, back.session).good());
}

TEST(Shutdown, CancelsALoadOfAnotherThread) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("faulty_compile_waits_for_cancel"), nullptr);
  std::promise<void> began;
  std::thread loader([&] {
    auto load = SmallEngine::load_options("faulty_compile_waits_for_cancel");
    began.set_value();
    const auto loaded = engine->load_model(load);
    EXPECT_EQ(loaded.status().code(), Code::kCancelled) << loaded.status().message();
  });
  began.get_future().wait();
  EXPECT_TRUE(engine->shutdown().ok());
  loader.join();
}

// Callers race with the end of the step thread: each gets an answer, and the thread checkers see nothing.
TEST(Shutdown, AnswersEveryCaller) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  const auto model = engine.load_model("reference");
  ASSERT_TRUE(model.ok());
  std::atomic<uint32_t> ready{0};
  std::vector<std::thread> callers;
  std::vector<std::shared_ptr<engine::Session>> sessions;
  for (uint32_t t = 0; t < 4; ++t) sessions.push_back(engine.session("t" + std::to_string(t), *model));
  for (uint32_t t = 0; t < 4; ++t) {
    callers.emplace_back([&, t] {
      ++ready;
      for (bool going = true; going;) {
        auto request = engine->submit(sessions[t], SmallEngine::params(50));
        if (!request.ok()) break;
        Outcome out;
        (void)read_one(**request, out);
        engine->cancel(**request);
        while (read_one(**request, out)) {
        }
        EXPECT_TRUE(out.answered()) << out;
        going = engine->truncate_session(sessions[t], 0).ok();
      }
      EXPECT_TRUE(engine->close_session(sessions[t]).ok());
    });
  }
  while (ready < 4) std::this_thread::yield();
  (void)generate_one(engine, engine.session("main", *model));
  EXPECT_TRUE(engine->shutdown().ok());
  EXPECT_TRUE(engine->shutdown().ok());
  for (std::thread& caller : callers) caller.join();
}

// A running step is asked to stop; its requests end as cancelled, not as failed.
TEST(Shutdown, EndsAStepThatWaitsForItsFlag) {
  SmallEngine engine;
  const backend::Plugin* plugin = engine.load_backend("faulty_run_hangs_until_cancel");
  ASSERT_NE(plugin, nullptr);
  engine.controls<merritt_faulty_ext>(plugin, MERRITT_FAULTY_EXT)->arm(1);
  const auto model = engine.load_model("faulty_run_hangs_until_cancel");
  ASSERT_TRUE(model.ok());
  const auto request = engine->submit(engine.session("a", *model), SmallEngine::params());
  ASSERT_TRUE(request.ok());
  while ((*request)->stats.started_ns == 0) std::this_thread::yield();
  EXPECT_TRUE(engine->shutdown().ok());
  const Outcome out = read_outcome(**request);
  EXPECT_EQ(out.end, engine::FinishReason::kCancelled) << out;
  EXPECT_TRUE(out.failure.ok()) << out;
}

// A finished destroy leaves nothing of a model on the step thread, even when other commands follow in the same turn.
TEST(Commands, HoldNothingAfterTheyHaveRun) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  const auto other = engine.load_model("reference");
  ASSERT_TRUE(other.ok());
  const int64_t before = engine.bytes;
  for (int i = 0; i < 20; ++i) {
    auto model = engine.load_model("reference");
    ASSERT_TRUE(model.ok());
    auto session = engine.session("t" + std::to_string(i), *model);
    auto request = engine->submit(session, SmallEngine::params(1));
    ASSERT_TRUE(request.ok());
    EXPECT_TRUE(engine->unload_model(*model).ok());
    request = Status(Code::kCancelled, "let go");
    session.reset();
    model = Status(Code::kCancelled, "let go");
    EXPECT_EQ(engine.bytes, before);
  }
}

TEST(Models, AreBounded) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  auto load = SmallEngine::load_options("reference");
  load.compile.context_max = 16;
  load.compile.sequences_max = 1;
  load.compile.step_tokens_max = 8;
  std::vector<std::shared_ptr<engine::Model>> models;
  for (uint32_t i = 0; i < limits::kModelsMax; ++i) {
    auto model = engine->load_model(load);
    ASSERT_TRUE(model.ok()) << model.status().message();
    models.push_back(*model);
  }
  EXPECT_EQ(engine->load_model(load).status().code(), Code::kOverloaded);
  EXPECT_TRUE(engine->unload_model(models[0]).ok());
  EXPECT_TRUE(engine->load_model(load).ok());
}

// Signals of the process reach the host's threads only.
TEST(StepThread, RunsNoHandlerOfTheHost) {
  struct Seen {
    std::atomic<bool> looked{false}, blocked{false};
  } seen;
  engine::EngineOptions options;
  options.log = {[](void* user, uint32_t, const char*, size_t) {
                   auto* s = static_cast<Seen*>(user);
                   sigset_t mask;
                   pthread_sigmask(SIG_BLOCK, nullptr, &mask);
                   s->blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR1) == 1;
                   s->looked = true;
                 },
                 &seen};
  SmallEngine engine(options);
  ASSERT_NE(engine.load_backend("faulty_run_fails_step"), nullptr);
  const auto model = engine.load_model("faulty_run_fails_step");
  ASSERT_TRUE(model.ok());
  seen.looked = false;
  (void)generate_one(engine, engine.session("a", *model));
  EXPECT_TRUE(seen.looked);
  EXPECT_TRUE(seen.blocked);
}

}  // namespace
}  // namespace merritt::test
