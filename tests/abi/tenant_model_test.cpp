// SPDX-License-Identifier: Apache-2.0
// Models that are loaded for one tenant: on its account, for it alone, and gone with it.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::test {
namespace {

constexpr uint64_t kPlenty = uint64_t{1} << 30;

class TenantModel : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_ = make_engine();
    ASSERT_NE(engine_, nullptr);
    ASSERT_TRUE(load_backend(engine_, "reference"));
    options_.struct_size = sizeof(options_);
    options_.context_max = 256;
    options_.page_tokens = 16;
    options_.sequences_max = 8;
  }
  void TearDown() override {
    if (engine_ != nullptr) {
      EXPECT_EQ(merritt_engine_destroy(engine_, nullptr), MERRITT_OK);
    }
  }
  merritt_tenant tenant(const char* name, uint64_t model_bytes_max, uint64_t kv_bytes_floor = 0) {
    merritt_tenant_options options{};
    options.model_bytes_max = model_bytes_max;
    options.kv_bytes_floor = kv_bytes_floor;
    return make_tenant(engine_, name, options);
  }
  int32_t load(merritt_tenant tenant, merritt_model* model, std::string* message = nullptr) {
    options_.tenant = tenant;
    Error error;
    const int32_t code = merritt_model_load(engine_, path_.data(), path_.size(), &options_, model, error);
    if (message != nullptr) *message = error.message();
    return code;
  }
  static uint64_t bytes_of(merritt_model model, uint64_t* kv_bytes = nullptr) {
    merritt_model_info info{};
    info.struct_size = sizeof(info);
    EXPECT_EQ(merritt_model_info_get(model, &info, nullptr), MERRITT_OK);
    if (kv_bytes != nullptr) *kv_bytes = info.kv_bytes;
    return info.weight_bytes + info.kv_bytes;
  }
  uint64_t memory_bytes() const {
    merritt_engine_stats stats{};
    stats.struct_size = sizeof(stats);
    EXPECT_EQ(merritt_engine_stats_get(engine_, &stats, nullptr), MERRITT_OK);
    return stats.memory_bytes;
  }
  int32_t open(merritt_tenant tenant, merritt_model model, merritt_session* session, std::string* message = nullptr) {
    Error error;
    const int32_t code = merritt_session_create(tenant, model, nullptr, session, error);
    if (message != nullptr) *message = error.message();
    return code;
  }

  const TempFolder folder_;
  const std::string path_ = folder_.tiny_model();
  merritt_engine engine_ = nullptr;
  merritt_model_options options_{};
};

TEST_F(TenantModel, IsOnItsTenantsAccountAndForItAlone) {
  const merritt_tenant owner = tenant("owner", kPlenty), other = tenant("other", kPlenty);
  const uint64_t before = memory_bytes();
  merritt_model model = nullptr, shared = nullptr;
  ASSERT_EQ(load(owner, &model), MERRITT_OK);
  merritt_tenant_usage used = usage(owner);
  EXPECT_EQ(used.model_bytes, bytes_of(model));
  EXPECT_EQ(used.model_loads, 1u);
  EXPECT_GT(used.model_load_ns, 0u);
  EXPECT_EQ(usage(other).model_bytes, 0u);
  std::string message;
  merritt_session session = nullptr;
  EXPECT_EQ(open(other, model, &session, &message), MERRITT_PERMISSION_DENIED);
  EXPECT_NE(message.find("another tenant"), std::string::npos) << message;
  EXPECT_EQ(usage(other).refusals_by_cause[MERRITT_REFUSED_MODEL], 1u);

  // A list of the shared models that it may use does not take its own away.
  ASSERT_EQ(load(nullptr, &shared), MERRITT_OK);
  EXPECT_EQ(usage(owner).model_bytes, bytes_of(model)) << "the host's own is on nobody's account";
  merritt_tenant_options limits{};
  limits.struct_size = sizeof(limits);
  limits.model_bytes_max = kPlenty;
  limits.models = &shared;
  limits.n_models = 1;
  ASSERT_EQ(merritt_tenant_limits_set(owner, &limits, nullptr), MERRITT_OK);
  ASSERT_EQ(open(owner, model, &session), MERRITT_OK);
  merritt_request_options request{};
  request.text = "the and of";
  request.text_length = 10;
  request.max_tokens = 4;
  request.flags = MERRITT_REQUEST_IGNORE_EOS;
  EXPECT_EQ(generate(session, request).tokens.at(0).size(), 4u);
  EXPECT_EQ(usage(owner).generated_tokens, 4u);

  ASSERT_EQ(merritt_model_destroy(shared, nullptr), MERRITT_OK);
  ASSERT_EQ(merritt_model_destroy(model, nullptr), MERRITT_OK);
  EXPECT_EQ(usage(owner).model_bytes, 0u);
  EXPECT_EQ(memory_bytes(), before);
}

