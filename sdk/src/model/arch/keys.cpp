// SPDX-License-Identifier: Apache-2.0
#include "model/arch/keys.hpp"

#include <cmath>
#include <cstdio>

#include "base/text.hpp"

namespace merritt::model::arch {
namespace {

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

void Keys::fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

uint32_t Keys::number(std::string_view name, uint32_t min, uint32_t max) {
  if (!ok()) return min;
  auto value = gguf_.get_u32(full(name));
  if (!value.ok()) {
    fail(std::move(value).status());
    return min;
  }
  if (*value >= min && *value <= max) return *value;
  fail(Status(Code::kCorrupt, full(name) + " is " + std::to_string(*value) + "; it must be in [" + std::to_string(min) +
                                  ", " + std::to_string(max) + "]"));
  return min;
}

uint32_t Keys::number_or(std::string_view name, uint32_t missing, uint32_t min, uint32_t max) {
  return has(name) ? number(name, min, max) : missing;
}

double Keys::positive(std::string_view name) {
  if (!ok()) return 1;
  auto value = gguf_.get_f32(full(name));
  if (!value.ok()) {
    fail(std::move(value).status());
    return 1;
  }
  if (*value > 0) return static_cast<double>(*value);
  fail(Status(Code::kCorrupt, full(name) + " is " + shown(static_cast<double>(*value)) + "; it must be above 0"));
  return 1;
}

double Keys::real_or(std::string_view name, double missing) {
  if (!ok() || !has(name)) return missing;
  auto value = gguf_.get_f32(full(name));
  if (value.ok() && *value == 0) return missing;
  return positive(name);
}

bool Keys::flag_or(std::string_view name, bool missing) {
  auto value = gguf_.get_bool(full(name), missing);
  if (value.ok()) return *value;
  fail(std::move(value).status());
  return missing;
}

std::string Keys::text_or(std::string_view name, std::string_view missing) {
  auto value = gguf_.get_string(full(name), missing);
  if (value.ok()) return std::string(*value);
  fail(std::move(value).status());
  return std::string(missing);
}

std::vector<uint32_t> Keys::per_layer(std::string_view name, uint32_t layers) {
  auto values = gguf_.get_u32_per_layer(full(name), layers);
  if (values.ok()) return std::move(values).value();
  fail(std::move(values).status());
  return std::vector<uint32_t>(layers, 0);
}

void Keys::refuse_unless(bool fine, std::string_view name, std::string_view what) {
  if (!fine) fail(Status(Code::kUnsupported, full(name) + " asks for " + std::string(what)));
}

DecoderSize DecoderSize::read(Keys& keys, std::string_view eps) {
  DecoderSize s;
  s.layers = keys.number("block_count", 1, kLayersMax);
  s.width = keys.number("embedding_length", 1, kWidthMax);
  s.inner = keys.number("feed_forward_length", 1, kWidthMax);
  s.heads = keys.number("attention.head_count", 1, kHeadsMax);
  s.kv_heads = keys.number_or("attention.head_count_kv", s.heads, 1, kHeadsMax);
  const bool own = keys.has("attention.key_length");
  if (keys.ok() && !own && s.width % s.heads != 0) {
    keys.fail(Status(Code::kCorrupt, std::to_string(s.heads) + " heads do not divide the width " +
                                         std::to_string(s.width) + ", and attention.key_length is missing"));
  }
  s.head_dim = own ? keys.number("attention.key_length", 2, kHeadDimMax) : s.width / s.heads;
  s.v_dim = keys.number_or("attention.value_length", s.head_dim, 1, kHeadDimMax);
  s.context = keys.number("context_length", 1, kContextMax);
  s.eps = keys.positive(eps);
  if (keys.ok() && (s.heads % s.kv_heads != 0 || s.head_dim % 2 != 0)) {
    keys.fail(Status(Code::kCorrupt, std::to_string(s.heads) + " heads of " + std::to_string(s.head_dim) +
                                         " cannot share " + std::to_string(s.kv_heads) + " KV heads"));
  }
  keys.refuse_unless(keys.number_or("expert_count", 0, 0, UINT32_MAX) == 0, "expert_count",
                     "a mixture of experts, which this architecture is not built with");
  keys.refuse_unless(keys.flag_or("attention.causal", true), "attention.causal",
                     "attention in both directions; models that generate are causal");
  return s;
}

graph::Rope read_rope(Keys& keys, const DecoderSize& size, graph::RopeStyle style, double base_missing) {
  graph::Rope rope;
  rope.head_dim = size.head_dim;
  rope.rot_dim = keys.number_or("rope.dimension_count", size.head_dim, 2, size.head_dim);
  rope.base = keys.real_or("rope.freq_base", base_missing);
  rope.style = style;
  // A factor without a type is linear: that is how old files say it.
  const double factor = keys.real_or("rope.scaling.factor", keys.real_or("rope.scale_linear", 1));
  const std::string type = keys.text_or("rope.scaling.type", "linear");
  keys.refuse_unless(type == "none" || type == "linear" || type == "yarn", "rope.scaling.type",
                     "'" + clean_text(type, 40) + "' scaling; none, linear and yarn are built");
  keys.refuse_unless(!keys.has("rope.scaling.yarn_log_multiplier"), "rope.scaling.yarn_log_multiplier",
                     "a yarn variant that is not built");
  if (type == "none" || factor == 1) return rope;
  rope.factor = factor;
  rope.scaling = type == "yarn" ? graph::RopeScaling::kYarn : graph::RopeScaling::kLinear;
  if (rope.scaling == graph::RopeScaling::kLinear) return rope;
  rope.original_context = keys.number_or("rope.scaling.original_context_length", size.context, 1, kContextMax);
  rope.beta_fast = keys.real_or("rope.scaling.yarn_beta_fast", 32);
  rope.beta_slow = keys.real_or("rope.scaling.yarn_beta_slow", 1);
  // Yarn sharpens attention as it stretches positions; both rotated sides carry the factor.
  rope.scale = keys.real_or("rope.scaling.attn_factor", 1) * (1 + 0.1 * std::log(factor));
  return rope;
}

std::vector<bool> read_windowed_layers(Keys& keys, uint32_t layers, uint32_t window, uint32_t missing) {
  constexpr std::string_view kPattern = "attention.sliding_window_pattern";
  std::vector<uint32_t> every(layers, missing);
  if (keys.has(kPattern)) every = keys.per_layer(kPattern, layers);
  const bool listed = keys.is_array(kPattern);
  std::vector<bool> windowed(layers, false);
  for (uint32_t i = 0; i < layers && window != 0; ++i) {
    windowed[i] = listed ? every[i] != 0 : every[i] != 0 && (i + 1) % every[i] != 0;
  }
  return windowed;
}

std::string block_name(uint32_t layer, std::string_view tensor) {
  return "blk." + std::to_string(layer) + "." + std::string(tensor) + ".weight";
}

}  // namespace merritt::model::arch
