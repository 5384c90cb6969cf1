// SPDX-License-Identifier: Apache-2.0
//
// merritt doctor: what works on this machine, and how to mend what does not. Exit code 1 when nothing can run.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "machine.hpp"
#include "model_search.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

struct DoctorFlags {
  EngineFlags engine;
  bool json = false;
};

enum class Health { kGood, kSlow, kBroken };  // slow: works, but less well than it could

struct Check {
  std::string name;
  Health health = Health::kGood;
  std::string found;
  std::string fix;  // empty when good
};

const char* name_of(Health health) {
  return health == Health::kGood ? "ok" : health == Health::kSlow ? "warn" : "fail";
}

std::string words_of(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

Check check_cpu(const Machine& machine) {
  Check check{"cpu", Health::kGood, machine.cpu + ": " + words_of(machine.features), ""};
  if (!has_feature(machine, "avx2")) {
    check.health = Health::kSlow;
    check.fix = "the onednn backend needs AVX2; the reference backend runs everywhere, slowly";
  } else if (!has_feature(machine, "avx512_bf16") && !has_feature(machine, "amx_tile")) {
    check.health = Health::kSlow;
    check.fix = "a CPU with AVX-512 BF16 or AMX runs prompts several times faster";
  }
  return check;
}

Check check_threads(const Machine& machine) {
  Check check{"threads", Health::kGood,
              format("%u by affinity and the cgroup's CPU limit, of %u CPUs", machine.threads, machine.cpus_online),
              ""};
  if (machine.threads == 1 && machine.cpus_online > 1) {
    check.health = Health::kSlow;
    check.fix = "one CPU is granted: widen the affinity (taskset -p) or raise the container's CPU limit";
  }
  return check;
}

Check check_memory(const Machine& machine) {
  Check check{"memory", Health::kGood,
              human_bytes(machine.memory_available) + " of " + human_bytes(machine.memory_total) + " available", ""};
  if (machine.memory_available < (1u << 29)) {
    check.health = Health::kSlow;
    check.fix = "even small models want 500 MB: end other programs or raise the container's memory limit";
  }
  return check;
}

Check check_memlock(const Machine& machine) {
  Check check{"memlock", Health::kGood, machine.memlock == UINT64_MAX ? "no limit" : human_bytes(machine.memlock), ""};
  if (machine.memlock < (8u << 20)) {
    check.health = Health::kSlow;
    check.fix =
        "locked memory keeps keys out of swap: `ulimit -l 65536`, LimitMEMLOCK= in a unit, --ulimit memlock= in a "
        "container";
  }
  return check;
}

Check check_huge_pages(const Machine& machine) {
  const std::string& state = machine.transparent_huge_pages;
  Check check{"huge pages", Health::kGood,
              (state.empty() ? "transparent: unknown" : "transparent: " + state) + ", " +
                  std::to_string(machine.huge_pages_free) + " reserved free",
              ""};
  if (state == "never") {
    check.health = Health::kSlow;
    check.fix = "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
  }
  return check;
}

// One check a plugin; the engine itself verifies them, as it would for a host.
std::vector<Check> check_plugins(const EngineFlags& flags) {
  std::vector<Check> checks;
  const std::vector<std::string> files = plugin_files(flags);
  if (files.empty()) {
    checks.push_back({"plugins", Health::kBroken, "no lib*.so in " + words_of(flags.plugin_dirs),
                      "./dev build, or name their folder with --plugin-dir"});
    return checks;
  }
  try {
    Engine engine = open_bare_engine(flags);
    for (const PluginFile& file : load_plugins(engine, files)) {
      const std::string name = "plugin " + std::filesystem::path(file.path).filename().string();
      if (file.error.empty()) {
        checks.push_back({name, Health::kGood, "verified and loaded as " + file.id, ""});
      } else {
        checks.push_back(
            {name, Health::kSlow, file.error,
             "`merritt plugin verify " + file.path + "` tells more; `merritt plugin sign` signs it again"});
      }
    }
  } catch (const Failure& failure) {
    checks.push_back({"plugins", Health::kBroken, failure.what(), "--trust FILE names a trust list"});
  }
  const bool any = std::any_of(checks.begin(), checks.end(), [](const Check& c) { return c.health == Health::kGood; });
  if (!any) checks.back().health = Health::kBroken;
  return checks;
}

std::string join_command(const FoundModel& model) {
  std::string command = "cat";
  for (const std::string& part : model.parts) command += " " + part;
  return command + " > " + model.path;
}

Check check_models(const std::vector<FoundModel>& models) {
  if (models.empty()) {
    return {"models", Health::kSlow, "none in Python packages, the Hugging Face cache or ./models",
            "./dev setup fetches Gemma-3-270M into models/; any GGUF file will do: merritt run -m FILE"};
  }
  return {"models", Health::kGood, std::to_string(models.size()) + " found", ""};
}

nlohmann::ordered_json json_of(const Machine& machine, const std::vector<Check>& checks,
                               const std::vector<FoundModel>& models) {
  nlohmann::ordered_json out;
  out["version"] = merritt_version_string();
  out["cpu_features"] = machine.features;
  out["threads"] = machine.threads;
  out["memlock_bytes"] =
      machine.memlock == UINT64_MAX ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(machine.memlock);
  out["transparent_huge_pages"] = machine.transparent_huge_pages;
  out["checks"] = nlohmann::ordered_json::array();
  for (const Check& check : checks) {
    nlohmann::ordered_json entry = {{"name", check.name}, {"health", name_of(check.health)}, {"found", check.found}};
    if (!check.fix.empty()) entry["fix"] = check.fix;
    out["checks"].push_back(entry);
  }
  out["models"] = nlohmann::ordered_json::array();
  for (const FoundModel& model : models) {
    nlohmann::ordered_json entry = {{"path", model.path}, {"bytes", model.bytes}, {"where", model.where}};
    if (!model.parts.empty()) entry["parts"] = model.parts;
    out["models"].push_back(entry);
  }
  return out;
}

std::string text_of(const std::vector<Check>& checks, const std::vector<FoundModel>& models) {
  std::string text = format("merritt %s\n", merritt_version_string());
  for (const Check& check : checks) {
    text += format("%-5s %-34s %s\n", name_of(check.health), check.name.c_str(), check.found.c_str());
    if (!check.fix.empty()) text += "      fix: " + check.fix + "\n";
  }
  for (const FoundModel& model : models) {
    text += format("      %10s  %s  (%s)\n", human_bytes(model.bytes).c_str(), model.path.c_str(), model.where.c_str());
    if (!model.parts.empty()) {
      text += format("                  in %zu parts; to join them: ", model.parts.size()) + join_command(model) + "\n";
    }
  }
  return text;
}

int doctor(const DoctorFlags& flags) {
  const Machine machine = inspect_machine();
  const std::vector<FoundModel> models = find_models();
  std::vector<Check> checks = {check_cpu(machine), check_threads(machine), check_memory(machine),
                               check_memlock(machine), check_huge_pages(machine)};
  for (Check& check : check_plugins(resolved(flags.engine))) checks.push_back(std::move(check));
  checks.push_back(check_models(models));
  emit(flags.json
           ? json_of(machine, checks, models).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
           : text_of(checks, models));
  const bool broken =
      std::any_of(checks.begin(), checks.end(), [](const Check& c) { return c.health == Health::kBroken; });
  return broken ? kExitFailed : kExitOk;
}

}  // namespace

void add_doctor(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<DoctorFlags>();
  CLI::App* self = app.add_subcommand("doctor", "What works on this machine, and how to mend what does not");
  add_engine_flags(*self, flags->engine);
  self->add_flag("--json", flags->json, "As JSON");
  self->callback([flags, &verb] { verb = [flags] { return doctor(*flags); }; });
}

}  // namespace merritt::tools
