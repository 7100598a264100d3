/* tests/bench/pull.c
 *
 * One pull, measured from outside: four gzip layers, about 100 MB on the wire and 300 MB on disk, from a registry on loopback. The
 * bound is what the same bytes cost without a network, a registry or processes: hashing both sides of each layer, inflating it,
 * and writing its files where the pull writes them, one after the other and through to the disk.
 *
 *	CORACLE  the daemon's binary
 */
/* link-with: tests/lib/fake_registry.c */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zlib.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/sha256.h"
#include "core/base/str.h"
#include "core/image/blob.h"
#include "core/image/inflate.h"
#include "core/image/manifest.h"
#include "cri/grpc/client.h"
#include "cri/proto/cri.h"
#include "tests/lib/fake_registry.h"
#include "tests/lib/tarball.h"

#define LAYERS     4
#define FILES      600 /* in each layer */
#define FILE_BYTES (128 * 1024)
#define PULLS      3 /* the fastest counts, of the bound too: others may be at work on this machine */
#define CALL_MS    (120 * 1000)
#define SAMPLE_US  2000

struct bench {
	char *dir, *socket, *root, *state;
	const char *coracle;
	pid_t daemon;
	struct grpc_client *client;
	struct pb_arena *arena;
	struct buf layers[LAYERS], config, manifest;
	char digests[LAYERS][DIGEST_SHA256_TEXT];
	struct fake_registry registry;
	atomic_bool sampling;
	uint64_t peak_kib;
	int missed;
};

static void NORETURN PRINTF_LIKE(1, 2) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("bench: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(2);
}

static void verdict(struct bench *b, double goal, double value, const char *unit, const char *what)
{
	bool pass = value <= goal;

	printf("%s  goal %8.2f %-4s  value %8.2f %-4s  %s\n", pass ? "PASS" : "MISS", goal, unit,
	       value, unit, what);
	fflush(stdout);
	b->missed += !pass;
}

static double ms_since(int64_t start_ns)
{
	return (double)(clock_mono_ns() - start_ns) / (double)NS_PER_MS;
}

/* --- the image */

/* As compressible as an image is, about three to one: half of it has been there before. */
static void fill(uint8_t *data, size_t len, uint64_t *seed)
{
	for (size_t at = 0; at < len; at += 64) {
		uint64_t r = *seed =
			*seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);

		r >>= 24;
		if (at >= 8192 && r % 8 < 4) {
			memcpy(data + at, data + at - 64 * (1 + r / 8 % 100), 64);
			continue;
		}
		for (size_t i = 0; i < 64; i++) {
			*seed = *seed * UINT64_C(6364136223846793005) +
			        UINT64_C(1442695040888963407);
			data[at + i] = (uint8_t)('a' + (*seed >> 33) % 40);
		}
	}
}

static void add_files(struct buf *tar, size_t layer)
{
	cleanup_free uint8_t *data = xcalloc(1, FILE_BYTES);
	uint64_t seed = layer + 1;

	for (int i = 0; i < FILES; i++) {
		char name[64];

		fill(data, FILE_BYTES, &seed);
		snprintf(name, sizeof(name), "layer%zu-%03d", layer, i);
		tarball_add(tar, &(struct tarball_entry){
					 .name = name, .data = data, .len = FILE_BYTES });
	}
}

static void gzip(struct buf *out, const struct buf *in)
{
	z_stream z = { .next_in = (z_const Bytef *)in->data, .avail_in = (uInt)in->len };
	size_t max = deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK
	                     ? deflateBound(&z, in->len)
	                     : 0;
	char *room;

	buf_init(out, max);
	room = max ? buf_reserve(out, max) : NULL;
	if (!room)
		die("out of memory");
	z.next_out = (Bytef *)room;
	z.avail_out = (uInt)max;
	if (deflate(&z, Z_FINISH) != Z_STREAM_END)
		die("deflate");
	buf_grew(out, z.total_out);
	deflateEnd(&z);
}

static void must(int rc)
{
	if (rc < 0)
		die("text too long");
}

