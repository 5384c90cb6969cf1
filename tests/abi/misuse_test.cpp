// SPDX-License-Identifier: Apache-2.0
// 10^5 calls that a careful host would not make: null, stale, foreign and wrong-kind handles, double destroys, slots
// used again, wrong struct sizes, from several threads at once while other threads destroy what is in use. Codes, never
// faults.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "tests/support/abi_host.hpp"

namespace merritt::test {
namespace {

// Handles that are or once were alive, shared by all threads, plus bit patterns that never were.
class Handles {
 public:
  void add(void* handle) {
    const std::lock_guard lock(mutex_);
    if (handles_.size() < 4096) {
      handles_.push_back(handle);
    } else {
      handles_[next_++ % handles_.size()] = handle;
    }
  }
  template <class Handle, class Random>
  Handle pick(Random& random) {
    const uint32_t kind = random() % 16;
    if (kind == 0) return nullptr;
    if (kind == 1) return reinterpret_cast<Handle>(static_cast<uintptr_t>((uint64_t{random()} << 32) | random()));
    const std::lock_guard lock(mutex_);
    if (handles_.empty()) return nullptr;
    auto bits = reinterpret_cast<uintptr_t>(handles_[random() % handles_.size()]);
    if (kind == 2) bits ^= uintptr_t{1} << (random() % 64);  // one bit off
    return reinterpret_cast<Handle>(bits);
  }

 private:
  std::mutex mutex_;
  std::vector<void*> handles_;
  size_t next_ = 0;
};

class Caller {
 public:
  Caller(Handles& handles, uint32_t seed, bool destroys_engines)
      : handles_(handles), random_(seed), destroys_engines_(destroys_engines) {}

  void call() {
    merritt_error* error = nullptr;
    merritt_error** slot = random_() % 4 == 0 ? nullptr : &error;
    const int32_t code = one(slot);
    EXPECT_GE(code, MERRITT_OK);
    EXPECT_LE(code, MERRITT_INTERNAL);
    EXPECT_NE(code, MERRITT_INTERNAL) << merritt_error_message(error);
    EXPECT_EQ(merritt_error_code(error), slot == nullptr ? MERRITT_OK : code);
    merritt_error_release(error);
  }

 private:
  template <class Struct>
  Struct* sized(Struct& options) {
    switch (random_() % 8) {
      case 0: return nullptr;
      case 1: options.struct_size = 0; break;
      case 2: options.struct_size = random_(); break;  // mostly far beyond any struct
      case 3: options.struct_size = random_() % sizeof(Struct); break;
      default: options.struct_size = sizeof(Struct);
    }
    // The ABI reads up to struct_size (at most 4096) bytes: give it a readable, zero tail.
    std::memset(room_.data(), 0, room_.size());
    std::memcpy(room_.data(), &options, sizeof(options));
    return reinterpret_cast<Struct*>(room_.data());
  }

  int32_t one(merritt_error** error) {
    switch (random_() % 24) {
      case 0: return create_tenant(error);
      case 1: return create_session(error);
      case 2: return submit(error);
      case 3:
      case 4: return next(error);
      case 5: return merritt_request_cancel(handles_.pick<merritt_request>(random_), error);
      case 6: return merritt_request_destroy(handles_.pick<merritt_request>(random_), error);
      case 7: return merritt_session_destroy(handles_.pick<merritt_session>(random_), error);
      case 8:
        return random_() % 4 ? MERRITT_OK + merritt_error_code(nullptr) * 0 + stats(error)
                             : merritt_tenant_destroy(handles_.pick<merritt_tenant>(random_), error);
      case 9:
        return destroys_engines_ && random_() % 64 == 0
                   ? merritt_engine_destroy(handles_.pick<merritt_engine>(random_), error)
                   : stats(error);
      case 10: return tokenize(error);
      case 11: return detokenize(error);
      case 12: return merritt_session_truncate(handles_.pick<merritt_session>(random_), random_() % 64, error);
      case 13: return fork_session(error);
      case 14: return model_info(error);
      case 15: return usage(error);
      case 16: return request_stats(error);
      case 17: return load_bad_model(error);
      case 18: return load_bad_backend(error);
      case 19: return render(error);
      case 20: return length(error);
      case 21: return backend(error);
      case 22: return create_engine(error);
      default: return stats(error);
    }
  }

