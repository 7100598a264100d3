/* core/image/tls.c */
#include "core/image/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <mbedtls/error.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <psa/crypto.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/image/dial.h"

int tls_global_init(struct err *err)
{
	psa_status_t status = psa_crypto_init();

	return status == PSA_SUCCESS
	               ? 0
	               : err_set(err, CODE_INTERNAL, "start cryptography: error %d", (int)status);
}

static int random_bytes(void *arg, unsigned char *data, size_t len)
{
	(void)arg;
	rand_bytes(data, len);
	return 0;
}

static int err_tls(struct err *err, enum code code, int rc, const char *what)
{
	char text[160];

	mbedtls_strerror(rc, text, sizeof(text));
	return err_set(err, code, "%s: %s", what, text);
}

/* --- roots */

struct tls_roots {
	pthread_mutex_t lock;
	struct buf text; /* PEM; empty once parsed */
	bool parsed;
	mbedtls_x509_crt chain;
};

static const char *const root_files[] = {
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
};
#define ROOT_DIRS "/etc/ssl/certs:/etc/pki/tls/certs"

/* What cannot be read is left out: one bad file must not cut the node off from every registry. */
static bool add_file(struct tls_roots *roots, int dirfd, const char *path)
{
	cleanup_free char *text = NULL;
	size_t len;

	if (fsx_read(dirfd, path, TLS_PEM_MAX, &text, &len) < 0)
		return false;
	return buf_add(&roots->text, text, len) == 0 && buf_add_str(&roots->text, "\n") == 0;
}

static void add_dir(struct tls_roots *roots, const char *path)
{
	cleanup(strv_free) char **names = NULL;
	cleanup_close int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd < 0 || fsx_list(dirfd, ".", &names) < 0)
		return;
	for (char **name = names; *name; name++)
		if (ends_with(*name, ".pem") || ends_with(*name, ".crt"))
			ignore(add_file(roots, dirfd, *name)); /* see there */
}

static void add_dirs(struct tls_roots *roots, struct str list)
{
	struct str dir;
	bool more;

	do {
		cleanup_free char *path = NULL;

		more = str_cut(list, ':', &dir, &list);
		path = str_dup(dir);
		if (*path)
			add_dir(roots, path);
	} while (more);
}

struct tls_roots *tls_roots_load(const char *file_env, const char *dirs_env, struct err *err)
{
	struct tls_roots *roots = xcalloc(1, sizeof(*roots));

	pthread_mutex_init(&roots->lock, NULL);
	buf_init(&roots->text, 4 * TLS_PEM_MAX);
	mbedtls_x509_crt_init(&roots->chain);
	if (file_env && *file_env && !add_file(roots, AT_FDCWD, file_env)) {
		err_set(err, CODE_INVALID_ARGUMENT, "SSL_CERT_FILE: %s cannot be read", file_env);
		tls_roots_free(roots);
		return NULL;
	}
	if (dirs_env && *dirs_env)
		add_dirs(roots, str_of(dirs_env));
	if ((file_env && *file_env) || (dirs_env && *dirs_env))
		return roots;
	for (size_t i = 0; i < ARRAY_SIZE(root_files); i++)
		if (add_file(roots, AT_FDCWD, root_files[i]))
			return roots;
	add_dirs(roots, str_of(ROOT_DIRS));
	return roots;
}

void tls_roots_free(struct tls_roots *roots)
{
	if (!roots)
		return;
	mbedtls_x509_crt_free(&roots->chain);
	buf_release(&roots->text);
	pthread_mutex_destroy(&roots->lock);
	free(roots);
}

/* NULL when there are none at all. */
static mbedtls_x509_crt *roots_chain(struct tls_roots *roots)
{
	pthread_mutex_lock(&roots->lock);
	if (!roots->parsed && roots->text.len)
		/* damaged ones and those of unknown kinds are skipped */
		ignore(mbedtls_x509_crt_parse(&roots->chain, (unsigned char *)roots->text.data,
		                              roots->text.len + 1));
	roots->parsed = true;
	buf_release(&roots->text);
	pthread_mutex_unlock(&roots->lock);
	return roots->chain.version ? &roots->chain : NULL;
}

/* --- trust */

struct tls_trust {
	pthread_mutex_t lock;
	bool ready;    /* roots are attached */
	bool has_root; /* at all */
	bool skip_verify;
	struct tls_roots *roots;
	mbedtls_ssl_config config;
	mbedtls_x509_crt ca; /* our own, with the roots hooked on behind */
	mbedtls_x509_crt *ca_last;
	mbedtls_x509_crt cert;
	mbedtls_pk_context key;
};

