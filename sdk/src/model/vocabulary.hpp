// SPDX-License-Identifier: Apache-2.0
// The vocabulary of a model file, from its metadata (tokenizer.ggml.*). Threads: any.
#pragma once

#include "base/status.hpp"
#include "model/model_file.hpp"
#include "model/weights/gguf.hpp"
#include "tokens/vocabulary.hpp"

namespace merritt::model {

// kUnsupported names the kind of tokenizer when it is not one of those served; kCorrupt names the key.
Result<tokens::Vocabulary> load_vocabulary(const weights::Gguf& gguf);

// The same for a whole model: kCorrupt unless there is a piece for every row of its logits, and no more.
Result<tokens::Vocabulary> load_vocabulary(const ModelFile& file);

}  // namespace merritt::model
