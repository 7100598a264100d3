/* core/net with the distribution's CNI plugins. Needs root and /usr/lib/cni (containernetworking-plugins) with iptables.
 *
 * The whole test runs in a network and a mount namespace of its own, which plays the host: bridge, iptables rules and sysctls
 * vanish with it. Its only route to elsewhere is lo. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/loop.h"
#include "core/net/builtin.h"
#include "core/net/cni.h"

#define HOST_PORT 18080
#define POD_PORT  80

struct fixture {
	char dir[64];
	char *conf_dir, *state_dir, *bin_dirs[2];
	struct loop *loop;
	struct net *net;
	struct err err;
	int done;
	bool failed;
	char *result, *ip;
};

static void lo_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	assert_int_equal(unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	/* A sysfs of this network namespace, as the host has one: the plugins read it. */
	assert_int_equal(mount("sysfs", "/sys", "sysfs", 0, NULL), 0);
	lo_up();
	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-net-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	f->conf_dir = xasprintf("%s/net.d", f->dir);
	f->state_dir = xasprintf("%s/state", f->dir);
	f->bin_dirs[0] = (char *)"/usr/lib/cni";
	assert_int_equal(mkdir(f->state_dir, 0755), 0);
	f->loop = loop_new(&f->err);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	net_free(f->net);
	loop_free(f->loop);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	free(f->conf_dir);
	free(f->state_dir);
	free(f->result);
	free(f->ip);
	free(f);
	return 0;
}

static void open_net(struct fixture *f)
{
	struct net_args args = { .loop = f->loop,
		                 .conf_dir = f->conf_dir,
		                 .bin_dirs = f->bin_dirs,
		                 .state_dir = f->state_dir,
		                 .builtin = true };
	char reason[256];

	f->net = net_new(&args);
	if (!net_ready(f->net, reason, sizeof(reason)))
		fail_msg("%s", reason);
}

/* A pinned network namespace with lo up, as the namespace child makes it. */
static char *pod_netns(struct fixture *f, const char *name)
{
	char *path = xasprintf("%s/%s", f->dir, name);
	int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), status;
	pid_t pid;

	assert_true(fd >= 0);
	close(fd);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) < 0 ||
		    mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0)
			_exit(1);
		lo_up();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return path;
}

static void unpin(const char *path)
{
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	assert_int_equal(unlink(path), 0);
}

static void on_done(void *arg, const struct net_result *result, const struct err *err)
{
	struct fixture *f = arg;

	f->done++;
	f->failed = err != NULL;
	f->err = err ? *err : (struct err){ 0 };
	if (result) {
		free(f->result);
		free(f->ip);
		f->result = xstrndup(result->json, result->len);
		f->ip = xstrdup(result->ips[0]);
	}
}

static void finish(struct fixture *f)
{
	while (!f->done)
		loop_turn(f->loop, true);
	f->done = 0;
}

static struct net_call call(struct fixture *f, const char *plan)
{
	struct net_call c = NET_CALL_INIT;

	c.plan = plan;
	c.plan_len = strlen(plan);
	c.result = f->result;
	c.result_len = f->result ? strlen(f->result) : 0;
	c.timeout_ms = 20000;
	c.done = on_done;
	c.arg = f;
	return c;
}

static char *prepare(struct fixture *f, const char *id, const char *netns,
                     const struct net_port *ports, size_t nports)
{
	struct net_pod pod = { .id = id,
		               .netns_path = netns,
		               .name = "web",
		               .ns = "default",
		               .uid = "u",
		               .ports = ports,
		               .nports = nports };
	char *plan = NULL;
	size_t len;

	if (net_prepare(f->net, &pod, &plan, &len, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	return plan;
}

static void add(struct fixture *f, const char *plan)
{
	struct net_call c = call(f, plan);

	c.result_len = 0;
	net_add(f->net, &c);
	finish(f);
	if (f->failed)
		fail_msg("%s", f->err.msg);
}

static void del(struct fixture *f, const char *plan)
{
	struct net_call c = call(f, plan);

	net_del(f->net, &c);
	finish(f);
	if (f->failed)
		fail_msg("%s", f->err.msg);
}

/* errno of a connection attempt from here, 0 when somebody answered. */
static int try_connect(const char *ip, int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(error);

	assert_int_equal(inet_pton(AF_INET, ip, &addr.sin_addr), 1);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		error = errno;
		if (error == EINPROGRESS) {
			error = ETIMEDOUT;
			if (poll(&ready, 1, 3000) == 1)
				assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len),
				                 0);
		}
	}
	close(fd);
	return error;
}

