/* core/image/tls.h
 *
 * TLS 1.2 and 1.3 towards a registry, over mbedtls. What is trusted is told once (struct tls_trust) and shared by all
 * connections to that host; a session belongs to one thread.
 *
 * What is checked beyond mbedtls's own verification: the name must be in subjectAltName (the common name does not count), and an
 * IP address must be there as an address.
 */
#ifndef CORACLE_CORE_IMAGE_TLS_H
#define CORACLE_CORE_IMAGE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define TLS_PEM_MAX (4 * 1024 * 1024)

/*
 * tls_global_init - once per process, before its first thread and while /dev/urandom can still be opened: TLS 1.3 works on state
 * of the library that is seeded there. Everything else takes its randomness from getrandom.
 */
NODISCARD int tls_global_init(struct err *err);

/* The roots of this machine, read before the file system is out of sight; parsed when first asked for. Thread: any. */
struct tls_roots;
NODISCARD struct tls_roots *
tls_roots_load(const char *file_env, const char *dirs_env,
               struct err *err); /* SSL_CERT_FILE, SSL_CERT_DIR, or NULL */
void tls_roots_free(struct tls_roots *roots);

struct tls_trust_args {
	struct tls_roots *roots;
	char *const *ca; /* PEM texts, beside the roots; NULL: none */
	const char *client_cert,
		*client_key; /* PEM texts; NULL: none; @client_key NULL: in @client_cert */
	bool skip_verify;
};

struct tls_trust;
/* Errors: INVALID_ARGUMENT for a text that is not what it should be. The texts are not needed afterwards. */
NODISCARD struct tls_trust *tls_trust_new(const struct tls_trust_args *args, struct err *err);
void tls_trust_free(struct tls_trust *trust);

struct tls;
/*
 * tls_open - handshake on the connected socket @fd, which stays the caller's.
 * Errors: UNAVAILABLE; sys is EPROTONOSUPPORT when the peer answers in plain HTTP, ETIMEDOUT, or 0.
 *         FAILED_PRECONDITION when the certificate is not to be trusted: sys is EKEYREJECTED, the text names it and why.
 */
NODISCARD struct tls *tls_open(struct tls_trust *trust, int fd, const char *host,
                               int64_t deadline_ns, struct err *err);
void tls_free(struct tls *tls); /* says goodbye if it can do so at once */

/* As net_recv and net_send; -EPROTO and -EBADMSG for what only TLS can get wrong. */
NODISCARD ssize_t tls_recv(struct tls *tls, void *data, size_t max, int64_t deadline_ns);
NODISCARD ssize_t tls_send(struct tls *tls, const void *data, size_t len, int64_t deadline_ns);

/* Does @name (of a certificate; may start with "*.") cover @host? For tests. */
bool tls_name_matches(const char *name, size_t name_len, const char *host);

DEFINE_CLEANUP_PTR(struct tls_trust, tls_trust_free);
DEFINE_CLEANUP_PTR(struct tls_roots, tls_roots_free);

#endif
