// SPDX-License-Identifier: Apache-2.0
#include "tests/plugins/harness/rig.hpp"
#include "tests/support/places.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

namespace merritt::testing {

bool load_plugin(const std::string& path, PluginLibrary* out, std::string* reason) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    *reason = dlerror();
    return false;
  }
  const auto hello = reinterpret_cast<mrt_hello_fn>(dlsym(handle, MRT_BACKEND_SYMBOL));
  if (hello == nullptr) {
    *reason = "no symbol " MRT_BACKEND_SYMBOL;
    return false;
  }
  const mrt_hello_in in{MRT_BACKEND_ABI, MRT_BACKEND_ABI, {}};
  if (hello(&in, &out->hello) != MRT_OK || out->hello.abi != MRT_BACKEND_ABI || out->hello.table == nullptr) {
    *reason = out->hello.reason;
    return false;
  }
  std::memcpy(&out->table, out->hello.table, std::min<uint64_t>(out->hello.table_bytes, sizeof out->table));
  return true;
}

namespace {
struct Loaded {
  std::vector<PluginLibrary> found;
  std::string errors;
};
const Loaded& loaded() {
  static const Loaded all = [] {
    Loaded l;
    for (const auto& [name, folder] :
         {std::pair{"reference", "plugins"}, std::pair{"fardevice", "test_plugins"}, std::pair{"onednn", "plugins"}}) {
      const std::string path = merritt::test::output_dir() + "/lib/merritt/" + folder + "/libmerritt_" + name + ".so";
      PluginLibrary library;
      library.name = name;
      std::string reason;
      if (!std::filesystem::exists(path)) continue;
      if (load_plugin(path, &library, &reason)) {
        l.found.push_back(library);
      } else {
        l.errors += path + ": " + reason + "\n";
      }
    }
    return l;
  }();
  return all;
}
}  // namespace

const std::vector<PluginLibrary>& plugins() { return loaded().found; }
const std::string& plugin_load_errors() { return loaded().errors; }

const PluginLibrary& plugin_named(const std::string& name) {
  const auto it = std::find_if(plugins().begin(), plugins().end(), [&](const auto& p) { return p.name == name; });
  static const PluginLibrary none{};
  return it == plugins().end() ? none : *it;
}

Rig::Rig(const PluginLibrary& plugin, const GraphBuilder& graph, const RigOptions& o)
    : host(o.executor), options(o), plugin_(plugin) {
  host.set_isa(o.isa_max);
  const mrt_graph g = graph.graph();
  const mrt_weights w = graph.source();
  info.struct_size = sizeof info;
  spec.struct_size = sizeof spec;
  staging.struct_size = sizeof staging;
  if (table().device_open(0, host.table(), &device, &err) != MRT_OK) return;
  if (table().model_compile(device, &g, &w, o.compile_flags, nullptr, &info, &model, &err) != MRT_OK) return;
  mrt_kv_policy kv{};
  kv.struct_size = sizeof kv;
  kv.type = o.kv_type;
  kv.page_tokens = o.page_tokens;
  if (table().kv_spec(model, &kv, &spec, &err) != MRT_OK) return;
  for (uint32_t i = 0; i < spec.n_groups; ++i) {
    kv.n_pages[i] = o.n_pages;
    kv.n_hot[i] = o.n_hot;
    references_[i].assign(o.n_pages, 0);
  }
  if (table().kv_spec(model, &kv, &spec, &err) != MRT_OK) return;
  if (spec.n_groups != 0 && table().pool_create(model, &kv, o.opener, &pool, &err) != MRT_OK) return;
  mrt_program_policy p{};
  p.struct_size = sizeof p;
  p.max_tokens = o.max_tokens;
  p.max_seqs = o.max_seqs;
  p.max_rows = o.max_rows;
  for (uint32_t i = 0; i < spec.n_groups; ++i) p.max_pages[i] = o.max_pages;
  if (table().program_create(model, pool, &p, &program, &err) != MRT_OK) return;
  if (table().program_staging(program, 0, &staging, &err) != MRT_OK) return;
  step.struct_size = sizeof step;
  step.cancel = &cancel;
  n_outputs_ = g.n_outputs;
  width_ = g.n_outputs != 0 ? staging.output[0].width : 0;
  output_rows_kind_ = g.n_outputs != 0 ? graph.nodes[graph.outputs[0]].rows : 0;
  ok_ = true;
}

Rig::~Rig() { close(); }

void Rig::close() {
  if (program != nullptr) table().program_destroy(program);
  if (pool != nullptr) table().pool_destroy(pool);
  if (model != nullptr) table().model_destroy(model);
  if (device != nullptr) table().device_close(device);
  program = nullptr;
  pool = nullptr;
  model = nullptr;
  device = nullptr;
  ok_ = false;
}

