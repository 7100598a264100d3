/* cmd/ctl/transfer.c: pull and import, with their progress. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "cmd/ctl/ctl.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/proto/ctl.pb.h"

#define SPOOL_CHUNK (256 * 1024)
#define SECRET_MAX  4096

static struct progress progress_new(void)
{
	return (struct progress){ .out = stderr, .live = isatty(STDERR_FILENO) == 1 };
}

static const char *phase_text(ctl_Phase phase)
{
	switch (phase) {
	case ctl_Phase_PHASE_UNKNOWN:
	case ctl_Phase_PHASE_WAITING:
		return "waiting";
	case ctl_Phase_PHASE_RESOLVING:
		return "resolving";
	case ctl_Phase_PHASE_LAYERS:
		return "layers";
	case ctl_Phase_PHASE_COMMITTING:
		return "storing";
	case ctl_Phase_PHASE_DONE:
		break;
	}
	return "done";
}

/* --- pull */

struct pull {
	struct ctl *ctl;
	const char *ref;
	struct progress progress;
	const char *id;
};

static int pull_message(void *arg, const void *message)
{
	struct pull *pull = arg;
	const ctl_PullProgress *msg = message;
	cleanup_free char *what = NULL;
	uint64_t done = 0, total = 0;

	if (msg->phase == ctl_Phase_PHASE_DONE) {
		pull->id = ctl_text(pull->ctl, "%s", or_empty(msg->image.id));
		return 0;
	}
	for (size_t i = 0; i < msg->layers_count; i++) {
		done += msg->layers[i].done_bytes;
		total += msg->layers[i].total_bytes;
	}
	what = xasprintf("%s: %s", pull->ref, phase_text(msg->phase));
	progress_show(&pull->progress, what, done, total);
	return 0;
}

int ctl_pull(struct ctl *ctl, const char *ref, const char *creds, const char **ret_id,
             struct err *err)
{
	struct str user = { 0 }, password = { 0 };
	ctl_PullRequest request = { .image = (char *)ref };
	ctl_PullProgress message;
	struct pull pull = { .ctl = ctl, .ref = ref, .progress = progress_new() };
	const struct grpc_client_call call = {
		.method = "/coracle.v1.Control/Pull",
		.request_desc = ctl_PullRequest_fields,
		.request = &request,
		.response_desc = ctl_PullProgress_fields,
	};
	int rc;

	if (creds) {
		str_cut(str_of(creds), ':', &user, &password);
		request.has_auth = true;
		request.auth.username = ctl_text(ctl, STR_FMT, STR_ARG(user));
		request.auth.password = ctl_text(ctl, STR_FMT, STR_ARG(password));
	}
	progress_show(&pull.progress, ref, 0, 0);
	rc = grpc_client_stream(ctl->client, &call, &message, pull_message, &pull, err);
	progress_end(&pull.progress);
	if (rc < 0)
		return strstr(err->msg, ref) ? -1 : err_wrap(err, "%s", ref);
	if (!pull.id)
		return err_set(err, CODE_INTERNAL, "%s: the daemon ended without a result", ref);
	*ret_id = pull.id;
	return 0;
}

/* A password does not belong on a command line: from the terminal without echo, or a line of standard input. */
static int read_password(struct ctl *ctl, const char *user, const char **ret_creds, struct err *err)
{
	char line[SECRET_MAX];
	struct termios shown, hidden;
	bool terminal = tcgetattr(STDIN_FILENO, &shown) == 0;
	char *got;

	if (terminal) {
		fprintf(stderr, "Password of %s: ", user);
		hidden = shown;
		hidden.c_lflag &= ~(tcflag_t)ECHO;
		ignore(tcsetattr(STDIN_FILENO, TCSAFLUSH,
		                 &hidden)); /* shown, then: the user sees that */
	}
	got = fgets(line, sizeof(line), stdin);
	if (terminal) {
		ignore(tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown));
		fputc('\n', stderr);
	}
	if (!got)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "--creds %s: no password on standard input", user);
	line[strcspn(line, "\n")] = '\0';
	*ret_creds = ctl_text(ctl, "%s:%s", user, line);
	return 0;
}

static void print_id(struct ctl *ctl, const char *id)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *obj = yyjson_mut_obj(doc);

	yyjson_mut_obj_add_strcpy(doc, obj, "id", id);
	ignore(ctl_print_json(ctl, doc, obj, false) != EXIT_OK); /* the final flush tells again */
}

