/* cmd/migrate_config.c
 *
 * coracle migrate-config: options, messages and order of events. Every file is read, parsed, edited and checked before
 * the first byte is written; then come the new files (they are lost otherwise), and the old ones are replaced last.
 *
 * Manners: silent when there is nothing to do, one line per changed file, status 0 done, 1 --check says no, 2 trouble.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/applets.h"
#include "cmd/migrate/diff.h"
#include "cmd/migrate/edit.h"
#include "cmd/migrate/file.h"
#include "cmd/migrate/keys.h"
#include "cmd/migrate/output.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define DEFAULT_FILE   "/etc/containerd/config.toml"
#define DEFAULT_SOCKET "/run/containerd/containerd.sock"
#define STATUS_CHANGE  1
#define STATUS_TROUBLE 2
#define MAX_TEXT       (64u << 20)
#define CONF_MODE      0640
#define HOSTS_MODE     0640 /* headers may be credentials */

static const char usage[] =
	"usage: coracle migrate-config [OPTION...] [FILE...]\n"
	"Remove the settings of the old CRI plugin from containerd configurations, in place: in files of version 2\n"
	"and older its table keeps disable_tcp_service alone, or goes. Nothing else in the file changes.\n"
	"\n"
	"FILE is /etc/containerd/config.toml unless given; - is standard input, the result goes to standard output.\n"
	"\n"
	"  -n, --dry-run              change nothing, show what would change as a diff\n"
	"      --check                change nothing, say nothing; status 1 when a file would change\n"
	"  -o, --output OUT           write the result to OUT (- is standard output) and leave FILE alone\n"
	"      --backup[=SUFFIX]      keep the old file as FILE.SUFFIX; the default, with .pre-coracle\n"
	"      --no-backup            keep none\n"
	"      --report[=text|json]   list every setting and where its value belongs in coracle\n"
	"      --conf-out PATH        also write the settings that coracle has as a coracle.conf\n"
	"      --hosts-out DIR        also write registry mirrors as DIR/HOST/hosts.toml\n"
	"      --force                let --conf-out replace a file of other contents\n"
	"      --keep-streaming       keep the settings of the streaming server as well\n"
	"      --strict               warnings are errors\n"
	"  -q, --quiet                errors only\n"
	"  -v, --verbose              also warnings, and that there is nothing to do\n"
	"  -h, --help                 this text\n"
	"  -V, --version              print the version\n"
	"\n"
	"Exit status: 0 done or nothing to do, 1 --check found work to do, 2 trouble.\n";

struct options {
	bool dry_run, check, force, keep_streaming, strict, quiet, verbose, help, version,
		no_backup;
	const char *output, *backup, *report, *conf_out, *hosts_out;
};

/* One file on its way through. */
struct work {
	struct migrate_file file;
	struct toml *toml;
	struct migrate_edit edit;
	struct migrate_records records;
	struct migrate_message error; /* code 0: none */
};

struct run {
	struct options opt;
	struct work *work;
	size_t count;
	struct buf conf; /* the new coracle.conf; empty: none */
	struct migrate_conf_count nconf;
	struct migrate_hosts hosts;
	int status;
};

/* ------------------------------------------------------------------------------------------------------ messages */

/* One line on stderr, in one piece. Keys and file names come from outside: what would move a cursor is masked. */
static PRINTF_LIKE(1, 2) void say(const char *fmt, ...)
{
	char line[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	fprintf(stderr, "coracle: migrate-config: %s\n", line);
}

static void complain(const char *file, const char *kind, const struct migrate_message *message)
{
	char place[32] = "";

	if (message->place.line)
		snprintf(place, sizeof(place), ":%u:%u", message->place.line, message->place.col);
	say("%s%s: %s: %s [%s]", file, place, kind, message->text,
	    migrate_code_name(message->code));
}

static void fail_work(struct run *run, struct work *work)
{
	complain(work->file.name, "error", &work->error);
	run->status = STATUS_TROUBLE;
}

static PRINTF_LIKE(3, 4) void fail_at(struct run *run, const char *file, const char *fmt, ...)
{
	struct migrate_message message = { .code = E_WRITE };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message.text, sizeof(message.text), fmt, ap);
	va_end(ap);
	complain(file, "error", &message);
	run->status = STATUS_TROUBLE;
}

