/* cmd/check/run.c
 *
 * The child writes one record per call (a letter, fields ended by NUL, a newline) into a pipe; the parent reads until
 * the end or the deadline and never waits for a child that does not die: one stuck in the kernel is left behind.
 */
#include "cmd/check/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define MAX_REPORTS_BYTES (1024 * 1024)
#define REAP_MS           200

const char *check_status_name(enum check_status status)
{
	static const char *const names[] = { [CHECK_OK] = "ok",
		                             [CHECK_WARN] = "warn",
		                             [CHECK_FAIL] = "fail",
		                             [CHECK_SKIP] = "skip" };

	return names[status];
}

/* ---------------------------------------------------------------------------------------------------- in the child */

struct check_out {
	int fd;
};

/* Text that others wrote may hold anything: a report is one line. */
static void put(struct check_out *out, char kind, const char *first, const char *second)
{
	char record[2 * CHECK_TEXT_MAX + 8];
	int len = snprintf(record, sizeof(record), "%c%.*s%c%.*s%c", kind, CHECK_TEXT_MAX,
	                   or_empty(first), 0, CHECK_TEXT_MAX, or_empty(second), 0);

	for (int i = 0; i < len; i++)
		if (((unsigned char)record[i] < ' ' && record[i]) || record[i] == 0x7f)
			record[i] = ' ';
	ignore(write_full(out->fd, record, (size_t)len) <
	       0); /* the parent is gone: nobody to tell */
}

void check_report(struct check_out *out, enum check_status status, const char *object,
                  const char *fmt, ...)
{
	char text[CHECK_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(out, (char)('0' + status), text, object);
}

void check_hint(struct check_out *out, const char *fmt, ...)
{
	char text[CHECK_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(out, 'h', text, NULL);
}

void check_source(struct check_out *out, const char *file, unsigned int line)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", line);
	put(out, 's', file, number);
}

static NORETURN void run_child(const struct check *check, const struct check_ctx *ctx, int fd)
{
	struct check_out out = { .fd = fd };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid(); /* so that all it starts can be killed with it */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	check->fn(ctx, &out);
	_exit(0);
}

/* ---------------------------------------------------------------------------------------------------- in the parent */

static struct check_report *add(struct check_reports *reports, const struct check_group *group,
                                const struct check *check, enum check_status status,
                                const char *message, const char *object)
{
	struct check_report *report;

	reports->all = xrealloc(reports->all, reports->count + 1, sizeof(*reports->all));
	report = &reports->all[reports->count++];
	*report = (struct check_report){
		.group = group,
		.check = check,
		.status = status,
		.message = xstrdup(message),
		.object = object && *object ? xstrdup(object) : NULL,
	};
	return report;
}

static void decode(const struct buf *text, const struct check_group *group,
                   const struct check *check, struct check_reports *reports)
{
	const char *p = text->data, *end = text->data + text->len;
	struct check_report *last = NULL;

	while (p && p < end) {
		const char *first = p + 1, *second = memchr(first, '\0', (size_t)(end - first)),
			   *next;
		char kind = *p;

		if (!second || ++second >= end)
			return; /* cut off in the middle */
		next = memchr(second, '\0', (size_t)(end - second));
		if (!next)
			return;
		p = next + 1;
		if (kind == 'h' && last) {
			free(last->hint);
			last->hint = xstrdup(first);
		} else if (kind == 's' && last) {
			free(last->file);
			last->file = xstrdup(first);
			last->line = (unsigned int)strtoul(second, NULL, 10);
		} else {
			last = add(reports, group, check, (enum check_status)(kind - '0'), first,
			           second);
		}
	}
}

/* The reports of the child; false: the deadline came first. */
static bool read_reports(int fd, int64_t deadline_ns, struct buf *text)
{
	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		int64_t left_ms = (deadline_ns - clock_boot_ns()) / 1000000;
		char *room;
		ssize_t n;

		if (left_ms <= 0)
			return false;
		if (poll(&pfd, 1, (int)left_ms) <= 0)
			continue;
		room = buf_reserve(text, 4096);
		n = room ? read(fd, room, 4096) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return true;
		buf_grew(text, (size_t)n);
	}
}

