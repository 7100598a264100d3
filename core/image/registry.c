/* core/image/registry.c */
#include "core/image/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/image/blob.h"
#include "core/image/inflate.h"
#include "core/image/manifest.h"
#include "core/image/mirrors.h"
#include "core/image/proxy.h"
#include "core/image/pull.h"
#include "core/image/ref.h"
#include "core/image/registry_host.h"

#define PARALLEL          4 /* layers at once */
#define ROUNDS            5 /* of asking all hosts; the pauses between them add up to half a minute */
#define ROUNDS_DEFINITE   2 /* when nobody is there at all */
#define PAUSE_FIRST_MS    2000
#define PAUSE_DEFINITE_MS 500
#define STALLS_MAX        5 /* times that a transfer may break without a byte in between */
#define USER_AGENT        "coracle"
#define TEXT_MAX          (1024 * 1024) /* of the request's member */

#define ACCEPT_MANIFEST                                                                            \
	MEDIA_OCI_INDEX ", " MEDIA_OCI_MANIFEST ", " MEDIA_DOCKER_LIST ", " MEDIA_DOCKER_MANIFEST  \
			", */*"

struct registry {
	struct ref ref;
	char *name; /* canonical */
	char *user_agent;
	struct mirrors mirrors;
	struct proxies proxies;
	struct auth_credentials credentials;
	struct tls_roots *roots;
	struct http_client *client;
	struct registry_host *hosts; /* as mirrors.items */
	struct pull *pull;           /* from registry_run on */
};

/* --- before confinement */

static const char *environment(void *arg, const char *name)
{
	(void)arg;
	return getenv(name);
}

static int read_request(struct registry *registry, const char *text, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	const char *domain = registry->ref.domain;
	yyjson_val *root = NULL;

	if (text) {
		doc = json_parse(text, strlen(text), TEXT_MAX, "registry", err);
		if (!doc)
			return -1;
		root = yyjson_doc_get_root(doc);
	}
	registry->user_agent = xstrdup(json_str(root, "user_agent", USER_AGENT));
	if (auth_credentials_parse(json_obj(root, "auth"), domain, &registry->credentials, err) < 0)
		return -1;
	return mirrors_load(json_str(root, "hosts_dir", NULL), domain, &registry->mirrors, err);
}

static int open_hosts(struct registry *registry, struct err *err)
{
	registry->hosts = xcalloc(registry->mirrors.count + 1, sizeof(*registry->hosts));
	for (size_t i = 0; i < registry->mirrors.count; i++) {
		const struct mirror *mirror = &registry->mirrors.items[i];

		if (registry_host_init(
			    &registry->hosts[i],
			    &(struct registry_host_args){
				    .mirror = mirror,
				    .request = &registry->credentials,
				    .roots = registry->roots,
				    .client = registry->client,
				    .user_agent = registry->user_agent,
				    .repository = registry->ref.path,
				    .namespace = mirror->upstream ? NULL : registry->ref.domain },
			    err) < 0)
			return -1;
	}
	return 0;
}

struct registry *registry_new(const char *name, const char *text, struct err *err)
{
	cleanup(registry_free) struct registry *registry = xcalloc(1, sizeof(*registry));

	registry->name = xstrdup(name);
	if (ref_parse(str_of(name), &registry->ref, err) < 0 ||
	    read_request(registry, text, err) < 0 ||
	    proxies_init(&registry->proxies, environment, NULL, err) < 0 ||
	    tls_global_init(err) < 0)
		return NULL;
	registry->roots = tls_roots_load(getenv("SSL_CERT_FILE"), getenv("SSL_CERT_DIR"), err);
	if (!registry->roots)
		return NULL;
	registry->client = http_client_new(&registry->proxies);
	return open_hosts(registry, err) < 0 ? NULL : take_ptr(registry);
}

void registry_free(struct registry *registry)
{
	if (!registry)
		return;
	http_client_free(registry->client); /* its connections use what comes next */
	for (size_t i = 0; registry->hosts && i < registry->mirrors.count; i++)
		registry_host_release(&registry->hosts[i]);
	free(registry->hosts);
	tls_roots_free(registry->roots);
	auth_credentials_release(&registry->credentials);
	proxies_release(&registry->proxies);
	mirrors_release(&registry->mirrors);
	ref_release(&registry->ref);
	free(registry->user_agent);
	free(registry->name);
	free(registry);
}