static void warn_all(struct run *run, struct work *work)
{
	for (size_t i = 0; i < work->edit.nwarnings; i++) {
		const struct migrate_message *warning = &work->edit.warnings[i];

		if (run->opt.strict)
			run->status = STATUS_TROUBLE;
		if (run->opt.strict || (run->opt.verbose && !run->opt.quiet))
			complain(work->file.name, run->opt.strict ? "error" : "warning", warning);
	}
}

/* ------------------------------------------------------------------------------------------------------- options */

struct option {
	const char *name;
	char letter;
	bool *flag;
	const char **value;
	const char *dflt; /* of a value that may be left out; NULL: it may not */
};

static int usage_error(const char *text, const char *culprit)
{
	say("%s '%s'", text, culprit);
	fputs("Try 'coracle migrate-config --help'.\n", stderr);
	return -1;
}

static const struct option *find_option(const struct option *options, size_t n, const char *arg,
                                        const char **ret_value)
{
	size_t len = strcspn(arg, "=");

	*ret_value = NULL;
	for (size_t i = 0; i < n; i++) {
		if (arg[1] != '-' && arg[1] == options[i].letter) {
			*ret_value = arg[2] ? arg + 2 : NULL; /* -oOUT */
			return &options[i];
		}
		if (arg[1] == '-' && strlen(options[i].name) == len - 2 &&
		    strncmp(options[i].name, arg + 2, len - 2) == 0) {
			*ret_value = arg[len] ? arg + len + 1 : NULL;
			return &options[i];
		}
	}
	return NULL;
}

static int unknown_option(const struct option *options, size_t n, const char *arg)
{
	const char *names[32], *meant;

	for (size_t i = 0; i < n; i++)
		names[i] = options[i].name;
	meant = str_suggest(arg + strspn(arg, "-"), names, n);
	usage_error("unknown option", arg);
	if (meant)
		fprintf(stderr, "Did you mean '--%s'?\n", meant);
	return -1;
}

/* The files are moved to the front of argv[1..]. Returns their number, or -1 after a message. */
static int parse_options(int argc, char **argv, struct options *opt)
{
	const struct option options[] = {
		{ "dry-run", 'n', &opt->dry_run, NULL, NULL },
		{ "check", 0, &opt->check, NULL, NULL },
		{ "output", 'o', NULL, &opt->output, NULL },
		{ "backup", 0, NULL, &opt->backup, MIGRATE_BACKUP_SUFFIX },
		{ "no-backup", 0, &opt->no_backup, NULL, NULL },
		{ "report", 0, NULL, &opt->report, "text" },
		{ "conf-out", 0, NULL, &opt->conf_out, NULL },
		{ "hosts-out", 0, NULL, &opt->hosts_out, NULL },
		{ "force", 0, &opt->force, NULL, NULL },
		{ "keep-streaming", 0, &opt->keep_streaming, NULL, NULL },
		{ "strict", 0, &opt->strict, NULL, NULL },
		{ "quiet", 'q', &opt->quiet, NULL, NULL },
		{ "verbose", 'v', &opt->verbose, NULL, NULL },
		{ "help", 'h', &opt->help, NULL, NULL },
		{ "version", 'V', &opt->version, NULL, NULL },
	};
	bool only_files = false;
	int files = 0;

	for (int i = 1; i < argc; i++) {
		const struct option *option;
		const char *value;

		if (only_files || argv[i][0] != '-' || !argv[i][1]) {
			argv[1 + files++] = argv[i];
			continue;
		}
		if (streq(argv[i], "--")) {
			only_files = true;
			continue;
		}
		option = find_option(options, ARRAY_SIZE(options), argv[i], &value);
		if (!option || (option->flag && value && argv[i][1] != '-'))
			return unknown_option(options, ARRAY_SIZE(options), argv[i]);
		if (option->flag) {
			if (value)
				return usage_error("no value belongs to", argv[i]);
			*option->flag = true;
			continue;
		}
		if (!value && option->dflt)
			value = option->dflt;
		else if (!value && i + 1 < argc)
			value = argv[++i];
		if (!value || !*value)
			return usage_error("a value is missing behind", argv[i]);
		*option->value = value;
	}
	return files;
}

