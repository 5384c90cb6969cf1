// SPDX-License-Identifier: Apache-2.0
#include "backend/loader.hpp"

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <memory>
#include <optional>
#include <system_error>

#include "backend/fence_table.hpp"
#include "backend/handshake.hpp"
#include "backend/process_table.hpp"
#include "backend/verify.hpp"
#include "base/os/dynamic.hpp"
#include "base/os/trusted_file.hpp"
#include "base/text.hpp"

namespace merritt::backend {

struct PluginMaker {
  static std::unique_ptr<Plugin> make(const VerifiedPlugin& verified, const Handshake& handshake,
                                      const mrt_backend& fenced_table) {
    std::unique_ptr<Plugin> plugin(new Plugin);
    plugin->table_ = fenced_table;
    plugin->slots_ = handshake.slots;
    plugin->abi_ = handshake.abi;
    plugin->id_ = verified.manifest.id;
    plugin->version_ = verified.manifest.version;
    plugin->publisher_ = verified.manifest.publisher;
    plugin->digest_hex_ = to_hex(verified.manifest.digest);
    plugin->path_ = verified.path;
    plugin->capabilities_ = verified.manifest.capabilities;
    return plugin;
  }
};

namespace {

Result<std::unique_ptr<Plugin>> start(const boost::dll::shared_library& library, const VerifiedPlugin& verified) {
  if (!library.has(MRT_BACKEND_SYMBOL)) return Status(Code::kBackend, "the plugin lacks " MRT_BACKEND_SYMBOL);
  const mrt_hello_fn hello = &library.get<int32_t(const mrt_hello_in*, mrt_hello_out*)>(MRT_BACKEND_SYMBOL);
  const uintptr_t base = os::load_address_of(reinterpret_cast<uintptr_t>(hello));
  MERRITT_TRY(const Handshake handshake, shake_hands(hello, base, verified.elf.segments));
  const std::optional<mrt_backend> fenced_table = fence_table(handshake.table);
  if (!fenced_table) return Status(Code::kOverloaded, "this process holds as many plugins as it may");
  return PluginMaker::make(verified, handshake, *fenced_table);
}

// Maps the sealed bytes and runs the handshake. A failure before the linker has mapped anything is answered as such;
// afterwards the build exists, with its plugin or its failure.
Result<Build*> map_plugin(VerifiedPlugin& verified) {
  auto build = std::make_unique<Build>();
  auto library = std::make_unique<boost::dll::shared_library>();
  build->digest = verified.manifest.digest;
  std::error_code failed;
  os::dynamic_linker_error();  // an older one is not ours to report
  library->load(verified.file.path(), boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local, failed);
  if (failed) {
    const std::string why = clean_text(os::dynamic_linker_error(), 256);
    return Status(Code::kBackend, "the dynamic linker refused it: " + (why.empty() ? failed.message() : why));
  }
  // The linker knows an object by the name it was opened with: that descriptor number must never name another plugin.
  verified.file.keep_for_ever();
  build->library = library.release();  // code that ran is never unmapped
  if (is_mapped(build->library->native())) {
    build->failure =
        Status(Code::kInternal, "the dynamic linker gave an older plugin for it: the host closed a descriptor of ours",
               Blast::kProcess);
    return build.release();
  }
  try {
    Result<std::unique_ptr<Plugin>> plugin = start(*build->library, verified);
    if (plugin.ok()) {
      build->plugin = std::move(plugin).value().release();
    } else {
      build->failure = std::move(plugin).status();
    }
  } catch (const std::exception& error) {
    build->failure = Status(Code::kBackend, std::string("the plugin could not be started: ") + error.what());
  }
  return build.release();
}

}  // namespace

Loader::Loader(LoaderOptions options) : options_(std::move(options)) {}

Result<const Plugin*> Loader::load(const std::string& path) {
  MERRITT_TRY(VerifiedPlugin verified, verify_file(options_, path));
  Result<const Plugin*> plugin =
      find_or_map(verified.manifest.digest, [&]() -> Result<Build*> { return map_plugin(verified); });
  if (plugin.ok()) return plugin;
  return std::move(plugin).status().with_context("plugin " + verified.path);
}

std::vector<std::string> Loader::candidates() const {
  std::vector<std::string> found;
  for (const std::string& configured : options_.directories) {
    const Result<std::string> directory = os::plain_absolute_path(configured);
    if (!directory.ok()) continue;
    const Result<std::vector<std::string>> names = os::list_directory(*directory);
    if (!names.ok()) continue;
    for (const std::string& name : *names) {
      const bool is_plugin = name.starts_with("lib") && name.ends_with(".so");
      if (is_plugin && std::find(names->begin(), names->end(), name + ".manifest") != names->end()) {
        found.push_back((*directory == "/" ? "" : *directory) + "/" + name);
      }
    }
  }
  return found;
}

Status Loader::verify(const std::string& path) const { return verify_file(options_, path).status(); }

}  // namespace merritt::backend
