// SPDX-License-Identifier: Apache-2.0
#include "model/pack/pack_mac.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include "backend/openssl_context.hpp"

namespace merritt::model::pack {
namespace {

constexpr uint64_t kHeadIndex = UINT64_MAX;  // a chunk never has it
constexpr std::string_view kLabel = "merritt pack file key 1";
constexpr size_t kPieceMax = size_t{1} << 30;

Status failed() { return Status(Code::kInternal, "OpenSSL could not compute the tag of a pack"); }

}  // namespace

struct PackMac::Library {
  backend::LibContext context = backend::make_context();
  std::unique_ptr<EVP_CIPHER, backend::Freed<&EVP_CIPHER_free>> cipher;
};

PackMac::PackMac() : library_(std::make_unique<Library>()), key_(kKeyBytes) {}
PackMac::PackMac(PackMac&&) noexcept = default;
PackMac& PackMac::operator=(PackMac&&) noexcept = default;
PackMac::~PackMac() = default;

Result<PackMac> PackMac::derive(std::span<const std::byte> installation_key, const Head& head) {
  PackMac mac;
  if (!mac.key_.ok()) return Status(Code::kOutOfMemory, "there is no memory for a key");
  if (!mac.library_->context) return failed();
  mac.library_->cipher.reset(EVP_CIPHER_fetch(mac.library_->context.get(), "AES-256-GCM", nullptr));
  std::array<uint8_t, kLabel.size() + kHeadBytes> text{};
  std::copy(kLabel.begin(), kLabel.end(), text.begin());
  std::memcpy(text.data() + kLabel.size(), head.data(), head.size());
  size_t length = 0;
  const auto* made = EVP_Q_mac(mac.library_->context.get(), "HMAC", nullptr, "SHA256", nullptr, installation_key.data(),
                               installation_key.size(), text.data(), text.size(),
                               reinterpret_cast<unsigned char*>(mac.key_.data()), mac.key_.size(), &length);
  if (!mac.library_->cipher || made == nullptr || length != kKeyBytes) return failed();
  return mac;
}

Result<Tag> PackMac::head_tag(const Head& head) const {
  MERRITT_TRY(ChunkMac tag, ChunkMac::begin(*this, kHeadIndex));
  MERRITT_CHECK(tag.update(head));
  return tag.finish();
}

Result<ChunkMac> ChunkMac::begin(const PackMac& mac, uint64_t index) {
  ChunkMac chunk(EVP_CIPHER_CTX_new());
  std::array<uint8_t, 12> nonce{};  // the key is that of one file, so a nonce comes once
  for (size_t i = 0; i < sizeof(index); ++i) nonce[i] = static_cast<uint8_t>(index >> (8 * i));
  if (chunk.context_ == nullptr ||
      EVP_EncryptInit_ex2(chunk.context_, mac.library_->cipher.get(),
                          reinterpret_cast<const unsigned char*>(mac.key_.data()), nonce.data(), nullptr) != 1) {
    return failed();
  }
  return chunk;
}

ChunkMac::~ChunkMac() { EVP_CIPHER_CTX_free(context_); }

Status ChunkMac::update(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kPieceMax));
    int none = 0;
    if (EVP_EncryptUpdate(context_, nullptr, &none, reinterpret_cast<const unsigned char*>(piece.data()),
                          static_cast<int>(piece.size())) != 1) {
      return failed();
    }
    bytes = bytes.subspan(piece.size());
  }
  return {};
}

Result<Tag> ChunkMac::finish() {
  Tag tag{};
  unsigned char nothing[16];
  int none = 0;
  if (EVP_EncryptFinal_ex(context_, nothing, &none) != 1 ||
      EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.size()), tag.data()) != 1) {
    return failed();
  }
  return tag;
}

bool same_tag(const Tag& a, const Tag& b) { return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

}  // namespace merritt::model::pack
