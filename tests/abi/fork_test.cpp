// SPDX-License-Identifier: Apache-2.0
// A child of fork(): it may destroy what the parent made, everything else is a clear error, nothing hangs, and the
// parent goes on as if nothing had happened.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "tests/abi/misuse_caller.hpp"

#ifdef __SANITIZE_THREAD__
// The children here make engines of their own, with threads.
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }
#endif

namespace merritt::test {
namespace {

// Runs `body` in a child; its answer is the exit status. A child that hangs is killed by the alarm.
int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status);
}

TEST(Fork, ChildMayOnlyDestroy) {
  merritt_engine engine = make_engine();
  merritt_tenant tenant = make_tenant(engine, "acme");
  EXPECT_EQ(in_child([&] {
              merritt_engine_stats stats{};
              stats.struct_size = sizeof(stats);
              if (merritt_engine_stats_get(engine, &stats, nullptr) != MERRITT_FAILED_PRECONDITION) return 1;
              merritt_tenant other = nullptr;
              if (merritt_tenant_create(engine, "b", 1, nullptr, &other, nullptr) != MERRITT_FAILED_PRECONDITION)
                return 2;
              if (merritt_tenant_destroy(tenant, nullptr) != MERRITT_OK) return 3;
              if (merritt_engine_destroy(engine, nullptr) != MERRITT_OK) return 4;
              if (merritt_engine_destroy(engine, nullptr) != MERRITT_NOT_FOUND) return 5;
              merritt_engine own = nullptr;  // a child may make engines of its own
              if (merritt_engine_create(nullptr, &own, nullptr) != MERRITT_OK) return 6;
              if (merritt_engine_destroy(own, nullptr) != MERRITT_OK) return 7;
              return 0;
            }),
            0);
  (void)usage(tenant);  // and works on
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

// Every verb, on whatever the parent had: codes in the child, and the parent's engine works on.
TEST(Fork, RandomCallsInAChildGiveCodes) {
  MisuseWorld world;
  MisuseCaller parent(world, 3);
  parent.create_engine();
  const auto engine = static_cast<merritt_engine>(world.all(HandleKind::kEngine).front());
  const auto model = static_cast<merritt_model>(world.all(HandleKind::kModel).front());
  const merritt_tenant tenant = make_tenant(engine, "acme");
  const merritt_session session = make_session(tenant, model);
  merritt_request_options options{};
  options.struct_size = sizeof(options);
  options.text = "the and";
  options.text_length = 7;
  options.max_tokens = 4;
  options.flags = MERRITT_REQUEST_IGNORE_EOS;
  ASSERT_EQ(generate(session, options).code, MERRITT_OK);
  merritt_request request = nullptr;
  ASSERT_EQ(merritt_session_submit(session, &options, &request, nullptr), MERRITT_OK);
  EXPECT_EQ(read_all(request).end_reason, static_cast<uint32_t>(MERRITT_FINISH_LENGTH));
  world.add(HandleKind::kTenant, tenant);
  world.add(HandleKind::kSession, session);
  world.add(HandleKind::kRequest, request);
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    EXPECT_EQ(in_child([&] {
                MisuseCaller caller(world, seed);
                caller.call_each();
                for (int i = 0; i < 1000; ++i) caller.call();
                return world.wrong() == 0 ? 0 : 1;
              }),
              0)
        << "seed " << seed;
  }
  EXPECT_EQ(world.wrong(), 0u);
  uint32_t length = 0;
  EXPECT_EQ(merritt_session_length(session, &length, nullptr), MERRITT_OK);
  EXPECT_EQ(generate(session, options).code, MERRITT_OK);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

TEST(Fork, WhileGenerating) {
  MERRITT_SKIP_WITHOUT(stories_path());
  merritt_engine engine = make_engine();
  ASSERT_TRUE(load_backend(engine, "reference"));
  merritt_model model = load_model(engine, stories_path());
  merritt_tenant tenant = make_tenant(engine, "acme");
  merritt_session session = make_session(tenant, model);
  merritt_request_options options{};
  options.struct_size = sizeof(options);
  options.text = "Once upon a time";
  options.text_length = 16;
  options.max_tokens = 120;
  const Generation expected = generate(make_session(tenant, model), options);
  merritt_request request = nullptr;
  ASSERT_EQ(merritt_session_submit(session, &options, &request, nullptr), MERRITT_OK);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(in_child([&] {
                merritt_event event{};
                event.struct_size = sizeof(event);
                if (merritt_request_next(request, 10, &event, nullptr) != MERRITT_FAILED_PRECONDITION) return 1;
                if (merritt_request_destroy(request, nullptr) != MERRITT_OK) return 2;
                if (merritt_session_destroy(session, nullptr) != MERRITT_OK) return 3;
                if (merritt_model_destroy(model, nullptr) != MERRITT_OK) return 4;
                if (merritt_engine_destroy(engine, nullptr) != MERRITT_OK) return 5;
                return 0;
              }),
              0);
  }
  const Generation out = read_all(request);
  EXPECT_EQ(out.tokens, expected.tokens);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

}  // namespace
}  // namespace merritt::test
