// SPDX-License-Identifier: Apache-2.0
// A session: one tenant's past with one model, as tokens in the model's KV cache.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "kv/cache.hpp"
#include "tenant/tenant.hpp"

namespace merritt::engine {

class Model;

class Session {
 public:
  Session(std::shared_ptr<tenant::Tenant> t, std::shared_ptr<Model> m) : tenant(std::move(t)), model(std::move(m)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::shared_ptr<tenant::Tenant> tenant;
  const std::shared_ptr<Model> model;

  std::atomic<bool> busy{false};    // a request is queued or running
  std::atomic<bool> closed{false};  // destroyed: nothing new is accepted
  std::atomic<uint32_t> length{0};  // tokens in the cache

  // Step thread.
  kv::SequenceId sequence = kv::SequenceId::kNone;
  std::vector<int32_t> history;  // the tokens in the cache, history.size() == length
};

}  // namespace merritt::engine
