// SPDX-License-Identifier: Apache-2.0
// Pages: raw planes, tail copies, canonical rows between plugins, sealed pages through the opener.
#include <atomic>
#include <cstring>

#include "tests/plugins/harness/each_plugin.hpp"

namespace merritt::testing {
namespace {

class Kv : public EachPlugin {};

TEST_P(Kv, RawPlanesReadWriteZero) {
  Rig rig(plugin(), tiny_decoder({}));
  ASSERT_TRUE(rig.ok()) << rig.err.message;
  ASSERT_EQ(rig.spec.n_groups, 2u);
  EXPECT_EQ(rig.spec.group[0].window, 6u) << "groups are numbered by first use";
  EXPECT_EQ(rig.spec.group[1].window, 0u);
  EXPECT_EQ(rig.spec.group[0].n_layers, 2u);
  uint64_t pool_bytes = 0;
  for (uint32_t g = 0; g < 2; ++g) pool_bytes += 48 * rig.spec.group[g].n_planes * rig.spec.group[g].plane_bytes;
  EXPECT_EQ(rig.spec.pool_bytes, pool_bytes);
  const uint64_t charged = rig.host.charged(MRT_MEM_KV) + rig.host.charged(MRT_MEM_KV_HOT);
  EXPECT_GE(charged, pool_bytes);
  EXPECT_LE(charged, pool_bytes + (plugin().exact() ? 0 : 1u << 20)) << "a plugin may keep a little beside its pages";
  for (uint32_t g = 0; g < 2; ++g) {
    const mrt_kv_group& group = rig.spec.group[g];
    const uint32_t pages[3] = {7, 2, 40};
    const mrt_kv_span span{g, group.n_planes - 1, 1, 3, pages};
    std::vector<uint8_t> bytes(3 * group.plane_bytes), back(bytes.size());
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 31 + g);
    ASSERT_EQ(rig.table().kv_write(rig.pool, &span, bytes.data(), bytes.size(), &rig.err), MRT_OK) << rig.err.message;
    ASSERT_EQ(rig.table().kv_read(rig.pool, &span, back.data(), back.size(), &rig.err), MRT_OK);
    EXPECT_EQ(back, bytes);
    const uint32_t middle[1] = {2};
    const mrt_kv_span one{g, group.n_planes - 1, 1, 1, middle};
    ASSERT_EQ(rig.table().kv_read(rig.pool, &one, back.data(), group.plane_bytes, &rig.err), MRT_OK);
    EXPECT_EQ(std::memcmp(back.data(), bytes.data() + group.plane_bytes, group.plane_bytes), 0) << "page by page";
    ASSERT_EQ(rig.table().kv_zero(rig.pool, &span, &rig.err), MRT_OK);
    ASSERT_EQ(rig.table().kv_read(rig.pool, &span, back.data(), back.size(), &rig.err), MRT_OK);
    EXPECT_EQ(back, std::vector<uint8_t>(back.size(), 0));
    EXPECT_EQ(rig.table().kv_read(rig.pool, &span, back.data(), back.size() - 1, &rig.err), MRT_INVALID_ARGUMENT);
    const uint32_t outside[1] = {48};
    const mrt_kv_span bad_page{g, 0, 1, 1, outside}, bad_plane{g, group.n_planes, 1, 1, pages},
        bad_group{2, 0, 1, 1, pages};
    EXPECT_EQ(rig.table().kv_read(rig.pool, &bad_page, back.data(), group.plane_bytes, &rig.err), MRT_INVALID_ARGUMENT);
    EXPECT_EQ(rig.table().kv_zero(rig.pool, &bad_plane, &rig.err), MRT_INVALID_ARGUMENT);
    EXPECT_EQ(rig.table().kv_zero(rig.pool, &bad_group, &rig.err), MRT_INVALID_ARGUMENT);
  }
}

TEST_P(Kv, MapIsTheAddressOfThePlaneOrUnsupported) {
  Rig rig(plugin(), tiny_decoder({}));
  ASSERT_TRUE(rig.ok());
  mrt_device_desc d{};
  d.struct_size = sizeof d;
  ASSERT_EQ(rig.table().device_describe(0, &d, &rig.err), MRT_OK);
  void* p = nullptr;
  const int32_t code = rig.table().kv_map(rig.pool, 1, 3, 1, &p, &rig.err);
  if ((d.flags & MRT_DEV_HOST_VISIBLE) == 0) {
    EXPECT_EQ(code, MRT_UNSUPPORTED);
    return;
  }
  ASSERT_EQ(code, MRT_OK) << rig.err.message;
  std::vector<uint8_t> bytes(rig.spec.group[1].plane_bytes);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 7 + 1);
  const uint32_t page = 3;
  const mrt_kv_span span{1, 1, 1, 1, &page};
  ASSERT_EQ(rig.table().kv_write(rig.pool, &span, bytes.data(), bytes.size(), &rig.err), MRT_OK);
  EXPECT_EQ(std::memcmp(p, bytes.data(), bytes.size()), 0);
  EXPECT_EQ(rig.table().kv_map(rig.pool, 1, 48, 0, &p, &rig.err), MRT_INVALID_ARGUMENT);
}

