// SPDX-License-Identifier: Apache-2.0
// Batch-invariance: a sequence's logits are the same bits whatever else is in the step, however its prompt is cut, on
// one thread or two, and after forks and truncations. A seeded schedule runs several sequences at random; every row of
// logits is compared with a run of that sequence alone, one class run at a time. The plugins that compute the reference
// mathematics are compared with the same alone run, so with each other too.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>
#include <random>

#include "tests/support/step_host.hpp"
#include "tests/support/tiny_gguf.hpp"

namespace merritt::test {
namespace {

using Logits = std::vector<std::vector<float>>;  // of each position

// The length of the run of one class that starts at `at`, at most `most`.
uint32_t class_run(const Tokens& tokens, uint32_t at, uint32_t most) {
  uint32_t n = 1;
  while (at + n < tokens.size() && n < most && tokens[at + n].token_class == tokens[at].token_class) ++n;
  return n;
}

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

struct Schedules {
  const char* plugin;
  const char* model;  // "stories", "gemma" (tiny, seeded), "gemma270m"
  uint32_t part = 0;  // of its schedules: one long case would keep one core busy while the others wait for it
};

#if defined(__SANITIZE_THREAD__)
constexpr uint32_t kSchedules = 15;  // a hundred times slower there, and only races are looked for
#elif defined(MERRITT_SANITIZED)
constexpr uint32_t kSchedules = 30;  // ten times slower there, and after other faults
#else
constexpr uint32_t kSchedules = 100;
#endif

std::ostream& operator<<(std::ostream& out, const Schedules& setup) {
  return out << setup.plugin << "_" << setup.model << "_" << setup.part;
}

constexpr uint32_t kChunkMin = 16, kChunkMax = 512, kSequencesMax = 32;
constexpr uint32_t kLongPrompt = 500;  // of the first stream; the small models' context is 512

// What sequences are made of: a prompt, then generated tokens, then a second prompt and more generated ones.
struct Streams {
  std::vector<Tokens> tokens;
  std::vector<Logits> alone;
};

Streams make_streams(ModelHost& model, bool large) {
  std::mt19937 random(20261124);
  const uint32_t vocabulary = model.file->info.vocabulary;
  Streams streams;
  streams.tokens.resize(large ? 3 : 8);
  for (Tokens& stream : streams.tokens) {
    const bool is_first = &stream == streams.tokens.data();
    const auto add = [&](uint32_t n, kv::TokenClass token_class) {
      for (uint32_t i = 0; i < n; ++i) stream.push_back({static_cast<int32_t>(random() % vocabulary), token_class});
    };
    add(is_first ? kLongPrompt : 1 + random() % (large ? 30 : 40), kv::TokenClass::kPrompt);
    add(is_first ? 5 : 8, kv::TokenClass::kGenerated);
    add(is_first ? 4 : 9, kv::TokenClass::kPrompt);
    add(3, kv::TokenClass::kGenerated);
    streams.alone.push_back(run_alone(model, stream, large ? 61 : 7));
    EXPECT_EQ(streams.alone.back().size(), stream.size());
  }
  return streams;
}

// Made once for each model: the exact plugins share it.
const Streams& streams_of(const Schedules& setup, ModelHost& model) {
  static std::map<std::string, Streams> made;
  const bool exact = std::string_view(setup.plugin) != "onednn";
  const std::string key = (exact ? "exact_" : "onednn_") + std::string(setup.model);
  const auto found = made.find(key);
  if (found != made.end()) return found->second;
  return made.emplace(key, make_streams(model, std::string_view(setup.model) == "gemma270m")).first->second;
}

struct Live {
  size_t stream;
  kv::SequenceId sequence;
};

// How one schedule cuts and mixes. Most draw it; some are as wide, others as long as they may be.
struct Shape {
  uint32_t chunk, width;
  bool whole_chunks, everybody, long_first;
};

Shape shape_of(uint32_t schedule, std::mt19937& random) {
  if (schedule % 20 == 0) return {kChunkMin, kSequencesMax, true, true, false};
  if (schedule % 20 == 10) return {kChunkMax, 1 + static_cast<uint32_t>(random() % 3), true, true, true};
  const auto chunk = static_cast<uint32_t>(kChunkMin + random() % (kChunkMax - kChunkMin + 1));
  return {chunk, 1 + static_cast<uint32_t>(random() % 8), random() % 2 == 0, false, random() % 8 == 0};
}

class BatchInvariance : public ::testing::TestWithParam<Schedules> {
 protected:
  bool large() const { return std::string_view(GetParam().model) == "gemma270m"; }
  std::shared_ptr<const model::weights::Source> source() {
    const std::string name = GetParam().model;
    if (name == "gemma")
      return model::weights::memory_source(::merritt::testing::tiny_gguf({.architecture = "gemma3", .seed = 7}));
    auto opened = model::weights::open_file_source(name == "stories" ? stories_path() : gemma_path());
    EXPECT_TRUE(opened.ok());
    return opened.ok() ? *opened : nullptr;
  }