static int check_options(const struct options *opt, char **files, int nfiles)
{
	int nstdin = 0;

	for (int i = 0; i < nfiles; i++)
		nstdin += streq(files[i], "-");
	if (opt->report && !streq(opt->report, "text") && !streq(opt->report, "json"))
		return usage_error("a report is text or json, not", opt->report);
	if (opt->backup && (strchr(opt->backup, '/') || strlen(opt->backup) > 64))
		return usage_error("no suffix of a file name:", opt->backup);
	if (opt->output && nfiles > 1)
		return usage_error("one FILE goes to an output, and there is also", files[1]);
	if (nstdin && nfiles > 1)
		return usage_error(
			"standard input is the only FILE when it is one, but there is also",
			streq(files[0], "-") ? files[1] : files[0]);
	if (opt->output && (opt->dry_run || opt->check))
		return usage_error(
			"nothing is written with --dry-run and --check, but there is an output",
			opt->output);
	if (opt->dry_run && opt->check)
		return usage_error("--dry-run and --check exclude each other", "--check");
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- reading */

static void read_work(struct run *run, struct work *work, const char *name)
{
	struct toml_fault fault = { .text = "" };
	struct err err = { .code = CODE_OK };

	if (migrate_file_read(name, &work->file, &work->error) < 0) {
		fail_work(run, work);
		return;
	}
	work->toml = toml_parse(work->file.name, work->file.text, work->file.len, &fault, &err);
	if (!work->toml) {
		work->error.code = fault.is_utf8 ? E_UTF8 : E_SYNTAX;
		work->error.place = fault.place;
		snprintf(work->error.text, sizeof(work->error.text), "%s",
		         fault.place.line ? fault.text : err.msg);
		fail_work(run, work);
		return;
	}
	if (migrate_edit(work->toml, run->opt.keep_streaming, &work->edit, &work->error) < 0) {
		fail_work(run, work);
		return;
	}
	if (run->opt.report || run->opt.conf_out)
		migrate_records(&work->edit, work->file.path, &work->records);
}

/* Is a containerd listening there? A full backlog says so as well. */
static bool answers(const char *socket)
{
	int fd = unix_connect(socket, SOCK_STREAM | SOCK_NONBLOCK);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -EAGAIN;
}

static bool is_live(const struct work *work)
{
	const struct toml_value *address = toml_get(toml_get(work->toml->root, "grpc"), "address");

	return answers(toml_is(address, TOML_STRING) && address->string.len ? address->string.p
	                                                                    : DEFAULT_SOCKET);
}

static void warn_in_place(struct run *run, struct work *work, const char *suffix)
{
	struct migrate_message message = { .code = W_HARDLINK };
	unsigned int names = migrate_file_other_names(&work->file, suffix);

	if (names && (run->opt.verbose || run->opt.strict)) {
		snprintf(message.text, sizeof(message.text),
		         "has %u more name%s, which keep%s the old content", names,
		         names == 1 ? "" : "s", names == 1 ? "s" : "");
		complain(work->file.name, run->opt.strict ? "error" : "warning", &message);
	}
	if ((names && run->opt.strict))
		run->status = STATUS_TROUBLE;
	if (!is_live(work))
		return;
	message.code = W_LIVE;
	snprintf(message.text, sizeof(message.text),
	         "a containerd answers on its socket: it reads the new file when it is restarted");
	if (run->opt.strict)
		run->status = STATUS_TROUBLE;
	if (run->opt.strict || !run->opt.quiet)
		complain(work->file.name, run->opt.strict ? "error" : "warning", &message);
}

/* ------------------------------------------------------------------------------------------------------- writing */

static void emit(struct run *run, FILE *out, const char *text, size_t len)
{
	if (fwrite(text, 1, len, out) != len || fflush(out) != 0)
		fail_at(run, out == stdout ? "<stdout>" : "<stderr>", "cannot write: %s",
		        errno_name(errno));
}

static void write_output(struct run *run, const struct work *work)
{
	const char *out = run->opt.output;
	cleanup_free char *target = NULL;
	struct stat st;
	mode_t mode = work->file.path ? work->file.st.st_mode & 0777 : 0644;
	int rc;

	if (!out || streq(out, "-")) {
		emit(run, stdout, work->edit.text, work->edit.len);
		return;
	}
	target = realpath(out, NULL);
	if (target && stat(target, &st) == 0) {
		if (work->file.path && st.st_dev == work->file.st.st_dev &&
		    st.st_ino == work->file.st.st_ino) {
			fail_at(run, out, "this is FILE itself, which an output leaves alone");
			return;
		}
		if (!S_ISREG(st.st_mode)) { /* a device or a pipe is written to, not replaced */
			cleanup_close int fd = open(target, O_WRONLY | O_NOCTTY | O_CLOEXEC);

			rc = fd < 0 ? -errno
			            : (int)MIN(write_full(fd, work->edit.text, work->edit.len), 0);
			if (rc < 0)
				fail_at(run, out, "cannot write: %s", errno_name(-rc));
			return;
		}
		mode = st.st_mode & 07777;
	}
	rc = fsx_replace(AT_FDCWD, target ? target : out, work->edit.text, work->edit.len, mode);
	if (rc < 0)
		fail_at(run, out, "cannot write: %s", errno_name(-rc));
}

static int make_parent(const char *path)
{
	cleanup_free char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');

	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	return fsx_mkdir_p(dir, 0755);
}

/* What stands at @path: NULL and 0 when nothing does. */
static int read_existing(struct run *run, const char *path, char **ret_text)
{
	int rc = fsx_read(AT_FDCWD, path, MAX_TEXT, ret_text, NULL);

	if (rc >= 0 || rc == -ENOENT)
		return 0;
	fail_at(run, path, "cannot read what is there: %s", errno_name(-rc));
	return -1;
}

static void print_conf_line(const struct run *run)
{
	size_t now = run->nconf.all - run->nconf.later;
	char later[64] = "";

	if (run->nconf.later)
		snprintf(later, sizeof(later), ", %zu noted for a later version", run->nconf.later);
	say("%s: %zu setting%s written%s", run->opt.conf_out, now, now == 1 ? "" : "s", later);
}

/* @do_write false: only see whether it could be. */
static void write_conf(struct run *run, bool do_write)
{
	const char *path = run->opt.conf_out;
	cleanup_free char *there = NULL;
	int rc;

	if (!path || !run->nconf.all || read_existing(run, path, &there) < 0)
		return;
	if (there && migrate_conf_holds(there, run->conf.data))
		return;
	if (there && !run->opt.force) {
		fail_at(run, path, "exists with other contents; --force replaces it");
		return;
	}
	if (!do_write)
		return;
	rc = make_parent(path);
	if (rc >= 0)
		rc = fsx_replace(AT_FDCWD, path, run->conf.data, run->conf.len, CONF_MODE);
	if (rc < 0)
		fail_at(run, path, "cannot write: %s", errno_name(-rc));
	else if (!run->opt.quiet)
		print_conf_line(run);
}

/* Once they are written: would the daemon look there? */
static void print_hosts_line(const struct run *run, size_t n)
{
	say("%s: hosts.toml written for %zu registr%s%s", run->opt.hosts_out, n,
	    n == 1 ? "y" : "ies",
	    run->opt.conf_out || migrate_hosts_default(run->opt.hosts_out)
	            ? ""
	            : "; name the directory in [registry] config_path");
}

/* @do_write false: only see whether they could be, and whether the daemon would read them. */
static void write_hosts(struct run *run, bool do_write)
{
	size_t written = 0;

	for (size_t i = 0; run->opt.hosts_out && i < run->hosts.count; i++) {
		const struct migrate_host *host = &run->hosts.all[i];
		cleanup_free char *path =
			xasprintf("%s/%s/hosts.toml", run->opt.hosts_out, host->dir);
		cleanup_free char *there = NULL;
		struct err err = { .code = CODE_OK };
		int rc;

		if (read_existing(run, path, &there) < 0)
			continue;
		if (there) { /* the administrator's own is worth more than a conversion */
			if (do_write && !run->opt.quiet && !streq(there, host->text))
				say("%s: exists, left alone", path);
			continue;
		}
		if (!do_write) {
			if (migrate_host_check(host, &err) < 0)
				fail_at(run, path, "the daemon could not use it: %s", err.msg);
			continue;
		}
		rc = make_parent(path);
		if (rc >= 0)
			rc = fsx_replace(AT_FDCWD, path, host->text, strlen(host->text),
			                 HOSTS_MODE);
		if (rc < 0)
			fail_at(run, path, "cannot write: %s", errno_name(-rc));
		written += rc >= 0;
	}
	if (written && !run->opt.quiet)
		print_hosts_line(run, written);
}

static void replace(struct run *run, struct work *work, const char *suffix)
{
	cleanup_free char *backup = NULL;
	int rc = migrate_file_replace(&work->file, work->edit.text, work->edit.len, suffix, &backup,
	                              &work->error);

	if (rc > 0)
		exit(128 + rc); /* a signal came before anything was changed */
	if (rc < 0) {
		fail_work(run, work);
		return;
	}
	if (run->opt.quiet)
		return;
	say("%s: %zu setting%s removed%s%s%s%s%s", work->file.name, work->edit.removed,
	    work->edit.removed == 1 ? "" : "s", *work->edit.kept ? ", kept " : "", work->edit.kept,
	    backup ? " (backup: " : "", or_empty(backup), backup ? ")" : "");
}

/* --------------------------------------------------------------------------------------------------------- modes */

static void make_hosts(struct run *run)
{
	struct err err = { .code = CODE_OK };

	for (size_t i = 0; run->opt.hosts_out && i < run->count; i++) {
		struct migrate_hosts hosts;

		if (migrate_hosts(&run->work[i].edit, &hosts, &err) < 0)
			fail_at(run, run->work[i].file.name, "%s", err.msg);
		for (size_t k = 0; k < hosts.count; k++) {
			run->hosts.all = xrealloc(run->hosts.all, run->hosts.count + 1,
			                          sizeof(*run->hosts.all));
			run->hosts.all[run->hosts.count++] = hosts.all[k];
		}
		free(hosts.all);
	}
}

static void make_conf(struct run *run)
{
	const struct migrate_records **records = xcalloc(run->count + 1, sizeof(*records));
	cleanup_free char *here = getcwd(NULL, 0), *hosts_dir = NULL;
	struct err err = { .code = CODE_OK };

	for (size_t i = 0; i < run->count; i++)
		records[i] = &run->work[i].records;
	if (run->hosts.count && *run->opt.hosts_out == '/')
		hosts_dir = xstrdup(run->opt.hosts_out);
	else if (run->hosts.count)
		hosts_dir = xasprintf("%s/%s", or_empty(here), run->opt.hosts_out);
	if (migrate_conf(records, run->count, hosts_dir, &run->conf, &run->nconf, &err) < 0)
		fail_at(run, run->opt.conf_out, "%s", err.msg);
	free(records);
}

static void print_report(struct run *run, FILE *out)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *array = yyjson_mut_arr(doc);
	cleanup(buf_release) struct buf text = { 0 };
	cleanup_free char *json = NULL;

	buf_init(&text, MAX_TEXT);
	for (size_t i = 0; i < run->count; i++) {
		struct work *work = &run->work[i];
		bool is_bad = work->error.code != 0;
		const struct migrate_report report = {
			.file = work->file.name,
			.edit = is_bad ? NULL : &work->edit,
			.records = is_bad ? NULL : &work->records,
			.error = is_bad ? &work->error : NULL,
		};

		if (streq(run->opt.report, "json"))
			migrate_report_json(&report, doc, array);
		else if (migrate_report_text(&report, &text) < 0)
			fail_at(run, work->file.name, "the report is too long");
	}
	if (!streq(run->opt.report, "json")) {
		emit(run, out, or_empty(text.data), text.len);
		return;
	}
	yyjson_mut_doc_set_root(doc, array);
	json = json_write(doc, true, NULL);
	if (!json)
		fail_at(run, "<stdout>", "the report is too long");
	else if (fprintf(out, "%s\n", json) < 0 || fflush(out) != 0)
		fail_at(run, "<stdout>", "cannot write: %s", errno_name(errno));
}

