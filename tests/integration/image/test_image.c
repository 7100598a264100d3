/* tests/integration/image/test_image.c
 *
 * Imports through the real processes, and the mounts made of what they left. Needs root; everything lives below a private
 * directory. The program is its own `coracle`: started as "pull" or "unpack" it is that applet.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/blob.h"
#include "core/image/image_job.h"
#include "core/image/overlay.h"
#include "core/image/pull.h"
#include "core/image/unpack.h"
#include "core/loop/loop.h"
#include "tests/lib/tarball.h"
#include "tests/lib/userns.h"

#define MAP_BASE   100000
#define MAX_IMAGES 8

struct fixture {
	char dir[64], *root, *target;
	struct loop *loop;
	struct image_job *job;
	bool over;
	struct err err;
	unsigned progressed;
	/* copies of the results */
	size_t nimages;
	char *ids[MAX_IMAGES];
	char **names[MAX_IMAGES], **digests[MAX_IMAGES], **layers[MAX_IMAGES];
	size_t staged[MAX_IMAGES]; /* layers that this job brought */
	char *user;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err = { 0 };

	memcpy(f->dir, "/tmp/coracle-image-XXXXXX", 26);
	assert_non_null(mkdtemp(f->dir));
	f->root = xasprintf("%s/root", f->dir);
	f->target = xasprintf("%s/mnt", f->dir);
	assert_int_equal(image_dirs_create(f->root, &err), 0);
	f->loop = loop_new(&err);
	assert_non_null(f->loop);
	*arg = f;
	return 0;
}

static void forget_results(struct fixture *f)
{
	for (size_t i = 0; i < f->nimages; i++) {
		free(f->ids[i]);
		strv_free(f->names[i]);
		strv_free(f->digests[i]);
		strv_free(f->layers[i]);
	}
	free(f->user);
	f->user = NULL;
	f->nimages = 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	forget_results(f);
	loop_free(f->loop);
	while (umount2(f->target, MNT_DETACH) == 0)
		;
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	free(f->root);
	free(f->target);
	free(f);
	return 0;
}

/* --- archives */

struct sample {
	struct buf layers[3];
	size_t nlayers;
	char diff_ids[3][DIGEST_TEXT_MAX];
	struct buf config;
	char id[DIGEST_SHA256_TEXT];
};

static void sample_release(struct sample *s)
{
	for (size_t i = 0; i < s->nlayers; i++)
		buf_release(&s->layers[i]);
	buf_release(&s->config);
}
DEFINE_CLEANUP(struct sample, sample_release);

static void sample_config(struct sample *s, const char *arch)
{
	buf_clear(&s->config);
	assert_int_equal(
		buf_printf(
			&s->config,
			"{\"os\":\"linux\",\"architecture\":\"%s\",\"config\":{\"User\":\"7:8\"},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
			arch),
		0);
	for (size_t i = 0; i < s->nlayers; i++) {
		char digest[DIGEST_SHA256_TEXT];

		digest_sha256_text(s->layers[i].data, s->layers[i].len, digest);
		memcpy(s->diff_ids[i], digest, sizeof(digest));
		assert_int_equal(buf_printf(&s->config, "%s\"%s\"", i ? "," : "", digest), 0);
	}
	assert_int_equal(buf_add_str(&s->config, "]}}"), 0);
	digest_sha256_text(s->config.data, s->config.len, s->id);
}

static const char *host_arch(void)
{
	struct platform host;

	platform_host(&host);
	return streq(host.arch, "arm64") ? "arm64" : "amd64";
}