  int32_t create_engine(merritt_error** error) {
    if (random_() % 32 != 0) return stats(error);
    merritt_engine_options options{};
    options.threads = random_() % 3;
    merritt_engine engine = nullptr;
    const int32_t code = merritt_engine_create(sized(options), random_() % 8 ? &engine : nullptr, error);
    if (engine != nullptr) {
      handles_.add(engine);
      if (!destroys_engines_ || random_() % 2) {
        EXPECT_EQ(merritt_engine_destroy(engine, nullptr), MERRITT_OK);
      }
    }
    return code;
  }
  int32_t create_tenant(merritt_error** error) {
    static std::atomic<uint32_t> number{0};
    const std::string name = "t" + std::to_string(number++ % 100000);
    merritt_tenant_options options{};
    merritt_tenant tenant = nullptr;
    const int32_t code = merritt_tenant_create(handles_.pick<merritt_engine>(random_), name.data(), name.size(),
                                               sized(options), &tenant, error);
    if (tenant != nullptr) handles_.add(tenant);
    return code;
  }
  int32_t create_session(merritt_error** error) {
    merritt_session_options options{};
    merritt_session session = nullptr;
    const int32_t code = merritt_session_create(handles_.pick<merritt_tenant>(random_),
                                                handles_.pick<merritt_model>(random_), sized(options), &session, error);
    if (session != nullptr) handles_.add(session);
    return code;
  }
  int32_t fork_session(merritt_error** error) {
    merritt_session session = nullptr;
    const int32_t code = merritt_session_fork(handles_.pick<merritt_session>(random_), &session, error);
    if (session != nullptr) handles_.add(session);
    return code;
  }
  int32_t submit(merritt_error** error) {
    merritt_request_options options{};
    static const char kText[] = "Once upon a time";
    static const int32_t kTokens[] = {1, 400, -5, 1 << 30};
    if (random_() % 8) {
      options.text = kText;
      options.text_length = random_() % 17;
    }
    if (random_() % 16 == 0) {
      options.tokens = kTokens;
      options.n_tokens = random_() % 5;
    }
    if (random_() % 16 == 0) options.n_messages = 1;
    options.max_tokens = 1 + random_() % 8;
    options.temperature = random_() % 16 == 0 ? -1.0f : 0.0f;
    options.n = random_() % 32 == 0 ? random_() : random_() % 3;
    options.flags = random_() % 32 == 0 ? random_() : 0;
    merritt_request request = nullptr;
    const int32_t code =
        merritt_session_submit(handles_.pick<merritt_session>(random_), sized(options), &request, error);
    if (request != nullptr) handles_.add(request);
    return code;
  }
  int32_t next(merritt_error** error) {
    merritt_event event{};
    merritt_event* out = sized(event);
    const int32_t code = merritt_request_next(handles_.pick<merritt_request>(random_), random_() % 3, out, error);
    return code;
  }
  int32_t stats(merritt_error** error) {
    merritt_engine_stats out{};
    return merritt_engine_stats_get(handles_.pick<merritt_engine>(random_), sized(out), error);
  }
  int32_t usage(merritt_error** error) {
    merritt_tenant_usage out{};
    return merritt_tenant_usage_get(handles_.pick<merritt_tenant>(random_), sized(out), error);
  }
  int32_t request_stats(merritt_error** error) {
    merritt_request_stats out{};
    return merritt_request_stats_get(handles_.pick<merritt_request>(random_), sized(out), error);
  }
  int32_t model_info(merritt_error** error) {
    merritt_model_info out{};
    return merritt_model_info_get(handles_.pick<merritt_model>(random_), sized(out), error);
  }
  int32_t backend(merritt_error** error) {
    merritt_backend_info out{};
    return merritt_engine_backend_get(handles_.pick<merritt_engine>(random_), random_() % 3, sized(out), error);
  }
  int32_t length(merritt_error** error) {
    uint32_t tokens = 0;
    return merritt_session_length(handles_.pick<merritt_session>(random_), random_() % 8 ? &tokens : nullptr, error);
  }
  int32_t tokenize(merritt_error** error) {
    int32_t tokens[8];
    size_t count = 0;
    return merritt_model_tokenize(handles_.pick<merritt_model>(random_), "a b", random_() % 4, random_() % 5, tokens,
                                  random_() % 9, random_() % 8 ? &count : nullptr, error);
  }
  int32_t detokenize(merritt_error** error) {
    const int32_t tokens[] = {1, 300, static_cast<int32_t>(random_())};
    char text[16];
    size_t length = 0;
    return merritt_model_detokenize(handles_.pick<merritt_model>(random_), tokens, random_() % 4, random_() % 3, text,
                                    random_() % 17, &length, error);
  }
  int32_t render(merritt_error** error) {
    const merritt_message message{"user", random_() % 5, "hello", random_() % 6};
    size_t length = 0;
    return merritt_model_render_chat(handles_.pick<merritt_model>(random_), &message, random_() % 2, nullptr, 0,
                                     &length, error);
  }
  int32_t load_bad_model(merritt_error** error) {
    merritt_model model = nullptr;
    return merritt_model_load(handles_.pick<merritt_engine>(random_), "/nonexistent.gguf", random_() % 18, nullptr,
                              &model, error);
  }
  int32_t load_bad_backend(merritt_error** error) {
    return merritt_engine_load_backend(handles_.pick<merritt_engine>(random_), "/nonexistent.so", random_() % 16,
                                       nullptr, error);
  }