TEST_P(Kv, KvSpecDeclinesWhatItCannotCache) {
  Rig rig(plugin(), tiny_decoder({}));
  ASSERT_TRUE(rig.ok());
  mrt_kv_policy policy{};
  policy.struct_size = sizeof policy;
  policy.page_tokens = 4;
  policy.type = 12;
  EXPECT_EQ(rig.table().kv_spec(rig.model, &policy, &rig.spec, &rig.err), MRT_UNSUPPORTED);
  policy.type = 0;
  policy.page_tokens = 0;
  EXPECT_NE(rig.table().kv_spec(rig.model, &policy, &rig.spec, &rig.err), MRT_OK);
  policy.page_tokens = 4;
  policy.n_pages[0] = 4;
  policy.n_hot[0] = 5;
  EXPECT_NE(rig.table().kv_spec(rig.model, &policy, &rig.spec, &rig.err), MRT_OK);
  policy.n_hot[0] = 0;
  policy.n_pages[3] = 1;
  EXPECT_NE(rig.table().kv_spec(rig.model, &policy, &rig.spec, &rig.err), MRT_OK);
}

// ---- canonical rows ------------------------------------------------------------------------------------------------

// Moves the whole past of one sequence as canonical rows.
void move_rows(Rig* from, uint32_t a, Rig* to, uint32_t b, uint32_t type, uint32_t n_layers, const TinyModel& m) {
  Sequence& source = from->sequences[a];
  const uint32_t pt = from->options.page_tokens;
  ASSERT_TRUE(to->fill({{b, std::vector<uint32_t>(source.past, 1)}}, 0)) << "takes the pages";
  Sequence& target = to->sequences[b];
  std::vector<uint8_t> bytes(static_cast<size_t>(pt) * m.kv_heads * m.head_dim * 4);
  for (uint32_t l = 0; l < n_layers; ++l) {
    const uint32_t g = m.window != 0 && l % 2 == 0 ? 0 : m.window != 0 ? 1 : 0;
    for (uint32_t e = 0; e < source.pages[g].size(); ++e) {
      const uint32_t n = std::min(pt, source.past - (source.base[g] + e) * pt);
      for (uint32_t is_v = 0; is_v < 2; ++is_v) {
        const uint64_t size = static_cast<uint64_t>(n) * m.kv_heads *
                              (type == 0   ? m.head_dim * 4
                               : type == 8 ? m.head_dim / 32 * 34
                                           : m.head_dim * 2);
        mrt_kv_rows rows{g, source.pages[g][e], l, is_v, 0, n, type, 0};
        ASSERT_EQ(from->table().kv_export(from->pool, &rows, bytes.data(), size, &from->err), MRT_OK)
            << from->err.message;
        rows.page = target.pages[g][e];
        ASSERT_EQ(to->table().kv_import(to->pool, &rows, bytes.data(), size, &to->err), MRT_OK) << to->err.message;
      }
    }
  }
  target.past = source.past;
}

TEST_P(Kv, ASessionMovesToTheReferenceAndBackAsCanonicalRows) {
  const TinyModel m;
  const GraphBuilder graph = tiny_decoder(m);
  const auto tokens = random_tokens(8, 15, m.vocab);
  for (const uint32_t type : {0u, 1u, 30u, 8u}) {
    SCOPED_TRACE(::testing::Message() << "kv type " << type);
    RigOptions options;
    options.kv_type = type;
    Rig here(plugin(), graph, options), there(plugin_named("reference"), graph, options),
        back(plugin(), graph, options);
    if (!here.ok()) {
      EXPECT_EQ(here.err.code, MRT_UNSUPPORTED) << here.err.message;
      continue;
    }
    const uint32_t a = here.add_sequence(), b = there.add_sequence(), c = back.add_sequence();
    ASSERT_EQ(here.go({{a, {tokens.begin(), tokens.begin() + 11}}}), MRT_OK);
    ASSERT_NO_FATAL_FAILURE(move_rows(&here, a, &there, b, type, m.layers, m));
    ASSERT_NO_FATAL_FAILURE(move_rows(&there, b, &back, c, type, m.layers, m));
    const Chunk rest{0, {tokens.begin() + 11, tokens.end()}, MRT_CLASS_PROMPT, true};
    Chunk x = rest, y = rest, z = rest;
    x.sequence = a;
    y.sequence = b;
    z.sequence = c;
    ASSERT_EQ(here.go({x}), MRT_OK);
    ASSERT_EQ(there.go({y}), MRT_OK);
    ASSERT_EQ(back.go({z}), MRT_OK);
    EXPECT_EQ(back.rows(), here.rows()) << "its own rows come back as bits";
    if (plugin().exact()) {
      EXPECT_EQ(there.rows(), here.rows());
    } else {
      for (size_t i = 0; i < here.rows().size(); ++i) ASSERT_NEAR(there.rows()[i], here.rows()[i], 0.05) << i;
    }
  }
}

