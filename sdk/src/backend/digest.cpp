// SPDX-License-Identifier: Apache-2.0
#include "backend/digest.hpp"

#include "backend/openssl_context.hpp"

namespace merritt::backend {

Result<Digest> sha256(std::span<const std::byte> bytes) {
  Digest digest{};
  uint32_t length = 0;
  const LibContext context = make_context();
  const Md md(context ? EVP_MD_fetch(context.get(), "SHA256", nullptr) : nullptr);
  if (!md || EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, md.get(), nullptr) != 1 ||
      length != digest.size()) {
    return Status(Code::kInternal, "OpenSSL could not compute a SHA-256 digest");
  }
  return digest;
}

Result<Digest> key_id_of(const PublicKey& key) { return sha256(std::as_bytes(std::span(key))); }

bool signature_is_good(std::span<const std::byte> payload, const Signature& signature, const PublicKey& key) {
  const LibContext context = make_context();
  if (!context) return false;
  const PKey public_key(EVP_PKEY_new_raw_public_key_ex(context.get(), "ED25519", nullptr, key.data(), key.size()));
  const MdContext verifier(EVP_MD_CTX_new());
  if (!public_key || !verifier) return false;
  if (EVP_DigestVerifyInit_ex(verifier.get(), nullptr, nullptr, context.get(), nullptr, public_key.get(), nullptr) !=
      1) {
    return false;
  }
  return EVP_DigestVerify(verifier.get(), signature.data(), signature.size(),
                          reinterpret_cast<const uint8_t*>(payload.data()), payload.size()) == 1;
}

}  // namespace merritt::backend
