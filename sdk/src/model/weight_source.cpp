// SPDX-License-Identifier: Apache-2.0
#include "model/weight_source.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

namespace merritt::model {
namespace {

int32_t refuse(mrt_error* err, int32_t code, uint32_t weight, std::string_view message) {
  if (err == nullptr) return code;
  *err = mrt_error{};
  err->code = code;
  err->blast = MRT_BLAST_CALL;
  err->index = weight;
  const size_t n = std::min(message.size(), sizeof err->message - 1);
  std::memcpy(err->message, message.data(), n);
  return code;
}

}  // namespace

WeightSource::WeightSource(const ModelFile& file, Progress progress) : file_(file), progress_(std::move(progress)) {
  for (const graph::WeightInfo& info : file.graph.weights()) {
    mrt_weight weight{};
    weight.name = info.name.data();
    weight.name_len = static_cast<uint32_t>(info.name.size());
    weight.type = info.type;
    weight.n_dims = info.n_dims;
    std::copy(info.dims.begin(), info.dims.end(), weight.dims);
    weight.bytes = info.bytes;
    list_.push_back(weight);
    bytes_total_ += info.bytes;
  }
}

WeightSource::~WeightSource() = default;

mrt_weights WeightSource::view() const {
  mrt_weights view{};
  view.struct_size = sizeof(view);
  view.n_weights = static_cast<uint32_t>(list_.size());
  view.list = list_.data();
  view.ctx = const_cast<WeightSource*>(this);
  view.read = read_weight;
  return view;
}

int32_t WeightSource::read_weight(void* ctx, uint32_t weight, uint64_t offset, void* out, uint64_t len,
                                  mrt_error* err) {
  return static_cast<WeightSource*>(ctx)->read(weight, offset, out, len, err);
}

int32_t WeightSource::read(uint32_t weight, uint64_t offset, void* out, uint64_t len, mrt_error* err) {
  if (weight >= list_.size()) {
    return refuse(err, MRT_INVALID_ARGUMENT, weight, "there is no weight " + std::to_string(weight));
  }
  const graph::WeightInfo& info = file_.graph.weights()[weight];
  if (offset > info.bytes || len > info.bytes - offset || (out == nullptr && len != 0)) {
    return refuse(err, MRT_INVALID_ARGUMENT, weight,
                  info.name + " has " + std::to_string(info.bytes) + " bytes; " + std::to_string(len) + " at " +
                      std::to_string(offset) + " were asked for");
  }
  if (cancelled_.load(std::memory_order_relaxed)) return refuse(err, MRT_CANCELLED, weight, "the load was cancelled");
  const weights::TensorInfo& tensor = file_.gguf.tensors()[info.tensor];
  const Status status = file_.gguf.source().read(tensor.offset + offset, std::span(static_cast<std::byte*>(out), len));
  if (!status.ok()) return refuse(err, MRT_CORRUPT, weight, info.name + ": " + std::string(status.message()));
  if (report(len)) return refuse(err, MRT_CANCELLED, weight, "the load was cancelled");
  return MRT_OK;
}

// True when the caller wants no more. A backend may read a weight twice, so the fraction stops at one.
bool WeightSource::report(uint64_t len) {
  const uint64_t done = std::min(bytes_read_.fetch_add(len, std::memory_order_relaxed) + len, bytes_total_);
  if (!progress_ || bytes_total_ == 0) return false;
  const auto percent = static_cast<uint32_t>(static_cast<double>(done) * 100.0 / static_cast<double>(bytes_total_));
  if (percent <= percent_.load(std::memory_order_relaxed)) return false;
  if (reporting_.test_and_set(std::memory_order_acquire)) return false;  // another thread is telling a newer number
  percent_.store(percent, std::memory_order_relaxed);
  const bool stop = progress_(static_cast<float>(done) / static_cast<float>(bytes_total_));
  reporting_.clear(std::memory_order_release);
  if (stop) cancelled_.store(true, std::memory_order_relaxed);
  return stop;
}

}  // namespace merritt::model
