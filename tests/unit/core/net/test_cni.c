/* Plugins are one shell script under several names: it notes its call and its input, prints out.<type>.<VERB> and exits with the
 * number in rc.<type>.<VERB>. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/oplock.h"
#include "core/net/cni.h"

#define RESULT "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.1.2.3/24\"}],\"dns\":{}}"
#define LIST                                                                                        \
	"{\"cniVersion\":\"1.0.0\",\"name\":\"testnet\",\"plugins\":[{\"type\":\"one\",\"key\":1}," \
	"{\"type\":\"two\",\"capabilities\":{\"portMappings\":true,\"bandwidth\":true,\"dns\":false}}]}"

struct fixture {
	char dir[64];
	char *conf_dir, *bin_dir, *state_dir;
	char *bin_dirs[3];
	struct loop *loop;
	struct net *net;
	char *plan;
	size_t plan_len;
	int done;
	bool failed;
	struct err err;
	char *result, *ip;
	size_t nips;
};

static char *in_dir(const struct fixture *f, const char *name)
{
	return xasprintf("%s/%s", f->dir, name);
}

static void write_text(const struct fixture *f, const char *name, const char *text)
{
	cleanup_free char *path = in_dir(f, name);

	assert_int_equal(fsx_write(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

/* In place, not by rename. */
static void overwrite(const struct fixture *f, const char *name, const char *text)
{
	cleanup_free char *path = in_dir(f, name);
	cleanup_close int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_int_equal(write_full(fd, text, strlen(text)), strlen(text));
}

static char *read_text(const struct fixture *f, const char *name)
{
	cleanup_free char *path = in_dir(f, name);
	char *text = NULL;
	size_t len;

	if (fsx_read(AT_FDCWD, path, 1 << 20, &text, &len) < 0)
		return xstrdup("");
	return text;
}

static void install_plugin(const struct fixture *f, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s", f->bin_dir, name);
	cleanup_free char *script = xasprintf(
		"#!/bin/sh\n"
		"d=%s; me=${0##*/}.$CNI_COMMAND\n"
		"echo \"$me $CNI_CONTAINERID $CNI_IFNAME ns=$CNI_NETNS $CNI_ARGS\" >>$d/log\n"
		"cat >$d/in.$me\n"
		"[ -f $d/err.$me ] && cat $d/err.$me >&2\n"
		"[ -f $d/out.$me ] && cat $d/out.$me\n"
		"[ -f $d/hang.$me ] && exec sleep 1000\n"
		"[ -f $d/rc.$me ] && exit $(cat $d/rc.$me)\n"
		"exit 0\n",
		f->dir);

	assert_int_equal(fsx_write(AT_FDCWD, path, script, strlen(script), 0755), 0);
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-cni-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	f->conf_dir = in_dir(f, "net.d");
	f->bin_dir = in_dir(f, "bin");
	f->state_dir = in_dir(f, "state");
	f->bin_dirs[0] = (char *)"/nonexistent/cni";
	f->bin_dirs[1] = f->bin_dir;
	assert_int_equal(mkdir(f->conf_dir, 0755), 0);
	assert_int_equal(mkdir(f->bin_dir, 0755), 0);
	assert_int_equal(mkdir(f->state_dir, 0755), 0);
	install_plugin(f, "one");
	install_plugin(f, "two");
	write_text(f, "out.one.ADD", RESULT);
	write_text(f, "out.two.ADD", RESULT);
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
	free(f->bin_dir);
	free(f->state_dir);
	free(f->plan);
	free(f->result);
	free(f->ip);
	free(f);
	return 0;
}

static void open_net(struct fixture *f, bool builtin)
{
	struct net_args args = { .loop = f->loop,
		                 .conf_dir = f->conf_dir,
		                 .bin_dirs = f->bin_dirs,
		                 .state_dir = f->state_dir,
		                 .builtin = builtin };

	f->net = net_new(&args);
}

static struct net_pod pod(void)
{
	return (struct net_pod){ .id = "abc123",
		                 .netns_path = "/proc/self/ns/net",
		                 .name = "web",
		                 .ns = "default",
		                 .uid = "u-1" };
}

static void prepare(struct fixture *f, const struct net_pod *p)
{
	free(take_ptr(f->plan));
	if (net_prepare(f->net, p, &f->plan, &f->plan_len, &f->err) < 0)
		fail_msg("%s", f->err.msg);
}

