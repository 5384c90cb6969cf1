// SPDX-License-Identifier: Apache-2.0
#include "support/step.hpp"

#include <algorithm>

namespace merritt::plugin {

using ull = unsigned long long;

int32_t StepChecker::create(const Plan* plan, Pool* pool, const mrt_program_policy& policy, Memory* memory,
                            mrt_error* err) {
  plan_ = plan;
  pool_ = pool;
  policy_ = policy;
  uint64_t pages = 0;
  for (uint32_t g = 0; pool != nullptr && g < pool->geometry().n_groups; ++g) {
    writers_at_[g] = pages;
    pages += pool->geometry().n_pages[g];
  }
  return writers_.take(memory, MRT_MEM_SCRATCH, pages * sizeof(uint32_t), "page marks", err);
}

int32_t StepChecker::check(const mrt_step* step, const mrt_staging& staging, uint32_t n_slots, mrt_step* out,
                           mrt_error* err) noexcept {
  mrt_step s{};
  MERRITT_PLUGIN_TRY(take_struct(step, &s, "mrt_step", err));
  MERRITT_PLUGIN_TRY(check_counts(s, n_slots, err));
  uint32_t first = 0;
  for (uint32_t i = 0; i < s.n_seqs; ++i) {
    MERRITT_PLUGIN_TRY(check_sequence(s, staging, i, first, err));
    first += staging.seq_tokens[i];
  }
  if (first != s.n_tokens) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "step: the runs hold %u tokens, the step %u", first, s.n_tokens);
  }
  MERRITT_PLUGIN_TRY(check_rows(s, staging, err));
  MERRITT_PLUGIN_TRY(claim_written(s, staging, err));
  *out = s;
  return MRT_OK;
}

int32_t StepChecker::check_counts(const mrt_step& s, uint32_t n_slots, mrt_error* err) const noexcept {
  if (s.slot >= n_slots) return fail_call(err, MRT_INVALID_ARGUMENT, "step: slot %u of %u", s.slot, n_slots);
  const struct {
    const char* name;
    uint32_t value, min, max;
  } counts[] = {{"tokens", s.n_tokens, 1, policy_.max_tokens},
                {"sequences", s.n_seqs, 1, policy_.max_seqs},
                {"rows", s.n_rows, 0, policy_.max_rows}};
  for (const auto& c : counts) {
    if (c.value < c.min || c.value > c.max) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "step: %u %s, not in [%u, %u]", c.value, c.name, c.min, c.max);
    }
  }
  if (s.outputs >> plan_->outputs.size() != 0) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "step: outputs %x of a graph with %zu", s.outputs,
                     plan_->outputs.size());
  }
  return MRT_OK;
}

int32_t StepChecker::check_sequence(const mrt_step& step, const mrt_staging& st, uint32_t s, uint32_t first,
                                    mrt_error* err) const noexcept {
  const uint32_t n = st.seq_tokens[s];
  if (st.seq_first[s] != first) {
    return fail_sequence(err, MRT_INVALID_ARGUMENT, s, "sequence %u: its run begins at %u, not %u", s, st.seq_first[s],
                         first);
  }
  if (n == 0 || n > step.n_tokens - first) {
    return fail_sequence(err, MRT_INVALID_ARGUMENT, s, "sequence %u: a run of %u at %u of %u tokens", s, n, first,
                         step.n_tokens);
  }
  if (st.seq_class[s] > MRT_CLASS_GENERATED) {
    return fail_sequence(err, MRT_INVALID_ARGUMENT, s, "sequence %u: class %u is not known", s, st.seq_class[s]);
  }
  const uint64_t end = static_cast<uint64_t>(st.seq_past[s]) + n;
  if (end > UINT32_MAX || (plan_->max_context != 0 && end > plan_->max_context)) {
    return fail_sequence(err, MRT_INVALID_ARGUMENT, s, "sequence %u: %llu tokens, the context holds %u", s,
                         static_cast<ull>(end), plan_->max_context);
  }
  if (plan_->whole_sequence && st.seq_past[s] != 0) {
    return fail_sequence(err, MRT_INVALID_ARGUMENT, s, "sequence %u: the model takes a whole sequence in one step", s);
  }
  MERRITT_PLUGIN_TRY(check_tokens(st, s, first, n, err));
  const uint32_t groups = pool_ == nullptr ? 0 : pool_->geometry().n_groups;
  for (uint32_t g = 0; g < groups; ++g) MERRITT_PLUGIN_TRY(check_pages(st, s, g, err));
  return MRT_OK;
}

