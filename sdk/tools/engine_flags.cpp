// SPDX-License-Identifier: Apache-2.0
#include "engine_flags.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include "cli.hpp"
#include "interrupt.hpp"
#include "terminal.hpp"
#include "trust.hpp"

namespace merritt::tools {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, uint32_t> kIsaNames = {{"any", MERRITT_ISA_ANY},
                                                   {"avx2", MERRITT_ISA_AVX2},
                                                   {"avx512", MERRITT_ISA_AVX512},
                                                   {"vnni", MERRITT_ISA_VNNI},
                                                   {"amx", MERRITT_ISA_AMX}};
const std::map<std::string, uint32_t> kKvTypes = {{"default", MERRITT_KV_DEFAULT},
                                                  {"f32", MERRITT_KV_F32},
                                                  {"f16", MERRITT_KV_F16},
                                                  {"bf16", MERRITT_KV_BF16},
                                                  {"q8_0", MERRITT_KV_Q8_0}};

std::vector<std::string> names_of(const std::map<std::string, uint32_t>& table) {
  std::vector<std::string> names;
  for (const auto& entry : table) names.push_back(entry.first);
  return names;
}

std::string default_plugin_dir() {
  std::error_code failed;
  const fs::path program = fs::read_symlink("/proc/self/exe", failed);
  return (program.parent_path().parent_path() / "lib" / "merritt" / "plugins").string();
}

// The fast one first, the oracle last.
int preference(const std::string& path) {
  const std::string file = fs::path(path).filename().string();
  if (file == "libmerritt_onednn.so") return 0;
  return file == "libmerritt_reference.so" ? 2 : 1;
}

// As an absolute path without links; made for this user alone when there is none.
std::string private_folder(const std::string& folder) {
  std::error_code failed;
  if (fs::create_directory(folder, failed)) fs::permissions(folder, fs::perms::owner_all, failed);
  const fs::path real = fs::canonical(folder, failed);
  if (failed) throw with_fix(folder + ": " + failed.message(), "name a folder that can be made with --pack-cache");
  return real.string();
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

}  // namespace

void add_engine_flags(CLI::App& verb, EngineFlags& flags) {
  verb.add_option("--plugin-dir", flags.plugin_dirs, "Folder plugins may be loaded from (repeatable)");
  verb.add_option("--trust", flags.trust, "Trust list, by default trust.json in the plugin folder");
  verb.add_option("--backend", flags.backend, "Backend to use: onednn, reference, ...");
  verb.add_option("--isa-max", flags.isa_max, "Widest instruction set to use")
      ->check(CLI::IsMember(names_of(kIsaNames)));
  verb.add_option("--threads", flags.threads, "Worker threads, by default what the machine gives this process");
  verb.add_flag("--verbose", flags.verbose, "The engine's log on stderr");
}

void add_model_flags(CLI::App& verb, ModelFlags& flags, bool model_required) {
  auto* model = verb.add_option("-m,--model", flags.model, "GGUF file");
  if (model_required) model->required();
  verb.add_option("--context", flags.context_max, "Longest sequence in tokens, by default min(the model's, 4096)");
  verb.add_option("--kv-type", flags.kv_type, "Element type of the KV cache")->check(CLI::IsMember(names_of(kKvTypes)));
  verb.add_option("--pack-cache", flags.pack_cache,
                  "Folder to keep packed weights in for the next load, made when missing; yours alone");
  add_engine_flags(verb, flags.engine);
}

EngineFlags resolved(EngineFlags flags) {
  if (flags.plugin_dirs.empty()) flags.plugin_dirs.push_back(default_plugin_dir());
  for (std::string& dir : flags.plugin_dirs) {
    std::error_code failed;
    const fs::path real = fs::canonical(dir, failed);
    if (!failed) dir = real.string();
  }
  if (flags.trust.empty()) flags.trust = (fs::path(flags.plugin_dirs.front()) / "trust.json").string();
  return flags;
}

std::vector<std::string> plugin_files(const EngineFlags& flags) {
  std::vector<std::string> files;
  for (const std::string& dir : flags.plugin_dirs) {
    std::error_code failed;
    for (const fs::directory_entry& entry : fs::directory_iterator(dir, failed)) {
      const std::string file = entry.path().filename().string();
      if (file.starts_with("lib") && file.ends_with(".so")) files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end(), [](const std::string& a, const std::string& b) {
    return std::pair(preference(a), a) < std::pair(preference(b), b);
  });
  return files;
}

Engine open_bare_engine(const EngineFlags& flags) {
  EngineOptions options;
  options.threads = flags.threads;
  options.isa_max = kIsaNames.at(flags.isa_max);
  options.plugin_dirs = flags.plugin_dirs;
  options.publishers = read_trust(flags.trust);
  options.log_level = flags.verbose ? LogLevel::kDebug : LogLevel::kError;
  options.log = [](LogLevel, std::string_view text) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  };
  return expect(Engine::create(options), "engine");
}

std::vector<PluginFile> load_plugins(Engine& engine, const std::vector<std::string>& files) {
  std::vector<PluginFile> all;
  for (const std::string& path : files) {
    PluginFile file;
    file.path = path;
    auto loaded = engine.load_backend(path);
    if (loaded) {
      file.id = *loaded;
    } else {
      file.error = loaded.error().message();
    }
    all.push_back(std::move(file));
  }
  return all;
}

Engine open_engine(const EngineFlags& given) {
  const EngineFlags flags = resolved(given);
  std::vector<std::string> files = plugin_files(flags);
  if (!flags.backend.empty()) {
    const std::string wanted = "libmerritt_" + flags.backend + ".so";
    std::vector<std::string> named;
    for (const std::string& path : files) {
      if (fs::path(path).filename() == wanted) named.push_back(path);
    }
    if (!named.empty()) files = named;  // otherwise its id may be another than its file's name: try them all
  }
  if (files.empty()) {
    throw with_fix("no plugins (lib*.so) in " + joined(flags.plugin_dirs),
                   "./dev build, or name their folder with --plugin-dir");
  }
  Engine engine = open_bare_engine(flags);
  const std::vector<PluginFile> loaded = load_plugins(engine, files);
  const auto good = [&](const PluginFile& file) {
    return file.error.empty() && (flags.backend.empty() || file.id == flags.backend);
  };
  const bool any = std::any_of(loaded.begin(), loaded.end(), good);
  for (const PluginFile& file : loaded) {
    if (!file.error.empty() && (!any || flags.verbose)) {
      std::fprintf(stderr, "merritt: %s: %s\n", file.path.c_str(), file.error.c_str());
    }
  }
  if (!any) {
    throw with_fix((flags.backend.empty() ? std::string("no plugin") : "no backend \"" + flags.backend + "\"") +
                       " could be loaded from " + joined(flags.plugin_dirs),
                   "`merritt doctor` checks each plugin and says how to mend it");
  }
  return engine;
}

void require_model_file(const std::string& path) {
  std::error_code failed;
  if (!fs::exists(path, failed)) {
    throw with_fix(path + ": no such file", "`merritt doctor` lists the models on this machine");
  }
}

Model load_model(Engine& engine, const ModelFlags& flags, const ModelOptions& extra) {
  require_model_file(flags.model);
  ModelOptions options = extra;
  options.backend = flags.engine.backend;
  options.kv_type = kKvTypes.at(flags.kv_type);
  options.context_max = flags.context_max;
  if (flags.sequences_max != 0) options.sequences_max = flags.sequences_max;
  if (!flags.pack_cache.empty()) options.pack_cache = private_folder(flags.pack_cache);
  Progress progress("loading " + fs::path(flags.model).filename().string());
  options.progress = [&](float fraction) {
    progress.at(fraction);
    return !interrupted();
  };
  return expect(engine.load(flags.model, options), "loading " + flags.model);
}

}  // namespace merritt::tools
