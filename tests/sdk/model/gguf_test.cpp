// SPDX-License-Identifier: Apache-2.0
// The GGUF reader on well-formed files: values of every type, look-ups, places of tensors, sources.
#include "model/weights/gguf.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "model/weights/types.hpp"
#include "tests/support/gguf_writer.hpp"
#include "tests/support/places.hpp"
#include "tests/support/tiny_gguf.hpp"

namespace merritt::model::weights {
namespace {

using testing::GgufWriter;

Gguf parse(const GgufWriter& writer) {
  auto gguf = Gguf::parse(memory_source(writer.finish()));
  EXPECT_TRUE(gguf.ok()) << gguf.status().message();
  return std::move(gguf).value();
}

TEST(Gguf, ScalarsOfEveryType) {
  GgufWriter w;
  w.scalar<uint8_t>("u8", GgufWriter::kU8, 200).scalar<int8_t>("i8", GgufWriter::kI8, -5);
  w.scalar<uint16_t>("u16", GgufWriter::kU16, 60000).scalar<int16_t>("i16", GgufWriter::kI16, -300);
  w.u32("u32", 4000000000u).scalar<int32_t>("i32", GgufWriter::kI32, -70000);
  w.scalar<uint64_t>("u64", GgufWriter::kU64, 1ull << 40).scalar<int64_t>("i64", GgufWriter::kI64, -(1ll << 40));
  w.f32("f32", 1.5f).scalar<double>("f64", GgufWriter::kF64, 0.25).boolean("yes", true).boolean("no", false);
  w.string("text", std::string("with\0zero", 9));
  const Gguf g = parse(w);
  EXPECT_EQ(g.version(), 3u);
  EXPECT_EQ(g.n_keys(), 13u);
  EXPECT_EQ(*g.get_u32("u8"), 200u);
  EXPECT_EQ(*g.get_i64("i8"), -5);
  EXPECT_EQ(*g.get_u32("u16"), 60000u);
  EXPECT_EQ(*g.get_i64("i16"), -300);
  EXPECT_EQ(*g.get_u32("u32"), 4000000000u);
  EXPECT_EQ(*g.get_i64("i32"), -70000);
  EXPECT_EQ(*g.get_i64("u64"), 1ll << 40);
  EXPECT_EQ(*g.get_i64("i64"), -(1ll << 40));
  EXPECT_EQ(*g.get_f32("f32"), 1.5f);
  EXPECT_EQ(*g.get_f32("f64"), 0.25f);
  EXPECT_TRUE(*g.get_bool("yes"));
  EXPECT_FALSE(*g.get_bool("no"));
  EXPECT_EQ(*g.get_string("text"), std::string_view("with\0zero", 9));
}

TEST(Gguf, GettersNameKeyAndTypes) {
  GgufWriter w;
  w.u32("n", 7).scalar<int32_t>("minus", GgufWriter::kI32, -1).string("s", "x").strings("list", {"a"});
  w.scalar<uint64_t>("big", GgufWriter::kU64, 1ull << 63).f32("nan", std::numeric_limits<float>::quiet_NaN());
  const Gguf g = parse(w);
  const auto missing = g.get_u32("absent");
  EXPECT_EQ(missing.status().code(), Code::kNotFound);
  EXPECT_EQ(missing.status().message(), "key absent is missing");
  const auto wrong = g.get_u32("s");
  EXPECT_EQ(wrong.status().code(), Code::kCorrupt);
  EXPECT_EQ(wrong.status().message(), "key s is of type string; u32 is expected");
  EXPECT_EQ(g.get_string("list").status().message(), "key list is of type array of string; string is expected");
  EXPECT_EQ(g.get_u32("minus").status().message(), "key minus is -1, which does not fit u32");
  EXPECT_EQ(g.get_i64("big").status().code(), Code::kCorrupt);
  EXPECT_EQ(g.get_f32("nan").status().code(), Code::kCorrupt);
  EXPECT_EQ(g.get_f32("n").status().code(), Code::kCorrupt);
  EXPECT_EQ(g.get_bool("n").status().code(), Code::kCorrupt);
  EXPECT_EQ(*g.get_u32("absent", 5), 5u);
  EXPECT_EQ(*g.get_string("absent", "d"), "d");
  EXPECT_EQ(g.get_u32("s", 5).status().code(), Code::kCorrupt);  // a default is for a missing key only
}

TEST(Gguf, ArraysAreTyped) {
  GgufWriter w;
  w.strings("strings", {"", "one", "\xff\x00"}).numbers<float>("floats", GgufWriter::kF32, {1.0f, -2.5f});
  w.numbers<int32_t>("ints", GgufWriter::kI32, {-1, 2}).numbers<uint8_t>("bools", GgufWriter::kBool, {1, 0});
  w.numbers<uint32_t>("large", GgufWriter::kU32, {3000000000u}).strings("empty", {}).u32("one", 4);
  const Gguf g = parse(w);
  const auto strings = g.get_strings("strings");
  ASSERT_EQ(strings->size(), 3u);
  EXPECT_EQ((*strings)[0], "");
  EXPECT_EQ((*strings)[1], "one");
  EXPECT_EQ(*g.get_f32_array("floats"), (std::vector<float>{1.0f, -2.5f}));
  EXPECT_EQ(*g.get_i32_array("ints"), (std::vector<int32_t>{-1, 2}));
  EXPECT_EQ(*g.get_i32_array("bools"), (std::vector<int32_t>{1, 0}));
  EXPECT_TRUE(g.get_strings("empty")->empty());
  EXPECT_EQ(g.get_i32_array("large").status().code(), Code::kCorrupt);
  // Bytes of one type never read as another.
  EXPECT_EQ(g.get_f32_array("bools").status().code(), Code::kCorrupt);
  EXPECT_EQ(g.get_f32_array("ints").status().code(), Code::kCorrupt);
  EXPECT_EQ(g.get_i32_array("floats").status().code(), Code::kCorrupt);
  EXPECT_EQ(g.get_i32_array("one").status().code(), Code::kCorrupt);
  EXPECT_EQ(*g.get_u32_per_layer("one", 3), (std::vector<uint32_t>{4, 4, 4}));
  EXPECT_EQ(*g.get_u32_per_layer("bools", 2), (std::vector<uint32_t>{1, 0}));
  EXPECT_EQ(g.get_u32_per_layer("bools", 3).status().code(), Code::kCorrupt);
  EXPECT_EQ(g.get_u32_per_layer("ints", 2).status().code(), Code::kCorrupt);
}

TEST(Gguf, TensorsArePlaced) {
  GgufWriter w;
  w.alignment = 64;
  w.u32("general.alignment", 64);
  w.tensor("a", 0, {3}, testing::tiny_f32({1, 2, 3})).tensor("q", 8, {32, 2}, std::vector<std::byte>(68));
  w.tensor("cube", 1, {2, 3, 4, 5}, std::vector<std::byte>(240));
  const Gguf g = parse(w);
  ASSERT_EQ(g.tensors().size(), 3u);
  EXPECT_EQ(g.find_tensor("nothing"), nullptr);
  for (const TensorInfo& tensor : g.tensors()) {
    EXPECT_EQ(tensor.offset % 64, 0u);
    EXPECT_LE(tensor.offset + tensor.bytes, g.source().size());
  }
  EXPECT_EQ(g.find_tensor("q")->bytes, 68u);
  EXPECT_EQ(g.find_tensor("q")->n_dims, 2u);
  EXPECT_EQ(g.find_tensor("cube")->bytes, 240u);
  const TensorInfo* a = g.find_tensor("a");
  float values[3];
  ASSERT_TRUE(g.source().read(a->offset, std::as_writable_bytes(std::span(values))).ok());
  EXPECT_EQ(values[2], 3.0f);
}

TEST(Gguf, VersionTwoIsTheSame) {
  GgufWriter w;
  w.version = 2;
  w.u32("n", 1);
  EXPECT_EQ(parse(w).version(), 2u);
}

TEST(Gguf, ReleasingMetadataKeepsTensors) {
  GgufWriter w;
  w.u32("n", 1).tensor("a", 0, {1}, testing::tiny_f32({1}));
  Gguf g = parse(w);
  g.release_metadata();
  EXPECT_FALSE(g.has("n"));
  EXPECT_EQ(g.n_keys(), 0u);
  EXPECT_NE(g.find_tensor("a"), nullptr);
}

TEST(ElementTypes, BlocksAreThoseOfTheFormat) {
  EXPECT_EQ(find_element_type(12)->name, "Q4_K");
  EXPECT_EQ(find_element_type(12)->block_bytes, 144u);
  EXPECT_EQ(find_element_type(14)->block_bytes, 210u);
  EXPECT_EQ(find_element_type(8)->block_elements, 32u);
  EXPECT_EQ(find_element_type(5), nullptr);
  EXPECT_EQ(find_element_type(UINT32_MAX), nullptr);
  for (const ElementType& type : element_types()) {
    EXPECT_GT(type.block_elements, 0u) << type.name;
    EXPECT_GT(type.block_bytes, 0u) << type.name;
  }
}

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("merritt-gguf-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::vector<std::byte>& bytes) {
    const std::string path = folder_ / name;
    FILE* file = std::fopen(path.c_str(), "wb");
    EXPECT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
    std::fclose(file);
    return path;
  }
  std::filesystem::path folder_;
};

TEST_F(Files, OnlyRegularFilesAreOpened) {
  EXPECT_EQ(open_file_source((folder_ / "absent").string()).status().code(), Code::kNotFound);
  EXPECT_EQ(open_file_source(folder_.string()).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(open_file_source("/dev/zero").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(open_file_source(std::string_view("a\0b", 3)).status().code(), Code::kInvalidArgument);
  const std::string pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(open_file_source(pipe).status().code(), Code::kInvalidArgument);  // and does not wait for a writer
}

TEST_F(Files, DescriptorsDoNotOutliveExec) {
  const std::string path = write("x", std::vector<std::byte>(8));
  const int before = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(before);
  auto source = open_file_source(path);
  ASSERT_TRUE(source.ok());
  EXPECT_EQ(::fcntl(before, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);  // the lowest free number was taken
  source->reset();
  EXPECT_EQ(::fcntl(before, F_GETFD), -1);
}

TEST_F(Files, ReadsOutsideAreRefused) {
  const auto source = *open_file_source(write("x", std::vector<std::byte>(100)));
  std::vector<std::byte> out(10);
  EXPECT_TRUE(source->read(90, out).ok());
  EXPECT_EQ(source->read(91, out).code(), Code::kCorrupt);
  EXPECT_EQ(source->read(UINT64_MAX - 4, out).code(), Code::kCorrupt);
  EXPECT_TRUE(source->read(100, {}).ok());
}

TEST_F(Files, TruncationWhileReadingIsNamed) {
  const std::string path = write("x", std::vector<std::byte>(100));
  const auto source = *open_file_source(path);
  ASSERT_EQ(::truncate(path.c_str(), 40), 0);
  std::vector<std::byte> out(60);
  const Status status = source->read(20, out);
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_EQ(status.message(), "the file was truncated while it was being read: 40 bytes at 40 are missing");
}

TEST_F(Files, TruncationBeforeParsingIsNamed) {
  const std::string path = write("x", testing::tiny_gguf({}));
  const auto source = *open_file_source(path);
  ASSERT_EQ(::truncate(path.c_str(), 3000), 0);
  const auto gguf = Gguf::parse(source);
  ASSERT_FALSE(gguf.ok());
  EXPECT_EQ(gguf.status().code(), Code::kCorrupt);
  EXPECT_NE(gguf.status().message().find("truncated while it was being read"), std::string_view::npos);
}

// A real header with 262,144 tokens is parsed from the disk cache in well under a second; the time is only printed.
TEST(RealFile, GemmaHeader) {
  const std::string path = merritt::test::source_dir() + "/models/gemma-3-270m-q4_k_m.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "models/gemma-3-270m-q4_k_m.gguf is absent; run ./dev setup";
  const auto start = std::chrono::steady_clock::now();
  const auto gguf = Gguf::parse(*open_file_source(path));
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  RecordProperty("milliseconds", std::to_string(took.count()));
  EXPECT_EQ(gguf->tensors().size(), 236u);
  const auto tokens = gguf->get_strings("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens->size(), 262144u);
  EXPECT_EQ((*tokens)[2], "<bos>");
  EXPECT_EQ(gguf->get_f32_array("tokenizer.ggml.scores")->size(), 262144u);
}

}  // namespace
}  // namespace merritt::model::weights
