/* Where the settings go: records, coracle.conf, hosts.toml, diff, report. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/migrate/diff.h"
#include "cmd/migrate/keys.h"
#include "cmd/migrate/output.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/config.h"
#include "core/image/mirrors.h"

#define CRI "[plugins.cri]\n"

struct fixture {
	struct toml *toml;
	struct migrate_edit edit;
	struct migrate_records records;
};

static void open_fixture(struct fixture *f, const char *text)
{
	struct err err = { .code = CODE_OK };
	struct migrate_message error = { .text = "" };

	f->toml = toml_parse("in", text, strlen(text), NULL, &err);
	if (!f->toml)
		fail_msg("%s", err.msg);
	if (migrate_edit(f->toml, false, &f->edit, &error) < 0)
		fail_msg("%s", error.text);
	migrate_records(&f->edit, NULL, &f->records);
}

static void close_fixture(struct fixture *f)
{
	migrate_records_release(&f->records);
	migrate_edit_release(&f->edit);
	toml_free(f->toml);
}

/* "conf [image] pause_image = q" and the like, of the @i-th record. */
static char *record_text(const struct fixture *f, size_t i)
{
	const struct migrate_record *r;

	assert_true(i < f->records.count);
	r = &f->records.all[i];
	if (r->key)
		return xasprintf("%s [%s] %s = %s", migrate_action_name(r->action), r->section,
		                 r->key, or_empty(r->text));
	if (r->section)
		return xasprintf("%s %s", migrate_action_name(r->action), r->section);
	return xasprintf("%s%s%s", migrate_action_name(r->action), r->note ? ": " : "",
	                 or_empty(r->note));
}

struct row {
	const char *text, *record;
};

static void expect_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct fixture f;
		cleanup_free char *got = NULL;

		open_fixture(&f, rows[i].text);
		got = record_text(&f, 0);
		if (!streq(got, rows[i].record))
			fail_msg("%s: \"%s\" is not \"%s\"", rows[i].text, got, rows[i].record);
		close_fixture(&f);
	}
}

static void each_setting_is_told_where_it_belongs(void **arg)
{
	static const struct row rows[] = {
		{ CRI "disable_tcp_service = true", "kept [cri] disable_tcp_service = true" },
		{ CRI "stream_server_port = '10010'", "conf [streaming] port = 10010" },
		{ CRI "stream_idle_timeout = '4h0m0s'",
		  "default [streaming] idle_timeout = 4h0m0s" },
		{ CRI "disable_apparmor = true", "conf [security] apparmor = false" },
		{ CRI "stats_collect_period = 30", "conf [stats] snapshot_period = 30s" },
		{ CRI "cdi_spec_dirs = ['/a', '/b']", "conf [cdi] spec_dirs = /a, /b" },
		{ CRI "systemd_cgroup = true", "conf [cgroup] manager = systemd" },
		{ CRI "cni.conf_dir = '/x'", "conf [cni] conf_dir = /x" },
		{ CRI "cni = { bin_dir = '/x' }", "conf [cni] bin_dirs = /x" },
		{ CRI "containerd.snapshotter = 'overlayfs'",
		  "obsolete: layers are always on overlayfs" },
		{ CRI "containerd.snapshotter = 'zfs'", "none: layers are always on overlayfs" },
		{ CRI "containerd.runtimes.nv.options.BinaryName = '/usr/bin/nv'",
		  "conf [runtime nv] path = /usr/bin/nv" },
		{ CRI "containerd.runtimes.k.runtime_type = 'io.containerd.kata.v2'",
		  "none: OCI runtimes are called directly, without a shim" },
		{ CRI "registry.mirrors.'docker.io'.endpoint = ['https://m']", "hosts docker.io" },
		{ CRI "registry.configs.'r:5000'.auth.password = 'geheim'",
		  "secret: use image pull secrets" },
		{ CRI "tolerate_missing_hugepages_controller = true",
		  "unknown: did you mean tolerate_missing_hugetlb_controller?" },
		{ CRI "cni.conf_dirr = '/x'", "unknown: did you mean conf_dir?" },
		{ CRI "cni.bin_dis = '/x'", "unknown: did you mean bin_dir or bin_dirs?" },
		{ CRI "frobnicate = 1", "unknown" },
		{ CRI "enable_selinux = 'yes'", "none [security] selinux = " },
		{ CRI "cni.conf_dir = 'relative'", "none [cni] conf_dir = relative" },
		{ CRI "sandbox_image = \"a\\nb\"", "none [image] pause_image = " },
		{ CRI "sandbox_image = 'a ; b'", "none [image] pause_image = " },
		{ "debug.level = 'trace'", "conf [log] level = debug" },
		{ "root = '/r'", "note: not taken over: both runtimes would write there" },
		{ "disabled_plugins = ['cri']",
		  "note: the CRI plugin was switched off in containerd" },
		{ "imports = ['x']", "note: not followed: name the files to migrate them too" },
		/* version 3 has the same settings elsewhere */
		{ "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'q'",
		  "conf [image] pause_image = q" },
		{ "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/x'",
		  "conf [cni] conf_dir = /x" },
	};

	(void)arg;
	expect_rows(rows, ARRAY_SIZE(rows));
}

