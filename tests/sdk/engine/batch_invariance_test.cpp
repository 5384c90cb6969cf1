// SPDX-License-Identifier: Apache-2.0
// Batch-invariance: a sequence's logits are the same bits whatever else is in the step, however its prompt is cut, on
// one thread or two, and after forks and truncations. A seeded schedule runs several sequences at random; every row of
// logits is compared with a run of that sequence alone, one class run at a time.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "tests/support/engine_host.hpp"
#include "tests/support/tiny_gguf.hpp"

namespace merritt::test {
namespace {

struct Token {
  int32_t id;
  kv::TokenClass token_class;
};
using Tokens = std::vector<Token>;
using Logits = std::vector<std::vector<float>>;  // of each position

// One sequence's part of a step.
struct Part {
  kv::SequenceId sequence;
  std::span<const Token> tokens;  // of one class
  uint32_t accept;                // how many become past
  uint32_t rows;                  // logits of the last rows
};

// Runs one step; returns the wanted rows of logits in order.
std::vector<std::vector<float>> run_step(ModelHost& model, const std::vector<Part>& parts) {
  const mrt_staging& staging = model.compiled->staging();
  uint32_t token = 0, row = 0;
  for (uint32_t s = 0; s < parts.size(); ++s) {
    const Part& part = parts[s];
    const Status prepared = model.cache->prepare_append(part.sequence, static_cast<uint32_t>(part.tokens.size()));
    EXPECT_TRUE(prepared.ok()) << prepared.message();
    const uint32_t past = model.cache->length(part.sequence);
    staging.seq_first[s] = token;
    staging.seq_tokens[s] = static_cast<uint32_t>(part.tokens.size());
    staging.seq_past[s] = past;
    staging.seq_class[s] = static_cast<uint32_t>(part.tokens[0].token_class);
    staging.seq_key[s] = 0;
    if (staging.seq_adapter != nullptr) staging.seq_adapter[s] = nullptr;
    staging.seq_status[s] = MRT_OK;
    for (uint32_t i = 0; i < part.tokens.size(); ++i, ++token) {
      staging.token[token] = static_cast<uint32_t>(part.tokens[i].id);
      staging.position[token] = past + i;
    }
    for (uint32_t i = part.rows; i != 0; --i) staging.rows[row++] = token - i;
    for (uint32_t g = 0; g < model.cache->n_groups(); ++g) {
      const kv::PageTable table = model.cache->pages(part.sequence, g);
      std::copy(table.pages.begin(), table.pages.end(), staging.pages[g] + size_t{s} * model.compiled->max_pages(g));
      staging.page_base[g][s] = table.base;
    }
  }
  uint32_t blast = 0, culprit = 0;
  const Status ran =
      model.compiled->run_step(token, static_cast<uint32_t>(parts.size()), row, nullptr, &blast, &culprit);
  EXPECT_TRUE(ran.ok()) << ran.message();
  std::vector<std::vector<float>> rows;
  if (!ran.ok()) return rows;
  const size_t width = staging.output[0].width;
  for (uint32_t r = 0; r < row; ++r) {
    rows.emplace_back(staging.output[0].data + r * width, staging.output[0].data + (r + 1) * width);
  }
  std::vector<uint32_t> accepted;
  for (const Part& part : parts) accepted.push_back(part.accept);
  EXPECT_TRUE(model.compiled->commit(accepted).ok());
  for (const Part& part : parts) {
    EXPECT_TRUE(model.cache->commit(part.sequence, part.accept, part.tokens[0].token_class).ok());
  }
  return rows;
}

// The length of the run of one class that starts at `at`, at most `most`.
uint32_t class_run(const Tokens& tokens, uint32_t at, uint32_t most) {
  uint32_t n = 1;
  while (at + n < tokens.size() && n < most && tokens[at + n].token_class == tokens[at].token_class) ++n;
  return n;
}

std::shared_ptr<KvAccount> account() { return std::make_shared<KvAccount>(static_cast<TenantId>(1), 0); }

Logits run_alone(ModelHost& model, const Tokens& tokens, uint32_t chunk) {
  const kv::SequenceId sequence = model.cache->create(account());
  Logits logits;
  while (logits.size() < tokens.size()) {
    const auto at = static_cast<uint32_t>(logits.size());
    const uint32_t n = class_run(tokens, at, tokens[at].token_class == kv::TokenClass::kPrompt ? chunk : 1);
    auto rows = run_step(model, {{sequence, std::span(tokens).subspan(at, n), n, n}});
    if (rows.size() != n) break;
    for (auto& row : rows) logits.push_back(std::move(row));
  }
  model.cache->release(sequence);
  return logits;
}

struct Setup {
  const char* plugin;
  const char* model;  // "stories", "gemma" (tiny, seeded), "gemma270m"
  uint32_t schedules;
};

std::ostream& operator<<(std::ostream& out, const Setup& setup) { return out << setup.plugin << "_" << setup.model; }

class BatchInvariance : public ::testing::TestWithParam<Setup> {
 protected:
  std::shared_ptr<const model::weights::Source> source() {
    const std::string name = GetParam().model;
    if (name == "gemma")
      return model::weights::memory_source(::merritt::testing::tiny_gguf({.architecture = "gemma3", .seed = 7}));
    auto opened = model::weights::open_file_source(name == "stories" ? stories_path() : gemma_path());
    EXPECT_TRUE(opened.ok());
    return opened.ok() ? *opened : nullptr;
  }
};

struct Live {
  const Tokens* tokens = nullptr;
  const Logits* expected = nullptr;
  kv::SequenceId sequence = kv::SequenceId::kNone;
};

TEST_P(BatchInvariance, LogitsAreTheSameBitsInEverySchedule) {
  const std::string name = GetParam().model;
  if (name == "stories") MERRITT_SKIP_WITHOUT(stories_path());
  if (name == "gemma270m") MERRITT_SKIP_WITHOUT(gemma_path());
  const bool large = name == "gemma270m";
  engine::CompileOptions options;
  options.page_tokens = 16;
  options.context_max = large ? 768 : 256;
  options.sequences_max = 32;
  options.step_tokens_max = 512;
  options.rows_max = large ? 64 : 512;
  options.kv_bytes = uint64_t{large ? 1024u : 128u} << 20;

  // Streams: a prompt, then generated tokens, then a second prompt and more generated ones.
  std::mt19937 random(20261124);
  DeviceHost one(GetParam().plugin, 1);
  DeviceHost two(GetParam().plugin, 2);
  ASSERT_TRUE(one.device != nullptr && two.device != nullptr);
  ModelHost alone(one, source(), options);
  ASSERT_TRUE(alone.ok());
  const uint32_t vocabulary = alone.file->info.vocabulary;
  std::vector<Tokens> streams(large ? 4 : 8);
  std::vector<Logits> expected;
  size_t stream_at = 0;
  for (Tokens& stream : streams) {
    const uint32_t prompt = large ? (stream_at++ == 0 ? 560 : 20 + random() % 40) : 1 + random() % 90;
    for (uint32_t i = 0; i < prompt; ++i)
      stream.push_back({static_cast<int32_t>(random() % vocabulary), kv::TokenClass::kPrompt});
    for (uint32_t i = 0; i < 12; ++i)
      stream.push_back({static_cast<int32_t>(random() % vocabulary), kv::TokenClass::kGenerated});
    for (uint32_t i = 0; i < 9; ++i)
      stream.push_back({static_cast<int32_t>(random() % vocabulary), kv::TokenClass::kPrompt});
    for (uint32_t i = 0; i < 3; ++i)
      stream.push_back({static_cast<int32_t>(random() % vocabulary), kv::TokenClass::kGenerated});
    expected.push_back(run_alone(alone, stream, 7));
    ASSERT_EQ(expected.back().size(), stream.size());
  }

  ModelHost batched(two, source(), options);
  ASSERT_TRUE(batched.ok());
  for (uint32_t schedule = 0; schedule < GetParam().schedules; ++schedule) {
    SCOPED_TRACE("schedule " + std::to_string(schedule));
    ModelHost& model = schedule % 2 == 0 ? batched : alone;  // two threads, one thread
    const uint32_t chunk = 16 + random() % (options.step_tokens_max - 15);
    const uint32_t width = 1 + random() % (large && schedule % 10 != 0 ? 6 : 32);
    std::vector<Live> live;
    for (uint32_t k = 0; k < width; ++k) {
      const size_t s = random() % streams.size();
      live.push_back({&streams[large && k > 1 ? 1 + s % 3 : s], &expected[large && k > 1 ? 1 + s % 3 : s],
                      model.cache->create(account())});
    }
    for (uint32_t step = 0; step < (large ? 6u : 24u) && !live.empty(); ++step) {
      // A truncation or a fork now and then.
      Live& victim = live[random() % live.size()];
      const uint32_t length = model.cache->length(victim.sequence);
      if (random() % 6 == 0 && length > 1) {
        const uint32_t to =
            std::max(model.cache->lowest_truncation(victim.sequence), static_cast<uint32_t>(random() % length));
        if (to < length) {
          ASSERT_TRUE(model.cache->truncate(victim.sequence, to).ok());
        }
      } else if (random() % 6 == 0 && length != 0 && live.size() < 32) {
        auto forked = model.cache->fork(victim.sequence);
        if (forked.ok()) live.push_back({victim.tokens, victim.expected, *forked});
      }
      std::vector<Part> parts;
      std::vector<size_t> who;
      uint32_t room = options.step_tokens_max, room_rows = options.rows_max;
      for (size_t k = 0; k < live.size() && room != 0 && room_rows != 0; ++k) {
        if (random() % 4 == 0) continue;
        const Tokens& tokens = *live[k].tokens;
        const uint32_t at = model.cache->length(live[k].sequence);
        if (at == tokens.size()) continue;
        const uint32_t n = class_run(tokens, at, std::min<uint32_t>(room, 1 + random() % chunk));
        // Rows that are run but not accepted must leave no trace either.
        const uint32_t want = std::min(room_rows, large ? std::min<uint32_t>(n, 1 + random() % 2) : n);
        parts.push_back({live[k].sequence, std::span(tokens).subspan(at, n), random() % 5 == 0 ? n / 2 : n, want});
        who.push_back(k);
        room -= n;
        room_rows -= want;
      }
      if (parts.empty()) continue;
      std::vector<uint32_t> firsts;
      for (const Part& part : parts) firsts.push_back(model.cache->length(part.sequence));
      const auto rows = run_step(model, parts);
      size_t row = 0;
      for (size_t p = 0; p < parts.size(); ++p) {
        const auto n = static_cast<uint32_t>(parts[p].tokens.size());
        for (uint32_t i = n - parts[p].rows; i < n; ++i, ++row) {
          ASSERT_LT(row, rows.size());
          const auto& want = (*live[who[p]].expected)[firsts[p] + i];
          ASSERT_EQ(std::memcmp(rows[row].data(), want.data(), want.size() * sizeof(float)), 0)
              << "row " << firsts[p] + i << " of a sequence in a step of " << rows.size() << " rows";
        }
      }
    }
    for (const Live& each : live) model.cache->release(each.sequence);
    ASSERT_EQ(model.cache->bytes_held(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Plugins, BatchInvariance,
                         ::testing::Values(Setup{"reference", "stories", 100}, Setup{"reference", "gemma", 100},
                                           Setup{"fardevice", "stories", 100}, Setup{"fardevice", "gemma", 100},
                                           Setup{"onednn", "stories", 100}, Setup{"onednn", "gemma270m", 100}),
                         [](const auto& param) { return std::string(param.param.plugin) + "_" + param.param.model; });

}  // namespace
}  // namespace merritt::test
