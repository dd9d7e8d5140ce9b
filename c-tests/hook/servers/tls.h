// Contexts of OpenSSL: servers have a certificate, which is made here, and clients trust it.
#ifndef TLS_H
#define TLS_H

#include "../hooked.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>

static SSL_CTX *for_servers, *for_clients;

static inline void make_contexts(void) {
  EVP_PKEY* key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
  X509* certificate = X509_new();
  CHECK(key != NULL && certificate != NULL);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char*)"localhost", -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  CHECK(X509_sign(certificate, key, EVP_sha256()) > 0);
  for_servers = SSL_CTX_new(TLS_server_method());
  for_clients = SSL_CTX_new(TLS_client_method());
  CHECK_INT(SSL_CTX_use_certificate(for_servers, certificate), ==, 1);
  CHECK_INT(SSL_CTX_use_PrivateKey(for_servers, key), ==, 1);
  X509_STORE_add_cert(SSL_CTX_get_cert_store(for_clients), certificate);
  SSL_CTX_set_verify(for_clients, SSL_VERIFY_PEER, NULL);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

static inline void free_contexts(void) {
  SSL_CTX_free(for_servers);
  SSL_CTX_free(for_clients);
}

#endif  // TLS_H