bool Rig::take_page(uint32_t g, uint32_t* id) {
  const uint32_t end = options.n_hot != 0 ? options.n_hot : options.n_pages;
  for (uint32_t i = 0; i < end; ++i) {
    if (references_[g][i] != 0) continue;
    references_[g][i] = 1;
    *id = i;
    return true;
  }
  return false;
}

void Rig::release(uint32_t g, uint32_t entry) { --references_[g][entry & ~MRT_PAGE_SEALED]; }

uint32_t Rig::add_sequence() {
  sequences.emplace_back();
  sequences.back().key = sequences.size();
  return static_cast<uint32_t>(sequences.size() - 1);
}

uint32_t Rig::fork(uint32_t from) {
  const uint32_t to = add_sequence();
  const uint64_t key = sequences[to].key;
  sequences[to] = sequences[from];
  sequences[to].key = key;
  Sequence& s = sequences[to];
  const uint32_t tail = s.past % options.page_tokens;
  for (uint32_t g = 0; g < spec.n_groups; ++g) {
    for (uint32_t e = 0; e < s.pages[g].size(); ++e) {
      uint32_t& entry = s.pages[g][e];
      const bool open = tail != 0 && e + 1 == s.pages[g].size();
      if (!open) {
        ++references_[g][entry & ~MRT_PAGE_SEALED];
        continue;
      }
      const uint32_t shared = entry;
      if (!take_page(g, &entry)) return to;
      table().kv_copy(pool, g, &shared, &entry, 1, tail, &err);
    }
  }
  return to;
}

void Rig::truncate(uint32_t sequence, uint32_t past) {
  Sequence& s = sequences[sequence];
  s.past = past;
  for (uint32_t g = 0; g < spec.n_groups; ++g) {
    const uint32_t keep = (past + options.page_tokens - 1) / options.page_tokens;
    while (s.base[g] + s.pages[g].size() > keep && !s.pages[g].empty()) {
      release(g, s.pages[g].back());
      s.pages[g].pop_back();
    }
  }
}

void Rig::remove(uint32_t sequence) {
  truncate(sequence, 0);
  sequences[sequence] = Sequence{};
}

void Rig::drop_behind_window(uint32_t sequence) {
  Sequence& s = sequences[sequence];
  for (uint32_t g = 0; g < spec.n_groups; ++g) {
    const uint32_t window = spec.group[g].window;
    if (window == 0 || s.past + 1 < window) continue;
    const uint32_t first = (s.past + 1 - window) / options.page_tokens;
    while (s.base[g] < first && !s.pages[g].empty()) {
      release(g, s.pages[g].front());
      s.pages[g].erase(s.pages[g].begin());
      ++s.base[g];
    }
  }
}

bool Rig::seal_full_pages(uint32_t sequence,
                          void (*seal)(void*, uint64_t, uint32_t, uint32_t, uint32_t, uint8_t*, uint64_t), void* ctx) {
  Sequence& s = sequences[sequence];
  for (uint32_t g = 0; g < spec.n_groups; ++g) {
    const uint32_t n_full = s.past / options.page_tokens - s.base[g];
    const mrt_kv_group& group = spec.group[g];
    std::vector<uint8_t> bytes(group.n_planes * group.plane_bytes);
    for (uint32_t e = 0; e < n_full && e < s.pages[g].size(); ++e) {
      uint32_t& entry = s.pages[g][e];
      if ((entry & MRT_PAGE_SEALED) != 0 || references_[g][entry] != 1) continue;
      uint32_t cold = options.n_hot;
      while (cold < options.n_pages && references_[g][cold] != 0) ++cold;
      if (cold == options.n_pages) return false;
      const mrt_kv_span from{g, 0, group.n_planes, 1, &entry}, to{g, 0, group.n_planes, 1, &cold};
      if (table().kv_read(pool, &from, bytes.data(), bytes.size(), &err) != MRT_OK) return false;
      for (uint32_t p = 0; p < group.n_planes; ++p) {
        seal(ctx, s.key, g, cold, p, bytes.data() + p * group.plane_bytes, group.plane_bytes);
      }
      if (table().kv_write(pool, &to, bytes.data(), bytes.size(), &err) != MRT_OK) return false;
      if (table().kv_zero(pool, &from, &err) != MRT_OK) return false;
      release(g, entry);
      references_[g][cold] = 1;
      entry = cold | MRT_PAGE_SEALED;
    }
  }
  return true;
}

