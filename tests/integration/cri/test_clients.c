/* Real clients against the gRPC server: crictl (grpc-go) over the unix socket, curl over TCP. The
 * server is the real one with its
 * service table, in a child; behind it is nothing but the node's status. A client that is not
 * installed is skipped: crictl is taken from $CRICTL or PATH. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/config.h"
#include "core/loop/listener.h"
#include "core/loop/loop.h"
#include "cri/grpc/server.h"
#include "cri/rpc/service.h"

struct fixture {
	char dir[64], socket[128], endpoint[160], address[64];
	pid_t server;
};

/* --- the server */

struct served {
	struct loop *loop;
	struct service *service;
	struct grpc_server *server;
};

static void node_facts(void *arg UNUSED, struct pb_arena *arena UNUSED, bool verbose,
                       struct cri_node_facts *ret_facts)
{
	static const struct cri_runtime_handler handlers[] = { { "", true, true },
		                                               { "crun", true, true } };
	static const struct cri_info info[] = { { "lastCNILoadStatus", "\"OK\"" } };

	*ret_facts = (struct cri_node_facts){
		.runtime = { .ok = true },
		.network = { .ok = false,
		             .reason = "NetworkPluginNotReady",
		             .message = "no configuration in /etc/cni/net.d" },
		.handlers = handlers,
		.nhandlers = ARRAY_SIZE(handlers),
		.info = info,
		.ninfo = verbose ? ARRAY_SIZE(info) : 0,
	};
}

static int node_set_pod_cidrs(void *arg UNUSED, const char *const *cidrs UNUSED,
                              size_t ncidrs UNUSED, struct err *err UNUSED)
{
	return 0;
}

static void on_ready(void *arg, const struct signalfd_siginfo *info UNUSED)
{
	service_enter(((struct served *)arg)->service, SERVICE_READY);
}

static void on_drained(void *arg)
{
	loop_stop(((struct served *)arg)->loop);
}

static void on_stop(void *arg, const struct signalfd_siginfo *info UNUSED)
{
	struct served *served = arg;

	service_enter(served->service, SERVICE_STOPPING);
	grpc_server_drain(served->server, on_drained, served);
}