/* --- asking all hosts */

struct fetch {
	struct registry_ask ask;
	unsigned needs;    /* MIRROR_* */
	uint32_t excluded; /* hosts that have shown to be of no use for it, a bit each */
	size_t first;      /* host to begin with */
	size_t from;       /* host that the answer is from */
	struct err err;    /* the most telling failure so far */
	int weight;        /* of err */
};
_Static_assert(MIRRORS_MAX <= 32, "a bit for each host");

/* A clear word from one host says more than silence from another. */
static int weight_of(const struct err *err)
{
	return err->code == CODE_UNAVAILABLE ? 1 : err->code == CODE_NOT_FOUND ? 2 : 3;
}

static void note_failure(struct fetch *fetch, const struct err *err)
{
	int weight = weight_of(err);

	if (weight <= fetch->weight)
		return;
	fetch->weight = weight;
	fetch->err = *err;
}

static void exclude(struct fetch *fetch, size_t host, const struct err *err)
{
	fetch->excluded |= UINT32_C(1) << host;
	note_failure(fetch, err);
}

/* Sleep, and let the daemon know that it is on purpose. */
static void pause_for(struct registry *registry, int64_t ms)
{
	while (ms > 0) {
		int64_t step = MIN(ms, INT64_C(1000));
		struct timespec ts = { .tv_sec = step / 1000, .tv_nsec = step % 1000 * NS_PER_MS };

		pull_advance(registry->pull, 0);
		nanosleep(&ts, NULL);
		ms -= step;
	}
}

/* @ms plus or minus half of it, so that many nodes do not come back together. */
static int64_t jitter(int64_t ms)
{
	return ms / 2 + (int64_t)(rand_u64() % (uint64_t)(ms + 1));
}

struct round {
	bool again;    /* somebody may answer next time */
	bool definite; /* all of those said: nobody there */
	int64_t after_ms;
};

/* 0: *ret holds an answer; -1: nobody had one, fetch->err says why. */
static int ask_round(struct registry *registry, struct fetch *fetch, struct http_response *ret,
                     struct round *round)
{
	*round = (struct round){ .definite = true };
	for (size_t n = 0; n < registry->mirrors.count; n++) {
		size_t i = (fetch->first + n) % registry->mirrors.count;
		struct registry_refusal refusal;
		struct err err = { 0 };

		if (fetch->excluded & UINT32_C(1) << i ||
		    (registry->mirrors.items[i].capabilities & fetch->needs) != fetch->needs)
			continue;
		if (registry_host_get(&registry->hosts[i], &fetch->ask, ret, &refusal, &err) == 0) {
			fetch->from = i;
			return 0;
		}
		if (!refusal.again) {
			exclude(fetch, i, &err);
			continue;
		}
		note_failure(fetch, &err);
		round->again = true;
		round->definite = round->definite && refusal.definite;
		round->after_ms = MAX(round->after_ms, refusal.after_ms);
	}
	return -1;
}

static int ask_hosts(struct registry *registry, struct fetch *fetch, struct http_response *ret,
                     struct err *err)
{
	int64_t pause_ms = PAUSE_FIRST_MS;
	struct round round;

	for (int n = 1;; n++) {
		if (ask_round(registry, fetch, ret, &round) == 0)
			return 0;
		if (!round.again || n >= (round.definite ? ROUNDS_DEFINITE : ROUNDS))
			break;
		pause_for(registry, round.after_ms   ? round.after_ms
		                    : round.definite ? PAUSE_DEFINITE_MS
		                                     : jitter(pause_ms));
		pause_ms *= 2;
	}
	if (!fetch->weight)
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "none of the configured hosts may be asked for %s",
		               fetch->needs & MIRROR_RESOLVE ? "tags" : "content");
	*err = fetch->err;
	return -1;
}

/* --- documents */

struct text {
	char *data;
	size_t len;
	char *media_type; /* what the server calls it */
	char digest[DIGEST_TEXT_MAX];
};

static void text_release(struct text *text)
{
	free(text->data);
	free(text->media_type);
	*text = (struct text){ 0 };
}
DEFINE_CLEANUP(struct text, text_release);

static int collect(void *arg, const uint8_t *data, size_t len, struct err *err)
{
	struct buf *out = arg;

	return buf_add(out, data, len) < 0 ? buf_err_full(out, "document", err) : 0;
}