static void on_done(void *arg, const struct net_result *result, const struct err *err)
{
	struct fixture *f = arg;

	f->done++;
	f->failed = err != NULL;
	if (err)
		f->err = *err;
	if (result) {
		free(f->result);
		free(f->ip);
		f->result = xstrndup(result->json, result->len);
		f->ip = xstrdup(result->ips[0]);
		f->nips = strv_len(result->ips);
	}
}

static struct net_call call(struct fixture *f)
{
	struct net_call c = NET_CALL_INIT;

	c.plan = f->plan;
	c.plan_len = f->plan_len;
	c.done = on_done;
	c.arg = f;
	return c;
}

static void wait_done(struct fixture *f)
{
	assert_int_equal(f->done, 0); /* never from within the call */
	while (!f->done)
		loop_turn(f->loop, true);
	f->done = 0;
}

static void add(struct fixture *f)
{
	struct net_call c = call(f);

	net_add(f->net, &c);
	wait_done(f);
}

static void del(struct fixture *f, const char *result)
{
	struct net_call c = call(f);

	c.result = result;
	c.result_len = result ? strlen(result) : 0;
	net_del(f->net, &c);
	wait_done(f);
}

/* A member of a plugin's input, as JSON text. */
static char *input_of(const struct fixture *f, const char *file, const char *key)
{
	cleanup_free char *text = read_text(f, file);
	cleanup(yyjson_doc_free) yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
	char *value = doc ? yyjson_val_write(yyjson_obj_get(yyjson_doc_get_root(doc), key), 0, NULL)
	                  : NULL;

	return value ? value : xstrdup("absent");
}

static void assert_input(const struct fixture *f, const char *file, const char *key,
                         const char *expected)
{
	cleanup_free char *value = input_of(f, file, key);

	assert_string_equal(value, expected);
}

static void add_runs_the_chain_and_hands_each_result_on(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *log = NULL;
	struct net_pod p = pod();

	write_text(f, "net.d/10-x.conflist", LIST);
	write_text(
		f, "out.two.ADD",
		"{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"fd00::9/64\"},{\"address\":\"10.7.7.7/16\"}]}");
	open_net(f, false);
	prepare(f, &p);
	add(f);
	assert_false(f->failed);
	assert_string_equal(f->ip, "10.7.7.7");
	assert_int_equal(f->nips, 2);
	log = read_text(f, "log");
	assert_string_equal(
		log,
		"one.ADD abc123 eth0 ns=/proc/self/ns/net IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;"
		"K8S_POD_INFRA_CONTAINER_ID=abc123;K8S_POD_UID=u-1\n"
		"two.ADD abc123 eth0 ns=/proc/self/ns/net IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;"
		"K8S_POD_INFRA_CONTAINER_ID=abc123;K8S_POD_UID=u-1\n");
	assert_input(f, "in.one.ADD", "name", "\"testnet\"");
	assert_input(f, "in.one.ADD", "cniVersion", "\"1.0.0\"");
	assert_input(f, "in.one.ADD", "key", "1");
	assert_input(f, "in.one.ADD", "prevResult", "absent");
	assert_input(f, "in.two.ADD", "prevResult", RESULT);
}

static void a_plugin_gets_the_arguments_it_declares_a_capability_for(void **arg)
{
	struct fixture *f = *arg;
	struct pair pairs[] = { { (char *)"kubernetes.io/ingress-bandwidth", (char *)"1.5M" },
		                { (char *)"kubernetes.io/egress-bandwidth", (char *)"64Ki" } };
	struct pairs annotations = { pairs, 2 };
	struct net_port ports[] = {
		{ .host_port = 8080, .container_port = 80, .protocol = "tcp" },
		{ .host_port = 0, .container_port = 81, .protocol = "tcp" },
		{ .host_port = 53, .container_port = 53, .protocol = "udp", .host_ip = "127.0.0.1" }
	};
	struct net_pod p = pod();

	p.annotations = &annotations;
	p.ports = ports;
	p.nports = 3;
	p.has_dns = true;
	write_text(f, "net.d/10-x.conflist", LIST);
	open_net(f, false);
	prepare(f, &p);
	add(f);
	assert_false(f->failed);
	assert_input(f, "in.one.ADD", "runtimeConfig", "absent");
	assert_input(
		f, "in.two.ADD", "runtimeConfig",
		"{\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":\"tcp\",\"hostIP\":\"\"},"
		"{\"hostPort\":53,\"containerPort\":53,\"protocol\":\"udp\",\"hostIP\":\"127.0.0.1\"}],"
		"\"bandwidth\":{\"ingressRate\":1500000,\"ingressBurst\":4294967295,\"egressRate\":65536,"
		"\"egressBurst\":4294967295}}");
}

