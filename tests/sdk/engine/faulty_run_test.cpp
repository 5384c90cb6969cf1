// SPDX-License-Identifier: Apache-2.0
// Backends whose steps fail: who pays is what the blast radius says, the engine and everybody else go on, and every
// byte comes back.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/eval.hpp"
#include "tests/plugins/fardevice/fardevice.h"
#include "tests/plugins/faulty/faulty.h"
#include "tests/support/small_engine.hpp"

namespace merritt::test {
namespace {

// For steps that hang: a small model's step ends far sooner on any machine.
constexpr uint64_t kShortLimitNs = 400'000'000;

struct RunFault {
  const char* fault;
  Code code;
  bool all_fail;  // else only the first tenant's request
  bool hangs = false;
};

std::ostream& operator<<(std::ostream& out, const RunFault& c) { return out << c.fault; }

class FaultyRun : public ::testing::TestWithParam<RunFault> {};

TEST_P(FaultyRun, FailsTheRequestsItMustAndNoMore) {
  const RunFault& c = GetParam();
  const std::string id = std::string("faulty_") + c.fault;
  engine::EngineOptions options;
  if (c.hangs) options.step_limit_ns = kShortLimitNs;
  SmallEngine engine(options);
  const backend::Plugin* plugin = engine.load_backend(id);
  ASSERT_NE(plugin, nullptr);
  const auto* controls = engine.controls<merritt_faulty_ext>(plugin, MERRITT_FAULTY_EXT);
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  controls->arm(1);
  {
    const auto model = engine.load_model(id), other = engine.load_model("reference");
    ASSERT_TRUE(model.ok() && other.ok()) << model.status().message() << other.status().message();
    const std::vector sessions{engine.session("a", *model), engine.session("b", *model), engine.session("c", *other)};
    const std::vector<Outcome> outcomes = generate(engine, sessions);
    EXPECT_EQ(outcomes[0].failure.code(), c.code) << outcomes[0];
    EXPECT_EQ(outcomes[0].end, engine::FinishReason::kError);
    if (c.all_fail) {
      EXPECT_EQ(outcomes[1].failure.code(), c.code) << outcomes[1];
    } else {
      EXPECT_TRUE(outcomes[1].answered()) << outcomes[1];
    }
    EXPECT_TRUE(outcomes[2].good()) << outcomes[2];
    controls->arm(0);
    EXPECT_TRUE(generate_one(engine, engine.session("d", *model)).good());
    EXPECT_TRUE(generate_one(engine, sessions[1]).good());
    EXPECT_TRUE(engine->unload_model(*model).ok());
    EXPECT_TRUE(engine->unload_model(*other).ok());
  }
  engine.close();
  EXPECT_EQ(engine.bytes, 0);
}

INSTANTIATE_TEST_SUITE_P(Faults, FaultyRun,
                         ::testing::Values(RunFault{"run_throws", Code::kBackend, true},
                                           RunFault{"run_nonsense_code", Code::kBackend, true},
                                           RunFault{"run_fails_step", Code::kBackend, true},
                                           RunFault{"run_fails_program", Code::kBackend, true},
                                           RunFault{"run_fails_sequence", Code::kBackend, false},
                                           RunFault{"run_nonsense_status", Code::kBackend, false},
                                           RunFault{"run_nan_rows", Code::kBackend, false},
                                           RunFault{"run_hangs_until_cancel", Code::kBackend, true, true},
                                           RunFault{"wait_never_done", Code::kBackend, true, true}),
                         ::testing::PrintToStringParamName());

// Pages whose rows are not numbers are not there for the prompts that begin alike, nor are those they began with.
TEST(FaultyPrefix, IsNotBegunWithAgain) {
  SmallEngine engine;
  const backend::Plugin* plugin = engine.load_backend("faulty_run_nan_rows");
  ASSERT_NE(plugin, nullptr);
  const auto* controls = engine.controls<merritt_faulty_ext>(plugin, MERRITT_FAULTY_EXT);
  const auto model = engine.load_model("faulty_run_nan_rows");
  ASSERT_TRUE(model.ok());
  const auto tenant =
      *engine->create_tenant("a", {.kv_bytes_floor = 1 << 16, .prefix_bytes_max = 1 << 20, .publishes = true});
  const auto run = [&](bool fails) {
    controls->arm(fails ? 1 : 0);
    auto params = SmallEngine::params(1);
    params.prompt.resize(20, byte_token('x'));
    const auto session = *engine->open_session(tenant, *model);
    const Outcome outcome = generate_one(engine, session, params);
    EXPECT_EQ(outcome.failure.code(), fails ? Code::kBackend : Code::kOk) << outcome;
    return session;
  };
  const auto failed = run(true);
  EXPECT_EQ((*model)->prefixes->n_entries(tenant->id()), 0u);
  EXPECT_EQ(engine->publish_prefix(failed).status().code(), Code::kFailedPrecondition);
  const auto good = run(false);
  EXPECT_EQ((*model)->prefixes->n_entries(tenant->id()), 1u);
  EXPECT_TRUE(engine->publish_prefix(good).ok());
  (void)run(true);
  EXPECT_EQ((*model)->prefixes->n_entries(tenant->id()), 0u);
  EXPECT_TRUE(engine->unload_model(*model).ok());
}

class FaultyModel : public ::testing::TestWithParam<const char*> {};

// The model is gone, with all its requests, also those that wait; nothing else is.
TEST_P(FaultyModel, IsLostAlone) {
  const std::string id = std::string("faulty_") + GetParam();
  SmallEngine engine;
  ASSERT_NE(engine.load_backend(id), nullptr);
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  {
    auto load = SmallEngine::load_options(id);
    load.compile.sequences_max = 1;  // the second request waits
    const auto model = engine->load_model(load), other = engine.load_model("reference");
    ASSERT_TRUE(model.ok() && other.ok()) << model.status().message() << other.status().message();
    const std::vector sessions{engine.session("a", *model), engine.session("b", *model), engine.session("c", *other)};
    const std::vector<Outcome> outcomes = generate(engine, sessions);
    for (size_t i : {0u, 1u}) {
      EXPECT_EQ(outcomes[i].failure.code(), Code::kBackend) << outcomes[i];
      EXPECT_EQ(outcomes[i].failure.blast(), Blast::kDevice) << outcomes[i];
    }
    EXPECT_TRUE(outcomes[2].good()) << outcomes[2];
    const Outcome later = generate_one(engine, sessions[0]);
    EXPECT_EQ(later.failure.code(), Code::kBackend) << later;
    EXPECT_TRUE(generate_one(engine, sessions[2]).good());
    EXPECT_TRUE(engine->close_session(sessions[1]).ok());
    EXPECT_TRUE(engine->unload_model(*model).ok());
  }
  engine.close();
  EXPECT_EQ(engine.bytes, 0);
}

INSTANTIATE_TEST_SUITE_P(Faults, FaultyModel, ::testing::Values("run_breaks_program", "run_loses_device"));

// Another model on a lost device learns of it without a step of its own.
TEST(LostDevice, TakesEveryModelOnIt) {
  SmallEngine engine;
  const backend::Plugin* far = engine.load_backend("fardevice");
  ASSERT_NE(far, nullptr);
  const auto* controls = engine.controls<merritt_fardevice_ext>(far, MERRITT_FARDEVICE_EXT);
  const auto first = engine.load_model("fardevice"), second = engine.load_model("fardevice");
  ASSERT_TRUE(first.ok() && second.ok());
  controls->lose_at(1);
  const Outcome outcome = generate_one(engine, engine.session("a", *first));
  EXPECT_EQ(outcome.failure.blast(), Blast::kDevice) << outcome;
  controls->lose_at(0);
  const Outcome other = generate_one(engine, engine.session("b", *second));
  EXPECT_EQ(other.failure.code(), Code::kBackend) << other;
  EXPECT_EQ(other.failure.blast(), Blast::kDevice) << other;
  EXPECT_TRUE((*second)->lost);
  const auto third = engine.load_model("fardevice");
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.status().blast(), Blast::kDevice);
}

// At every call that reaches the device, from load to a copy of a fork and a wipe of a closed session.
TEST(LostDevice, AtEveryCall) {
  uint64_t k = 1;
  for (bool reached = true; reached; ++k) {
    SCOPED_TRACE("call " + std::to_string(k));
    SmallEngine engine;
    const backend::Plugin* far = engine.load_backend("fardevice");
    ASSERT_NE(far, nullptr);
    ASSERT_NE(engine.load_backend("reference"), nullptr);
    const auto* controls = engine.controls<merritt_fardevice_ext>(far, MERRITT_FARDEVICE_EXT);
    {
      const auto other = engine.load_model("reference");
      ASSERT_TRUE(other.ok());
      const uint64_t before = controls->calls();
      controls->lose_at(k);
      const auto model = engine.load_model("fardevice");
      if (model.ok()) {
        engine::RequestParams params = SmallEngine::params(3);
        params.n = 2;  // forks, so pages are copied
        const auto session = engine.session("a", *model);
        const std::vector<Outcome> outcomes = generate(engine, {session, engine.session("b", *other)}, params);
        EXPECT_TRUE(outcomes[0].answered()) << outcomes[0];
        if (!outcomes[0].failure.ok()) {
          EXPECT_EQ(outcomes[0].failure.blast(), Blast::kDevice) << outcomes[0];
        }
        EXPECT_TRUE(outcomes[1].good()) << outcomes[1];
        EXPECT_TRUE(engine->close_session(session).ok());
        const bool lost = controls->calls() - before >= k;
        const Outcome later = generate_one(engine, engine.session("c", *model));
        EXPECT_TRUE(later.answered()) << later;
        reached = controls->calls() - before >= k;
        if (lost || !reached) {
          EXPECT_EQ(later.failure.ok(), !lost) << later;
        }
      } else {
        EXPECT_EQ(model.status().code(), Code::kBackend);
        EXPECT_EQ(model.status().blast(), Blast::kDevice);
      }
      EXPECT_TRUE(generate_one(engine, engine.session("d", *other)).good());
    }
    controls->lose_at(0);
    engine.close();
    EXPECT_EQ(engine.bytes, 0);
    if (HasFatalFailure() || HasNonfatalFailure()) break;
  }
  EXPECT_GT(k, 20u);
}

// A device that never ends its step cannot be waited for: it is lost, and what it may still write is never freed.
TEST(AbandonedDevice, IsLostAndItsMemoryKept) {
  engine::EngineOptions options;
  options.step_limit_ns = kShortLimitNs;
  SmallEngine engine(options);
  ASSERT_NE(engine.load_backend("faulty_wait_ignores_cancel"), nullptr);
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  {
    auto load = SmallEngine::load_options("faulty_wait_ignores_cancel");
    load.compile.cancel_grace_ns = 20'000'000;
    const auto model = engine->load_model(load), other = engine.load_model("reference");
    ASSERT_TRUE(model.ok() && other.ok());
    const std::vector sessions{engine.session("a", *model), engine.session("b", *other)};
    const std::vector<Outcome> outcomes = generate(engine, sessions);
    EXPECT_EQ(outcomes[0].failure.blast(), Blast::kDevice) << outcomes[0];
    EXPECT_TRUE(outcomes[1].good()) << outcomes[1];
    EXPECT_TRUE(generate_one(engine, sessions[1]).good());
    EXPECT_TRUE(engine->close_session(sessions[0]).ok());
    EXPECT_TRUE(engine->unload_model(*model).ok());
  }
  engine.close();
  EXPECT_GT(engine.bytes, 0);
}

// Rows that are not numbers are never handed to who evaluates.
TEST(Evaluation, RefusesRowsThatAreNotFinite) {
  SmallEngine engine;
  const backend::Plugin* plugin = engine.load_backend("faulty_run_nan_rows");
  ASSERT_NE(plugin, nullptr);
  const auto* controls = engine.controls<merritt_faulty_ext>(plugin, MERRITT_FAULTY_EXT);
  const auto model = engine.load_model("faulty_run_nan_rows");
  ASSERT_TRUE(model.ok());
  const auto tenant = engine->create_tenant("a", {});
  const std::vector<int32_t> tokens{2, byte_token('a'), byte_token('b')};
  std::vector<float> logits(tokens.size() * (*model)->file->info.vocabulary);
  for (const bool decode : {false, true}) {
    controls->arm(1);
    const Status refused = engine::evaluate(engine.get(), *tenant, *model, {tokens, {logits.data(), decode}, 0, {}});
    EXPECT_EQ(refused.code(), Code::kBackend);
    EXPECT_NE(refused.message().find("finite"), std::string::npos) << refused.message();
    controls->arm(0);
    EXPECT_TRUE(engine::evaluate(engine.get(), *tenant, *model, {tokens, {logits.data(), decode}, 0, {}}).ok());
    for (const float x : logits) ASSERT_TRUE(std::isfinite(x));
  }
}

}  // namespace
}  // namespace merritt::test
