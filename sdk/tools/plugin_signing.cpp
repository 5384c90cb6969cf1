// SPDX-License-Identifier: Apache-2.0
#include "plugin_signing.hpp"

#include <fstream>
#include <iterator>

#include "backend/loader.hpp"
#include "backend/manifest.hpp"
#include "backend/signing.hpp"

namespace merritt::tools {
namespace {

std::string text_of(const Status& status) { return status.ok() ? "" : std::string(status.message()); }

}  // namespace

std::string make_key(const std::string& private_path, std::string& public_hex) {
  auto made = backend::generate_key(private_path);
  if (!made.ok()) return text_of(made.status());
  public_hex = backend::to_hex(made.value());
  return "";
}

std::string public_key_of_file(const std::string& private_path, std::string& public_hex) {
  auto read = backend::public_key_of(private_path);
  if (!read.ok()) return text_of(read.status());
  public_hex = backend::to_hex(read.value());
  return "";
}

std::string sign(const std::string& plugin_path, const PluginManifest& manifest, const std::string& private_path) {
  backend::Manifest out;
  out.id = manifest.id;
  out.version = manifest.version;
  out.publisher = manifest.publisher;
  out.abi_min = manifest.abi_min;
  out.abi_max = manifest.abi_max;
  out.cpu_features = manifest.cpu_features;
  out.capabilities = manifest.capabilities;
  out.not_after = manifest.not_after;
  return text_of(backend::sign_plugin(plugin_path, std::move(out), private_path));
}

std::string verify(const std::string& plugin_path, const std::string& directory,
                   const std::vector<TrustedPublisher>& publishers) {
  backend::LoaderOptions options;
  options.directories.push_back(directory);
  for (const TrustedPublisher& publisher : publishers) {
    backend::Publisher out;
    out.name = publisher.name;
    out.public_key = publisher.public_key;
    if (!publisher.plugin_id.empty()) out.plugin_ids.push_back(publisher.plugin_id);
    out.not_after = publisher.not_after;
    options.publishers.push_back(std::move(out));
  }
  return text_of(backend::Loader(std::move(options)).verify(plugin_path));
}

std::string read_manifest(const std::string& plugin_path, PluginManifest& manifest) {
  std::ifstream file(plugin_path + ".manifest", std::ios::binary);
  if (!file) return plugin_path + ".manifest: no manifest there; sign the plugin first";
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  auto decoded = backend::decode_signed(std::as_bytes(std::span(bytes.data(), bytes.size())));
  if (!decoded.ok()) return text_of(decoded.status());
  const backend::Manifest& in = decoded.value().manifest;
  manifest.id = in.id;
  manifest.version = in.version;
  manifest.publisher = in.publisher;
  manifest.digest = backend::to_hex(in.digest);
  manifest.abi_min = in.abi_min;
  manifest.abi_max = in.abi_max;
  manifest.cpu_features = in.cpu_features;
  manifest.capabilities = in.capabilities;
  manifest.not_after = in.not_after;
  return "";
}

}  // namespace merritt::tools