static void what_plugins_cannot_be_told_fails_the_pod_by_name(void **arg)
{
	struct fixture *f = *arg;
	static const char *const rates[] = { "fast", "1", "2P", "1e", "-5M", "1.2.3M", "" };
	struct net_port port = { .host_port = 80, .container_port = 80, .protocol = "icmp" };
	struct pair pair = { (char *)"kubernetes.io/egress-bandwidth", NULL };
	struct pairs annotations = { &pair, 1 };
	struct net_pod p = pod();

	write_text(f, "net.d/10-x.conflist", LIST);
	open_net(f, false);
	p.annotations = &annotations;
	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		pair.value = (char *)rates[i];
		assert_int_equal(net_prepare(f->net, &p, &f->plan, &f->plan_len, &f->err), -1);
		assert_int_equal(f->err.code, CODE_INVALID_ARGUMENT);
		assert_non_null(strstr(f->err.msg, "annotation kubernetes.io/egress-bandwidth"));
	}
	p = pod();
	p.ports = &port;
	p.nports = 1;
	assert_int_equal(net_prepare(f->net, &p, &f->plan, &f->plan_len, &f->err), -1);
	assert_string_equal(f->err.msg,
	                    "host port 80: protocol \"icmp\" is none of tcp, udp, sctp");
	p = pod();
	p.name = "a;K8S_POD_NAME=b";
	assert_int_equal(net_prepare(f->net, &p, &f->plan, &f->plan_len, &f->err), -1);
	assert_string_equal(f->err.msg,
	                    "pod name \"a;K8S_POD_NAME=b\" cannot be told to CNI plugins");
	p = pod();
	p.ifname = "much-too-long-name";
	assert_int_equal(net_prepare(f->net, &p, &f->plan, &f->plan_len, &f->err), -1);
	assert_string_equal(f->err.msg, "\"much-too-long-name\" is not an interface name");
}

static void del_runs_backwards_with_the_stored_result_although_the_configuration_is_gone(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *log = NULL;
	cleanup_free char *file = NULL;
	struct net_pod p = pod();

	write_text(f, "net.d/10-x.conflist", LIST);
	open_net(f, false);
	prepare(f, &p);
	file = in_dir(f, "net.d/10-x.conflist");
	assert_int_equal(unlink(file), 0);
	del(f, RESULT);
	assert_false(f->failed);
	log = read_text(f, "log");
	assert_true(starts_with(log, "two.DEL abc123 eth0 ns=/proc/self/ns/net "));
	assert_non_null(strstr(log, "\none.DEL "));
	assert_input(f, "in.two.DEL", "prevResult", RESULT);
	assert_input(f, "in.one.DEL", "prevResult", RESULT);
}

static void del_goes_on_without_a_result_and_without_a_namespace(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *log = NULL;
	struct net_pod p = pod();

	p.netns_path = "/nonexistent/netns";
	write_text(f, "net.d/10-x.conflist", LIST);
	open_net(f, false);
	prepare(f, &p);
	del(f, NULL);
	assert_false(f->failed);
	del(f, "{\"half"); /* a damaged result is a lost one */
	assert_false(f->failed);
	assert_input(f, "in.one.DEL", "prevResult", "absent");
	log = read_text(f, "log");
	assert_true(starts_with(log, "two.DEL abc123 eth0 ns= "));
}