static void show_diff(struct run *run, const struct work *work)
{
	cleanup(buf_release) struct buf diff = { 0 };

	buf_init(&diff, MAX_TEXT);
	if (migrate_diff(&work->edit, work->file.name, &diff) < 0)
		fail_at(run, work->file.name, "the diff is too long");
	else
		emit(run, stdout, or_empty(diff.data), diff.len);
}

static bool writes_elsewhere(const struct run *run)
{
	return run->opt.output || !run->work[0].file.path;
}

/* The part that writes. All files are known to be good. */
static void do_work(struct run *run)
{
	const char *suffix = run->opt.no_backup ? NULL
	                     : run->opt.backup  ? run->opt.backup
	                                        : MIGRATE_BACKUP_SUFFIX;

	if (run->opt.dry_run || run->opt.check) {
		for (size_t i = 0; i < run->count; i++) {
			if (run->opt.dry_run)
				show_diff(run, &run->work[i]);
			else if (run->work[i].edit.ncuts && run->status == 0)
				run->status = STATUS_CHANGE;
		}
		return;
	}
	make_hosts(run);
	if (run->opt.conf_out)
		make_conf(run);
	for (size_t i = 0; i < run->count && !writes_elsewhere(run); i++)
		if (run->work[i].edit.ncuts)
			warn_in_place(run, &run->work[i], suffix);
	if (run->status == 0)
		write_conf(run, false);
	if (run->status == 0)
		write_hosts(run, false);
	if (run->status)
		return;
	write_conf(run, true);
	write_hosts(run, true);
	if (run->status)
		return;
	if (writes_elsewhere(run)) {
		write_output(run, &run->work[0]);
		return;
	}
	for (size_t i = 0; i < run->count; i++) {
		if (run->work[i].edit.ncuts) {
			replace(run, &run->work[i], suffix);
			continue;
		}
		migrate_file_tidy(&run->work[i].file);
		if (run->opt.verbose && !run->opt.quiet)
			say("%s: nothing to do", run->work[i].file.name);
	}
}