/* Wait as long as @limit_ms. False: it does not die. */
static bool reap(pid_t pid, int limit_ms, int *ret_status)
{
	for (int waited = 0; waitpid(pid, ret_status, WNOHANG) == 0; waited++) {
		if (waited >= limit_ms)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return true;
}

static void run_forked(const struct check_group *group, const struct check *check,
                       const struct check_ctx *ctx, struct check_reports *reports)
{
	size_t before = reports->count;
	int limit_ms = check->needs & CHECK_NAMED ? CHECK_NAMED_MS : CHECK_LIMIT_MS;
	cleanup(buf_release) struct buf text = { 0 };
	char what[64];
	int fds[2], status = 0;
	bool in_time;
	pid_t pid;

	buf_init(&text, MAX_REPORTS_BYTES);
	if (pipe2(fds, O_CLOEXEC) < 0) {
		add(reports, group, check, CHECK_FAIL, "no descriptors left to run the check",
		    NULL);
		return;
	}
	pid = fork();
	if (pid == 0)
		run_child(check, ctx, fds[1]);
	close(fds[1]);
	in_time = pid > 0 && read_reports(fds[0], clock_boot_ns() + limit_ms * 1000000LL, &text);
	close(fds[0]);
	if (pid < 0) {
		add(reports, group, check, CHECK_FAIL, "no process left to run the check", NULL);
		return;
	}
	if (!in_time || !reap(pid, limit_ms, &status)) {
		kill(-pid, SIGKILL);
		kill(pid, SIGKILL);
		ignore(reap(pid, REAP_MS, &status)); /* stuck in the kernel: left behind */
		decode(&text, group, check, reports);
		snprintf(what, sizeof(what), "did not answer within %d seconds", limit_ms / 1000);
		add(reports, group, check, CHECK_FAIL, what, NULL);
		return;
	}
	kill(-pid, SIGKILL); /* what it started and left */
	decode(&text, group, check, reports);
	if (WIFSIGNALED(status)) {
		snprintf(what, sizeof(what), "the check was killed by signal %d", WTERMSIG(status));
		add(reports, group, check, CHECK_FAIL, what, NULL);
	} else if (WEXITSTATUS(status) != 0) {
		snprintf(what, sizeof(what), "the check ended with status %d", WEXITSTATUS(status));
		add(reports, group, check, CHECK_FAIL, what, NULL);
	} else if (reports->count == before) {
		add(reports, group, check, CHECK_SKIP, "nothing to look at", NULL);
	}
}

void check_run(const struct check_group *group, const struct check *check,
               const struct check_ctx *ctx, struct check_reports *reports)
{
	struct check_ctx with_reports = *ctx;
	int64_t start = clock_boot_ns();
	size_t before = reports->count;

	with_reports.before = reports;
	if ((check->needs & CHECK_HOST) && *ctx->sysroot)
		add(reports, group, check, CHECK_SKIP, "only the running kernel knows", NULL);
	else if ((check->needs & CHECK_ROOT) && geteuid() != 0)
		add(reports, group, check, CHECK_SKIP, "needs root", NULL);
	else
		run_forked(group, check, &with_reports, reports);
	for (size_t i = before; i < reports->count; i++)
		reports->all[i].took_ms = (clock_boot_ns() - start) / 1000000;
}

void check_reports_release(struct check_reports *reports)
{
	for (size_t i = 0; i < reports->count; i++) {
		free(reports->all[i].message);
		free(reports->all[i].hint);
		free(reports->all[i].object);
		free(reports->all[i].file);
	}
	free(reports->all);
	*reports = (struct check_reports){ .count = 0 };
}

/* -------------------------------------------------------------------------------------------------------- helpers */

char *check_path(const struct check_ctx *ctx, const char *path)
{
	return xasprintf("%s%s", ctx->sysroot, path);
}

char *check_read(const struct check_ctx *ctx, const char *path)
{
	cleanup_free char *full = check_path(ctx, path);
	char *text = NULL;
	int rc = fsx_read(AT_FDCWD, full, CHECK_FILE_MAX, &text, NULL);

	if (rc < 0) {
		errno = -rc;
		return NULL;
	}
	return text;
}

bool check_read_number(const struct check_ctx *ctx, const char *path, long long *ret)
{
	cleanup_free char *text = check_read(ctx, path);
	char *end;

	if (!text || !*text)
		return false;
	*ret = strtoll(text, &end, 10);
	return end != text && (*end == '\0' || *end == '\n' || *end == '\t' || *end == ' ');
}

bool check_exists(const struct check_ctx *ctx, const char *path)
{
	cleanup_free char *full = check_path(ctx, path);

	return fsx_exists(full);
}

bool check_has_failed(const struct check_ctx *ctx, const char *id, const char *object)
{
	for (size_t i = 0; i < ctx->before->count; i++) {
		const struct check_report *report = &ctx->before->all[i];

		if (report->status == CHECK_FAIL && streq(report->check->id, id) &&
		    streq(report->object, object))
			return true;
	}
	return false;
}

static NORETURN void run_program(char *const argv[], const char *variable, int in, int out)
{
	char *envp[] = { xstrdup(CHECK_PATH), variable ? xstrdup(variable) : NULL, NULL };

	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	execve(argv[0], argv, envp);
	_exit(127);
}

int check_command(char *const argv[], const char *input, char **ret_out, int *ret_status,
                  struct err *err)
{
	return check_command_with(argv, NULL, input, ret_out, ret_status, err);
}

int check_command_with(char *const argv[], const char *variable, const char *input, char **ret_out,
                       int *ret_status, struct err *err)
{
	cleanup(buf_release) struct buf text = { 0 };
	int in[2], out[2];
	pid_t pid;
	bool in_time;

	buf_init(&text, CHECK_OUT_BYTES);
	if (pipe2(in, O_CLOEXEC) < 0 ||
	    pipe2(out, O_CLOEXEC) < 0) /* our process ends soon, with what it opened */
		return err_sys(err, errno, "%s", argv[0]);
	signal(SIGPIPE, SIG_IGN);
	pid = fork();
	if (pid == 0)
		run_program(argv, variable, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	if (pid < 0)
		return err_sys(err, errno, "%s", argv[0]);
	ignore(input && write_full(in[1], input, strlen(input)) < 0); /* it may not want it */
	close(in[1]);
	/* A little less than the check itself has, so that it is told which program hangs. */
	in_time = read_reports(out[0], clock_boot_ns() + (CHECK_LIMIT_MS - 500) * 1000000LL, &text);
	close(out[0]);
	if (!in_time || !reap(pid, REAP_MS, ret_status)) {
		kill(pid, SIGKILL);
		return err_set(err, CODE_DEADLINE_EXCEEDED, "%s: does not end within %d seconds",
		               argv[0], CHECK_LIMIT_MS / 1000);
	}
	if (text.len + 4096 > CHECK_OUT_BYTES)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: prints more than %d bytes",
		               argv[0], CHECK_OUT_BYTES);
	*ret_out = buf_take_str(&text);
	return 0;
}