static void a_runtime_without_a_type_is_ignored_and_one_with_it_is_a_handler(void **arg)
{
	struct fixture f;
	cleanup_free char *first = NULL, *second = NULL;

	(void)arg;
	open_fixture(
		&f, CRI
		"[plugins.cri.containerd.default_runtime]\nruntime_type = ''\nruntime_engine = '/x'\n");
	second = record_text(&f, 1);
	assert_string_equal(second, "obsolete: without a runtime_type containerd ignores it");
	close_fixture(&f);
	free(take_ptr(second));

	open_fixture(
		&f, CRI
		"[plugins.cri.containerd.default_runtime]\nruntime_type = 'io.containerd.runtime.v1.linux'\nruntime_engine = '/x'\n");
	first = record_text(&f, 0);
	second = record_text(&f, 1);
	assert_string_equal(first, "conf [runtime] default = default");
	assert_string_equal(second, "conf [runtime default] path = /x");
	close_fixture(&f);
}

static void a_default_needs_a_runtime_that_answers_to_it(void **arg)
{
	static const struct row rows[] = {
		{ CRI "containerd.default_runtime_name = 'runc'", "conf [runtime] default = runc" },
		{ CRI "containerd.default_runtime_name = 'kata'", "none [runtime] default = kata" },
		{ CRI
		  "containerd.default_runtime_name = 'x'\ncontainerd.runtimes.x.runtime_type = 'io.containerd.runc.v2'",
		  "conf [runtime] default = x" },
		{ CRI
		  "containerd.default_runtime_name = 'runc'\ncontainerd.runtimes.y.options.BinaryName = 'y'",
		  "none [runtime] default = runc" },
		{ CRI "containerd.default_runtime.runtime_type = 'io.containerd.runc.v2'",
		  "conf [runtime] default = default" },
	};
	struct fixture f;
	cleanup_free char *second = NULL;

	(void)arg;
	expect_rows(rows, ARRAY_SIZE(rows));
	open_fixture(&f, rows[4].text);
	second = record_text(&f, 1);
	assert_string_equal(second, "conf [runtime default] path = runc");
	close_fixture(&f);
}

static void runtimes_that_disagree_about_systemd_are_not_decided_for(void **arg)
{
	struct fixture f;

	(void)arg;
	open_fixture(
		&f, CRI
		"containerd.runtimes.a.options.SystemdCgroup = true\ncontainerd.runtimes.b.options.SystemdCgroup = false\n");
	assert_int_equal(f.records.all[0].action, MIGRATE_NONE);
	assert_int_equal(f.records.all[1].action, MIGRATE_NONE);
	assert_non_null(strstr(f.records.all[0].note, "disagree"));
	close_fixture(&f);
}

/* ------------------------------------------------------------------------------------------------- coracle.conf */

static char *conf_of(const char *text, struct migrate_conf_count *ret_count)
{
	struct fixture f;
	const struct migrate_records *records = &f.records;
	struct err err = { .code = CODE_OK };
	struct buf out;

	buf_init(&out, 1 << 20);
	open_fixture(&f, text);
	if (migrate_conf(&records, 1, NULL, &out, ret_count, &err) < 0)
		fail_msg("%s", err.msg);
	close_fixture(&f);
	return buf_take_str(&out);
}