/* base: a root of its own, /etc 0700, files to delete and to hide; top: leans on it. */
static void sample_init(struct sample *s)
{

	*s = (struct sample){ .nlayers = 2 };
	buf_init(&s->config, 65536);
	tarball_init(&s->layers[0]);
	tarball_add(&s->layers[0],
	            &(struct tarball_entry){ .type = '5', .name = "./", .mode = 0751 });
	tarball_add(&s->layers[0], &(struct tarball_entry){ .type = '5',
	                                                    .name = "etc/",
	                                                    .mode = 0700,
	                                                    .uid = 33,
	                                                    .gid = 34,
	                                                    .mtime = 1000 });
	tarball_file(&s->layers[0], "etc/passwd", "root");
	tarball_file(&s->layers[0], "etc/gone", "gone");
	tarball_dir(&s->layers[0], "opq/");
	tarball_file(&s->layers[0], "opq/low", "low");
	tarball_add(&s->layers[0],
	            &(struct tarball_entry){
			    .type = '3', .name = "null", .major = 1, .minor = 3, .mode = 0666 });
	tarball_add(&s->layers[0], &(struct tarball_entry){ .name = "suid",
	                                                    .data = "x",
	                                                    .len = 1,
	                                                    .mode = 06755,
	                                                    .uid = 1000,
	                                                    .gid = 1001 });
	tarball_end(&s->layers[0]);
	tarball_init(&s->layers[1]);
	tarball_file(&s->layers[1], "etc/new", "new"); /* no entry for etc/ */
	tarball_file(&s->layers[1], "etc/.wh.gone", "");
	tarball_file(&s->layers[1], "opq/.wh..wh..opq", "");
	tarball_file(&s->layers[1], "opq/high", "high");
	tarball_add(&s->layers[1],
	            &(struct tarball_entry){ .type = '1', .name = "copy", .link = "etc/passwd" });
	tarball_end(&s->layers[1]);
	sample_config(s, host_arch());
}