int32_t StepChecker::check_tokens(const mrt_staging& st, uint32_t s, uint32_t first, uint32_t n,
                                  mrt_error* err) const noexcept {
  const uint32_t position_limit =
      plan_->max_context != 0 ? std::min(plan_->max_context, plan_->position_limit) : plan_->position_limit;
  const struct {
    const char* name;
    const uint32_t* values;
    uint32_t limit;
  } inputs[] = {{"token", plan_->reads_tokens ? st.token : nullptr, plan_->token_limit},
                {"position", plan_->reads_positions ? st.position : nullptr, position_limit},
                {"type", plan_->reads_types ? st.type : nullptr, plan_->type_limit}};
  for (const auto& in : inputs) {
    for (uint32_t i = first; in.values != nullptr && i < first + n; ++i) {
      if (in.values[i] >= in.limit) {  // the value itself stays out of the text: it may be part of a prompt
        return fail_sequence(err, MRT_INVALID_ARGUMENT, s, "sequence %u: the %s at row %u is not below %u", s, in.name,
                             i, in.limit);
      }
    }
  }
  return MRT_OK;
}

int32_t StepChecker::check_rows(const mrt_step& step, const mrt_staging& st, mrt_error* err) const noexcept {
  for (uint32_t r = 0; r < step.n_rows; ++r) {
    if (st.rows[r] >= step.n_tokens || (r > 0 && st.rows[r] <= st.rows[r - 1])) {
      return fail_call(err, MRT_INVALID_ARGUMENT, "step: wanted row %u is token %u, not ascending and below %u", r,
                       st.rows[r], step.n_tokens);
    }
  }
  return MRT_OK;
}

PageRange page_range(const mrt_staging& st, uint32_t s, uint32_t g, uint32_t page_tokens) noexcept {
  const uint64_t past = st.seq_past[s], end = past + st.seq_tokens[s];
  const uint32_t base = st.page_base[g][s];
  return {base, static_cast<uint32_t>((end + page_tokens - 1) / page_tokens) - base,
          static_cast<uint32_t>(past / page_tokens) - base};
}

int32_t StepChecker::check_pages(const mrt_staging& st, uint32_t s, uint32_t g, mrt_error* err) const noexcept {
  const KvGeometry& geo = pool_->geometry();
  const uint32_t pt = geo.page_tokens, base = st.page_base[g][s];
  const uint64_t needed = first_visible(st.seq_past[s], geo.group[g].window) / pt;
  if (base > needed) {
    return fail_sequence(err, MRT_INVALID_ARGUMENT, s,
                         "sequence %u group %u: page %llu is still visible, the table begins at %u", s, g,
                         static_cast<ull>(needed), base);
  }
  const PageRange range = page_range(st, s, g, pt);
  if (range.n_entries > policy_.max_pages[g]) {
    return fail_sequence(err, MRT_INVALID_ARGUMENT, s, "sequence %u group %u: %u pages needed, the table holds %u", s,
                         g, range.n_entries, policy_.max_pages[g]);
  }
  const uint32_t* table = st.pages[g] + static_cast<uint64_t>(s) * policy_.max_pages[g];
  for (uint32_t e = 0; e < range.n_entries; ++e) {
    const uint32_t id = table[e] & ~MRT_PAGE_SEALED;
    const bool sealed = (table[e] & MRT_PAGE_SEALED) != 0;
    if (id >= geo.n_pages[g]) {
      return fail_sequence(err, MRT_INVALID_ARGUMENT, s, "sequence %u group %u: entry %u is page %u of %u", s, g, e, id,
                           geo.n_pages[g]);
    }
    if (sealed && !pool_->has_opener()) {
      return fail_sequence(err, MRT_INVALID_ARGUMENT, s,
                           "sequence %u group %u: entry %u is sealed, the pool has no opener", s, g, e);
    }
    if (e < range.write_from) continue;
    if (sealed || (geo.n_hot[g] != 0 && id >= geo.n_hot[g])) {
      return fail_sequence(err, MRT_INVALID_ARGUMENT, s,
                           "sequence %u group %u: entry %u is written by this step but %s", s, g, e,
                           sealed ? "sealed" : "not a hot page");
    }
  }
  return MRT_OK;
}

