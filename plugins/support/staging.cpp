// SPDX-License-Identifier: Apache-2.0
#include "support/staging.hpp"

namespace merritt::plugin {
namespace {

constexpr uint32_t kMaxTokens = 1u << 20;
constexpr uint32_t kMaxPagesPerSequence = 1u << 22;

// Walks the arrays twice: first to add up the bytes, then to hand out addresses.
class Cutter {
 public:
  explicit Cutter(uint8_t* base) noexcept : base_(base) {}
  template <class T>
  void cut(T** field, uint64_t n) noexcept {
    if (base_ != nullptr) *field = reinterpret_cast<T*>(base_ + at_);
    at_ += (n * sizeof(T) + 63) / 64 * 64;  // NOLINT(bugprone-sizeof-expression): arrays of pointers are meant
  }
  uint64_t bytes() const noexcept { return at_; }

 private:
  uint8_t* base_;
  uint64_t at_ = 0;
};

void cut_all(Cutter* c, mrt_staging* s, const Plan& plan, const mrt_program_policy& p, uint32_t n_groups,
             bool with_adapters) noexcept {
  c->cut(&s->token, p.max_tokens);
  c->cut(&s->position, p.max_tokens);
  if (plan.reads_types) c->cut(&s->type, p.max_tokens);
  if (plan.reads_hidden) c->cut(&s->hidden, static_cast<uint64_t>(p.max_tokens) * plan.hidden_width);
  c->cut(&s->rows, p.max_rows);
  c->cut(&s->seq_first, p.max_seqs);
  c->cut(&s->seq_tokens, p.max_seqs);
  c->cut(&s->seq_past, p.max_seqs);
  c->cut(&s->seq_class, p.max_seqs);
  c->cut(&s->seq_key, p.max_seqs);
  if (with_adapters) c->cut(&s->seq_adapter, p.max_seqs);
  for (uint32_t g = 0; g < n_groups; ++g) {
    c->cut(&s->pages[g], static_cast<uint64_t>(p.max_seqs) * p.max_pages[g]);
    c->cut(&s->page_base[g], p.max_seqs);
  }
  c->cut(&s->seq_status, p.max_seqs);
  for (uint32_t o = 0; o < plan.outputs.size(); ++o) {
    const PlanNode& n = plan.nodes[plan.outputs[o]];
    s->output[o].width = n.width;
    s->output[o].max_rows = max_rows_of(n.rows, p);
    c->cut(&s->output[o].data, static_cast<uint64_t>(n.width) * s->output[o].max_rows);
  }
}

}  // namespace

uint32_t max_rows_of(uint16_t rows_kind, const mrt_program_policy& policy) noexcept {
  return rows_kind == MRT_ROWS_TOKENS   ? policy.max_tokens
         : rows_kind == MRT_ROWS_WANTED ? policy.max_rows
                                        : policy.max_seqs;
}

int32_t take_policy(const mrt_program_policy* policy, const Plan& plan, uint32_t n_groups, mrt_program_policy* out,
                    mrt_error* err) {
  mrt_program_policy p{};
  MERRITT_PLUGIN_TRY(take_struct(policy, &p, "mrt_program_policy", err));
  if (n_groups != plan.groups.size()) {
    return fail_call(
        err, MRT_INVALID_ARGUMENT,
        n_groups == 0 ? "the graph caches: the program needs a pool" : "the pool was made for another model");
  }
  if (p.max_tokens == 0 || p.max_tokens > kMaxTokens) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "program policy: max_tokens %u is not in [1, %u]", p.max_tokens,
                     kMaxTokens);
  }
  if (p.max_seqs == 0 || p.max_seqs > p.max_tokens || p.max_rows > p.max_tokens) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "program policy: %u sequences or %u rows for %u tokens", p.max_seqs,
                     p.max_rows, p.max_tokens);
  }
  for (uint32_t g = 0; g < MRT_MAX_GROUPS; ++g) {
    const bool used = g < n_groups;
    if (used ? p.max_pages[g] == 0 || p.max_pages[g] > kMaxPagesPerSequence : p.max_pages[g] != 0) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "program policy: max_pages %u in group %u of %u", p.max_pages[g], g,
                       n_groups);
    }
  }
  if (p.n_buckets > 4096 || (p.n_buckets != 0 && p.buckets == nullptr)) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "program policy: %u buckets, at most 4096, and not null", p.n_buckets);
  }
  p.n_buckets = 0;
  p.buckets = nullptr;
  *out = p;
  return MRT_OK;
}

int32_t Staging::create(const Plan& plan, const mrt_program_policy& policy, uint32_t n_groups, uint32_t n_slots,
                        bool with_adapters, Memory* memory, mrt_error* err) {
  view_ = {};
  view_.struct_size = sizeof view_;
  view_.n_slots = n_slots;
  Cutter measure(nullptr);
  cut_all(&measure, &view_, plan, policy, n_groups, with_adapters);
  MERRITT_PLUGIN_TRY(block_.take(memory, MRT_MEM_STAGING, measure.bytes(), "staging", err));
  Cutter cutter(block_.data());
  cut_all(&cutter, &view_, plan, policy, n_groups, with_adapters);
  return MRT_OK;
}

int32_t Staging::give(mrt_staging* out, mrt_error* err) noexcept {
  if (given_) return fail_call(err, MRT_FAILED_PRECONDITION, "the staging of this slot was given out before");
  MERRITT_PLUGIN_TRY(give_struct(view_, out, "mrt_staging", err));
  given_ = true;
  return MRT_OK;
}

}  // namespace merritt::plugin