static void release(struct run *run)
{
	for (size_t i = 0; i < run->count; i++) {
		migrate_records_release(&run->work[i].records);
		migrate_edit_release(&run->work[i].edit);
		toml_free(run->work[i].toml);
		migrate_file_release(&run->work[i].file);
	}
	free(run->work);
	buf_release(&run->conf);
	migrate_hosts_release(&run->hosts);
}

/* The same file under another name, or named twice: it would change under our hands. */
static bool is_again(const struct run *run, const char *name)
{
	cleanup_free char *path = realpath(name, NULL);

	for (size_t i = 0; path && i < run->count; i++)
		if (streq(run->work[i].file.path, path))
			return true;
	return false;
}

static void run_files(struct run *run, char **files, size_t n)
{
	run->work = xcalloc(n, sizeof(*run->work));
	for (size_t i = 0; i < n; i++)
		if (!is_again(run, files[i]))
			read_work(run, &run->work[run->count++], files[i]);
	for (size_t i = 0; i < run->count; i++)
		if (!run->work[i].error.code)
			warn_all(run, &run->work[i]);
	if (run->opt.report)
		print_report(run, writes_elsewhere(run) &&
		                                  (!run->opt.output || streq(run->opt.output, "-"))
		                          ? stderr
		                          : stdout);
	if (run->status == 0)
		do_work(run);
}

int applet_migrate_config(int argc, char **argv)
{
	char default_file[] = DEFAULT_FILE, *default_files[] = { default_file };
	struct run run = { .status = 0 };
	char **files = argv + 1;
	int n = parse_options(argc, argv, &run.opt);

	if (n < 0 || check_options(&run.opt, files, n) < 0)
		return STATUS_TROUBLE;
	if (run.opt.help) {
		fputs(usage, stdout);
		return fflush(stdout) == 0 ? 0 : STATUS_TROUBLE;
	}
	if (run.opt.version) {
		puts("coracle " CORACLE_VERSION);
		return fflush(stdout) == 0 ? 0 : STATUS_TROUBLE;
	}
	if (n == 0) {
		if (access(default_file, F_OK) < 0 && errno == ENOENT)
			return 0;
		files = default_files;
		n = 1;
	}
	buf_init(&run.conf, MAX_TEXT);
	run_files(&run, files, (size_t)n);
	release(&run);
	return run.status;
}