/* A process inside the pod that accepts on POD_PORT until it is killed. */
static pid_t serve(const char *netns)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(POD_PORT) };
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		int ns = open(netns, O_RDONLY), fd;

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failing test must not leave it behind */
		if (setns(ns, CLONE_NEWNET) < 0)
			_exit(1);
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 8) < 0 ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			close(accept(fd, NULL, NULL));
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

/* How many addresses host-local has handed out. */
static size_t leases(struct fixture *f)
{
	char bridge[BUILTIN_BRIDGE_SIZE];
	cleanup_free char *dir = NULL;
	cleanup(strv_free) char **names = NULL;
	size_t n = 0;

	builtin_bridge(f->state_dir, bridge);
	dir = xasprintf("%s/net/ipam/%s", f->state_dir, bridge);
	if (fsx_list(AT_FDCWD, dir, &names) < 0)
		return 0;
	for (size_t i = 0; names[i]; i++)
		n += names[i][0] >= '0' && names[i][0] <= '9';
	return n;
}

/* Lines of the nat and filter tables that name @word. */
static size_t rules(const char *word)
{
	static const char *const commands[] = { "iptables -t nat -S", "iptables -S" };
	char line[512];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		FILE *out = popen(commands[i], "r"); /* a test's shell, not the product's */

		assert_non_null(out);
		while (fgets(line, sizeof(line), out))
			n += strstr(line, word) != NULL;
		assert_int_equal(pclose(out), 0);
	}
	return n;
}

static void a_pod_of_the_built_in_network_is_reached_and_leaves_nothing_behind(void **arg)
{
	struct fixture *f = *arg;
	struct net_port port = { .host_port = HOST_PORT,
		                 .container_port = POD_PORT,
		                 .protocol = "tcp" };
	cleanup_free char *netns = NULL, *plan = NULL, *forward = NULL, *gateway = NULL;
	pid_t server;
	size_t len;

	open_net(f);
	netns = pod_netns(f, "ns1");
	plan = prepare(f, "pod1", netns, &port, 1);
	add(f, plan);
	assert_int_equal(leases(f), 1);
	assert_int_equal(try_connect(f->ip, POD_PORT),
	                 ECONNREFUSED); /* the pod's kernel answers: nobody listens */
	server = serve(netns);
	assert_int_equal(try_connect(f->ip, POD_PORT), 0);
	gateway = xstrdup(f->ip);
	assert_int_equal(str_copy(strrchr(gateway, '.') + 1, 2, "1"), 0);
	assert_int_equal(try_connect(gateway, HOST_PORT), 0); /* by the host port */
	assert_int_equal(
		file_read_all("/proc/sys/net/ipv4/ip_forward", 16, &forward, &len, &f->err), 0);
	assert_string_equal(forward, "1\n");

	assert_true(rules(f->ip) > 0);
	del(f, plan);
	assert_int_equal(leases(f), 0);
	assert_int_equal(rules(f->ip), 0);
	assert_int_not_equal(try_connect(gateway, HOST_PORT), 0);
	del(f, plan); /* again: nothing to do is fine */
	kill(server, SIGKILL);
	assert_int_equal(waitpid(server, NULL, 0), server);
	unpin(netns);
}

static void del_gives_the_address_back_when_the_namespace_is_gone_and_no_result_is_known(void **arg)
{
	struct fixture *f = *arg;
	struct net_port port = { .host_port = HOST_PORT,
		                 .container_port = POD_PORT,
		                 .protocol = "tcp" };
	cleanup_free char *netns = NULL, *plan = NULL;

	open_net(f);
	netns = pod_netns(f, "ns1");
	plan = prepare(f, "pod1", netns, &port, 1);
	add(f, plan);
	unpin(netns);
	free(take_ptr(f->result));
	del(f, plan);
	assert_int_equal(leases(f), 0);
}

