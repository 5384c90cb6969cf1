// SPDX-License-Identifier: Apache-2.0
// The kernels that a step is made of, as a table of one ISA level. Every function works on whole rows or on groups of
// sixteen weight rows, holds no state and never allocates. What is computed for a row depends only on that row: the
// order of every sum is fixed by the kernel, never by how many rows come with it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "onednn/packed.hpp"
#include "onednn/row_form.hpp"
#include "onednn/tiles.hpp"

namespace merritt::onednn {

enum class Act : uint32_t {
  kNone = 0,
  kSilu = 1,
  kGeluTanh = 2,
  kGeluErf = 3,
  kRelu = 4,
  kRelu2 = 5,
  kTanh = 6,
  kSigmoid = 7
};

/// One tile of 64 cached tokens of one KV head, as sixteens of K and V (layout.hpp).
inline constexpr uint32_t kTileTokens = 64;
struct AttentionTile {
  const uint8_t* k[kTileTokens / 16];
  const uint8_t* v[kTileTokens / 16];
  uint32_t first;       // cache index of the first token of the tile, a multiple of 64
  uint32_t begin, end;  // cache indexes inside the tile that hold tokens some query sees
};
/// Queries that share a KV head and their running softmax.
struct AttentionBlock {
  const float* q;           // [n][dim], scaled
  const uint32_t *lo, *hi;  // query i sees cache indexes [lo, hi)
  float *max, *sum, *acc;   // [n], [n], [n][v_dim]
  float* scores;            // [n][64]
  uint32_t n, dim, v_dim;
  float softcap;  // 0 = none
};

/// PROMPT rows in bf16 take 256 tokens at a time, as panels of 64: what the softmax between the two products reads and
/// writes for at most 64 rows. Scores are in units of log 2, so that a weight is a power of two.
inline constexpr uint32_t kPromptTile = 256;
struct PromptScores {
  const float* scores;      // [panels][64 rows][64 tokens]
  uint16_t* weights;        // [rows][256] bf16, of which 64 panels are written
  const uint32_t *lo, *hi;  // row i sees cache indexes [lo, hi)
  float *max, *sum, *acc;   // acc: [acc_panels] of [rows][64], acc_stride floats apart
  uint64_t acc_stride;
  uint32_t acc_panels, panels, rows, first;  // first: cache index of the first token; panels 1, 2 or 4
  float softcap;                             // in units of log 2; 0 = none
};

struct Kernels {
  const char* name;      // "avx2", "avx512", "vnni"
  uint32_t isa;          // MRT_ISA_*
  bool bf16;             // panel_bf16 and to_bf16 pay off
  const char* dot_name;  // what gemv_codes is made of, for traces

  // y[row] = w x for m rows. act: in the form of w's type, in bands if it has them, act_bytes a row; x: f32 rows,
  // stride floats apart. Writes columns [16 g0, min(16 g1, rows)) of each out[i]; bias may be null.
  void (*gemv_codes)(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                     float* const* out, const float* bias);
  void (*gemv_f32)(const Packed& w, uint64_t g0, uint64_t g1, const float* x, uint64_t stride, uint32_t m,
                   float* const* out, const float* bias);
  // Weights of groups [g0, g0 + n) as a matrix panel [input][16 n]; bf16 in pairs of inputs: [input / 2][16 n][2].
  // Groups past the end are zeros.
  void (*panel_bf16)(const Packed& w, uint64_t g0, uint32_t n, uint16_t* panel);
  void (*panel_f32)(const Packed& w, uint64_t g0, uint32_t n, float* panel);
  // c [m][16 n] = a [m][k] (stride lda) times the f32 panel, when no library kernel fits the ISA cap.
  void (*gemm_f32)(const float* a, uint64_t lda, const float* panel, uint32_t m, uint32_t n, uint32_t k, float* c);

