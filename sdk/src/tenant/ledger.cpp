// SPDX-License-Identifier: Apache-2.0
#include "tenant/ledger.hpp"

#include <numeric>

namespace merritt::tenant {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::string_view kRefusedHelp = "Requests refused, by cause.";
constexpr std::string_view kFinishedHelp = "Requests ended, by reason.";

constexpr std::array<CounterName, kCounters> kNames{{
    {"requests", "", "", "Requests accepted."},
    {"prompt_tokens", "", "", "Prompt tokens run."},
    {"cached_tokens", "", "", "Prompt tokens that were in a session's cache already."},
    {"generated_tokens", "", "", "Tokens handed out."},
    {"draft_tokens", "", "", "Tokens run as guesses."},
    {"draft_tokens_accepted", "", "", "Of the guesses, those handed out."},
    {"compute_ns", "", "", "Nanoseconds of steps, by the tenant's part of their rows."},
    {"kv_byte_seconds", "", "", "Bytes of KV pages held, over time."},
    {"template_steps", "", "", "Steps of rendering chat templates."},
    {"refusals", "cause", "prompt_bytes", kRefusedHelp},
    {"refusals", "cause", "request_rate", kRefusedHelp},
    {"refusals", "cause", "token_rate", kRefusedHelp},
    {"refusals", "cause", "queue", kRefusedHelp},
    {"refusals", "cause", "sequences", kRefusedHelp},
    {"refusals", "cause", "kv_bytes", kRefusedHelp},
    {"refusals", "cause", "context", kRefusedHelp},
    {"refusals", "cause", "output", kRefusedHelp},
    {"refusals", "cause", "template", kRefusedHelp},
    {"refusals", "cause", "model", kRefusedHelp},
    {"refusals", "cause", "overload", kRefusedHelp},
    {"refusals", "cause", "other", kRefusedHelp},
    {"finished", "reason", "evaluated", kFinishedHelp},
    {"finished", "reason", "eos", kFinishedHelp},
    {"finished", "reason", "stop", kFinishedHelp},
    {"finished", "reason", "length", kFinishedHelp},
    {"finished", "reason", "cancelled", kFinishedHelp},
    {"finished", "reason", "deadline", kFinishedHelp},
    {"finished", "reason", "error", kFinishedHelp},
    {"model_loads", "", "", "Models loaded on the tenant's account."},
    {"model_load_ns", "", "", "Nanoseconds of loading them, also of loads that failed."},
}};
static_assert(kNames[index_of(Refusal::kOther)].value == "other");
static_assert(!kNames.back().name.empty());

}  // namespace

const CounterName& counter_name(uint32_t counter) { return kNames[counter]; }

Counts Ledger::counts() const {
  Counts out{};
  for (uint32_t i = 0; i < kCounters; ++i) out[i] = counters_[i].load(std::memory_order_relaxed);
  return out;
}

uint64_t sum_of_refusals(const Counts& counts) {
  const auto first = counts.begin() + index_of(Counter::kRefused);
  return std::accumulate(first, first + kRefusals, uint64_t{0});
}

uint64_t share_until(uint64_t total, uint64_t weight_until, uint64_t weight_total) {
  return static_cast<uint64_t>(Wide{total} * weight_until / weight_total);
}

}  // namespace merritt::tenant