static void gzip(struct buf *out, const struct buf *in)
{
	uint8_t block[65536];
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

static void docker_archive(struct buf *tar, const struct sample *s, bool manifest_first)
{
	cleanup(buf_release) struct buf manifest = { 0 };

	buf_init(&manifest, 65536);
	assert_int_equal(
		buf_add_str(
			&manifest,
			"[{\"Config\":\"c.json\",\"RepoTags\":[\"busy:1\",\"example.com/x/busy:2\"],\"Layers\":["),
		0);
	for (size_t i = 0; i < s->nlayers; i++)
		assert_int_equal(buf_printf(&manifest, "%s\"%zu/layer.tar\"", i ? "," : "", i), 0);
	assert_int_equal(buf_add_str(&manifest, "]}]"), 0);
	tarball_init(tar);
	if (manifest_first)
		tarball_file(tar, "manifest.json", manifest.data);
	for (size_t i = 0; i < s->nlayers; i++) {
		char name[32];

		ignore(str_format(name, sizeof(name), "./%zu/layer.tar", i)); /* fits */
		tarball_add(tar, &(struct tarball_entry){ .name = name,
		                                          .data = s->layers[i].data,
		                                          .len = s->layers[i].len });
	}
	tarball_file(tar, "c.json", s->config.data);
	if (!manifest_first)
		tarball_file(tar, "manifest.json", manifest.data);
	tarball_end(tar);
}

static void add_blob(struct buf *tar, const struct buf *data, char digest[DIGEST_SHA256_TEXT])
{
	char name[128];

	digest_sha256_text(data->data, data->len, digest);
	ignore(str_format(name, sizeof(name), "blobs/sha256/%s", digest + 7)); /* fits */
	tarball_add(tar,
	            &(struct tarball_entry){ .name = name, .data = data->data, .len = data->len });
}

/* Blobs first, index last; layers gzipped. */
static void oci_archive(struct buf *tar, const struct sample *s, const char *annotation,
                        char top[DIGEST_SHA256_TEXT])
{
	cleanup(buf_release) struct buf manifest = { 0 };
	cleanup(buf_release) struct buf index = { 0 };
	char digest[DIGEST_SHA256_TEXT];

	tarball_init(tar);
	buf_init(&manifest, 65536);
	buf_init(&index, 65536);
	add_blob(tar, &s->config, digest);
	assert_int_equal(
		buf_printf(&manifest,
	                   "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG
	                   "\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
	                   digest, s->config.len),
		0);
	for (size_t i = 0; i < s->nlayers; i++) {
		cleanup(buf_release) struct buf packed = { 0 };

		buf_init(&packed, 64 * 1024 * 1024);
		gzip(&packed, &s->layers[i]);
		add_blob(tar, &packed, digest);
		assert_int_equal(buf_printf(&manifest,
		                            "%s{\"mediaType\":\"" MEDIA_OCI_LAYER
		                            "+gzip\",\"digest\":\"%s\",\"size\":%zu}",
		                            i ? "," : "", digest, packed.len),
		                 0);
	}
	assert_int_equal(buf_add_str(&manifest, "]}"), 0);
	add_blob(tar, &manifest, top);
	assert_int_equal(
		buf_printf(
			&index,
			"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MEDIA_OCI_MANIFEST
			"\",\"digest\":\"%s\",\"size\":%zu%s}]}",
			top, manifest.len, annotation),
		0);
	tarball_file(tar, "index.json", index.data);
	tarball_file(tar, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	tarball_end(tar);
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
	cleanup_free char *path = overlay_layer_path(f->root, key);

	return fsx_is_dir(path);
}

static void on_done(void *arg, const struct err *err, const struct pull_result *results,
                    size_t nresults)
{
	struct fixture *f = arg;

	f->over = true;
	f->job = NULL;
	forget_results(f);
	if (err) {
		f->err = *err;
		return;
	}
	for (size_t i = 0; i < nresults && i < MAX_IMAGES; i++) {
		f->ids[i] = xstrdup(results[i].id);
		f->names[i] = strv_dup(results[i].names);
		f->digests[i] = strv_dup(results[i].digests);
		f->layers[i] = xcalloc(results[i].nlayers + 1, sizeof(char *));
		f->staged[i] = 0;
		for (size_t k = 0; k < results[i].nlayers; k++) {
			f->layers[i][k] = xstrdup(results[i].layers[k].key);
			f->staged[i] += results[i].layers[k].slot >= 0;
		}
		free(f->user);
		f->user = xstrdup(results[i].user);
		f->nimages++;
	}
}

static const struct image_job_ops ops = { on_progress, on_pin, on_done };

static void start(struct fixture *f, int input, const char *name)
{
	const struct pull_request request = { .import = true, .name = (char *)(uintptr_t)name };
	struct err err = { 0 };

	f->over = false;
	f->err = (struct err){ 0 };
	f->job = image_job_new(&(struct image_job_args){ .loop = f->loop,
	                                                 .root = f->root,
	                                                 .request = &request,
	                                                 .input_fd = input,
	                                                 .oplock_fd = -1,
	                                                 .cgroup_fd = -1,
	                                                 .ops = &ops,
	                                                 .arg = f },
	                       &err);
	if (!f->job)
		fail_msg("%s", err.msg);
}

static size_t entries_of(const char *root, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s", root, name);
	cleanup(strv_free) char **names = NULL;

	assert_int_equal(fsx_list(AT_FDCWD, path, &names), 0);
	return strv_len(names);
}

/* Until it is over and its staging directory is gone. */
static void settle(struct fixture *f)
{
	int64_t until = clock_mono_ns() + 60 * NS_PER_S;

	while (!f->over || entries_of(f->root, "staging") > 0) {
		assert_true(clock_mono_ns() < until);
		ignore(loop_turn(f->loop, !f->over)); /* whether something happened is seen above */
	}
	for (int i = 0; i < 20; i++) {
		usleep(1000);
		ignore(loop_turn(f->loop, false)); /* the clean-up child's exit frees the job */
	}
}

static int archive_file(struct fixture *f, const struct buf *data)
{
	cleanup_free char *path = xasprintf("%s/archive", f->dir);
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, data->data, data->len), (ssize_t)data->len);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void import(struct fixture *f, const struct buf *archive, const char *name)
{
	cleanup_close int fd = archive_file(f, archive);

	start(f, fd, name);
	settle(f);
}

static void import_ok(struct fixture *f, const struct buf *archive, const char *name)
{
	import(f, archive, name);
	if (f->err.code != CODE_OK)
		fail_msg("%s", f->err.msg);
}

static void import_fails(struct fixture *f, const struct buf *archive, const char *name,
                         enum code code, const char *why)
{
	import(f, archive, name);
	if (f->err.code != code || !strstr(f->err.msg, why))
		fail_msg("%d \"%s\" is not %d \"%s\"", f->err.code, f->err.msg, code, why);
	assert_int_equal(entries_of(f->root, "images"), 0);
	assert_int_equal(entries_of(f->root, "layers"), 0);
}

/* --- mounts */

static int mount_image(struct fixture *f, char *const *layers, int userns, bool read_only,
                       bool old_api)
{
	cleanup(overlay_plan_free) struct overlay_plan *plan = NULL;
	struct err err = { 0 };
	char path[32] = "";
	int status;
	pid_t pid;

	if (userns >= 0)
		assert_int_equal(
			str_format(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), userns), 0);
	plan = overlay_plan_new(&(struct overlay_args){ .root = f->root,
	                                                .id = "c1",
	                                                .layers = layers,
	                                                .target = f->target,
	                                                .read_only = read_only,
	                                                .userns = path[0] ? path : NULL,
	                                                .owner_uid = userns >= 0 ? MAP_BASE : 0,
	                                                .owner_gid = userns >= 0 ? MAP_BASE : 0,
	                                                .force_mount2 = old_api },
	                        &err);
	assert_non_null(plan);
	pid = fork();
	if (pid == 0)
		_exit(overlay_mount_child(plan));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void unmount_image(struct fixture *f)
{
	cleanup(overlay_plan_free) struct overlay_plan *plan = NULL;
	char *none[] = { NULL };
	struct err err = { 0 };

	plan = overlay_plan_new(
		&(struct overlay_args){
			.root = f->root, .id = "c1", .layers = none, .target = f->target },
		&err);
	assert_non_null(plan);
	assert_int_equal(overlay_remove_child(plan), 0);
	assert_int_equal(overlay_remove_child(plan), 0); /* idempotent */
	assert_int_equal(entries_of(f->root, "snapshots"), 0);
	assert_false(fsx_exists(f->target));
}

static char *at(struct fixture *f, const char *path)
{
	return xasprintf("%s/%s", f->target, path);
}

static struct stat look(struct fixture *f, const char *path)
{
	cleanup_free char *full = at(f, path);
	struct stat st = { 0 };

	if (lstat(full, &st) < 0)
		fail_msg("%s: %s", full, errno_name(errno));
	return st;
}

static bool there(struct fixture *f, const char *path)
{
	cleanup_free char *full = at(f, path);

	return fsx_exists(full);
}

static void has_text(struct fixture *f, const char *path, const char *expected)
{
	cleanup_free char *full = at(f, path);
	cleanup_free char *text = NULL;
	size_t len;

	assert_int_equal(fsx_read(AT_FDCWD, full, 4096, &text, &len), 0);
	assert_string_equal(text, expected);
}

static void check_merged(struct fixture *f, uid_t base)
{
	struct stat st;

	has_text(f, "etc/passwd", "root");
	has_text(f, "etc/new", "new");
	assert_false(there(f, "etc/gone"));
	assert_false(there(f, "opq/low"));
	has_text(f, "opq/high", "high");
	has_text(f, "copy", "root"); /* a hard link into the layer beneath */
	st = look(f, "etc");         /* the top layer does not mention it: as in the base */
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(st.st_uid, base + 33);
	assert_int_equal(st.st_gid, base + 34);
	st = look(f, "suid");
	assert_int_equal(st.st_mode & 07777, 06755);
	assert_int_equal(st.st_uid, base + 1000);
	st = look(f, "null");
	assert_true(S_ISCHR(st.st_mode) && major(st.st_rdev) == 1 && minor(st.st_rdev) == 3);
}

static void check_root(struct fixture *f, uid_t base)
{
	struct stat st = look(f, "");

	assert_int_equal(st.st_mode & 07777, 0751);
	assert_int_equal(st.st_uid, base);
}

/* --- the tests */

static void a_docker_archive_becomes_a_root_file_system(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };
	cleanup_free char *config = NULL;
	struct err err = { 0 };
	size_t len;

	sample_init(&s);
	docker_archive(&tar, &s, false);
	import_ok(f, &tar, NULL);
	assert_int_equal(f->nimages, 1);
	assert_string_equal(f->ids[0], s.id);
	assert_string_equal(f->names[0][0], "docker.io/library/busy:1");
	assert_string_equal(f->names[0][1], "example.com/x/busy:2");
	assert_null(f->digests[0][0]);
	assert_string_equal(f->user, "7:8");
	assert_int_equal(image_config_read(f->root, s.id, &config, &len, &err), 0);
	assert_string_equal(config, s.config.data);
	assert_string_equal(f->layers[0][0], s.diff_ids[0]);
	assert_string_not_equal(f->layers[0][1], s.diff_ids[1]); /* it leans on the base */
	assert_true(f->progressed > 0);

	for (int old_api = 0; old_api < 2; old_api++) {
		cleanup_free char *touched = NULL;

		assert_int_equal(mount_image(f, f->layers[0], -1, false, old_api), 0);
		assert_int_equal(mount_image(f, f->layers[0], -1, false, old_api),
		                 0); /* already there */
		check_merged(f, 0);
		check_root(f, 0);
		touched = at(f, "written");
		assert_int_equal(mkdir(touched, 0755), 0);
		unmount_image(f);

		assert_int_equal(mount_image(f, f->layers[0], -1, true, old_api), 0);
		check_merged(f, 0);
		assert_int_equal(mkdir(touched, 0755), -1);
		assert_int_equal(errno, EROFS);
		unmount_image(f);
	}
}

