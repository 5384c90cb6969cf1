// SPDX-License-Identifier: Apache-2.0
#include "engine/packed_weights.hpp"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "backend/digest.hpp"
#include "base/os/clock.hpp"
#include "base/os/file.hpp"
#include "engine/thrown.hpp"

namespace merritt::engine {
namespace {

// A file that changed so recently may change again within the same tick of its clock, and nobody could tell.
constexpr int64_t kSettledNs = 2'000'000'000;

int32_t refuse(mrt_error* err, int32_t code, std::string_view message) {
  *err = {};
  err->code = code;
  err->index = UINT32_MAX;
  std::memcpy(err->message, message.data(), std::min(message.size(), sizeof(err->message) - 1));
  return code;
}

// Fields one after another, each with its length, so that no two lists of them are the same bytes.
class Transcript {
 public:
  Transcript& add(std::string_view text) {
    number(text.size());
    const auto bytes = std::as_bytes(std::span(text));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Transcript& add(std::span<const uint8_t> bytes) {
    return add(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }
  Transcript& number(uint64_t value) {
    for (int i = 0; i < 8; ++i) bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
    return *this;
  }
  Result<backend::Digest> digest() const { return backend::sha256(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// All before the first tensor: names, shapes, places, metadata. Where the tensors begin is a claim of the file, and may
// lie behind a hole of any size; the header the parser takes does not.
Result<backend::Digest> header_digest(const model::weights::Gguf& gguf) {
  uint64_t end = std::min(gguf.source().size(), model::weights::GgufLimits{}.header_bytes_max);
  for (const model::weights::TensorInfo& tensor : gguf.tensors()) end = std::min(end, tensor.offset);
  std::vector<std::byte> header(end);
  MERRITT_CHECK(gguf.source().read(0, header));
  return backend::sha256(header);
}

}  // namespace

PackedWeights::PackedWeights(const model::pack::PackCache& cache, const model::ModelFile& file, const std::string& path,
                             backend::Device& device, observe::Log& log)
    : cache_(cache),
      file_(file),
      path_(path),
      device_(device),
      log_(log),
      extension_(static_cast<const mrt_ext_packed*>(device.plugin().extension(MRT_EXT_PACKED, sizeof(mrt_ext_packed)))),
      state_(file.gguf.source().file_state()) {
  const bool whole = extension_ != nullptr && extension_->compile != nullptr && extension_->describe != nullptr &&
                     extension_->export_bytes != nullptr;
  if (!whole || !state_) extension_ = nullptr;
}

mrt_packed PackedWeights::view(model::WeightSource& source) {
  source_ = &source;
  mrt_packed view{};
  view.struct_size = sizeof(view);
  view.ctx = this;
  view.open = &open_pack;
  view.read = &read_pack;
  return view;
}

// One pack for a path, plugin and layout: a newer one takes the place of the older. What must be equal is bound to it.
Result<model::pack::PackId> PackedWeights::identify(const mrt_packed_layout& layout) const {
  MERRITT_TRY(const std::string path, os::real_path(path_));
  MERRITT_TRY(const backend::Digest header, header_digest(file_.gguf));
  const backend::Plugin& plugin = device_.plugin();
  Transcript place;
  place.add(path).add(plugin.id()).add(layout.layout);
  MERRITT_TRY(const backend::Digest name, place.digest());
  Transcript content;
  content.number(state_->size).number(state_->inode);  // device numbers change at a restart
  content.number(static_cast<uint64_t>(state_->modified_ns)).number(static_cast<uint64_t>(state_->changed_ns));
  content.add(header).add(plugin.id()).add(plugin.digest_hex()).add(layout.layout).number(layout.bytes);
  MERRITT_TRY(const backend::Digest binding, content.digest());
  return model::pack::PackId{backend::to_hex(std::span(name).first(16)) + ".pack", binding};
}

int32_t PackedWeights::open_pack(void* ctx, const mrt_packed_layout* layout, uint64_t* chunk_bytes, mrt_error* err) {
  try {
    if (layout == nullptr || chunk_bytes == nullptr) return refuse(err, MRT_INVALID_ARGUMENT, "open needs both");
    return static_cast<PackedWeights*>(ctx)->open(*layout, chunk_bytes, err);
  } catch (...) {
    return refuse(err, MRT_NOT_FOUND, "the pack cache could not be looked at");
  }
}

int32_t PackedWeights::open(const mrt_packed_layout& layout, uint64_t* chunk_bytes, mrt_error* err) {
  Status why;
  Result<model::pack::PackId> id = identify(layout);
  if (id.ok()) {
    Result<model::pack::PackReader> found = cache_.find(*id);
    if (found.ok() && found->bytes() == layout.bytes) {
      *chunk_bytes = found->chunk_bytes();
      reader_.emplace(std::move(found).value());
      return MRT_OK;
    }
    if (!found.ok()) why = std::move(found).status();
  } else {
    why = std::move(id).status();
  }
  if (why.code() == Code::kNotFound) {
    log_.debug("there are no packed weights of " + file_.info.name + " for " + device_.plugin().id() + " yet");
  } else {
    log_.warning("packed weights are not used: " + std::string(why.message()));
  }
  return refuse(err, MRT_NOT_FOUND, "the host has no packed weights of this layout");
}

int32_t PackedWeights::read_pack(void* ctx, uint64_t offset, void* dst, uint64_t len, mrt_error* err) {
  try {
    return static_cast<PackedWeights*>(ctx)->read(offset, dst, len, err);
  } catch (...) {
    return refuse(err, MRT_CORRUPT, "the packed weights could not be read");
  }
}

int32_t PackedWeights::read(uint64_t offset, void* dst, uint64_t len, mrt_error* err) {
  if (!reader_) return refuse(err, MRT_FAILED_PRECONDITION, "no pack is open");
  if (dst == nullptr) return refuse(err, MRT_INVALID_ARGUMENT, "dst is null");
  const Status read = reader_->read(offset, std::span(static_cast<std::byte*>(dst), len));
  if (read.ok()) {
    return source_->note_read(len) ? refuse(err, MRT_CANCELLED, "the load was cancelled") : MRT_OK;
  }
  if (!failed_.exchange(true)) log_.warning("packed weights are not used: " + std::string(read.message()));
  return refuse(err, MRT_CORRUPT, "the packed weights are not as they were written");
}

Status PackedWeights::store(mrt_model* model, const std::function<bool()>& stop) {
  mrt_packed_layout layout{};
  mrt_error error{};
  const int32_t code = backend::fenced(extension_->describe, model, &layout, &error);
  MERRITT_CHECK(device_.status(code, error));
  if (layout.bytes == 0) return {};
  MERRITT_TRY(const model::pack::PackId id, identify(layout));
  if (file_.gguf.source().file_state() != state_) {
    return Status(Code::kFailedPrecondition, "the model file changed while it was loaded");
  }
  if (os::unix_seconds() * 1'000'000'000 - state_->changed_ns < kSettledNs) {
    return Status(Code::kFailedPrecondition, "the model file changed a moment ago; the next load keeps them");
  }
  return cache_.store(id, layout.bytes, [&](uint64_t offset, std::span<std::byte> out) -> Status {
    if (stop()) return Status(Code::kCancelled, "the engine is shutting down");
    mrt_error failure{};
    const int32_t exported = backend::fenced(extension_->export_bytes, model, offset, static_cast<void*>(out.data()),
                                             uint64_t{out.size()}, &failure);
    return device_.status(exported, failure);
  });
}

void PackedWeights::keep(mrt_model* model, const std::function<bool()>& stop) {
  reader_.reset();  // of a file that is about to be replaced
  const uint64_t began = os::monotonic_ns();
  Status stored;
  bool kept = false;
  try {
    stored = store(model, stop);
    kept = stored.ok();
  } catch (...) {
    stored = status_of_exception();
  }
  if (kept) {
    log_.info("the packed weights of " + file_.info.name + " were kept, in " +
              std::to_string((os::monotonic_ns() - began) / 1'000'000) + " ms");
  } else {
    log_.warning("the packed weights were not kept: " + std::string(stored.message()));
  }
}

}  // namespace merritt::engine
