// SPDX-License-Identifier: Apache-2.0
// The oneDNN plugin's kernels alone, on one thread: GEMV in GB/s of packed weights (2048 x 8192, larger than the second
// cache, or 64 MiB and more with --benchmark_filter=cold), panels in weights opened per second, PROMPT products in
// FLOP/s with the panel's opening included, attention in FLOP/s, and attention of one row over a cache that no cache
// level holds in GB/s of keys and values.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "merritt/backend.h"
#include "onednn/brgemm.hpp"
#include "onednn/isa.hpp"
#include "onednn/layout.hpp"
#include "support/blocks.hpp"
#include "support/numbers.hpp"
#include "support/os/amx.hpp"

namespace merritt::onednn {
namespace {
using namespace plugin;

struct Free {
  void operator()(uint8_t* p) const { std::free(p); }
};
using Bytes = std::unique_ptr<uint8_t, Free>;
// On a huge page of its own, filled with a number that is a finite f32, bf16 and f16.
Bytes bytes(uint64_t n) {
  n = (n + (2u << 20) - 1) & ~((2ull << 20) - 1);
  Bytes p(static_cast<uint8_t*>(std::aligned_alloc(2u << 20, n)));
  std::memset(p.get(), 0x3c, n);
  return p;
}
struct Weights {
  Packed packed;
  Bytes data;
};

// Codes do not change the speed, scales must be finite.
Weights make_weights(uint32_t type, uint64_t rows, uint64_t cols) {
  Weights w;
  if (!describe_packed(type, rows, cols, &w.packed)) return w;
  const uint64_t bytes = (w.packed.bytes() + 4095 + (2u << 20)) & ~((2ull << 20) - 1);
  w.data.reset(static_cast<uint8_t*>(std::aligned_alloc(2u << 20, bytes)));
  for (uint64_t i = 0; i < bytes; ++i) w.data.get()[i] = static_cast<uint8_t>((i * 37 + (i >> 8)) & 0x3b);
  w.packed.data = w.data.get();
  return w;
}

const Kernels& best_kernels() {
  uint32_t level = cpu_level();
  if (level == MRT_ISA_AMX && !os::request_amx()) level = MRT_ISA_VNNI;
  const Kernels* best = kernels_of(level);
  if (best == nullptr) {
    std::fprintf(stderr, "this plugin needs AVX2, FMA and F16C\n");
    std::exit(1);
  }
  return *best;
}
// Asked once: under a hypervisor a question to the CPU takes tens of microseconds.
const Kernels& kernels() {
  static const Kernels& best = best_kernels();
  return best;
}

void gemv_codes(benchmark::State& state, uint32_t type, uint64_t rows, uint64_t cols) {
  const auto m = static_cast<uint32_t>(state.range(0));
  const Weights w = make_weights(type, rows, cols);
  std::vector<float> x(cols, 0.5f), y(m * rows);
  const RowForm form = row_form(type, kernels().quantise_pairs != nullptr);
  const uint64_t row_bytes = form_row_bytes(form, w.packed.padded);
  const auto quantise = form == RowForm::kQ12 ? kernels().quantise_q12 : kernels().quantise_q16;
  const std::unique_ptr<uint8_t, decltype(&std::free)> act(static_cast<uint8_t*>(std::aligned_alloc(64, m * row_bytes)),
                                                           &std::free);
  std::vector<float*> out;
  for (uint32_t i = 0; i < m; ++i) {
    const uint32_t first = i / kBand * kBand;
    if (form == RowForm::kPairs) {
      kernels().quantise_pairs(x.data(), cols, w.packed.padded, act.get() + i * row_bytes);
    } else {
      quantise(x.data(), cols, w.packed.padded, act.get() + first * row_bytes, std::min(kBand, m - first), i - first);
    }
    out.push_back(y.data() + i * rows);
  }
  for (auto _ : state) {
    kernels().gemv_codes(w.packed, 0, w.packed.groups, act.get(), row_bytes, m, out.data(), nullptr);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * w.packed.bytes()));
}

void prompt(benchmark::State& state, uint32_t type, uint64_t rows, uint64_t cols) {
  const auto m = static_cast<uint32_t>(state.range(0));
  const Weights w = make_weights(type, rows, cols);
  MatrixKernel kernel;
  const bool bf16 = kernels().bf16;
  if (!kernel.create(static_cast<uint32_t>(cols), static_cast<uint32_t>(cols), bf16)) {
    state.SkipWithError("no library kernel");
    return;
  }
  std::vector<uint8_t> a((m + kRowBlock) * cols * 4), panel(cols * kPanelColumns * 4),
      scratch(kernel.scratch_bytes() + 64);
  std::vector<float> tile(kRowBlock * kPanelColumns);
  const uint64_t row_bytes = cols * (bf16 ? 2 : 4);
  for (auto _ : state) {
    for (uint64_t g = 0; g < w.packed.groups; g += kPanelColumns / kLanes) {
      if (bf16) {
        kernels().panel_bf16(w.packed, g, kPanelColumns / kLanes, reinterpret_cast<uint16_t*>(panel.data()));
      } else {
        kernels().panel_f32(w.packed, g, kPanelColumns / kLanes, reinterpret_cast<float*>(panel.data()));
      }
      for (uint32_t r = 0; r < m; r += kRowBlock) {
        kernel.run(std::min(kRowBlock, m - r), a.data() + r * row_bytes, panel.data(), tile.data(), scratch.data());
      }
    }
    benchmark::ClobberMemory();
  }
  MatrixKernel::release();
  state.counters["FLOP/s"] =
      benchmark::Counter(2.0 * m * static_cast<double>(rows * cols), benchmark::Counter::kIsIterationInvariantRate);
}

void prompt_tiles(benchmark::State& state, uint32_t type, uint64_t rows, uint64_t cols) {
  const auto m = static_cast<uint32_t>(state.range(0));
  const Weights w = make_weights(type, rows, cols);
  const uint64_t padded = (m + kTileRows - 1) / kTileRows * kTileRows;
  const Bytes a = bytes(padded * cols * 2), opened = bytes(kTileProductGroups * kTileProductDepth * 32),
              sums = bytes(padded * kTileProductGroups * kLanes * sizeof(float)), y = bytes(m * rows * sizeof(float));
  for (auto _ : state) {
    constexpr uint32_t kGroups = kTileShallowGroups;
    for (uint64_t g = 0; g < w.packed.groups; g += kGroups) {
      const TilePart part{&w.packed, g, kGroups}, next{&w.packed, g + kGroups, kGroups};
      multiply_in_tiles(kernels(), {&part, 1}, {&next, 1}, a.get(), m, opened.get(),
                        reinterpret_cast<float*>(sums.get()), reinterpret_cast<float*>(y.get()) + g * kLanes,
                        rows * sizeof(float));
    }
    benchmark::ClobberMemory();
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(2.0 * m * static_cast<double>(rows * cols), benchmark::Counter::kIsIterationInvariantRate);
}

void panel(benchmark::State& state, uint32_t type) {
  constexpr uint64_t kCols = 2048;
  const Weights w = make_weights(type, kPanelColumns, kCols);
  std::vector<float> to(kCols * kPanelColumns);
  for (auto _ : state) {
    kernels().panel_bf16(w.packed, 0, kPanelColumns / kLanes, reinterpret_cast<uint16_t*>(to.data()));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kCols * kPanelColumns));
}

void opened_tiles(benchmark::State& state, uint32_t type) {
  constexpr uint64_t kCols = 2048;
  const Weights w = make_weights(type, kLanes, kCols);
  const Bytes to = bytes(kCols * kLanes * 2);
  for (auto _ : state) {
    kernels().open_tiles(w.packed, 0, 0, w.packed.blocks, reinterpret_cast<uint16_t*>(to.get()));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kCols * kLanes));
}

