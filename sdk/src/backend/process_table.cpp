// SPDX-License-Identifier: Apache-2.0
#include "backend/process_table.hpp"

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <mutex>
#include <type_traits>

#include "base/limits.hpp"

namespace merritt::backend {
namespace {

struct ProcessTable {
  std::mutex mutex;
  uint32_t count;
  Build* builds[limits::kPluginsMax];
};
constinit ProcessTable g_process_table{};
static_assert(std::is_trivially_destructible_v<ProcessTable>);

}  // namespace

Result<const Plugin*> find_or_map(const Digest& digest, const std::function<Result<Build*>()>& map) {
  ProcessTable& table = g_process_table;
  const std::lock_guard lock(table.mutex);
  const auto answer = [](const Build& build) -> Result<const Plugin*> {
    if (build.plugin == nullptr) return build.failure;
    return build.plugin;
  };
  for (uint32_t i = 0; i < table.count; ++i) {
    if (table.builds[i]->digest == digest) return answer(*table.builds[i]);
  }
  if (table.count == limits::kPluginsMax) {
    return Status(Code::kOverloaded,
                  "this process has mapped " + std::to_string(table.count) +
                      " plugin builds; plugins are never unloaded: start a new process",
                  Blast::kProcess);
  }
  MERRITT_TRY(Build* const build, map());
  table.builds[table.count++] = build;
  return answer(*build);
}

bool is_mapped(const void* native_handle) {
  const ProcessTable& table = g_process_table;
  return std::any_of(table.builds, table.builds + table.count,
                     [&](const Build* build) { return build->library->native() == native_handle; });
}

uint32_t mapped_builds() {
  const std::lock_guard lock(g_process_table.mutex);
  return g_process_table.count;
}

}  // namespace merritt::backend
