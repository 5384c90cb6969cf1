// SPDX-License-Identifier: Apache-2.0
// merritt/engine.h: engines and backends.
#include <algorithm>
#include <cstring>

#include "api/convert.hpp"
#include "api/lookup.hpp"
#include "base/limits.hpp"

namespace merritt::api {
namespace {

constexpr uint64_t kBudgetMostUs = 1'000'000'000'000;

Status read_publishers(const merritt_engine_options& in, backend::LoaderOptions& out) {
  if (in.n_publishers != 0 && in.publishers == nullptr) return invalid("publishers is NULL with n_publishers not 0");
  if (in.n_publishers > limits::kPublishersMax) {
    return invalid("n_publishers is " + std::to_string(in.n_publishers) + "; the limit is " +
                   std::to_string(limits::kPublishersMax));
  }
  if (in.n_publishers == 0) return {};
  const uint32_t stride = in.publishers[0].struct_size;
  for (uint32_t i = 0; i < in.n_publishers; ++i) {
    const auto* at =
        reinterpret_cast<const merritt_publisher*>(reinterpret_cast<const char*>(in.publishers) + size_t{i} * stride);
    merritt_publisher publisher;
    MERRITT_CHECK(read_options(at, "merritt_publisher", publisher));
    std::string_view name, plugin_id;
    MERRITT_CHECK(read_string(publisher.name, publisher.name_length, 63, "publisher.name", name));
    MERRITT_CHECK(read_string(publisher.plugin_id, publisher.plugin_id_length, 63, "publisher.plugin_id", plugin_id));
    backend::Publisher trusted;
    trusted.name = name;
    std::copy(std::begin(publisher.public_key), std::end(publisher.public_key), trusted.public_key.begin());
    if (!plugin_id.empty()) trusted.plugin_ids.emplace_back(plugin_id);
    trusted.not_after = publisher.not_after;
    out.publishers.push_back(std::move(trusted));
  }
  return {};
}

Status read_plugin_dirs(const merritt_engine_options& in, backend::LoaderOptions& out) {
  if (in.n_plugin_dirs != 0 && (in.plugin_dirs == nullptr || in.plugin_dir_lengths == nullptr)) {
    return invalid("plugin_dirs or plugin_dir_lengths is NULL with n_plugin_dirs not 0");
  }
  if (in.n_plugin_dirs > limits::kPluginDirsMax) {
    return invalid("n_plugin_dirs is " + std::to_string(in.n_plugin_dirs) + "; the limit is " +
                   std::to_string(limits::kPluginDirsMax));
  }
  for (uint32_t i = 0; i < in.n_plugin_dirs; ++i) {
    std::string_view path;
    MERRITT_CHECK(read_string(in.plugin_dirs[i], in.plugin_dir_lengths[i], limits::kPathBytesMax, "plugin_dirs", path));
    if (path.empty() || path.front() != '/') {
      return invalid("plugin_dirs[" + std::to_string(i) + "] is not an absolute path");
    }
    out.directories.emplace_back(path);
  }
  return {};
}

Status read_engine_options(const merritt_engine_options* in, engine::EngineOptions& out) {
  merritt_engine_options options;
  MERRITT_CHECK(read_options(in, "merritt_engine_options", options));
  if (options.isa_max > MERRITT_ISA_AMX)
    return invalid("isa_max is " + std::to_string(options.isa_max) + "; see MERRITT_ISA_*");
  if (options.log_level > MERRITT_LOG_ERROR) return invalid("log_level is above MERRITT_LOG_ERROR");
  MERRITT_CHECK(check_flags(options.flags, MERRITT_ENGINE_NO_THREADS, "merritt_engine_options"));
  const bool no_threads = (options.flags & MERRITT_ENGINE_NO_THREADS) != 0;
  if (no_threads && options.parallel == nullptr && options.threads > 1) {
    return invalid("threads is " + std::to_string(options.threads) +
                   "; an engine without threads has one worker, or the host's with `parallel`");
  }
  if (options.threads > limits::kThreadsMax) {
    return invalid("threads is " + std::to_string(options.threads) + "; the limit is " +
                   std::to_string(limits::kThreadsMax));
  }
  if (options.gang != nullptr && options.parallel == nullptr) return invalid("gang is given without parallel");
  if (options.parallel != nullptr && options.threads == 0) {
    return invalid("parallel is given without threads: say how many workers it has");
  }
  out.threads = no_threads && options.threads == 0 ? 1 : options.threads;
  out.no_threads = no_threads;
  out.isa_max = options.isa_max;
  out.memory_bytes_max = options.memory_bytes_max;
  out.log_level = static_cast<observe::LogLevel>(options.log_level);
  out.log = {options.log, options.log_user};
  out.ledger = {options.ledger, options.ledger_user};
  out.executor = {options.parallel, options.gang, options.executor_user};
  MERRITT_CHECK(read_plugin_dirs(options, out.loader));
  return read_publishers(options, out.loader);
}

}  // namespace
}  // namespace merritt::api

