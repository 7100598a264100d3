#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/config.h"

static const struct config_flags no_flags;

static struct config *parse(const char *text)
{
	struct config *config;
	struct err err;

	config = config_from_text("f", text, strlen(text), &no_flags, &err);
	if (!config)
		fail_msg("%s", err.msg);
	return config;
}

static void assert_problem(const char *text, const char *expected)
{
	cleanup(config_free) struct config *config = parse(text);

	assert_int_equal(config->nproblems, 1);
	assert_string_equal(config->problems[0].text, expected);
	assert_false(config->problems[0].fatal);
}

static void assert_fatal(const char *text, const char *expected)
{
	struct err err;

	assert_null(config_from_text("f", text, strlen(text), &no_flags, &err));
	assert_int_equal(err.code, CODE_FAILED_PRECONDITION);
	assert_string_equal(err.msg, expected);
}

static void an_empty_file_gives_the_defaults(void **arg)
{
	cleanup(config_free) struct config *config = parse("");

	(void)arg;
	assert_int_equal(config->nproblems, 0);
	assert_string_equal(config->root, "/var/lib/coracle");
	assert_string_equal(config->state, "/run/coracle");
	assert_string_equal(config->listen, "/run/coracle/coracle.sock");
	assert_int_equal(config->log_level, LOG_LEVEL_INFO);
	assert_int_equal(config->nruntimes, 0);
	assert_null(config->default_runtime);
	assert_string_equal(config->cni_conf_dir, "/etc/cni/net.d");
	assert_string_equal(config->cni_bin_dirs[0], "/opt/cni/bin");
	assert_string_equal(config->cni_bin_dirs[1], "/usr/lib/cni");
	assert_null(config->cni_bin_dirs[2]);
	assert_string_equal(config->registry_hosts_dir,
	                    "/etc/coracle/hosts.d:/etc/containerd/certs.d");
	assert_null(config->pinned_images[0]);
	assert_true(config->journal_keep_bytes == 64 << 20);
	assert_true(config->journal_segment_bytes == 4 << 20);
	assert_true(config->nri_hold_ms == 24 * 3600 * 1000);
	assert_true(config->runtime_timeout_ms == 120000);
	assert_true(config->cni_timeout_ms == 60000);
}

static void every_default_would_be_accepted_from_a_file(void **arg)
{
	struct err err;

	(void)arg;
	for (size_t i = 0; i < config_key_count(); i++)
		assert_int_equal(config_key_check(config_key_at(i), config_key_at(i)->dflt, &err),
		                 0);
}

static void values_are_read(void **arg)
{
	cleanup(config_free) struct config *config =
		parse("[daemon]\n"
	              "root = //data//coracle/ # trailing comment\n"
	              "state=/run/c2\n"
	              "[log]\n"
	              "level: debug\n"
	              "[runtime]\n"
	              "default = kata\n"
	              "[runtime crun]\n"
	              "[runtime vm]\n"
	              "handler = kata\n"
	              "path = /usr/bin/kata-runtime\n"
	              "sandbox = pause\n"
	              "[image]\n"
	              "pinned_images = a, b:1\n"
	              "   c\n"
	              "[registry]\n"
	              "config_path = /a:/b\n"
	              "[journal]\n"
	              "keep = 1 GiB\n"
	              "segment_size = 65536\n"
	              "[cni]\n"
	              "timeout = 90s\n"
	              "[nri]\n"
	              "hold = 1h30m0.5s\n");

	(void)arg;
	for (size_t i = 0; i < config->nproblems; i++)
		print_message("%s\n", config->problems[i].text);
	assert_int_equal(config->nproblems, 0);
	assert_string_equal(config->root, "/data/coracle");
	assert_string_equal(config->listen, "/run/c2/coracle.sock");
	assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
	assert_string_equal(config->default_runtime, "kata");
	assert_int_equal(config->nruntimes, 2);
	assert_string_equal(config->runtimes[0].name, "crun");
	assert_string_equal(config->runtimes[0].path, "crun");
	assert_string_equal(config->runtimes[0].sandbox, "pinned");
	assert_string_equal(config->runtimes[1].name, "kata");
	assert_string_equal(config->runtimes[1].path, "/usr/bin/kata-runtime");
	assert_string_equal(config->runtimes[1].sandbox, "pause");
	assert_int_equal(strv_len(config->pinned_images), 3);
	assert_string_equal(config->pinned_images[2], "c");
	assert_string_equal(config->registry_hosts_dir, "/a:/b");
	assert_true(config->journal_keep_bytes == 1 << 30);
	assert_true(config->journal_segment_bytes == 65536);
	assert_true(config->cni_timeout_ms == 90000);
	assert_true(config->nri_hold_ms == 5400500);
}