static uint64_t make_image(struct bench *b)
{
	static const char stream[] = "application/octet-stream";
	char config_digest[DIGEST_SHA256_TEXT];
	struct platform host;
	uint64_t total = 0;

	platform_host(&host);
	buf_init(&b->config, 65536);
	buf_init(&b->manifest, 65536);
	must(buf_printf(
		&b->config,
		"{\"os\":\"linux\",\"architecture\":\"%s\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
		host.arch));
	for (size_t i = 0; i < LAYERS; i++) {
		cleanup(buf_release) struct buf tar = { 0 };
		char diff_id[DIGEST_SHA256_TEXT];

		buf_init(&tar, 256 << 20);
		add_files(&tar, i);
		tarball_end(&tar);
		digest_sha256_text(tar.data, tar.len, diff_id);
		must(buf_printf(&b->config, "%s\"%s\"", i ? "," : "", diff_id));
		gzip(&b->layers[i], &tar);
		digest_sha256_text(b->layers[i].data, b->layers[i].len, b->digests[i]);
		total += b->layers[i].len;
		fake_registry_add(&b->registry, stream, b->layers[i].data, b->layers[i].len, NULL,
		                  "/v2/a/b/blobs/%s", b->digests[i]);
	}
	must(buf_add_str(&b->config, "]}}"));
	digest_sha256_text(b->config.data, b->config.len, config_digest);
	fake_registry_add(&b->registry, stream, b->config.data, b->config.len, NULL,
	                  "/v2/a/b/blobs/%s", config_digest);
	must(buf_printf(&b->manifest,
	                "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG
	                "\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
	                config_digest, b->config.len));
	for (size_t i = 0; i < LAYERS; i++)
		must(buf_printf(&b->manifest,
		                "%s{\"mediaType\":\"" MEDIA_OCI_LAYER
		                "+gzip\",\"digest\":\"%s\",\"size\":%zu}",
		                i ? "," : "", b->digests[i], b->layers[i].len));
	must(buf_add_str(&b->manifest, "]}"));
	fake_registry_add(&b->registry, MEDIA_OCI_MANIFEST, b->manifest.data, b->manifest.len, NULL,
	                  "/v2/a/b/manifests/1");
	return total;
}

/* --- the bound */

struct sink {
	const char *dir;
	struct sha256 sum;
	size_t in_file;
	unsigned files;
	int fd;
	uint64_t bytes;
	int64_t hash_ns, write_ns;
};

static void write_file(struct sink *sink, const uint8_t *data, size_t len)
{
	while (len > 0) {
		size_t n = MIN(len, (size_t)FILE_BYTES - sink->in_file);

		if (sink->fd < 0) {
			cleanup_free char *path = xasprintf("%s/%u", sink->dir, sink->files++);

			sink->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
			if (sink->fd < 0)
				die("%s: %s", path, strerror(errno));
		}
		if (write_full(sink->fd, data, n) < 0)
			die("write: %s", strerror(errno));
		sink->in_file += n;
		data += n;
		len -= n;
		if (sink->in_file == FILE_BYTES) {
			close(sink->fd);
			sink->fd = -1;
			sink->in_file = 0;
		}
	}
}

static int take(void *arg, const uint8_t *data, size_t len, struct err *err UNUSED)
{
	struct sink *sink = arg;
	int64_t start_ns = clock_mono_ns(), middle_ns;

	sha256_update(&sink->sum, data, len);
	middle_ns = clock_mono_ns();
	write_file(sink, data, len);
	sink->hash_ns += middle_ns - start_ns;
	sink->write_ns += clock_mono_ns() - middle_ns;
	sink->bytes += len;
	return 0;
}