static void settings_of_this_version_are_written_and_later_ones_noted(void **arg)
{
	struct migrate_conf_count count;
	cleanup_free char *conf =
		conf_of(CRI "stream_server_port = '1'\ncni.conf_dir = '/x'\n"
	                    "containerd.default_runtime_name = 'nv'\ncni.bin_dirs = ['/a', '/b']\n"
	                    "containerd.runtimes.nv.options.BinaryName = 'nv-runc'\n"
	                    "containerd.runtimes.plain.runtime_type = 'io.containerd.runc.v2'\n",
	                &count);

	(void)arg;
	assert_string_equal(
		conf, "# Settings of containerd's CRI plugin, as found by coracle migrate-config.\n"
		      "\n[cni]\nconf_dir = /x\nbin_dirs = /a, /b\n"
		      "\n[runtime]\ndefault = nv\n"
		      "\n[runtime nv]\npath = nv-runc\n"
		      "\n[runtime plain]\npath = runc\n"
		      "\n# This version of coracle does not read these yet.\n"
		      "# later: [streaming] port = 1\n");
	assert_int_equal(count.all, 6);
	assert_int_equal(count.later, 1);
}

/* Whatever runtimes the administrator has configured already. */
static void a_default_brings_its_runtime_along(void **arg)
{
	struct migrate_conf_count count;
	cleanup_free char *conf = conf_of(CRI "containerd.default_runtime_name = 'runc'\n", &count);

	(void)arg;
	assert_non_null(strstr(conf, "[runtime]\ndefault = runc\n\n[runtime runc]\npath = runc\n"));
	assert_int_equal(count.all, 2);
}

static void what_stays_in_the_file_is_no_reason_to_write_one(void **arg)
{
	struct migrate_conf_count count;
	cleanup_free char *conf = conf_of(
		CRI "disable_tcp_service = false\nstream_idle_timeout = '4h0m0s'\n", &count);

	(void)arg;
	assert_string_equal(conf, "");
	assert_int_equal(count.all, 0);
}

static void a_file_that_has_all_of_it_needs_no_writing(void **arg)
{
	static const char wanted[] =
		"# by us\n\n[cni]\nconf_dir = /x\n\n# later: [streaming] port = 1\n";

	(void)arg;
	assert_true(migrate_conf_holds(wanted, wanted));
	assert_true(migrate_conf_holds(
		"[log]\nlevel = info\n# later: [streaming] port = 1\n[cni]\nbuiltin = no\nconf_dir = /x",
		wanted));
	assert_false(migrate_conf_holds("[log]\nconf_dir = /x\n# later: [streaming] port = 1\n",
	                                wanted));
	assert_false(migrate_conf_holds("[cni]\nconf_dir = /x\n", wanted));
	assert_false(migrate_conf_holds("[cni]\nconf_dir = /y\n# later: [streaming] port = 1\n",
	                                wanted));
}

/* Every file of the corpus: what is written is read by the daemon without a problem. */
static void what_is_written_for_any_configuration_of_the_field_is_read_back(void **arg)
{
	char **names = NULL;
	size_t written = 0;

	(void)arg;
	assert_true(fsx_list(AT_FDCWD, "tests/corpus/configs", &names) >= 0);
	for (char **name = names; *name; name++) {
		cleanup_free char *path = xasprintf("tests/corpus/configs/%s", *name), *text = NULL,
				  *conf = NULL;
		struct migrate_conf_count count;
		struct err err = { .code = CODE_OK };

		if (!ends_with(*name, ".toml"))
			continue;
		assert_int_equal(file_read_all(path, 1 << 20, &text, NULL, &err), 0);
		conf = conf_of(text, &count);
		written += count.all > 0;
	}
	strv_free(names);
	assert_true(written > 30);
}

/* --------------------------------------------------------------------------------------------------- hosts.toml */