/* AES first: with its instructions it is three times as fast as the library's own first choice. */
static const int ciphers[] = {
	MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
	MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
	MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	0,
};

static int add_ca(struct tls_trust *trust, const char *pem, struct err *err)
{
	int rc = mbedtls_x509_crt_parse(&trust->ca, (const unsigned char *)pem, strlen(pem) + 1);

	if (rc < 0)
		return err_tls(err, CODE_INVALID_ARGUMENT, rc, "CA certificate");
	if (rc > 0)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "CA certificates: %d of them cannot be read", rc);
	return 0;
}

static int set_client(struct tls_trust *trust, const struct tls_trust_args *args, struct err *err)
{
	const char *key = args->client_key ? args->client_key : args->client_cert;
	int rc = mbedtls_x509_crt_parse(&trust->cert, (const unsigned char *)args->client_cert,
	                                strlen(args->client_cert) + 1);

	if (rc != 0)
		return err_tls(err, CODE_INVALID_ARGUMENT, rc, "client certificate");
	rc = mbedtls_pk_parse_key(&trust->key, (const unsigned char *)key, strlen(key) + 1, NULL, 0,
	                          random_bytes, NULL);
	if (rc != 0)
		return err_tls(err, CODE_INVALID_ARGUMENT, rc, "client key");
	rc = mbedtls_pk_check_pair(&trust->cert.pk, &trust->key, random_bytes, NULL);
	if (rc != 0)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "client key does not belong to the client certificate");
	rc = mbedtls_ssl_conf_own_cert(&trust->config, &trust->cert, &trust->key);
	return rc != 0 ? err_tls(err, CODE_INTERNAL, rc, "client certificate") : 0;
}

