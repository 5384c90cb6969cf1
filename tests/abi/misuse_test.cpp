// SPDX-License-Identifier: Apache-2.0
// 10^5 calls that a careful host would not make, from several threads at once while other threads destroy what is in
// use: engines, models and tenants in the middle of generations. Codes, never faults; and enough of the calls succeed
// for that to mean something.
#include <gtest/gtest.h>

#include <thread>

#include "tests/abi/misuse_caller.hpp"

namespace merritt::test {
namespace {

// After the storm every byte has come back, whatever was destroyed in the middle of what.
void expect_nothing_left(MisuseWorld& world) {
  for (void* model : world.all(HandleKind::kModel)) merritt_model_destroy(static_cast<merritt_model>(model), nullptr);
  for (void* handle : world.all(HandleKind::kTenant)) {
    merritt_tenant_usage usage{};
    usage.struct_size = sizeof(usage);
    if (merritt_tenant_usage_get(static_cast<merritt_tenant>(handle), &usage, nullptr) != MERRITT_OK) continue;
    EXPECT_EQ(usage.sessions, 0u);
    EXPECT_EQ(usage.kv_bytes, 0u);
    EXPECT_EQ(usage.requests_running, 0u);
    EXPECT_EQ(usage.requests_waiting, 0u);
  }
  for (void* handle : world.all(HandleKind::kEngine)) {
    merritt_engine_stats stats{};
    stats.struct_size = sizeof(stats);
    if (merritt_engine_stats_get(static_cast<merritt_engine>(handle), &stats, nullptr) != MERRITT_OK) continue;
    EXPECT_EQ(stats.weight_bytes, 0u);
    EXPECT_EQ(stats.kv_bytes, 0u);
  }
}

TEST(Misuse, RandomCallsGiveCodes) {
  constexpr uint32_t kCalls = 100'000, kThreads = 4;
  MisuseWorld world;
  MisuseCaller first(world, 11);
  first.create_engine();
  first.create_engine();
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      MisuseCaller caller(world, 17 + t);
      for (uint32_t i = 0; i < kCalls / kThreads; ++i) caller.call();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(world.calls(), kCalls);
  EXPECT_EQ(world.wrong(), 0u) << "a code that is none, or a failure without its error";
  for (size_t verb = 0; verb < kVerbs; ++verb) {
    EXPECT_GE(world.ok(verb), kVerbPlan[verb].least_ok) << kVerbPlan[verb].name << " hardly ever succeeded";
  }
  expect_nothing_left(world);
  first.destroy_everything();
}

TEST(Misuse, AHandleIsOfOneKindAndOneEngine) {
  merritt_engine a = make_engine(), b = make_engine();
  merritt_tenant tenant = make_tenant(a, "acme");
  merritt_tenant_usage usage{};
  usage.struct_size = sizeof(usage);
  EXPECT_EQ(merritt_tenant_usage_get(reinterpret_cast<merritt_tenant>(a), &usage, nullptr), MERRITT_NOT_FOUND);
  EXPECT_EQ(merritt_engine_destroy(reinterpret_cast<merritt_engine>(tenant), nullptr), MERRITT_NOT_FOUND);
  EXPECT_EQ(merritt_tenant_usage_get(nullptr, &usage, nullptr), MERRITT_INVALID_ARGUMENT);
  EXPECT_EQ(merritt_tenant_destroy(tenant, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_tenant_destroy(tenant, nullptr), MERRITT_NOT_FOUND);
  merritt_tenant next = make_tenant(a, "acme");  // the slot is used again, the handle is another
  EXPECT_NE(next, tenant);
  EXPECT_EQ(merritt_tenant_usage_get(tenant, &usage, nullptr), MERRITT_NOT_FOUND);
  EXPECT_EQ(merritt_tenant_usage_get(next, &usage, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_engine_destroy(a, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_tenant_usage_get(next, &usage, nullptr), MERRITT_NOT_FOUND);
  EXPECT_EQ(merritt_engine_destroy(b, nullptr), MERRITT_OK);
}

TEST(Misuse, AnUnknownTailIsRefusedByName) {
  struct Newer {
    merritt_engine_options options;
    uint64_t field;
  } newer{};
  newer.options.struct_size = sizeof(newer);
  merritt_engine engine = nullptr;
  Error error;
  EXPECT_EQ(merritt_engine_create(&newer.options, &engine, error), MERRITT_OK) << error.message();
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
  newer.field = 1;
  EXPECT_EQ(merritt_engine_create(&newer.options, &engine, error), MERRITT_UNSUPPORTED);
  EXPECT_NE(error.message().find("merritt_engine_options"), std::string::npos) << error.message();
  EXPECT_EQ(engine, nullptr);
  uint32_t older = sizeof(uint32_t) * 2;  // a caller that knows only the first two fields
  struct {
    uint32_t struct_size, threads;
  } old{older, 1};
  EXPECT_EQ(merritt_engine_create(reinterpret_cast<merritt_engine_options*>(&old), &engine, error), MERRITT_OK);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

TEST(Misuse, EveryBitOfAnEngineHandleCounts) {
  merritt_engine engine = make_engine();
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  for (uint32_t bit = 0; bit < 64; ++bit) {
    const auto off = reinterpret_cast<merritt_engine>(reinterpret_cast<uintptr_t>(engine) ^ uintptr_t{1} << bit);
    EXPECT_EQ(merritt_engine_stats_get(off, &stats, nullptr), MERRITT_NOT_FOUND) << "bit " << bit;
    EXPECT_EQ(merritt_engine_destroy(off, nullptr), MERRITT_NOT_FOUND) << "bit " << bit;
  }
  EXPECT_EQ(merritt_engine_stats_get(engine, &stats, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

TEST(Misuse, ANewerCallersResultIsZeroWhereThisLibraryKnowsNothing) {
  struct Newer {
    merritt_engine_stats stats;
    uint64_t field = 0xAAAAAAAAAAAAAAAA;
  } newer{};
  newer.stats.struct_size = sizeof(newer);
  merritt_engine engine = make_engine();
  ASSERT_EQ(merritt_engine_stats_get(engine, &newer.stats, nullptr), MERRITT_OK);
  EXPECT_EQ(newer.field, 0u);
  EXPECT_EQ(newer.stats.struct_size, sizeof(newer));
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

// A size that ends inside a pointer would be read as half of one.
TEST(Misuse, AStructSizeThatEndsInsideAFieldIsRefused) {
  std::vector<std::string> names;
  names.reserve(8);
  const auto publishers = read_trust(plugin_dir() + "/trust.json", names);
  merritt_engine_options options{};
  options.publishers = publishers.data();
  options.n_publishers = static_cast<uint32_t>(publishers.size());
  for (uint32_t size = 0; size < sizeof(options); ++size) {
    options.struct_size = size;
    merritt_engine engine = nullptr;
    const int32_t code = merritt_engine_create(&options, &engine, nullptr);
    if (size < 8 || size % 8 != 0) {
      EXPECT_EQ(code, MERRITT_INVALID_ARGUMENT) << size;
    }
    if (code == MERRITT_OK) {
      EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
    }
  }
  merritt_engine engine = make_engine();
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats) - 4;
  EXPECT_EQ(merritt_engine_stats_get(engine, &stats, nullptr), MERRITT_INVALID_ARGUMENT);
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

TEST(Misuse, SixtyFourEnginesAndNoMore) {
  std::vector<merritt_engine> engines;
  merritt_engine engine = nullptr;
  Error error;
  int32_t code = MERRITT_OK;
  while ((code = merritt_engine_create(nullptr, &engine, error)) == MERRITT_OK) {
    engines.push_back(engine);
    ASSERT_LE(engines.size(), 64u);
  }
  EXPECT_EQ(code, MERRITT_OVERLOADED) << error.message();
  for (merritt_engine each : engines) EXPECT_EQ(merritt_engine_destroy(each, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_engine_create(nullptr, &engine, error), MERRITT_OK) << error.message();
  EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
}

}  // namespace
}  // namespace merritt::test
