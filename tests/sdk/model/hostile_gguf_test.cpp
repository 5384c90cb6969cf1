// SPDX-License-Identifier: Apache-2.0
// GGUF files from strangers: cut at every byte, bits flipped, numbers inflated, and the bug classes other readers had.
// Every one is refused with a typed error or is harmless; what is accepted keeps the promises of gguf.hpp. The suite is
// meant for AddressSanitizer and UndefinedBehaviorSanitizer as much as for its own expectations.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <random>

#include "model/model_file.hpp"
#include "model/vocabulary.hpp"
#include "model/weight_source.hpp"
#include "model/weights/types.hpp"
#include "tests/support/gguf_writer.hpp"
#include "tests/support/tiny_gguf.hpp"
#include "tokens/detokenizer.hpp"
#include "tokens/tokenizer.hpp"

namespace merritt::model {
namespace {

using testing::GgufWriter;
using testing::TinyGguf;
using weights::Gguf;
using weights::TensorInfo;
using Image = std::vector<std::byte>;

const Image& small_model() {
  static const Image image = [] {
    TinyGguf m;
    m.architecture = "llama";
    m.layers = 1;
    m.width = m.inner = 32;
    m.heads = m.kv_heads = 1;
    m.matrix_type = 8;
    return testing::tiny_gguf(m);
  }();
  return image;
}

void expect_typed(const Status& status) {
  EXPECT_TRUE(status.code() == Code::kCorrupt || status.code() == Code::kUnsupported ||
              status.code() == Code::kNotFound)
      << static_cast<int>(status.code()) << " " << status.message();
  EXPECT_FALSE(status.message().empty());
  EXPECT_LT(status.message().size(), 600u);
}

// What parse() promises of a file it takes.
void expect_sound(const Gguf& gguf) {
  std::vector<const TensorInfo*> order;
  for (const TensorInfo& t : gguf.tensors()) {
    ASSERT_LE(t.offset, gguf.source().size());
    ASSERT_LE(t.bytes, gguf.source().size() - t.offset);
    ASSERT_NE(weights::find_element_type(t.type), nullptr);
    ASSERT_EQ(gguf.find_tensor(t.name), &t);
    for (const uint64_t d : t.dims) ASSERT_NE(d, 0u);
    order.push_back(&t);
  }
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) ASSERT_LE(order[i - 1]->offset + order[i - 1]->bytes, order[i]->offset);
  for (size_t i = 0; i < gguf.n_keys(); ++i) ASSERT_NE(gguf.find(gguf.key(i)), nullptr);
}

// Vocabulary and tokenizer of a model that opened, then every id of its logits as text, and a text as ids. Ok when all
// of it was accepted.
Status try_tokenizer(const ModelFile& file) {
  MERRITT_TRY(tokens::Vocabulary vocabulary, load_vocabulary(file));
  MERRITT_TRY(const auto tokenizer, tokens::Tokenizer::create(std::move(vocabulary)));
  EXPECT_EQ(tokenizer->size(), file.info.vocabulary);
  std::string scratch, text;
  tokens::Detokenizer detokenizer(*tokenizer, true);
  for (int32_t id = -1; id <= static_cast<int32_t>(file.info.vocabulary); ++id) {
    EXPECT_LE(tokenizer->bytes(id, scratch).size(), file.gguf.source().size());
    (void)tokenizer->is_eog(id);
    detokenizer.push(id, text);
  }
  detokenizer.flush(text);
  std::vector<int32_t> ids;
  MERRITT_CHECK(tokenizer->encode("the <s> \xC3\xA9\xFF\n and\t", {.add_bos_eos = true, .parse_special = true}, ids));
  for (const int32_t id : ids) EXPECT_TRUE(tokenizer->contains(id));
  return {};
}

// Opens, and reads every weight of what opens, and builds the tokenizer. True when the model was accepted.
bool try_model(Image image) {
  auto file = open_model(weights::memory_source(std::move(image)));
  if (!file.ok()) {
    expect_typed(file.status());
    return false;
  }
  expect_sound(file->gguf);
  const WeightSource source(*file);
  const mrt_weights view = source.view();
  for (uint32_t i = 0; i < view.n_weights; ++i) {
    std::vector<std::byte> bytes(view.list[i].bytes);
    mrt_error err{};
    EXPECT_EQ(view.read(view.ctx, i, 0, bytes.data(), bytes.size(), &err), MRT_OK) << err.message;
  }
  const Status tokenizer = try_tokenizer(*file);
  if (!tokenizer.ok()) expect_typed(tokenizer);
  return tokenizer.ok();
}

Status refused(Image image) {
  auto gguf = Gguf::parse(weights::memory_source(std::move(image)));
  EXPECT_FALSE(gguf.ok());
  if (gguf.ok()) return Status(Code::kInternal, "it was accepted");
  expect_typed(gguf.status());
  return gguf.status();
}
Status refused(const GgufWriter& writer) { return refused(writer.finish()); }

#define EXPECT_SAYS(status, text)                                                   \
  do {                                                                              \
    const Status said = (status);                                                   \
    EXPECT_NE(said.message().find(text), std::string_view::npos) << said.message(); \
  } while (0)

TEST(HostileGguf, CutAnywhere) {
  const Image& whole = small_model();
  ASSERT_TRUE(try_model(whole));
  for (size_t n = 0; n < whole.size(); n += n < 9000 ? 1 : 97) {
    Image cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
    auto file = open_model(weights::memory_source(std::move(cut)));
    ASSERT_FALSE(file.ok()) << "cut to " << n;
    ASSERT_EQ(file.status().code(), Code::kCorrupt) << "cut to " << n << ": " << file.status().message();
  }
}

TEST(HostileGguf, BitsFlipped) {
  const Image& whole = small_model();
  std::mt19937 random(20240501);
  size_t accepted = 0;
  for (int i = 0; i < 3000; ++i) {
    Image image = whole;
    const size_t flips = 1 + random() % 4;
    for (size_t f = 0; f < flips; ++f) image[random() % 12000 % image.size()] ^= std::byte(1u << random() % 8);
    accepted += try_model(std::move(image)) ? 1 : 0;
  }
  RecordProperty("accepted", static_cast<int>(accepted));
  EXPECT_LT(accepted, 2700u);
  EXPECT_GT(accepted, 0u);  // flips in token texts and weights are harmless
}

TEST(HostileGguf, NumbersInflated) {
  const Image& whole = small_model();
  constexpr uint64_t kValues[] = {0,          1ull << 31,      1ull << 32,          1ull << 40, 1ull << 63,
                                  UINT64_MAX, UINT64_MAX - 31, 0x7fffffffffffffffu, 0xffffffffu};
  std::mt19937 random(7);
  size_t refusals = 0;
  for (int i = 0; i < 3000; ++i) {
    Image image = whole;
    // The first 400 are every place of the preamble and of the first keys, the rest anywhere in the header.
    const size_t at = i < 400 ? static_cast<size_t>(i) : random() % 10000;
    const uint64_t value = kValues[random() % std::size(kValues)];
    std::memcpy(image.data() + at, &value, random() % 2 == 0 ? 8 : 4);
    refusals += try_model(std::move(image)) ? 0 : 1;
  }
  EXPECT_GT(refusals, 300u);
}

TEST(HostileGguf, TruncatedWhileLoading) {
  const auto path = std::filesystem::temp_directory_path() / ("merritt-cut-" + std::to_string(::getpid()));
  for (const double keep : {0.0, 0.3, 0.6, 0.95}) {
    FILE* out = std::fopen(path.c_str(), "wb");
    ASSERT_EQ(std::fwrite(small_model().data(), 1, small_model().size(), out), small_model().size());
    std::fclose(out);
    auto source = weights::open_file_source(path.string());
    ASSERT_TRUE(source.ok());
    auto file = open_model(*source);
    ASSERT_TRUE(file.ok()) << file.status().message();
    const WeightSource reader(*file);
    const mrt_weights view = reader.view();
    std::filesystem::resize_file(path, static_cast<uintmax_t>(static_cast<double>(small_model().size()) * keep));
    int32_t code = MRT_OK;
    mrt_error err{};
    for (uint32_t i = 0; i < view.n_weights && code == MRT_OK; ++i) {
      std::vector<std::byte> bytes(view.list[i].bytes);
      code = view.read(view.ctx, i, 0, bytes.data(), bytes.size(), &err);
      EXPECT_TRUE(code == MRT_OK || err.index == i);
    }
    EXPECT_EQ(code, MRT_CORRUPT);
    EXPECT_NE(std::string_view(err.message).find("truncated while it was being read"), std::string_view::npos);
    EXPECT_EQ(err.blast, MRT_BLAST_CALL);
  }
  std::filesystem::remove(path);
}

// Class 1: counts that a header only claims.
TEST(BugClasses, HeaderCounts) {
  for (const uint64_t claimed : {uint64_t{1} << 20, uint64_t{1} << 31, uint64_t{1} << 60, UINT64_MAX}) {
    GgufWriter keys, tensors;
    keys.n_keys = claimed;
    EXPECT_SAYS(refused(keys), "keys; there is room for");
    tensors.n_tensors = claimed;
    EXPECT_SAYS(refused(tensors), "tensors; there is room for");
  }
  for (const uint32_t n_dims : {0u, 5u, 0x40000000u, UINT32_MAX}) {
    GgufWriter w;
    w.n_tensors = 1;
    w.table.text("t").put(n_dims);
    for (int i = 0; i < 8; ++i) w.table.put<uint64_t>(1);
    EXPECT_SAYS(refused(w), "dimensions; 1 to 4 are possible");
  }
}

// Class 2: products and sums that wrap.
TEST(BugClasses, SizesThatWrap) {
  const uint64_t big = uint64_t{1} << 32;
  for (const auto& dims : std::vector<std::vector<uint64_t>>{{big, big},
                                                             {big, big, 1, 1},
                                                             {uint64_t{1} << 62, 4},
                                                             {3, UINT64_MAX / 3 + 1},
                                                             {UINT64_MAX},
                                                             {big, big, big, big}}) {
    GgufWriter w;
    w.describe("t", 0, dims, 0);
    EXPECT_SAYS(refused(w), "tensor 't'");
  }
  GgufWriter w;  // bytes fit 64 bits, the end does not
  w.describe("t", 24, {uint64_t{1} << 62}, (UINT64_MAX - 63) & ~uint64_t{31});
  EXPECT_SAYS(refused(w), "but the file ends at byte");
}

// Class 3: a zero that somebody divides by.
TEST(BugClasses, ZeroDimensions) {
  for (const auto& dims : std::vector<std::vector<uint64_t>>{{0}, {0, 4}, {4, 0}, {4, 4, 0, 4}}) {
    GgufWriter w;
    w.describe("t", 0, dims, 0);
    EXPECT_SAYS(refused(w), "is zero");
  }
}

// Class 4: alignment.
TEST(BugClasses, Alignment) {
  for (const uint32_t alignment : {0u, 3u, 33u, 0x80000000u, UINT32_MAX, 1u << 21}) {
    GgufWriter w;
    w.u32("general.alignment", alignment);
    EXPECT_SAYS(refused(w), "power of two");
  }
  GgufWriter text, wide;
  text.string("general.alignment", "32");
  EXPECT_SAYS(refused(text), "not u32");
  wide.scalar<uint64_t>("general.alignment", GgufWriter::kU64, 32);
  EXPECT_SAYS(refused(wide), "not u32");
}

// Class 5: an array of one type taken for another (see also Gguf.ArraysAreTyped), and values that are no bool.
TEST(BugClasses, TypeConfusion) {
  GgufWriter unknown, element, flag, flags;
  unknown.begin("k", 13).put<uint64_t>(0);
  EXPECT_SAYS(refused(unknown), "unknown type 13");
  element.begin("k", GgufWriter::kArray).put<uint32_t>(99).put<uint64_t>(0);
  EXPECT_SAYS(refused(element), "array of the unknown type 99");
  flag.scalar<uint8_t>("k", GgufWriter::kBool, 2);
  EXPECT_SAYS(refused(flag), "bool");
  flags.numbers<uint8_t>("k", GgufWriter::kBool, {0, 1, 7});
  EXPECT_SAYS(refused(flags), "bools");
  GgufWriter layers = testing::tiny_gguf_writer({});
  layers.numbers<uint8_t>("gemma3.rope.freq_base_swa", GgufWriter::kU8, std::vector<uint8_t>(64));
  EXPECT_FALSE(try_model(layers.finish()));
}

// Class 6: tensors that reach outside the file or into each other.
TEST(BugClasses, TensorPlaces) {
  const auto at = [](uint64_t offset) {
    GgufWriter w;
    w.tensor("a", 0, {64}, Image(256)).describe("b", 0, {64}, offset);
    return w;
  };
  EXPECT_SAYS(refused(at(256)), "but the file ends at byte");
  EXPECT_SAYS(refused(at(uint64_t{1} << 40)), "but the file ends at byte");
  EXPECT_SAYS(refused(at(uint64_t{1} << 63)), "but the file ends at byte");
  EXPECT_SAYS(refused(at(8)), "not a multiple of the alignment");
  EXPECT_SAYS(refused(at(0)), "overlap");
  GgufWriter block, type;
  block.describe("t", 12, {128}, 0);
  EXPECT_SAYS(refused(block), "not whole Q4_K blocks");
  type.describe("t", 4, {32}, 0);
  EXPECT_SAYS(refused(type), "element type 4");
}

// Class 7: lengths, and arrays in arrays without end.
TEST(BugClasses, LengthsAndNesting) {
  for (const uint64_t length : {uint64_t{1} << 20, uint64_t{1} << 32, UINT64_MAX, UINT64_MAX - 7}) {
    GgufWriter value, array, name, strings;
    value.begin("k", GgufWriter::kString).put(length);
    EXPECT_SAYS(refused(value), "are possible");
    array.begin("k", GgufWriter::kArray).put<uint32_t>(GgufWriter::kU64).put(length);
    EXPECT_SAYS(refused(array), "there is room for");
    strings.begin("k", GgufWriter::kArray).put<uint32_t>(GgufWriter::kString).put(length);
    EXPECT_SAYS(refused(strings), "there is room for");
    name.n_keys = 1;
    name.keys.put(length).raw("0123456789");
    EXPECT_SAYS(refused(name), "are possible");
  }
  GgufWriter nested;
  testing::Bytes& bytes = nested.begin("k", GgufWriter::kArray);
  for (int depth = 0; depth < 100000; ++depth) bytes.put<uint32_t>(GgufWriter::kArray).put<uint64_t>(1);
  EXPECT_SAYS(refused(nested), "array of arrays");
  GgufWriter long_name;
  long_name.describe(std::string(65, 'x'), 0, {1}, 0);
  EXPECT_SAYS(refused(long_name), "at most 64");
}

TEST(BugClasses, NamesAreUnique) {
  GgufWriter keys, tensors, nameless;
  keys.u32("k", 1).u32("j", 1).u32("k", 1);
  EXPECT_SAYS(refused(keys), "'k' is given twice");
  tensors.tensor("t", 0, {1}, Image(4)).tensor("t", 0, {1}, Image(4));
  EXPECT_SAYS(refused(tensors), "'t' is listed twice");
  nameless.u32("", 1);
  EXPECT_SAYS(refused(nameless), "has no name");
}

TEST(BugClasses, OtherFilesAreNamed) {
  GgufWriter first, big_endian, shard;
  EXPECT_SAYS(refused(Image{}), "the magic");
  EXPECT_SAYS(refused(Image(100)), "not a GGUF file");
  first.version = 1;
  EXPECT_SAYS(refused(first), "version 1");
  big_endian.version = 0x03000000;
  EXPECT_SAYS(refused(big_endian), "big-endian");
  shard.scalar<uint16_t>("split.no", GgufWriter::kU16, 1).scalar<uint16_t>("split.count", GgufWriter::kU16, 4);
  EXPECT_SAYS(refused(shard), "part 2 of 4");
}

// A header larger than policy allows is refused although the file has the bytes.
TEST(BugClasses, HeaderLimit) {
  GgufWriter w;
  w.string("k", std::string(5000, 'x')).u32("after", 1);
  weights::GgufLimits limits;
  limits.header_bytes_max = 1000;
  auto gguf = Gguf::parse(weights::memory_source(w.finish()), limits);
  ASSERT_FALSE(gguf.ok());
  EXPECT_EQ(gguf.status().code(), Code::kCorrupt);
  limits.header_bytes_max = 10000;
  limits.string_bytes_max = 4999;
  EXPECT_FALSE(Gguf::parse(weights::memory_source(w.finish()), limits).ok());
  limits.string_bytes_max = 5000;
  EXPECT_TRUE(Gguf::parse(weights::memory_source(w.finish()), limits).ok());
}

// Numbers of an architecture that ask for the impossible.
TEST(BugClasses, ArchitectureNumbers) {
  const auto with = [](std::string_view key, auto value, uint32_t type) {
    GgufWriter base = testing::tiny_gguf_writer({});
    // Replaces the value of a key in the well-formed model: the last 4 bytes after its name and type.
    std::string needle(key);
    auto& data = base.keys.data;
    const auto* first = reinterpret_cast<const std::byte*>(needle.data());
    const auto found = std::search(data.begin(), data.end(), first, first + needle.size());
    EXPECT_NE(found, data.end());
    const size_t at = static_cast<size_t>(found - data.begin()) + needle.size();
    uint32_t old = 0;
    std::memcpy(&old, data.data() + at, 4);
    EXPECT_EQ(old, type);
    std::memcpy(data.data() + at + 4, &value, sizeof value);
    return base.finish();
  };
  for (const char* key : {"gemma3.block_count", "gemma3.embedding_length", "gemma3.attention.head_count",
                          "gemma3.attention.head_count_kv", "gemma3.attention.key_length",
                          "gemma3.attention.value_length", "gemma3.feed_forward_length", "gemma3.context_length"}) {
    for (const uint32_t value : {0u, 0x7fffffffu, 0x80000000u, UINT32_MAX}) {
      EXPECT_FALSE(try_model(with(key, value, GgufWriter::kU32))) << key << " " << value;
    }
  }
  for (const uint32_t value : {3u, 1u << 30}) {
    EXPECT_FALSE(try_model(with("gemma3.attention.head_count", value, GgufWriter::kU32)));
  }
  EXPECT_FALSE(try_model(with("gemma3.attention.layer_norm_rms_epsilon", -1.0f, GgufWriter::kF32)));
  EXPECT_FALSE(try_model(with("gemma3.rope.freq_base", -1.0f, GgufWriter::kF32)));
  EXPECT_FALSE(try_model(with("gemma3.rope.freq_base", std::numeric_limits<float>::infinity(), GgufWriter::kF32)));
}

}  // namespace
}  // namespace merritt::model
