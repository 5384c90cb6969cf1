// SPDX-License-Identifier: Apache-2.0
// The mathematics of one row, each function the plain definition with double sums. No state, no allocation.
#pragma once
#include <cstdint>

#include "support/plan.hpp"

namespace merritt::plugin::reference {

/// Sum of a[i] * b[i] in double, in a fixed order that depends on n only.
double dot(const float* a, const float* b, uint64_t n) noexcept;

/// act: MRT_A_ACT values; 0 is the identity.
double activate(uint32_t act, double x) noexcept;

/// w may be null (ones); n_w is head or the whole width.
void rms_norm_row(const float* x, const float* w, uint64_t n_w, const Attributes& a, uint32_t width, float* y) noexcept;
void layer_norm_row(const float* x, const float* w, uint64_t n_w, const float* b, uint64_t n_b, const Attributes& a,
                    uint32_t width, float* y) noexcept;

/// The angle per position of each rotated pair, [rot_dim / 2]; factors may be null.
void rope_frequencies(const Attributes& a, const float* factors, double* out) noexcept;
/// cosines and sines hold rot_dim / 2 values each, already times SCALE.
void rope_row(const float* x, const double* cosines, const double* sines, const Attributes& a, uint32_t width,
              float* y) noexcept;

/// Chooses TOP_K experts of a row of router logits: ids and their weights, best first, ties to the lower id.
/// scores is scratch of `experts` doubles.
void choose_experts(const float* logits, const float* bias, const Attributes& a, double* scores, uint32_t* ids,
                    double* weights) noexcept;

}  // namespace merritt::plugin::reference
