// SPDX-License-Identifier: Apache-2.0
// The table of one ISA file. Include last.
#pragma once
#include "onednn/kernels.hpp"

namespace {

constexpr merritt::onednn::Kernels make_kernels(const char* name, uint32_t isa, const char* dot_name) {
  return {name,      isa,          Simd::kBf16,   dot_name,     gemv_codes,   gemv_f32, panel_bf16,
          panel_f32, gemm_f32,     quantise_q12,  quantise_q16, to_bf16,      rms_norm, layer_norm,
          add_rows,  mul_rows,     act_rows,      gate_rows,    softcap_rows, rope,     store_kv,
          attend,    attend_start, attend_finish, attend_merge};
}

}  // namespace