using namespace merritt;       // NOLINT: this file only
using namespace merritt::api;  // NOLINT

extern "C" {

int32_t merritt_engine_create(const merritt_engine_options* options, merritt_engine* out, merritt_error** error) {
  return guard(merritt_engine{}, error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    engine::EngineOptions own;
    MERRITT_CHECK(read_engine_options(options, own));
    auto entry = std::make_unique<EngineEntry>();
    MERRITT_TRY(entry->engine, engine::Engine::create(std::move(own)));
    MERRITT_TRY(const Handle handle, register_engine(std::move(entry)));
    *out = handle.as<merritt_engine>();
    return {};
  });
}

int32_t merritt_engine_destroy(merritt_engine handle, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (handle == nullptr) return invalid("the engine handle is NULL");
    return destroy_engine(Handle::from_pointer(handle));
  });
}

int32_t merritt_engine_poll(merritt_engine handle, uint64_t budget_us, uint32_t* more, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    MERRITT_TRY(const bool left, pin.engine().poll(std::min(budget_us, kBudgetMostUs) * 1000));
    if (more != nullptr) *more = left ? 1 : 0;
    return {};
  });
}

int32_t merritt_engine_drain(merritt_engine handle, uint32_t deadline_ms, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    return pin.engine().drain(uint64_t{deadline_ms} * 1'000'000);
  });
}

int32_t merritt_engine_stats_get(merritt_engine handle, merritt_engine_stats* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    const engine::EngineStats stats = pin.engine().stats();
    merritt_engine_stats info{};
    info.threads = stats.threads;
    info.memory_bytes = stats.memory_bytes;
    info.memory_bytes_peak = stats.memory_bytes_peak;
    info.kv_bytes = stats.kv_bytes;
    info.weight_bytes = stats.weight_bytes;
    info.steps = stats.steps;
    info.prompt_tokens = stats.prompt_tokens;
    info.generated_tokens = stats.generated_tokens;
    info.requests_running = stats.requests_running;
    info.requests_waiting = stats.requests_waiting;
    info.steps_mixed = stats.steps_mixed;
    info.draft_tokens = stats.draft_tokens;
    info.draft_tokens_accepted = stats.draft_tokens_accepted;
    return write_info(info, "merritt_engine_stats", out);
  });
}

int32_t merritt_engine_load_backend(merritt_engine handle, const char* path, size_t path_length, const char** id,
                                    merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    std::string_view text;
    MERRITT_CHECK(read_string(path, path_length, limits::kPathBytesMax, "path", text));
    MERRITT_TRY(const backend::Plugin* plugin, pin.engine().load_backend(std::string(text)));
    if (id != nullptr) *id = plugin->id().c_str();
    return {};
  });
}

int32_t merritt_engine_load_backends(merritt_engine handle, uint32_t* loaded, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    MERRITT_TRY(const uint32_t count, pin.engine().load_backends());
    if (loaded != nullptr) *loaded = count;
    return {};
  });
}

int32_t merritt_engine_backend_get(merritt_engine handle, uint32_t index, merritt_backend_info* out,
                                   merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    MERRITT_TRY(const std::shared_ptr<backend::Device> device, pin.engine().backend_at(index));
    const backend::Plugin& plugin = device->plugin();
    merritt_backend_info info{};
    info.abi = plugin.abi();
    info.devices = 1;
    info.flags = (device->description().flags & MRT_DEV_BATCH_INVARIANT) != 0 ? MERRITT_BACKEND_BATCH_INVARIANT : 0;
    copy_text(info.id, plugin.id());
    copy_text(info.version, plugin.version());
    copy_text(info.device_name, device->name());
    copy_text(info.digest, plugin.digest_hex());
    return write_info(info, "merritt_backend_info", out);
  });
}

}  // extern "C"
