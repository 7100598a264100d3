/* tests/integration/pull/test_pull.c
 *
 * Pulls through the real processes, from registries that lie, break off, send elsewhere and ask for credentials; and from Debian's
 * docker-registry over TLS with a private CA (skipped without docker-registry and openssl). Needs root; everything lives below a
 * private directory. The program is its own `coracle`: started as "pull" or "unpack" it is that applet.
 */
/* link-with: tests/lib/fake_registry.c */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/image/blob.h"
#include "core/image/image_job.h"
#include "core/image/manifest.h"
#include "core/image/pull.h"
#include "core/image/unpack.h"
#include "core/loop/loop.h"
#include "tests/lib/fake_registry.h"
#include "tests/lib/tarball.h"

#define LAYERS     3
#define DATA_BYTES (300 * 1024) /* in each layer, incompressible */

struct fixture {
	char dir[64], *root, *hosts;
	struct loop *loop;
	struct image_job *job;
	bool over;
	struct err err;
	char *id, **names, **digests;
	size_t nlayers, staged; /* staged: brought by this job */
	unsigned progressed;
	char **env;

	/* an image: gzipped layers, config, manifest, index */
	struct buf layers[LAYERS], config, manifest, index;
	char layer_digests[LAYERS][DIGEST_SHA256_TEXT], config_digest[DIGEST_SHA256_TEXT],
		manifest_digest[DIGEST_SHA256_TEXT], index_digest[DIGEST_SHA256_TEXT];
	struct fake_registry upstream, other;
};

/* --- the image */

static void gzip(struct buf *out, const struct buf *in)
{
	static uint8_t block[65536];
	z_stream z = { .next_in = (z_const Bytef *)in->data, .avail_in = (uInt)in->len };
	int rc;

	assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	do {
		z.next_out = block;
		z.avail_out = sizeof(block);
		rc = deflate(&z, Z_FINISH);
		assert_int_equal(buf_add(out, block, sizeof(block) - z.avail_out), 0);
	} while (rc == Z_OK);
	deflateEnd(&z);
}

static const char *host_arch(void)
{
	struct platform host;

	platform_host(&host);
	return streq(host.arch, "arm64") ? "arm64" : "amd64";
}

static void make_layer(struct fixture *f, size_t i, char diff_id[DIGEST_SHA256_TEXT])
{
	cleanup_free uint8_t *noise = xcalloc(1, DATA_BYTES);
	cleanup(buf_release) struct buf tar = { 0 };
	char name[32];

	rand_bytes(noise, DATA_BYTES);
	ignore(str_format(name, sizeof(name), "file%zu", i)); /* fits */
	tarball_init(&tar);
	tarball_add(&tar,
	            &(struct tarball_entry){ .name = name, .data = noise, .len = DATA_BYTES });
	tarball_end(&tar);
	digest_sha256_text(tar.data, tar.len, diff_id);
	buf_init(&f->layers[i], 4 << 20);
	gzip(&f->layers[i], &tar);
	digest_sha256_text(f->layers[i].data, f->layers[i].len, f->layer_digests[i]);
}

static void make_image(struct fixture *f)
{
	buf_init(&f->config, 65536);
	buf_init(&f->manifest, 65536);
	buf_init(&f->index, 65536);
	assert_int_equal(
		buf_printf(
			&f->config,
			"{\"os\":\"linux\",\"architecture\":\"%s\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
			host_arch()),
		0);
	for (size_t i = 0; i < LAYERS; i++) {
		char diff_id[DIGEST_SHA256_TEXT];

		make_layer(f, i, diff_id);
		assert_int_equal(buf_printf(&f->config, "%s\"%s\"", i ? "," : "", diff_id), 0);
	}
	assert_int_equal(buf_add_str(&f->config, "]}}"), 0);
	digest_sha256_text(f->config.data, f->config.len, f->config_digest);
	assert_int_equal(buf_printf(&f->manifest,
	                            "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST
	                            "\",\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG
	                            "\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
	                            f->config_digest, f->config.len),
	                 0);
	for (size_t i = 0; i < LAYERS; i++)
		assert_int_equal(buf_printf(&f->manifest,
		                            "%s{\"mediaType\":\"" MEDIA_OCI_LAYER
		                            "+gzip\",\"digest\":\"%s\",\"size\":%zu}",
		                            i ? "," : "", f->layer_digests[i], f->layers[i].len),
		                 0);
	assert_int_equal(buf_add_str(&f->manifest, "]}"), 0);
	digest_sha256_text(f->manifest.data, f->manifest.len, f->manifest_digest);
	assert_int_equal(
		buf_printf(
			&f->index,
			"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MEDIA_OCI_MANIFEST
			"\",\"digest\":\"sha256:%064d\",\"size\":9,\"platform\":{\"os\":\"linux\",\"architecture\":\"s390x\"}},"
			"{\"mediaType\":\"" MEDIA_OCI_MANIFEST
			"\",\"digest\":\"%s\",\"size\":%zu,\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\"}}]}",
			0, f->manifest_digest, f->manifest.len, host_arch()),
		0);
	digest_sha256_text(f->index.data, f->index.len, f->index_digest);
}