/* Some servers compress although they were asked not to. */
static int undo_encoding(const struct http_head *head, struct text *text, struct err *err)
{
	struct str encoding = http_head_field(head, "Content-Encoding");
	cleanup(inflate_free) struct inflate *inflate = NULL;
	cleanup(buf_release) struct buf plain = { 0 };

	if (encoding.len == 0 || str_eq_c(encoding, "identity"))
		return 0;
	if (!str_eq_c(encoding, "gzip") && !str_eq_c(encoding, "zstd"))
		return err_set(err, CODE_DATA_LOSS, "Content-Encoding \"%.20s\" was not asked for",
		               encoding.p);
	buf_init(&plain, MANIFEST_MAX_BYTES);
	inflate = inflate_new(collect, &plain);
	if (inflate_feed(inflate, (const uint8_t *)text->data, text->len, err) < 0 ||
	    inflate_finish(inflate, err) < 0)
		return -1;
	free(text->data);
	text->len = plain.len;
	text->data = buf_take_str(&plain);
	return 0;
}

/* @expected NULL: a tag; then the digest is what the server says, if it does and it is true, else sha256. */
static int verify_text(const struct http_head *head, const struct descriptor *expected,
                       const char *what, struct text *text, struct err *err)
{
	struct str said = http_head_field(head, "Docker-Content-Digest");
	int64_t size = expected && expected->size > 0 ? expected->size : -1;

	if (expected)
		ignore(str_copy(text->digest, sizeof(text->digest), expected->digest)); /* fits */
	else if (!digest_is_valid(said) ||
	         str_format(text->digest, sizeof(text->digest), STR_FMT, STR_ARG(said)) < 0)
		digest_sha256_text(text->data, text->len, text->digest);
	return blob_verify(text->data, text->len, text->digest, size, what, err);
}

static char *media_type_of(const struct http_head *head)
{
	struct str type, rest;

	ignore(str_cut(http_head_field(head, "Content-Type"), ';', &type,
	               &rest)); /* no parameters: all of it */
	return str_dup(str_trim(type));
}

static int receive_text(struct registry *registry, struct fetch *fetch,
                        const struct descriptor *expected, const char *what, struct text *ret,
                        struct err *err)
{
	cleanup(http_response_release) struct http_response response = { 0 };
	cleanup(text_release) struct text text = { 0 };

	if (ask_hosts(registry, fetch, &response, err) < 0)
		return -1;
	if (http_read_all(&response, MANIFEST_MAX_BYTES, &text.data, &text.len, err) < 0 ||
	    undo_encoding(&response.head, &text, err) < 0 ||
	    verify_text(&response.head, expected, what, &text, err) < 0) {
		err_wrap(err, "%s", registry->mirrors.items[fetch->from].host);
		return 1; /* this host's fault */
	}
	text.media_type = media_type_of(&response.head);
	*ret = text;
	text = (struct text){ 0 };
	return 0;
}

/* A document, verified; one that a host damages or breaks off is asked of the next. */
static int fetch_text(struct registry *registry, const char *kind, const char *object,
                      unsigned needs, const char *accept, const struct descriptor *expected,
                      struct text *ret, struct err *err)
{
	cleanup_free char *path = xasprintf("/%s/%s/%s", registry->ref.path, kind, object);
	struct fetch fetch = { .ask = { .path = path, .accept = accept }, .needs = needs };
	int breaks = 0, rc;

	while ((rc = receive_text(registry, &fetch, expected, object, ret, err)) > 0) {
		if (err->code == CODE_UNAVAILABLE && ++breaks < STALLS_MAX) {
			note_failure(&fetch, err);
			fetch.first = fetch.from + 1;
		} else {
			exclude(&fetch, fetch.from, err);
		}
		err_clear(err);
	}
	return rc;
}

/* --- layers */

struct blob {
	struct registry *registry;
	const struct descriptor *layer;
	char *path;
	struct fetch fetch;
	struct http_response response;
	bool open;
	uint64_t offset; /* bytes handed out */
	uint64_t skip;   /* of the answer: had already */
	unsigned stalls;
};

