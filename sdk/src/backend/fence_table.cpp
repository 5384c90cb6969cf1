// SPDX-License-Identifier: Apache-2.0
#include "backend/fence_table.hpp"

#include <array>
#include <atomic>
#include <utility>

#include "backend/plugin.hpp"
#include "backend/slots.hpp"
#include "base/limits.hpp"

namespace merritt::backend {
namespace {

// Written once each, before the fenced table is handed out; never taken away, as the plugins are not.
constinit mrt_backend g_tables[limits::kPluginsMax] = {};
constinit std::atomic<uint32_t> g_tables_made{0};

template <uint32_t Index, auto Slot>
struct Thunk;
template <uint32_t Index, class Answer, class... Parameters, Answer (*mrt_backend::*Slot)(Parameters...)>
struct Thunk<Index, Slot> {
  static Answer call(Parameters... parameters) noexcept { return fenced(g_tables[Index].*Slot, parameters...); }
};

template <uint32_t Index>
mrt_backend make_table() {
  mrt_backend table{};
#define MERRITT_FENCE(slot) table.slot = &Thunk<Index, &mrt_backend::slot>::call;
  MERRITT_SLOTS(MERRITT_FENCE, MERRITT_FENCE)
#undef MERRITT_FENCE
  return table;
}

using Maker = mrt_backend (*)();
template <uint32_t... Index>
constexpr std::array<Maker, sizeof...(Index)> makers(std::integer_sequence<uint32_t, Index...>) {
  return {&make_table<Index>...};
}
constexpr auto kMakers = makers(std::make_integer_sequence<uint32_t, limits::kPluginsMax>());

}  // namespace

std::optional<mrt_backend> fence_table(const mrt_backend& complete) {
  const uint32_t index = g_tables_made.load(std::memory_order_relaxed);
  if (index == limits::kPluginsMax) return std::nullopt;
  g_tables[index] = complete;
  g_tables_made.store(index + 1, std::memory_order_relaxed);
  return kMakers[index]();
}

}  // namespace merritt::backend