static void every_order_and_compression_gives_the_same_image(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };
	cleanup(buf_release) struct buf packed = { 0 };

	sample_init(&s);
	docker_archive(&tar, &s, true);
	import_ok(f, &tar, NULL);
	assert_string_equal(f->ids[0], s.id);
	assert_int_equal(f->staged[0], 2);
	buf_init(&packed, 64 * 1024 * 1024);
	gzip(&packed, &tar);
	import_ok(f, &packed, NULL);
	assert_string_equal(f->ids[0], s.id);
	assert_int_equal(f->staged[0], 0); /* all layers were here */
	assert_int_equal(entries_of(f->root, "layers"), 2);
}

static void an_archive_can_come_through_a_pipe(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };
	int ends[2];
	pid_t pid;

	sample_init(&s);
	docker_archive(&tar, &s, false);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0)
		_exit(write_full(ends[1], tar.data, tar.len) < 0);
	close(ends[1]);
	start(f, ends[0], "given/name:v1");
	close(ends[0]);
	settle(f);
	waitpid(pid, NULL, 0);
	assert_string_equal(f->err.msg, "");
	assert_string_equal(f->names[0][0], "docker.io/given/name:v1");
	assert_null(f->names[0][1]);
}

static void an_oci_layout_keeps_its_digest(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };
	char top[DIGEST_SHA256_TEXT];
	cleanup_free char *expected = NULL;

	sample_init(&s);
	oci_archive(
		&tar, &s,
		",\"annotations\":{\"org.opencontainers.image.ref.name\":\"example.com/app:v2\"}",
		top);
	import_ok(f, &tar, NULL);
	expected = xasprintf("example.com/app@%s", top);
	assert_string_equal(f->ids[0], s.id);
	assert_string_equal(f->names[0][0], "example.com/app:v2");
	assert_string_equal(f->digests[0][0], expected);
	assert_int_equal(mount_image(f, f->layers[0], -1, false, false), 0);
	check_merged(f, 0);
	unmount_image(f);
}

