// SPDX-License-Identifier: Apache-2.0
// The numbers of one architecture in a GGUF header, each with its range. Errors stick like those of a GraphBuilder: the
// first is kept and status() tells it, so that a Config reads as a list. Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.hpp"
#include "model/graph/ops.hpp"
#include "model/weights/gguf.hpp"

namespace merritt::model::arch {

class Keys {
 public:
  Keys(const weights::Gguf& gguf, std::string_view architecture) : gguf_(gguf), prefix_(architecture) {
    prefix_ += '.';
  }

  bool has(std::string_view name) const { return gguf_.has(prefix_ + std::string(name)); }
  bool is_array(std::string_view name) const {
    const weights::MetaValue* value = gguf_.find(prefix_ + std::string(name));
    return value != nullptr && value->type == weights::MetaType::kArray;
  }
  // In [min, max]; the second form takes `missing` when the key is not there.
  uint32_t number(std::string_view name, uint32_t min, uint32_t max);
  uint32_t number_or(std::string_view name, uint32_t missing, uint32_t min, uint32_t max);
  // Above 0 and finite; real_or lets a missing key, and 0, stand for `missing`.
  double positive(std::string_view name);
  double real_or(std::string_view name, double missing);
  bool flag_or(std::string_view name, bool missing);
  std::string text_or(std::string_view name, std::string_view missing);
  // One value for each layer, or the same for all.
  std::vector<uint32_t> per_layer(std::string_view name, uint32_t layers);
  // Refuses a file whose key asks for something this architecture is not built with.
  void refuse_unless(bool fine, std::string_view name, std::string_view what);
  void fail(Status status);

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }

 private:
  std::string full(std::string_view name) const { return prefix_ + std::string(name); }

  const weights::Gguf& gguf_;
  std::string prefix_;
  Status status_;
};

inline constexpr uint32_t kLayersMax = 1024;
inline constexpr uint32_t kWidthMax = 1u << 20;
inline constexpr uint32_t kHeadsMax = 4096;
inline constexpr uint32_t kHeadDimMax = 4096;
inline constexpr uint32_t kContextMax = 1u << 24;

// What every decoder of the llama family has in its header.
struct DecoderSize {
  uint32_t layers = 0, width = 0, inner = 0, heads = 0, kv_heads = 0, head_dim = 0, v_dim = 0, context = 0;
  double eps = 0;
  static DecoderSize read(Keys& keys, std::string_view eps = "attention.layer_norm_rms_epsilon");
  uint64_t q_width() const { return uint64_t{heads} * head_dim; }
  uint64_t k_width() const { return uint64_t{kv_heads} * head_dim; }
  uint64_t v_width() const { return uint64_t{kv_heads} * v_dim; }
  uint64_t o_width() const { return uint64_t{heads} * v_dim; }
};

// rope.freq_base, rope.dimension_count and rope.scaling.*: none, linear or yarn.
graph::Rope read_rope(Keys& keys, const DecoderSize& size, graph::RopeStyle style, double base_missing);

// Which layers attend within a window: all but every `missing`-th, unless attention.sliding_window_pattern holds
// another number, or a value for each layer. None when there is no window.
std::vector<bool> read_windowed_layers(Keys& keys, uint32_t layers, uint32_t window, uint32_t missing);

// "blk.7.attn_q.weight".
std::string block_name(uint32_t layer, std::string_view tensor);

}  // namespace merritt::model::arch