static void an_unknown_key_or_section_is_named_with_line_and_suggestion(void **arg)
{
	(void)arg;
	assert_problem("[log]\n\nlvel = info\n",
	               "f:3: unknown key \"lvel\" in [log] (did you mean \"level\"?)");
	assert_problem("[daemon]\nbin_dirs = /x\n",
	               "f:2: unknown key \"bin_dirs\" in [daemon] (it belongs to [cni])");
	assert_problem("[daemon]\nfrobnicate = 1\n", "f:2: unknown key \"frobnicate\" in [daemon]");
	assert_problem("[jurnal]\nkeep = 1\nkeep = 2\n",
	               "f:1: unknown section [jurnal] (did you mean [journal]?)");
	assert_problem("keep = 1\n", "f:1: \"keep\" stands before the first [section]");
	assert_problem("[log]\nlevel\n", "f:2: neither a [section] nor key = value");
}

static void a_name_of_before_works_and_is_deprecated(void **arg)
{
	static const char text[] = "[cni]\nbin_dir = /x\n";
	struct err err;
	cleanup(config_free) struct config *config =
		config_from_text("f", text, strlen(text), &no_flags, &err);

	(void)arg;
	assert_problem(text, "f:2: [cni] bin_dir is deprecated, write bin_dirs");
	assert_int_equal(config->problems[0].trouble, CONFIG_DEPRECATED);
	assert_string_equal(config->cni_bin_dirs[0], "/x");
	assert_null(config->cni_bin_dirs[1]);
}

static void a_bad_value_keeps_what_was_there_and_says_why(void **arg)
{
	cleanup(config_free) struct config *config = parse("[journal]\nkeep = 8M\nkeep = 8MB\n");

	(void)arg;
	assert_true(config->journal_keep_bytes == 8 << 20);
	assert_int_equal(config->nproblems, 1);
	assert_string_equal(config->problems[0].text,
	                    "f:3: [journal] keep: \"8MB\" is not a size (4096, 64K, 64MiB)");
	assert_problem("[log]\nlevel = chatty\n",
	               "f:2: [log] level: \"chatty\" is none of error|warn|notice|info|debug");
	assert_problem("[cni]\nbuiltin = maybe\n",
	               "f:2: [cni] builtin: \"maybe\" is neither true nor false");
	assert_problem("[cni]\nbin_dirs = /a, b\n",
	               "f:2: [cni] bin_dirs: \"b\" is not an absolute path");
	assert_problem("[nri]\nhold = 30\n",
	               "f:2: [nri] hold: \"30\" is not a duration (500ms, 90s, 1h30m)");
	assert_problem("[nri]\nhold = 10000h\n",
	               "f:2: [nri] hold: \"10000h\" is out of range (0ms to 2592000000ms)");
	assert_problem(
		"[journal]\nsegment_size = 1K\n",
		"f:2: [journal] segment_size: \"1K\" is out of range (65536 to 1073741824 bytes)");
	assert_problem(
		"[runtime a b]\n",
		"f:1: [runtime a b]: \"a b\" is not a handler name (1 to 63 letters, digits, \".\", "
		"\"_\" and \"-\")");
}