/* Is this answer the rest of the blob? */
static int check_answer(struct blob *blob, struct err *err)
{
	const struct http_head *head = &blob->response.head;
	struct str encoding = http_head_field(head, "Content-Encoding");
	struct str range = http_head_field(head, "Content-Range");
	uint64_t start = 0, size = (uint64_t)blob->layer->size;
	int64_t total = -1;

	if (encoding.len && !str_eq_c(encoding, "identity"))
		return err_set(err, CODE_DATA_LOSS, "Content-Encoding \"%.20s\" was not asked for",
		               encoding.p);
	if (range.len && http_content_range(range, &start, &total) < 0)
		return err_set(err, CODE_DATA_LOSS, "bad Content-Range");
	if (!range.len && head->status == 206)
		return err_set(err, CODE_DATA_LOSS, "status 206 without Content-Range");
	if (start > blob->offset || (total >= 0 && (uint64_t)total != size) ||
	    (head->length >= 0 && start + (uint64_t)head->length != size))
		return err_set(err, CODE_DATA_LOSS,
		               "offers bytes %llu to %lld where %llu to %llu are expected",
		               (unsigned long long)start,
		               (long long)(head->length < 0 ? -1 : (int64_t)start + head->length),
		               (unsigned long long)blob->offset, (unsigned long long)size);
	blob->skip = blob->offset - start;
	return 0;
}

static void blob_close(struct blob *blob)
{
	http_response_release(&blob->response);
	blob->response = (struct http_response){ 0 };
	blob->open = false;
}

static int blob_open(struct blob *blob, struct err *err)
{
	for (;;) {
		blob->fetch.ask.offset = blob->offset;
		if (ask_hosts(blob->registry, &blob->fetch, &blob->response, err) < 0)
			return -1;
		blob->fetch.first = blob->fetch.from;
		blob->open = true;
		if (check_answer(blob, err) == 0)
			return 0;
		blob_close(blob);
		err_wrap(err, "%s", blob->registry->mirrors.items[blob->fetch.from].host);
		exclude(&blob->fetch, blob->fetch.from, err);
		err_clear(err);
	}
}

/* The transfer broke. From the same host if it had got anywhere, else from the next one. */
static int blob_broke(struct blob *blob, struct err *err)
{
	blob_close(blob);
	if (err->code != CODE_UNAVAILABLE || ++blob->stalls >= STALLS_MAX)
		return -1;
	if (blob->stalls > 1)
		blob->fetch.first = blob->fetch.from + 1;
	pause_for(blob->registry, jitter(INT64_C(250) << blob->stalls));
	err_clear(err);
	return 0;
}

static int blob_read(void *arg, void *data, size_t max, size_t *ret_len, struct err *err)
{
	struct blob *blob = arg;
	uint64_t size = (uint64_t)blob->layer->size;
	size_t n, dropped;

	for (;;) {
		if (!blob->open && blob_open(blob, err) < 0)
			return -1;
		if (http_read(&blob->response, data, max, &n, err) < 0) {
			if (blob_broke(blob, err) < 0)
				return -1;
			continue;
		}
		if (n == 0 && blob->offset < size) {
			err_set(err, CODE_UNAVAILABLE, "%s ends the transfer early",
			        blob->registry->mirrors.items[blob->fetch.from].host);
			if (blob_broke(blob, err) < 0)
				return -1;
			continue;
		}
		dropped = (size_t)MIN(blob->skip, (uint64_t)n);
		blob->skip -= dropped;
		n -= dropped;
		if (n == 0 && dropped)
			continue;
		memmove(data, (char *)data + dropped, n);
		blob->offset += n;
		blob->stalls = 0;
		*ret_len = n;
		return 0;
	}
}

static int open_layer(void *arg, size_t index, const struct descriptor *layer,
                      struct pull_blob *ret, struct err *err)
{
	struct registry *registry = arg;
	struct blob *blob = xcalloc(1, sizeof(*blob));

	(void)index;
	blob->registry = registry;
	blob->layer = layer;
	blob->path = xasprintf("/%s/blobs/%s", registry->ref.path, layer->digest);
	blob->fetch = (struct fetch){ .ask = { .path = blob->path, .accept = "*/*" },
		                      .needs = MIRROR_PULL };
	if (blob_open(blob, err) < 0) {
		free(blob->path);
		free(blob);
		return -1;
	}
	*ret = (struct pull_blob){ .read = blob_read, .arg = blob };
	return 0;
}

static void close_layer(void *arg, struct pull_blob *pull_blob)
{
	struct blob *blob = pull_blob->arg;

	(void)arg;
	blob_close(blob);
	free(blob->path);
	free(blob);
}

/* --- the image */