/* Everything of the image, under tag 1 (manifest) and tag multi (index), in repository a/b. */
static void offer(struct fixture *f, struct fake_registry *fake)
{
	static const char stream[] = "application/octet-stream";

	fake_registry_add(fake, MEDIA_OCI_MANIFEST, f->manifest.data, f->manifest.len,
	                  f->manifest_digest, "/v2/a/b/manifests/1");
	fake_registry_add(fake, MEDIA_OCI_MANIFEST, f->manifest.data, f->manifest.len,
	                  f->manifest_digest, "/v2/a/b/manifests/%s", f->manifest_digest);
	fake_registry_add(fake, MEDIA_OCI_INDEX, f->index.data, f->index.len, NULL,
	                  "/v2/a/b/manifests/multi");
	fake_registry_add(fake, stream, f->config.data, f->config.len, NULL, "/v2/a/b/blobs/%s",
	                  f->config_digest);
	for (size_t i = 0; i < LAYERS; i++)
		fake_registry_add(fake, stream, f->layers[i].data, f->layers[i].len, NULL,
		                  "/v2/a/b/blobs/%s", f->layer_digests[i]);
}

/* --- fixture */

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err = { 0 };

	memcpy(f->dir, "/tmp/coracle-pull-XXXXXX", 25);
	assert_non_null(mkdtemp(f->dir));
	f->root = xasprintf("%s/root", f->dir);
	f->hosts = xasprintf("%s/hosts", f->dir);
	assert_int_equal(image_dirs_create(f->root, &err), 0);
	f->loop = loop_new(&err);
	assert_non_null(f->loop);
	make_image(f);
	offer(f, &f->upstream);
	/* A confined process cannot trace itself, which is how leaks are looked for. */
	f->env = xcalloc(2, sizeof(*f->env));
	f->env[0] = xstrdup("ASAN_OPTIONS=detect_leaks=0");
	*arg = f;
	return 0;
}

static void forget(struct fixture *f)
{
	free(take_ptr(f->id));
	strv_free(take_ptr(f->names));
	strv_free(take_ptr(f->digests));
	f->nlayers = f->staged = 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	fake_registry_stop(&f->upstream);
	fake_registry_stop(&f->other);
	forget(f);
	strv_free(f->env);
	loop_free(f->loop);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	for (size_t i = 0; i < LAYERS; i++)
		buf_release(&f->layers[i]);
	buf_release(&f->config);
	buf_release(&f->manifest);
	buf_release(&f->index);
	free(f->root);
	free(f->hosts);
	free(f);
	return 0;
}