  // Row r of a band of `rows`.
  void (*quantise_q12)(const float* x, uint64_t n, uint64_t padded, uint8_t* band, uint32_t rows, uint32_t r);
  void (*quantise_q16)(const float* x, uint64_t n, uint64_t padded, uint8_t* band, uint32_t rows, uint32_t r);
  // Each 32 of them `stride` elements after the last.
  void (*to_bf16)(const float* x, uint64_t n, uint64_t padded, uint16_t* row, uint64_t stride);
  void (*rms_norm)(const float* x, const float* w, float* y, uint64_t n, float eps);
  void (*layer_norm)(const float* x, const float* w, const float* b, float* y, uint64_t n, float eps);
  void (*add)(const float* a, const float* b, float* y, uint64_t n);
  void (*mul)(const float* a, const float* b, float scale, float* y, uint64_t n);  // b null: y = a * scale
  void (*act)(const float* x, uint32_t act, float* y, uint64_t n);
  void (*gate)(const float* a, const float* b, uint32_t act, float* y, uint64_t n);
  void (*softcap)(const float* x, float cap, float* y, uint64_t n);
  // Rotates one head of `dim`, of which the first `rot` take part, by the angles' cosines and sines [rot / 2].
  void (*rope)(const float* x, const float* cosine, const float* sine, uint32_t dim, uint32_t rot, uint32_t adjacent,
               float* y);

  // n values of a row into the cache, `stride` elements apart, as the KV type (f32, f16, bf16).
  void (*store_kv)(const float* x, uint32_t n, uint32_t type, uint8_t* to, uint32_t stride);
  // One tile for all queries of a block; type is the KV type. finish divides by the sums.
  void (*attend)(const AttentionBlock& b, const AttentionTile& t, uint32_t type);
  void (*attend_start)(const AttentionBlock& b);
  void (*attend_finish)(const AttentionBlock& b);
  // Adds what the same queries saw of later tokens, not yet finished; into what saw nothing it is a copy.
  void (*attend_merge)(const AttentionBlock& b, const AttentionBlock& from);

  // A row in the form `pairs`, which gemv_codes then reads of both classes; null where it reads the other forms.
  void (*quantise_pairs)(const float* x, uint64_t n, uint64_t padded, uint8_t* row) = nullptr;

  // Attention of PROMPT rows around the library's bf16 products; null where `bf16` is false.
  // Keys of four sixteens as a panel [padded / 2][64][2].
  void (*pack_keys)(const uint8_t* const* k, uint32_t type, uint32_t dim, uint32_t padded, uint16_t* panel) = nullptr;
  // Values of n tokens, columns [column, column + 64) of v_dim, as a panel [n / 2][64][2]; zeros outside [begin, end).
  void (*pack_values)(const uint8_t* const* v, uint32_t type, uint32_t begin, uint32_t end, uint32_t n, uint32_t v_dim,
                      uint32_t column, uint16_t* panel) = nullptr;
  // Scores to weights; maxima, sums and outputs so far are brought up to date.
  void (*soften)(const PromptScores& s) = nullptr;

  // PROMPT products in tiles; null where `bf16` is false, the product also where there is no AMX.
  // Weights of blocks [b0, b0 + n) of a group.
  void (*open_tiles)(const Packed& w, uint64_t g, uint32_t b0, uint32_t n, uint16_t* to) = nullptr;
  // A gate's sums and those of what it lets through, 16 rows by 32 outputs as two tiles each: a tile of rows in bf16.
  void (*gate_tile)(const float* a, const float* b, uint32_t act, uint16_t* to) = nullptr;
  // On the calling thread, whose tile registers it leaves in their initial state.
  void (*multiply_tiles)(const TileProduct& p) noexcept = nullptr;
};

const Kernels* kernels_avx2() noexcept;
const Kernels* kernels_avx512() noexcept;
const Kernels* kernels_vnni() noexcept;
const Kernels* kernels_vnni_ahead() noexcept;       // for AMD's CPUs from Zen 5 on
const Kernels* kernels_vnni_four_ahead() noexcept;  // for Intel's
const Kernels* kernels_amx() noexcept;

/// Kernels::gemv_codes with tiles where there are rows enough; the same bits.
void gemv_codes_amx(const Packed& w, uint64_t g0, uint64_t g1, const uint8_t* act, uint64_t act_bytes, uint32_t m,
                    float* const* out, const float* bias);

}  // namespace merritt::onednn
