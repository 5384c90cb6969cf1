// SPDX-License-Identifier: Apache-2.0
// What a plugin does not know, it refuses at compile and names the node; PLAN_ONLY gives the same answer.
#include <cstring>
#include <functional>
#include <limits>

#include "tests/plugins/harness/each_plugin.hpp"

namespace merritt::testing {
namespace {

class GraphRefusal : public EachPlugin {
 protected:
  void SetUp() override {
    ASSERT_EQ(plugin().table.device_open(0, host.table(), &device, &err), MRT_OK) << err.message;
  }
  void TearDown() override { plugin().table.device_close(device); }
  int32_t compile(const mrt_graph& g, const mrt_weights& w, uint32_t flags) {
    std::memset(&err, 0, sizeof err);
    mrt_model_info info{};
    info.struct_size = sizeof info;
    mrt_model* model = nullptr;
    const int32_t code = plugin().table.model_compile(device, &g, &w, flags, nullptr, &info, &model, &err);
    if (model != nullptr) plugin().table.model_destroy(model);
    return code;
  }
  // Both ways of compiling refuse with the same code and node.
  void expect_refusal(const GraphBuilder& b, int32_t code, uint32_t node, const std::string& text) {
    for (const uint32_t flags : {0u, static_cast<uint32_t>(MRT_COMPILE_PLAN_ONLY)}) {
      EXPECT_EQ(compile(b.graph(), b.source(), flags), code) << err.message;
      EXPECT_EQ(err.index, node) << err.message;
      EXPECT_EQ(err.blast, static_cast<uint32_t>(MRT_BLAST_CALL));
      EXPECT_NE(std::string(err.message).find(text), std::string::npos) << err.message << " lacks: " << text;
    }
    EXPECT_EQ(host.charged(MRT_MEM_WEIGHTS), 0u);
  }
  TestHost host;
  mrt_device* device = nullptr;
  mrt_error err{};
};

uint32_t find(const GraphBuilder& b, uint32_t op, uint32_t nth = 0) {
  for (uint32_t i = 0; i < b.nodes.size(); ++i) {
    if (b.nodes[i].op == op && nth-- == 0) return i;
  }
  return UINT32_MAX;
}

// Appends an attribute to a node: the node's list moves to the end of the array.
void add_attr(GraphBuilder* b, uint32_t node, const Attr& attr) {
  mrt_node& n = b->nodes[node];
  const std::vector<mrt_attr> old(b->attrs.begin() + n.first_attr, b->attrs.begin() + n.first_attr + n.n_attrs);
  n.first_attr = static_cast<uint32_t>(b->attrs.size());
  b->attrs.insert(b->attrs.end(), old.begin(), old.end());
  b->attrs.push_back(attr.attr);
  ++n.n_attrs;
}
mrt_attr& attr_of(GraphBuilder* b, uint32_t node, uint32_t key) {
  const mrt_node& n = b->nodes[node];
  for (uint32_t i = 0; i < n.n_attrs; ++i) {
    if (b->attrs[n.first_attr + i].key == key) return b->attrs[n.first_attr + i];
  }
  return b->attrs[n.first_attr];
}

TEST_P(GraphRefusal, UnknownThingsAreNamedWithTheirNode) {
  const GraphBuilder good = tiny_decoder({});
  ASSERT_EQ(compile(good.graph(), good.source(), MRT_COMPILE_PLAN_ONLY), MRT_OK) << err.message;
  const uint32_t attention = find(good, MRT_OP_ATTENTION, 1), rope = find(good, MRT_OP_ROPE),
                 gate = find(good, MRT_OP_GATE);
  struct Unknown {
    std::function<void(GraphBuilder*)> spoil;
    uint32_t node;
    std::string text;
  };
  const Unknown all[] = {
      {[&](GraphBuilder* b) { b->nodes[5].op = 15; }, 5, "op 15 is not known"},
      {[&](GraphBuilder* b) { b->nodes[5].op = 0; }, 5, "op 0 is not known"},
      {[&](GraphBuilder* b) { b->nodes[5].rows = 3; }, 5, "rows kind 3"},
      {[&](GraphBuilder* b) {
         add_attr(b, attention, {37, 1});
       },
       attention, "attention attribute 37 is not known"},
      {[&](GraphBuilder* b) {
         add_attr(b, attention, {0x108, 1.0});
       },
       attention, "attribute 264 is not known"},
      {[&](GraphBuilder* b) {
         add_attr(b, attention, {0, 1});
       },
       attention, "attribute 0 is not known"},
      {[&](GraphBuilder* b) {
         add_attr(b, attention, {MRT_A_STYLE, 0});
       },
       attention, "does not take attribute 9 (style)"},
      {[&](GraphBuilder* b) { attr_of(b, rope, MRT_A_STYLE).v.i = 2; }, rope, "rope style 2 is not known"},
      {[&](GraphBuilder* b) {
         add_attr(b, rope, {MRT_A_SCALING, 3});
       },
       rope, "rope scaling 3 is not known"},
      {[&](GraphBuilder* b) { attr_of(b, gate, MRT_A_ACT).v.i = 8; }, gate, "gate act 8 is not known"},
      {[&](GraphBuilder* b) { b->attrs[b->nodes[gate].first_attr].reserved = 1; }, gate, "reserved"},
      {[&](GraphBuilder* b) { b->args[b->nodes[0].first_arg] = MRT_REF_INPUT(4); }, 0, "input 4 is not known"},
  };
  for (const Unknown& u : all) {
    SCOPED_TRACE(u.text);
    GraphBuilder b = tiny_decoder({});
    u.spoil(&b);
    expect_refusal(b, MRT_UNSUPPORTED, u.node, u.text);
  }
}

TEST_P(GraphRefusal, MalformedGraphsAreInvalid) {
  const GraphBuilder good = tiny_decoder({});
  const uint32_t attention = find(good, MRT_OP_ATTENTION), linear = find(good, MRT_OP_LINEAR),
                 add = find(good, MRT_OP_ADD), rope = find(good, MRT_OP_ROPE), second = find(good, MRT_OP_ATTENTION, 1);
  struct Malformed {
    std::function<void(GraphBuilder*)> spoil;
    uint32_t node;
    std::string text;
  };
  const auto arg = [](GraphBuilder* b, uint32_t node, uint32_t k) -> uint32_t& {
    return b->args[b->nodes[node].first_arg + k];
  };
  const Malformed all[] = {
      {[&](GraphBuilder* b) { arg(b, add, 0) = add; }, add, "not an earlier one"},
      {[&](GraphBuilder* b) { arg(b, add, 1) = 1u << 29; }, add, "not an earlier one"},
      {[&](GraphBuilder* b) { arg(b, linear, 1) = MRT_REF_WEIGHT(100000); }, linear, "refers to weight"},
      {[&](GraphBuilder* b) { arg(b, linear, 1) = 0; }, linear, "must be a weight"},
      {[&](GraphBuilder* b) { arg(b, linear, 0) = MRT_REF_WEIGHT(0); }, linear, "must be a node"},
      {[&](GraphBuilder* b) { arg(b, linear, 0) = MRT_REF_NONE | 5; }, linear, "malformed"},
      {[&](GraphBuilder* b) { b->nodes[linear].width += 1; }, linear, "dimension 1"},
      {[&](GraphBuilder* b) { b->nodes[add].width += 1; }, add, "wide"},
      {[&](GraphBuilder* b) { b->nodes[add].rows = MRT_ROWS_WANTED; }, add, "rows of another kind"},
      {[&](GraphBuilder* b) { b->nodes[add].width = 0; }, add, "width 0"},
      {[&](GraphBuilder* b) { b->nodes[add].first_arg = 0x7fffffff; }, add, "outside"},
      {[&](GraphBuilder* b) { b->nodes[add].n_args = 0xffffffff; }, add, "outside"},
      {[&](GraphBuilder* b) { b->nodes[add].n_args = 1; }, add, "takes 2 to 2 arguments"},
      {[&](GraphBuilder* b) { b->nodes[rope].first_attr = 0xfffffff0; }, rope, "outside"},
      {[&](GraphBuilder* b) {
         add_attr(b, rope, {MRT_A_HEAD_DIM, 16});
       },
       rope, "given twice"},
      {[&](GraphBuilder* b) { attr_of(b, rope, MRT_A_HEAD_DIM).v.i = -1; }, rope, "out of range"},
      {[&](GraphBuilder* b) { attr_of(b, rope, MRT_A_HEAD_DIM).v.i = INT64_MAX; }, rope, "out of range"},
      {[&](GraphBuilder* b) { attr_of(b, rope, MRT_A_BASE).v.f = std::numeric_limits<double>::quiet_NaN(); }, rope,
       "finite"},
      {[&](GraphBuilder* b) { attr_of(b, rope, MRT_A_BASE).v.f = 0; }, rope, "base"},
      {[&](GraphBuilder* b) {
         add_attr(b, rope, {MRT_A_ROT_DIM, 7});
       },
       rope, "rot_dim"},
      {[&](GraphBuilder* b) { attr_of(b, attention, MRT_A_KV_HEADS).v.i = 3; }, attention, "multiple of kv_heads"},
      {[&](GraphBuilder* b) {
         add_attr(b, attention, {MRT_A_MASK, 1});
       },
       attention, "causal"},
      {[&](GraphBuilder* b) { attr_of(b, second, MRT_A_KV_LAYER).v.i = 1; }, second, "cached by an earlier node"},
      {[&](GraphBuilder* b) { arg(b, second, 2) = MRT_REF_NONE; }, second, "k without v"},
      {[&](GraphBuilder* b) { arg(b, second, 1) = arg(b, second, 2) = MRT_REF_NONE; }, second,
       "no earlier node caches"},
  };
  for (const Malformed& m : all) {
    SCOPED_TRACE(m.text);
    GraphBuilder b = tiny_decoder({});
    m.spoil(&b);
    expect_refusal(b, MRT_INVALID_ARGUMENT, m.node, m.text);
  }
}

TEST_P(GraphRefusal, WeightsThatDoNotAddUp) {
  struct Bad {
    std::function<void(mrt_weight*)> spoil;
    int32_t code;
    std::string text;
  };
  const Bad all[] = {
      {[](mrt_weight* w) { w->type = 99; }, MRT_UNSUPPORTED, "type 99 is not known"},
      {[](mrt_weight* w) { w->n_dims = 5; }, MRT_INVALID_ARGUMENT, "dimensions"},
      {[](mrt_weight* w) { w->n_dims = 0; }, MRT_INVALID_ARGUMENT, "dimensions"},
      {[](mrt_weight* w) { w->dims[0] = 0; }, MRT_INVALID_ARGUMENT, "out of range"},
      {[](mrt_weight* w) { w->dims[1] = UINT64_MAX; }, MRT_INVALID_ARGUMENT, "out of range"},
      {[](mrt_weight* w) { w->bytes += 4; }, MRT_INVALID_ARGUMENT, "bytes"},
      {[](mrt_weight* w) { w->type = 2, w->dims[0] = 33; }, MRT_INVALID_ARGUMENT, "whole number of blocks"},
      {[](mrt_weight* w) { w->reserved = 1; }, MRT_UNSUPPORTED, "reserved"},
  };
  for (const Bad& x : all) {
    SCOPED_TRACE(x.text);
    GraphBuilder b = tiny_decoder({});
    x.spoil(&b.weights[0]);
    expect_refusal(b, x.code, 0, x.text);  // the table, which node 0 reads first
  }
}

TEST_P(GraphRefusal, FlagsSizesAndArraysAreChecked) {
  const GraphBuilder b = tiny_decoder({});
  mrt_graph g = b.graph();
  EXPECT_EQ(compile(g, b.source(), 4), MRT_UNSUPPORTED);
  g.nodes = nullptr;
  EXPECT_EQ(compile(g, b.source(), 0), MRT_INVALID_ARGUMENT);
  g = b.graph();
  g.n_outputs = 5;
  EXPECT_EQ(compile(g, b.source(), 0), MRT_INVALID_ARGUMENT);
  g = b.graph();
  g.n_nodes = 0xffffffff;
  EXPECT_EQ(compile(g, b.source(), 0), MRT_INVALID_ARGUMENT);
  g = b.graph();
  g.struct_size = 2;
  EXPECT_EQ(compile(g, b.source(), 0), MRT_INVALID_ARGUMENT);
  struct {
    mrt_graph graph;
    uint64_t tail;
  } longer{b.graph(), 7};
  longer.graph.struct_size = sizeof longer;
  EXPECT_EQ(compile(longer.graph, b.source(), 0), MRT_UNSUPPORTED) << "a tail not known is not dropped";
  longer.tail = 0;
  EXPECT_EQ(compile(longer.graph, b.source(), MRT_COMPILE_PLAN_ONLY), MRT_OK) << err.message;
}

TEST_P(GraphRefusal, AWeightThatCannotBeReadNamesItself) {
  const GraphBuilder b = tiny_decoder({});
  mrt_weights w = b.source();
  w.read = [](void*, uint32_t, uint64_t, void*, uint64_t, mrt_error* e) -> int32_t {
    e->code = MRT_CORRUPT;
    std::strcpy(e->message, "the file is shorter than it says");
    return MRT_CORRUPT;
  };
  EXPECT_EQ(compile(b.graph(), w, 0), MRT_CORRUPT);
  EXPECT_NE(std::string(err.message).find("shorter than it says"), std::string::npos) << err.message;
  EXPECT_EQ(host.charged(MRT_MEM_WEIGHTS), 0u);
}

TEST_P(GraphRefusal, NullHandlesAreCodes) {
  mrt_error e{};
  const mrt_backend& t = plugin().table;
  uint32_t state = 0;
  EXPECT_EQ(t.device_status(nullptr, &state, &e), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(t.step_run(nullptr, 0, &e), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(t.kv_zero(nullptr, nullptr, &e), MRT_INVALID_ARGUMENT);
  t.program_destroy(nullptr);
  t.model_destroy(nullptr);
  mrt_device_desc d{};
  d.struct_size = sizeof d;
  EXPECT_EQ(t.device_describe(1, &d, &e), MRT_NOT_FOUND);
  mrt_device* none = nullptr;
  EXPECT_EQ(t.device_open(1, host.table(), &none, &e), MRT_NOT_FOUND);
  mrt_host broken = *host.table();
  broken.parallel = nullptr;
  EXPECT_EQ(t.device_open(0, &broken, &none, &e), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(none, nullptr);
}

TEST_P(GraphRefusal, TheTraceNamesAKernelForEveryNode) {
  const auto* trace = static_cast<const mrt_ext_trace*>(plugin().table.extension(MRT_EXT_TRACE, 7));
  ASSERT_NE(trace, nullptr);
  ASSERT_GE(trace->struct_size, sizeof(mrt_ext_trace));
  EXPECT_EQ(plugin().table.extension("trace/2", 7), nullptr);
  const GraphBuilder graph = tiny_decoder({});
  Rig rig(plugin(), graph);
  ASSERT_TRUE(rig.ok());
  for (uint32_t row_class = 0; row_class < 2; ++row_class) {
    for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
      char name[128] = "";
      ASSERT_EQ(trace->kernel_name(rig.model, i, row_class, name, sizeof name, &rig.err), MRT_OK) << rig.err.message;
      EXPECT_NE(std::string(name).find(':'), std::string::npos) << name;
    }
  }
  char small[2];
  EXPECT_NE(trace->kernel_name(rig.model, 0, 0, small, sizeof small, &rig.err), MRT_OK);
  char name[128];
  EXPECT_NE(trace->kernel_name(rig.model, 100000, 0, name, sizeof name, &rig.err), MRT_OK);
}

MERRITT_EACH_PLUGIN(GraphRefusal);

}  // namespace
}  // namespace merritt::testing