static double measure_bound(struct bench *b, uint64_t *ret_bytes)
{
	cleanup_free char *dir = xasprintf("%s/bound", b->dir);
	struct sink sink = { .dir = dir, .fd = -1 };
	uint8_t digest[SHA256_SIZE];
	int64_t start_ns, synced_ns;
	struct err err = { 0 };
	cleanup_close int dirfd = -1;
	double ms;

	if (mkdir(dir, 0700) < 0)
		die("%s: %s", dir, strerror(errno));
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ignore(syncfs(dirfd)); /* begin with a clean disk */
	start_ns = clock_mono_ns();
	for (size_t i = 0; i < LAYERS; i++) {
		cleanup(inflate_free) struct inflate *inflate = inflate_new(take, &sink);
		const uint8_t *data = (const uint8_t *)b->layers[i].data;
		struct sha256 blob;

		sha256_init(&blob);
		sha256_init(&sink.sum);
		for (size_t at = 0; at < b->layers[i].len; at += 65536) {
			size_t n = MIN((size_t)65536, b->layers[i].len - at);

			sha256_update(&blob, data + at, n);
			if (inflate_feed(inflate, data + at, n, &err) < 0)
				die("%s", err.msg);
		}
		if (inflate_finish(inflate, &err) < 0)
			die("%s", err.msg);
		sha256_final(&blob, digest);
		sha256_final(&sink.sum, digest);
	}
	if (sink.fd >= 0)
		close(sink.fd);
	synced_ns = clock_mono_ns();
	ignore(syncfs(dirfd)); /* a disk that fails shows in the pull */
	ms = ms_since(start_ns);
	fprintf(stderr,
	        "bound: %.0f ms, of it hashing the plain side %.0f, writing %.0f, syncing %.0f\n",
	        ms, (double)sink.hash_ns / (double)NS_PER_MS,
	        (double)sink.write_ns / (double)NS_PER_MS, ms_since(synced_ns));
	if (fsx_remove_tree(AT_FDCWD, dir) < 0)
		die("%s cannot be removed", dir);
	*ret_bytes = sink.bytes;
	return ms;
}

/* --- the daemon */

static void start_daemon(struct bench *b)
{
	cleanup_free char *conf = xasprintf("%s/coracle.conf", b->dir),
			  *log = xasprintf("%s/daemon.log", b->dir);
	int64_t start_ns = clock_mono_ns();

	if (fsx_write(AT_FDCWD, conf, "[log]\nlevel = warn\n", 19, 0644) < 0)
		die("%s: cannot be written", conf);
	b->daemon = fork();
	if (b->daemon == 0) {
		int fd;

		prctl(PR_SET_PDEATHSIG, SIGTERM); /* should we give up */
		fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execl(b->coracle, "coracle", "daemon", "-c", conf, "--root", b->root, "--state",
		      b->state, (char *)NULL);
		_exit(127);
	}
	while (!fsx_exists(b->socket)) {
		if (ms_since(start_ns) > 10000)
			die("daemon does not serve; see %s", log);
		usleep(1000);
	}
}

/* Anew for each measurement: the daemon drops those that say nothing for long. */
static void connect_to_daemon(struct bench *b)
{
	struct err err = { 0 };

	grpc_client_free(b->client);
	b->client = grpc_client_new(b->socket, &err);
	if (!b->client)
		die("%s", err.msg);
}

static void call(struct bench *b, const char *method, const pb_msgdesc_t *request_desc,
                 const void *request, const pb_msgdesc_t *response_desc, void *response)
{
	const struct grpc_client_call what = { .method = method,
		                               .request_desc = request_desc,
		                               .request = request,
		                               .response_desc = response_desc,
		                               .timeout_ms = CALL_MS };
	int64_t start_ns = clock_mono_ns();
	struct err err = { 0 };

	for (;;) {
		pb_arena_reset(b->arena);
		if (grpc_client_unary(b->client, &what, b->arena, response, &err) == 0)
			return;
		if (!strstr(err.msg, "not initialized") || ms_since(start_ns) > 10000)
			die("%s: %s; see %s/daemon.log", method, err.msg, b->dir);
		usleep(1000);
	}
}

