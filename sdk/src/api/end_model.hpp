// SPDX-License-Identifier: Apache-2.0
// The end of a model and of what hangs from it, for its own destroy function and for that of the tenant that loaded it.
#pragma once

#include "api/lookup.hpp"

namespace merritt::api {

// Waits; may run twice, at the same time too. The model's handle is left to the caller.
Status end_model(const EnginePin& pin, const std::shared_ptr<engine::Model>& model);

}  // namespace merritt::api
