/* cmd/ctl/ctl.c: the table of verbs, and what they share. */
#include "cmd/ctl/ctl.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cmd/applets.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define ARENA_BYTES (256 * 1024 * 1024)
#define RETRY_MS    50

/* clang-format off */
static const struct verb verbs[] = {
	{ "ps",     "[OPTION...]", "list containers", NULL, verb_ps, false },
	{ "pods",   "[OPTION...]", "list pods", NULL, verb_pods, false },
	{ "images", "[OPTION...]", "list images", NULL, verb_images, false },
	{ "pull",   "[OPTION...] IMAGE...", "fetch images from their registries",
	  "Prints the id of each. Without a registry in its name an image is looked for at docker.io.\n", verb_pull, false },
	{ "import", "[OPTION...] FILE", "add the images of an archive",
	  "FILE is an archive as `docker save` writes it, or an OCI image layout in a tar file; it may be compressed.\n"
	  "'-' reads it from standard input. Prints the id of the image. The daemon itself reads FILE, which therefore\n"
	  "has to be on its machine.\n", verb_import, false },
	{ "run",    "[OPTION...] IMAGE [COMMAND [ARGUMENT...]]", "run an image in a pod of its own",
	  "An image that is not here is pulled. What the container writes is printed until it ends; ^C stops it.\n"
	  "The exit status is the container's. Pod and container stay behind, stopped, unless --rm is given.\n", verb_run, true },
	{ "exec",   "[OPTION...] CONTAINER COMMAND [ARGUMENT...]", "run a command in a container",
	  "Its output is printed when it has ended; the exit status is the command's.\n", verb_exec, true },
	{ "logs",   "[OPTION...] CONTAINER", "print what a container wrote",
	  "What it wrote to standard error goes there. The log is read from its file, on this machine.\n", verb_logs, false },
	{ "stats",  "[OPTION...] [CONTAINER...]", "print what containers use",
	  "The processor share is measured over one second.\n", verb_stats, false },
	{ "events", "[OPTION...]", "print what happens, as it happens", NULL, verb_events, false },
	{ "stop",   "[OPTION...] CONTAINER|POD...", "stop containers or pods",
	  "A container gets its stop signal, and is killed when the time is over. A pod is stopped with all its containers.\n",
	  verb_stop, false },
	{ "rm",     "[OPTION...] CONTAINER|POD|IMAGE...", "remove containers, pods or images",
	  "What `run` has made goes as a whole: container, pod and log.\n", verb_rm, false },
	{ "dump",   "[OPTION...]", "print all that the daemon knows, as JSON",
	  "With --offline the same state comes from the journal on disk. That needs no daemon and disturbs none.\n", verb_dump, false },
};
/* clang-format on */

/* --- command line */

static void common_options(struct ctl *ctl, struct arg_option options[7], struct arg_table *table)
{
	const struct arg_option common[7] = {
		{ "address", 0, ARG_TEXT, &ctl->address, "PATH",
		  "the daemon's socket (<state>/coracle.sock)" },
		{ "json", 0, ARG_FLAG, &ctl->json, NULL, "JSON instead of a table" },
		{ "wait", 0, ARG_NUMBER, &ctl->wait_s, "SECONDS",
		  "wait that long for a daemon that is not ready yet" },
		{ "config", 'c', ARG_TEXT, &ctl->flags.file, "FILE",
		  "the daemon's configuration (/etc/coracle/coracle.conf)" },
		{ "root", 0, ARG_TEXT, &ctl->flags.root, "DIR",
		  "its persistent data (/var/lib/coracle)" },
		{ "state", 0, ARG_TEXT, &ctl->flags.state, "DIR",
		  "its run-time data (/run/coracle)" },
		{ "listen", 0, ARG_TEXT, &ctl->flags.listen, "PATH", "the same as --address" },
	};

	memcpy(options, common, sizeof(common));
	*table = (struct arg_table){ options, ARRAY_SIZE(common) };
}

static void print_verb_help(const struct ctl *ctl, const struct arg_table tables[2])
{
	const struct verb *v = ctl->verb;

	printf("usage: coracle ctl %s %s\n%c%s.\n", v->name, v->words, v->summary[0] - 'a' + 'A',
	       v->summary + 1);
	if (v->more)
		printf("\n%s", v->more);
	printf("\nOptions:\n");
	args_help(stdout, &tables[0]);
	printf("  -h, --help               this text\n\nFor every verb:\n");
	args_help(stdout, &tables[1]);
}

