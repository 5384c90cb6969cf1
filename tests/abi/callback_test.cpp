// SPDX-License-Identifier: Apache-2.0
// Destroying an engine or its objects from one of its own callbacks, or loading a model there, is refused, and changes
// nothing.
#include <gtest/gtest.h>

#include <atomic>

#include "tests/support/abi_host.hpp"

namespace merritt::test {
namespace {

struct EngineInside {
  merritt_engine engine = nullptr;
  merritt_session session = nullptr;
  std::atomic<int> calls{0}, refused{0};

  void call() {
    if (engine == nullptr) return;
    ++calls;
    bool all = merritt_engine_destroy(engine, nullptr) == MERRITT_FAILED_PRECONDITION;
    const std::string path = stories_path();
    merritt_model second = nullptr;
    all &=
        merritt_model_load(engine, path.data(), path.size(), nullptr, &second, nullptr) == MERRITT_FAILED_PRECONDITION;
    if (session != nullptr) all &= merritt_session_destroy(session, nullptr) == MERRITT_FAILED_PRECONDITION;
    refused += all ? 1 : 0;
  }
};

TEST(Callback, OfALoadMayNotDestroyTheEngine) {
  MERRITT_SKIP_WITHOUT(stories_path());
  EngineInside inside;
  const merritt_engine engine = make_engine();
  ASSERT_TRUE(load_backend(engine, "reference"));
  inside.engine = engine;
  merritt_model_options options{};
  options.progress = [](void* user, float) -> int32_t {
    static_cast<EngineInside*>(user)->call();
    return 0;
  };
  options.progress_user = &inside;
  EXPECT_NE(load_model(engine, stories_path(), options), nullptr);
  EXPECT_GT(inside.calls, 0);
  EXPECT_EQ(inside.refused, inside.calls);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

TEST(Callback, OfTheStepThreadMayDestroyNothing) {
  MERRITT_SKIP_WITHOUT(stories_path());
  EngineInside inside;
  merritt_engine_options options{};
  options.log = [](void* user, uint32_t, const char*, size_t) { static_cast<EngineInside*>(user)->call(); };
  options.log_user = &inside;
  const merritt_engine engine = make_engine(options, true);
  ASSERT_TRUE(load_backend(engine, "faulty_run_fails_step"));
  const merritt_model model = load_model(engine, stories_path());
  const merritt_tenant tenant = make_tenant(engine, "a");
  const merritt_session idle = make_session(tenant, model), session = make_session(tenant, model);
  inside.session = idle;
  inside.engine = engine;
  merritt_request_options request{};
  request.text = "Once";
  request.text_length = 4;
  request.max_tokens = 4;
  EXPECT_EQ(generate(session, request).code, MERRITT_BACKEND);  // and logs
  inside.engine = nullptr;
  EXPECT_GT(inside.calls, 0);
  EXPECT_EQ(inside.refused, inside.calls);
  uint32_t length = 1;
  EXPECT_EQ(merritt_session_length(idle, &length, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

}  // namespace
}  // namespace merritt::test