/* From the name down through indexes to the manifest that suits this host. */
static int resolve(struct registry *registry, struct text *ret, struct document *ret_document,
                   char top_digest[DIGEST_TEXT_MAX], uint64_t *ret_index_bytes, struct err *err)
{
	struct descriptor named = { .digest = registry->ref.digest };
	const struct descriptor *expected = named.digest ? &named : NULL;
	cleanup(descriptor_release) struct descriptor at = { 0 };

	*ret_index_bytes = 0;
	for (int depth = 0; depth <= INDEX_DEPTH_MAX; depth++) {
		cleanup(document_release) struct document document = { 0 };
		cleanup(text_release) struct text text = { 0 };
		const struct descriptor *next;

		/* A tag is resolved by fetching it: one round trip less than asking for its digest first. */
		if (fetch_text(registry, "manifests",
		               expected ? expected->digest : registry->ref.tag,
		               expected ? MIRROR_PULL : MIRROR_ALL, ACCEPT_MANIFEST, expected,
		               &text, err) < 0)
			return -1;
		if (document_parse(text.data, text.len, text.media_type, text.digest, &document,
		                   err) < 0)
			return -1;
		if (depth == 0)
			memcpy(top_digest, text.digest, sizeof(text.digest));
		if (document.kind == DOCUMENT_MANIFEST) {
			*ret_document = document;
			document = (struct document){ 0 };
			*ret = text;
			text = (struct text){ 0 };
			return 0;
		}
		*ret_index_bytes += text.len;
		if (index_choose(&document, pull_platform(registry->pull), &next, err) < 0)
			return err_wrap(err, "%s", registry->name);
		free(at.digest);
		at.digest = xstrdup(next->digest);
		at.size = next->size;
		expected = &at;
	}
	return err_set(err, CODE_INVALID_ARGUMENT, "%s: indexes nested deeper than %d",
	               registry->name, INDEX_DEPTH_MAX);
}

static int pull_all(struct registry *registry, struct err *err)
{
	cleanup(document_release) struct document document = { 0 };
	cleanup(text_release) struct text manifest = { 0 };
	cleanup(text_release) struct text config = { 0 };
	cleanup_free char *repository = ref_name(&registry->ref);
	cleanup_free char *pinned = NULL;
	char top_digest[DIGEST_TEXT_MAX];
	char *names[2] = { NULL }, *digests[2] = { NULL };
	uint64_t index_bytes;

	if (resolve(registry, &manifest, &document, top_digest, &index_bytes, err) < 0 ||
	    fetch_text(registry, "blobs", document.config.digest, MIRROR_PULL, "*/*",
	               &document.config, &config, err) < 0)
		return -1;
	pinned = xasprintf("%s@%s", repository, top_digest);
	digests[0] = pinned;
	if (!registry->ref.digest)
		names[0] = registry->name;
	return pull_image(registry->pull,
	                  &(struct pull_image){ .what = registry->name,
	                                        .manifest = manifest.data,
	                                        .manifest_len = manifest.len,
	                                        .manifest_digest = manifest.digest,
	                                        .document = &document,
	                                        .config = config.data,
	                                        .config_len = config.len,
	                                        .index_bytes = index_bytes,
	                                        .names = names,
	                                        .digests = digests },
	                  &(struct pull_source){ open_layer, close_layer, registry, PARALLEL },
	                  err);
}

/* The words that people and kubelet look for. */
static int explain(const struct registry *registry, struct err *err)
{
	bool refused = err_is(err, CODE_UNAUTHENTICATED) || err_is(err, CODE_PERMISSION_DENIED);

	if (err_is(err, CODE_UNAVAILABLE)) {
		err->code = CODE_UNKNOWN; /* with any other code kubelet would not see the word */
		return err_wrap(err, "RegistryUnavailable: %s", registry->name);
	}
	if (refused && !err->sys) /* a registry, not this machine */
		return err_wrap(err,
		                "%s: pull access denied, repository does not exist or may require "
		                "authorization",
		                registry->name);
	if (err_is(err, CODE_NOT_FOUND) && !err->sys)
		return err_wrap(err, "%s: not found", registry->name);
	return starts_with(err->msg, registry->name) ? -1 : err_wrap(err, "%s", registry->name);
}

int registry_run(struct registry *registry, struct pull *pull, struct err *err)
{
	registry->pull = pull;
	return pull_all(registry, err) < 0 ? explain(registry, err) : 0;
}