static void put_file(const struct fixture *f, const char *domain, const char *name,
                     const char *text)
{
	cleanup_free char *dir = xasprintf("%s/%s", f->hosts, domain);
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	assert_int_equal(fsx_mkdir_p(dir, 0755), 0);
	assert_int_equal(fsx_write(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

/* --- a job */

static void on_progress(void *arg, const struct pull_progress *progress)
{
	struct fixture *f = arg;

	(void)progress;
	f->progressed++;
}

static bool on_pin(void *arg, const char *key)
{
	struct fixture *f = arg;
	cleanup_free char *path = xasprintf("%s/layers/%s", f->root, key + strlen("sha256:"));

	return fsx_is_dir(path);
}

static void on_done(void *arg, const struct err *err, const struct pull_result *results,
                    size_t nresults)
{
	struct fixture *f = arg;

	f->over = true;
	f->job = NULL;
	forget(f);
	if (err) {
		f->err = *err;
		return;
	}
	assert_int_equal(nresults, 1);
	f->id = xstrdup(results->id);
	f->names = strv_dup(results->names);
	f->digests = strv_dup(results->digests);
	f->nlayers = results->nlayers;
	for (size_t i = 0; i < results->nlayers; i++)
		f->staged += results->layers[i].slot >= 0;
}

static const struct image_job_ops ops = { on_progress, on_pin, on_done };

static void start(struct fixture *f, const char *name, const char *auth)
{
	cleanup_free char *registry =
		xasprintf("{\"hosts_dir\":\"%s\",\"user_agent\":\"coracle/test\",\"auth\":{%s}}",
	                  f->hosts, auth);
	const struct pull_request request = { .name = (char *)(uintptr_t)name,
		                              .registry = registry };
	struct err err = { 0 };

	f->over = false;
	f->err = (struct err){ 0 };
	f->job = image_job_new(&(struct image_job_args){ .loop = f->loop,
	                                                 .root = f->root,
	                                                 .request = &request,
	                                                 .input_fd = -1,
	                                                 .oplock_fd = -1,
	                                                 .cgroup_fd = -1,
	                                                 .envp = f->env,
	                                                 .ops = &ops,
	                                                 .arg = f },
	                       &err);
	if (!f->job)
		fail_msg("%s", err.msg);
}

static size_t entries_of(const struct fixture *f, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s", f->root, name);
	cleanup(strv_free) char **names = NULL;

	assert_int_equal(fsx_list(AT_FDCWD, path, &names), 0);
	return strv_len(names);
}

static void settle(struct fixture *f)
{
	int64_t until = clock_mono_ns() + 120 * NS_PER_S;

	while (!f->over || entries_of(f, "staging") > 0) {
		assert_true(clock_mono_ns() < until);
		ignore(loop_turn(f->loop, !f->over)); /* whether something happened is seen above */
	}
	for (int i = 0; i < 20; i++) {
		usleep(1000);
		ignore(loop_turn(f->loop, false)); /* the clean-up child's exit frees the job */
	}
}

/* "a/b:1" at the registry @fake */
static char *reference(const struct fake_registry *fake, const char *rest)
{
	return xasprintf("%s/a/b%s", fake->address, rest);
}

static void pull_ok(struct fixture *f, const char *name, const char *auth)
{
	start(f, name, auth);
	settle(f);
	if (f->err.code != CODE_OK)
		fail_msg("%s", f->err.msg);
	assert_string_equal(f->id, f->config_digest);
	assert_int_equal(f->nlayers, LAYERS);
	assert_true(f->progressed > 0);
}

static void pull_fails(struct fixture *f, const char *name, const char *auth, enum code code,
                       const char *why)
{
	start(f, name, auth);
	settle(f);
	if (f->err.code != code || !strstr(f->err.msg, why))
		fail_msg("%d \"%s\" is not %d \"%s\"", f->err.code, f->err.msg, code, why);
	assert_int_equal(entries_of(f, "images"), 0);
	assert_int_equal(entries_of(f, "layers"), 0);
}

static void pull_from_upstream(struct fixture *f, const char *rest, const char *auth)
{
	cleanup_free char *name = NULL;

	fake_registry_start(&f->upstream);
	name = reference(&f->upstream, rest);
	pull_ok(f, name, auth);
}

/* --- what a pull brings */

static void a_tag_becomes_an_image(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;
	cleanup_free char *pinned = NULL;

	pull_from_upstream(f, ":1", "");
	name = reference(&f->upstream, ":1");
	pinned = xasprintf("%s/a/b@%s", f->upstream.address, f->manifest_digest);
	assert_string_equal(f->names[0], name);
	assert_null(f->names[1]);
	assert_string_equal(f->digests[0], pinned);
	assert_int_equal(f->staged, LAYERS);
	assert_int_equal(entries_of(f, "layers"), LAYERS);
	assert_int_equal(fake_registry_count(&f->upstream, "User-Agent: coracle/test\r\n"),
	                 fake_registry_count(&f->upstream, "GET "));
}

static void a_second_pull_fetches_no_layer_again(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;

	pull_from_upstream(f, ":1", "");
	name = reference(&f->upstream, ":1");
	pull_ok(f, name, "");
	assert_int_equal(f->staged, 0);
	for (size_t i = 0; i < LAYERS; i++)
		assert_int_equal(fake_registry_count(&f->upstream, f->layer_digests[i]), 1);
}

static void a_digest_is_pulled_without_a_tag(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *rest = xasprintf("@%s", f->manifest_digest);

	pull_from_upstream(f, rest, "");
	assert_null(f->names[0]);
	assert_non_null(strstr(f->digests[0], f->manifest_digest));
	assert_int_equal(fake_registry_count(&f->upstream, "manifests/1"), 0);
}

static void an_index_leads_to_the_manifest_of_this_host(void **arg)
{
	struct fixture *f = *arg;

	pull_from_upstream(f, ":multi", "");
	assert_non_null(strstr(f->digests[0],
	                       f->index_digest)); /* what was asked for, not what it led to */
	assert_int_equal(fake_registry_count(&f->upstream, f->manifest_digest), 1);
}

static void chunked_answers_are_as_good(void **arg)
{
	struct fixture *f = *arg;

	f->upstream.chunked = true;
	pull_from_upstream(f, ":1", "");
}

/* --- credentials */

static void an_anonymous_token_is_fetched_once(void **arg)
{
	struct fixture *f = *arg;

	f->upstream.auth = FAKE_AUTH_BEARER;
	pull_from_upstream(f, ":1", "");
	assert_int_equal(f->upstream.counters->tokens, 1);
	assert_int_equal(
		fake_registry_count(&f->upstream,
	                            "GET /token?service=fake&scope=repository%3Aa%2Fb%3Apull HTTP"),
		1);
	assert_int_equal(fake_registry_count(&f->upstream, "Authorization: Basic"), 0);
}

static void a_token_is_fetched_with_the_credentials_given(void **arg)
{
	struct fixture *f = *arg;

	f->upstream.auth = FAKE_AUTH_BEARER;
	f->upstream.private_tokens = true;
	pull_from_upstream(f, ":1", "\"username\":\"user\",\"password\":\"secret\"");
	assert_int_equal(fake_registry_count(&f->upstream, "Authorization: Basic"),
	                 1); /* to /token only */
}

static void an_identity_token_is_posted(void **arg)
{
	struct fixture *f = *arg;

	f->upstream.auth = FAKE_AUTH_BEARER;
	f->upstream.refresh_token = "refresh_token=let-me%20in&";
	pull_from_upstream(f, ":1", "\"identity_token\":\"let-me in\"");
	assert_int_equal(fake_registry_count(&f->upstream, "POST /token HTTP"), 1);
}

static void a_registry_token_is_used_as_it_is(void **arg)
{
	struct fixture *f = *arg;

	f->upstream.auth = FAKE_AUTH_BEARER;
	pull_from_upstream(f, ":1", "\"registry_token\":\"good\"");
	assert_int_equal(f->upstream.counters->tokens, 0);
}

static void basic_credentials_are_shown_when_asked_for(void **arg)
{
	struct fixture *f = *arg;

	f->upstream.auth = FAKE_AUTH_BASIC;
	pull_from_upstream(f, ":1", "\"auth\":\"dXNlcjpzZWNyZXQ=\"");
	assert_int_equal(fake_registry_count(&f->upstream, "GET ") -
	                         fake_registry_count(&f->upstream, "Authorization: Basic"),
	                 1);
}

static void wrong_credentials_are_said_to_be_so(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;

	f->upstream.auth = FAKE_AUTH_BASIC;
	fake_registry_start(&f->upstream);
	name = reference(&f->upstream, ":1");
	pull_fails(f, name, "\"username\":\"user\",\"password\":\"wrong\"", CODE_UNAUTHENTICATED,
	           "pull access denied, repository does not exist or may require authorization");
	assert_non_null(strstr(f->err.msg, "UNAUTHORIZED: said so"));
	assert_null(strstr(f->err.msg, "wrong"));
	pull_fails(f, name, "", CODE_UNAUTHENTICATED, "user name and password are asked for");
	pull_fails(f, name,
	           "\"username\":\"user\",\"password\":\"secret\",\"server_address\":\"elsewhere\"",
	           CODE_UNAUTHENTICATED, "none are given");
}

/* --- redirects */

static void a_redirect_gets_neither_credentials_nor_configured_fields(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *base = NULL;
	cleanup_free char *text = NULL;

	f->other.ip = "127.0.0.2";
	offer(f, &f->other);
	fake_registry_start(&f->other);
	base = xasprintf("http://%s", f->other.address);
	f->upstream.redirect_blobs = base;
	f->upstream.auth = FAKE_AUTH_BASIC;
	fake_registry_bind(&f->upstream);
	text = xasprintf("server = \"http://%s\"\n[header]\nX-Secret = \"s\"\n",
	                 f->upstream.address);
	put_file(f, f->upstream.address, "hosts.toml", text);
	pull_from_upstream(f, ":1", "\"username\":\"user\",\"password\":\"secret\"");
	assert_true(fake_registry_count(&f->upstream, "X-Secret: s\r\n") > LAYERS);
	assert_int_equal(fake_registry_count(&f->other, "GET "), LAYERS + 1); /* and the config */
	assert_int_equal(fake_registry_count(&f->other, "Authorization"), 0);
	assert_int_equal(fake_registry_count(&f->other, "X-Secret"), 0);
}

static void redirects_without_end_are_ended(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;

	f->upstream.redirect_blobs = "";
	fake_registry_start(&f->upstream);
	name = reference(&f->upstream, ":1");
	pull_fails(f, name, "", CODE_UNKNOWN, "more than 10 redirects");
}

/* --- transfers that break */

static void a_broken_transfer_goes_on_where_it_broke(void **arg)
{
	struct fixture *f = *arg;

	f->upstream.cut_at = 64 * 1024;
	f->upstream.cuts = 12;
	pull_from_upstream(f, ":1", "");
	assert_true(fake_registry_count(&f->upstream, "Range: bytes=65536-\r\n") >= 1);
}

static void a_server_without_ranges_is_read_again_from_the_start(void **arg)
{
	struct fixture *f = *arg;

	f->upstream.cut_at = 100000;
	f->upstream.cuts = LAYERS + 1;
	f->upstream.no_ranges = true;
	pull_from_upstream(f, ":1", "");
}

static void a_wrong_range_is_not_put_together(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;

	f->upstream.cut_at = 100000;
	f->upstream.cuts = 100;
	f->upstream.wrong_ranges = true;
	fake_registry_start(&f->upstream);
	name = reference(&f->upstream, ":1");
	pull_fails(f, name, "", CODE_DATA_LOSS, "where 100000 to");
}

static void a_server_that_is_busy_is_asked_again(void **arg)
{
	struct fixture *f = *arg;
	int64_t start_ns = clock_mono_ns();

	f->upstream.fail_first = 1;
	f->upstream.fail_status = 429;
	f->upstream.retry_after = "1";
	pull_from_upstream(f, ":1", "");
	assert_true(clock_mono_ns() - start_ns >= NS_PER_S);
}

static void nobody_there_is_the_word_that_kubelet_knows(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;

	fake_registry_start(&f->other);
	name = reference(&f->other, ":1");
	fake_registry_stop(&f->other);
	pull_fails(f, name, "", CODE_UNKNOWN, "RegistryUnavailable: 127.0.0.1:");
	assert_true(starts_with(f->err.msg, "RegistryUnavailable: "));
	assert_non_null(strstr(f->err.msg, "Connection refused"));
}

static void a_name_that_does_not_exist_is_not_there(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;

	fake_registry_start(&f->upstream);
	name = reference(&f->upstream, ":nope");
	pull_fails(f, name, "", CODE_NOT_FOUND, "/a/b:nope: not found: ");
	assert_non_null(strstr(f->err.msg, "MANIFEST_UNKNOWN: said so"));
}

/* --- lies */

static struct fake_item *item_of(struct fake_registry *fake, const char *digest)
{
	for (size_t i = 0; i < fake->nitems; i++)
		if (strstr(fake->items[i].path, digest))
			return &fake->items[i];
	fail_msg("no item %s", digest);
	return NULL;
}

static void what_is_not_what_its_digest_says_leaves_nothing(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free uint8_t *copy = NULL;
	cleanup_free char *name = NULL;
	struct fake_item *item = item_of(&f->upstream, f->layer_digests[1]);

	copy = xmemdup(item->data, item->len);
	copy[item->len / 2] ^= 1;
	item->data = copy;
	fake_registry_start(&f->upstream);
	name = reference(&f->upstream, ":1");
	start(f, name, "");
	settle(f);
	assert_true(f->err.code == CODE_DATA_LOSS ||
	            f->err.code == CODE_INVALID_ARGUMENT); /* gzip may notice first */
	assert_non_null(strstr(f->err.msg, f->layer_digests[1]));
	assert_int_equal(entries_of(f, "images"), 0);
	assert_int_equal(entries_of(f, "layers"), 0);
}

static void a_blob_of_another_size_is_not_even_read(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;

	item_of(&f->upstream, f->layer_digests[0])->len -= 1;
	fake_registry_start(&f->upstream);
	name = reference(&f->upstream, ":1");
	pull_fails(f, name, "", CODE_DATA_LOSS, "are expected");
}

static void documents_that_were_tampered_with_are_refused(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;
	cleanup_free char *pinned = NULL;

	f->upstream.items[0].digest = f->index_digest; /* what the tag is said to be */
	item_of(&f->upstream, f->manifest_digest)->data = f->index.data;
	item_of(&f->upstream, f->manifest_digest)->len = f->index.len;
	fake_registry_start(&f->upstream);
	name = reference(&f->upstream, ":1");
	pinned = xasprintf("%s/a/b@%s", f->upstream.address, f->manifest_digest);
	pull_fails(f, name, "", CODE_DATA_LOSS, f->index_digest);
	pull_fails(f, pinned, "", CODE_DATA_LOSS, f->manifest_digest);
}

/* --- mirrors */

/* "mirrored.test" is at @upstream, with @other asked first; @keys are of the mirror. */
static void mirror(struct fixture *f, const char *keys)
{
	cleanup_free char *text = NULL;

	fake_registry_start(&f->upstream);
	if (!f->other.pid)
		fake_registry_start(&f->other);
	text = xasprintf("server = \"http://%s\"\n[host.\"http://%s\"]\n%s\n", f->upstream.address,
	                 f->other.address, keys);
	put_file(f, "mirrored.test", "hosts.toml", text);
}

static void a_mirror_is_asked_first_and_told_for_whom(void **arg)
{
	struct fixture *f = *arg;

	offer(f, &f->other);
	mirror(f, "");
	pull_ok(f, "mirrored.test/a/b:1", "\"username\":\"user\",\"password\":\"secret\"");
	assert_int_equal(fake_registry_count(&f->upstream, "GET "), 0);
	assert_true(fake_registry_count(&f->other, "GET ") > LAYERS);
	assert_int_equal(fake_registry_count(&f->other, "OCI-Namespace: mirrored.test\r\n"),
	                 fake_registry_count(&f->other, "GET "));
	assert_int_equal(fake_registry_count(&f->other, "?ns=mirrored.test HTTP"),
	                 fake_registry_count(&f->other, "GET "));
}

static void credentials_go_to_a_mirror_only_if_it_is_configured(void **arg)
{
	struct fixture *f = *arg;

	offer(f, &f->other);
	f->other.auth = FAKE_AUTH_BASIC;
	mirror(f, "");
	pull_ok(f, "mirrored.test/a/b:1", "\"username\":\"user\",\"password\":\"secret\"");
	assert_int_equal(fake_registry_count(&f->other, "Authorization"), 0);
	assert_true(fake_registry_count(&f->upstream, "GET ") > 0);
	put_file(f, "mirrored.test", "login", "user:secret\n");
	fake_registry_stop(&f->upstream);
	offer(f, &f->upstream);
	mirror(f, "credentials = \"file:login\"");
	pull_ok(f, "mirrored.test/a/b:1", "");
	assert_true(fake_registry_count(&f->other, "Authorization: Basic") > 0);
	assert_int_equal(fake_registry_count(&f->upstream, "GET "), 0);
}

static void a_mirror_without_the_image_is_passed_over(void **arg)
{
	struct fixture *f = *arg;

	mirror(f, "");
	pull_ok(f, "mirrored.test/a/b:1", "");
	assert_int_equal(fake_registry_count(&f->other, "manifests/1"), 1);
}

static void a_mirror_in_trouble_is_not_waited_for(void **arg)
{
	struct fixture *f = *arg;
	int64_t start_ns = clock_mono_ns();

	f->other.fail_first = 100;
	f->other.fail_status = 503;
	f->other.retry_after = "60";
	mirror(f, "");
	pull_ok(f, "mirrored.test/a/b:1", "");
	assert_true(clock_mono_ns() - start_ns < 10 * NS_PER_S);
}

static void a_mirror_that_lies_is_passed_over(void **arg)
{
	struct fixture *f = *arg;

	offer(f, &f->other);
	f->other.items[0].digest = f->index_digest;
	item_of(&f->other, f->layer_digests[2])->len -= 5;
	mirror(f, "");
	pull_ok(f, "mirrored.test/a/b:1", "");
	assert_int_equal(fake_registry_count(&f->upstream, "manifests/1"), 1);
	assert_int_equal(fake_registry_count(&f->upstream, f->layer_digests[2]), 1);
	assert_int_equal(fake_registry_count(&f->upstream, f->layer_digests[0]), 0);
}

static void a_host_is_asked_for_what_it_is_there_for(void **arg)
{
	struct fixture *f = *arg;

	offer(f, &f->other);
	mirror(f, "capabilities = [\"pull\"]");
	pull_ok(f, "mirrored.test/a/b:1", "");
	assert_int_equal(fake_registry_count(&f->other, "manifests/1"), 0);
	assert_int_equal(fake_registry_count(&f->upstream, "manifests/1"), 1);
	assert_int_equal(fake_registry_count(&f->upstream, "GET "), 1);
}

static void a_hosts_file_that_is_wrong_stops_the_pull(void **arg)
{
	struct fixture *f = *arg;

	put_file(f, "mirrored.test", "hosts.toml",
	         "server = \"https://x\"\n[host.\"https://m\"]\nskip_verify = 1\n");
	pull_fails(f, "mirrored.test/a/b:1", "", CODE_INVALID_ARGUMENT,
	           "/mirrored.test/hosts.toml:3:15: ");
}

static void a_proxy_is_used_for_hosts_that_are_not_here(void **arg)
{
	struct fixture *f = *arg;

	fake_registry_start(&f->upstream);
	put_file(f, "reg.invalid", "hosts.toml", "server = \"http://reg.invalid\"\n");
	f->env = xrealloc(f->env, 3, sizeof(*f->env));
	f->env[1] = xasprintf("http_proxy=http://u:p@%s", f->upstream.address);
	f->env[2] = NULL;
	pull_ok(f, "reg.invalid/a/b:1", "");
	assert_int_equal(
		fake_registry_count(
			&f->upstream,
			"GET http://reg.invalid/v2/a/b/manifests/1 HTTP/1.1\r\nHost: reg.invalid\r\n"),
		1);
	assert_int_equal(fake_registry_count(&f->upstream, "Proxy-Authorization: Basic dTpw\r\n"),
	                 fake_registry_count(&f->upstream, "GET "));
}

/* --- the process */

/* The process whose arguments are "coracle", @applet, and something below @root; -1: none. */
static pid_t find_process(const char *applet, const char *root)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	pid_t found = -1;

	assert_non_null(dir);
	while (found < 0 && (entry = readdir(dir))) {
		cleanup_free char *path = xasprintf("/proc/%s/cmdline", entry->d_name);
		cleanup_free char *text = NULL;
		const char *second, *third;
		size_t len;

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9' ||
		    fsx_read(AT_FDCWD, path, 65536, &text, &len) < 0 || len == 0)
			continue;
		second = text + strlen(text) + 1;
		third = second < text + len ? second + strlen(second) + 1 : text + len;
		if (third < text + len && streq(second, applet) && starts_with(third, root))
			found = (pid_t)atol(entry->d_name);
	}
	closedir(dir);
	return found;
}

static bool status_says(pid_t pid, const char *line)
{
	cleanup_free char *path = xasprintf("/proc/%d/status", (int)pid);
	cleanup_free char *text = NULL;
	size_t len;

	return fsx_read(AT_FDCWD, path, 65536, &text, &len) == 0 && strstr(text, line);
}

static pid_t wait_for_transfer(struct fixture *f)
{
	for (int i = 0; i < 10000; i++) {
		if (fake_registry_count(&f->upstream, f->layer_digests[0]) == 1)
			return find_process("pull", f->root);
		ignore(loop_turn(f->loop,
		                 false)); /* polling another process is all that can be done */
		usleep(1000);
	}
	return -1;
}

static void the_process_is_confined_while_it_talks_to_the_network(void **arg)
{
	static const char *const lines[] = { "\nSeccomp:\t2\n",
		                             "\nNoNewPrivs:\t1\n",
		                             "\nCapInh:\t0000000000000000\n",
		                             "\nCapPrm:\t0000000000000000\n",
		                             "\nCapEff:\t0000000000000000\n",
		                             "\nCapBnd:\t0000000000000000\n",
		                             "\nUid:\t65534\t65534\t65534\t65534\n",
		                             "\nGid:\t65534\t65534\t65534\t65534\n" };
	struct fixture *f = *arg;
	cleanup_free char *name = NULL;
	pid_t pid;

	f->upstream.stall = true;
	fake_registry_start(&f->upstream);
	name = reference(&f->upstream, ":1");
	start(f, name, "");
	pid = wait_for_transfer(f);
	assert_true(pid > 0);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (!status_says(pid, lines[i]))
			fail_msg("/proc/%d/status does not say %s", (int)pid, lines[i]);
	image_job_cancel(f->job);
	settle(f);
	assert_int_equal(f->err.code, CODE_CANCELLED);
	assert_int_equal(entries_of(f, "images"), 0);
	assert_int_equal(entries_of(f, "layers"), 0);
}

/* --- TLS */

static int run(const char *const *argv, const char *dir)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		if (chdir(dir) == 0)
			execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

#define RUN(dir, ...) run((const char *const[]){ __VA_ARGS__, NULL }, dir)

static bool have(const char *program)
{
	return RUN("/", "sh", "-c", "command -v \"$0\"", program) == 0;
}

static unsigned free_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(address);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}