static int serve(const char *path, int tell_address, struct err *err)
{
	static const struct cri_node node = { node_facts, node_set_pod_cidrs, NULL };
	struct config config = { .root = xstrdup("/var/lib/coracle"),
		                 .state = xstrdup("/run/coracle") };
	struct cri cri = { .version = "0.0.1-test", .config = &config, .node = &node };
	struct served served = { .loop = loop_new(err) };
	struct listener *local, *tcp;

	if (!served.loop)
		return -1;
	cri.loop = served.loop;
	served.service = service_new(&cri);
	served.server = grpc_server_new(&(struct grpc_server_args){
		.loop = served.loop, .handler = service_handler(served.service) });
	local = listener_unix(served.loop, path, err);
	tcp = listener_tcp(served.loop, "127.0.0.1:0", err);
	if (!local || !tcp || grpc_server_listen(served.server, local, err) < 0 ||
	    grpc_server_listen(served.server, tcp, err) < 0 ||
	    loop_signal(served.loop, SIGUSR1, on_ready, &served, err) < 0 ||
	    loop_signal(served.loop, SIGTERM, on_stop, &served, err) < 0)
		return -1;
	ignore(write_full(tell_address, listener_address(tcp), strlen(listener_address(tcp))) > 0);
	close(tell_address);
	if (loop_run(served.loop, err) < 0)
		return -1;
	grpc_server_free(served.server);
	service_free(served.service);
	loop_free(served.loop);
	free(config.root);
	free(config.state);
	return 0;
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err = { 0 };
	int address[2];

	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-clients-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(str_format(f->socket, sizeof(f->socket), "%s/coracle.sock", f->dir), 0);
	assert_int_equal(str_format(f->endpoint, sizeof(f->endpoint), "unix://%s", f->socket), 0);
	assert_int_equal(pipe(address), 0);
	f->server = fork();
	if (f->server == 0) {
		close(address[0]);
		_exit(serve(f->socket, address[1], &err) < 0);
	}
	close(address[1]);
	assert_true(read_full(address[0], f->address, sizeof(f->address) - 1) > 0);
	close(address[0]);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;
	int status;

	kill(f->server, SIGTERM);
	assert_int_equal(waitpid(f->server, &status, 0), f->server);
	assert_int_equal(status, 0);
	assert_int_equal(access(f->socket, F_OK), -1);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

/* The server has caught signals only once its address is known, which setup waits for. */
static void make_ready(struct fixture *f)
{
	kill(f->server, SIGUSR1);
}

/* --- clients */

/* Exit status of a program with its output, both streams, in @out; 127: it is not there. */
static int run(const char *const *argv, struct buf *out)
{
	int pipes[2], status;
	pid_t pid;

	buf_init(out, 1 << 20);
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		dup2(pipes[1], 1);
		dup2(pipes[1], 2);
		close(pipes[0]);
		close(pipes[1]);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(pipes[1]);
	for (;;) {
		char *at = buf_reserve(out, 4096);
		ssize_t n = read(pipes[0], at, 4096);

		if (n <= 0)
			break;
		buf_grew(out, (size_t)n);
	}
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static int crictl(struct fixture *f, const char *verb, struct buf *out)
{
	const char *program = getenv("CRICTL");
	const char *argv[] = { program ? program : "crictl",
		               "--runtime-endpoint",
		               f->endpoint,
		               "--image-endpoint",
		               f->endpoint,
		               verb,
		               NULL };

	return run(argv, out);
}

static void crictl_reads_the_version(void **arg)
{
	struct fixture *f = *arg;
	cleanup(buf_release) struct buf out = { 0 };
	int status;

	make_ready(f);
	status = crictl(f, "version", &out);
	if (status == 127)
		skip();
	assert_non_null(strstr(out.data, "RuntimeName:  coracle"));
	assert_non_null(strstr(out.data, "RuntimeVersion:  0.0.1-test"));
	assert_non_null(strstr(out.data, "RuntimeApiVersion:  v1"));
	assert_int_equal(status, 0);
}

static void crictl_reads_status_and_configuration(void **arg)
{
	struct fixture *f = *arg;
	cleanup(buf_release) struct buf out = { 0 };
	int status;

	make_ready(f);
	status = crictl(f, "info", &out);
	if (status == 127)
		skip();
	assert_non_null(strstr(out.data, "\"stateDir\": \"/run/coracle\""));
	assert_non_null(strstr(out.data, "\"NetworkPluginNotReady\""));
	assert_non_null(strstr(out.data, "\"lastCNILoadStatus\": \"OK\""));
	assert_int_equal(status, 0);
}

static void crictl_is_told_to_wait_before_recovery_has_ended(void **arg)
{
	struct fixture *f = *arg;
	cleanup(buf_release) struct buf out = { 0 };
	int status = crictl(f, "version", &out);

	if (status == 127)
		skip();
	assert_int_not_equal(status, 0);
	assert_non_null(
		strstr(out.data, "code = Unavailable desc = server is not initialized yet"));
}

static void curl_is_told_that_this_is_no_web_server(void **arg)
{
	struct fixture *f = *arg;
	cleanup(buf_release) struct buf out = { 0 };
	char url[128];
	const char *argv[] = { "curl", "-s", "-i", "--max-time", "5", "--http2-prior-knowledge",
		               url,    NULL };
	int status;

	assert_int_equal(str_format(url, sizeof(url), "http://%s/", f->address), 0);
	status = run(argv, &out);
	if (status == 127)
		skip();
	assert_non_null(strstr(out.data, "HTTP/2 405"));
	assert_non_null(strstr(out.data, "grpc-message: gRPC requests use the method POST"));
	assert_int_equal(status, 0);
}

static void curl_speaking_http_1_is_turned_away_at_once(void **arg)
{
	struct fixture *f = *arg;
	cleanup(buf_release) struct buf out = { 0 };
	const char *argv[] = { "curl",
		               "-s",
		               "-i",
		               "--max-time",
		               "5",
		               "--http1.1",
		               "--unix-socket",
		               f->socket,
		               "http://localhost/",
		               NULL };
	int status = run(argv, &out);

	if (status == 127)
		skip();
	assert_int_not_equal(status, 0);
	assert_int_not_equal(status, 28); /* time-out */
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(crictl_reads_the_version),
		TEST(crictl_reads_status_and_configuration),
		TEST(crictl_is_told_to_wait_before_recovery_has_ended),
		TEST(curl_is_told_that_this_is_no_web_server),
		TEST(curl_speaking_http_1_is_turned_away_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
