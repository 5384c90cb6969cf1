// SPDX-License-Identifier: Apache-2.0
// Loads with a pack cache: the same bits from a pack as from the file, and a pack that is not the right one is never
// used, always replaced, and never the end of a load.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/eval.hpp"
#include "tests/support/small_engine.hpp"
#include "tests/support/temp_folder.hpp"

namespace merritt::test {
namespace {

namespace fs = std::filesystem;

::merritt::testing::TinyGguf small_model(uint64_t seed) {
  return {.layers = 6,
          .width = 64,
          .inner = 128,
          .heads = 2,
          .kv_heads = 1,
          .head_dim = 32,
          .context = 256,
          .matrix_type = 8,
          .seed = seed};
}
std::vector<std::byte> model_bytes(uint64_t seed) { return ::merritt::testing::tiny_gguf(small_model(seed)); }

class EnginePackCache : public ::testing::Test {
 protected:
  // A file that changed a moment ago is not kept; all tests share one that has settled.
  static void SetUpTestSuite() {
    shared_ = new TempFolder;
    shared_->write("model.gguf", model_bytes(1));
    shared_->write("other.gguf", model_bytes(2));
    std::this_thread::sleep_for(std::chrono::milliseconds(3100));
  }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }
  void SetUp() override {
    engine::EngineOptions options;
    options.threads = 2;
    options.log_level = observe::LogLevel::kDebug;
    options.log = {[](void* user, uint32_t, const char* text, size_t length) {
                     static_cast<EnginePackCache*>(user)->log_.append(text, length).append("\n");
                   },
                   this};
    engine_ = std::make_unique<SmallEngine>(std::move(options));
    ASSERT_NE(engine_->load_backend("onednn"), nullptr);
    ASSERT_NE(engine_->load_backend("reference"), nullptr);
  }

  static std::string model_path(const std::string& name = "model.gguf") { return shared_->path() + "/" + name; }
  engine::ModelLoadOptions options(const std::string& path, const std::string& backend = "onednn") const {
    engine::ModelLoadOptions load = SmallEngine::load_options(backend);
    load.path = path;
    load.pack_cache = folder_.path();
    return load;
  }
  struct Loaded {
    bool from_pack = false;
    std::vector<float> logits;
    bool operator==(const Loaded& other) const {
      return logits.size() == other.logits.size() &&
             std::memcmp(logits.data(), other.logits.data(), logits.size() * sizeof(float)) == 0;
    }
  };
  Loaded load(engine::ModelLoadOptions load) {
    log_.clear();
    Loaded out;
    auto model = (*engine_)->load_model(std::move(load));
    EXPECT_TRUE(model.ok()) << model.status().message();
    if (!model.ok()) return out;
    out.from_pack = (*model)->from_pack_cache;
    auto tenant = (*engine_)->create_tenant("pack-" + std::to_string(++tenants_), {});
    EXPECT_TRUE(tenant.ok()) << tenant.status().message();
    if (!tenant.ok()) return out;
    engine::Evaluation evaluation;
    for (int32_t i = 0; i < 40; ++i) evaluation.tokens.push_back((i * 37 + 5) % 200);
    out.logits.resize(evaluation.tokens.size() * (*model)->file->info.vocabulary);
    evaluation.target = {out.logits.data(), false};
    const Status done = engine::evaluate(engine_->get(), *tenant, *model, std::move(evaluation));
    EXPECT_TRUE(done.ok()) << done.message();
    EXPECT_TRUE((*engine_)->close_tenant(*tenant).ok());
    EXPECT_TRUE((*engine_)->unload_model(*model).ok());
    return out;
  }
  std::vector<std::string> packs() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      if (entry.path().extension() == ".pack") found.push_back(entry.path().string());
    }
    return found;
  }
  static void flip_last_byte(const std::string& path) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(-1, std::ios::end);
    const char flipped = static_cast<char>(file.get() ^ 1);
    file.seekp(-1, std::ios::end);
    file.put(flipped);
  }

  static TempFolder* shared_;
  const TempFolder folder_;
  std::string log_;
  std::unique_ptr<SmallEngine> engine_;
  uint32_t tenants_ = 0;
};

TempFolder* EnginePackCache::shared_ = nullptr;

TEST_F(EnginePackCache, GivesTheSameBits) {
  engine::ModelLoadOptions without = options(model_path());
  without.pack_cache.clear();
  const Loaded plain = load(std::move(without));
  EXPECT_FALSE(plain.from_pack);
  EXPECT_TRUE(packs().empty());
  const Loaded first = load(options(model_path()));
  EXPECT_FALSE(first.from_pack);
  EXPECT_EQ(packs().size(), 1u) << log_;
  const Loaded second = load(options(model_path()));
  EXPECT_TRUE(second.from_pack) << log_;
  EXPECT_EQ(plain, first);
  EXPECT_EQ(plain, second);
  engine_->close();
  EXPECT_EQ(engine_->bytes, 0);
}

TEST_F(EnginePackCache, ABackendWithoutPacksLoadsAsEver) {
  EXPECT_FALSE(load(options(model_path(), "reference")).from_pack);
  EXPECT_TRUE(packs().empty());
}

