// SPDX-License-Identifier: Apache-2.0
//
// The options every verb with an engine or a model shares, and opening both from them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <merritt/merritt.hpp>
#include <string>
#include <vector>

namespace merritt::tools {

struct EngineFlags {
  std::vector<std::string> plugin_dirs;  // empty = ../lib/merritt/plugins beside the program
  std::string trust;                     // empty = trust.json in the first plugin folder
  std::string backend;                   // empty = onednn when it is there, else the first that accepts the model
  std::string isa_max = "any";
  uint32_t threads = 0;
  bool verbose = false;
};

struct ModelFlags {
  EngineFlags engine;
  std::string model;
  std::string kv_type = "default";
  std::string pack_cache;  // empty = none
  uint32_t context_max = 0;
  uint32_t sequences_max = 0;
};

// What happened to one plugin file.
struct PluginFile {
  std::string path;
  std::string id;     // when loaded
  std::string error;  // when refused
};

void add_engine_flags(CLI::App& verb, EngineFlags& flags);
void add_model_flags(CLI::App& verb, ModelFlags& flags, bool model_required = true);

// Fills in the defaults that depend on where the program is; makes folders absolute.
EngineFlags resolved(EngineFlags flags);
// Every lib*.so of the folders, the ones to prefer first.
std::vector<std::string> plugin_files(const EngineFlags& resolved_flags);
// An engine that trusts the trust list, without any plugin loaded.
Engine open_bare_engine(const EngineFlags& resolved_flags);
// Tries each file; never fails.
std::vector<PluginFile> load_plugins(Engine& engine, const std::vector<std::string>& files);
// An engine with its plugins, only the one named by --backend when given; fails when none could be loaded.
Engine open_engine(const EngineFlags& flags);
// Fails with a hint when there is no such file.
void require_model_file(const std::string& path);
// Loads with progress on a terminal and Ctrl-C to cancel.
Model load_model(Engine& engine, const ModelFlags& flags, const ModelOptions& extra = {});

}  // namespace merritt::tools