TEST_F(TenantModel, GoesWithItsTenant) {
  const uint64_t before = memory_bytes();
  const merritt_tenant owner = tenant("owner", kPlenty);
  merritt_model first = nullptr, second = nullptr;
  ASSERT_EQ(load(owner, &first), MERRITT_OK);
  ASSERT_EQ(load(owner, &second), MERRITT_OK);
  EXPECT_EQ(usage(owner).model_bytes, bytes_of(first) + bytes_of(second));
  merritt_session session = nullptr;
  ASSERT_EQ(open(owner, first, &session), MERRITT_OK);
  ASSERT_EQ(merritt_tenant_destroy(owner, nullptr), MERRITT_OK);
  uint32_t length = 0;
  EXPECT_EQ(merritt_session_length(session, &length, nullptr), MERRITT_NOT_FOUND);
  EXPECT_EQ(merritt_model_destroy(first, nullptr), MERRITT_NOT_FOUND);
  merritt_model_info info{};
  info.struct_size = sizeof(info);
  EXPECT_EQ(merritt_model_info_get(second, &info, nullptr), MERRITT_NOT_FOUND);
  EXPECT_EQ(memory_bytes(), before);
}

TEST_F(TenantModel, IsRefusedWithBothNumbers) {
  std::string message;
  merritt_model model = nullptr;
  EXPECT_EQ(load(tenant("without", 0), &model, &message), MERRITT_PERMISSION_DENIED);
  EXPECT_NE(message.find("model_bytes_max is 0"), std::string::npos) << message;
  const uint64_t before = memory_bytes();
  const merritt_tenant small = tenant("small", 1000);
  EXPECT_EQ(load(small, &model, &message), MERRITT_QUOTA_EXCEEDED);
  EXPECT_NE(message.find("model_bytes_max is 1000"), std::string::npos) << message;
  EXPECT_EQ(model, nullptr);
  // The file alone fits, what it becomes with its pool does not: found out only at the end, and nothing stays.
  const merritt_tenant owner = tenant("owner", kPlenty);
  ASSERT_EQ(load(owner, &model), MERRITT_OK);
  const uint64_t bytes = bytes_of(model);
  ASSERT_EQ(merritt_model_destroy(model, nullptr), MERRITT_OK);
  const merritt_tenant close = tenant("close", bytes - 1), enough = tenant("enough", bytes);
  EXPECT_EQ(load(close, &model, &message), MERRITT_QUOTA_EXCEEDED);
  EXPECT_NE(message.find("pool take " + std::to_string(bytes)), std::string::npos) << message;
  EXPECT_EQ(memory_bytes(), before);
  EXPECT_EQ(usage(close).model_bytes, 0u);
  EXPECT_EQ(usage(close).model_loads, 0u);
  EXPECT_GT(usage(close).model_load_ns, 0u) << "it was worked on";
  EXPECT_EQ(usage(close).refusals_by_cause[MERRITT_REFUSED_MODEL], 1u);
  EXPECT_EQ(load(enough, &model), MERRITT_OK);
}

TEST_F(TenantModel, OfAnotherEngineIsRefused) {
  const merritt_engine elsewhere = make_engine();
  const merritt_tenant foreign = make_tenant(elsewhere, "foreign");
  std::string message;
  merritt_model model = nullptr;
  EXPECT_EQ(load(foreign, &model, &message), MERRITT_FAILED_PRECONDITION);
  EXPECT_NE(message.find("another engine"), std::string::npos) << message;
  EXPECT_EQ(merritt_engine_destroy(elsewhere, nullptr), MERRITT_OK);
  EXPECT_EQ(load(foreign, &model), MERRITT_NOT_FOUND);
}

TEST_F(TenantModel, LeavesPlacesForTheHosts) {
  std::string message;
  merritt_model model = nullptr;
  merritt_tenant first = nullptr;
  for (const char* name : {"a", "b", "c"}) {
    const merritt_tenant owner = tenant(name, kPlenty);
    if (first == nullptr) first = owner;
    for (int i = 0; i < 16; ++i) ASSERT_EQ(load(owner, &model, &message), MERRITT_OK) << message;
  }
  EXPECT_EQ(load(first, &model, &message), MERRITT_QUOTA_EXCEEDED);
  EXPECT_NE(message.find("has 16 models"), std::string::npos) << message;
  EXPECT_EQ(load(tenant("d", kPlenty), &model, &message), MERRITT_OVERLOADED);
  EXPECT_NE(message.find("48 models of tenants"), std::string::npos) << message;
  EXPECT_EQ(load(nullptr, &model), MERRITT_OK);
}

TEST_F(TenantModel, ItsPoolIsNothingOthersCanBePromised) {
  merritt_model shared = nullptr, own = nullptr;
  ASSERT_EQ(load(nullptr, &shared), MERRITT_OK);
  uint64_t pool = 0;
  bytes_of(shared, &pool);
  const merritt_tenant owner = tenant("owner", kPlenty);
  ASSERT_EQ(load(owner, &own), MERRITT_OK);
  merritt_tenant_options options{};
  options.struct_size = sizeof(options);
  options.kv_bytes_floor = pool / 2 * 3;
  merritt_tenant refused = nullptr;
  Error error;
  EXPECT_EQ(merritt_tenant_create(engine_, "b", 1, &options, &refused, error), MERRITT_INVALID_ARGUMENT);
  EXPECT_NE(error.message().find("floors"), std::string::npos) << error.message();
  ASSERT_EQ(merritt_model_destroy(own, nullptr), MERRITT_OK);
  EXPECT_NE(tenant("c", 0, pool), nullptr);
}

