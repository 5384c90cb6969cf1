// SPDX-License-Identifier: Apache-2.0
#include "backend/signing.hpp"

#include <openssl/pem.h>

#include <algorithm>
#include <cstring>

#include "backend/openssl_context.hpp"
#include "base/limits.hpp"
#include "base/os/file.hpp"
#include "base/os/memory.hpp"

namespace merritt::backend {
namespace {

constexpr size_t kKeyFileBytesMax = 4096;

// A key file is never encrypted here; without this OpenSSL would ask on the terminal.
int no_passphrase(char*, int, int, void*) { return 0; }

Result<PublicKey> public_half(const PKey& key) {
  PublicKey out{};
  size_t length = out.size();
  if (EVP_PKEY_get_raw_public_key(key.get(), out.data(), &length) != 1 || length != out.size()) {
    return Status(Code::kInternal, "OpenSSL gives no public key");
  }
  return out;
}

Result<PKey> read_key(const LibContext& context, const std::string& path) {
  if (!context) return Status(Code::kInternal, "OpenSSL could not start");
  MERRITT_TRY(const uint32_t mode, os::file_mode(path));
  if ((mode & 077) != 0) {
    return Status(Code::kPermissionDenied, path + ": others may read this private key; run chmod 600 on it");
  }
  MERRITT_TRY(std::vector<std::byte> text, os::read_file(path, kKeyFileBytesMax));
  const Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  PKey key(bio ? PEM_read_bio_PrivateKey_ex(bio.get(), nullptr, &no_passphrase, nullptr, context.get(), nullptr)
               : nullptr);
  os::wipe(text.data(), text.size());
  if (!key || EVP_PKEY_is_a(key.get(), "ED25519") != 1) {
    return Status(Code::kCorrupt, path + ": not an Ed25519 private key in PEM form without passphrase");
  }
  return key;
}

Result<Signature> sign(const LibContext& context, const PKey& key, std::span<const std::byte> payload) {
  Signature signature{};
  size_t length = signature.size();
  const MdContext signer(EVP_MD_CTX_new());
  if (!signer ||
      EVP_DigestSignInit_ex(signer.get(), nullptr, nullptr, context.get(), nullptr, key.get(), nullptr) != 1 ||
      EVP_DigestSign(signer.get(), signature.data(), &length, reinterpret_cast<const uint8_t*>(payload.data()),
                     payload.size()) != 1 ||
      length != signature.size()) {
    return Status(Code::kInternal, "OpenSSL could not sign");
  }
  return signature;
}

Result<Digest> digest_of_file(const std::string& path) {
  MERRITT_TRY(const std::vector<std::byte> content, os::read_file(path, limits::kPluginBytesMax));
  return sha256(content);
}

}  // namespace

Result<PublicKey> generate_key(const std::string& private_path) {
  const LibContext context = make_context();
  const PKey key(context ? EVP_PKEY_Q_keygen(context.get(), nullptr, "ED25519") : nullptr);
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!key || !bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Status(Code::kInternal, "OpenSSL could not make an Ed25519 key");
  }
  char* text = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &text);
  const Status written =
      os::create_file(private_path, std::as_bytes(std::span(text, static_cast<size_t>(length))), 0600);
  os::wipe(text, static_cast<size_t>(length));
  MERRITT_CHECK(written);
  return public_half(key);
}

Result<PublicKey> public_key_of(const std::string& private_path) {
  const LibContext context = make_context();
  MERRITT_TRY(const PKey key, read_key(context, private_path));
  return public_half(key);
}

Status sign_plugin(const std::string& plugin_path, Manifest manifest, const std::string& private_path) {
  const LibContext context = make_context();
  MERRITT_TRY(const PKey key, read_key(context, private_path));
  MERRITT_TRY(const PublicKey public_key, public_half(key));
  MERRITT_TRY(manifest.digest, digest_of_file(plugin_path));
  MERRITT_TRY(const std::vector<std::byte> payload, encode_payload(manifest));
  MERRITT_TRY(const Signature signature, sign(context, key, payload));
  MERRITT_TRY(const Digest key_id, key_id_of(public_key));
  return os::write_file(plugin_path + ".manifest", encode_signed(payload, signature, key_id), 0644);
}

Result<Manifest> verify_plugin(const std::string& plugin_path, const PublicKey& key) {
  MERRITT_TRY(const std::vector<std::byte> file, os::read_file(plugin_path + ".manifest", limits::kManifestBytesMax));
  MERRITT_TRY(SignedManifest decoded, decode_signed(file));
  MERRITT_TRY(const Digest key_id, key_id_of(key));
  if (decoded.key_id != key_id) return Status(Code::kPermissionDenied, plugin_path + ": signed by another key");
  if (!signature_is_good(decoded.payload, decoded.signature, key)) {
    return Status(Code::kPermissionDenied, plugin_path + ": the signature of its manifest is wrong");
  }
  MERRITT_TRY(const Digest digest, digest_of_file(plugin_path));
  if (digest != decoded.manifest.digest) {
    return Status(Code::kPermissionDenied, plugin_path + " was altered after it was signed");
  }
  return std::move(decoded.manifest);
}

}  // namespace merritt::backend