/* Old docker archives store a repeated layer as a symlink; some writers use hard links. */
static void linked_members_of_an_archive_are_followed_inside_it(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };

	sample_init(&s);
	tarball_init(&tar);
	tarball_add(&tar, &(struct tarball_entry){
				  .type = '2', .name = "0/layer.tar", .link = "../x/l0" });
	tarball_add(&tar,
	            &(struct tarball_entry){ .type = '1', .name = "1/layer.tar", .link = "x/l1" });
	for (size_t i = 0; i < s.nlayers; i++)
		tarball_add(&tar, &(struct tarball_entry){ .name = i ? "x/l1" : "x/l0",
		                                           .data = s.layers[i].data,
		                                           .len = s.layers[i].len });
	tarball_file(&tar, "c.json", s.config.data);
	tarball_file(
		&tar, "manifest.json",
		"[{\"Config\":\"c.json\",\"RepoTags\":null,\"Layers\":[\"0/layer.tar\",\"1/layer.tar\"]}]");
	tarball_file(&tar, "repositories", "{\"old\":{\"v1\":\"1\",\"v0\":\"0\"}}");
	tarball_end(&tar);
	import_ok(f, &tar, NULL);
	assert_string_equal(f->ids[0], s.id);
	assert_string_equal(f->names[0][0],
	                    "docker.io/library/old:v1"); /* the name of the top layer */
	assert_null(f->names[0][1]);

	buf_clear(&tar);
	tarball_add(&tar, &(struct tarball_entry){ .type = '2',
	                                           .name = "c.json",
	                                           .link = "../../../../etc/passwd" });
	tarball_add(&tar, &(struct tarball_entry){ .type = '2', .name = "a", .link = "b" });
	tarball_add(&tar, &(struct tarball_entry){ .type = '2', .name = "b", .link = "a" });
	tarball_file(&tar, "manifest.json",
	             "[{\"Config\":\"a\",\"RepoTags\":[\"x:1\"],\"Layers\":[]}]");
	tarball_end(&tar);
	import(f, &tar, NULL);
	assert_int_equal(f->err.code, CODE_INVALID_ARGUMENT);
}

