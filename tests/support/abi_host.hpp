// SPDX-License-Identifier: Apache-2.0
// What tests of the C ABI share: an engine with this build's plugins and trust list, a model, a whole generation.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "merritt/merritt.h"
#include "tests/support/places.hpp"

namespace merritt::test {

inline std::string plugin_dir() { return output_dir() + "/lib/merritt/plugins"; }
inline std::string test_plugin_dir() { return output_dir() + "/lib/merritt/test_plugins"; }
inline std::string stories_path() { return source_dir() + "/models/stories260k.gguf"; }
inline std::string gemma_path() { return source_dir() + "/models/gemma-3-270m-q4_k_m.gguf"; }
inline std::string shared_data(const std::string& name) { return source_dir() + "/../shared/data/" + name; }

#define MERRITT_SKIP_WITHOUT(path)                                                                            \
  do {                                                                                                        \
    const std::string merritt_path_ = (path);                                                                 \
    if (!std::filesystem::exists(merritt_path_)) GTEST_SKIP() << merritt_path_ << " is absent (./dev setup)"; \
  } while (0)

// An owned error, for messages of failed expectations.
class Error {
 public:
  Error() = default;
  Error(const Error&) = delete;
  Error& operator=(const Error&) = delete;
  ~Error() { merritt_error_release(error_); }
  operator merritt_error**() {
    merritt_error_release(error_);
    error_ = nullptr;
    return &error_;
  }
  int32_t code() const { return merritt_error_code(error_); }
  const merritt_error* get() const { return error_; }
  std::string message() const { return merritt_error_message(error_); }

 private:
  merritt_error* error_ = nullptr;
};

inline std::vector<merritt_publisher> read_trust(const std::string& path, std::vector<std::string>& names) {
  std::vector<merritt_publisher> publishers;
  std::ifstream in(path);
  const nlohmann::json trust = nlohmann::json::parse(in, nullptr, false);
  if (trust.is_discarded()) return publishers;
  names.reserve(names.size() + trust.at("publishers").size());
  for (const auto& entry : trust.at("publishers")) {
    merritt_publisher publisher{};
    publisher.struct_size = sizeof(publisher);
    names.push_back(entry.at("name"));
    publisher.name = names.back().data();
    publisher.name_length = names.back().size();
    const std::string key = entry.at("key");
    for (size_t i = 0; i < 32; ++i) {
      publisher.public_key[i] = static_cast<uint8_t>(std::stoul(key.substr(2 * i, 2), nullptr, 16));
    }
    publishers.push_back(publisher);
  }
  return publishers;
}

// An engine that may load this build's plugins; null when it could not be made (the expectation has failed then).
inline merritt_engine make_engine(merritt_engine_options options = {}, bool with_test_plugins = false) {
  std::vector<std::string> names;
  names.reserve(8);
  auto publishers = read_trust(plugin_dir() + "/trust.json", names);
  const std::string dirs[] = {plugin_dir(), test_plugin_dir()};
  const char* dir_data[] = {dirs[0].data(), dirs[1].data()};
  const size_t dir_lengths[] = {dirs[0].size(), dirs[1].size()};
  options.struct_size = sizeof(options);
  options.plugin_dirs = dir_data;
  options.plugin_dir_lengths = dir_lengths;
  options.n_plugin_dirs = with_test_plugins ? 2 : 1;
  options.publishers = publishers.data();
  options.n_publishers = static_cast<uint32_t>(publishers.size());
  merritt_engine engine = nullptr;
  Error error;
  EXPECT_EQ(merritt_engine_create(&options, &engine, error), MERRITT_OK) << error.message();
  return engine;
}

inline bool load_backend(merritt_engine engine, const std::string& name) {
  const bool fixture = name == "fardevice" || name.starts_with("faulty");
  const std::string path = (fixture ? test_plugin_dir() : plugin_dir()) + "/libmerritt_" + name + ".so";
  Error error;
  const int32_t code = merritt_engine_load_backend(engine, path.data(), path.size(), nullptr, error);
  EXPECT_EQ(code, MERRITT_OK) << name << ": " << error.message();
  return code == MERRITT_OK;
}

inline merritt_model load_model(merritt_engine engine, const std::string& path, merritt_model_options options = {}) {
  options.struct_size = sizeof(options);
  merritt_model model = nullptr;
  Error error;
  EXPECT_EQ(merritt_model_load(engine, path.data(), path.size(), &options, &model, error), MERRITT_OK)
      << path << ": " << error.message();
  return model;
}

inline merritt_tenant make_tenant(merritt_engine engine, std::string_view name, merritt_tenant_options options = {}) {
  options.struct_size = sizeof(options);
  merritt_tenant tenant = nullptr;
  Error error;
  EXPECT_EQ(merritt_tenant_create(engine, name.data(), name.size(), &options, &tenant, error), MERRITT_OK)
      << error.message();
  return tenant;
}

inline merritt_tenant_usage usage(merritt_tenant tenant) {
  merritt_tenant_usage usage{};
  usage.struct_size = sizeof(usage);
  EXPECT_EQ(merritt_tenant_usage_get(tenant, &usage, nullptr), MERRITT_OK);
  return usage;
}

inline merritt_session make_session(merritt_tenant tenant, merritt_model model) {
  merritt_session session = nullptr;
  Error error;
  EXPECT_EQ(merritt_session_create(tenant, model, nullptr, &session, error), MERRITT_OK) << error.message();
  return session;
}

struct Generation {
  int32_t code = MERRITT_OK;
  std::string message;
  std::vector<std::string> text;  // by choice
  std::vector<std::vector<int32_t>> tokens;
  std::vector<uint32_t> finish;
  uint32_t end_reason = 0;
  uint64_t end_step = 0;
  std::vector<uint64_t> steps;  // of every token event
};

// Reads a request to its end.
inline Generation read_all(merritt_request request) {
  Generation out;
  for (;;) {
    merritt_event event{};
    event.struct_size = sizeof(event);
    Error error;
    const int32_t code = merritt_request_next(request, MERRITT_WAIT_FOREVER, &event, error);
    if (code != MERRITT_OK) {
      out.code = code;
      out.message = error.message();
      if (code == MERRITT_NOT_FOUND || code == MERRITT_INVALID_ARGUMENT) return out;
      continue;
    }
    if (event.kind == MERRITT_EVENT_END) {
      out.end_reason = event.finish_reason;
      out.end_step = event.step;
      return out;
    }
    if (event.choice >= out.text.size()) {
      out.text.resize(event.choice + 1);
      out.tokens.resize(event.choice + 1);
      out.finish.resize(event.choice + 1);
    }
    if (event.kind == MERRITT_EVENT_CHOICE_END) out.finish[event.choice] = event.finish_reason;
    if (event.kind == MERRITT_EVENT_TEXT) {
      out.text[event.choice].append(event.text, event.text_length);
      if (event.token >= 0) {
        out.tokens[event.choice].push_back(event.token);
        out.steps.push_back(event.step);
      }
    }
  }
}

inline Generation generate(merritt_session session, merritt_request_options options) {
  options.struct_size = sizeof(options);
  merritt_request request = nullptr;
  Error error;
  const int32_t code = merritt_session_submit(session, &options, &request, error);
  if (code != MERRITT_OK) {
    Generation failed;
    failed.code = code;
    failed.message = error.message();
    return failed;
  }
  Generation out = read_all(request);
  EXPECT_EQ(merritt_request_destroy(request, error), MERRITT_OK) << error.message();
  return out;
}

}  // namespace merritt::test
