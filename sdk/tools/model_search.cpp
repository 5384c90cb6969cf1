// SPDX-License-Identifier: Apache-2.0
#include "model_search.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>

namespace merritt::tools {
namespace {

namespace fs = std::filesystem;

constexpr int kFoldersDeep = 6;
constexpr size_t kEntriesMax = 200000;  // a search that takes longer is not worth its wait

std::string environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here changes the environment
  return value != nullptr ? value : "";
}

void add_site_packages_of(const fs::path& prefix, std::set<fs::path>& folders) {
  std::error_code failed;
  for (const char* lib : {"lib", "lib64"}) {
    for (const auto& entry : fs::directory_iterator(prefix / lib, failed)) {
      if (!entry.path().filename().string().starts_with("python3")) continue;
      for (const char* kind : {"site-packages", "dist-packages"}) {
        const fs::path folder = fs::canonical(entry.path() / kind, failed);
        if (!failed) folders.insert(folder);
      }
    }
  }
}

// The prefix of the python3 on PATH, which may be a shim: the interpreter tells, without its site packages (-S).
std::string python_prefix() {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(
      popen("python3 -I -S -c 'import sys; print(sys.base_prefix)' 2>/dev/null", "re"),
      [](FILE* f) { return pclose(f); });
  char line[4096];
  if (!pipe || std::fgets(line, sizeof(line), pipe.get()) == nullptr) return "";
  std::string prefix(line);
  while (!prefix.empty() && std::isspace(static_cast<unsigned char>(prefix.back())) != 0) prefix.pop_back();
  return prefix;
}

std::set<fs::path> package_folders() {
  std::set<fs::path> folders;
  if (const std::string active = environment("VIRTUAL_ENV"); !active.empty()) add_site_packages_of(active, folders);
  add_site_packages_of(fs::current_path() / ".venv", folders);
  if (const std::string prefix = python_prefix(); !prefix.empty()) add_site_packages_of(prefix, folders);
  add_site_packages_of("/usr/local", folders);
  if (const std::string home = environment("HOME"); !home.empty())
    add_site_packages_of(fs::path(home) / ".local", folders);
  std::error_code failed;
  if (fs::is_directory("/usr/lib/python3/dist-packages", failed)) folders.insert("/usr/lib/python3/dist-packages");
  return folders;
}

fs::path hugging_face_cache() {
  if (const std::string hub = environment("HF_HUB_CACHE"); !hub.empty()) return hub;
  if (const std::string home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty())
    return fs::path(cache) / "huggingface" / "hub";
  return fs::path(environment("HOME")) / ".cache" / "huggingface" / "hub";
}

// "x.gguf.part03" -> 3; -1 for another name.
int part_number(const std::string& file) {
  const size_t dot = file.rfind(".gguf.part");
  if (dot == std::string::npos) return -1;
  const std::string digits = file.substr(dot + 10);
  if (digits.empty() || digits.size() > 4 || !std::all_of(digits.begin(), digits.end(), ::isdigit)) return -1;
  int number = -1;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

void search(const fs::path& root, const std::string& where, std::vector<FoundModel>& found) {
  std::map<std::string, std::map<int, fs::path>> split;  // by the name of the whole file
  std::error_code failed;
  size_t seen = 0;
  fs::recursive_directory_iterator at(root, fs::directory_options::skip_permission_denied, failed);
  for (; !failed && at != fs::recursive_directory_iterator() && ++seen < kEntriesMax; at.increment(failed)) {
    if (at.depth() >= kFoldersDeep) at.disable_recursion_pending();
    const std::string file = at->path().filename().string();
    std::error_code ignored;
    if (file.ends_with(".gguf") && fs::is_regular_file(at->path(), ignored)) {
      found.push_back({at->path().string(), {}, fs::file_size(at->path(), ignored), where});
    } else if (const int part = part_number(file); part >= 0) {
      split[file.substr(0, file.rfind(".part"))][part] = at->path();
    }
  }
  for (const auto& [name, parts] : split) {
    FoundModel model{name, {}, 0, where};
    for (const auto& [number, path] : parts) {
      std::error_code ignored;
      model.parts.push_back(path.string());
      model.bytes += fs::file_size(path, ignored);
    }
    found.push_back(std::move(model));
  }
}

}  // namespace

std::vector<FoundModel> find_models() {
  std::vector<FoundModel> found;
  search(fs::current_path() / "models", "models folder", found);
  for (const fs::path& folder : package_folders()) search(folder, "python packages", found);
  search(hugging_face_cache(), "hugging face cache", found);
  std::sort(found.begin(), found.end(), [](const FoundModel& a, const FoundModel& b) {
    return std::pair(a.where, a.path) < std::pair(b.where, b.path);
  });
  return found;
}

}  // namespace merritt::tools