static void one_image_under_two_names_is_one_image(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };
	cleanup_free char *manifest = NULL;

	sample_init(&s);
	tarball_init(&tar);
	manifest = xstrdup(
		"[{\"Config\":\"c.json\",\"RepoTags\":[\"a:1\",\"b:1\"],\"Layers\":[\"l0\",\"l1\"]},"
		"{\"Config\":\"c.json\",\"RepoTags\":[\"b:1\",\"c:1\"],\"Layers\":[\"l0\",\"l1\"]}]");
	for (size_t i = 0; i < s.nlayers; i++)
		tarball_add(&tar, &(struct tarball_entry){ .name = i ? "l1" : "l0",
		                                           .data = s.layers[i].data,
		                                           .len = s.layers[i].len });
	tarball_file(&tar, "c.json", s.config.data);
	tarball_file(&tar, "manifest.json", manifest);
	tarball_end(&tar);
	import_ok(f, &tar, NULL);
	assert_int_equal(f->nimages, 1);
	assert_int_equal(strv_len(f->names[0]), 3);
	assert_string_equal(f->names[0][2], "docker.io/library/c:1");
	assert_int_equal(entries_of(f->root, "layers"), 2);
}

static void an_archive_without_a_name_wants_one(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };
	char top[DIGEST_SHA256_TEXT];

	sample_init(&s);
	oci_archive(&tar, &s, "", top);
	import_fails(f, &tar, NULL, CODE_FAILED_PRECONDITION, "no name");
	import_ok(f, &tar, "now:it-has");
	assert_string_equal(f->names[0][0], "docker.io/library/now:it-has");
}

static void what_does_not_match_its_digest_leaves_nothing(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };

	sample_init(&s);
	tarball_file(&s.layers[1], "later", "x"); /* the config was made without it */
	docker_archive(&tar, &s, false);
	import_fails(f, &tar, NULL, CODE_DATA_LOSS, "content is sha256:");
}

static void a_damaged_archive_names_what_is_wrong(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };
	struct buf cut;

	sample_init(&s);
	docker_archive(&tar, &s, false);
	cut = tar;
	cut.len = 3000;
	import_fails(f, &cut, NULL, CODE_INVALID_ARGUMENT, "truncated");
	buf_clear(&tar);
	tarball_file(&tar, "readme", "this is something else");
	tarball_end(&tar);
	import_fails(f, &tar, NULL, CODE_INVALID_ARGUMENT, "neither");
	buf_clear(&tar);
	tarball_file(&tar, "manifest.json", "[{\"Config\":\"c.json\",\"Layers\":[]}]");
	tarball_end(&tar);
	import_fails(f, &tar, NULL, CODE_INVALID_ARGUMENT, "c.json is missing");
}

static void an_image_for_another_machine_is_refused_by_name(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };

	sample_init(&s);
	sample_config(&s, "s390x");
	docker_archive(&tar, &s, false);
	import_fails(f, &tar, NULL, CODE_FAILED_PRECONDITION, "image is for linux/s390x");
}

static void a_layer_that_breaks_the_rules_fails_alone(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };

	sample_init(&s);
	buf_clear(&s.layers[1]);
	tarball_file(&s.layers[1], "a", "file");
	tarball_file(&s.layers[1], "a/\033[31mb", "x");
	tarball_end(&s.layers[1]);
	sample_config(&s, host_arch());
	docker_archive(&tar, &s, false);
	import_fails(f, &tar, NULL, CODE_INVALID_ARGUMENT, "no directory");
}

static void a_cancelled_import_leaves_nothing(void **arg)
{
	struct fixture *f = *arg;
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	start(f, ends[0], NULL);
	close(ends[0]);
	for (int i = 0; i < 20; i++)
		ignore(loop_turn(f->loop, false)); /* let it begin */
	image_job_cancel(f->job);
	settle(f);
	close(ends[1]);
	assert_int_equal(f->err.code, CODE_CANCELLED);
	assert_int_equal(entries_of(f->root, "staging"), 0);
}

static void copy_status(pid_t pid, const char *key, char *ret, size_t size)
{
	char path[64];
	cleanup_free char *text = NULL;
	const char *line;
	size_t len;

	ignore(str_format(path, sizeof(path), "/proc/%d/status", (int)pid)); /* fits */
	assert_int_equal(fsx_read(AT_FDCWD, path, 65536, &text, &len), 0);
	line = strstr(text, key);
	assert_non_null(line);
	line += strlen(key) + 1 + strspn(line + strlen(key) + 1, "\t ");
	ignore(str_format(ret, size, "%.*s", (int)strcspn(line, "\n"),
	                  line)); /* cut: fails the test */
}