static void del_takes_gone_for_done_and_stops_at_any_other_error(void **arg)
{
	struct fixture *f = *arg;
	struct net_pod p = pod();
	cleanup_free char *log = NULL;

	write_text(f, "net.d/10-x.conflist", LIST);
	write_text(f, "rc.two.DEL", "1");
	write_text(f, "out.two.DEL", "{\"code\":3,\"msg\":\"container not found\"}");
	open_net(f, false);
	prepare(f, &p);
	del(f, NULL);
	assert_false(f->failed);
	write_text(f, "log", "");
	write_text(f, "out.two.DEL", "{\"code\":11,\"msg\":\"try again\",\"details\":\"locked\"}");
	del(f, NULL);
	assert_true(f->failed);
	assert_string_equal(f->err.msg, "network \"testnet\": plugin two (DEL): try again: locked");
	log = read_text(f, "log");
	assert_null(strstr(log, "one.DEL"));
}

static void a_failing_plugin_is_quoted_and_ends_the_chain(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *log = NULL;
	struct net_pod p = pod();

	write_text(f, "net.d/10-x.conflist", LIST);
	write_text(f, "rc.one.ADD", "1");
	write_text(f, "out.one.ADD",
	           "{\"cniVersion\":\"1.0.0\",\"code\":100,\"msg\":\"no addresses left\"}");
	open_net(f, false);
	prepare(f, &p);
	add(f);
	assert_true(f->failed);
	assert_int_equal(f->err.code, CODE_UNKNOWN);
	assert_string_equal(f->err.msg, "network \"testnet\": plugin one (ADD): no addresses left");
	log = read_text(f, "log");
	assert_null(strstr(log, "two"));

	write_text(f, "out.one.ADD", "");
	write_text(f, "err.one.ADD", "panic: deep inside\n\n");
	add(f);
	assert_string_equal(
		f->err.msg,
		"network \"testnet\": plugin one (ADD): exit status 1: panic: deep inside");
}

static void garbage_instead_of_a_result_is_an_error_that_names_the_plugin(void **arg)
{
	struct fixture *f = *arg;
	static const char *const garbage[] = { "", "hello", "[]", "{\"ips\":", "\"text\"" };
	struct net_pod p = pod();

	write_text(f, "net.d/10-x.conflist", LIST);
	open_net(f, false);
	prepare(f, &p);
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		write_text(f, "out.two.ADD", garbage[i]);
		add(f);
		assert_true(f->failed);
		assert_int_equal(f->err.code, CODE_UNKNOWN);
		assert_true(starts_with(f->err.msg, "network \"testnet\": plugin two (ADD): "));
	}
	write_text(f, "out.two.ADD", "{}"); /* well formed, but no address */
	add(f);
	assert_true(f->failed);
	assert_string_equal(f->err.msg, "network \"testnet\": the result has no address for eth0");
}

static void a_missing_plugin_is_named_with_the_directories(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *plugin = in_dir(f, "bin/two");
	cleanup_free char *expected = NULL;
	struct net_pod p = pod();
	char reason[256];

	write_text(f, "net.d/10-x.conflist", LIST);
	open_net(f, false);
	prepare(f, &p);
	assert_true(net_ready(f->net, reason, sizeof(reason)));
	assert_int_equal(unlink(plugin), 0);
	add(f);
	assert_int_equal(f->err.code, CODE_FAILED_PRECONDITION);
	expected =
		xasprintf("network \"testnet\": plugin two (ADD): not found in /nonexistent/cni:%s",
	                  f->bin_dir);
	assert_string_equal(f->err.msg, expected);
	assert_false(net_ready(f->net, reason, sizeof(reason)));
	assert_non_null(strstr(reason, "CNI plugin two not found in /nonexistent/cni:"));
}

static void a_plugin_that_hangs_is_killed_at_its_deadline(void **arg)
{
	struct fixture *f = *arg;
	struct net_pod p = pod();
	struct net_call c;

	write_text(f, "net.d/10-x.conflist", LIST);
	write_text(f, "hang.two.ADD", "");
	open_net(f, false);
	prepare(f, &p);
	c = call(f);
	c.timeout_ms = 200;
	net_add(f->net, &c);
	wait_done(f);
	assert_int_equal(f->err.code, CODE_DEADLINE_EXCEEDED);
	assert_string_equal(f->err.msg,
	                    "network \"testnet\": plugin two (ADD): timed out after 0.2 s");
}