TEST_F(EnginePackCache, ATamperedPackIsReplaced) {
  const Loaded plain = load(options(model_path()));
  ASSERT_EQ(packs().size(), 1u);
  flip_last_byte(packs()[0]);
  const Loaded tampered = load(options(model_path()));
  EXPECT_FALSE(tampered.from_pack);
  EXPECT_EQ(plain, tampered);
  EXPECT_NE(log_.find("is not as it was written"), std::string::npos) << log_;
  const Loaded again = load(options(model_path()));
  EXPECT_TRUE(again.from_pack) << log_;
  EXPECT_EQ(plain, again);
}

TEST_F(EnginePackCache, APackOfAnotherModelIsNotUsed) {
  const Loaded one = load(options(model_path()));
  const std::string pack_of_one = packs().at(0);
  const Loaded two = load(options(model_path("other.gguf")));
  EXPECT_FALSE(one == two);
  std::string pack_of_two;
  for (const std::string& pack : packs()) {
    if (pack != pack_of_one) pack_of_two = pack;
  }
  ASSERT_FALSE(pack_of_two.empty());
  fs::copy_file(pack_of_two, pack_of_one, fs::copy_options::overwrite_existing);
  const Loaded again = load(options(model_path()));
  EXPECT_FALSE(again.from_pack);
  EXPECT_EQ(one, again);
}

// The same names and shapes, even the same time of change as far as a program can set it.
TEST_F(EnginePackCache, AChangedModelFileIsPackedAnew) {
  const std::string path = folder_.write("model.gguf", model_bytes(3));
  std::this_thread::sleep_for(std::chrono::milliseconds(3100));
  const Loaded before = load(options(path));
  EXPECT_TRUE(load(options(path)).from_pack) << log_;
  const fs::file_time_type time = fs::last_write_time(path);
  folder_.write("model.gguf", model_bytes(4));
  fs::last_write_time(path, time);
  const Loaded after = load(options(path));
  EXPECT_FALSE(after.from_pack);
  EXPECT_FALSE(before == after);
  EXPECT_NE(log_.find("changed a moment ago"), std::string::npos) << log_;
}

// A few kilobytes on the disk: what is read and taken for such a file is not what its table claims.
TEST_F(EnginePackCache, TensorsBehindAHoleTakeNoMemoryForIt) {
  ::merritt::testing::TinyGguf model = small_model(5);
  model.hole = uint64_t{1} << 40;
  const ::merritt::testing::GgufWriter writer = ::merritt::testing::tiny_gguf_writer(model);
  std::vector<std::byte> bytes = writer.finish();
  const size_t contents = writer.contents.data.size(), header = bytes.size() - contents;
  const std::string path = folder_.write("model.gguf", std::vector(bytes.begin(), bytes.begin() + header));
  fs::resize_file(path, header + model.hole);
  std::ofstream(path, std::ios::binary | std::ios::app)
      .write(reinterpret_cast<const char*>(bytes.data() + header), static_cast<std::streamsize>(contents));
  std::this_thread::sleep_for(std::chrono::milliseconds(3100));
  const Loaded before = load(options(path));
  const Loaded again = load(options(path));
  EXPECT_TRUE(again.from_pack) << log_;
  EXPECT_EQ(before, again);
}

TEST_F(EnginePackCache, AnotherKeyIsAMiss) {
  (void)load(options(model_path()));
  const std::vector<std::byte> key(32, std::byte{9});
  engine::ModelLoadOptions other = options(model_path());
  other.pack_cache_key = std::make_shared<const secret::SecretBytes>(key);
  EXPECT_FALSE(load(std::move(other)).from_pack);
  engine::ModelLoadOptions again = options(model_path());
  again.pack_cache_key = std::make_shared<const secret::SecretBytes>(key);
  EXPECT_TRUE(load(std::move(again)).from_pack) << log_;
}

TEST_F(EnginePackCache, ADirectoryOfOthersIsRefused) {
  fs::permissions(folder_.path(), fs::perms::owner_all | fs::perms::group_write);
  const auto refused = (*engine_)->load_model(options(model_path()));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), Code::kPermissionDenied) << refused.status().message();
  fs::permissions(folder_.path(), fs::perms::owner_all);
}

TEST_F(EnginePackCache, WithoutRoomForAPackTheLoadGoesOn) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit low = before;
  low.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  const Loaded loaded = load(options(model_path()));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_FALSE(loaded.logits.empty());
  EXPECT_NE(log_.find("were not kept"), std::string::npos) << log_;
  EXPECT_TRUE(packs().empty());
}

TEST_F(EnginePackCache, APackThatCannotBeReplacedIsRead) {
  const Loaded first = load(options(model_path()));
  const fs::path pack = packs().at(0), in_the_way = pack.string() + ".new";
  fs::create_directory(in_the_way);  // unlike a mode, it stops root too
  EXPECT_TRUE(load(options(model_path())).from_pack);
  flip_last_byte(pack);
  const Loaded tampered = load(options(model_path()));
  EXPECT_FALSE(tampered.from_pack);
  EXPECT_EQ(first, tampered);
  EXPECT_NE(log_.find("were not kept"), std::string::npos) << log_;
}

TEST_F(EnginePackCache, ProgressOfAReadPackCancelsTheLoad) {
  (void)load(options(model_path()));
  engine::ModelLoadOptions cancelled = options(model_path());
  cancelled.progress = [](float) { return true; };
  const auto refused = (*engine_)->load_model(std::move(cancelled));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), Code::kCancelled) << refused.status().message();
  EXPECT_TRUE(load(options(model_path())).from_pack) << log_;
}

}  // namespace
}  // namespace merritt::test