// One KV head of 256 dimensions, 512 cached tokens in f16; n queries that see them all.
void attention(benchmark::State& state) {
  constexpr uint32_t kDim = 256, kTokens = 512;
  const auto n = static_cast<uint32_t>(state.range(0));
  const uint32_t padded = (n + 7) / 8 * 8;
  std::vector<uint8_t> k(kTokens * kDim * 2), v(kTokens * kDim * 2);
  std::vector<float> q(padded * kDim, 0.1f), max(padded), sum(padded), acc(padded * kDim), scores(padded * kTileTokens);
  const std::vector<uint32_t> lo(padded, 0), hi(padded, kTokens);
  const AttentionBlock block{q.data(),      lo.data(), hi.data(), max.data(), sum.data(), acc.data(),
                             scores.data(), n,         kDim,      kDim,       0.0f};
  for (auto _ : state) {
    kernels().attend_start(block);
    for (uint32_t first = 0; first < kTokens; first += kTileTokens) {
      AttentionTile tile{{}, {}, first, first, first + kTileTokens};
      for (uint32_t g = 0; g < kTileTokens / 16; ++g) {
        tile.k[g] = k.data() + k_sixteen(kF16, kTokens, kDim, 0, first + g * 16);
        tile.v[g] = v.data() + v_sixteen(kF16, kTokens, kDim, 0, first + g * 16);
      }
      kernels().attend(block, tile, kF16);
    }
    kernels().attend_finish(block);
    benchmark::ClobberMemory();
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(4.0 * n * kTokens * kDim, benchmark::Counter::kIsIterationInvariantRate);
}

// One generated row of 32 query heads over 8 KV heads of 64 dimensions: 32768 tokens in pages of 64, tile by tile as
// the plugin walks them.
void attention_deep(benchmark::State& state, uint32_t type) {
  constexpr uint32_t kDim = 64, kHeads = 8, kPage = 64, kPages = 512;
  const auto share = static_cast<uint32_t>(state.range(0));
  const uint64_t plane = kHeads * kPage * head_row_bytes(type, kDim);
  Weights pages;  // only for its memory on large pages
  pages.data.reset(static_cast<uint8_t*>(std::aligned_alloc(2u << 20, 2 * plane * kPages)));
  std::memset(pages.data.get(), 0x11, 2 * plane * kPages);
  const uint64_t rows = static_cast<uint64_t>(kHeads) * share;
  std::vector<float> q(rows * kDim, 0.1f), max(rows), sum(rows), acc(rows * kDim), scores(share * kTileTokens);
  const std::vector<uint32_t> lo(share, 0), hi(share, kPage * kPages);
  const auto block = [&](uint32_t h) {
    const uint64_t at = static_cast<uint64_t>(h) * share;
    return AttentionBlock{q.data() + at * kDim,
                          lo.data(),
                          hi.data(),
                          max.data() + at,
                          sum.data() + at,
                          acc.data() + at * kDim,
                          scores.data(),
                          share,
                          kDim,
                          kDim,
                          0.0f};
  };
  for (auto _ : state) {
    for (uint32_t h = 0; h < kHeads; ++h) kernels().attend_start(block(h));
    for (uint32_t page = 0; page < kPages; ++page) {
      const uint8_t *k = pages.data.get() + page * 2 * plane, *v = k + plane;
      for (uint32_t h = 0; h < kHeads; ++h) {
        AttentionTile tile{{}, {}, page * kPage, page * kPage, (page + 1) * kPage};
        for (uint32_t g = 0; g < kTileTokens / 16; ++g) {
          tile.k[g] = k + k_sixteen(type, kPage, kDim, h, g * 16);
          tile.v[g] = v + v_sixteen(type, kPage, kDim, h, g * 16);
        }
        kernels().attend(block(h), tile, type);
      }
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * 2 * plane * kPages));
}

void add_all() {
  for (const uint32_t type : {kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kIQ4_NL, kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K}) {
    const std::string name = type_info(type)->name;
    benchmark::RegisterBenchmark(("gemv/" + name).c_str(), gemv_codes, type, 8192, 2048)
        ->Arg(1)
        ->Arg(2)
        ->Arg(4)
        ->Arg(5)
        ->Arg(8)
        ->Arg(12)
        ->Arg(16)
        ->Arg(32);
    benchmark::RegisterBenchmark(("gemv_cold/" + name).c_str(), gemv_codes, type, 65536, 2048)
        ->Arg(1)
        ->Arg(2)
        ->Arg(4)
        ->Arg(16);
    if (kernels().bf16) benchmark::RegisterBenchmark(("panel/" + name).c_str(), panel, type);
    benchmark::RegisterBenchmark(("prompt/" + name).c_str(), prompt, type, 2048, 1024)->Arg(16)->Arg(512);
    if (kernels().multiply_tiles == nullptr) continue;
    benchmark::RegisterBenchmark(("prompt_tiles/" + name).c_str(), prompt_tiles, type, 2048, 2048)->Arg(16)->Arg(512);
    benchmark::RegisterBenchmark(("open_tiles/" + name).c_str(), opened_tiles, type);
  }
  benchmark::RegisterBenchmark("attention/f16_dim256_512", attention)->Arg(4)->Arg(64);
  for (const uint32_t type : {kF16, kBF16, kQ8_0}) {
    const std::string name = type_info(type)->name;
    benchmark::RegisterBenchmark(("attention_deep/" + name + "_dim64").c_str(), attention_deep, type)
        ->Arg(1)
        ->Arg(2)
        ->Arg(4)
        ->Arg(8);
  }
}

}  // namespace
}  // namespace merritt::onednn

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (merritt::onednn::cpu_level() < MRT_ISA_AVX2) return 1;
  merritt::onednn::add_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