static void sizes_and_durations_do_not_overflow(void **arg)
{
	struct err err;

	(void)arg;
	assert_int_equal(
		config_key_check(config_key_find("journal", "keep"), "9223372036854775807T", &err),
		-1);
	assert_int_equal(
		config_key_check(config_key_find("journal", "keep"), "99999999999999999999", &err),
		-1);
	assert_int_equal(config_key_check(config_key_find("nri", "hold"), "9999999999h", &err), -1);
	assert_int_equal(config_key_check(config_key_find("nri", "hold"), "2562047h2562047h", &err),
	                 -1);
	assert_int_equal(config_key_check(config_key_find("nri", "hold"), "0.0000000000001s", &err),
	                 0);
	assert_int_equal(config_key_check(config_key_find("nri", "hold"), ".s", &err), -1);
}

static void lists_grow_by_indented_lines_and_scalars_do_not(void **arg)
{
	cleanup(config_free) struct config *config =
		parse("[cni]\nbin_dirs =\n  /a\n  /b # why\n\n[image]\n  pinned_images = x\n");

	(void)arg;
	assert_int_equal(config->nproblems, 0);
	assert_int_equal(strv_len(config->cni_bin_dirs), 2);
	assert_string_equal(config->cni_bin_dirs[1], "/b");
	assert_string_equal(config->pinned_images[0],
	                    "x"); /* first key of its section: continues nothing */
	assert_problem("[log]\nlevel = info\n  debug\n",
	               "f:3: [log] level takes one value, this indented line would be a second");
	assert_problem("[log]\nlevel = info\nlevel = warn\n",
	               "f:3: [log] level is set twice in this file, the later value counts");
}

static void an_empty_value_resets_to_the_default(void **arg)
{
	cleanup(config_free) struct config *config = parse("[cni]\nconf_dir = /x\nconf_dir =\n");

	(void)arg;
	assert_string_equal(config->cni_conf_dir, "/etc/cni/net.d");
}

static void unsafe_values_refuse_to_start(void **arg)
{
	char text[512];

	(void)arg;
	assert_fatal("[daemon]\nroot = lib/x\n",
	             "f:2: [daemon] root: \"lib/x\" is not an absolute path");
	assert_fatal("[daemon]\nroot = /a/../b\n",
	             "f:2: [daemon] root: \"/a/../b\" may not contain \"..\"");
	assert_fatal("[daemon]\nroot = /x\nstate = /x/\n",
	             "f:2: [daemon] root and state are the same directory /x");
	assert_fatal("[daemon]\nroot = /run/x\nstate = /run\n",
	             "f:2: [daemon] root /run/x is inside state /run, which vanishes at a reboot");
	assert_fatal(
		"[daemon]\nstate = /var/lib/coracle/run\n",
		"f:2: [daemon] state /var/lib/coracle/run is inside root /var/lib/coracle, which survives a reboot");
	assert_fatal(
		"[daemon]\nlisten = /run/coracle\n",
		"f:2: [daemon] listen: /run/coracle is a directory, the one of root or state or above it");
	assert_fatal(
		"[daemon]\nlisten = /var/lib\n",
		"f:2: [daemon] listen: /var/lib is a directory, the one of root or state or above it");
	assert_fatal("[daemon]\nroot = ///\n", "f:2: [daemon] root may not be \"/\"");
	assert_fatal("[runtime x]\nsandbox = vm\n",
	             "f:2: [runtime x] sandbox: \"vm\" is none of pinned|pause");
	assert_fatal("[runtime]\ndefault = y\n[runtime x]\n",
	             "f:2: [runtime] default: there is no [runtime y]");
	assert_fatal("[runtime a]\nhandler = b\n[runtime b]\n",
	             "default: handler \"b\" is defined twice");
	snprintf(text, sizeof(text), "[daemon]\nlisten = /%0120d\n", 0);
	snprintf(text + 256, 256,
	         "f:2: [daemon] listen: a socket path has at most 107 bytes, this one 121: /%0120d",
	         0);
	assert_fatal(text, text + 256);
	snprintf(text, sizeof(text), "[daemon]\nstate = /%0100d\n", 0);
	snprintf(
		text + 256, 256,
		"f:2: [daemon] state: a socket in /%0100d would have a path of 114 bytes, the kernel takes 107; use a shorter "
		"directory or set listen",
		0);
	assert_fatal(text, text + 256);
}