int verb_pull(struct ctl *ctl, int argc, char **argv)
{
	const char *creds = NULL, *id = "";
	const struct arg_option options[] = {
		{ "creds", 'u', ARG_TEXT, &creds, "USER[:PASSWORD]",
		  "log in to the registry; without PASSWORD it is asked for,\nor read from standard input" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 1, -1);
	struct err err = { 0 };
	int status = EXIT_OK;

	if (words < 0)
		return CTL_OVER(words);
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (creds && !strchr(creds, ':') && read_password(ctl, creds, &creds, &err) < 0)
		return ctl_fail(ctl, &err);
	for (int i = 1; i <= words; i++) {
		if (ctl_pull(ctl, argv[i], creds, &id, &err) < 0)
			status = ctl_fail(ctl, &err);
		else if (ctl->json)
			print_id(ctl, id);
		else
			printf("%s\n", id);
	}
	return ctl_flush(ctl) == EXIT_OK ? status : EXIT_FAILED;
}

/* --- import */

struct import {
	struct ctl *ctl;
	const char *name; /* of the archive, for people */
	struct progress progress;
	bool done;
};

static int import_message(void *arg, const void *message)
{
	struct import *import = arg;
	const ctl_ImportProgress *msg = message;
	cleanup_free char *what = NULL;

	if (msg->phase != ctl_Phase_PHASE_DONE) {
		what = xasprintf("%s: %s", import->name, phase_text(msg->phase));
		progress_show(&import->progress, what, msg->done_bytes, msg->total_bytes);
		return 0;
	}
	import->done = true;
	progress_end(&import->progress);
	for (size_t i = 0; i < msg->images_count; i++) {
		const ctl_Image *image = &msg->images[i];

		if (import->ctl->json) {
			yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
			yyjson_mut_val *obj = yyjson_mut_obj(doc), *names;

			yyjson_mut_obj_add_strcpy(doc, obj, "id", or_empty(image->id));
			names = yyjson_mut_obj_add_arr(doc, obj, "names");
			for (size_t k = 0; k < image->names_count; k++)
				yyjson_mut_arr_add_strcpy(doc, names, or_empty(image->names[k]));
			yyjson_mut_obj_add_uint(doc, obj, "size_bytes", image->size_bytes);
			ignore(ctl_print_json(import->ctl, doc, obj, false) !=
			       EXIT_OK); /* the final flush tells again */
		} else {
			printf("%s", or_empty(image->id));
			for (size_t k = 0; k < image->names_count; k++)
				printf(" %s", image->names[k]);
			printf("\n");
		}
	}
	return 0;
}

/* Standard input, as a file that the daemon can open. Ends early when a signal came. */
static int spool_input(int out, int signals, struct progress *progress, struct err *err)
{
	cleanup_free char *chunk = xcalloc(1, SPOOL_CHUNK);
	struct pollfd pfd[] = { { .fd = STDIN_FILENO, .events = POLLIN },
		                { .fd = signals, .events = POLLIN } };
	uint64_t all = 0;

	for (;;) {
		ssize_t n, written;

		if (poll(pfd, 2, -1) < 0 && errno != EINTR)
			return err_sys(err, errno, "poll");
		if (pfd[1].revents)
			return err_set(err, CODE_CANCELLED, "interrupted");
		if (!pfd[0].revents)
			continue;
		n = read(STDIN_FILENO, chunk, SPOOL_CHUNK);
		if (n == 0)
			return 0;
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return err_sys(err, errno, "standard input");
		written = write_full(out, chunk, (size_t)n);
		if (written < 0)
			return err_sys(err, (int)-written, "copy of standard input");
		all += (uint64_t)n;
		progress_show(progress, "standard input", all, 0);
	}
}

static int import_file(struct ctl *ctl, const char *path, const char *shown, const char *name,
                       struct err *err)
{
	const ctl_ImportRequest request = { .path = (char *)path, .name = (char *)name };
	struct import import = { .ctl = ctl, .name = shown, .progress = progress_new() };
	ctl_ImportProgress message;
	const struct grpc_client_call call = {
		.method = "/coracle.v1.Control/Import",
		.request_desc = ctl_ImportRequest_fields,
		.request = &request,
		.response_desc = ctl_ImportProgress_fields,
	};
	int rc = grpc_client_stream(ctl->client, &call, &message, import_message, &import, err);

	progress_end(&import.progress);
	if (rc == 0 && !import.done)
		rc = err_set(err, CODE_INTERNAL, "the daemon ended without a result");
	/* the daemon names what it cannot open, not whose contents it does not understand */
	return rc < 0 && !strstr(err->msg, path) ? err_wrap(err, "%s", shown) : rc;
}

static int import_stdin(struct ctl *ctl, const char *name, struct err *err)
{
	const char *tmp = getenv("TMPDIR");
	cleanup_free char *dir =
		xasprintf("%s/coracle-import-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/var/tmp");
	cleanup_free char *path = NULL;
	struct progress progress = progress_new();
	int signals = ctl_signals(ctl, err), rc = -1;
	cleanup_close int fd = -1;

	if (signals < 0)
		return -1;
	if (!mkdtemp(dir)) /* 0700: nobody else gets near it */
		return err_sys(err, errno, "mkdir %s", dir);
	path = xasprintf("%s/archive", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		err_sys(err, errno, "create %s", path);
	else
		rc = spool_input(fd, signals, &progress, err);
	progress_end(&progress);
	if (rc == 0)
		rc = import_file(ctl, path, "standard input", name, err);
	if (fd >= 0)
		unlink(path);
	rmdir(dir);
	return rc;
}

int verb_import(struct ctl *ctl, int argc, char **argv)
{
	const char *name = NULL;
	const struct arg_option options[] = {
		{ "name", 'n', ARG_TEXT, &name, "NAME",
		  "call the image so, whatever the archive says" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 1, 1), rc;
	cleanup_free char *path = NULL;
	struct err err = { 0 };

	if (words < 0)
		return CTL_OVER(words);
	if (streq(argv[1], "-") && isatty(STDIN_FILENO) == 1)
		return ctl_usage(ctl, "standard input is a terminal, not an archive");
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (streq(argv[1], "-")) {
		rc = import_stdin(ctl, name, &err);
	} else {
		path = realpath(argv[1], NULL);
		rc = path ? import_file(ctl, path, argv[1], name, &err)
		          : err_sys(&err, errno, "%s", argv[1]);
	}
	return rc < 0 ? ctl_fail(ctl, &err) : ctl_flush(ctl);
}