  Handles& handles_;
  std::minstd_rand random_;
  const bool destroys_engines_;
  alignas(16) std::array<unsigned char, 8192> room_{};
};

void run_callers(Handles& handles, uint32_t calls, bool destroys_engines) {
  constexpr uint32_t kThreads = 4;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Caller caller(handles, 17 + t, destroys_engines);
      for (uint32_t i = 0; i < calls / kThreads; ++i) caller.call();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Misuse, RandomCallsWithoutAModelGiveCodes) {
  Handles handles;
  std::vector<merritt_engine> engines;
  for (int i = 0; i < 3; ++i) {
    engines.push_back(make_engine());
    handles.add(engines.back());
  }
  run_callers(handles, 50'000, /*destroys_engines=*/true);
  for (merritt_engine engine : engines) merritt_engine_destroy(engine, nullptr);
}

TEST(Misuse, RandomCallsWithAModelGiveCodes) {
  MERRITT_SKIP_WITHOUT(stories_path());
  Handles handles;
  merritt_engine engine = make_engine();
  ASSERT_TRUE(load_backend(engine, "reference"));
  merritt_model_options options{};
  options.context_max = 128;
  options.sequences_max = 4;
  options.step_tokens_max = 16;
  options.page_tokens = 16;
  merritt_model model = load_model(engine, stories_path(), options);
  ASSERT_NE(model, nullptr);
  for (int i = 0; i < 64; ++i) handles.add(i % 2 ? static_cast<void*>(model) : static_cast<void*>(engine));
  run_callers(handles, 50'000, /*destroys_engines=*/false);
  Error error;
  EXPECT_EQ(merritt_model_destroy(model, error), MERRITT_OK) << error.message();
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(merritt_engine_stats_get(engine, &stats, error), MERRITT_OK);
  EXPECT_EQ(stats.weight_bytes, 0u);
  EXPECT_EQ(stats.kv_bytes, 0u);
  EXPECT_EQ(merritt_engine_destroy(engine, error), MERRITT_OK) << error.message();
  EXPECT_EQ(merritt_engine_destroy(engine, error), MERRITT_NOT_FOUND);
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