static int trust_setup(struct tls_trust *trust, const struct tls_trust_args *args, struct err *err)
{
	static const char *const alpn[] = { "http/1.1", NULL };
	int rc = mbedtls_ssl_config_defaults(&trust->config, MBEDTLS_SSL_IS_CLIENT,
	                                     MBEDTLS_SSL_TRANSPORT_STREAM,
	                                     MBEDTLS_SSL_PRESET_DEFAULT);

	if (rc == 0)
		rc = mbedtls_ssl_conf_alpn_protocols(&trust->config,
		                                     (const char **)(uintptr_t)alpn);
	if (rc != 0)
		return err_tls(err, CODE_INTERNAL, rc, "TLS configuration");
	mbedtls_ssl_conf_rng(&trust->config, random_bytes, NULL);
	mbedtls_ssl_conf_min_tls_version(&trust->config, MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_max_tls_version(&trust->config, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_ciphersuites(&trust->config, ciphers);
	/* Every connection is verified afresh, and tickets would only cost memory. */
	mbedtls_ssl_conf_session_tickets(&trust->config, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
	mbedtls_ssl_conf_authmode(&trust->config, args->skip_verify ? MBEDTLS_SSL_VERIFY_NONE
	                                                            : MBEDTLS_SSL_VERIFY_REQUIRED);
	for (char *const *pem = args->ca; pem && *pem; pem++)
		if (add_ca(trust, *pem, err) < 0)
			return -1;
	return args->client_cert ? set_client(trust, args, err) : 0;
}

struct tls_trust *tls_trust_new(const struct tls_trust_args *args, struct err *err)
{
	struct tls_trust *trust = xcalloc(1, sizeof(*trust));

	pthread_mutex_init(&trust->lock, NULL);
	trust->roots = args->roots;
	trust->skip_verify = args->skip_verify;
	mbedtls_ssl_config_init(&trust->config);
	mbedtls_x509_crt_init(&trust->ca);
	mbedtls_x509_crt_init(&trust->cert);
	mbedtls_pk_init(&trust->key);
	if (trust_setup(trust, args, err) < 0) {
		tls_trust_free(trust);
		return NULL;
	}
	return trust;
}

void tls_trust_free(struct tls_trust *trust)
{
	if (!trust)
		return;
	if (trust->ca_last)
		trust->ca_last->next = NULL; /* the roots are not ours */
	mbedtls_x509_crt_free(&trust->ca);
	mbedtls_x509_crt_free(&trust->cert);
	mbedtls_pk_free(&trust->key);
	mbedtls_ssl_config_free(&trust->config);
	pthread_mutex_destroy(&trust->lock);
	free(trust);
}

/* The roots cost a few milliseconds and most of a megabyte: not before somebody connects. */
static void trust_complete(struct tls_trust *trust)
{
	pthread_mutex_lock(&trust->lock);
	if (!trust->ready && !trust->skip_verify) {
		mbedtls_x509_crt *roots = trust->roots ? roots_chain(trust->roots) : NULL;
		mbedtls_x509_crt *chain = roots;

		if (trust->ca.version) {
			chain = &trust->ca;
			for (trust->ca_last = chain; trust->ca_last->next;)
				trust->ca_last = trust->ca_last->next;
			trust->ca_last->next = roots;
		}
		trust->has_root = chain;
		mbedtls_ssl_conf_ca_chain(&trust->config, chain, NULL);
	}
	trust->ready = true;
	pthread_mutex_unlock(&trust->lock);
}

/* --- session */

struct tls {
	mbedtls_ssl_context ssl;
	struct tls_trust *trust;
	int fd;
	int64_t deadline_ns;
	int io_error; /* errno of the socket */
	const char *host;
	uint8_t address[16];
	size_t address_len; /* @host is an IP address */
	uint8_t first[5];   /* what the peer said first */
	size_t nfirst;
	uint32_t flags; /* what verification found wrong, and with which certificate */
	char culprit[400];
};

bool tls_name_matches(const char *name, size_t name_len, const char *host)
{
	size_t host_len = strlen(host);
	const char *dot;

	if (host_len && host[host_len - 1] == '.')
		host_len--;
	if (name_len > 2 && name[0] == '*' && name[1] == '.') {
		dot = memchr(host, '.', host_len);
		if (!dot || dot == host || !memchr(name + 2, '.', name_len - 2))
			return false;
		host_len -= (size_t)(dot - host);
		host = dot;
		name++;
		name_len--;
	}
	return name_len == host_len && !memchr(name, '*', name_len) &&
	       strncasecmp(name, host, name_len) == 0;
}

static bool certificate_names_us(const struct tls *tls, const mbedtls_x509_crt *crt)
{
	for (const mbedtls_x509_sequence *san = &crt->subject_alt_names; san; san = san->next) {
		int type = san->buf.tag & 0x1f;

		if (type == MBEDTLS_X509_SAN_IP_ADDRESS && tls->address_len &&
		    san->buf.len == tls->address_len &&
		    memcmp(san->buf.p, tls->address, tls->address_len) == 0)
			return true;
		if (type == MBEDTLS_X509_SAN_DNS_NAME && !tls->address_len &&
		    tls_name_matches((const char *)san->buf.p, san->buf.len, tls->host))
			return true;
	}
	return false;
}

static void describe(struct tls *tls, const mbedtls_x509_crt *crt)
{
	char subject[128] = "", issuer[128] = "";

	ignore(mbedtls_x509_dn_gets(subject, sizeof(subject), &crt->subject)); /* cut: fine */
	ignore(mbedtls_x509_dn_gets(issuer, sizeof(issuer), &crt->issuer));
	ignore(str_format(tls->culprit, sizeof(tls->culprit),
	                  "certificate \"%.60s\" of issuer \"%.60s\", valid %04d-%02d-%02d to "
	                  "%04d-%02d-%02d",
	                  subject, issuer, crt->valid_from.year, crt->valid_from.mon,
	                  crt->valid_from.day, crt->valid_to.year, crt->valid_to.mon,
	                  crt->valid_to.day)); /* fits */
}

static int on_certificate(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	struct tls *tls = arg;

	if (depth == 0 && !certificate_names_us(tls, crt))
		*flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
	if (*flags && (!tls->flags || depth == 0))
		describe(tls, crt);
	tls->flags |= *flags;
	return 0;
}

static int on_send(void *arg, const unsigned char *data, size_t len)
{
	struct tls *tls = arg;
	ssize_t n = net_send(tls->fd, data, len, tls->deadline_ns);

	if (n >= 0)
		return (int)n;
	tls->io_error = (int)-n;
	return MBEDTLS_ERR_SSL_TIMEOUT;
}

static int on_recv(void *arg, unsigned char *data, size_t max)
{
	struct tls *tls = arg;
	ssize_t n = net_recv(tls->fd, data, max, tls->deadline_ns);

	if (n < 0) {
		tls->io_error = (int)-n;
		return MBEDTLS_ERR_SSL_TIMEOUT;
	}
	if (tls->nfirst < sizeof(tls->first)) {
		size_t more = MIN((size_t)n, sizeof(tls->first) - tls->nfirst);

		memcpy(tls->first + tls->nfirst, data, more);
		tls->nfirst += more;
	}
	return (int)n;
}

static const char *why(uint32_t flags)
{
	if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH)
		return "does not name this host";
	if (flags & (MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE))
		return "is not valid at this time (is the clock right?)";
	if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
		return "is signed by nobody that this host trusts";
	if (flags & (MBEDTLS_X509_BADCERT_BAD_MD | MBEDTLS_X509_BADCERT_BAD_PK |
	             MBEDTLS_X509_BADCERT_BAD_KEY))
		return "uses an algorithm or key that is too weak";
	return "is not made for this use";
}

static int handshake_failed(struct tls *tls, int rc, struct err *err)
{
	if (tls->nfirst == sizeof(tls->first) && memcmp(tls->first, "HTTP/", 5) == 0) {
		err_set(err, CODE_UNAVAILABLE, "TLS: the server speaks plain HTTP");
		err->sys = EPROTONOSUPPORT;
	} else if (tls->flags && !tls->trust->skip_verify) {
		err_set(err, CODE_FAILED_PRECONDITION, "TLS: %s %s%s", tls->culprit,
		        why(tls->flags),
		        tls->trust->has_root ? "" : ": there are no root certificates");
		err->sys = EKEYREJECTED;
	} else if (tls->io_error) {
		err_set(err, CODE_UNAVAILABLE, "TLS handshake: %s", errno_name(tls->io_error));
		err->sys = tls->io_error;
	} else if (rc == MBEDTLS_ERR_SSL_CONN_EOF) {
		err_set(err, CODE_UNAVAILABLE, "TLS handshake: connection closed");
		err->sys = ECONNRESET;
	} else {
		err_tls(err, CODE_UNAVAILABLE, rc, "TLS handshake");
	}
	return -1;
}

static int set_name(struct tls *tls)
{
	if (inet_pton(AF_INET, tls->host, tls->address) == 1)
		tls->address_len = 4;
	else if (inet_pton(AF_INET6, tls->host, tls->address) == 1)
		tls->address_len = 16;
	/* Addresses may not be sent as server name; on_certificate() checks them. */
	return mbedtls_ssl_set_hostname(&tls->ssl, tls->address_len ? NULL : tls->host);
}

struct tls *tls_open(struct tls_trust *trust, int fd, const char *host, int64_t deadline_ns,
                     struct err *err)
{
	struct tls *tls = xcalloc(1, sizeof(*tls));
	int rc;

	trust_complete(trust);
	tls->trust = trust;
	tls->fd = fd;
	tls->host = host;
	tls->deadline_ns = deadline_ns;
	mbedtls_ssl_init(&tls->ssl);
	rc = mbedtls_ssl_setup(&tls->ssl, &trust->config);
	if (rc == 0)
		rc = set_name(tls);
	if (rc == 0) {
		mbedtls_ssl_set_verify(&tls->ssl, on_certificate, tls);
		mbedtls_ssl_set_bio(&tls->ssl, tls, on_send, on_recv, NULL);
		rc = mbedtls_ssl_handshake(&tls->ssl);
	}
	tls->host = NULL; /* was borrowed */
	if (rc == 0)
		return tls;
	handshake_failed(tls, rc, err);
	tls->fd = -1;
	tls_free(tls);
	return NULL;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	tls->deadline_ns = 0;
	if (tls->fd >= 0)
		ignore(mbedtls_ssl_close_notify(&tls->ssl)); /* a courtesy */
	mbedtls_ssl_free(&tls->ssl);
	free(tls);
}

static ssize_t result(struct tls *tls, int rc)
{
	if (rc == MBEDTLS_ERR_SSL_TIMEOUT)
		return -tls->io_error;
	if (rc == MBEDTLS_ERR_SSL_CONN_EOF)
		return -ECONNRESET; /* without goodbye: somebody may have cut it */
	return rc == MBEDTLS_ERR_SSL_INVALID_MAC ? -EBADMSG : -EPROTO;
}

ssize_t tls_recv(struct tls *tls, void *data, size_t max, int64_t deadline_ns)
{
	int rc;

	tls->deadline_ns = deadline_ns;
	do {
		rc = mbedtls_ssl_read(&tls->ssl, data, max);
	} while (rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE ||
	         rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET);
	if (rc >= 0)
		return rc;
	return rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ? 0 : result(tls, rc);
}

ssize_t tls_send(struct tls *tls, const void *data, size_t len, int64_t deadline_ns)
{
	size_t done = 0;

	tls->deadline_ns = deadline_ns;
	while (done < len) {
		int rc = mbedtls_ssl_write(&tls->ssl, (const unsigned char *)data + done,
		                           len - done);

		if (rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE)
			continue;
		if (rc < 0)
			return result(tls, rc);
		done += (size_t)rc;
	}
	return (ssize_t)len;
}