int ctl_args(struct ctl *ctl, int argc, char **argv, const struct arg_option *options, size_t count,
             int min, int max)
{
	struct arg_option common[7];
	struct arg_table tables[2] = { { options, count } };
	int words;

	common_options(ctl, common, &tables[1]);
	words = args_parse(ctl->who, argc, argv, tables, 2, ctl->verb->stop_early);
	if (words == ARGS_HELP) {
		print_verb_help(ctl, tables);
		return -1 - EXIT_OK;
	}
	if (words == ARGS_USAGE)
		return -1 - EXIT_USAGE;
	if (words < min)
		return -1 - ctl_usage(ctl, "too few arguments; usage: coracle ctl %s %s",
		                      ctl->verb->name, ctl->verb->words);
	if (max >= 0 && words > max)
		return -1 - ctl_usage(ctl, "unexpected argument '%s'", argv[1 + max]);
	return words;
}

static void print_help(void)
{
	struct ctl ctl = { 0 };
	struct arg_option options[7];
	struct arg_table table;

	printf("usage: coracle ctl VERB [OPTION...] [ARGUMENT...]\n"
	       "Talk to the daemon: look at and change what it runs.\n\n"
	       "Verbs:\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
	printf("\nOptions, before or after the verb:\n");
	common_options(&ctl, options, &table);
	args_help(stdout, &table);
	printf("\nContainers and pods are called by name (POD/NAME, NAMESPACE/NAME where that is not enough), by id, or by the\n"
	       "beginning of an id. `coracle ctl VERB --help` explains a verb.\n"
	       "Exit status: 0 done, 1 failed, 2 usage; of run and exec, that of the container.\n");
}

static const struct verb *find_verb(const char *name)
{
	const char *names[ARRAY_SIZE(verbs)], *meant;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (streq(verbs[i].name, name))
			return &verbs[i];
		names[i] = verbs[i].name;
	}
	meant = str_suggest(name, names, ARRAY_SIZE(verbs));
	fprintf(stderr, "coracle ctl: no verb '%s'", name);
	if (meant)
		fprintf(stderr, "; did you mean '%s'?", meant);
	fputs("\nTry 'coracle ctl --help'.\n", stderr);
	return NULL;
}

/* --- telling */

int ctl_fail(const struct ctl *ctl, const struct err *err)
{
	cleanup_free char *text = text_clean(err->msg); /* parts of it came from outside */

	fprintf(stderr, "coracle %s: %s\n", ctl->who, text);
	return EXIT_FAILED;
}

int ctl_usage(const struct ctl *ctl, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "coracle %s: ", ctl->who);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry 'coracle %s --help'.\n", ctl->who);
	return EXIT_USAGE;
}

int ctl_flush(const struct ctl *ctl)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_OK;
	fprintf(stderr, "coracle %s: standard output: %s\n", ctl->who, errno_name(errno));
	return EXIT_FAILED;
}

int ctl_print_json(const struct ctl *ctl, yyjson_mut_doc *doc, yyjson_mut_val *root, bool pretty)
{
	cleanup_free char *text = NULL;
	size_t len;

	yyjson_mut_doc_set_root(doc, root);
	text = json_write(doc, pretty, &len);
	yyjson_mut_doc_free(doc);
	if (!text) {
		fprintf(stderr, "coracle %s: out of memory\n", ctl->who);
		return EXIT_FAILED;
	}
	fwrite(text, 1, len, stdout);
	fputc('\n', stdout);
	return ctl_flush(ctl);
}

void ctl_json_time(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, int64_t ns)
{
	char text[CLOCK_TEXT_SIZE];

	if (ns <= 0)
		return;
	clock_format_utc(ns, text);
	yyjson_mut_obj_add_strcpy(doc, obj, key, text);
}

void ctl_json_pairs(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, const void *entries,
                    size_t count)
{
	const cri_Container_LabelsEntry *pairs = entries;
	yyjson_mut_val *val = yyjson_mut_obj_add_obj(doc, obj, key);

	for (size_t i = 0; i < count; i++)
		yyjson_mut_obj_add(val, yyjson_mut_strcpy(doc, or_empty(pairs[i].key)),
		                   yyjson_mut_strcpy(doc, or_empty(pairs[i].value)));
}

/* --- memory of answers and requests */

void *ctl_alloc(struct ctl *ctl, size_t bytes)
{
	void *p = pb_arena_alloc(ctl->arena, bytes ? bytes : 1);

	if (!p) {
		fprintf(stderr, "coracle %s: more than %d MiB of answers\n", ctl->who,
		        ARENA_BYTES >> 20);
		exit(EXIT_FAILED);
	}
	return p;
}