TEST_P(Kv, CopyOfTheOpenTailIsAFork) {
  const GraphBuilder graph = tiny_decoder({});
  const auto tokens = random_tokens(8, 20, 64);
  for (const uint32_t past : {1u, 3u, 4u, 6u, 11u}) {
    Rig rig(plugin(), graph);
    const uint32_t a = rig.add_sequence();
    ASSERT_EQ(rig.go({{a, {tokens.begin(), tokens.begin() + past}}}), MRT_OK);
    const uint32_t b = rig.fork(a);
    ASSERT_EQ(rig.go({{a, {60, 61, 62, 63, 59}}}), MRT_OK) << "the first goes its own way";
    ASSERT_EQ(rig.go({{b, {tokens.begin() + past, tokens.end()}}}), MRT_OK) << rig.err.message;
    const std::vector<float> forked = rig.rows();
    Rig alone(plugin(), graph);
    ASSERT_EQ(alone.go({{alone.add_sequence(), tokens}}), MRT_OK);
    for (uint32_t r = 0; r < 20 - past; ++r) {
      ASSERT_EQ(std::memcmp(forked.data() + r * rig.width(), alone.row(past + r), rig.width() * 4), 0)
          << past << " " << r;
    }
  }
}

// ---- sealed pages --------------------------------------------------------------------------------------------------

// Not a cipher, but bytes nobody may read unopened, bound to who, where and which, with a checksum for tampering.
struct Vault {
  std::atomic<uint64_t> opens{0};
  std::atomic<uint32_t> tampered_page{UINT32_MAX};
};
void mask_bytes(uint64_t key, uint32_t group, uint32_t page, uint32_t plane, uint8_t* bytes, uint64_t n) {
  uint64_t z = key * 0x9E3779B97F4A7C15u + group * 1000003u + page * 7919u + plane * 104729u + 1;
  for (uint64_t i = 0; i < n; ++i) {
    z = z * 6364136223846793005u + 1442695040888963407u;
    bytes[i] ^= static_cast<uint8_t>(z >> 56);
  }
}
void seal(void*, uint64_t key, uint32_t group, uint32_t page, uint32_t plane, uint8_t* bytes, uint64_t n) {
  mask_bytes(key, group, page, plane, bytes, n);
}
int32_t open_plane(void* ctx, uint64_t key, uint32_t group, uint32_t page, uint32_t plane, const void* sealed,
                   void* plain, uint64_t n) {
  auto* vault = static_cast<Vault*>(ctx);
  ++vault->opens;
  if (page == vault->tampered_page) {
    std::memset(plain, 0, n);
    return MRT_CORRUPT;
  }
  std::memcpy(plain, sealed, n);
  mask_bytes(key, group, page, plane, static_cast<uint8_t*>(plain), n);
  return MRT_OK;
}

class Sealed : public EachPlugin {
 protected:
  Sealed() {
    opener.struct_size = sizeof opener;
    opener.ctx = &vault;
    opener.open = &open_plane;
    options.opener = &opener;
    options.n_hot = 16;
    options.n_pages = 64;
  }
  Vault vault;
  mrt_kv_opener opener{};
  RigOptions options;
};