static void the_op_lock_is_held_by_every_plugin(void **arg)
{
	struct fixture *f = *arg;
	struct oplock_holder holder;
	struct net_pod p = pod();
	struct oplock lock;
	struct net_call c;

	write_text(f, "net.d/10-x.conflist", LIST);
	write_text(f, "hang.two.ADD", "");
	open_net(f, false);
	prepare(f, &p);
	assert_int_equal(oplock_take(&lock, f->dir, "abc123", 1, &f->err), 0);
	c = call(f);
	c.oplock_fd = lock.fd;
	net_add(f->net, &c);
	/* Until the second plugin hangs, and its helpers are gone. */
	while (oplock_holders(f->dir, "abc123", NULL, &holder, 1) != 1 ||
	       !streq(holder.comm, "sleep"))
		loop_turn(f->loop, false);
	/* The daemon goes away: the plugin goes on and holds the lock, nothing is told. */
	net_free(take_ptr(f->net));
	oplock_drop(&lock);
	assert_int_equal(oplock_probe(f->dir, "abc123", false), OPLOCK_HELD);
	assert_int_equal(kill(holder.pid, SIGKILL), 0);
	while (oplock_probe(f->dir, "abc123", false) == OPLOCK_HELD)
		loop_turn(f->loop, false);
	assert_int_equal(f->done, 0);
}

static void the_first_usable_file_counts_and_a_bad_one_is_named(void **arg)
{
	struct fixture *f = *arg;
	yyjson_mut_doc *doc;
	yyjson_mut_val *dump;
	char reason[256];

	write_text(f, "net.d/.00-hidden.conf", "{\"name\":\"hidden\",\"type\":\"one\"}");
	write_text(f, "net.d/05-bad.conf", "{\"name\":");
	write_text(f, "net.d/07-no.txt", "{\"name\":\"no\",\"type\":\"one\"}");
	write_text(f, "net.d/10-a.conf", "{\"name\":\"first\",\"type\":\"one\"}");
	write_text(f, "net.d/20-b.json", "{\"name\":\"second\",\"type\":\"one\"}");
	open_net(f, false);
	assert_true(net_ready(f->net, reason, sizeof(reason)));
	assert_true(starts_with(reason, "network \"first\" from "));
	assert_true(ends_with(reason, "/10-a.conf"));
	doc = yyjson_mut_doc_new(NULL);
	dump = net_dump(f->net, doc);
	assert_string_equal(yyjson_mut_get_str(yyjson_mut_obj_get(dump, "network")), "first");
	assert_int_equal(yyjson_mut_arr_size(yyjson_mut_obj_get(dump, "problems")), 1);
	assert_non_null(strstr(
		yyjson_mut_get_str(yyjson_mut_arr_get_first(yyjson_mut_obj_get(dump, "problems"))),
		"05-bad.conf"));
	yyjson_mut_doc_free(doc);
}

static void assert_ready(struct fixture *f, bool ready, const char *text)
{
	char reason[512];

	assert_int_equal(net_ready(f->net, reason, sizeof(reason)), ready);
	if (!strstr(reason, text))
		fail_msg("%s", reason);
}

static void changes_of_the_directory_are_seen_whatever_happens_to_it(void **arg)
{
	struct fixture *f = *arg;
	struct net_pod p = pod();

	assert_int_equal(rmdir(f->conf_dir), 0);
	open_net(f, false);
	assert_ready(f, false, "no network configuration in");
	assert_int_equal(net_prepare(f->net, &p, &f->plan, &f->plan_len, &f->err), -1);
	assert_int_equal(f->err.code, CODE_UNAVAILABLE);

	assert_int_equal(mkdir(f->conf_dir, 0755), 0); /* appears later */
	write_text(f, "net.d/20-b.conf", "{\"name\":\"b\",\"type\":\"one\"}");
	assert_ready(f, true, "network \"b\"");
	write_text(f, "net.d/10-a.conf", "{\"name\":\"a\",\"type\":\"one\"}"); /* by rename */
	assert_ready(f, true, "network \"a\"");
	write_text(f, "net.d/10-a.conf", "{\"name\":\"a2\",\"type\":\"one\"}");
	assert_ready(f, true, "network \"a2\"");
	{
		cleanup_free char *from = in_dir(f, "net.d"), *to = in_dir(f, "moved"),
				  *link = in_dir(f, "net.d/30-c.conf");

		assert_int_equal(rename(from, to), 0);
		assert_ready(f, false, "was removed");
		assert_int_equal(mkdir(from, 0755), 0);
		assert_int_equal(symlink("../moved/20-b.conf", link),
		                 0); /* no close, no rename: a link */
		assert_ready(f, true, "network \"b\"");
		assert_int_equal(fsx_remove_tree(AT_FDCWD, from), 0);
		assert_ready(f, false, "was removed");
	}
}

