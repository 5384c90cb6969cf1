// SPDX-License-Identifier: Apache-2.0
// The vocabulary of a model file, from its metadata (tokenizer.ggml.*). Threads: any.
#pragma once

#include "base/status.hpp"
#include "model/weights/gguf.hpp"
#include "tokens/vocabulary.hpp"

namespace merritt::model {

// kUnsupported names the kind of tokenizer when it is not one of those served; kCorrupt names the key.
Result<tokens::Vocabulary> load_vocabulary(const weights::Gguf& gguf);

}  // namespace merritt::model
