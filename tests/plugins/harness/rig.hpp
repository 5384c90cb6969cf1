// SPDX-License-Identifier: Apache-2.0
// One plugin under one host with a model, a pool and a program, and sequences over page tables: a tiny core. Every
// method that can fail leaves the plugin's error in `err`.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "merritt/backend.h"
#include "tests/plugins/harness/graph_builder.hpp"
#include "tests/plugins/harness/test_host.hpp"

namespace merritt::testing {

/// A loaded plugin; stays loaded.
struct PluginLibrary {
  std::string name;
  mrt_backend table{};
  mrt_hello_out hello{};
  bool exact() const { return name != "onednn"; }  // computes the reference mathematics themselves
};
/// reference and fardevice always, onednn when it is built.
const std::vector<PluginLibrary>& plugins();
/// Why a plugin that is built could not be loaded; empty when all could.
const std::string& plugin_load_errors();
const PluginLibrary& plugin_named(const std::string& name);
/// dlopen and hello. False with a reason.
bool load_plugin(const std::string& path, PluginLibrary* out, std::string* reason);

struct RigOptions {
  Executor executor = Executor::kOneThread;
  uint32_t kv_type = 0, page_tokens = 4, n_pages = 48, n_hot = 0;
  uint32_t max_tokens = 64, max_seqs = 8, max_rows = 64, max_pages = 16;
  uint32_t compile_flags = MRT_COMPILE_EXACT;
  uint32_t isa_max = 0;
  const mrt_kv_opener* opener = nullptr;
};

struct Sequence {
  uint64_t key = 0;
  uint32_t past = 0;
  std::vector<uint32_t> pages[MRT_MAX_GROUPS];  // entries as the plugin sees them, from base
  uint32_t base[MRT_MAX_GROUPS] = {};
};

/// Part of a step: these tokens of one sequence.
struct Chunk {
  uint32_t sequence = 0;
  std::vector<uint32_t> tokens;
  uint32_t row_class = MRT_CLASS_PROMPT;
  bool want_all = true;  // every row, else the last one
};

class Rig {
 public:
  Rig(const PluginLibrary& plugin, const GraphBuilder& graph, const RigOptions& options = {});
  ~Rig();
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  bool ok() const { return ok_; }
  /// Destroys everything, children first; the host stays for questions.
  void close();

  uint32_t add_sequence();
  /// A second sequence with the same past: full pages shared, the open tail copied.
  uint32_t fork(uint32_t sequence);
  /// Forgets the last tokens and gives back pages that hold none.
  void truncate(uint32_t sequence, uint32_t past);
  void remove(uint32_t sequence);
  /// Drops pages behind the window.
  void drop_behind_window(uint32_t sequence);
  /// Replaces full hot pages by sealed cold ones; `seal` turns plain planes into sealed ones.
  bool seal_full_pages(uint32_t sequence,
                       void (*seal)(void*, uint64_t, uint32_t, uint32_t, uint32_t, uint8_t*, uint64_t), void* ctx);

  /// Takes the pages the runs need and writes staging. False when the pool is full.
  bool fill(const std::vector<Chunk>& runs, uint32_t outputs = 1);
  int32_t prepare() { return table().step_prepare(program, &step, &err); }
  int32_t run() { return table().step_run(program, 0, &err); }
  int32_t wait();
  int32_t commit(const std::vector<uint32_t>* accepted = nullptr);  // advances the sequences
  int32_t abort() { return table().step_abort(program, 0, &err); }
  /// fill, prepare, run, wait, commit. Outputs are copied before the commit.
  int32_t go(const std::vector<Chunk>& runs, uint32_t outputs = 1);

  /// Bytes of the whole pool, group by group.
  std::vector<uint8_t> pool_bytes();
  const mrt_backend& table() const { return plugin_.table; }
  const PluginLibrary& plugin() const { return plugin_; }
  /// Row r (as wanted) of output 0 of the last go().
  const float* row(uint32_t r) const { return rows_.data() + static_cast<uint64_t>(r) * width_; }
  uint32_t width() const { return width_; }
  const std::vector<float>& rows() const { return rows_; }

  TestHost host;
  mrt_error err{};
  mrt_device* device = nullptr;
  mrt_model* model = nullptr;
  mrt_pool* pool = nullptr;
  mrt_program* program = nullptr;
  mrt_model_info info{};
  mrt_kv_spec spec{};
  mrt_staging staging{};
  mrt_step step{};
  volatile uint32_t cancel = 0;
  RigOptions options;
  std::vector<Sequence> sequences;
  std::vector<int32_t> status;

 private:
  bool take_page(uint32_t g, uint32_t* id);
  void release(uint32_t g, uint32_t entry);
  bool grow(Sequence* s, uint32_t tokens);
  const PluginLibrary& plugin_;
  std::vector<uint32_t> references_[MRT_MAX_GROUPS];
  std::vector<Chunk> runs_;
  std::vector<float> rows_;
  uint32_t width_ = 0, output_rows_kind_ = 0, n_outputs_ = 0;
  bool ok_ = false;
};

}  // namespace merritt::testing
