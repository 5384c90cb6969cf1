// SPDX-License-Identifier: Apache-2.0
// OpenSSL without its process-wide habits, and owners for its objects. Threads: one context per thread that uses it.
#pragma once

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <memory>

namespace merritt::backend {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using LibContext = std::unique_ptr<OSSL_LIB_CTX, Freed<&OSSL_LIB_CTX_free>>;
using MdContext = std::unique_ptr<EVP_MD_CTX, Freed<&EVP_MD_CTX_free>>;
using Md = std::unique_ptr<EVP_MD, Freed<&EVP_MD_free>>;
using PKey = std::unique_ptr<EVP_PKEY, Freed<&EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Freed<&BIO_free_all>>;

// Null when OpenSSL cannot start.
inline LibContext make_context() {
  // First of all calls into the library: it must not register an exit handler nor read openssl.cnf.
  if (OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) != 1) return nullptr;
  return LibContext(OSSL_LIB_CTX_new());
}

}  // namespace merritt::backend