static void make_certificates(const char *dir)
{
	static const char script[] =
		"set -e\n"
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj '/CN=test CA'\n"
		"for name in server client; do\n"
		"openssl req -newkey rsa:2048 -nodes -keyout $name.key -out $name.csr -subj \"/CN=$name\"\n"
		"printf 'subjectAltName=IP:127.0.0.1,DNS:only.test\\nbasicConstraints=CA:FALSE\\n' >ext\n"
		"openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $name.pem -days 2 -extfile ext\n"
		"done\n";

	assert_int_equal(RUN(dir, "sh", "-c", script), 0);
}

static pid_t serve_tls(const char *dir, unsigned port)
{
	cleanup_free char *config = xasprintf(
		"version: 0.1\nstorage: { filesystem: { rootdirectory: %s/data } }\n"
		"http:\n  addr: 127.0.0.1:%u\n  tls:\n    certificate: %s/server.pem\n    key: %s/server.key\n"
		"    clientcas: [ %s/ca.pem ]\n",
		dir, port, dir, dir, dir);
	cleanup_free char *path = xasprintf("%s/config.yml", dir);
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_port = htons((uint16_t)port),
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	pid_t pid;

	assert_int_equal(fsx_write(AT_FDCWD, path, config, strlen(config), 0644), 0);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, 1);
		dup2(null, 2);
		execlp("docker-registry", "docker-registry", "serve", path, NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000; i++) {
		cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return pid;
		usleep(10000);
	}
	fail_msg("docker-registry does not start");
	return -1;
}