static void mirrors_become_hosts_toml_with_their_certificates(void **arg)
{
	static const char text[] = CRI
		"[plugins.cri.registry.mirrors.'docker.io']\nendpoint = ['https://m.example/x', 'localhost:5000', 'm2:444/v2']\n"
		"[plugins.cri.registry.mirrors.'*']\nendpoint = ['http://any']\n"
		"[plugins.cri.registry.configs.'m2:444'.tls]\nca_file = '/ca'\ncert_file = '/c'\nkey_file = '/k'\n"
		"[plugins.cri.registry.configs.'r.example'.tls]\ninsecure_skip_verify = true\n"
		"[plugins.cri.registry.headers]\nX-A = ['1', '2']\n";
	struct fixture f;
	cleanup(migrate_hosts_release) struct migrate_hosts hosts = { 0 };
	struct err err = { .code = CODE_OK };

	(void)arg;
	open_fixture(&f, text);
	assert_int_equal(migrate_hosts(&f.edit, &hosts, &err), 0);
	assert_int_equal(hosts.count, 4);
	assert_string_equal(hosts.all[0].dir, "docker.io");
	assert_string_equal(
		hosts.all[0].text,
		"# Mirrors of containerd's CRI plugin, as found by coracle migrate-config.\n"
		"\n[host.\"https://m.example/x\"]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n"
		"  [host.\"https://m.example/x\".header]\n    \"X-A\" = [\"1\", \"2\"]\n"
		"\n[host.\"http://localhost:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
		"  [host.\"http://localhost:5000\".header]\n    \"X-A\" = [\"1\", \"2\"]\n"
		"\n[host.\"https://m2:444/v2\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"/ca\"\n"
		"  client = [[\"/c\", \"/k\"]]\n"
		"  [host.\"https://m2:444/v2\".header]\n    \"X-A\" = [\"1\", \"2\"]\n");
	assert_string_equal(hosts.all[1].dir, "_default");
	assert_string_equal(hosts.all[2].dir, "m2:444");
	assert_string_equal(hosts.all[3].dir, "r.example");
	assert_non_null(strstr(hosts.all[3].text, "[host.\"https://r.example\"]\n"));
	assert_non_null(strstr(hosts.all[3].text, "skip_verify = true\n"));
	close_fixture(&f);
}

static void make_hosts(const char *text, struct migrate_hosts *ret)
{
	struct fixture f;
	struct err err = { .code = CODE_OK };

	open_fixture(&f, text);
	if (migrate_hosts(&f.edit, ret, &err) < 0)
		fail_msg("%s", err.msg);
	close_fixture(&f);
}