  // A truncation or a fork now and then.
  void disturb(ModelHost& model, std::vector<Live>& live) {
    const Live victim = live[random_() % live.size()];
    const uint32_t length = model.cache->length(victim.sequence);
    if (random_() % 6 == 0 && length > 1) {
      const uint32_t to =
          std::max(model.cache->lowest_truncation(victim.sequence), static_cast<uint32_t>(random_() % length));
      if (to < length) {
        ASSERT_TRUE(model.cache->truncate(victim.sequence, to).ok());
        ++truncations_;
      }
    } else if (random_() % 6 == 0 && length != 0 && live.size() < kSequencesMax) {
      const auto forked = model.cache->fork(victim.sequence);
      if (forked.ok()) {
        live.push_back({victim.stream, *forked});
        ++forks_;
      }
    }
  }

  void step(ModelHost& model, const Streams& streams, const std::vector<Live>& live, const Shape& shape,
            bool with_rows) {
    std::vector<Part> parts;
    std::deque<Tokens> runs;  // what parts are views of
    std::vector<size_t> who;
    std::vector<uint32_t> firsts;
    uint32_t room = options_.step_tokens_max, room_rows = options_.rows_max;
    for (size_t k = 0; k < live.size() && room != 0 && room_rows != 0; ++k) {
      if (!shape.everybody && random_() % 4 == 0) continue;
      const Tokens& tokens = streams.tokens[live[k].stream];
      const uint32_t at = model.cache->length(live[k].sequence);
      if (at == tokens.size()) continue;
      const uint32_t cut = shape.whole_chunks ? shape.chunk : 1 + static_cast<uint32_t>(random_() % shape.chunk);
      const uint32_t n = class_run(tokens, at, std::min(room, cut));
      // Rows that are run but not accepted must leave no trace either: those of a draft hold other tokens than will be.
      const uint32_t right = random_() % 5 == 0 ? n / 2 : n;
      Tokens& run = runs.emplace_back(tokens.begin() + at, tokens.begin() + at + n);
      for (uint32_t i = right; i < n; ++i) {
        run[i].id = static_cast<int32_t>(random_() % model.file->info.vocabulary);
        ++refused_;
      }
      const uint32_t most = !with_rows ? 0 : large() ? 1 + random_() % 2 : n;
      const uint32_t want = std::min({room_rows, n, most});
      parts.push_back({live[k].sequence, run, right, want});
      who.push_back(k);
      firsts.push_back(at);
      room -= n;
      room_rows -= want;
      longest_ = std::max(longest_, n);
    }
    if (parts.empty()) return;
    widest_ = std::max(widest_, parts.size());
    const auto rows = run_step(model, parts);
    size_t row = 0;
    for (size_t p = 0; p < parts.size(); ++p) {
      const auto n = static_cast<uint32_t>(parts[p].tokens.size());
      for (uint32_t i = n - parts[p].rows; i < n; ++i, ++row) {
        ASSERT_LT(row, rows.size());
        if (i >= parts[p].accept) continue;  // its token was wrong
        const auto& want = streams.alone[live[who[p]].stream][firsts[p] + i];
        ++compared_;
        ASSERT_EQ(std::memcmp(rows[row].data(), want.data(), want.size() * sizeof(float)), 0)
            << "row " << firsts[p] + i << " of a sequence in a step of " << rows.size() << " rows";
      }
    }
  }