static void put_blob(const char *dir, const char *base, const char *name, const struct buf *data,
                     const char *digest)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	cleanup_free char *script = xasprintf(
		"set -e; curl='curl -fsS --cacert ca.pem --cert client.pem --key client.key'\n"
		"url=$($curl -D - -o /dev/null -X POST %s/blobs/uploads/ | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')\n"
		"case $url in *\\?*) url=\"$url&digest=%s\";; *) url=\"$url?digest=%s\";; esac\n"
		"$curl -X PUT -H 'Content-Type: application/octet-stream' --data-binary @%s \"$url\"",
		base, digest, digest, name);

	assert_int_equal(fsx_write(AT_FDCWD, path, data->data, data->len, 0644), 0);
	assert_int_equal(RUN(dir, "sh", "-c", script), 0);
}

static void push(struct fixture *f, const char *dir, const char *base)
{
	cleanup_free char *path = xasprintf("%s/manifest", dir);
	cleanup_free char *script = xasprintf(
		"curl -fsS --cacert ca.pem --cert client.pem --key client.key -X PUT -H 'Content-Type: " MEDIA_OCI_MANIFEST
		"' --data-binary @manifest %s/manifests/1",
		base);

	put_blob(dir, base, "config", &f->config, f->config_digest);
	for (size_t i = 0; i < LAYERS; i++)
		put_blob(dir, base, "layer", &f->layers[i], f->layer_digests[i]);
	assert_int_equal(fsx_write(AT_FDCWD, path, f->manifest.data, f->manifest.len, 0644), 0);
	assert_int_equal(RUN(dir, "sh", "-c", script), 0);
}