/* Written where it belongs, the daemon asks these hosts for an image of the registry. */
static void expect_mirrors(const struct migrate_host *host, const char *domain, const char *want)
{
	char dir[] = "/tmp/coracle-test.XXXXXX";
	cleanup_free char *below = NULL, *path = NULL, *got = xstrdup("");
	cleanup(mirrors_release) struct mirrors mirrors = { 0 };
	struct err err = { .code = CODE_OK };

	assert_non_null(mkdtemp(dir));
	below = xasprintf("%s/%s", dir, host->dir);
	path = xasprintf("%s/hosts.toml", below);
	assert_int_equal(mkdir(below, 0700), 0);
	assert_true(fsx_write(AT_FDCWD, path, host->text, strlen(host->text), 0600) >= 0);
	if (migrate_host_check(host, &err) < 0 || mirrors_load(dir, domain, &mirrors, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(mirrors.file, path);
	for (size_t i = 0; i < mirrors.count; i++) {
		const struct mirror *m = &mirrors.items[i];
		cleanup_free char *before = got;

		got = xasprintf("%s%s://%s:%u%s%s%s%s%s\n", before,
		                m->scheme == MIRROR_HTTPS ? "https" : "http", m->host, m->port,
		                m->base, m->ca ? " ca" : "", m->client_key ? " client" : "",
		                m->skip_verify ? " any" : "", m->upstream ? " itself" : "");
	}
	assert_string_equal(got, want);
	unlink(path);
	rmdir(below);
	rmdir(dir);
}

static void the_daemon_reads_back_what_is_written(void **arg)
{
	cleanup(migrate_hosts_release) struct migrate_hosts hosts = { 0 };

	(void)arg;
	make_hosts(
		CRI
		"[plugins.cri.registry.mirrors.'docker.io']\nendpoint = ['https://m.example/x', 'localhost:5000', 'm2:444/v2']\n"
		"[plugins.cri.registry.mirrors.'*']\nendpoint = ['http://any', 'http://any']\n"
		"[plugins.cri.registry.configs.'m2:444'.tls]\nca_file = '/dev/null'\ncert_file = '/dev/null'\nkey_file = '/dev/null'\n"
		"[plugins.cri.registry.configs.'r.example'.tls]\ninsecure_skip_verify = true\n"
		"[plugins.cri.registry.headers]\nX-A = ['1', '2']\n",
		&hosts);
	assert_int_equal(hosts.count, 4);
	expect_mirrors(
		&hosts.all[0], "docker.io",
		"https://m.example:443/x\nhttp://localhost:5000/v2\nhttps://m2:444/v2 ca client\n"
		"https://registry-1.docker.io:443/v2 itself\n");
	expect_mirrors(&hosts.all[1], "else.example",
	               "http://any:80/v2\nhttps://else.example:443/v2 itself\n");
	expect_mirrors(&hosts.all[3], "r.example",
	               "https://r.example:443/v2 any itself\nhttps://r.example:443/v2 itself\n");
}

static void registries_of_newer_files_are_written_as_well(void **arg)
{
	cleanup(migrate_hosts_release) struct migrate_hosts hosts = { 0 };

	(void)arg;
	make_hosts(
		"version = 3\n"
		"[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.old]\nendpoint = ['https://o']\n"
		"[plugins.'io.containerd.cri.v1.images'.registry.mirrors.new]\nendpoint = ['https://n', 'n']\n",
		&hosts);
	assert_int_equal(hosts.count, 1);
	expect_mirrors(&hosts.all[0], "new", "https://n:443/v2\nhttps://new:443/v2 itself\n");
}

static void what_the_daemon_could_not_use_is_refused(void **arg)
{
	static const struct row rows[] = {
		{ CRI
		  "registry.mirrors.r.endpoint = ['https://m']\nregistry.configs.m.tls.ca_file = '/no/such'\n",
		  "/no/such" },
		{ CRI
		  "registry.mirrors.r.endpoint = ['https://m']\nregistry.headers.Host = ['x']\n",
		  "header Host cannot be configured" },
		{ CRI "registry.mirrors.r.endpoint = ['https://m:x']\n", "not the URL of a host" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup(migrate_hosts_release) struct migrate_hosts hosts = { 0 };
		struct err err = { .code = CODE_OK };

		make_hosts(rows[i].text, &hosts);
		assert_int_equal(migrate_host_check(&hosts.all[0], &err), -1);
		if (!strstr(err.msg, rows[i].record))
			fail_msg("\"%s\" does not say \"%s\"", err.msg, rows[i].record);
	}
}

static void credentials_are_neither_written_nor_shown(void **arg)
{
	static const char text[] = CRI
		"registry.mirrors.r.endpoint = ['https://me:geheim@m/x', 'me:geheim@n']\nregistry.headers.Authorization = ['geheim']\n";
	cleanup(migrate_hosts_release) struct migrate_hosts hosts = { 0 };
	cleanup(buf_release) struct buf out = { 0 };
	struct fixture f;

	(void)arg;
	make_hosts(text, &hosts);
	assert_non_null(strstr(hosts.all[0].text, "[host.\"https://m/x\"]"));
	assert_non_null(strstr(hosts.all[0].text, "[host.\"https://n\"]"));
	assert_null(strstr(hosts.all[0].text, "me:"));
	open_fixture(&f, text);
	buf_init(&out, 1 << 20);
	assert_int_equal(migrate_report_text(&(struct migrate_report){ .file = "f",
	                                                               .edit = &f.edit,
	                                                               .records = &f.records },
	                                     &out),
	                 0);
	assert_null(strstr(out.data, "geheim"));
	assert_non_null(strstr(out.data, "use image pull secrets"));
	close_fixture(&f);
}

static void the_directory_of_hosts_toml_gets_into_the_configuration(void **arg)
{
	static const char set[] = CRI "registry.config_path = '/a:/b'\n";
	static const struct {
		const char *text, *dir, *conf;
	} rows[] = {
		{ CRI, "/mine",
		  "[registry]\nconfig_path = /mine, /etc/coracle/hosts.d, /etc/containerd/certs.d\n" },
		{ CRI, "/etc/coracle/hosts.d/", NULL },
		{ set, "/mine", "[registry]\nconfig_path = /mine, /a:/b\n" },
		{ set, "/b", "[registry]\nconfig_path = /a:/b\n" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture f;
		const struct migrate_records *records = &f.records;
		struct migrate_conf_count count;
		struct err err = { .code = CODE_OK };
		cleanup(buf_release) struct buf out = { 0 };

		buf_init(&out, 1 << 20);
		open_fixture(&f, rows[i].text);
		if (migrate_conf(&records, 1, rows[i].dir, &out, &count, &err) < 0)
			fail_msg("%s", err.msg);
		if (rows[i].conf)
			assert_non_null(strstr(out.data, rows[i].conf));
		else
			assert_int_equal(count.all, 0);
		close_fixture(&f);
	}
	assert_true(migrate_hosts_default("/etc/containerd/certs.d"));
	assert_false(migrate_hosts_default("/etc/containerd"));
}

static void a_registry_that_names_no_directory_is_refused(void **arg)
{
	static const char *const names[] = { "", "..", "../x", "/etc", "a/b", ".hidden", "a b" };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_free char *text =
			xasprintf(CRI "registry.mirrors.'%s'.endpoint = ['https://m']\n", names[i]);
		cleanup(migrate_hosts_release) struct migrate_hosts hosts = { 0 };
		struct fixture f;
		struct err err = { .code = CODE_OK };

		open_fixture(&f, text);
		assert_int_equal(migrate_hosts(&f.edit, &hosts, &err), -1);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
		close_fixture(&f);
	}
}

/* --------------------------------------------------------------------------------------------------------- diff */

static void expect_diff(const char *text, const char *want)
{
	struct fixture f;
	cleanup(buf_release) struct buf out = { 0 };

	buf_init(&out, 1 << 20);
	open_fixture(&f, text);
	assert_int_equal(migrate_diff(&f.edit, "f", &out), 0);
	assert_string_equal(or_empty(out.data), want);
	close_fixture(&f);
}

#define HEAD "--- f\n+++ f (migrated)\n"

static void the_diff_is_what_patch_reads(void **arg)
{
	(void)arg;
	expect_diff("x = 1\n", "");
	expect_diff(
		"1=1\n2=2\n3=3\n4=4\n" CRI "a=1\ndisable_tcp_service=true\n[a]\n[b]\n[c]\n[d]\n",
		HEAD
		"@@ -3,7 +3,6 @@\n 3=3\n 4=4\n [plugins.cri]\n-a=1\n disable_tcp_service=true\n [a]\n [b]\n");
	/* the whole file, without a newline at its end */
	expect_diff(CRI "a = 1",
	            HEAD "@@ -1,2 +0,0 @@\n-[plugins.cri]\n-a = 1\n\\ No newline at end of file\n");
	/* inside a line */
	expect_diff("plugins = { cri = { a = 1 }, b = 2 }\n", HEAD
	            "@@ -1 +1 @@\n-plugins = { cri = { a = 1 }, b = 2 }\n+plugins = { b = 2 }\n");
	/* lines joined by a cut that swallows their ends */
	expect_diff(
		"plugins = { cri = { a = 1 },\nb = 2 }\nx = 1\n", HEAD
		"@@ -1,3 +1,2 @@\n-plugins = { cri = { a = 1 },\n-b = 2 }\n+plugins = { b = 2 }\n x = 1\n");
	/* two places far apart are two hunks, and the second knows what the first took */
	expect_diff(CRI "a=1\n[b]\n1=1\n2=2\n3=3\n4=4\n5=5\n6=6\n7=7\n[plugins.cri.c]\nd=1\n[e]\n",
	            HEAD "@@ -1,5 +1,3 @@\n-[plugins.cri]\n-a=1\n [b]\n 1=1\n 2=2\n"
	                 "@@ -8,6 +6,4 @@\n 5=5\n 6=6\n 7=7\n-[plugins.cri.c]\n-d=1\n [e]\n");
}

/* ------------------------------------------------------------------------------------------------------- report */

static void the_report_is_json_with_masked_secrets(void **arg)
{
	static const char text[] =
		"version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nenable_selinux = true\n"
		"[plugins.'io.containerd.grpc.v1.cri'.registry.configs.r.auth]\npassword = 'geheim'\n";
	struct fixture f;
	struct migrate_report report = { .file = "f" };
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *array = yyjson_mut_arr(doc);
	cleanup_free char *json = NULL;
	cleanup(yyjson_doc_free) yyjson_doc *again = NULL;
	yyjson_val *file, *key;
	cleanup(buf_release) struct buf out = { 0 };

	(void)arg;
	open_fixture(&f, text);
	report.edit = &f.edit;
	report.records = &f.records;
	migrate_report_json(&report, doc, array);
	yyjson_mut_doc_set_root(doc, array);
	json = json_write(doc, false, NULL);
	assert_null(strstr(json, "geheim"));
	again = yyjson_read(json, strlen(json), 0);
	file = yyjson_arr_get(yyjson_doc_get_root(again), 0);
	assert_string_equal(json_str(file, "file", ""), "f");
	assert_int_equal(json_i64(file, "version", 0), 2);
	assert_true(json_bool(file, "changed", false));
	assert_string_equal(yyjson_get_str(yyjson_arr_get(json_arr(file, "tables"), 0)),
	                    MIGRATE_CRI);
	key = yyjson_arr_get(json_arr(file, "keys"), 0);
	assert_string_equal(json_str(key, "action", ""), "conf");
	assert_string_equal(json_str(key, "section", ""), "security");
	assert_int_equal(json_i64(key, "line", 0), 3);
	assert_true(json_bool(key, "value", false));
	key = yyjson_arr_get(json_arr(file, "keys"), 1);
	assert_string_equal(json_str(key, "value", ""), "***");
	assert_true(yyjson_is_null(yyjson_obj_get(file, "error")));

	buf_init(&out, 1 << 20);
	assert_int_equal(migrate_report_text(&report, &out), 0);
	assert_string_equal(
		out.data,
		"f: version 2, plugins.\"io.containerd.grpc.v1.cri\"\n"
		"  conf        3  enable_selinux = true                                 [security] selinux = true (later)\n"
		"  secret      5  registry.configs.r.auth.password = ***                use image pull secrets\n"
		"  2 settings: 1 to coracle.conf (1 of them not read by this version yet), 1 secret\n");
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_setting_is_told_where_it_belongs),
		cmocka_unit_test(a_runtime_without_a_type_is_ignored_and_one_with_it_is_a_handler),
		cmocka_unit_test(a_default_needs_a_runtime_that_answers_to_it),
		cmocka_unit_test(runtimes_that_disagree_about_systemd_are_not_decided_for),
		cmocka_unit_test(settings_of_this_version_are_written_and_later_ones_noted),
		cmocka_unit_test(a_default_brings_its_runtime_along),
		cmocka_unit_test(what_stays_in_the_file_is_no_reason_to_write_one),
		cmocka_unit_test(a_file_that_has_all_of_it_needs_no_writing),
		cmocka_unit_test(what_is_written_for_any_configuration_of_the_field_is_read_back),
		cmocka_unit_test(mirrors_become_hosts_toml_with_their_certificates),
		cmocka_unit_test(the_daemon_reads_back_what_is_written),
		cmocka_unit_test(registries_of_newer_files_are_written_as_well),
		cmocka_unit_test(what_the_daemon_could_not_use_is_refused),
		cmocka_unit_test(credentials_are_neither_written_nor_shown),
		cmocka_unit_test(the_directory_of_hosts_toml_gets_into_the_configuration),
		cmocka_unit_test(a_registry_that_names_no_directory_is_refused),
		cmocka_unit_test(the_diff_is_what_patch_reads),
		cmocka_unit_test(the_report_is_json_with_masked_secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
