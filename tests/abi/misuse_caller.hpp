// SPDX-License-Identifier: Apache-2.0
// A caller that does with the C ABI what a careful host would not: null, stale, foreign and wrong-kind handles, double
// destroys, wrong struct sizes, nonsense numbers; and often enough what is right, so that there is something to break.
#pragma once

#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::test {

// clang-format off
enum class Verb : uint32_t {
  kEngineCreate, kEngineDestroy, kEngineDrain, kEnginePoll, kEngineStats, kUsageExport,
  kLoadBackend, kLoadBackends, kBackendGet,
  kModelLoad, kModelDestroy, kModelInfo, kTokenize, kDetokenize, kRenderChat, kEval, kTraceKernels,
  kTenantCreate, kTenantDestroy, kTenantLimitsSet, kTenantLimitsGet, kTenantUsage,
  kSessionCreate, kSessionDestroy, kSessionLength, kSessionTruncate, kSessionFork, kPublish, kSubmit,
  kNext, kCancel, kRequestDestroy, kRequestStats,
  kQueueCreate, kQueueDestroy, kQueueAdd, kQueueRemove, kQueueFd, kQueueNext, kCount
};
// clang-format on
inline constexpr size_t kVerbs = static_cast<size_t>(Verb::kCount);

struct VerbPlan {
  const char* name;
  uint32_t weight;    // of all calls
  uint32_t least_ok;  // in 100'000 calls
};
// Loading and destroying engines and models is rare, so that most calls meet live ones.
inline constexpr std::array<VerbPlan, kVerbs> kVerbPlan = {{
    {"engine_create", 2, 8},        {"engine_destroy", 1, 4},
    {"engine_drain", 1, 1},         {"engine_poll", 120, 40},
    {"engine_stats", 120, 500},     {"usage_export", 40, 100},
    {"load_backend", 6, 20},        {"load_backends", 3, 12},
    {"backend_get", 120, 300},      {"model_load", 9, 8},
    {"model_destroy", 2, 6},        {"model_info", 160, 600},
    {"tokenize", 160, 500},         {"detokenize", 160, 500},
    {"render_chat", 80, 80},        {"eval", 40, 40},
    {"trace_kernels", 80, 150},     {"tenant_create", 120, 400},
    {"tenant_destroy", 40, 150},    {"tenant_limits_set", 80, 150},
    {"tenant_limits_get", 80, 250}, {"tenant_usage", 160, 600},
    {"session_create", 320, 600},   {"session_destroy", 160, 500},
    {"session_length", 160, 500},   {"session_truncate", 160, 120},
    {"session_fork", 160, 300},     {"session_publish", 320, 1},
    {"submit", 400, 300},           {"next", 480, 500},
    {"cancel", 160, 250},           {"request_destroy", 160, 250},
    {"request_stats", 160, 200},    {"queue_create", 40, 150},
    {"queue_destroy", 20, 50},      {"queue_add", 240, 60},
    {"queue_remove", 80, 2},        {"queue_fd", 80, 150},
    {"queue_next", 320, 300},
}};

enum class HandleKind : uint32_t { kEngine, kModel, kTenant, kSession, kRequest, kQueue };
inline constexpr uint32_t kHandleKinds = 6;

// What all callers share: recent handles of every kind, dead or alive, and how often each verb was answered with what.
class MisuseWorld {
 public:
  // Engines may load from one folder, with two plugins and nothing else, so that loading all of them is quick.
  MisuseWorld() : model_(folder_.tiny_model()) {
    for (const std::string& from :
         {plugin_dir() + "/libmerritt_reference.so", test_plugin_dir() + "/libmerritt_fardevice.so"}) {
      const std::string to = plugins() + "/" + std::filesystem::path(from).filename().string();
      std::filesystem::copy_file(from, to);
      std::filesystem::copy_file(from + ".manifest", to + ".manifest");
    }
  }

  // Remembers a handle; answers the one that is forgotten for it, which is then the caller's to destroy.
  void* add(HandleKind kind, void* handle) {
    static constexpr size_t kMost[kHandleKinds] = {3, 6, 12, 24, 24, 6};
    const std::lock_guard lock(mutex_);
    Pool& pool = pools_[static_cast<size_t>(kind)];
    if (pool.handles.size() < kMost[static_cast<size_t>(kind)]) {
      pool.handles.push_back(handle);
      return nullptr;
    }
    return std::exchange(pool.handles[pool.next++ % pool.handles.size()], handle);
  }
  // Forgets a handle that was destroyed.
  void remove(HandleKind kind, void* handle) {
    const std::lock_guard lock(mutex_);
    std::erase(pools_[static_cast<size_t>(kind)].handles, handle);
  }
  void* any(HandleKind kind, uint32_t draw) {
    const std::lock_guard lock(mutex_);
    const std::vector<void*>& handles = pools_[static_cast<size_t>(kind)].handles;
    return handles.empty() ? nullptr : handles[draw % handles.size()];
  }
  std::vector<void*> all(HandleKind kind) {
    const std::lock_guard lock(mutex_);
    return pools_[static_cast<size_t>(kind)].handles;
  }
  const std::string& model() const { return model_; }
  const std::string& plugins() const { return folder_.path(); }
  std::string next_name() { return "t" + std::to_string(number_.fetch_add(1)); }

