// SPDX-License-Identifier: Apache-2.0
// A loaded model: the compiled graph and its pool, the page tables over that pool, the scheduler of its sequences, and
// the tokenizer and template of its file.
//
// Threads: file, tokenizer and chat template are immutable and used by any thread. Everything under "step thread"
// belongs to the step thread once the model is attached.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/compiled_model.hpp"
#include "engine/prefix_cache.hpp"
#include "engine/request.hpp"
#include "kv/cache.hpp"
#include "model/model_file.hpp"
#include "scheduler/scheduler.hpp"
#include "tenant/model_charge.hpp"
#include "tokens/chat_template.hpp"
#include "tokens/tokenizer.hpp"

namespace merritt::engine {

class Model {
 public:
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Immutable after load.
  tenant::ModelCharge charge;  // first, so that it goes last: the bytes are the tenant's until they are freed
  uint64_t id = 0;             // in this engine; never used twice
  std::unique_ptr<model::ModelFile> file;
  std::unique_ptr<tokens::Tokenizer> tokenizer;
  std::unique_ptr<tokens::ChatTemplate> chat_template;  // null = none
  std::string chat_template_name = "none";              // "model", "builtin:gemma", "none"
  std::string chat_template_problem;                    // why there is none, when the file carries one
  std::string backend_id;
  bool from_pack_cache = false;
  uint32_t context_max = 0;
  uint32_t sequences_max = 0;

  std::atomic<bool> closed{false};
  std::atomic<bool> lost{false};  // the device answered blast DEVICE: only destroy remains

  // Step thread.
  std::unique_ptr<CompiledModel> compiled;
  std::unique_ptr<kv::Cache> cache;
  std::unique_ptr<PrefixCache> prefixes;
  std::unique_ptr<scheduler::Scheduler> scheduler;
  std::unordered_map<uint64_t, std::shared_ptr<Request>> requests;  // by request id
  uint32_t program_rebuilds = 0;
};

}  // namespace merritt::engine