static void del_cleans_up_after_an_add_that_failed_half_way(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *plan = NULL, *netns = NULL, *file = NULL;
	struct net_call c;
	char text[1024];

	/* The second plugin refuses: tuning with a sysctl that does not exist. */
	assert_int_equal(mkdir(f->conf_dir, 0755), 0);
	file = xasprintf("%s/10-x.conflist", f->conf_dir);
	assert_int_equal(
		str_format(
			text, sizeof(text),
			"{\"cniVersion\":\"0.4.0\",\"name\":\"half\",\"plugins\":[{\"type\":\"bridge\",\"bridge\":\"half0\","
			"\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"%s/ipam\",\"subnet\":\"10.201.7.0/24\"}},"
			"{\"type\":\"tuning\",\"sysctl\":{\"net.core.no_such_thing\":\"1\"}}]}",
			f->dir),
		0);
	assert_int_equal(fsx_write(AT_FDCWD, file, text, strlen(text), 0644), 0);
	open_net(f);
	netns = pod_netns(f, "ns1");
	plan = prepare(f, "pod1", netns, NULL, 0);
	c = call(f, plan);
	net_add(f->net, &c);
	finish(f);
	assert_true(f->failed);
	assert_true(starts_with(f->err.msg, "network \"half\": plugin tuning (ADD): "));
	assert_int_equal(unlink(file), 0); /* DEL needs the plan alone */
	del(f, plan);
	{
		cleanup_free char *lease = xasprintf("%s/ipam/half/10.201.7.2", f->dir);

		assert_false(fsx_exists(lease));
	}
	unpin(netns);
}

static void check_notices_an_address_that_was_taken_away(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *plan = NULL, *netns = NULL, *file = NULL, *flush = NULL;
	struct net_call c;
	char text[1024];
	FILE *shell;

	assert_int_equal(mkdir(f->conf_dir, 0755), 0);
	file = xasprintf("%s/10-x.conflist", f->conf_dir);
	assert_int_equal(
		str_format(
			text, sizeof(text),
			"{\"cniVersion\":\"1.0.0\",\"name\":\"plain\",\"plugins\":[{\"type\":\"bridge\",\"bridge\":\"plain0\","
			"\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"%s/ipam\",\"subnet\":\"10.201.8.0/24\"}}]}",
			f->dir),
		0);
	assert_int_equal(fsx_write(AT_FDCWD, file, text, strlen(text), 0644), 0);
	open_net(f);
	netns = pod_netns(f, "ns1");
	plan = prepare(f, "pod1", netns, NULL, 0);
	add(f, plan);
	c = call(f, plan);
	net_check(f->net, &c);
	finish(f);
	if (f->failed)
		fail_msg("%s", f->err.msg);
	flush = xasprintf("nsenter --net=%s ip addr flush dev eth0", netns);
	shell = popen(flush, "w");
	assert_non_null(shell);
	assert_int_equal(pclose(shell), 0);
	net_check(f->net, &c);
	finish(f);
	assert_true(f->failed);
	assert_true(starts_with(f->err.msg, "network \"plain\": plugin bridge (CHECK): "));
	del(f, plan);
	unpin(netns);
}

static void fifty_pods_at_once_get_fifty_addresses(void **arg)
{
	enum { PODS = 50 };
	struct fixture *f = *arg;
	char *netns[PODS], *plan[PODS];
	int done = 0;

	open_net(f);
	for (int i = 0; i < PODS; i++) {
		char id[16];
		struct net_call c;

		assert_int_equal(str_format(id, sizeof(id), "pod%d", i), 0);
		netns[i] = pod_netns(f, id);
		plan[i] = prepare(f, id, netns[i], NULL, 0);
		c = call(f, plan[i]);
		net_add(f->net, &c);
	}
	while (f->done < PODS) {
		int before = f->done;

		loop_turn(f->loop, true);
		if (f->done != before && f->failed)
			fail_msg("%s", f->err.msg);
	}
	assert_int_equal(leases(f), PODS);
	f->done = 0;
	for (int i = 0; i < PODS; i++) {
		del(f, plan[i]);
		unpin(netns[i]);
		free(netns[i]);
		free(plan[i]);
		done++;
	}
	assert_int_equal(done, PODS);
	assert_int_equal(leases(f), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_pod_of_the_built_in_network_is_reached_and_leaves_nothing_behind),
		T(del_gives_the_address_back_when_the_namespace_is_gone_and_no_result_is_known),
		T(del_cleans_up_after_an_add_that_failed_half_way),
		T(check_notices_an_address_that_was_taken_away),
		T(fifty_pods_at_once_get_fifty_addresses),
	};

	if (geteuid() != 0 || access("/usr/lib/cni/bridge", X_OK) < 0) {
		fprintf(stderr, "needs root and the CNI plugins in /usr/lib/cni\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
