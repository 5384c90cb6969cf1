// SPDX-License-Identifier: Apache-2.0
// Between a backend that packs weights ("weights.packed/1") and the pack cache: says which pack belongs to this model
// file and this build of the plugin, hands its chunks out, and keeps what was packed anew. Nothing that is wrong with a
// pack fails a load: it is logged, and the weights are packed from the file.
//
// Threads: the view's read from any; everything else on the loading thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "backend/device.hpp"
#include "base/status.hpp"
#include "merritt/backend.h"
#include "model/model_file.hpp"
#include "model/pack/pack_cache.hpp"
#include "model/weight_source.hpp"
#include "observe/log.hpp"

namespace merritt::engine {

class PackedWeights {
 public:
  // path: where the model file was opened. All are borrowed.
  PackedWeights(const model::pack::PackCache& cache, const model::ModelFile& file, const std::string& path,
                backend::Device& device, observe::Log& log);
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;

  // Null when the backend does not offer the extension.
  const mrt_ext_packed* extension() const { return extension_; }
  // `source` hears what is read, as if it had been read from the file.
  mrt_packed view(model::WeightSource& source);

  // After a compile that went well: whether its weights came from the cache.
  bool used() const { return reader_.has_value() && !failed_; }
  // Keeps the weights that were packed; `stop` ends that between two chunks.
  void keep(mrt_model* model, const std::function<bool()>& stop);

 private:
  static int32_t open_pack(void* ctx, const mrt_packed_layout* layout, uint64_t* chunk_bytes, mrt_error* err);
  static int32_t read_pack(void* ctx, uint64_t offset, void* dst, uint64_t len, mrt_error* err);
  int32_t open(const mrt_packed_layout& layout, uint64_t* chunk_bytes, mrt_error* err);
  int32_t read(uint64_t offset, void* dst, uint64_t len, mrt_error* err);
  Result<model::pack::PackId> identify(const mrt_packed_layout& layout) const;
  Status store(mrt_model* model, const std::function<bool()>& stop);

  const model::pack::PackCache& cache_;
  const model::ModelFile& file_;
  const std::string& path_;
  backend::Device& device_;
  observe::Log& log_;
  const mrt_ext_packed* extension_;
  model::WeightSource* source_ = nullptr;
  std::optional<model::weights::FileState> state_;  // when the load began
  std::optional<model::pack::PackReader> reader_;
  std::atomic<bool> failed_{false};
};

}  // namespace merritt::engine
