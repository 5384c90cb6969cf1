// SPDX-License-Identifier: Apache-2.0
//
// merritt bench --tenants: the load of a file on one engine, and what each tenant got.
#include "bench_tenants.hpp"

#include <fstream>

#include "cli.hpp"
#include "interrupt.hpp"
#include "kernel_trace.hpp"
#include "machine.hpp"
#include "tenants_figures.hpp"
#include "tenants_idle.hpp"
#include "tenants_load.hpp"
#include "tenants_report.hpp"
#include "tenants_spec.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

// Only a loaded model knows how many bytes a token takes: for a pool of so many tokens it is loaded again.
Model load_for(Engine& engine, ModelFlags flags, const LoadSpec& spec) {
  ModelOptions options;
  options.step_tokens_max = spec.step_tokens_max;
  flags.sequences_max = spec.sequences_max;
  {
    Model model = load_model(engine, flags, options);
    if (spec.kv_tokens == 0) return model;
    const ModelInfo info = expect(model.info(), "model");
    options.kv_bytes = info.kv_bytes_per_token * spec.kv_tokens;
  }
  return load_model(engine, flags, options);
}

void write_report(const std::string& file, const LoadFigures& figures, const std::string& title) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << html_of(figures, title);
  out.close();
  if (!out) throw with_fix(file + ": cannot be written", "name a file that can be with --report");
}

}  // namespace

int bench_tenants(const ModelFlags& model_flags, const TenantBenchFlags& flags) {
  const LoadSpec spec = read_load(flags.spec);
  watch_interrupts();
  Engine engine = open_engine(model_flags.engine);
  Model model = load_for(engine, model_flags, spec);
  const ModelInfo info = expect(model.info(), "model");
  const IdleTenants idle(engine, model, spec.idle_tenants);
  LoadFigures figures = run_load(engine, model, spec);
  figures.idle = idle.figures();
  const EngineStats stats = expect(engine.stats(), "statistics");
  const Machine machine = inspect_machine();
  if (!flags.report.empty()) write_report(flags.report, figures, std::string("Tenants on ") + info.name);
  if (flags.json) {
    nlohmann::ordered_json out = {
        {"model", info.name},          {"quantization", info.quantization},
        {"backend", info.backend},     {"threads", stats.threads},
        {"cpu", machine.cpu},          {"cpu_features", features_used(machine, kernel_names(model))},
        {"context", info.context_max}, {"seed", spec.seed}};
    out.update(json_of(figures));
    emit(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } else {
    emit(format("%s, %s, %s, %u threads\n", info.name, info.quantization, info.backend, stats.threads) +
         table_of(figures));
  }
  return kExitOk;
}

}  // namespace merritt::tools
