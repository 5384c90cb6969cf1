// SPDX-License-Identifier: Apache-2.0
// What happens at the edge of the library when memory runs out in the middle of a call, and when something is thrown
// that nobody foresaw: a code and an error, nothing half done, and a handle that is never used again.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace {
enum class Fault { kNone, kNoMemory, kForeign };
// Of this thread: the countdown-th allocation from here on fails; 0 = none does.
thread_local Fault t_fault = Fault::kNone;
thread_local uint32_t t_countdown = 0;

void* allocate(size_t bytes, size_t align) {
  if (t_countdown != 0 && --t_countdown == 0) {
    if (t_fault == Fault::kForeign) throw std::runtime_error("not foreseen");
    throw std::bad_alloc();
  }
  void* memory =
      align == 0 ? std::malloc(bytes != 0 ? bytes : 1) : std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

// The library's and its plugins' operator new are these, because the dynamic linker asks the program first.
void* operator new(size_t bytes) { return allocate(bytes, 0); }
void* operator new[](size_t bytes) { return allocate(bytes, 0); }
// A sanitizer has its own of these, which would not meet our delete.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return allocate(bytes, 0);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new(size_t bytes, std::align_val_t align) { return allocate(bytes, static_cast<size_t>(align)); }
void* operator new[](size_t bytes, std::align_val_t align) { return allocate(bytes, static_cast<size_t>(align)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace merritt::test {
namespace {

// Runs `call` with the k-th allocation of this thread failing. True: it did fail.
bool with_fault(Fault fault, uint32_t k, const std::function<void()>& call) {
  t_fault = fault;
  t_countdown = k;
  call();
  const bool fired = t_countdown == 0;
  t_countdown = 0;
  return fired;
}

class Boundary : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_ = make_engine();
    ASSERT_TRUE(load_backend(engine_, "reference"));
    merritt_model_options options{};
    options.context_max = 64;
    options.page_tokens = 16;
    path_ = folder_.tiny_model();
    model_ = load_model(engine_, path_, options);
    ASSERT_NE(model_, nullptr);
    tenant_ = make_tenant(engine_, "acme");
    text_.struct_size = sizeof(text_);
    text_.text = "Once upon a time";
    text_.text_length = 16;
    text_.max_tokens = 3;
    text_.flags = MERRITT_REQUEST_IGNORE_EOS;
  }
  void TearDown() override {
    if (engine_ != nullptr) {
      EXPECT_EQ(merritt_engine_destroy(engine_, nullptr), MERRITT_OK);
    }
  }
  merritt_tenant_usage usage() const { return test::usage(tenant_); }
  using Call = std::function<int32_t(merritt_error**)>;
  // Lets each allocation of a call fail in turn until the call gets through. After a failure `unchanged` looks at the
  // world, after a success `undo` makes it as it was.
  static void starve(const Call& call, const std::function<void()>& unchanged, const std::function<void()>& undo = {}) {
    for (uint32_t k = 1; k < 10'000; ++k) {
      merritt_error* error = nullptr;
      int32_t code = MERRITT_OK;
      const bool fired = with_fault(Fault::kNoMemory, k, [&] { code = call(&error); });
      EXPECT_EQ(merritt_error_code(error), code) << "allocation " << k;
      merritt_error_release(error);
      if (code == MERRITT_OK) {
        EXPECT_GT(k, 1u) << "nothing was allocated: the hook is not in use";
        if (undo != nullptr) undo();
        if (!fired) return;
        continue;  // done without that allocation
      }
      ASSERT_EQ(code, MERRITT_OUT_OF_MEMORY) << "allocation " << k;
      unchanged();
      if (HasFailure()) FAIL() << "after allocation " << k << " failed";
    }
    FAIL() << "the call never got through";
  }

  const TempFolder folder_;
  std::string path_;
  merritt_engine engine_ = nullptr;
  merritt_model model_ = nullptr;
  merritt_tenant tenant_ = nullptr;
  merritt_request_options text_{};
};

TEST_F(Boundary, ASubmitWithoutMemoryLeavesTheSessionFree) {
  const merritt_session session = make_session(tenant_, model_);
  merritt_request request = nullptr;
  uint64_t accepted = 0;
  starve([&](merritt_error** error) { return merritt_session_submit(session, &text_, &request, error); },
         [&] {
           EXPECT_EQ(request, nullptr);
           EXPECT_EQ(merritt_session_truncate(session, 0, nullptr), MERRITT_OK) << "the session is busy for ever";
           EXPECT_EQ(usage().requests_waiting, 0u);
           EXPECT_EQ(usage().requests, accepted) << "refused requests are not accepted ones";
         },
         [&] {
           ++accepted;
           EXPECT_EQ(read_all(request).end_reason, static_cast<uint32_t>(MERRITT_FINISH_LENGTH));
           EXPECT_EQ(merritt_request_destroy(std::exchange(request, nullptr), nullptr), MERRITT_OK);
           EXPECT_EQ(merritt_session_truncate(session, 0, nullptr), MERRITT_OK);
         });
}

TEST_F(Boundary, SessionsWithoutMemoryLeaveNothingBehind) {
  const merritt_session parent = make_session(tenant_, model_);
  ASSERT_EQ(generate(parent, text_).code, MERRITT_OK);
  const uint64_t kv_bytes = usage().kv_bytes;
  ASSERT_GT(kv_bytes, 0u);
  const auto unchanged = [&] {
    EXPECT_EQ(usage().sessions, 1u);
    EXPECT_EQ(usage().kv_bytes, kv_bytes);
  };
  merritt_session made = nullptr;
  const auto undo = [&] { EXPECT_EQ(merritt_session_destroy(made, nullptr), MERRITT_OK); };
  starve([&](merritt_error** error) { return merritt_session_fork(parent, &made, error); }, unchanged, undo);
  starve([&](merritt_error** error) { return merritt_session_create(tenant_, model_, nullptr, &made, error); },
         unchanged, undo);
  unchanged();
  // A destroy that found no memory can be made again.
  for (uint32_t k = 1;; ++k) {
    int32_t code = MERRITT_OK;
    with_fault(Fault::kNoMemory, k, [&] { code = merritt_session_destroy(parent, nullptr); });
    if (code == MERRITT_OK) break;
    ASSERT_EQ(code, MERRITT_OUT_OF_MEMORY) << "allocation " << k;
  }
  EXPECT_EQ(usage().sessions, 0u);
  EXPECT_EQ(usage().kv_bytes, 0u);
}

TEST_F(Boundary, APublishWithoutMemoryPublishesNothing) {
  merritt_tenant_options options{};
  options.struct_size = sizeof(options);
  options.flags = MERRITT_TENANT_PUBLISHES;
  options.kv_bytes_floor = 1u << 16;
  ASSERT_EQ(merritt_tenant_limits_set(tenant_, &options, nullptr), MERRITT_OK);
  const std::string text(40, 'x');
  merritt_request_options request = text_;
  request.max_tokens = 1;
  request.text = text.data();
  request.text_length = text.size();
  const merritt_session parent = make_session(tenant_, model_);
  ASSERT_EQ(generate(parent, request).code, MERRITT_OK);
  uint32_t tokens = 0;
  starve([&](merritt_error** error) { return merritt_session_publish(parent, &tokens, error); },
         [&] { EXPECT_EQ(tokens, 0u); }, [&] { EXPECT_NE(std::exchange(tokens, 0), 0u); });
}

TEST_F(Boundary, ALoadWithoutMemoryGivesEveryByteBack) {
  merritt_engine_stats before{};
  before.struct_size = sizeof(before);
  ASSERT_EQ(merritt_engine_stats_get(engine_, &before, nullptr), MERRITT_OK);
  merritt_model_options options{};
  options.struct_size = sizeof(options);
  options.context_max = 64;
  // Every allocation would be thousands of loads: a sample that reaches to the end of them.
  uint32_t k = 1, failures = 0;
  for (;; k += 1 + k / 3) {
    merritt_error* error = nullptr;
    merritt_model model = nullptr;
    int32_t code = MERRITT_OK;
    const bool fired = with_fault(Fault::kNoMemory, k, [&] {
      code = merritt_model_load(engine_, path_.data(), path_.size(), &options, &model, &error);
    });
    EXPECT_EQ(merritt_error_code(error), code);
    merritt_error_release(error);
    if (model != nullptr) {
      EXPECT_EQ(merritt_model_destroy(model, nullptr), MERRITT_OK);
    }
    merritt_engine_stats after{};
    after.struct_size = sizeof(after);
    ASSERT_EQ(merritt_engine_stats_get(engine_, &after, nullptr), MERRITT_OK);
    ASSERT_EQ(after.memory_bytes, before.memory_bytes) << "allocation " << k;
    if (!fired) break;
    failures += code == MERRITT_OUT_OF_MEMORY ? 1 : 0;
    ASSERT_LT(k, 10'000'000u);
  }
  EXPECT_GT(failures, 5u);
}

TEST_F(Boundary, AnEvaluationWithoutMemoryLetsGoOfTheCallersBuffer) {
  const int32_t tokens[] = {2, 300, 301};
  constexpr size_t kLogits = size_t{3} * TempFolder::kTinyVocabulary;
  std::unique_ptr<float[]> logits(new float[kLogits]);
  starve(
      [&](merritt_error** error) {
        return merritt_model_eval(model_, tenant_, tokens, 3, nullptr, logits.get(), kLogits, error);
      },
      [&] {
        logits.reset(new float[kLogits]);  // nobody may write to the old one any more: sanitizers watch
        EXPECT_EQ(usage().sessions, 0u);
        EXPECT_EQ(usage().kv_bytes, 0u);
      });
}

// The first allocation of each call throws what nobody foresaw.
TEST_F(Boundary, WhatIsThrownPoisonsTheHandleAndComesWithAnError) {
  const merritt_session session = make_session(tenant_, model_), other = make_session(tenant_, model_);
  ASSERT_EQ(generate(session, text_).code, MERRITT_OK);
  merritt_error* error = nullptr;
  int32_t code = MERRITT_OK;
  merritt_session forked = nullptr;
  ASSERT_TRUE(with_fault(Fault::kForeign, 1, [&] { code = merritt_session_fork(session, &forked, &error); }));
  EXPECT_EQ(code, MERRITT_INTERNAL);
  ASSERT_NE(error, nullptr) << "base.h promises an error";
  EXPECT_EQ(merritt_error_code(error), MERRITT_INTERNAL);
  EXPECT_EQ(merritt_error_blast(error), static_cast<uint32_t>(MERRITT_BLAST_SESSION));
  EXPECT_NE(std::string(merritt_error_message(error)).find("destroy"), std::string::npos);
  merritt_error_release(error);
  merritt_error_release(error);  // it is not the heap's: releasing it does nothing, however often

  uint32_t length = 0;
  Error later;
  EXPECT_EQ(merritt_session_length(session, &length, later), MERRITT_INTERNAL);
  EXPECT_NE(later.message().find("destroyed"), std::string::npos) << later.message();
  EXPECT_EQ(generate(session, text_).code, MERRITT_INTERNAL);
  EXPECT_EQ(generate(other, text_).code, MERRITT_OK) << "only that session is affected";
  EXPECT_EQ(merritt_session_destroy(session, later), MERRITT_OK) << later.message();
  EXPECT_EQ(merritt_session_destroy(session, later), MERRITT_NOT_FOUND);
  EXPECT_EQ(merritt_session_destroy(other, later), MERRITT_OK);
  EXPECT_EQ(usage().kv_bytes, 0u);
}

TEST_F(Boundary, APoisonedTenantAdmitsNothingMore) {
  const merritt_session session = make_session(tenant_, model_);
  merritt_session made = nullptr;
  int32_t code = MERRITT_OK;
  ASSERT_TRUE(
      with_fault(Fault::kForeign, 1, [&] { code = merritt_session_create(tenant_, model_, nullptr, &made, nullptr); }));
  EXPECT_EQ(code, MERRITT_INTERNAL);
  EXPECT_EQ(made, nullptr);
  merritt_tenant_usage usage{};
  usage.struct_size = sizeof(usage);
  EXPECT_EQ(merritt_tenant_usage_get(tenant_, &usage, nullptr), MERRITT_INTERNAL);
  EXPECT_EQ(generate(session, text_).code, MERRITT_NOT_FOUND) << "its sessions get no more work";
  const merritt_tenant other = make_tenant(engine_, "globex");
  EXPECT_EQ(generate(make_session(other, model_), text_).code, MERRITT_OK) << "other tenants do";
  EXPECT_EQ(merritt_tenant_destroy(tenant_, nullptr), MERRITT_OK);
  EXPECT_EQ(merritt_session_destroy(session, nullptr), MERRITT_NOT_FOUND);
}

TEST_F(Boundary, AThrowWhileSomethingIsMadeForAnEngineLeavesTheEngineGood) {
  for (uint32_t k = 1; k < 200; k += 7) {
    merritt_model model = nullptr;
    merritt_error* error = nullptr;
    int32_t code = MERRITT_OK;
    with_fault(Fault::kForeign, k,
               [&] { code = merritt_model_load(engine_, path_.data(), path_.size(), nullptr, &model, &error); });
    EXPECT_EQ(merritt_error_code(error), code) << k;
    EXPECT_EQ(model != nullptr, code == MERRITT_OK) << k;
    merritt_error_release(error);
    if (model != nullptr) {
      EXPECT_EQ(merritt_model_destroy(model, nullptr), MERRITT_OK);
    }
  }
  EXPECT_EQ(generate(make_session(tenant_, model_), text_).code, MERRITT_OK);
}

}  // namespace
}  // namespace merritt::test