bool Rig::grow(Sequence* s, uint32_t tokens) {
  for (uint32_t g = 0; g < spec.n_groups; ++g) {
    // A truncated fork may be about to write into a page it shares: copy it first.
    const uint32_t tail = s->past % options.page_tokens, at = s->past / options.page_tokens - s->base[g];
    if (tail != 0 && at < s->pages[g].size() && references_[g][s->pages[g][at] & ~MRT_PAGE_SEALED] > 1) {
      const uint32_t shared = s->pages[g][at];
      if (!take_page(g, &s->pages[g][at])) return false;
      if (table().kv_copy(pool, g, &shared, &s->pages[g][at], 1, tail, &err) != MRT_OK) return false;
      release(g, shared);
    }
    const uint32_t need = (s->past + tokens + options.page_tokens - 1) / options.page_tokens;
    while (s->base[g] + s->pages[g].size() < need) {
      uint32_t id = 0;
      if (!take_page(g, &id)) return false;
      s->pages[g].push_back(id);
    }
  }
  return true;
}

bool Rig::fill(const std::vector<Chunk>& runs, uint32_t outputs) {
  if (!ok_) return false;
  runs_ = runs;
  uint32_t token = 0, rows = 0;
  for (uint32_t i = 0; i < runs.size(); ++i) {
    const Chunk& run = runs[i];
    Sequence& s = sequences[run.sequence];
    const uint32_t n = static_cast<uint32_t>(run.tokens.size());
    if (!grow(&s, n)) return false;
    staging.seq_first[i] = token;
    staging.seq_tokens[i] = n;
    staging.seq_past[i] = s.past;
    staging.seq_class[i] = run.row_class;
    staging.seq_key[i] = s.key;
    if (staging.seq_adapter != nullptr) staging.seq_adapter[i] = nullptr;
    for (uint32_t g = 0; g < spec.n_groups; ++g) {
      if (s.pages[g].size() > options.max_pages) return false;
      std::copy(s.pages[g].begin(), s.pages[g].end(), staging.pages[g] + i * options.max_pages);
      staging.page_base[g][i] = s.base[g];
    }
    for (uint32_t t = 0; t < n; ++t, ++token) {
      staging.token[token] = run.tokens[t];
      staging.position[token] = s.past + t;
      if (run.want_all || t + 1 == n) staging.rows[rows++] = token;
    }
  }
  step.n_tokens = token;
  step.n_seqs = static_cast<uint32_t>(runs.size());
  step.n_rows = outputs == 0 ? 0 : rows;
  step.outputs = outputs;
  return true;
}

int32_t Rig::wait() {
  int32_t code = MRT_DEADLINE;
  while (code == MRT_DEADLINE) code = table().step_wait(program, 0, 10'000'000, &err);
  status.assign(staging.seq_status, staging.seq_status + step.n_seqs);
  return code;
}

int32_t Rig::commit(const std::vector<uint32_t>* accepted) {
  const int32_t code = table().step_commit(program, 0, accepted == nullptr ? nullptr : accepted->data(), &err);
  if (code != MRT_OK) return code;
  for (uint32_t i = 0; i < runs_.size(); ++i) {
    if (status[i] != MRT_OK) continue;
    const uint32_t n = static_cast<uint32_t>(runs_[i].tokens.size());
    sequences[runs_[i].sequence].past += accepted == nullptr ? n : (*accepted)[i];
  }
  return MRT_OK;
}

int32_t Rig::go(const std::vector<Chunk>& runs, uint32_t outputs) {
  if (!ok_) return err.code;
  if (!fill(runs, outputs)) return MRT_OUT_OF_MEMORY;
  int32_t code = prepare();
  if (code != MRT_OK) return code;
  code = run();
  if (code == MRT_OK) code = wait();
  if (code != MRT_OK) {
    mrt_error ignored{};
    table().step_abort(program, 0, &ignored);
    return code;
  }
  rows_.clear();
  if (n_outputs_ != 0 && (outputs & 1) != 0) {
    const uint64_t n = output_rows_kind_ == MRT_ROWS_TOKENS   ? step.n_tokens
                       : output_rows_kind_ == MRT_ROWS_WANTED ? step.n_rows
                                                              : step.n_seqs;
    rows_.assign(staging.output[0].data, staging.output[0].data + n * width_);
  }
  return commit();
}

std::vector<uint8_t> Rig::pool_bytes() {
  std::vector<uint8_t> all;
  for (uint32_t g = 0; g < spec.n_groups; ++g) {
    std::vector<uint32_t> ids(options.n_pages);
    for (uint32_t i = 0; i < options.n_pages; ++i) ids[i] = i;
    const mrt_kv_span span{g, 0, spec.group[g].n_planes, options.n_pages, ids.data()};
    std::vector<uint8_t> bytes(options.n_pages * spec.group[g].n_planes * spec.group[g].plane_bytes);
    if (table().kv_read(pool, &span, bytes.data(), bytes.size(), &err) != MRT_OK) return {};
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

}  // namespace merritt::testing