static void a_file_with_a_nul_byte_is_refused(void **arg)
{
	struct err err;

	(void)arg;
	assert_null(config_from_text("f", "[log]\n\0level = info", 18, &no_flags, &err));
	assert_string_equal(err.msg, "f: holds a NUL byte: not a text file");
}

static void a_section_name_that_the_parser_would_cut_is_named(void **arg)
{
	(void)arg;
	assert_problem(
		"[runtime aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\npath = /x\n",
		"f:1: section name too long (at most 48 bytes; a longer handler is named by the key \"handler\")");
}

static void flags_win_over_the_file_and_are_checked_alike(void **arg)
{
	struct config_flags flags = { .state = "/run/flag",
		                      .listen = "unix:///run/l.sock",
		                      .log_level = "warn" };
	const char *text = "[daemon]\nstate = /run/file\n[log]\nlevel = debug\n";
	cleanup(config_free) struct config *config = NULL;
	struct err err;

	(void)arg;
	config = config_from_text("f", text, strlen(text), &flags, &err);
	assert_non_null(config);
	assert_string_equal(config->state, "/run/flag");
	assert_string_equal(config->listen, "/run/l.sock");
	assert_int_equal(config->log_level, LOG_LEVEL_WARN);

	flags.root = "relative";
	assert_null(config_from_text("f", text, strlen(text), &flags, &err));
	assert_string_equal(err.msg, "--root: \"relative\" is not an absolute path");
	flags.root = NULL;
	flags.log_level = "loud";
	assert_null(config_from_text("f", text, strlen(text), &flags, &err));
	assert_string_equal(err.msg,
	                    "--log-level: \"loud\" is none of error|warn|notice|info|debug");
}

