// SPDX-License-Identifier: Apache-2.0
// Attention of the oneDNN plugin beyond a few tiles: against the reference over several segments of the cache, the same
// bits however the work is cut (chunks, pages, threads, neighbours, runs of generated rows), sealed pages opened once.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <random>

#include "support/blocks.hpp"
#include "tests/plugins/harness/rig.hpp"

namespace merritt::testing {
namespace {
using namespace plugin;

constexpr uint32_t kWidth = 32;

struct Shape {
  const char* name;
  uint32_t heads, kv_heads, dim, v_dim, window;
  double softcap;
};
constexpr Shape kShapes[] = {{"four to one", 8, 2, 64, 64, 0, 0},
                             {"one to one, odd widths", 2, 2, 80, 48, 0, 0},
                             {"window", 4, 1, 96, 96, 130, 0},
                             {"long window, softcap", 6, 2, 32, 32, 300, 8},
                             {"twelve to one", 12, 1, 64, 64, 0, 0}};

bool may_cache(const Shape& s, uint32_t type) { return type != kQ8_0 || (s.dim % 32 == 0 && s.v_dim % 32 == 0); }

// Queries, keys and values are f32 products of the hidden input: what differs between modes is the attention alone.
GraphBuilder attention_graph(const Shape& s) {
  GraphBuilder g;
  const auto rows = [&](uint32_t width, uint64_t seed) {
    return g.node(MRT_OP_LINEAR, width, {MRT_REF_INPUT(MRT_IN_HIDDEN), g.weight({kWidth, width}, seed, 0.5f)});
  };
  const uint32_t q = rows(s.heads * s.dim, 1), k = rows(s.kv_heads * s.dim, 2), v = rows(s.kv_heads * s.v_dim, 3);
  std::vector<Attr> attrs = {{MRT_A_HEAD_DIM, s.dim}, {MRT_A_V_DIM, s.v_dim},
                             {MRT_A_HEADS, s.heads},  {MRT_A_KV_HEADS, s.kv_heads},
                             {MRT_A_KV_LAYER, 1},     {MRT_A_SCALE, 1.0 / std::sqrt(static_cast<double>(s.dim))}};
  if (s.window != 0) attrs.emplace_back(MRT_A_WINDOW, s.window);
  if (s.softcap != 0) attrs.emplace_back(MRT_A_SOFTCAP, s.softcap);
  g.output(g.node(MRT_OP_ATTENTION, s.heads * s.v_dim, {q, k, v}, attrs));
  g.max_context = 4096;
  return g;
}

RigOptions options_for(uint32_t kv_type, uint32_t flags, uint32_t page_tokens = 64,
                       Executor executor = Executor::kOneThread) {
  RigOptions o;
  o.kv_type = kv_type;
  o.compile_flags = flags;
  o.page_tokens = page_tokens;
  o.executor = executor;
  o.max_tokens = o.max_rows = 512;
  o.max_pages = 1024 / page_tokens + 2;
  o.n_pages = 3 * o.max_pages;
  return o;
}

// Some rows of one sequence: tokens [first, first + n) of x.
struct Feed {
  uint32_t sequence, n, row_class;
};
// One step; the rows of the runs, one after another. A sequence's input goes on where it stopped.
std::vector<float> step(Rig* rig, const std::vector<float>& x, const std::vector<Feed>& runs) {
  std::vector<Chunk> chunks;
  for (const Feed& r : runs) chunks.push_back({r.sequence, std::vector<uint32_t>(r.n, 0), r.row_class, true});
  if (!rig->fill(chunks)) return {};
  float* to = rig->staging.hidden;
  for (const Feed& r : runs) {
    std::memcpy(to, x.data() + static_cast<uint64_t>(rig->sequences[r.sequence].past) * kWidth,
                static_cast<uint64_t>(r.n) * kWidth * 4);
    to += static_cast<uint64_t>(r.n) * kWidth;
  }
  if (rig->prepare() != MRT_OK || rig->run() != MRT_OK || rig->wait() != MRT_OK) return {};
  const mrt_output& out = rig->staging.output[0];
  std::vector<float> rows(out.data, out.data + static_cast<uint64_t>(rig->step.n_tokens) * out.width);
  return rig->commit() == MRT_OK ? rows : std::vector<float>{};
}

constexpr uint32_t kPrompt = 700, kGenerated = 24, kTokens = kPrompt + kGenerated;

std::vector<float> input() { return noise(5, kTokens * kWidth, 1.0f); }

// The whole sequence alone: the prompt in two chunks, then row by row.
std::vector<float> plain_run(Rig* rig) {
  const std::vector<float> x = input();
  std::vector<float> all;
  const uint32_t s = rig->add_sequence();
  std::vector<Feed> steps = {{s, 512, MRT_CLASS_PROMPT}, {s, kPrompt - 512, MRT_CLASS_PROMPT}};
  steps.resize(steps.size() + kGenerated, {s, 1, MRT_CLASS_GENERATED});
  for (const Feed& r : steps) {
    const std::vector<float> rows = step(rig, x, {r});
    EXPECT_FALSE(rows.empty()) << rig->err.message;
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

class OneDnnAttention : public ::testing::Test {
 protected:
  void SetUp() override {
    if (plugin_named("onednn").name.empty()) GTEST_SKIP() << "the onednn plugin is not built";
  }
  const PluginLibrary& onednn() const { return plugin_named("onednn"); }
};

// Distances from the reference on the same cache type; a cached value may fall on the other side of a rounding.
void compare(const std::vector<float>& expect, const std::vector<float>& got, uint32_t width, double exact,
             double prompt) {
  ASSERT_EQ(expect.size(), got.size());
  for (size_t i = 0; i < expect.size(); ++i) {
    const bool generated = i / width >= kPrompt;
    ASSERT_NEAR(expect[i], got[i], generated ? exact : prompt) << "row " << i / width << " column " << i % width;
  }
}

TEST_F(OneDnnAttention, AgreesWithTheReferenceOverSeveralSegments) {
  for (const Shape& s : kShapes) {
    const GraphBuilder graph = attention_graph(s);
    for (const uint32_t type : {kF32, kF16, kBF16, kQ8_0}) {
      if (!may_cache(s, type)) continue;
      SCOPED_TRACE(::testing::Message() << s.name << ", cache " << type_info(type)->name);
      Rig truth(plugin_named("reference"), graph, options_for(type, 0)), rig(onednn(), graph, options_for(type, 0)),
          exact(onednn(), graph, options_for(type, MRT_COMPILE_EXACT));
      const std::vector<float> expect = plain_run(&truth);
      const double near = type == kF32 ? 1e-5 : type == kF16 ? 1e-3 : type == kBF16 ? 8e-3 : 2e-2;
      ASSERT_NO_FATAL_FAILURE(compare(expect, plain_run(&exact), s.heads * s.v_dim, near, near));
      ASSERT_NO_FATAL_FAILURE(compare(expect, plain_run(&rig), s.heads * s.v_dim, near, near + 2e-2));
    }
  }
}

TEST_F(OneDnnAttention, EveryIsaLevelAgrees) {
  const GraphBuilder graph = attention_graph(kShapes[0]);
  for (const uint32_t isa : {1u, 2u, 3u}) {
    RigOptions o = options_for(kF16, 0);
    Rig best(onednn(), graph, o);
    o.isa_max = isa;
    Rig rig(onednn(), graph, o);
    ASSERT_NO_FATAL_FAILURE(compare(plain_run(&best), plain_run(&rig), rig.width(), 2e-4, 2e-2)) << isa;
  }
}

// The same sequence cut at random, with neighbours of both classes and runs of several generated rows.
void random_run(Rig* rig, const std::vector<float>& expect, uint32_t width, std::mt19937* random) {
  const std::vector<float> x = input();
  const uint32_t s = rig->add_sequence(), other = rig->add_sequence(), third = rig->add_sequence();
  const auto draw = [&](uint32_t most) { return 1 + static_cast<uint32_t>((*random)() % most); };
  uint32_t past = 0;
  while (past < kTokens) {
    const bool prompt = past < kPrompt;
    const uint32_t n = std::min(draw(prompt ? 200 : 6), (prompt ? kPrompt : kTokens) - past);
    std::vector<Feed> runs = {{s, n, prompt ? MRT_CLASS_PROMPT : MRT_CLASS_GENERATED}};
    if (draw(3) == 1 && rig->sequences[other].past < 500) runs.push_back({other, draw(90), MRT_CLASS_PROMPT});
    if (draw(3) == 1 && rig->sequences[third].past < 500) runs.push_back({third, draw(2), MRT_CLASS_GENERATED});
    const std::vector<float> rows = step(rig, x, runs);
    ASSERT_FALSE(rows.empty()) << rig->err.message;
    ASSERT_EQ(std::memcmp(rows.data(), expect.data() + static_cast<uint64_t>(past) * width, n * width * 4ull), 0)
        << "tokens " << past << " to " << past + n;
    past += n;
    if (draw(4) == 1) rig->drop_behind_window(s);
  }
}

void cut_at_random(const PluginLibrary& plugin, const Shape& s, uint32_t type, uint32_t flags, std::mt19937* random) {
  const GraphBuilder graph = attention_graph(s);
  Rig alone(plugin, graph, options_for(type, flags));
  const std::vector<float> expect = plain_run(&alone);
  for (const uint32_t page_tokens : {16u, 20u, 64u, 256u}) {
    if (type == kQ8_0 && page_tokens % 16 != 0) continue;
    for (const Executor e : {Executor::kOneThread, Executor::kTwoThreads, Executor::kNoGang}) {
      SCOPED_TRACE(::testing::Message() << s.name << ", pages of " << page_tokens << ", executor "
                                        << static_cast<int>(e) << ", flags " << flags << ", cache type " << type);
      Rig rig(plugin, graph, options_for(type, flags, page_tokens, e));
      ASSERT_TRUE(rig.ok()) << rig.err.message;
      ASSERT_NO_FATAL_FAILURE(random_run(&rig, expect, s.heads * s.v_dim, random));
    }
  }
}

TEST_F(OneDnnAttention, HowTheWorkIsCutDoesNotChangeABit) {
  std::mt19937 random(77);
  for (const Shape& s : kShapes) {
    for (const uint32_t flags : {0u, static_cast<uint32_t>(MRT_COMPILE_EXACT)}) {
      ASSERT_NO_FATAL_FAILURE(cut_at_random(onednn(), s, kF16, flags, &random));
    }
  }
  ASSERT_NO_FATAL_FAILURE(cut_at_random(onednn(), kShapes[0], kQ8_0, 0, &random));
}

// ---- q8_0 --------------------------------------------------------------------------------------------------------

// Blocks of every code, put into the pages of one sequence as canonical rows; they come back as the same bytes.
void import_blocks(Rig* rig, uint32_t s, uint32_t tokens, const Shape& shape) {
  ASSERT_TRUE(rig->fill({{s, std::vector<uint32_t>(tokens, 0)}})) << "takes the pages";
  const uint32_t page_tokens = rig->options.page_tokens;
  for (uint32_t first = 0; first < tokens; first += page_tokens) {
    for (const uint32_t is_v : {0u, 1u}) {
      const uint32_t n = std::min(page_tokens, tokens - first);
      const uint64_t values = static_cast<uint64_t>(n) * shape.kv_heads * shape.dim;
      std::vector<uint8_t> bytes(values / 32 * 34), back(bytes.size());
      quantise_row(kQ8_0, noise(first + is_v, values, 2.0f).data(), bytes.data(), values);
      const mrt_kv_rows rows{0, rig->sequences[s].pages[0][first / page_tokens], 0, is_v, 0, n, kQ8_0, 0};
      ASSERT_EQ(rig->table().kv_import(rig->pool, &rows, bytes.data(), bytes.size(), &rig->err), MRT_OK);
      ASSERT_EQ(rig->table().kv_export(rig->pool, &rows, back.data(), back.size(), &rig->err), MRT_OK);
      ASSERT_EQ(bytes, back);
    }
  }
  rig->sequences[s].past = tokens;
}

TEST_F(OneDnnAttention, ImportedQ8RowsAreReadAsTheReferenceReadsThem) {
  const GraphBuilder graph = attention_graph(kShapes[0]);
  for (const uint32_t page_tokens : {16u, 64u}) {
    RigOptions o = options_for(kQ8_0, MRT_COMPILE_EXACT, page_tokens);
    Rig truth(plugin_named("reference"), graph, o), rig(onednn(), graph, o);
    ASSERT_TRUE(truth.ok() && rig.ok()) << rig.err.message;
    const uint32_t a = truth.add_sequence(), b = rig.add_sequence();
    ASSERT_NO_FATAL_FAILURE(import_blocks(&truth, a, 333, kShapes[0]));
    ASSERT_NO_FATAL_FAILURE(import_blocks(&rig, b, 333, kShapes[0]));
    const uint32_t fork = rig.fork(b);  // copies the open tail
    const std::vector<float> x = input(), expect = step(&truth, x, {{a, 1, MRT_CLASS_GENERATED}});
    for (const uint32_t s : {b, fork}) {
      const std::vector<float> got = step(&rig, x, {{s, 1, MRT_CLASS_GENERATED}});
      ASSERT_EQ(got.size(), expect.size());
      for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expect[i], 2e-3) << i;
    }
  }
}

TEST_F(OneDnnAttention, Q8PagesComeInSixteens) {
  const Rig rig(onednn(), attention_graph(kShapes[0]), options_for(kQ8_0, 0, 20));
  EXPECT_FALSE(rig.ok());
  EXPECT_EQ(rig.err.code, MRT_UNSUPPORTED);
}

// ---- sealed pages ----------------------------------------------------------------------------------------------

void flip(void*, uint64_t key, uint32_t, uint32_t page, uint32_t plane, uint8_t* bytes, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) bytes[i] ^= static_cast<uint8_t>(key * 31 + page * 7 + plane + i);
}
int32_t open_flipped(void* ctx, uint64_t key, uint32_t group, uint32_t page, uint32_t plane, const void* sealed,
                     void* plain, uint64_t n) {
  ++*static_cast<std::atomic<uint32_t>*>(ctx);
  std::memcpy(plain, sealed, n);
  flip(nullptr, key, group, page, plane, static_cast<uint8_t*>(plain), n);
  return MRT_OK;
}

TEST_F(OneDnnAttention, ASealedPageIsOpenedOnceForAllHeads) {
  std::atomic<uint32_t> opens{0};
  mrt_kv_opener opener{};
  opener.struct_size = sizeof opener;
  opener.ctx = &opens;
  opener.open = &open_flipped;
  const GraphBuilder graph = attention_graph(kShapes[0]);
  const std::vector<float> x = input();
  for (const Executor e : {Executor::kOneThread, Executor::kTwoThreads}) {
    for (const uint32_t page_tokens : {16u, 20u, 64u}) {
      RigOptions o = options_for(kF16, 0, page_tokens, e);
      Rig plain(onednn(), graph, o);
      o.opener = &opener;
      o.n_hot = 300 / page_tokens + 2;
      Rig rig(onednn(), graph, o);
      ASSERT_TRUE(rig.ok()) << rig.err.message;
      const uint32_t s = rig.add_sequence(), p = plain.add_sequence();
      for (uint32_t i = 0; i < 6; ++i) {
        const Feed part{s, i < 3 ? 233u : 1u, i < 3 ? MRT_CLASS_PROMPT : MRT_CLASS_GENERATED};
        const std::vector<float> expect = step(&plain, x, {{p, part.n, part.row_class}});
        opens = 0;
        EXPECT_EQ(step(&rig, x, {part}), expect) << "step " << i << " pages of " << page_tokens;
        const uint32_t sealed = (rig.sequences[s].past - part.n) / page_tokens;
        if (i >= 3) {
          EXPECT_LE(opens, 2 * (sealed + 3)) << "K and V of each; a page may lie across two segments";
          EXPECT_GE(opens, 2 * sealed);
        }
        ASSERT_TRUE(rig.seal_full_pages(s, &flip, nullptr)) << rig.err.message;
      }
      rig.close();
      EXPECT_EQ(rig.host.n_dirty_frees(MRT_MEM_KV_HOT), 0u) << "opened planes are wiped after use";
    }
  }
}

TEST_F(OneDnnAttention, TheTraceSaysWhoMultiplies) {
  const GraphBuilder graph = attention_graph(kShapes[0]);
  const auto name_of = [&](uint32_t flags, uint32_t row_class) {
    const Rig rig(onednn(), graph, options_for(kF16, flags));
    const auto* trace =
        static_cast<const mrt_ext_trace*>(rig.table().extension(MRT_EXT_TRACE, sizeof MRT_EXT_TRACE - 1));
    char name[64] = {};
    mrt_error err{};
    const uint32_t node = static_cast<uint32_t>(graph.nodes.size() - 1);
    EXPECT_EQ(trace->kernel_name(rig.model, node, row_class, name, sizeof name, &err), MRT_OK);
    return std::string(name);
  };
  EXPECT_EQ(name_of(MRT_COMPILE_EXACT, MRT_CLASS_PROMPT).substr(0, 14), "own:attention_");
  EXPECT_EQ(name_of(0, MRT_CLASS_GENERATED).substr(0, 14), "own:attention_");
  const std::string prompt = name_of(0, MRT_CLASS_PROMPT);
  EXPECT_TRUE(prompt == "onednn:brgemm_bf16" || prompt.substr(0, 14) == "own:attention_") << prompt;
}

}  // namespace
}  // namespace merritt::testing