  void count(Verb verb, int32_t code) {
    calls_.fetch_add(1);
    const bool known = code >= MERRITT_OK && code < MERRITT_INTERNAL;  // random calls break no invariant
    if (!known) wrong_.fetch_add(1);
    if (code == MERRITT_OK) ok_[static_cast<size_t>(verb)].fetch_add(1);
  }
  void complain() { wrong_.fetch_add(1); }
  uint64_t calls() const { return calls_; }
  uint64_t wrong() const { return wrong_; }
  uint64_t ok(size_t verb) const { return ok_[verb]; }

 private:
  struct Pool {
    std::vector<void*> handles;
    size_t next = 0;
  };
  const TempFolder folder_;
  const std::string model_;
  std::mutex mutex_;
  std::array<Pool, kHandleKinds> pools_;
  std::atomic<uint32_t> number_{0};
  std::atomic<uint64_t> calls_{0}, wrong_{0};
  std::array<std::atomic<uint64_t>, kVerbs> ok_{};
};

class MisuseCaller {
 public:
  MisuseCaller(MisuseWorld& world, uint32_t seed) : world_(world), random_(seed) {}

  void call();           // one, at random
  void call_each();      // every verb once
  void create_engine();  // a good one, with backends and a model
  void furnish(merritt_engine engine);
  void destroy_everything();

 private:
  int32_t one(Verb verb, merritt_error** error);
  void checked(Verb verb);
  uint32_t draw() { return static_cast<uint32_t>(random_() >> 16); }
  bool one_in(uint32_t n) { return draw() % n == 0; }
  void* pick(HandleKind kind);
  template <class Handle>
  Handle pick(HandleKind kind) {
    return static_cast<Handle>(pick(kind));
  }
  template <class Struct>
  Struct* sized(const Struct& options);
  // A second one that mostly belongs to the same engine as the first.
  void* pick_beside(const void* first, HandleKind kind);
  int32_t destroyed(HandleKind kind, void* handle, int32_t code);
  template <class Handle>
  int32_t keep(HandleKind kind, Handle made, int32_t code);
  static void destroy(HandleKind kind, void* handle);
  float number();

  // misuse_caller.cpp, one for each group of verbs
  int32_t engine_verb(Verb verb, merritt_error** error);
  int32_t model_verb(Verb verb, merritt_error** error);
  int32_t tenant_verb(Verb verb, merritt_error** error);
  int32_t session_verb(Verb verb, merritt_error** error);
  int32_t request_verb(Verb verb, merritt_error** error);
  int32_t queue_verb(Verb verb, merritt_error** error);
  int32_t create_engine(merritt_error** error, bool wrongly, merritt_engine* made = nullptr);
  int32_t load_model(merritt_engine engine, merritt_error** error, bool wrongly);
  int32_t text_verb(Verb verb, merritt_error** error);
  int32_t evaluate(merritt_error** error);
  int32_t submit(merritt_error** error);

  MisuseWorld& world_;
  std::minstd_rand random_;
  HandleKind picked_kind_{};  // the last handle that was meant well
  void* picked_ = nullptr;
  alignas(16) std::array<unsigned char, 4096 + 64> room_{};
};

// The caller's struct in readable memory up to the largest struct_size the ABI takes; mostly of the right size.
template <class Struct>
Struct* MisuseCaller::sized(const Struct& options) {
  Struct copy = options;
  copy.struct_size = sizeof(Struct);
  switch (draw() % 32) {
    case 0: return nullptr;
    case 1: copy.struct_size = 0; break;
    case 2: copy.struct_size = draw() * 65537u; break;  // mostly far beyond any struct
    case 3: copy.struct_size = draw() % sizeof(Struct); break;
    case 4: copy.struct_size = sizeof(Struct) + draw() % 64; break;
    default: break;
  }
  room_.fill(0);
  if (one_in(64)) room_[sizeof(Struct)] = 1;  // what a newer caller would ask for
  std::memcpy(room_.data(), &copy, sizeof(copy));
  return reinterpret_cast<Struct*>(room_.data());
}

template <class Handle>
int32_t MisuseCaller::keep(HandleKind kind, Handle made, int32_t code) {
  if ((made != nullptr) != (code == MERRITT_OK)) world_.complain();  // a handle comes with OK and only with it
  if (made != nullptr) destroy(kind, world_.add(kind, made));
  return code;
}

}  // namespace merritt::test