static void write_text(const char *dir, const char *name, const char *text)
{
	char path[256];

	assert_int_equal(str_format(path, sizeof(path), "%s/%s", dir, name), 0);
	assert_int_equal(fsx_write(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

static void print_origin(void *arg, const struct config_value *value)
{
	char **text = arg, *before = *text;

	if (starts_with(value->origin, "default"))
		return;
	*text = xasprintf(
		"%s%s %s=%s %s;", or_empty(before), value->section, value->key->name, value->text,
		strrchr(value->origin, '/') ? strrchr(value->origin, '/') + 1 : value->origin);
	free(before);
}

static void drop_ins_are_read_in_order_after_the_file_and_origins_are_kept(void **arg)
{
	char dir[] = "/tmp/test-config-XXXXXX", path[256], sub[256];
	cleanup(config_free) struct config *config = NULL;
	struct config_flags flags = { .file = path };
	cleanup_free char *origins = NULL;
	struct err err;

	(void)arg;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(str_format(path, sizeof(path), "%s/c.conf", dir), 0);
	assert_int_equal(str_format(sub, sizeof(sub), "%s/c.conf.d", dir), 0);
	assert_int_equal(mkdir(sub, 0755), 0);

	assert_null(config_load(&flags, &err)); /* named, but missing */
	assert_non_null(strstr(err.msg, path));
	write_text(dir, "c.conf", "[log]\nlevel = warn\n[cni]\nbin_dirs = /a, /b\n");
	write_text(sub, "20-b.conf", "[log]\nlevel = error\n");
	write_text(sub, "10-a.conf", "[log]\nlevel = debug\n[cni]\nbin_dirs = /c\n");
	write_text(sub, "30-c.conf.bak", "[log]\nlevel = info\n");
	config = config_load(&flags, &err);
	assert_non_null(config);
	assert_int_equal(config->nproblems, 0);
	assert_int_equal(config->log_level, LOG_LEVEL_ERROR);
	assert_int_equal(strv_len(config->cni_bin_dirs), 1);
	config_each(config, print_origin, &origins);
	assert_string_equal(origins, "log level=error 20-b.conf:2;cni bin_dirs=/c 10-a.conf:4;");
	assert_int_equal(fsx_remove_tree(AT_FDCWD, dir), 0);
}

static void what_is_printed_reads_back_to_the_same(void **arg)
{
	cleanup(config_free) struct config *config =
		parse("[daemon]\nroot = /a\n[runtime x]\n[cni]\nbin_dirs = /a\n  /b\n");
	cleanup(config_free) struct config *again = NULL;
	cleanup(buf_release) struct buf text = { 0 };

	(void)arg;
	buf_init(&text, 65536);
	assert_int_equal(config_print(config, &text), 0);
	assert_non_null(strstr(text.data, "[daemon]\nroot = /a # f:2\n"));
	again = parse(text.data);
	assert_int_equal(again->nproblems, 0);
	assert_string_equal(again->root, "/a");
	assert_string_equal(again->runtimes[0].path, "x");
	assert_string_equal(again->cni_bin_dirs[1], "/b");
}

static void the_sample_file_with_all_comments_taken_away_is_the_default(void **arg)
{
	cleanup(config_free) struct config *config = NULL;
	cleanup(buf_release) struct buf text = { 0 };
	struct str rest, line;
	char *uncommented;
	size_t n = 0;

	(void)arg;
	buf_init(&text, 65536);
	assert_int_equal(config_sample(&text), 0);
	uncommented = xcalloc(1, text.len + 1);
	rest = (struct str){ text.data, text.len };
	while (rest.len > 0) {
		str_cut(rest, '\n', &line, &rest);
		assert_true(line.len <= 110);
		if (str_starts(line, "#") && !str_starts(line, "# ")) {
			line.p++;
			line.len--;
		}
		if (str_eq_c(line, "# [runtime crun]"))
			line = STR("[runtime crun]");
		memcpy(uncommented + n, line.p, line.len);
		n += line.len;
		uncommented[n++] = '\n';
	}
	config = parse(uncommented);
	assert_int_equal(config->nproblems, 0);
	assert_string_equal(config->runtimes[0].path, "crun");
	free(uncommented);
}

static void lookups_answer_what_this_version_accepts(void **arg)
{
	(void)arg;
	assert_non_null(config_key_find("runtime crun", "path"));
	assert_null(config_key_find("runtime", "path"));
	assert_null(config_key_find("cni", "max_conf_num"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_gives_the_defaults),
		cmocka_unit_test(every_default_would_be_accepted_from_a_file),
		cmocka_unit_test(values_are_read),
		cmocka_unit_test(an_unknown_key_or_section_is_named_with_line_and_suggestion),
		cmocka_unit_test(a_name_of_before_works_and_is_deprecated),
		cmocka_unit_test(a_bad_value_keeps_what_was_there_and_says_why),
		cmocka_unit_test(sizes_and_durations_do_not_overflow),
		cmocka_unit_test(lists_grow_by_indented_lines_and_scalars_do_not),
		cmocka_unit_test(an_empty_value_resets_to_the_default),
		cmocka_unit_test(unsafe_values_refuse_to_start),
		cmocka_unit_test(a_file_with_a_nul_byte_is_refused),
		cmocka_unit_test(a_section_name_that_the_parser_would_cut_is_named),
		cmocka_unit_test(flags_win_over_the_file_and_are_checked_alike),
		cmocka_unit_test(drop_ins_are_read_in_order_after_the_file_and_origins_are_kept),
		cmocka_unit_test(what_is_printed_reads_back_to_the_same),
		cmocka_unit_test(the_sample_file_with_all_comments_taken_away_is_the_default),
		cmocka_unit_test(lookups_answer_what_this_version_accepts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