/* A real registry over TLS: private CA, client certificate, IP address as its name. */
static void a_real_registry_over_tls(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *dir = xasprintf("%s/tls", f->dir);
	cleanup_free char *base = NULL;
	cleanup_free char *text = NULL;
	cleanup_free char *untrusted = NULL;
	cleanup_free char *unnamed = NULL;
	unsigned port = free_port();
	pid_t pid;

	if (!have("docker-registry") || !have("openssl") || !have("curl"))
		skip();
	assert_int_equal(fsx_mkdir_p(dir, 0755), 0);
	make_certificates(dir);
	pid = serve_tls(dir, port);
	base = xasprintf("https://127.0.0.1:%u/v2/a/b", port);
	push(f, dir, base);

	/* the CA is not known */
	untrusted = xasprintf("server = \"https://127.0.0.1:%u\"\n", port);
	put_file(f, "untrusted.test", "hosts.toml", untrusted);
	pull_fails(f, "untrusted.test/a/b:1", "", CODE_FAILED_PRECONDITION,
	           "certificate \"CN=server\" of issuer \"CN=test CA\", valid ");
	assert_non_null(strstr(f->err.msg, "is signed by nobody that this host trusts"));

	/* "localhost" is not in the certificate */
	unnamed = xasprintf(
		"server = \"https://localhost:%u\"\nca = \"%s/ca.pem\"\nclient = [[\"%s/client.pem\", \"%s/client.key\"]]\n",
		port, dir, dir, dir);
	put_file(f, "unnamed.test", "hosts.toml", unnamed);
	pull_fails(f, "unnamed.test/a/b:1", "", CODE_FAILED_PRECONDITION,
	           "does not name this host");

	/* without the client certificate the server hangs up */
	text = xasprintf(
		"server = \"https://127.0.0.1:%u\"\nca = \"%s/ca.pem\"\nclient = [[\"%s/client.pem\", \"%s/client.key\"]]\n",
		port, dir, dir, dir);
	put_file(f, "tls.test", "hosts.toml", text);
	pull_ok(f, "tls.test/a/b:1", "");
	assert_int_equal(f->staged, LAYERS);

	/* skip_verify is what it says */
	free(take_ptr(text));
	text = xasprintf(
		"server = \"https://localhost:%u\"\nskip_verify = true\nclient = [[\"%s/client.pem\", \"%s/client.key\"]]\n",
		port, dir, dir);
	put_file(f, "lax.test", "hosts.toml", text);
	pull_ok(f, "lax.test/a/b:1", "");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_tag_becomes_an_image),
		T(a_second_pull_fetches_no_layer_again),
		T(a_digest_is_pulled_without_a_tag),
		T(an_index_leads_to_the_manifest_of_this_host),
		T(chunked_answers_are_as_good),
		T(an_anonymous_token_is_fetched_once),
		T(a_token_is_fetched_with_the_credentials_given),
		T(an_identity_token_is_posted),
		T(a_registry_token_is_used_as_it_is),
		T(basic_credentials_are_shown_when_asked_for),
		T(wrong_credentials_are_said_to_be_so),
		T(a_redirect_gets_neither_credentials_nor_configured_fields),
		T(redirects_without_end_are_ended),
		T(a_broken_transfer_goes_on_where_it_broke),
		T(a_server_without_ranges_is_read_again_from_the_start),
		T(a_wrong_range_is_not_put_together),
		T(a_server_that_is_busy_is_asked_again),
		T(nobody_there_is_the_word_that_kubelet_knows),
		T(a_name_that_does_not_exist_is_not_there),
		T(what_is_not_what_its_digest_says_leaves_nothing),
		T(a_blob_of_another_size_is_not_even_read),
		T(documents_that_were_tampered_with_are_refused),
		T(a_mirror_is_asked_first_and_told_for_whom),
		T(credentials_go_to_a_mirror_only_if_it_is_configured),
		T(a_mirror_without_the_image_is_passed_over),
		T(a_mirror_in_trouble_is_not_waited_for),
		T(a_mirror_that_lies_is_passed_over),
		T(a_host_is_asked_for_what_it_is_there_for),
		T(a_hosts_file_that_is_wrong_stops_the_pull),
		T(a_proxy_is_used_for_hosts_that_are_not_here),
		T(the_process_is_confined_while_it_talks_to_the_network),
		T(a_real_registry_over_tls),
	};

	if (argc > 2 && streq(argv[1], "pull"))
		return pull_main(argc - 1, argv + 1);
	if (argc > 2 && streq(argv[1], "unpack"))
		return unpack_main(argc - 1, argv + 1);
	if (geteuid() != 0) {
		print_message("needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
