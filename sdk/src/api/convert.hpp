// SPDX-License-Identifier: Apache-2.0
// From the C structs to the engine's types and back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "engine/model.hpp"
#include "engine/request.hpp"
#include "engine/session.hpp"
#include "merritt/merritt.h"

namespace merritt::api {

Status check_flags(uint32_t flags, uint32_t known, const char* name);
Status read_tokens(const int32_t* tokens, size_t count, uint32_t vocabulary, const char* name,
                   std::vector<int32_t>& out);
merritt_model_info model_info(const engine::Model& model);
Status check_reserved(uint32_t reserved, const char* name);

// A caller's messages, not copied yet.
struct Messages {
  const merritt_message* list = nullptr;
  size_t count = 0;
  uint32_t stride = 0;
};
// The bytes of roles and contents, without touching them.
Result<uint64_t> message_bytes(const Messages& messages);
Result<std::string> render_chat(const engine::Model& model, const Messages& messages,
                                const tokens::RenderBudget& budget = {}, tokens::RenderCost* cost = nullptr);

// Copies the options and says what the request asks for; cheap whatever they say.
Result<tenant::Demand> read_demand(const merritt_request_options* in, merritt_request_options& out);
// Everything of an admitted request but its queueing: checks fields, renders and tokenises on the caller's thread,
// within what it was granted. Nobody else changes the session meanwhile.
Result<engine::RequestParams> read_request(const engine::Session& session, const merritt_request_options& options,
                                           const tenant::Grant& grant, uint64_t now_ns);

}  // namespace merritt::api
