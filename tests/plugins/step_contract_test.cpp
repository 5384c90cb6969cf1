// SPDX-License-Identifier: Apache-2.0
// The promises around a step: prepare proves every index and changes nothing, every prepared slot ends once, accepted
// rows become past, cancel stops, the ledger stands still.
#include <cstring>
#include <functional>

#include "tests/plugins/harness/each_plugin.hpp"

namespace merritt::testing {
namespace {

class StepContract : public EachPlugin {
 protected:
  void SetUp() override {
    RigOptions options;
    options.n_pages = 24;
    options.max_pages = 6;
    options.max_tokens = 24;
    options.max_seqs = 4;
    options.max_rows = 24;
    rig = std::make_unique<Rig>(plugin(), tiny_decoder({}), options);
    ASSERT_TRUE(rig->ok()) << rig->err.message;
    a = rig->add_sequence();
    b = rig->add_sequence();
  }
  void TearDown() override {
    if (rig == nullptr) return;
    rig->close();
    EXPECT_EQ(rig->host.charged(), 0u) << "the ledger ends at zero";
    EXPECT_EQ(rig->host.n_dirty_frees(MRT_MEM_KV), 0u);
    EXPECT_EQ(rig->host.n_errors(), 0u);
  }
  std::vector<Chunk> two_runs(uint32_t n) {
    return {{a, random_tokens(1, n, 64), MRT_CLASS_PROMPT, true}, {b, random_tokens(2, n, 64), MRT_CLASS_PROMPT, true}};
  }
  std::unique_ptr<Rig> rig;
  uint32_t a = 0, b = 0;
};

TEST_P(StepContract, PrepareRefusesEveryBadIndexAndChangesNothing) {
  ASSERT_EQ(rig->go(two_runs(9)), MRT_OK) << rig->err.message;
  const auto before = rig->pool_bytes();
  const uint64_t ledger = rig->host.charged(), calls = rig->host.n_calls();
  mrt_staging& s = rig->staging;
  mrt_step& step = rig->step;
  struct Bad {
    const char* what;
    bool sequence;  // one sequence is to blame, and it is the second
    std::function<void()> spoil;
  };
  const uint32_t mp = rig->options.max_pages;
  const Bad bad[] = {
      {"no tokens", false, [&] { step.n_tokens = 0; }},
      {"too many tokens", false, [&] { step.n_tokens = 25; }},
      {"no sequences", false, [&] { step.n_seqs = 0; }},
      {"too many sequences", false, [&] { step.n_seqs = 5; }},
      {"too many rows", false, [&] { step.n_rows = 25; }},
      {"fewer tokens in runs", false, [&] { step.n_tokens += 1; }},
      {"more tokens in runs", true, [&] { step.n_tokens -= 1; }},
      {"slot", false, [&] { step.slot = 1; }},
      {"outputs", false, [&] { step.outputs = 2; }},
      {"struct size", false, [&] { step.struct_size = 0; }},
      {"gap between runs", true, [&] { s.seq_first[1] += 1; }},
      {"overlap of runs", true, [&] { s.seq_first[1] -= 1; }},
      {"empty run", true, [&] { s.seq_tokens[1] = 0; }},
      {"overflowing run", true, [&] { s.seq_tokens[1] = UINT32_MAX; }},
      {"class", true, [&] { s.seq_class[1] = 2; }},
      {"past beyond the context", true, [&] { s.seq_past[1] = 4096; }},
      {"past overflows", true, [&] { s.seq_past[1] = UINT32_MAX; }},
      {"past beyond the pages", true, [&] { s.seq_past[1] = 100; }},
      {"token", true, [&] { s.token[6] = 64; }},
      {"token far out", true, [&] { s.token[7] = UINT32_MAX; }},
      {"position", true, [&] { s.position[6] = 4096; }},
      {"row out of range", false, [&] { s.rows[9] = 10; }},
      {"rows not ascending", false, [&] { s.rows[9] = s.rows[8]; }},
      {"page out of range", true, [&] { s.pages[0][mp + 2] = 24; }},
      {"page out of range, group 1", true, [&] { s.pages[1][mp + 1] = 0x7fffffff; }},
      {"first page out of range", true, [&] { s.pages[1][mp] = 24; }},
      {"sealed without opener", true, [&] { s.pages[1][mp] |= MRT_PAGE_SEALED; }},
      {"sealed and written", true, [&] { s.pages[1][mp + 2] |= MRT_PAGE_SEALED; }},
      {"base beyond what is visible", true, [&] { s.page_base[1][1] = 1; }},
      {"base beyond the window", true, [&] { s.page_base[0][1] = 2; }},
      {"base far out", true, [&] { s.page_base[0][1] = UINT32_MAX; }},
      {"two writers of a page", true, [&] { s.pages[1][mp + 2] = s.pages[1][2]; }},
      {"reads what another writes", true, [&] { s.pages[1][mp] = s.pages[1][2]; }},
      {"one page twice", true, [&] { s.pages[1][mp] = s.pages[1][mp + 2]; }},
  };
  for (const Bad& x : bad) {
    SCOPED_TRACE(x.what);
    step.slot = 0;
    step.struct_size = sizeof step;
    ASSERT_TRUE(rig->fill(two_runs(5)));
    x.spoil();
    std::memset(&rig->err, 0, sizeof rig->err);
    EXPECT_EQ(rig->prepare(), MRT_INVALID_ARGUMENT);
    EXPECT_EQ(rig->err.code, MRT_INVALID_ARGUMENT);
    EXPECT_NE(rig->err.message[0], 0);
    EXPECT_EQ(rig->err.blast, static_cast<uint32_t>(x.sequence ? MRT_BLAST_SEQUENCE : MRT_BLAST_CALL))
        << rig->err.message;
    if (x.sequence) {
      EXPECT_EQ(rig->err.index, 1u) << rig->err.message;
    }
    EXPECT_NE(rig->abort(), MRT_OK) << "a refused step holds no slot";
  }
  step.slot = 0;
  step.struct_size = sizeof step;
  ASSERT_TRUE(rig->fill(two_runs(5)));
  EXPECT_EQ(rig->prepare(), MRT_OK) << rig->err.message;
  EXPECT_EQ(rig->pool_bytes(), before) << "prepare changed a page";
  EXPECT_EQ(rig->host.charged(), ledger);
  EXPECT_EQ(rig->host.n_calls(), calls) << "prepare called the allocator";
  EXPECT_EQ(rig->abort(), MRT_OK);
  EXPECT_EQ(rig->pool_bytes(), before) << "abort before run changed a page";
}

TEST_P(StepContract, AnUnknownTailOfTheStepIsRefused) {
  ASSERT_TRUE(rig->fill(two_runs(5)));
  struct {
    mrt_step step;
    uint64_t tail;
  } longer{rig->step, 0};
  longer.step.struct_size = sizeof longer;
  EXPECT_EQ(rig->table().step_prepare(rig->program, &longer.step, &rig->err), MRT_OK) << rig->err.message;
  EXPECT_EQ(rig->abort(), MRT_OK);
  longer.tail = 1;
  EXPECT_EQ(rig->table().step_prepare(rig->program, &longer.step, &rig->err), MRT_UNSUPPORTED);
}

TEST_P(StepContract, SlotsEndExactlyOnce) {
  EXPECT_EQ(rig->run(), MRT_FAILED_PRECONDITION);
  EXPECT_EQ(rig->table().step_wait(rig->program, 0, 0, &rig->err), MRT_FAILED_PRECONDITION);
  EXPECT_EQ(rig->abort(), MRT_FAILED_PRECONDITION);
  EXPECT_EQ(rig->table().step_commit(rig->program, 0, nullptr, &rig->err), MRT_FAILED_PRECONDITION);
  ASSERT_TRUE(rig->fill(two_runs(5)));
  ASSERT_EQ(rig->prepare(), MRT_OK);
  EXPECT_EQ(rig->prepare(), MRT_FAILED_PRECONDITION);
  EXPECT_EQ(rig->table().step_commit(rig->program, 0, nullptr, &rig->err), MRT_FAILED_PRECONDITION);
  ASSERT_EQ(rig->run(), MRT_OK);
  EXPECT_EQ(rig->run(), MRT_FAILED_PRECONDITION);
  ASSERT_EQ(rig->wait(), MRT_OK);
  EXPECT_EQ(rig->wait(), MRT_OK) << "waiting again tells the same";
  const uint32_t too_many[2] = {5, 6};
  EXPECT_EQ(rig->table().step_commit(rig->program, 0, too_many, &rig->err), MRT_INVALID_ARGUMENT);
  ASSERT_EQ(rig->commit(), MRT_OK);
  EXPECT_EQ(rig->abort(), MRT_FAILED_PRECONDITION);
  mrt_staging again{};
  again.struct_size = sizeof again;
  EXPECT_NE(rig->table().program_staging(rig->program, 0, &again, &rig->err), MRT_OK) << "staging is given once";
  EXPECT_NE(rig->table().program_staging(rig->program, 1, &again, &rig->err), MRT_OK);
}

TEST_P(StepContract, AbortAfterRunLeavesTheResultsOfOthersAlone) {
  ASSERT_EQ(rig->go({{a, random_tokens(1, 9, 64)}}), MRT_OK);
  ASSERT_EQ(rig->go({{a, {5, 6}}}), MRT_OK) << rig->err.message;
  const std::vector<float> expect = rig->rows();
  Rig other(plugin(), tiny_decoder({}), rig->options);
  const uint32_t s = other.add_sequence();
  ASSERT_EQ(other.go({{s, random_tokens(1, 9, 64)}}), MRT_OK);
  ASSERT_TRUE(other.fill({{s, {40, 41, 42}}}));
  ASSERT_EQ(other.prepare(), MRT_OK);
  ASSERT_EQ(other.run(), MRT_OK);
  ASSERT_EQ(other.abort(), MRT_OK);
  ASSERT_EQ(other.go({{s, {5, 6}}}), MRT_OK);
  EXPECT_EQ(other.rows(), expect) << "an aborted step is as if it never was";
}

TEST_P(StepContract, AcceptedRowsBecomePast) {
  const auto tokens = random_tokens(3, 12, 64);
  ASSERT_EQ(rig->go({{a, tokens}}), MRT_OK);
  const std::vector<float> all = rig->rows();
  // A chunk of five, of which three are taken, then the rest again.
  ASSERT_EQ(rig->go({{b, {tokens.begin(), tokens.begin() + 4}}}), MRT_OK);
  std::vector<uint32_t> draft(tokens.begin() + 4, tokens.begin() + 9);
  draft[3] = 63 - draft[3];
  ASSERT_TRUE(rig->fill({{b, draft}}));
  ASSERT_EQ(rig->prepare(), MRT_OK);
  ASSERT_EQ(rig->run(), MRT_OK);
  ASSERT_EQ(rig->wait(), MRT_OK);
  const std::vector<uint32_t> accepted = {3};
  ASSERT_EQ(rig->commit(&accepted), MRT_OK);
  EXPECT_EQ(rig->sequences[b].past, 7u);
  ASSERT_EQ(rig->go({{b, {tokens.begin() + 7, tokens.end()}}}), MRT_OK);
  for (uint32_t r = 0; r < 5; ++r) {
    EXPECT_EQ(std::memcmp(rig->row(r), all.data() + (7 + r) * rig->width(), rig->width() * sizeof(float)), 0) << r;
  }
}

TEST_P(StepContract, CancelStopsTheStepAndNobodyAdvances) {
  ASSERT_EQ(rig->go(two_runs(5)), MRT_OK);
  rig->cancel = 1;
  ASSERT_TRUE(rig->fill(two_runs(3)));
  ASSERT_EQ(rig->prepare(), MRT_OK);
  int32_t code = rig->run();
  if (code == MRT_OK) code = rig->wait();
  EXPECT_EQ(code, MRT_CANCELLED);
  EXPECT_EQ(rig->table().step_commit(rig->program, 0, nullptr, &rig->err), MRT_FAILED_PRECONDITION);
  EXPECT_EQ(rig->abort(), MRT_OK);
  rig->cancel = 0;
  EXPECT_EQ(rig->go(two_runs(3)), MRT_OK) << rig->err.message;
}

TEST_P(StepContract, TheLedgerStandsStillFromPrepareToCommit) {
  ASSERT_EQ(rig->go(two_runs(5)), MRT_OK);
  const uint64_t ledger = rig->host.charged(), calls = rig->host.n_calls();
  for (uint32_t i = 0; i < 4; ++i) ASSERT_EQ(rig->go(two_runs(1 + i)), MRT_OK) << rig->err.message;
  EXPECT_EQ(rig->host.charged(), ledger);
  EXPECT_EQ(rig->host.n_calls(), calls);
}

TEST_P(StepContract, OutputsZeroFillsTheCacheOnly) {
  const auto tokens = random_tokens(3, 10, 64);
  ASSERT_EQ(rig->go({{a, tokens}}), MRT_OK);
  const std::vector<float> last(rig->row(9), rig->row(9) + rig->width());
  ASSERT_EQ(rig->go({{b, {tokens.begin(), tokens.end() - 1}}}, 0), MRT_OK);
  ASSERT_EQ(rig->go({{b, {tokens.back()}}}), MRT_OK);
  EXPECT_EQ(rig->rows(), last);
}

TEST_P(StepContract, ClosingGivesEveryByteBack) {
  TestHost host;
  mrt_error err{};
  mrt_device* device = nullptr;
  ASSERT_EQ(plugin().table.device_open(0, host.table(), &device, &err), MRT_OK);
  const GraphBuilder graph = tiny_decoder({});
  const mrt_graph g = graph.graph();
  const mrt_weights w = graph.source();
  mrt_model_info info{};
  info.struct_size = sizeof info;
  mrt_model* model = nullptr;
  ASSERT_EQ(plugin().table.model_compile(device, &g, &w, MRT_COMPILE_PLAN_ONLY, nullptr, &info, &model, &err), MRT_OK);
  EXPECT_EQ(model, nullptr);
  EXPECT_EQ(graph.reads, 0u) << "PLAN_ONLY read a weight";
  EXPECT_GT(info.weight_bytes, 0u);
  // Every budget below what compile needs refuses, and leaves nothing behind.
  const uint64_t idle = host.charged();
  for (uint64_t budget = 0; model == nullptr && budget < 1u << 24; budget = budget * 2 + 1024) {
    host.set_limit(idle + budget);
    const int32_t code = plugin().table.model_compile(device, &g, &w, 0, nullptr, &info, &model, &err);
    if (code != MRT_OK) {
      EXPECT_EQ(code, MRT_OUT_OF_MEMORY) << err.message;
      EXPECT_EQ(host.charged(), idle);
    }
  }
  ASSERT_NE(model, nullptr);
  plugin().table.model_destroy(model);
  plugin().table.device_close(device);
  EXPECT_EQ(host.charged(), 0u);
  EXPECT_EQ(host.n_errors(), 0u);
}

TEST_P(StepContract, CompileCanBeCancelled) {
  const volatile uint32_t cancel = 1;
  const GraphBuilder graph = tiny_decoder({});
  const mrt_graph g = graph.graph();
  const mrt_weights w = graph.source();
  mrt_model* model = nullptr;
  const uint64_t ledger = rig->host.charged();
  EXPECT_EQ(plugin().table.model_compile(rig->device, &g, &w, 0, &cancel, &rig->info, &model, &rig->err),
            MRT_CANCELLED);
  EXPECT_EQ(rig->host.charged(), ledger);
}

// A host whose executor leaves work out: a step ends well only with the right rows.
TEST_P(StepContract, AnExecutorThatLeavesWorkOutFailsTheStep) {
  Rig good(plugin(), tiny_decoder({}));
  const auto tokens = random_tokens(7, 40, 64);
  ASSERT_EQ(good.go({{good.add_sequence(), tokens}}), MRT_OK);
  for (const Executor executor : {Executor::kSkips, Executor::kIdle, Executor::kThrows}) {
    RigOptions options;
    options.executor = executor;
    Rig bad(plugin(), tiny_decoder({}), options);
    if (!bad.ok()) continue;  // compiling may be parallel too
    const int32_t code = bad.go({{bad.add_sequence(), tokens}});
    if (code == MRT_OK) {
      EXPECT_EQ(bad.rows(), good.rows()) << "executor " << static_cast<int>(executor);
    } else {
      EXPECT_EQ(code, MRT_BACKEND) << bad.err.message;
      EXPECT_EQ(bad.err.blast, static_cast<uint32_t>(MRT_BLAST_STEP));
    }
    bad.close();
    EXPECT_EQ(bad.host.charged(), 0u);
  }
}

MERRITT_EACH_PLUGIN(StepContract);

}  // namespace
}  // namespace merritt::testing