char *ctl_text(struct ctl *ctl, const char *fmt, ...)
{
	va_list ap, again;
	char *text;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	text = ctl_alloc(ctl, (size_t)MAX(n, 0) + 1);
	vsnprintf(text, (size_t)MAX(n, 0) + 1, fmt, again);
	va_end(again);
	return text;
}

/* --- the daemon */

const struct config *ctl_config(struct ctl *ctl)
{
	struct err err = { 0 };

	if (ctl->config)
		return ctl->config;
	if (ctl->address && !ctl->flags.listen)
		ctl->flags.listen = ctl->address;
	ctl->config = config_load(&ctl->flags, &err);
	if (!ctl->config) {
		err_wrap(&err, "configuration");
		ctl_fail(ctl, &err);
	}
	return ctl->config;
}

int ctl_call(struct ctl *ctl, const struct grpc_client_call *call, void *response, struct err *err)
{
	return grpc_client_unary(ctl->client, call, ctl->arena, response, err);
}

static int try_connect(struct ctl *ctl, struct err *err)
{
	const cri_VersionRequest request = { 0 };
	cri_VersionResponse response;

	ctl->client = grpc_client_new(ctl->path, err);
	if (!ctl->client)
		return -1;
	if (ctl->wait_s < 0) /* the verb's own call tells as much */
		return 0;
	if (CALL_RUNTIME(ctl, Version, &request, &response, READ_TIMEOUT_MS, err) == 0)
		return 0;
	grpc_client_free(take_ptr(ctl->client));
	return -1;
}

int ctl_connect(struct ctl *ctl)
{
	struct err err = { 0 };
	int64_t until_ns;

	if (ctl->client)
		return 0;
	if (!ctl->path) {
		const char *address = ctl->address;

		if (!address) {
			const struct config *config = ctl_config(ctl);

			if (!config)
				return -1;
			address = config->listen;
		}
		if (starts_with(address, "unix://")) /* as kubelet and crictl write it */
			address += strlen("unix://");
		ctl->path = xstrdup(address);
	}
	for (until_ns = clock_boot_ns() + MAX(ctl->wait_s, 0) * NS_PER_S;;) {
		if (try_connect(ctl, &err) == 0)
			return 0;
		if (!err_is(&err, CODE_UNAVAILABLE) || clock_boot_ns() >= until_ns)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = RETRY_MS * NS_PER_MS }, NULL);
	}
	ctl_fail(ctl, &err);
	return -1;
}

/* --- signals */

int ctl_signals(struct ctl *ctl, struct err *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(err, errno, "block signals");
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return err_sys(err, errno, "signalfd");
	if (ctl->client)
		grpc_client_cancel_on(ctl->client, fd);
	return fd;
}

void ctl_signals_ignore(struct ctl *ctl, int fd)
{
	struct signalfd_siginfo info;

	ignore(read(fd, &info, sizeof(info)) < 0); /* none pending: fine, too */
	if (ctl->client)
		grpc_client_cancel_on(ctl->client, -1);
}

/* --- main */

int applet_ctl(int argc, char **argv)
{
	struct ctl ctl = { .who = "ctl", .wait_s = -1 };
	struct arg_option options[7];
	struct arg_table table;
	int words, status;

	common_options(&ctl, options, &table);
	words = args_parse(ctl.who, argc, argv, &table, 1, true);
	if (words == ARGS_HELP) {
		print_help();
		return EXIT_OK;
	}
	if (words == ARGS_USAGE)
		return EXIT_USAGE;
	if (words == 0) {
		fputs("usage: coracle ctl VERB [OPTION...] [ARGUMENT...]\nTry 'coracle ctl --help'.\n",
		      stderr);
		return EXIT_USAGE;
	}
	ctl.verb = find_verb(argv[1]);
	if (!ctl.verb)
		return EXIT_USAGE;
	ignore(str_format(ctl.who, sizeof(ctl.who), "ctl %s",
	                  ctl.verb->name)); /* verbs are short */
	signal(SIGPIPE, SIG_IGN);           /* a reader that is gone is an error of the write */
	ctl.arena = pb_arena_new(ARENA_BYTES);
	status = ctl.verb->fn(&ctl, words, argv + 1);
	grpc_client_free(ctl.client);
	pb_arena_free(ctl.arena);
	config_free(ctl.config);
	free(ctl.path);
	return status;
}