TEST_P(Sealed, PagesOpenedOnTheWayGiveTheSameBits) {
  const auto tokens = random_tokens(21, 40, 64);
  for (const uint32_t type : {0u, 1u}) {
    for (const Executor executor : {Executor::kOneThread, Executor::kTwoThreads, Executor::kNoGang}) {
      options.kv_type = type;
      options.executor = executor;
      RigOptions plain_options = options;
      plain_options.opener = nullptr;
      plain_options.n_hot = 0;
      Rig plain(plugin(), tiny_decoder({}), plain_options), rig(plugin(), tiny_decoder({}), options);
      ASSERT_TRUE(rig.ok()) << rig.err.message;
      EXPECT_GE(rig.host.charged(MRT_MEM_KV_HOT), 16 * rig.spec.group[0].plane_bytes);
      const uint32_t p = plain.add_sequence(), s = rig.add_sequence(), q = rig.add_sequence();
      ASSERT_EQ(rig.go({{q, {1, 2, 3}}}), MRT_OK);
      vault.opens = 0;
      for (uint32_t at = 0; at < 40; at += 10) {
        const Chunk chunk{p, {tokens.begin() + at, tokens.begin() + at + 10}, MRT_CLASS_PROMPT, true};
        Chunk mine = chunk;
        mine.sequence = s;
        ASSERT_EQ(plain.go({chunk}), MRT_OK);
        ASSERT_EQ(rig.go({mine, {q, {4}}}), MRT_OK) << rig.err.message;
        ASSERT_EQ(std::memcmp(rig.rows().data(), plain.rows().data(), plain.rows().size() * 4), 0) << at;
        ASSERT_TRUE(rig.seal_full_pages(s, &seal, nullptr)) << rig.err.message;
      }
      EXPECT_GT(vault.opens, 0u);
      rig.close();
      EXPECT_EQ(rig.host.charged(), 0u);
      EXPECT_EQ(rig.host.n_dirty_frees(MRT_MEM_KV), 0u) << "pages are zeroed before they go";
      EXPECT_EQ(rig.host.n_dirty_frees(MRT_MEM_KV_HOT), 0u) << "opened planes are wiped after use";
    }
  }
}

TEST_P(Sealed, ATamperedPageFailsItsSequencesAlone) {
  const auto tokens = random_tokens(22, 20, 64);
  Rig rig(plugin(), tiny_decoder({}), options), alone(plugin(), tiny_decoder({}), options);
  const uint32_t a = rig.add_sequence(), b = rig.add_sequence(), c = alone.add_sequence();
  ASSERT_EQ(rig.go({{a, tokens}, {b, {tokens.begin(), tokens.begin() + 9}}}), MRT_OK) << rig.err.message;
  ASSERT_EQ(alone.go({{c, {tokens.begin(), tokens.begin() + 9}}}), MRT_OK);
  ASSERT_TRUE(rig.seal_full_pages(a, &seal, nullptr));
  ASSERT_TRUE(rig.seal_full_pages(b, &seal, nullptr));
  const uint32_t f = rig.fork(a);
  vault.tampered_page = rig.sequences[a].pages[1][1] & ~MRT_PAGE_SEALED;
  ASSERT_EQ(alone.go({{c, {7, 8}}}), MRT_OK);
  rig.sequences[f].key = rig.sequences[a].key;  // a shared prefix is opened as its owner sealed it
  const uint32_t past_a = rig.sequences[a].past, past_b = rig.sequences[b].past;
  ASSERT_EQ(rig.go({{a, {5}}, {b, {7, 8}}, {f, {6}}}), MRT_OK) << rig.err.message;
  EXPECT_EQ(rig.status, (std::vector<int32_t>{MRT_CORRUPT, MRT_OK, MRT_CORRUPT}));
  EXPECT_EQ(rig.sequences[a].past, past_a) << "a failed sequence does not advance";
  EXPECT_EQ(rig.sequences[b].past, past_b + 2);
  EXPECT_EQ(std::memcmp(rig.row(1), alone.row(0), 2 * rig.width() * sizeof(float)), 0) << "the neighbour is untouched";
  vault.tampered_page = UINT32_MAX;
  ASSERT_EQ(rig.go({{a, {5}}}), MRT_OK);
  EXPECT_EQ(rig.status[0], MRT_OK) << "the next step starts clean";
}

TEST_P(Sealed, WrittenPagesMustBeHotAndPlain) {
  Rig rig(plugin(), tiny_decoder({}), options);
  const uint32_t a = rig.add_sequence();
  ASSERT_EQ(rig.go({{a, random_tokens(1, 6, 64)}}), MRT_OK);
  ASSERT_TRUE(rig.fill({{a, {1}}}));
  rig.staging.pages[1][1] = 20;  // a cold page
  EXPECT_EQ(rig.prepare(), MRT_INVALID_ARGUMENT);
  EXPECT_EQ(rig.err.blast, static_cast<uint32_t>(MRT_BLAST_SEQUENCE));
  ASSERT_TRUE(rig.fill({{a, {1}}}));
  rig.staging.pages[1][1] |= MRT_PAGE_SEALED;
  EXPECT_EQ(rig.prepare(), MRT_INVALID_ARGUMENT);
  ASSERT_TRUE(rig.fill({{a, {1}}}));
  EXPECT_EQ(rig.prepare(), MRT_OK) << rig.err.message;
  EXPECT_EQ(rig.abort(), MRT_OK);
}

MERRITT_EACH_PLUGIN(Kv);
MERRITT_EACH_PLUGIN(Sealed);

}  // namespace
}  // namespace merritt::testing