/* Children of @parent whose command line says "coracle" and @applet. */
static pid_t find_process(const char *applet, const char *root)
{
	cleanup(strv_free) char **names = NULL;

	assert_int_equal(fsx_list(AT_FDCWD, "/proc", &names), 0);
	for (char **name = names; *name; name++) {
		char path[300];
		cleanup_free char *text = NULL;
		size_t len;

		if (**name < '1' || **name > '9' ||
		    str_format(path, sizeof(path), "/proc/%s/cmdline", *name) < 0 ||
		    fsx_read(AT_FDCWD, path, 65536, &text, &len) < 0 || len < 9 ||
		    !streq(text, "coracle"))
			continue;
		if (streq(text + 8, applet) && starts_with(text + 8 + strlen(applet) + 1, root))
			return (pid_t)strtol(*name, NULL, 10);
	}
	return -1;
}

static void both_processes_are_confined_before_they_read(void **arg)
{
	struct fixture *f = *arg;
	char value[64];
	int ends[2];
	pid_t pull = -1, unpack = -1;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	start(f, ends[0], NULL);
	close(ends[0]);
	for (int i = 0; i < 2000; i++) { /* both have nothing to read and stay */
		pull = find_process("pull", f->root);
		unpack = find_process("unpack", f->root);
		if (pull > 0 && unpack > 0) {
			copy_status(pull, "Seccomp:", value, sizeof(value));
			if (streq(value, "2")) {
				copy_status(unpack, "Seccomp:", value, sizeof(value));
				if (streq(value, "2"))
					break;
			}
		}
		ignore(loop_turn(f->loop,
		                 false)); /* polling another process is all that can be done */
		usleep(1000);
	}
	assert_true(pull > 0 && unpack > 0);
	copy_status(pull, "Seccomp:", value, sizeof(value));
	assert_string_equal(value, "2");
	copy_status(pull, "NoNewPrivs:", value, sizeof(value));
	assert_string_equal(value, "1");
	for (size_t i = 0; i < 4; i++) {
		static const char *const sets[] = { "CapInh:", "CapPrm:", "CapEff:", "CapBnd:" };

		copy_status(pull, sets[i], value, sizeof(value));
		assert_string_equal(value, "0000000000000000");
	}
	copy_status(pull, "Uid:", value, sizeof(value));
	assert_string_equal(value, "65534\t65534\t65534\t65534");
	copy_status(unpack, "Seccomp:", value, sizeof(value));
	assert_string_equal(value, "2");
	copy_status(unpack, "NoNewPrivs:", value, sizeof(value));
	assert_string_equal(value, "1");
	copy_status(unpack, "CapEff:", value, sizeof(value));
	assert_string_equal(value, "000000008820001b");
	image_job_cancel(f->job);
	settle(f);
	close(ends[1]);
}

/* A process that sits in a user namespace with ids from MAP_BASE on. */
static pid_t user_namespace(int *ret_fd)
{
	char path[64];
	int ready[2], go[2];
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) < 0 || write(ready[1], &byte, 1) != 1)
			_exit(1);
		close(go[1]);
		ignore(read(go[0], &byte, 1)); /* until the parent closes it */
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	for (int i = 0; i < 2; i++) {
		int fd;

		ignore(str_format(path, sizeof(path), "/proc/%d/%s", (int)pid,
		                  i ? "gid_map" : "uid_map")); /* fits */
		fd = open(path, O_WRONLY | O_CLOEXEC);
		assert_true(write(fd, "0 100000 65536", 14) == 14);
		close(fd);
	}
	ignore(str_format(path, sizeof(path), "/proc/%d/ns/user", (int)pid)); /* fits */
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(*ret_fd >= 0);
	kill(pid, SIGKILL); /* the descriptor keeps the namespace */
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(go[0]);
	close(go[1]);
	return pid;
}

static void a_user_namespace_sees_its_own_ids(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };
	cleanup_close int userns = -1;

	NEEDS_USERNS();
	sample_init(&s);
	docker_archive(&tar, &s, false);
	import_ok(f, &tar, NULL);
	user_namespace(&userns);
	for (int old_api = 0; old_api < 2; old_api++) {
		assert_int_equal(mount_image(f, f->layers[0], userns, false, old_api), 0);
		check_merged(f, MAP_BASE);
		check_root(f, MAP_BASE);
		unmount_image(f);
		assert_int_equal(mount_image(f, f->layers[0], userns, true, old_api), 0);
		check_merged(f, MAP_BASE);
		unmount_image(f);
	}
}

static void no_layers_give_an_empty_writable_root(void **arg)
{
	struct fixture *f = *arg;
	char *none[] = { NULL };
	cleanup_free char *written = at(f, "x");

	assert_int_equal(mount_image(f, none, -1, false, false), 0);
	assert_int_equal(mkdir(written, 0755), 0);
	unmount_image(f);
	assert_int_equal(mount_image(f, none, -1, true, false), 0);
	assert_int_equal(mkdir(written, 0755), -1);
	unmount_image(f);
}