TEST_F(TenantModel, WithoutSharedModelsFloorsAreAsBeforeTheFirst) {
  const merritt_tenant owner = tenant("owner", kPlenty, kPlenty);
  merritt_model own = nullptr;
  ASSERT_EQ(load(owner, &own), MERRITT_OK);
  EXPECT_NE(tenant("b", 0, kPlenty), nullptr);
}

// One tenant of several gets three quarters of a model that they share, and all of its own.
TEST_F(TenantModel, AllOfItsSequencesAreItsTenants) {
  const merritt_tenant owner = tenant("owner", kPlenty);
  ASSERT_NE(tenant("other", 0), nullptr);
  options_.sequences_max = 4;
  merritt_model model = nullptr;
  ASSERT_EQ(load(owner, &model), MERRITT_OK);
  std::vector<merritt_request> requests;
  merritt_request_options options{};
  options.struct_size = sizeof(options);
  options.text = "the and of";
  options.text_length = 10;
  options.max_tokens = 200;
  options.flags = MERRITT_REQUEST_IGNORE_EOS;
  for (int i = 0; i < 4; ++i) {
    merritt_request request = nullptr;
    ASSERT_EQ(merritt_session_submit(make_session(owner, model), &options, &request, nullptr), MERRITT_OK);
    requests.push_back(request);
  }
  uint32_t running = 0;
  while (running < 4 && usage(owner).finished[MERRITT_FINISH_LENGTH] == 0) running = usage(owner).requests_running;
  EXPECT_EQ(running, 4u);
  for (const merritt_request request : requests) EXPECT_EQ(merritt_request_destroy(request, nullptr), MERRITT_OK);
}

// Holds a load at its first report until it is told to go on.
struct Handshake {
  std::atomic<bool> loading{false}, go_on{false};
  static int32_t progress(void* user, float) {
    auto& self = *static_cast<Handshake*>(user);
    self.loading = true;
    while (!self.go_on) std::this_thread::yield();
    return 0;
  }
};

TEST_F(TenantModel, FourAreLoadedAtOnce) {
  constexpr size_t kAtOnce = 4;
  Handshake handshakes[kAtOnce];
  int32_t codes[kAtOnce] = {};
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kAtOnce; ++i) {
    merritt_model_options options = options_;
    options.tenant = tenant(std::string(1, static_cast<char>('a' + i)).c_str(), kPlenty);
    options.progress = &Handshake::progress;
    options.progress_user = &handshakes[i];
    threads.emplace_back([&, options, i] {
      merritt_model model = nullptr;
      codes[i] = merritt_model_load(engine_, path_.data(), path_.size(), &options, &model, nullptr);
    });
  }
  for (Handshake& each : handshakes) {
    while (!each.loading) std::this_thread::yield();
  }
  const merritt_tenant fifth = tenant("e", kPlenty);
  options_.tenant = fifth;
  merritt_model model = nullptr;
  Error error;
  EXPECT_EQ(merritt_model_load(engine_, path_.data(), path_.size(), &options_, &model, error), MERRITT_OVERLOADED);
  EXPECT_GT(merritt_error_retry_after_ms(error.get()), 0u);
  EXPECT_EQ(usage(fifth).refusals_by_cause[MERRITT_REFUSED_OVERLOAD], 1u);
  EXPECT_EQ(load(nullptr, &model), MERRITT_OK) << "the host's own wait for nobody";
  for (Handshake& each : handshakes) each.go_on = true;
  for (std::thread& thread : threads) thread.join();
  for (const int32_t code : codes) EXPECT_EQ(code, MERRITT_OK);
  EXPECT_EQ(load(fifth, &model), MERRITT_OK);
}

TEST_F(TenantModel, LoadEndsWhenItsTenantIsDestroyed) {
  const uint64_t before = memory_bytes();
  const merritt_tenant owner = tenant("owner", kPlenty);
  Handshake handshake;
  options_.progress = &Handshake::progress;
  options_.progress_user = &handshake;
  merritt_model model = nullptr;
  int32_t code = MERRITT_OK;
  std::thread loader([&] { code = load(owner, &model); });
  while (!handshake.loading) std::this_thread::yield();
  std::string message;
  merritt_model second = nullptr;
  merritt_model_options other = options_;
  other.progress = nullptr;
  Error error;
  EXPECT_EQ(merritt_model_load(engine_, path_.data(), path_.size(), &other, &second, error), MERRITT_QUOTA_EXCEEDED);
  EXPECT_NE(error.message().find("one at a time"), std::string::npos) << error.message();
  EXPECT_EQ(merritt_tenant_destroy(owner, nullptr), MERRITT_OK);
  handshake.go_on = true;
  loader.join();
  EXPECT_EQ(code, MERRITT_CANCELLED);
  EXPECT_EQ(model, nullptr);
  EXPECT_EQ(memory_bytes(), before);
}

}  // namespace
}  // namespace merritt::test