static void a_change_of_neither_size_nor_name_is_seen(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *link = in_dir(f, "net.d/20-b.conf");

	write_text(f, "target", "{\"name\":\"b1\",\"type\":\"one\"}");
	assert_int_equal(symlink("../target", link), 0);
	open_net(f, false);
	assert_ready(f, true, "network \"b1\"");
	for (int i = 2; i < 10; i++) {
		char text[64], name[32];

		snprintf(text, sizeof(text), "{\"name\":\"b%d\",\"type\":\"one\"}", i);
		snprintf(name, sizeof(name), "network \"b%d\"", i);
		overwrite(f, "target", text);
		assert_ready(f, true, name);
	}
}

static void a_half_written_file_changes_nothing_until_it_is_whole(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *path = in_dir(f, "net.d/10-a.conf");
	struct timespec long_ago[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

	write_text(f, "net.d/10-a.conf", "{\"name\":\"a\",\"type\":\"one\"}");
	write_text(f, "net.d/20-b.conf", "{\"name\":\"b\",\"type\":\"one\"}");
	open_net(f, false);
	assert_ready(f, true, "network \"a\"");
	overwrite(f, "net.d/10-a.conf", "{\"name\":\"a2\",");
	assert_ready(f, true, "network \"a\"");
	overwrite(f, "net.d/10-a.conf", "{\"name\":\"a2\",\"type\":\"one\"}");
	assert_ready(f, true, "network \"a2\"");
	/* nobody is writing any more: it is broken */
	overwrite(f, "net.d/10-a.conf", "{\"name\":\"a2\",");
	assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
	assert_ready(f, true, "network \"b\"");
}

static void the_built_in_network_stands_in_until_there_is_a_configuration(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *file = in_dir(f, "net.d/10-a.conf");
	cleanup_free char *kept = in_dir(f, "state/net/builtin.json");
	struct net_pod p = pod();

	open_net(f, true);
	assert_ready(f, false, "CNI plugin bridge not found in /nonexistent/cni:");
	install_plugin(f, "bridge");
	assert_ready(f, false, "CNI plugin host-local not found");
	install_plugin(f, "host-local");
	assert_ready(f, true, "built-in network \"cora-");
	assert_false(fsx_exists(kept)); /* looking leaves no trace */
	prepare(f, &p);
	assert_true(fsx_exists(kept));
	write_text(f, "net.d/10-a.conf", "{\"name\":\"a\",\"type\":\"one\"}");
	assert_ready(f, true, "network \"a\"");
	/* A node that had a network does not silently move its pods to another one. */
	assert_int_equal(unlink(file), 0);
	assert_ready(f, false, "was removed");
}

static void a_bad_configuration_is_not_replaced_by_the_built_in_network(void **arg)
{
	struct fixture *f = *arg;

	install_plugin(f, "bridge");
	install_plugin(f, "host-local");
	write_text(f, "net.d/10-a.conf", "{}");
	open_net(f, true);
	assert_ready(f, false, "no usable network configuration in");
	assert_ready(f, false, "10-a.conf: has neither");
}

static void check_asks_with_the_stored_result_where_the_version_has_it(void **arg)
{
	struct fixture *f = *arg;
	struct net_pod p = pod();
	struct net_call c;

	write_text(f, "net.d/10-x.conflist", LIST);
	write_text(f, "rc.two.CHECK", "1");
	write_text(f, "out.two.CHECK", "{\"code\":100,\"msg\":\"address is missing\"}");
	open_net(f, false);
	prepare(f, &p);
	c = call(f);
	c.result = RESULT;
	c.result_len = strlen(RESULT);
	net_check(f->net, &c);
	wait_done(f);
	assert_string_equal(f->err.msg,
	                    "network \"testnet\": plugin two (CHECK): address is missing");
	assert_input(f, "in.one.CHECK", "prevResult", RESULT);

	write_text(f, "net.d/10-x.conflist",
	           "{\"cniVersion\":\"0.3.1\",\"name\":\"old\",\"plugins\":[{\"type\":\"two\"}]}");
	prepare(f, &p);
	c = call(f);
	c.result = RESULT;
	c.result_len = strlen(RESULT);
	net_check(f->net, &c);
	wait_done(f);
	assert_false(f->failed);
}

static void gc_names_the_living_and_status_decides_readiness_from_1_1_0_on(void **arg)
{
	struct fixture *f = *arg;
	char *ids[] = { (char *)"a", (char *)"b", NULL };
	char reason[256];

	write_text(f, "net.d/10-x.conflist", LIST);
	open_net(f, false);
	net_gc(f->net, ids, on_done, f);
	wait_done(f);
	assert_false(f->failed);
	assert_input(f, "in.one.GC", "name", "absent"); /* 1.0.0: not asked */

	write_text(f, "net.d/10-x.conflist",
	           "{\"cniVersion\":\"1.1.0\",\"name\":\"new\",\"plugins\":[{\"type\":\"one\"}]}");
	net_gc(f->net, ids, on_done, f);
	wait_done(f);
	assert_input(
		f, "in.one.GC", "cni.dev/valid-attachments",
		"[{\"containerID\":\"a\",\"ifname\":\"eth0\"},{\"containerID\":\"b\",\"ifname\":\"eth0\"}]");

	assert_ready(f, false, "is being asked for");
	while (!net_ready(f->net, reason, sizeof(reason)))
		loop_turn(f->loop, true);
	write_text(f, "rc.one.STATUS", "1");
	write_text(f, "out.one.STATUS", "{\"code\":50,\"msg\":\"control plane is away\"}");
	assert_ready(f, true, "network \"new\""); /* the last answer is fresh enough */
	write_text(
		f, "net.d/10-x.conflist",
		"{\"cniVersion\":\"1.1.0\",\"name\":\"newer\",\"plugins\":[{\"type\":\"one\"}]}");
	assert_ready(f, false, "is being asked for");
	do {
		loop_turn(f->loop, true);
		assert_false(net_ready(f->net, reason, sizeof(reason)));
	} while (strstr(reason, "is being asked for"));
	assert_string_equal(reason,
	                    "network \"newer\": plugin one (STATUS): control plane is away");
}

static void a_damaged_plan_fails_and_nothing_runs(void **arg)
{
	struct fixture *f = *arg;
	static const char *const bad[] = {
		"", "{", "{}", "{\"version\":2}",
		"{\"version\":1,\"id\":\"a\",\"netns\":\"b\",\"ifname\":\"c\","
		"\"args\":\"d\",\"network\":{}}"
	};
	cleanup_free char *log = NULL;

	open_net(f, false);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		free(f->plan);
		f->plan = xstrdup(bad[i]);
		f->plan_len = strlen(bad[i]);
		del(f, NULL);
		assert_true(f->failed);
		assert_non_null(strstr(f->err.msg, "network plan"));
	}
	log = read_text(f, "log");
	assert_string_equal(log, "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(add_runs_the_chain_and_hands_each_result_on),
		T(a_plugin_gets_the_arguments_it_declares_a_capability_for),
		T(what_plugins_cannot_be_told_fails_the_pod_by_name),
		T(del_runs_backwards_with_the_stored_result_although_the_configuration_is_gone),
		T(del_goes_on_without_a_result_and_without_a_namespace),
		T(del_takes_gone_for_done_and_stops_at_any_other_error),
		T(a_failing_plugin_is_quoted_and_ends_the_chain),
		T(garbage_instead_of_a_result_is_an_error_that_names_the_plugin),
		T(a_missing_plugin_is_named_with_the_directories),
		T(a_plugin_that_hangs_is_killed_at_its_deadline),
		T(the_op_lock_is_held_by_every_plugin),
		T(the_first_usable_file_counts_and_a_bad_one_is_named),
		T(changes_of_the_directory_are_seen_whatever_happens_to_it),
		T(a_change_of_neither_size_nor_name_is_seen),
		T(a_half_written_file_changes_nothing_until_it_is_whole),
		T(the_built_in_network_stands_in_until_there_is_a_configuration),
		T(a_bad_configuration_is_not_replaced_by_the_built_in_network),
		T(check_asks_with_the_stored_result_where_the_version_has_it),
		T(gc_names_the_living_and_status_decides_readiness_from_1_1_0_on),
		T(a_damaged_plan_fails_and_nothing_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
