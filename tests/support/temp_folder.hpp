// SPDX-License-Identifier: Apache-2.0
// A private folder that goes away with its object, and a tiny model in it that needs nothing from outside.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/tiny_gguf.hpp"

namespace merritt::test {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "merritt-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

  std::string write(const std::string& name, const std::vector<std::byte>& bytes) const {
    const std::string file = path_ + "/" + name;
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return file;
  }
  // Gemma 3 in miniature: layers with and without a window, 320 tokens, a chat template.
  static constexpr uint32_t kTinyVocabulary = 320;
  std::string tiny_model() const {
    return write("tiny.gguf", testing::tiny_gguf({.layers = 6, .width = 32, .inner = 64, .head_dim = 16}));
  }

 private:
  std::string path_;
};

}  // namespace merritt::test