  engine::CompileOptions options_;
  std::mt19937 random_{42 + GetParam().part};
  uint32_t longest_ = 0, compared_ = 0, forks_ = 0, truncations_ = 0, refused_ = 0;
  size_t widest_ = 0;
};

TEST_P(BatchInvariance, LogitsAreTheSameBitsInEverySchedule) {
  if (std::string_view(GetParam().model) == "stories") MERRITT_SKIP_WITHOUT(stories_path());
  if (large()) MERRITT_SKIP_WITHOUT(gemma_path());
  options_.page_tokens = 16;
  options_.context_max = kChunkMax;
  options_.sequences_max = kSequencesMax;
  options_.step_tokens_max = kChunkMax;
  options_.rows_max = large() ? 64 : 512;
  options_.kv_bytes = uint64_t{large() ? 1024u : 128u} << 20;

  DeviceHost one(GetParam().plugin, 1);
  DeviceHost two(GetParam().plugin, 2);
  ASSERT_TRUE(one.device != nullptr && two.device != nullptr);
  ModelHost alone(one, source(), options_), batched(two, source(), options_);
  ASSERT_TRUE(alone.ok() && batched.ok());
  const Streams& streams = streams_of(GetParam(), alone);
  ASSERT_FALSE(HasFailure());

  for (uint32_t schedule = 0; schedule < kSchedules; ++schedule) {
    SCOPED_TRACE("schedule " + std::to_string(schedule));
    ModelHost& model = schedule / 20 % 2 == schedule % 2 ? batched : alone;  // two threads, one thread
    const Shape shape = shape_of(schedule, random_);
    std::vector<Live> live;
    for (uint32_t k = 0; k < shape.width; ++k) {
      const bool is_long = k == 0 && shape.long_first;
      live.push_back({is_long ? 0 : 1 + random_() % (streams.tokens.size() - 1), model.cache->create(account())});
    }
    // Most of a step of the large model is its vocabulary: not every step asks for rows, the last always does.
    const uint32_t steps = large() ? 2 + schedule % 2 : 10;
    for (uint32_t i = 0; i < steps; ++i) {
      disturb(model, live);
      step(model, streams, live, shape, !large() || i + 1 == steps || random_() % 4 == 0);
      if (HasFatalFailure()) return;
    }
    for (const Live& each : live) model.cache->release(each.sequence);
    ASSERT_EQ(model.cache->bytes_held(), 0u);
  }
  EXPECT_GE(longest_, kLongPrompt) << "the longest chunk";
  EXPECT_EQ(widest_, kSequencesMax) << "the most sequences in a step";
  EXPECT_GT(compared_, 4 * kSchedules) << "rows of logits";
  EXPECT_GT(forks_, 10u);
  EXPECT_GT(truncations_, 10u);
  EXPECT_GT(refused_, 100u) << "rows of drafts";
}

INSTANTIATE_TEST_SUITE_P(Plugins, BatchInvariance,
                         ::testing::Values(Schedules{"reference", "stories"}, Schedules{"reference", "gemma"},
                                           Schedules{"fardevice", "stories"}, Schedules{"fardevice", "gemma"},
                                           Schedules{"onednn", "stories", 0}, Schedules{"onednn", "stories", 1},
                                           Schedules{"onednn", "stories", 2}, Schedules{"onednn", "gemma270m", 0},
                                           Schedules{"onednn", "gemma270m", 1}, Schedules{"onednn", "gemma270m", 2}),
                         [](const auto& param) { return ::testing::PrintToString(param.param); });

}  // namespace
}  // namespace merritt::test
