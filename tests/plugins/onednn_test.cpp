// SPDX-License-Identifier: Apache-2.0
// The oneDNN plugin through the plugin ABI: products of every weight type on every ISA level against double sums over
// the plainly opened weights; a row's bits depend neither on the rows beside it nor on the threads; true traces.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/blocks.hpp"
#include "support/numbers.hpp"
#include "tests/plugins/harness/rig.hpp"

namespace merritt::testing {
namespace {
using namespace plugin;

constexpr uint32_t kTypes[] = {kF32,  kF16,  kBF16, kQ4_0, kQ4_1, kQ5_0, kQ5_1,
                               kQ8_0, kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K, kIQ4_NL};

const PluginLibrary& onednn() { return plugin_named("onednn"); }

// Where a block keeps half-precision scales; 0xffff = no second one.
struct Scales {
  uint32_t type;
  uint16_t first, second;
};
constexpr Scales kScales[] = {{kQ4_0, 0, 0xffff}, {kQ4_1, 0, 2},        {kQ5_0, 0, 0xffff},   {kQ5_1, 0, 2},
                              {kQ8_0, 0, 0xffff}, {kQ2_K, 80, 82},      {kQ3_K, 108, 0xffff}, {kQ4_K, 0, 2},
                              {kQ5_K, 0, 2},      {kQ6_K, 208, 0xffff}, {kIQ4_NL, 0, 0xffff}};

// Blocks of random bits under small scales: every code and every sub-scale occurs.
std::vector<uint8_t> random_blocks(uint32_t type, uint64_t n, uint64_t seed) {
  std::vector<uint8_t> out(row_bytes(type, n));
  const std::vector<float> values = noise(seed, std::max<uint64_t>(n, out.size()), 1.0f);
  const TypeInfo& info = *type_info(type);
  if (info.block_elements == 1) {
    quantise_row(type, values.data(), out.data(), n);
    return out;
  }
  for (uint64_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint8_t>((values[i] + 1.0f) * 127.9f);
  for (const Scales& s : kScales) {
    if (s.type != type) continue;
    for (uint64_t b = 0; b < out.size(); b += info.block_bytes) {
      for (const uint16_t at : {s.first, s.second}) {
        if (at == 0xffff) continue;
        const uint16_t half = f32_to_f16(0.01f + 0.005f * values[b + at]);
        std::memcpy(out.data() + b + at, &half, 2);
      }
    }
  }
  return out;
}

// y = W x + bias over the hidden input, and nothing else; or twice W x, whose rows the graph keeps to itself.
struct Product {
  uint32_t type, inputs, outputs;
  GraphBuilder graph;
  std::vector<float> weights, bias;
  Product(uint32_t t, uint32_t k, uint32_t n, bool inside = false) : type(t), inputs(k), outputs(n) {
    std::vector<uint8_t> blocks = random_blocks(t, static_cast<uint64_t>(k) * n, t + 1);
    weights.resize(static_cast<uint64_t>(k) * n);
    dequantise_row(t, blocks.data(), weights.data(), weights.size());
    const uint32_t w = graph.weight(t, {k, n}, std::move(blocks));
    if (inside) {
      const uint32_t y = graph.node(MRT_OP_LINEAR, n, {MRT_REF_INPUT(MRT_IN_HIDDEN), w});
      graph.output(graph.node(MRT_OP_ADD, n, {y, y}));
      return;
    }
    const uint32_t b = graph.weight({n}, 77);
    bias = noise(77, n, 1.0f);
    graph.output(graph.node(MRT_OP_LINEAR, n, {MRT_REF_INPUT(MRT_IN_HIDDEN), w, b}));
  }
  // Reference value and the length of the vector of products, which says how large rounding errors may be.
  double exact(const float* x, uint32_t o, double* length) const {
    double sum = bias[o], squares = 1e-12;
    for (uint32_t i = 0; i < inputs; ++i) {
      const double p = static_cast<double>(x[i]) * weights[static_cast<uint64_t>(o) * inputs + i];
      sum += p;
      squares += p * p;
    }
    *length = std::sqrt(squares);
    return sum;
  }
};

RigOptions product_options(uint32_t flags, uint32_t isa, Executor executor = Executor::kOneThread) {
  RigOptions o;
  o.compile_flags = flags;
  o.isa_max = isa;
  o.executor = executor;
  o.max_tokens = o.max_rows = 600;  // more than share an opened weight
  return o;
}

struct Part {
  uint32_t first, n, row_class;
};
// Rows of x through the product as one step of several sequences; rows in the order of the parts.
std::vector<float> multiply(Rig* rig, const std::vector<float>& x, uint32_t inputs, const std::vector<Part>& parts) {
  std::vector<Chunk> runs;
  std::vector<uint32_t> ids;
  for (const Part& p : parts) {
    ids.push_back(rig->add_sequence());
    runs.push_back({ids.back(), std::vector<uint32_t>(p.n, 0), p.row_class, true});
  }
  if (!rig->fill(runs)) return {};
  float* to = rig->staging.hidden;
  for (const Part& p : parts) {
    std::memcpy(to, x.data() + static_cast<uint64_t>(p.first) * inputs, static_cast<uint64_t>(p.n) * inputs * 4);
    to += static_cast<uint64_t>(p.n) * inputs;
  }
  if (rig->prepare() != MRT_OK || rig->run() != MRT_OK || rig->wait() != MRT_OK) return {};
  const mrt_output& out = rig->staging.output[0];
  std::vector<float> rows(out.data, out.data + static_cast<uint64_t>(rig->step.n_tokens) * out.width);
  if (rig->commit() != MRT_OK) return {};
  for (const uint32_t id : ids) rig->remove(id);
  return rows;
}

class OneDnn : public ::testing::Test {
 protected:
  void SetUp() override {
    if (onednn().name.empty()) GTEST_SKIP() << "the onednn plugin is not built";
  }
  // The first device of a process decides how wide its library is: no test may be the first with a capped one.
  static void SetUpTestSuite() {
    if (!onednn().name.empty()) (void)Rig(onednn(), Product(kQ8_0, 32, 16).graph, product_options(0, 0));
  }
};

Product odd_product(uint32_t type) {  // outputs that sixteen does not divide, inputs of few blocks
  const uint32_t block = type_info(type)->block_elements;
  return {type, block == 256 ? 512u : block == 32 ? 96u : 84u, 83};
}

void compare_product(uint32_t type, uint32_t isa, uint32_t flags) {
  const Product p = odd_product(type);
  Rig rig(onednn(), p.graph, product_options(flags, isa));
  ASSERT_TRUE(rig.ok()) << rig.err.message;
  constexpr uint32_t kRows = 5;
  const std::vector<float> x = noise(3, kRows * p.inputs, 1.0f);
  for (const uint32_t row_class : {MRT_CLASS_PROMPT, MRT_CLASS_GENERATED}) {
    const std::vector<float> y = multiply(&rig, x, p.inputs, {{0, kRows, row_class}});
    ASSERT_EQ(y.size(), static_cast<size_t>(kRows) * p.outputs) << rig.err.message;
    for (uint32_t r = 0; r < kRows; ++r) {
      for (uint32_t o = 0; o < p.outputs; ++o) {
        double length = 0;
        const double expect = p.exact(x.data() + r * p.inputs, o, &length);
        const double allowed = (flags & MRT_COMPILE_EXACT) != 0 ? 8e-6 * length + 1e-6 : 0.03 * length + 1e-6;
        ASSERT_NEAR(y[r * p.outputs + o], expect, allowed)
            << type_info(type)->name << " isa " << isa << " class " << row_class << " row " << r << " output " << o;
      }
    }
  }
}

TEST_F(OneDnn, EveryWeightTypeOnEveryIsaLevelIsRight) {
  for (const uint32_t isa : {0u, 1u, 2u, 3u}) {
    for (const uint32_t type : kTypes) {
      compare_product(type, isa, 0);
      compare_product(type, isa, MRT_COMPILE_EXACT);
    }
  }
}

void compare_counts(const Product& p, uint32_t isa, uint32_t row_class, uint32_t total) {
  const std::vector<float> x = noise(9, static_cast<uint64_t>(total) * p.inputs, 1.0f);
  Rig rig(onednn(), p.graph, product_options(0, isa));
  ASSERT_TRUE(rig.ok()) << rig.err.message;
  const std::vector<float> all = multiply(&rig, x, p.inputs, {{0, total, row_class}});
  const size_t n = p.outputs;
  ASSERT_EQ(all.size(), n * total);
  for (uint32_t m = 1; m < total; m += m < 130 && total < 600 ? 1 : 41) {
    const std::vector<float> some = multiply(&rig, x, p.inputs, {{total - m, m, row_class}});
    ASSERT_EQ(std::memcmp(some.data(), &all[(total - m) * n], m * n * 4), 0) << p.type << ' ' << isa << " rows " << m;
  }
}

// Beside one large input the others are a few units of their integers, of which the low plane holds all that differs.
TEST_F(OneDnn, GeneratedRowsKeepTheSmallBesideTheLarge) {
  for (const uint32_t isa : {0u, 1u, 2u, 3u}) {
    for (const uint32_t type : kTypes) {
      const Product p = odd_product(type);
      Rig rig(onednn(), p.graph, product_options(0, isa));
      ASSERT_TRUE(rig.ok()) << rig.err.message;
      std::vector<float> x(p.inputs, 1.08f);
      for (uint32_t i = 5; i < p.inputs; i += 32) x[i] = 100.0f;
      const std::vector<float> y = multiply(&rig, x, p.inputs, {{0, 1, MRT_CLASS_GENERATED}});
      ASSERT_EQ(y.size(), p.outputs) << rig.err.message;
      double worst = 0, longest = 0;
      for (uint32_t o = 0; o < p.outputs; ++o) {
        double length = 0;
        worst = std::max(worst, std::fabs(y[o] - p.exact(x.data(), o, &length)));
        longest = std::max(longest, length);
      }
      EXPECT_LT(worst, 0.003 * longest) << type_info(type)->name << " isa " << isa;
    }
  }
}

TEST_F(OneDnn, RowsDoNotDependOnHowManyComeWithThem) {
  for (const uint32_t type : kTypes) {
    for (const uint32_t isa : {0u, 1u, 2u}) compare_counts(odd_product(type), isa, MRT_CLASS_GENERATED, 70);
  }
  for (const uint32_t type : {kF32, kBF16, kQ5_0, kQ8_0, kQ4_K, kQ6_K}) {
    for (const uint32_t c : {MRT_CLASS_PROMPT, MRT_CLASS_GENERATED}) compare_counts({type, 256, 80}, 0, c, 512);
  }
  // Deeper than is opened at once, with a rest, and more rows than share it.
  for (const uint32_t type : {kBF16, kQ8_0, kQ4_K}) compare_counts({type, 1280, 200}, 0, MRT_CLASS_PROMPT, 600);
}

// Sums over a depth that is opened in pieces; outputs of several tasks, the last of them with an odd group.
TEST_F(OneDnn, DeepAndWideProductsAreRight) {
  for (const uint32_t type : {kF32, kF16, kBF16, kQ4_0, kQ8_0, kQ4_K, kQ6_K}) {
    const Product p(type, 1280, 467);
    Rig rig(onednn(), p.graph, product_options(0, 0, Executor::kTwoThreads));
    ASSERT_TRUE(rig.ok()) << rig.err.message;
    constexpr uint32_t kRows = 530;
    const std::vector<float> x = noise(12, kRows * p.inputs, 1.0f);
    const std::vector<float> y = multiply(&rig, x, p.inputs, {{0, kRows, MRT_CLASS_PROMPT}});
    ASSERT_EQ(y.size(), static_cast<size_t>(kRows) * p.outputs) << rig.err.message;
    for (uint32_t r = 0; r < kRows; r += 23) {
      for (uint32_t o = 0; o < p.outputs; ++o) {
        double length = 0;
        const double expect = p.exact(x.data() + r * p.inputs, o, &length);
        ASSERT_NEAR(y[r * p.outputs + o], expect, 0.03 * length + 1e-6)
            << type_info(type)->name << ' ' << r << ' ' << o;
      }
    }
  }
}

// On AVX2 rows of both classes have sixteen bits, and where many rows come weights are opened once for all of them.
TEST_F(OneDnn, PairsAreNearlyExactInBothClasses) {
  for (const uint32_t type : kTypes) {
    if (type == kF32 || type == kF16 || type == kBF16) continue;
    const Product p(type, 1280, 77);
    Rig rig(onednn(), p.graph, product_options(0, MRT_ISA_AVX2, Executor::kTwoThreads));
    ASSERT_TRUE(rig.ok()) << rig.err.message;
    constexpr uint32_t kRows = 23;
    const std::vector<float> x = noise(17, kRows * p.inputs, 1.0f);
    const std::vector<float> y = multiply(&rig, x, p.inputs, {{0, kRows, MRT_CLASS_PROMPT}});
    ASSERT_EQ(y.size(), static_cast<size_t>(kRows) * p.outputs) << rig.err.message;
    for (uint32_t r = 0; r < kRows; ++r) {
      for (uint32_t o = 0; o < p.outputs; ++o) {
        double length = 0;
        const double expect = p.exact(x.data() + r * p.inputs, o, &length);
        ASSERT_NEAR(y[r * p.outputs + o], expect, 0.0002 * length + 1e-6)
            << type_info(type)->name << ' ' << r << ' ' << o;
      }
    }
    EXPECT_EQ(y, multiply(&rig, x, p.inputs, {{0, kRows, MRT_CLASS_GENERATED}})) << type_info(type)->name;
    std::vector<float> mixed;
    for (uint32_t r = 0; r < 9; ++r) {
      const auto one = multiply(&rig, x, p.inputs, {{r, 1, r % 2 == 0 ? MRT_CLASS_PROMPT : MRT_CLASS_GENERATED}});
      mixed.insert(mixed.end(), one.begin(), one.end());
    }
    EXPECT_TRUE(std::equal(mixed.begin(), mixed.end(), y.begin())) << type_info(type)->name;
  }
}

TEST_F(OneDnn, ClassesDoNotTouchEachOther) {
  const Product p(kQ5_0, 640, 80);
  const std::vector<float> x = noise(4, 64 * 640, 1.0f);
  Rig rig(onednn(), p.graph, product_options(0, 0));
  ASSERT_TRUE(rig.ok()) << rig.err.message;
  const auto generated = multiply(&rig, x, 640, {{0, 3, MRT_CLASS_GENERATED}});
  const auto prompt = multiply(&rig, x, 640, {{3, 40, MRT_CLASS_PROMPT}});
  const auto mixed = multiply(&rig, x, 640, {{0, 3, MRT_CLASS_GENERATED}, {3, 40, MRT_CLASS_PROMPT}});
  ASSERT_EQ(mixed.size(), 43u * 80u);
  EXPECT_EQ(std::memcmp(mixed.data(), generated.data(), generated.size() * 4), 0);
  EXPECT_EQ(std::memcmp(mixed.data() + generated.size(), prompt.data(), prompt.size() * 4), 0);
}

// Sums that leave the tiles straight into rows end where the class ends, in the last band and in the last group.
TEST_F(OneDnn, ClassesDoNotTouchEachOtherInsideTheGraph) {
  for (const uint32_t outputs : {16u, 80u, 128u, 133u}) {
    const Product p(kQ8_0, 640, outputs, true);
    const std::vector<float> x = noise(4, 80 * 640, 1.0f);
    Rig rig(onednn(), p.graph, product_options(0, 0));
    ASSERT_TRUE(rig.ok()) << rig.err.message;
    const auto generated = multiply(&rig, x, 640, {{0, 7, MRT_CLASS_GENERATED}});
    const auto prompt = multiply(&rig, x, 640, {{7, 70, MRT_CLASS_PROMPT}});
    ASSERT_EQ(prompt.size(), 70ull * outputs);
    for (const uint32_t rows : {1u, 15u, 16u, 17u, 31u, 32u, 33u, 47u, 48u, 64u, 70u}) {
      const auto mixed = multiply(&rig, x, 640, {{0, 7, MRT_CLASS_GENERATED}, {7, rows, MRT_CLASS_PROMPT}});
      ASSERT_EQ(mixed.size(), (7ull + rows) * outputs);
      EXPECT_EQ(std::memcmp(mixed.data(), generated.data(), generated.size() * 4), 0) << outputs << ' ' << rows;
      EXPECT_EQ(std::memcmp(mixed.data() + generated.size(), prompt.data(), 4ull * rows * outputs), 0)
          << outputs << ' ' << rows;
    }
  }
}

std::string kernel_name(const Rig& rig, uint32_t node, uint32_t row_class) {
  const auto* trace = static_cast<const mrt_ext_trace*>(rig.table().extension(MRT_EXT_TRACE, sizeof MRT_EXT_TRACE - 1));
  char name[64] = {};
  mrt_error err{};
  EXPECT_EQ(trace->kernel_name(rig.model, node, row_class, name, sizeof name, &err), MRT_OK) << err.message;
  return name;
}

bool has_amx() {
  mrt_device_desc desc{};
  desc.struct_size = sizeof desc;
  mrt_error err{};
  EXPECT_EQ(onednn().table.device_describe(0, &desc, &err), MRT_OK) << err.message;
  return std::string(desc.name).find("AMX") != std::string::npos;
}

// act(x Wg) * (x Wu) Wd, and what lies between as an output too if `kept`, which keeps PROMPT rows from being made by
// the products themselves.
constexpr uint32_t kGateNode = 2;
GraphBuilder gated(uint32_t gate_type, uint32_t up_type, uint32_t inner, uint32_t act, bool kept) {
  constexpr uint32_t kInputs = 768;
  GraphBuilder g;
  uint64_t seed = inner;
  const auto product = [&](uint32_t type, uint32_t x, uint32_t in, uint32_t out) {
    return g.node(MRT_OP_LINEAR, out,
                  {x, g.weight(type, {in, out}, random_blocks(type, static_cast<uint64_t>(in) * out, ++seed))});
  };
  const uint32_t x = MRT_REF_INPUT(MRT_IN_HIDDEN), gate = product(gate_type, x, kInputs, inner);
  const uint32_t y = g.node(MRT_OP_GATE, inner, {gate, product(up_type, x, kInputs, inner)}, {{MRT_A_ACT, act}});
  g.output(product(kQ8_0, y, inner, 48));
  if (kept) g.output(y);
  return g;
}

TEST_F(OneDnn, GatesInsideProductsAreTheSameBits) {
  const uint32_t types[][2] = {{kQ8_0, kQ8_0}, {kQ4_K, kQ6_K}, {kQ6_K, kQ5_0}, {kBF16, kQ4_0}, {kF32, kQ8_0}};
  const std::vector<float> x = noise(4, 600 * 768, 1.0f);
  for (const auto& type : types) {
    uint32_t act = 0;
    for (const uint32_t inner : {32u, 96u, 320u, 1184u}) {
      ++act;  // SiLU, both forms of GELU, ReLU
      const GraphBuilder joined = gated(type[0], type[1], inner, act, false);
      const GraphBuilder apart = gated(type[0], type[1], inner, act, true);
      Rig a(onednn(), joined, product_options(0, 0, Executor::kTwoThreads)), b(onednn(), apart, product_options(0, 0));
      ASSERT_TRUE(a.ok() && b.ok()) << a.err.message << b.err.message;
      EXPECT_EQ(kernel_name(a, kGateNode, MRT_CLASS_PROMPT) == "own:gate_bf16_amx", has_amx() && type[0] != kF32);
      EXPECT_NE(kernel_name(b, kGateNode, MRT_CLASS_PROMPT), "own:gate_bf16_amx");
      for (const uint32_t rows : {1u, 15u, 16u, 33u, 590u}) {
        const std::vector<Part> parts = {{0, 7, MRT_CLASS_GENERATED}, {7, rows, MRT_CLASS_PROMPT}};
        const auto one = multiply(&a, x, 768, parts), other = multiply(&b, x, 768, parts);
        ASSERT_EQ(one.size(), (7ull + rows) * 48) << a.err.message;
        ASSERT_EQ(other.size(), one.size()) << b.err.message;
        EXPECT_EQ(std::memcmp(one.data(), other.data(), one.size() * 4), 0)
            << type_info(type[0])->name << ' ' << type_info(type[1])->name << ' ' << inner << ' ' << rows;
      }
    }
  }
}

// Not a number or infinite, in every form that rows have.
TEST_F(OneDnn, NotANumberStaysInItsRow) {
  constexpr uint32_t kRows = 11, kOutputs = 32;  // so many that weights are opened for them
  const uint64_t cols = 256;
  for (const uint32_t type : {kQ8_0, kQ6_K}) {
    for (const uint32_t isa : {0u, static_cast<uint32_t>(MRT_ISA_AVX2)}) {
      const Product p(type, cols, kOutputs);
      Rig rig(onednn(), p.graph, product_options(0, isa));
      ASSERT_TRUE(rig.ok()) << rig.err.message;
      for (const float bad : {NAN, INFINITY}) {
        for (const uint32_t row_class : {MRT_CLASS_PROMPT, MRT_CLASS_GENERATED}) {
          std::vector<float> x = noise(6, kRows * cols, 1.0f);
          const auto clean = multiply(&rig, x, cols, {{0, kRows, row_class}});
          x[cols + 7] = bad;
          x[cols + 2] = 1e30f;  // may hide behind what is not a number
          const auto dirty = multiply(&rig, x, cols, {{0, kRows, row_class}});
          ASSERT_EQ(dirty.size(), kRows * kOutputs);
          const float* row = dirty.data() + kOutputs;
          EXPECT_EQ(std::memcmp(clean.data(), dirty.data(), kOutputs * 4), 0);
          EXPECT_EQ(std::memcmp(&clean[2 * kOutputs], row + kOutputs, (kRows - 2) * kOutputs * 4), 0);
          for (uint32_t o = 0; o < kOutputs; ++o) EXPECT_FALSE(std::isfinite(row[o])) << o;
          for (uint32_t o = 0; o < kOutputs && std::isnan(bad); ++o) EXPECT_TRUE(std::isnan(row[o])) << o;
        }
      }
    }
  }
}

// So small that the inverse of the largest is infinite. Integers out of range would be hidden by the scale, but not
// from UBSan, which sees their sums overflow.
TEST_F(OneDnn, TinyRowsAreNearlyNothing) {
  const Product p(kQ8_0, 256, 32, true);
  for (const uint32_t isa : {0u, static_cast<uint32_t>(MRT_ISA_AVX2)}) {
    Rig rig(onednn(), p.graph, product_options(0, isa));
    ASSERT_TRUE(rig.ok()) << rig.err.message;
    std::vector<float> x(9 * 256, 0.0f);
    for (uint64_t i = 0; i < x.size(); i += 16) x[i] = 1e-37f;
    for (const uint32_t row_class : {MRT_CLASS_PROMPT, MRT_CLASS_GENERATED}) {
      const std::vector<float> y = multiply(&rig, x, 256, {{0, 9, row_class}});
      ASSERT_EQ(y.size(), 9u * 32u) << rig.err.message;
      for (const float value : y) ASSERT_LT(std::fabs(value), 1e-30f);
    }
  }
}

std::vector<float> decode(const GraphBuilder& graph, Executor executor, uint32_t isa, uint32_t page_tokens,
                          uint32_t flags = 0) {
  RigOptions o = product_options(flags, isa, executor);
  o.page_tokens = page_tokens;
  o.kv_type = kF16;
  o.n_pages = 600;
  o.max_pages = 200;
  Rig rig(onednn(), graph, o);
  EXPECT_TRUE(rig.ok()) << rig.err.message;
  const uint32_t s = rig.add_sequence();
  std::vector<uint32_t> prompt(150);
  for (uint32_t i = 0; i < prompt.size(); ++i) prompt[i] = i * 7 % 64;
  std::vector<float> rows;
  EXPECT_EQ(rig.go({{s, prompt}}), MRT_OK) << rig.err.message;
  rows.insert(rows.end(), rig.rows().begin(), rig.rows().end());
  for (uint32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(rig.go({{s, {i + 3}, MRT_CLASS_GENERATED}}), MRT_OK) << rig.err.message;
    rows.insert(rows.end(), rig.rows().begin(), rig.rows().end());
  }
  return rows;
}

GraphBuilder wide_decoder(uint32_t weight_type = kQ8_0) {
  TinyModel m;
  m.width = 64;
  m.window = 70;
  m.weight_type = weight_type;
  return tiny_decoder(m);
}

TEST_F(OneDnn, ThreadsAndPageSizesDoNotChangeABit) {
  const GraphBuilder graph = wide_decoder();
  const std::vector<float> alone = decode(graph, Executor::kOneThread, 0, 32);
  ASSERT_EQ(alone.size(), 155u * 64u);
  for (const Executor e : {Executor::kLate, Executor::kTwoThreads, Executor::kNoGang}) {
    EXPECT_EQ(alone, decode(graph, e, 0, 32)) << static_cast<int>(e);
  }
  for (const uint32_t page_tokens : {1u, 4u, 16u, 20u, 48u, 64u, 256u}) {
    EXPECT_EQ(alone, decode(graph, Executor::kTwoThreads, 0, page_tokens)) << page_tokens;
  }
}

// Rows in tiles come in sixteens, whatever the number that a program takes. bf16 weights, so that the rows of products
// have no other form, which would lie behind them and be hit instead of what is read.
TEST_F(OneDnn, TheLastRowsOfAProgramHaveTheirPlace) {
  const GraphBuilder graph = wide_decoder(kBF16);
  std::vector<float> rows[2];
  for (const uint32_t most : {160u, 145u}) {
    RigOptions o = product_options(0, 0);
    o.kv_type = kF16;
    o.page_tokens = 32;
    o.max_tokens = o.max_rows = most;
    Rig rig(onednn(), graph, o);
    ASSERT_TRUE(rig.ok()) << rig.err.message;
    ASSERT_EQ(rig.go({{rig.add_sequence(), std::vector<uint32_t>(145, 5)}}), MRT_OK) << rig.err.message;
    rows[most == 145].assign(rig.rows().begin(), rig.rows().end());
  }
  EXPECT_EQ(rows[0], rows[1]);
}

TEST_F(OneDnn, EveryIsaLevelAgreesOnAWholeModel) {
  const GraphBuilder graph = wide_decoder();
  const std::vector<float> best = decode(graph, Executor::kOneThread, 0, 32, MRT_COMPILE_EXACT);
  for (const uint32_t isa : {1u, 2u, 3u}) {
    const std::vector<float> other = decode(graph, Executor::kOneThread, isa, 32, MRT_COMPILE_EXACT);
    ASSERT_EQ(best.size(), other.size());
    for (size_t i = 0; i < best.size(); ++i) ASSERT_NEAR(best[i], other[i], 5e-3f) << "isa " << isa << " at " << i;
  }
}

TEST_F(OneDnn, NumericsNameTheIsaAndTheFlags) {
  const GraphBuilder graph = wide_decoder();
  const auto rig = [&](uint32_t flags, uint32_t isa) { return Rig(onednn(), graph, product_options(flags, isa)); };
  const Rig wide = rig(0, 0), same = rig(0, 0), narrow = rig(0, 1), exact = rig(MRT_COMPILE_EXACT, 0);
  EXPECT_EQ(std::memcmp(wide.info.numerics, same.info.numerics, 16), 0);
  const auto level = [](const Rig& of) { return kernel_name(of, 0, MRT_CLASS_GENERATED); };
  const bool wider = level(wide) != level(narrow);  // the CPU may have no more than AVX2
  EXPECT_EQ(std::memcmp(wide.info.numerics, narrow.info.numerics, 16) != 0, wider);
  EXPECT_NE(std::memcmp(wide.info.numerics, exact.info.numerics, 16), 0);
}

TEST_F(OneDnn, TheTraceNamesTheKernels) {
  const Product p(kQ5_0, 64, 32);
  const Rig rig(onednn(), p.graph, product_options(0, 0));
  ASSERT_TRUE(rig.ok()) << rig.err.message;
  const std::string prompt = kernel_name(rig, 0, MRT_CLASS_PROMPT), level = prompt.substr(prompt.rfind('_') + 1);
  EXPECT_EQ(prompt.substr(0, 14), level == "amx"    ? "own:gemm_bf16_"
                                  : level == "avx2" ? "own:gemm_q5_0_"
                                                    : "onednn:brgemm_");
  EXPECT_EQ(level == "amx", has_amx());
  // Weights of sixteen bits are the library's wherever tiles are not.
  const Product half(kF16, 64, 32);
  const Rig halves(onednn(), half.graph, product_options(0, MRT_ISA_AVX2));
  ASSERT_TRUE(halves.ok()) << halves.err.message;
  const bool fits = !has_amx() && level == "avx2";  // the library of this process knows nothing wider
  EXPECT_EQ(kernel_name(halves, 0, MRT_CLASS_PROMPT), fits ? "onednn:brgemm_f32" : "own:gemm_f32");
  EXPECT_EQ(kernel_name(rig, 0, MRT_CLASS_GENERATED).substr(0, 14), "own:gemv_q5_0_");
  const auto* trace = static_cast<const mrt_ext_trace*>(rig.table().extension(MRT_EXT_TRACE, sizeof MRT_EXT_TRACE - 1));
  char name[64] = {};
  mrt_error err{};
  EXPECT_EQ(trace->kernel_name(rig.model, 1, MRT_CLASS_PROMPT, name, sizeof name, &err), MRT_NOT_FOUND);
}

TEST_F(OneDnn, WhatItCannotDoIsDeclinedByNode) {
  GraphBuilder g;
  const uint32_t x = g.node(MRT_OP_EMBED, 32, {MRT_REF_INPUT(MRT_IN_TOKENS), g.weight({32, 16}, 1)});
  const uint32_t router = g.node(MRT_OP_LINEAR, 4, {x, g.weight({32, 4}, 2)});
  g.output(g.node(MRT_OP_MOE, 32,
                  {x, router, g.weight({32, 8, 4}, 3), g.weight({32, 8, 4}, 4), g.weight({8, 32, 4}, 5)},
                  {{MRT_A_EXPERTS, 4}, {MRT_A_TOP_K, 2}, {MRT_A_ACT, 1}}));
  for (const uint32_t flags : {0u, static_cast<uint32_t>(MRT_COMPILE_PLAN_ONLY)}) {
    const Rig rig(onednn(), g, product_options(flags, 0));
    EXPECT_FALSE(rig.ok());
    EXPECT_EQ(rig.err.code, MRT_UNSUPPORTED);
    EXPECT_EQ(rig.err.index, 2u);
  }
}

}  // namespace
}  // namespace merritt::testing
