// OpenSSL 1.1.1 or newer, which librabbitmq needs too. What its headers have as macros Swift cannot import.

#ifndef DELIVERY_OPENSSL_SHIM_H
#define DELIVERY_OPENSSL_SHIM_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/// Sends the server's name in the greeting (RFC 6066), and lets a write be repeated from another place in memory.
static inline void delivery_ssl_set_name(SSL *ssl, const char *name) {
    SSL_set_tlsext_host_name(ssl, name);
}

static inline void delivery_ssl_context_set_up(SSL_CTX *context) {
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
}

#endif