/* As many layers as overlayfs stacks, in a store with a long path. */
static void five_hundred_layers_mount(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *long_root = xasprintf("%s/%0200d", f->dir, 0);
	cleanup(strv_free) char **layers = xcalloc(OVERLAY_LAYERS_MAX + 1, sizeof(*layers));
	struct err err = { 0 };

	assert_int_equal(image_dirs_create(long_root, &err), 0);
	free(f->root);
	f->root = xstrdup(long_root);
	for (size_t i = 0; i < OVERLAY_LAYERS_MAX; i++) {
		cleanup_free char *fs = NULL;
		cleanup_free char *meta = NULL;
		cleanup_free char *file = NULL;

		layers[i] = xasprintf("sha256:%064zu", i);
		fs = overlay_layer_path(f->root, layers[i]);
		assert_int_equal(fsx_mkdir_p(fs, 0755), 0);
		file = xasprintf("%s/%zu", fs, i);
		assert_int_equal(mkdir(file, 0755), 0);
		meta = xasprintf("%.*smeta", (int)(strlen(fs) - 2), fs);
		assert_int_equal(fsx_write(AT_FDCWD, meta, "size 0\ninodes 1\nroot 0\n", 23, 0600),
		                 0);
	}
	for (int old_api = 0; old_api < 2; old_api++) {
		assert_int_equal(mount_image(f, layers, -1, false, old_api), 0);
		assert_true(there(f, "0"));
		assert_true(there(f, "499"));
		unmount_image(f);
	}
}

static void removed_images_leave_no_files(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };
	struct image_remove *remove;
	struct err err = { 0 };
	const char *ids[1];

	sample_init(&s);
	docker_archive(&tar, &s, false);
	import_ok(f, &tar, NULL);
	ids[0] = f->ids[0];
	for (int twice = 0; twice < 2; twice++) {
		remove = image_remove_new(f->root, ids, 1, (const char *const *)f->layers[0], 2,
		                          &err);
		assert_non_null(remove);
		assert_int_equal(image_remove_child(remove), 0);
		image_remove_free(remove);
	}
	assert_int_equal(entries_of(f->root, "layers"), 0);
	assert_int_equal(entries_of(f->root, "images"), 0);
	assert_int_equal(entries_of(f->root, "trash"), 0);
}

static void an_opaque_root_cuts_off_what_is_beneath(void **arg)
{
	struct fixture *f = *arg;
	cleanup(sample_release) struct sample s = { 0 };
	cleanup(buf_release) struct buf tar = { 0 };

	sample_init(&s);
	buf_clear(&s.layers[1]);
	tarball_file(&s.layers[1], ".wh..wh..opq", "");
	tarball_file(&s.layers[1], "only", "this");
	tarball_end(&s.layers[1]);
	sample_config(&s, host_arch());
	docker_archive(&tar, &s, false);
	for (int twice = 0; twice < 2; twice++) {
		import_ok(f, &tar, NULL);
		assert_non_null(f->layers[0][0]);
		assert_null(f->layers[0][1]);
	}
	assert_int_equal(mount_image(f, f->layers[0], -1, false, false), 0);
	assert_true(there(f, "only"));
	assert_false(there(f, "etc"));
	unmount_image(f);
}

int main(int argc, char **argv)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_docker_archive_becomes_a_root_file_system),
		T(every_order_and_compression_gives_the_same_image),
		T(an_archive_can_come_through_a_pipe),
		T(an_oci_layout_keeps_its_digest),
		T(linked_members_of_an_archive_are_followed_inside_it),
		T(one_image_under_two_names_is_one_image),
		T(an_archive_without_a_name_wants_one),
		T(what_does_not_match_its_digest_leaves_nothing),
		T(a_damaged_archive_names_what_is_wrong),
		T(an_image_for_another_machine_is_refused_by_name),
		T(a_layer_that_breaks_the_rules_fails_alone),
		T(a_cancelled_import_leaves_nothing),
		T(both_processes_are_confined_before_they_read),
		T(a_user_namespace_sees_its_own_ids),
		T(no_layers_give_an_empty_writable_root),
		T(five_hundred_layers_mount),
		T(removed_images_leave_no_files),
		T(an_opaque_root_cuts_off_what_is_beneath),
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
