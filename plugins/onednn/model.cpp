// SPDX-License-Identifier: Apache-2.0
#include "onednn/model.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "support/kv_layout.hpp"

namespace merritt::onednn {
namespace {
using namespace plugin;

// Changes whenever a change of this plugin may change a result.
constexpr char kNumerics[] = "onednn/8";
// One worker's share of the rows that are read and packed at a time.
constexpr uint64_t kPieceBytes = 256u << 10;

}  // namespace

uint64_t Model::vector_size(uint32_t i) const noexcept {
  const PlanWeight& w = plan_.weights[schedule_.vectors[i].weight];
  return w.cols * w.rows;
}

void Model::lay_out() {
  for (const uint32_t weight : schedule_.matrices) {
    const PlanWeight& w = plan_.weights[weight];
    Packed packed;
    (void)describe_packed(w.type, w.rows, w.cols, &packed);  // the schedule has declined what this refuses
    matrices_.push_back(packed);
    matrix_at_.push_back(matrix_bytes_);
    matrix_bytes_ += packed.bytes();
  }
  for (uint32_t i = 0; i < schedule_.vectors.size(); ++i) {
    vector_at_.push_back(vector_bytes_);
    vector_bytes_ += (vector_size(i) * sizeof(float) + 63) / 64 * 64;
  }
}

int32_t Model::load_vectors(const WeightReader& reader, mrt_error* err) {
  for (uint32_t i = 0; i < schedule_.vectors.size(); ++i) {
    float* to = vectors_.as<float>(vector_at_[i]);
    MERRITT_PLUGIN_TRY(reader.read_f32(schedule_.vectors[i].weight, to, err));
    const auto offset = static_cast<float>(schedule_.vectors[i].offset);
    for (uint64_t k = 0; k < vector_size(i) && offset != 0.0f; ++k) to[k] += offset;
  }
  return MRT_OK;
}

// Reads some groups of rows into a small buffer and packs them, piece by piece on all workers; there is never a second
// copy of more than the pieces.
int32_t Model::pack_matrix(const WeightReader& reader, uint32_t m, uint8_t* staging, uint64_t share, const Host& host,
                           mrt_error* err) {
  const Packed& w = matrices_[m];
  const uint32_t weight = schedule_.matrices[m];
  const uint64_t row = plan_.weights[weight].row_bytes;
  const uint64_t at_once = std::max<uint64_t>(1, share / (row * kLanes));
  const auto pieces = static_cast<uint32_t>((w.groups + at_once - 1) / at_once);
  std::atomic<int32_t> failed{MRT_OK};
  uint8_t* packed = weights_.data() + matrix_at_[m];
  const int32_t code = host.parallel(pieces, [&](uint32_t piece, uint32_t worker) {
    if (failed.load(std::memory_order_relaxed) != MRT_OK) return;
    uint8_t* buffer = staging + worker * share;
    const uint64_t g0 = piece * at_once, g1 = std::min(w.groups, g0 + at_once);
    const uint64_t first = g0 * kLanes, rows = std::min(w.rows, g1 * kLanes) - first;
    mrt_error inner{};
    const int32_t result = reader.read(weight, first * row, buffer, rows * row, &inner);
    if (result != MRT_OK) {
      int32_t none = MRT_OK;
      if (failed.compare_exchange_strong(none, result)) *err = inner;
      return;
    }
    for (uint64_t g = g0; g < g1; ++g) {
      const uint8_t* from[kLanes];
      for (uint64_t r = 0; r < kLanes; ++r) {
        const uint64_t at = (g - g0) * kLanes + r;
        from[r] = at < rows ? buffer + at * row : nullptr;
      }
      pack_group(w, from, packed + g * w.group_bytes);
    }
  });
  if (failed.load() != MRT_OK) return failed.load();
  return code == MRT_OK ? MRT_OK : fail_call(err, code, "packing the weights failed");
}

uint64_t Model::piece_bytes() const noexcept {
  uint64_t share = kPieceBytes;
  for (const uint32_t weight : schedule_.matrices) share = std::max(share, plan_.weights[weight].row_bytes * kLanes);
  return share;
}

int32_t Model::pack_all(const WeightReader& reader, Host* host, mrt_error* err) {
  const uint64_t share = piece_bytes();
  Buffer staging;
  MERRITT_PLUGIN_TRY(staging.take(host, MRT_MEM_SCRATCH, share * host->n_workers(), "packing buffers", err));
  for (uint32_t m = 0; m < matrices_.size(); ++m) {
    MERRITT_PLUGIN_TRY(pack_matrix(reader, m, staging.data(), share, *host, err));
  }
  return MRT_OK;
}

int32_t Model::load(const mrt_weights& source, const mrt_packed* packed, const volatile uint32_t* cancel, Host* host,
                    mrt_error* err) {
  const WeightReader reader(&source, &plan_.weights, cancel);
  MERRITT_PLUGIN_TRY(load_vectors(reader, err));
  for (uint32_t m = 0; m < matrices_.size(); ++m) matrices_[m].data = weights_.data() + matrix_at_[m];
  bool taken = false;
  MERRITT_PLUGIN_TRY(take_packed(packed, reader, *host, &taken, err));
  return taken ? MRT_OK : pack_all(reader, host, err);
}

// One set of kernels for each distinct depth and type; a set the library does not have is left to our own kernel.
int32_t Model::make_kernels(mrt_error* err) {
  if (!isa_.library) return MRT_OK;
  if (isa_.library_bf16 && isa_.kernels->soften != nullptr && !exact_) {
    (void)attention_kernels_.create(plan_, schedule_);  // without: f32
  }
  for (const Phase& phase : schedule_.phases) {
    for (const MatrixOp& op : phase.matrix_ops) {
      if (kernel(op) != nullptr || (op.prompt_bf16 && in_tiles()) || op.generated == RowForm::kPairs) continue;
      const Packed& w = matrices_[op.matrix];
      const auto k = static_cast<uint32_t>(op.prompt_bf16 ? w.padded : w.cols);
      MatrixKernel made;
      if (made.create(k, k, op.prompt_bf16)) {
        kernels_.push_back(std::move(made));
      } else if (op.prompt_bf16) {
        return fail(err, MRT_BACKEND, MRT_BLAST_CALL, op.node, "node %u: the library made no bf16 kernel of depth %u",
                    op.node, k);
      }
    }
  }
  return MRT_OK;
}

const MatrixKernel* Model::kernel(const MatrixOp& op) const noexcept {
  const Packed& w = matrices_[op.matrix];
  for (const MatrixKernel& k : kernels_) {
    if (k.bf16() == op.prompt_bf16 && k.k() == (op.prompt_bf16 ? w.padded : w.cols)) return &k;
  }
  return nullptr;
}

uint64_t Model::kernel_scratch_bytes() const noexcept {
  uint64_t most = attention_kernels_.scratch_bytes();
  for (const MatrixKernel& k : kernels_) most = std::max(most, k.scratch_bytes());
  return most;
}

int32_t Model::compile(const mrt_graph* graph, const mrt_weights* weights, const mrt_packed* packed, uint32_t flags,
                       const volatile uint32_t* cancel, const IsaChoice& isa, Host* host, mrt_model_info* info,
                       mrt_error* err) {
  MERRITT_PLUGIN_TRY(parse_graph(graph, weights, &plan_, err));
  mrt_weights source{};
  MERRITT_PLUGIN_TRY(take_struct(weights, &source, "mrt_weights", err));
  isa_ = isa;
  exact_ = (flags & MRT_COMPILE_EXACT) != 0;
  // Without a bf16 kernel of the library the panels stay f32: our own kernel knows only these.
  const Formats formats{isa.kernels->bf16 && isa.library_bf16, in_tiles(), exact_,
                        isa.kernels->quantise_pairs != nullptr};
  MERRITT_PLUGIN_TRY(build_schedule(plan_, formats, &schedule_, err));
  lay_out();
  mrt_model_info answer{};
  answer.struct_size = sizeof answer;
  answer.flags = plan_.whole_sequence ? MRT_MODEL_WHOLE_SEQUENCE : 0;
  answer.weight_bytes = matrix_bytes_ + vector_bytes_;
  answer.peak_bytes = answer.weight_bytes + piece_bytes() * host->n_workers();
  Identity()
      .add(kNumerics)
      .add(isa.level)
      .add(isa.library ? 1u : 0u)
      .add(isa.library_bf16 ? 1u : 0u)
      .add(exact_ ? 1u : 0u)
      .write(answer.numerics);
  if ((flags & MRT_COMPILE_PLAN_ONLY) == 0) {
    MERRITT_PLUGIN_TRY(weights_.take(host, MRT_MEM_WEIGHTS, matrix_bytes_, "weights", err));
    MERRITT_PLUGIN_TRY(vectors_.take(host, MRT_MEM_WEIGHTS, vector_bytes_, "weights", err));
    MERRITT_PLUGIN_TRY(load(source, packed, cancel, host, err));
    MERRITT_PLUGIN_TRY(make_kernels(err));
  }
  return give_struct(answer, info, "mrt_model_info", err);
}

void Model::kernel_name(uint32_t node, uint32_t row_class, char* to, uint64_t bytes) const noexcept {
  for (const Phase& phase : schedule_.phases) {
    for (const MatrixOp& op : phase.matrix_ops) {
      if (op.node != node) continue;
      const TypeInfo* type = type_info(matrices_[op.matrix].type);
      if (op.generated == RowForm::kPairs) {
        std::snprintf(to, bytes, "own:%s_%s_%s", row_class == MRT_CLASS_PROMPT ? "gemm" : "gemv", type->name,
                      isa_.kernels->dot_name);
      } else if (row_class == MRT_CLASS_PROMPT) {
        const bool tiles = op.prompt_bf16 && in_tiles();
        const char* library = kernel(op) != nullptr ? "onednn:brgemm_" : "own:gemm_";
        std::snprintf(to, bytes, "%s%s", library, tiles ? "bf16_amx" : op.prompt_bf16 ? "bf16" : "f32");
      } else {
        std::snprintf(to, bytes, "own:gemv_%s_%s", type->name,
                      op.generated != RowForm::kF32 ? isa_.kernels->dot_name : isa_.kernels->name);
      }
      return;
    }
  }
  if (plan_.nodes[node].op == MRT_OP_ATTENTION && row_class == MRT_CLASS_PROMPT && !attention_kernels_.empty()) {
    std::snprintf(to, bytes, "onednn:brgemm_bf16");
    return;
  }
  const bool in_products = row_class == MRT_CLASS_PROMPT && is_joined(schedule_, node);
  std::snprintf(to, bytes, "own:%s_%s", op_name(plan_.nodes[node].op), in_products ? "bf16_amx" : isa_.kernels->name);
}

}  // namespace merritt::onednn