#define CALL(b, name, request, response)                                                           \
	call(b, "/runtime.v1.ImageService/" #name, cri_##name##Request_fields, request,            \
	     cri_##name##Response_fields, response)

/* --- memory: of the daemon and all beneath it, summed up */

static uint64_t number_in(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static uint64_t resident_kib(const struct bench *b)
{
	DIR *dir = opendir("/proc");
	pid_t ours[64] = { b->daemon };
	size_t n = 1;
	uint64_t sum = 0;
	struct dirent *entry;

	/* Pids grow from parent to child: one pass finds them all. A pid that wrapped round is missed once in a long while. */
	while (dir && (entry = readdir(dir))) {
		char path[300], text[2048];
		cleanup_close int fd = -1;
		bool is_ours = false;
		ssize_t len;
		pid_t parent;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/status", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
		if (len <= 0)
			continue;
		text[len] = '\0';
		parent = (pid_t)number_in(text, "\nPPid:\t");
		for (size_t i = 0; i < n; i++)
			is_ours = is_ours || parent == ours[i];
		if (is_ours && n < ARRAY_SIZE(ours))
			ours[n++] = (pid_t)strtol(entry->d_name, NULL, 10);
		if (is_ours || strtol(entry->d_name, NULL, 10) == b->daemon)
			sum += number_in(text, "\nVmRSS:\t");
	}
	if (dir)
		closedir(dir);
	return sum;
}

static void *sample(void *arg)
{
	struct bench *b = arg;

	while (atomic_load(&b->sampling)) {
		uint64_t now = resident_kib(b);

		b->peak_kib = MAX(b->peak_kib, now);
		usleep(SAMPLE_US);
	}
	return NULL;
}

/* --- the whole */

static double pull_once(struct bench *b, bool with_memory)
{
	cleanup_free char *name = xasprintf("%s/a/b:1", b->registry.address);
	const cri_PullImageRequest pull = { .has_image = true, .image = { .image = name } };
	const cri_RemoveImageRequest remove = { .has_image = true, .image = { .image = name } };
	cri_PullImageResponse pulled;
	cri_RemoveImageResponse removed;
	cleanup_free char *trash = xasprintf("%s/trash", b->root);
	pthread_t thread;
	int64_t start_ns;
	double ms;

	connect_to_daemon(b);
	atomic_store(&b->sampling, with_memory);
	if (with_memory && pthread_create(&thread, NULL, sample, b) != 0)
		die("thread");
	start_ns = clock_mono_ns();
	CALL(b, PullImage, &pull, &pulled);
	ms = ms_since(start_ns);
	atomic_store(&b->sampling, false);
	if (with_memory)
		pthread_join(thread, NULL);
	CALL(b, RemoveImage, &remove, &removed);
	sync(); /* what is left of it must not cost the next */
	return ms;
}

static int run(struct bench *b)
{
	double bound = 0, pull = 0;
	uint64_t wire = make_image(b), plain = 0;

	fake_registry_start(&b->registry);
	start_daemon(b);
	for (int i = 0; i < PULLS; i++) {
		double at_best = measure_bound(b, &plain), took = pull_once(b, false);

		fprintf(stderr, "pull: %.0f ms\n", took);
		bound = i == 0 ? at_best : MIN(bound, at_best);
		pull = i == 0 ? took : MIN(pull, took);
	}
	pull_once(b, true);
	fprintf(stderr, "%.0f MB on the wire, %.0f MB on disk\n", (double)wire / 1e6,
	        (double)plain / 1e6);
	verdict(b, 1.5, pull / bound, "x",
	        "pull of four layers, compared to hashing, inflating and writing them");
	verdict(b, 16, (double)b->peak_kib / 1024, "MiB",
	        "resident memory of daemon and pull, at the most");
	return b->missed > 0;
}

int main(void)
{
	char dir[] = "/tmp/coracle-bench-pull.XXXXXX";
	struct bench b = { .coracle = getenv("CORACLE") };
	int status;
	pid_t pid;

	if (!b.coracle)
		die("CORACLE must name the daemon; `make bench` does that");
	if (!mkdtemp(dir))
		die("mkdtemp: %s", strerror(errno));
	b.dir = dir;
	b.root = xasprintf("%s/root", dir);
	b.state = xasprintf("%s/state", dir);
	b.socket = xasprintf("%s/coracle.sock", b.state);
	b.arena = pb_arena_new(1 << 20);
	fflush(stdout);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = fork(); /* whatever happens to it, we clean up */
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		status = run(&b);
		grpc_client_free(b.client);
		kill(b.daemon, SIGTERM);
		waitpid(b.daemon, NULL, 0);
		fake_registry_stop(&b.registry);
		exit(status);
	}
	waitpid(pid, &status, 0);
	for (pid_t left;
	     (left = waitpid(-1, NULL, WNOHANG)) >= 0;) /* orphans of a child that died */
		if (left == 0)
			usleep(10000);
	if (fsx_remove_tree(AT_FDCWD, dir) < 0)
		fprintf(stderr, "bench: %s is left behind\n", dir);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
