// SPDX-License-Identifier: Apache-2.0
// What tests of the whole engine share: an engine with this build's plugins, a small seeded model in a file, sessions
// of tenants, and generations read to their end with a bound on the wait.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "tests/support/engine_host.hpp"
#include "tests/support/tiny_gguf.hpp"

namespace merritt::test {

// A gemma3 with a windowed and a global KV group, written once for each process and removed at its end.
struct SmallModelFile {
  SmallModelFile() : path(::testing::TempDir() + "merritt_small_" + std::to_string(::getpid()) + ".gguf") {
    const auto bytes = ::merritt::testing::tiny_gguf(
        {.layers = 6, .width = 32, .inner = 64, .heads = 2, .kv_heads = 1, .head_dim = 16, .context = 256});
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  SmallModelFile(const SmallModelFile&) = delete;
  SmallModelFile& operator=(const SmallModelFile&) = delete;
  ~SmallModelFile() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
  const std::string path;
};
inline const std::string& small_model_path() {
  static const SmallModelFile file;
  return file.path;
}

// Its token for a byte of text.
inline int32_t byte_token(uint8_t byte) { return 6 + byte; }

struct Outcome {
  Status failure;  // what the stream answered before its end
  engine::FinishReason end = engine::FinishReason::kNone;
  std::vector<engine::FinishReason> choice_ends;
  std::string text;  // of all choices
  std::vector<int32_t> tokens;
  bool hung = false;  // nothing came for a long time

  // Ended by itself, or with a code and its reason.
  bool answered() const {
    if (hung || end == engine::FinishReason::kNone) return false;
    return failure.ok() || end == engine::FinishReason::kError;
  }
  bool good() const { return !hung && failure.ok() && end == engine::FinishReason::kLength; }
};

inline std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << (outcome.hung ? "hung" : "ended") << ", reason " << static_cast<int>(outcome.end) << ", "
             << outcome.tokens.size() << " tokens, code " << static_cast<int>(outcome.failure.code()) << " \""
             << outcome.failure.message() << '"';
}

// False when the stream has ended.
inline bool read_one(engine::Request& request, Outcome& out) {
  auto event = request.stream.next(60'000);
  if (!event.ok()) {
    out.failure = std::move(event).status();
    return true;
  }
  switch (event->kind) {
    case engine::EventKind::kNone: out.hung = true; return false;
    case engine::EventKind::kText:
      out.text += event->text;
      if (event->token >= 0) out.tokens.push_back(event->token);
      return true;
    case engine::EventKind::kChoiceEnd: out.choice_ends.push_back(event->finish_reason); return true;
    case engine::EventKind::kEnd: out.end = event->finish_reason; return false;
  }
  return false;
}

inline Outcome read_outcome(engine::Request& request) {
  Outcome out;
  while (read_one(request, out)) {
  }
  return out;
}

class SmallEngine {
 public:
  // Memory held by engines of this class now, as the host's ledger callback is told.
  std::atomic<int64_t> bytes{0};

  explicit SmallEngine(engine::EngineOptions options = {}) {
    options.loader = loader_options();
    if (options.threads == 0) options.threads = 1;
    if (options.ledger.fn == nullptr) {
      options.ledger = {[](void* user, int64_t n) -> int32_t {
                          static_cast<SmallEngine*>(user)->bytes += n;
                          return 0;
                        },
                        this};
    }
    auto made = engine::Engine::create(std::move(options));
    EXPECT_TRUE(made.ok()) << made.status().message();
    if (made.ok()) engine_ = std::move(made).value();
  }
  ~SmallEngine() { close(); }

  // Ends the engine and everything this object made in it, as the C ABI does.
  void close() {
    if (engine_ == nullptr) return;
    (void)engine_->shutdown();
    engine_.reset();
  }

  engine::Engine* operator->() { return engine_.get(); }
  engine::Engine& get() { return *engine_; }

  const backend::Plugin* load_backend(const std::string& name) {
    const bool fixture = name == "fardevice" || name == "idle" || name.starts_with("faulty");
    auto plugin = engine_->load_backend((fixture ? test_plugin_dir() : plugin_dir()) + "/libmerritt_" + name + ".so");
    EXPECT_TRUE(plugin.ok()) << name << ": " << plugin.status().message();
    return plugin.ok() ? *plugin : nullptr;
  }
  template <class Extension>
  const Extension* controls(const backend::Plugin* plugin, const char* name) {
    const auto* found = static_cast<const Extension*>(plugin->extension(name, sizeof(Extension)));
    EXPECT_NE(found, nullptr);
    return found;
  }

  static engine::ModelLoadOptions load_options(const std::string& backend) {
    engine::ModelLoadOptions options;
    options.path = small_model_path();
    options.backend = backend;
    options.compile.page_tokens = 8;
    options.compile.sequences_max = 8;
    options.compile.step_tokens_max = 32;
    return options;
  }
  Result<std::shared_ptr<engine::Model>> load_model(const std::string& backend) {
    return engine_->load_model(load_options(backend));
  }

  std::shared_ptr<engine::Session> session(const std::string& tenant, const std::shared_ptr<engine::Model>& model) {
    auto made = engine_->create_tenant(tenant, {});
    EXPECT_TRUE(made.ok()) << made.status().message();
    auto opened = engine_->open_session(*made, model);
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return *opened;
  }

  static engine::RequestParams params(uint32_t max_tokens = 6) {
    engine::RequestParams params;
    params.prompt = {2, byte_token('O'), byte_token('n'), byte_token('c'), byte_token('e')};
    params.max_tokens = max_tokens;
    params.ignore_eos = true;
    return params;
  }

 private:
  std::unique_ptr<engine::Engine> engine_;
};

// Generates on every session at the same time.
inline std::vector<Outcome> generate(SmallEngine& engine, const std::vector<std::shared_ptr<engine::Session>>& sessions,
                                     const engine::RequestParams& params = SmallEngine::params()) {
  std::vector<Outcome> outcomes(sessions.size());
  std::vector<std::shared_ptr<engine::Request>> requests;
  for (size_t i = 0; i < sessions.size(); ++i) {
    auto request = engine->submit(sessions[i], params);
    if (!request.ok()) {
      outcomes[i].failure = request.status();
      outcomes[i].end = engine::FinishReason::kError;
    }
    requests.push_back(request.ok() ? *request : nullptr);
  }
  for (size_t i = 0; i < sessions.size(); ++i) {
    if (requests[i] != nullptr) outcomes[i] = read_outcome(*requests[i]);
  }
  return outcomes;
}

inline Outcome generate_one(SmallEngine& engine, const std::shared_ptr<engine::Session>& session,
                            const engine::RequestParams& params = SmallEngine::params()) {
  return std::move(generate(engine, {session}, params)[0]);
}

}  // namespace merritt::test
