// SPDX-License-Identifier: Apache-2.0
// A child of fork(): it may destroy what the parent made, everything else is a clear error, nothing hangs, and the
// parent goes on as if nothing had happened.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "tests/support/abi_host.hpp"

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
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "a threaded process that forks is not something ThreadSanitizer follows";
#endif
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
  merritt_tenant_usage usage{};
  usage.struct_size = sizeof(usage);
  EXPECT_EQ(merritt_tenant_usage_get(tenant, &usage, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

TEST(Fork, WhileGenerating) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "a threaded process that forks is not something ThreadSanitizer follows";
#endif
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