// A page written by one run may be named by no other entry of the step, or that reader would see half a write.
int32_t StepChecker::claim_written(const mrt_step& step, const mrt_staging& st, mrt_error* err) const noexcept {
  if (pool_ == nullptr) return MRT_OK;
  auto* marks = writers_.as<uint32_t>();
  const KvGeometry& geo = pool_->geometry();
  int32_t code = MRT_OK;
  for (const uint32_t pass : {0u, 1u, 2u}) {  // claim, compare, clear
    if (pass == 1 && code != MRT_OK) continue;
    for (uint32_t s = 0; s < step.n_seqs; ++s) {
      for (uint32_t g = 0; g < geo.n_groups; ++g) {
        const PageRange range = page_range(st, s, g, geo.page_tokens);
        const uint32_t* table = st.pages[g] + static_cast<uint64_t>(s) * policy_.max_pages[g];
        for (uint32_t e = pass == 1 ? 0 : range.write_from; e < (pass == 1 ? range.write_from : range.n_entries); ++e) {
          uint32_t& mark = marks[writers_at_[g] + (table[e] & ~MRT_PAGE_SEALED)];
          if (pass == 2) {
            mark = 0;
          } else if (mark != 0) {
            if (code == MRT_OK) {
              code = fail_sequence(err, MRT_INVALID_ARGUMENT, s,
                                   "sequence %u group %u: entry %u is also written by sequence %u", s, g, e, mark - 1);
            }
          } else if (pass == 0) {
            mark = s + 1;
            pool_->note_written(g, table[e] & ~MRT_PAGE_SEALED);
          }
        }
      }
    }
  }
  return code;
}

int32_t SlotState::may_prepare(mrt_error* err) const noexcept {
  if (phase_ == SlotPhase::kIdle) return MRT_OK;
  return fail_call(err, MRT_FAILED_PRECONDITION, "the slot holds a step: commit or abort it first");
}

void SlotState::prepared(const mrt_step& step) noexcept {
  step_ = step;
  result_ = {};
  phase_ = SlotPhase::kPrepared;
}

int32_t SlotState::start(mrt_error* err) noexcept {
  if (phase_ != SlotPhase::kPrepared)
    return fail_call(err, MRT_FAILED_PRECONDITION, "the slot has no prepared step to run");
  phase_ = SlotPhase::kRunning;
  return MRT_OK;
}

void SlotState::finish(const mrt_error& result) noexcept {
  result_ = result;
  phase_ = SlotPhase::kDone;
}

int32_t SlotState::result(mrt_error* err) const noexcept {
  if (phase_ != SlotPhase::kDone) return fail_call(err, MRT_FAILED_PRECONDITION, "the slot has no step to wait for");
  if (result_.code != MRT_OK) *err = result_;
  return result_.code;
}

int32_t SlotState::commit(const uint32_t* accepted, const mrt_staging& staging, mrt_error* err) noexcept {
  if (phase_ != SlotPhase::kDone || result_.code != MRT_OK) {
    return fail_call(err, MRT_FAILED_PRECONDITION, "the slot has no finished step to commit: abort it");
  }
  for (uint32_t s = 0; accepted != nullptr && s < step_.n_seqs; ++s) {
    const uint32_t most = staging.seq_status[s] == MRT_OK ? staging.seq_tokens[s] : 0;
    if (accepted[s] > most) {
      return fail_sequence(err, MRT_INVALID_ARGUMENT, s, "sequence %u: %u tokens accepted, at most %u", s, accepted[s],
                           most);
    }
  }
  phase_ = SlotPhase::kIdle;
  return MRT_OK;
}

int32_t SlotState::abort(mrt_error* err) noexcept {
  if (phase_ == SlotPhase::kIdle) return fail_call(err, MRT_FAILED_PRECONDITION, "the slot has no step to abort");
  phase_ = SlotPhase::kIdle;
  return MRT_OK;
}

}  // namespace merritt::plugin
