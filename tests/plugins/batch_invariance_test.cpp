// SPDX-License-Identifier: Apache-2.0
// A row's logits are the same bits whatever else is in the step, however the prompt is cut, whatever the threads, after
// forks, truncations and dropped pages.
#include <cstring>
#include <random>

#include "tests/plugins/harness/each_plugin.hpp"

namespace merritt::testing {
namespace {

class BatchInvariance : public EachPlugin {
 protected:
  bool invariant() const {
    mrt_device_desc d{};
    d.struct_size = sizeof d;
    mrt_error err{};
    return plugin().table.device_describe(0, &d, &err) == MRT_OK && (d.flags & MRT_DEV_BATCH_INVARIANT) != 0;
  }
};

struct Variant {
  const char* name;
  TinyModel model;
  uint32_t kv_type;
};

std::vector<Variant> variants() {
  TinyModel gemma, llama, q8;
  llama.gemma = false;
  llama.window = 0;
  llama.seed = 9;
  q8.weight_type = 8;
  q8.seed = 11;
  return {{"gemma f32", gemma, 0},
          {"llama f16", llama, 1},
          {"gemma q8_0 weights, bf16 cache", q8, 30},
          {"gemma, q8_0 cache", gemma, 8}};
}

// What each token's logits are when every sequence runs alone, in one step.
std::vector<std::vector<float>> alone(const PluginLibrary& plugin, const GraphBuilder& graph, RigOptions options,
                                      const std::vector<std::vector<uint32_t>>& prompts) {
  std::vector<std::vector<float>> out;
  options.executor = Executor::kOneThread;
  for (const auto& p : prompts) {
    Rig rig(plugin, graph, options);
    if (!rig.ok() || rig.go({{rig.add_sequence(), p}}) != MRT_OK) {
      ADD_FAILURE() << rig.err.message;
      return {};
    }
    out.push_back(rig.rows());
  }
  return out;
}

TEST_P(BatchInvariance, RandomSchedulesGiveTheSameBits) {
  if (!invariant()) GTEST_SKIP() << plugin().name << " does not claim MRT_DEV_BATCH_INVARIANT";
  std::mt19937 random(1234);
  for (const Variant& v : variants()) {
    SCOPED_TRACE(v.name);
    const GraphBuilder graph = tiny_decoder(v.model);
    RigOptions options;
    options.kv_type = v.kv_type;
    if (!plugin().exact() && v.kv_type == 8) {  // only the oracles have to cache q8_0; the others say so
      const Rig rig(plugin(), graph, options);
      EXPECT_TRUE(rig.ok() || rig.err.code == MRT_UNSUPPORTED) << rig.err.message;
      if (!rig.ok()) continue;
    }
    options.n_pages = 160;
    options.max_pages = 20;
    std::vector<std::vector<uint32_t>> prompts;
    for (uint32_t i = 0; i < 6; ++i) prompts.push_back(random_tokens(100 + i, 9 + 7 * i, v.model.vocab));
    const auto expect = alone(plugin(), graph, options, prompts);
    ASSERT_EQ(expect.size(), prompts.size());
    for (uint32_t schedule = 0; schedule < 12; ++schedule) {
      SCOPED_TRACE(::testing::Message() << "schedule " << schedule);
      options.executor = static_cast<Executor>(schedule % 4);
      Rig rig(plugin(), graph, options);
      ASSERT_TRUE(rig.ok()) << rig.err.message;
      std::vector<uint32_t> ids, truth;  // sequence and the prompt it follows
      for (uint32_t i = 0; i < prompts.size(); ++i) {
        ids.push_back(rig.add_sequence());
        truth.push_back(i);
      }
      for (uint32_t step = 0; step < 40; ++step) {
        const uint32_t pick = static_cast<uint32_t>(random() % ids.size());
        const uint32_t action = random() % 12, past = rig.sequences[ids[pick]].past;
        if (action == 0 && past > 6 && rig.sequences[ids[pick]].base[0] == 0) {
          rig.truncate(ids[pick], past - 1 - static_cast<uint32_t>(random() % 5));
        } else if (action == 1 && ids.size() < 8 && past > 0) {
          ids.push_back(rig.fork(ids[pick]));
          truth.push_back(truth[pick]);
        } else if (action == 2) {
          rig.drop_behind_window(ids[pick]);
        }
        std::vector<Chunk> chunks;
        std::vector<uint32_t> which;
        uint32_t budget = rig.options.max_tokens;
        for (uint32_t i = 0; i < ids.size(); ++i) {
          const auto& p = prompts[truth[i]];
          const uint32_t at = rig.sequences[ids[i]].past;
          if (at >= p.size() || random() % 3 == 0) continue;
          const uint32_t n =
              std::min({static_cast<uint32_t>(p.size()) - at, 1 + static_cast<uint32_t>(random() % 11), budget});
          if (n == 0) continue;
          budget -= n;
          chunks.push_back({ids[i], {p.begin() + at, p.begin() + at + n}, MRT_CLASS_PROMPT, random() % 2 == 0});
          which.push_back(i);
        }
        if (chunks.empty()) continue;
        std::vector<uint32_t> from;
        for (const uint32_t i : which) from.push_back(rig.sequences[ids[i]].past);
        ASSERT_EQ(rig.go(chunks), MRT_OK) << rig.err.message;
        uint32_t row = 0;
        for (uint32_t c = 0; c < chunks.size(); ++c) {
          const auto n = static_cast<uint32_t>(chunks[c].tokens.size());
          for (uint32_t t = chunks[c].want_all ? 0 : n - 1; t < n; ++t, ++row) {
            const float* want = expect[truth[which[c]]].data() + (from[c] + t) * rig.width();
            ASSERT_EQ(std::memcmp(rig.row(row), want, rig.width() * sizeof(float)), 0)
                << "step " << step << " prompt " << truth[which[c]] << " token " << from[c] + t;
          }
        }
      }
      EXPECT_EQ(rig.host.n_errors(), 0u);
    }
  }
}

// Speculation: a run of class GENERATED holds the right tokens, then a draft's wrong ones, whose rows are given back.
// Every right row is that of a step with one token, beside other sequences, past windows and page ends, after forks.
TEST_P(BatchInvariance, DraftsGiveTheBitsOfSingleSteps) {
  if (!invariant()) GTEST_SKIP() << plugin().name << " does not claim MRT_DEV_BATCH_INVARIANT";
  std::mt19937 random(77);
  for (const Variant& v : variants()) {
    SCOPED_TRACE(v.name);
    const GraphBuilder graph = tiny_decoder(v.model);
    RigOptions options;
    options.kv_type = v.kv_type;
    options.n_pages = 160;
    options.max_pages = 20;
    if (const Rig probe(plugin(), graph, options); !probe.ok() && probe.err.code == MRT_UNSUPPORTED) continue;
    const uint32_t n_prompt = 5, n_tokens = 60;
    std::vector<std::vector<uint32_t>> texts;
    std::vector<std::vector<float>> alone;
    for (uint32_t i = 0; i < 4; ++i) {
      const auto& text = texts.emplace_back(random_tokens(300 + i, n_tokens, v.model.vocab));
      Rig rig(plugin(), graph, options);
      const uint32_t s = rig.add_sequence();
      ASSERT_EQ(rig.go({{s, {text.begin(), text.begin() + n_prompt}}}), MRT_OK) << rig.err.message;
      alone.push_back(rig.rows());
      for (uint32_t t = n_prompt; t < n_tokens; ++t) {
        ASSERT_EQ(rig.go({{s, {text[t]}, MRT_CLASS_GENERATED}}), MRT_OK) << rig.err.message;
        alone.back().insert(alone.back().end(), rig.rows().begin(), rig.rows().end());
      }
    }
    for (uint32_t schedule = 0; schedule < 8; ++schedule) {
      SCOPED_TRACE(::testing::Message() << "schedule " << schedule);
      options.executor = static_cast<Executor>(schedule % 4);
      Rig rig(plugin(), graph, options);
      ASSERT_TRUE(rig.ok()) << rig.err.message;
      std::vector<uint32_t> ids, truth;
      for (uint32_t i = 0; i < texts.size(); ++i) {
        ids.push_back(rig.add_sequence());
        truth.push_back(i);
        ASSERT_EQ(rig.go({{ids[i], {texts[i].begin(), texts[i].begin() + n_prompt}}}), MRT_OK) << rig.err.message;
      }
      for (bool runs = true; runs;) {
        if (random() % 8 == 0 && ids.size() < 7) {
          const size_t pick = random() % ids.size();
          ids.push_back(rig.fork(ids[pick]));
          truth.push_back(truth[pick]);
        }
        runs = false;
        std::vector<Chunk> chunks;
        std::vector<uint32_t> which, right;
        for (uint32_t i = 0; i < ids.size(); ++i) {
          const auto& text = texts[truth[i]];
          const uint32_t past = rig.sequences[ids[i]].past;
          if (past == n_tokens) continue;
          runs = true;
          if (random() % 3 == 0) continue;
          const uint32_t good = std::min(n_tokens - past, 1 + static_cast<uint32_t>(random() % 5));
          Chunk chunk{ids[i], {text.begin() + past, text.begin() + past + good}, MRT_CLASS_GENERATED, true};
          const auto wrong = static_cast<uint32_t>(random() % 5);
          for (uint32_t t = 0; t < wrong && past + good + t < n_tokens; ++t) {
            chunk.tokens.push_back(static_cast<uint32_t>(random() % v.model.vocab));
          }
          chunks.push_back(chunk);
          which.push_back(i);
          right.push_back(good);
        }
        if (chunks.empty()) continue;
        ASSERT_TRUE(rig.fill(chunks));
        ASSERT_EQ(rig.prepare(), MRT_OK) << rig.err.message;
        ASSERT_EQ(rig.run(), MRT_OK) << rig.err.message;
        ASSERT_EQ(rig.wait(), MRT_OK) << rig.err.message;
        const float* row = rig.staging.output[0].data;
        for (uint32_t c = 0; c < chunks.size(); ++c) {
          const uint32_t past = rig.sequences[ids[which[c]]].past;
          for (uint32_t t = 0; t < chunks[c].tokens.size(); ++t, row += rig.width()) {
            if (t >= right[c]) continue;
            const float* want = alone[truth[which[c]]].data() + uint64_t{past + t} * rig.width();
            ASSERT_EQ(std::memcmp(row, want, rig.width() * sizeof(float)), 0)
                << "text " << truth[which[c]] << " token " << past + t;
          }
        }
        ASSERT_EQ(rig.commit(&right), MRT_OK) << rig.err.message;
        for (const uint32_t i : which) {
          rig.truncate(ids[i], rig.sequences[ids[i]].past);  // pages of refused rows go back, as the core does
          rig.drop_behind_window(ids[i]);
        }
      }
      EXPECT_EQ(rig.host.n_errors(), 0u);
    }
  }
}

TEST_P(BatchInvariance, AStepInsideARunningParallelGivesTheSameBits) {
  const GraphBuilder graph = tiny_decoder({});
  const auto tokens = random_tokens(4, 20, 64);
  RigOptions options;
  options.executor = Executor::kTwoThreads;
  Rig rig(plugin(), graph, options), nested(plugin(), graph, options);
  ASSERT_EQ(rig.go({{rig.add_sequence(), tokens}}), MRT_OK) << rig.err.message;
  struct Work {
    Rig* rig;
    const std::vector<uint32_t>* tokens;
    int32_t code;
  } work{&nested, &tokens, -1};
  const mrt_host* host = nested.host.table();
  host->parallel(
      host->ctx, 1,
      [](void* arg, uint32_t, uint32_t) {
        auto* w = static_cast<Work*>(arg);
        w->code = w->rig->go({{w->rig->add_sequence(), *w->tokens}});
      },
      &work);
  ASSERT_EQ(work.code, MRT_OK) << nested.err.message;
  EXPECT_EQ(nested.rows(), rig.rows());
}

MERRITT_EACH_PLUGIN(BatchInvariance);

}  // namespace
}  // namespace merritt::testing
