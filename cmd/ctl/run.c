/* cmd/ctl/run.c
 *
 * run: pull if need be, RunPodSandbox, CreateContainer, StartContainer, then the log until the end.
 *
 * From the first change on signals are looked at, not suffered: the call in flight is cancelled (the daemon undoes what it was
 * at), what was made is removed again. A running container is stopped by the first signal and left to itself at the second.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/ctl/ctl.h"
#include "cmd/ctl/log.h"
#include "cmd/ctl/removal.h"
#include "cmd/ctl/resolve.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"

#define STOP_GRACE_S  10
#define UID_CHARS     16 /* of a random id: enough to tell two pods of one name apart */
#define CPU_PERIOD_US 100000

struct run {
	struct ctl *ctl;
	/* options */
	const char *name, *ns, *entrypoint, *workdir, *user, *memory, *cpus, *runtime, *hostname;
	struct arg_list envs, volumes, labels;
	bool detach, remove, host_network, privileged, read_only;
	/* made of them */
	const char *image;
	cri_PodSandboxConfig pod;
	cri_ContainerConfig container;
	/* what came of it */
	const char *pod_id, *container_id;
	int signals;
};

static void run_release(struct run *run)
{
	arg_list_release(&run->envs);
	arg_list_release(&run->volumes);
	arg_list_release(&run->labels);
}
DEFINE_CLEANUP(struct run, run_release);

/* --- from options to requests */

/* "registry/library/busybox:1.36" -> "busybox" */
static const char *short_name(struct ctl *ctl, const char *image)
{
	const char *slash = strrchr(image, '/'), *base = slash ? slash + 1 : image;
	size_t len = strcspn(base, ":@");
	char *name = ctl_text(ctl, "%.*s", (int)MIN(len, (size_t)40), base);

	/* pods are named as hosts are */
	for (char *c = name; *c; c++) {
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
		else if (!(*c >= 'a' && *c <= 'z') && !(*c >= '0' && *c <= '9'))
			*c = '-';
	}
	return name[0] ? name : "container";
}

static int put_env(struct run *run, const char *text, cri_KeyValue *ret, struct err *err)
{
	const char *equals = strchr(text, '='), *value = equals ? equals + 1 : getenv(text);
	size_t len;

	if (equals == text || !text[0])
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "--env '%.100s': there is no name in front of '='", text);
	if (!value)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "--env %.100s: no such variable here; write NAME=VALUE", text);
	len = strlen(value);
	ret->key =
		ctl_text(run->ctl, "%.*s", equals ? (int)(equals - text) : (int)strlen(text), text);
	ret->value = ctl_alloc(run->ctl, PB_BYTES_ARRAY_T_ALLOCSIZE(len));
	ret->value->size = (pb_size_t)len;
	memcpy(ret->value->bytes, value, len);
	return 0;
}

/* HOST:CONTAINER[:ro|:rw] */
static int put_volume(struct run *run, const char *text, cri_Mount *ret, struct err *err)
{
	struct str host, path, mode;
	char *real;

	str_cut(str_of(text), ':', &host, &path);
	str_cut(path, ':', &path, &mode);
	if (!host.len || !path.len || path.p[0] != '/')
		return err_set(
			err, CODE_INVALID_ARGUMENT,
			"--volume '%.100s' is not HOST:CONTAINER[:ro] with an absolute CONTAINER",
			text);
	if (mode.len && !str_eq_c(mode, "ro") && !str_eq_c(mode, "rw"))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "--volume '%.100s': '" STR_FMT "' is neither ro nor rw", text,
		               STR_ARG(mode));
	ret->host_path = ctl_text(run->ctl, STR_FMT, STR_ARG(host));
	real = realpath(ret->host_path, NULL); /* a relative one is meant from here */
	if (!real)
		return err_sys(err, errno, "--volume: %s", ret->host_path);
	ret->host_path = ctl_text(run->ctl, "%s", real);
	free(real);
	ret->container_path = ctl_text(run->ctl, STR_FMT, STR_ARG(path));
	ret->readonly = str_eq_c(mode, "ro");
	return 0;
}

static int put_label(struct run *run, const char *text, cri_ContainerConfig_LabelsEntry *ret,
                     struct err *err)
{
	struct str key, value;

	if (!str_cut(str_of(text), '=', &key, &value) || !key.len)
		return err_set(err, CODE_INVALID_ARGUMENT, "--label '%.100s' is not NAME=VALUE",
		               text);
	ret->key = ctl_text(run->ctl, STR_FMT, STR_ARG(key));
	ret->value = ctl_text(run->ctl, STR_FMT, STR_ARG(value));
	return 0;
}

/* UID[:GID] or a name, which the image's /etc/passwd explains */
static int put_user(struct run *run, cri_LinuxContainerSecurityContext *security, struct err *err)
{
	struct str user, group;
	uint64_t id;

	if (!run->user)
		return 0;
	str_cut(str_of(run->user), ':', &user, &group);
	if (str_u64(user, INT32_MAX, &id) == 0) {
		security->has_run_as_user = true;
		security->run_as_user.value = (int64_t)id;
	} else if (user.len) {
		security->run_as_username = ctl_text(run->ctl, STR_FMT, STR_ARG(user));
	}
	if (!group.len && user.len)
		return 0;
	if (!user.len || str_u64(group, INT32_MAX, &id) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "--user '%.64s' is not USER[:GID]",
		               run->user);
	security->has_run_as_group = true;
	security->run_as_group.value = (int64_t)id;
	return 0;
}

/* 64M, 1GiB, 4096 */
static int parse_size(const char *text, int64_t *ret)
{
	size_t digits = strspn(text, "0123456789");
	const char *unit = text + digits, *at;
	static const char units[] = "KMGT";
	uint64_t value;
	int shift = 0;

	if (str_u64((struct str){ text, digits }, INT64_MAX, &value) < 0)
		return -1;
	if (*unit) {
		at = strchr(units, *unit);
		if (!at || (unit[1] && !streq(unit + 1, "iB") && !streq(unit + 1, "i")))
			return -1;
		shift = 10 * (int)(at - units + 1);
	}
	if (value > (uint64_t)INT64_MAX >> shift)
		return -1;
	*ret = (int64_t)(value << shift);
	return 0;
}

static int put_limits(struct run *run, cri_LinuxContainerResources *res, struct err *err)
{
	char *end;
	double cpus;

	if (run->memory && (parse_size(run->memory, &res->memory_limit_in_bytes) < 0 ||
	                    !res->memory_limit_in_bytes))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "--memory '%.32s' is not a size (64M, 1G)", run->memory);
	if (run->cpus) {
		cpus = strtod(run->cpus, &end);
		if (end == run->cpus || *end || !(cpus >= 0.01 && cpus <= 1e6))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "--cpus '%.32s' is not a number of processors (0.5, 2)",
			               run->cpus);
		res->cpu_period = CPU_PERIOD_US;
		res->cpu_quota = (int64_t)(cpus * CPU_PERIOD_US);
	}
	return 0;
}

static int put_lists(struct run *run, struct err *err)
{
	struct ctl *ctl = run->ctl;
	cri_ContainerConfig *c = &run->container;

	c->envs = ctl_alloc(ctl, run->envs.count * sizeof(*c->envs));
	for (size_t i = 0; i < run->envs.count; i++)
		if (put_env(run, run->envs.items[i], &c->envs[c->envs_count++], err) < 0)
			return -1;
	c->mounts = ctl_alloc(ctl, run->volumes.count * sizeof(*c->mounts));
	for (size_t i = 0; i < run->volumes.count; i++)
		if (put_volume(run, run->volumes.items[i], &c->mounts[c->mounts_count++], err) < 0)
			return -1;
	c->labels = ctl_alloc(ctl, (run->labels.count + 1) * sizeof(*c->labels));
	for (size_t i = 0; i < run->labels.count; i++)
		if (put_label(run, run->labels.items[i], &c->labels[c->labels_count++], err) < 0)
			return -1;
	c->labels[c->labels_count++] = (cri_ContainerConfig_LabelsEntry){ .key = (char *)RUN_LABEL,
		                                                          .value = (char *)"true" };
	/* of one shape in every message */
	run->pod.labels = (cri_PodSandboxConfig_LabelsEntry *)(void *)c->labels;
	run->pod.labels_count = c->labels_count;
	return 0;
}

static int put_requests(struct run *run, char **command, int ncommand, struct err *err)
{
	struct ctl *ctl = run->ctl;
	cri_PodSandboxConfig *pod = &run->pod;
	cri_ContainerConfig *c = &run->container;
	const struct config *config = ctl_config(ctl);
	char uid[ID_SIZE];

	if (!config)
		return -1;
	rand_id(uid);
	uid[UID_CHARS] = '\0';
	if (!run->name)
		run->name = ctl_text(ctl, "%s-%.4s", short_name(ctl, run->image), uid);
	pod->has_metadata = true;
	pod->metadata = (cri_PodSandboxMetadata){
		.name = (char *)run->name,
		.uid = ctl_text(ctl, "%s", uid),
		.namespace = (char *)run->ns,
	};
	if (!run->host_network)
		pod->hostname = ctl_text(ctl, "%.63s", run->hostname ? run->hostname : run->name);
	pod->log_directory =
		ctl_text(ctl, "%s/logs/%s_%s_%s", config->root, run->ns, run->name, uid);
	pod->has_linux = true;
	pod->linux.has_security_context = true;
	pod->linux.security_context.privileged = run->privileged;
	pod->linux.security_context.has_namespace_options = true;
	pod->linux.security_context.namespace_options = (cri_NamespaceOption){
		.network = run->host_network ? cri_NamespaceMode_NODE : cri_NamespaceMode_POD,
		.pid = cri_NamespaceMode_CONTAINER,
	};

	c->has_metadata = true;
	c->metadata.name = (char *)run->name;
	c->has_image = true;
	c->image.image = (char *)run->image;
	if (run->entrypoint) {
		c->command = ctl_alloc(ctl, sizeof(*c->command));
		c->command[c->command_count++] = (char *)run->entrypoint;
	}
	c->args = command;
	c->args_count = (pb_size_t)ncommand;
	c->working_dir = (char *)run->workdir;
	c->log_path = ctl_text(ctl, "%s.log", run->name);
	c->has_linux = true;
	c->linux.has_resources = true;
	c->linux.has_security_context = true;
	c->linux.security_context.privileged = run->privileged;
	c->linux.security_context.readonly_rootfs = run->read_only;
	c->linux.security_context.has_namespace_options = true;
	c->linux.security_context.namespace_options = pod->linux.security_context.namespace_options;
	if (put_user(run, &c->linux.security_context, err) < 0 ||
	    put_limits(run, &c->linux.resources, err) < 0)
		return -1;
	return put_lists(run, err);
}

/* --- steps */

static int have_image(struct run *run, struct err *err)
{
	struct ctl *ctl = run->ctl;
	const cri_ImageStatusRequest request = { .has_image = true,
		                                 .image = { .image = (char *)run->image } };
	cri_ImageStatusResponse response;
	const char *id;

	if (CALL_IMAGE(ctl, ImageStatus, &request, &response, READ_TIMEOUT_MS, err) < 0)
		return -1;
	return response.has_image ? 0 : ctl_pull(ctl, run->image, NULL, &id, err);
}

static int name_is_free(struct run *run, struct err *err)
{
	struct objects objects;

	if (objects_fetch(run->ctl, &objects, err) < 0)
		return -1;
	for (size_t i = 0; i < objects.npods; i++) {
		const cri_PodSandbox *pod = &objects.pods[i];

		if (streq(pod->metadata.name, run->name) && streq(pod->metadata.namespace, run->ns))
			return err_set(
				err, CODE_ALREADY_EXISTS,
				"there is a pod '%s' already (%.12s); choose another --name, or remove it",
				run->name, pod->id);
	}
	return 0;
}

static int start(struct run *run, struct err *err)
{
	struct ctl *ctl = run->ctl;
	const cri_RunPodSandboxRequest pod_request = { .has_config = true,
		                                       .config = run->pod,
		                                       .runtime_handler = (char *)run->runtime };
	cri_RunPodSandboxResponse pod;
	cri_CreateContainerRequest create = { .has_config = true,
		                              .config = run->container,
		                              .has_sandbox_config = true,
		                              .sandbox_config = run->pod };
	cri_CreateContainerResponse created;
	cri_StartContainerRequest start_request;
	cri_StartContainerResponse started;

	if (CALL_RUNTIME(ctl, RunPodSandbox, &pod_request, &pod, CHANGE_TIMEOUT_MS, err) < 0)
		return err_wrap(err, "pod");
	run->pod_id = pod.pod_sandbox_id;
	create.pod_sandbox_id = pod.pod_sandbox_id;
	if (CALL_RUNTIME(ctl, CreateContainer, &create, &created, CHANGE_TIMEOUT_MS, err) < 0)
		return err_wrap(err, "container");
	run->container_id = created.container_id;
	start_request.container_id = created.container_id;
	if (CALL_RUNTIME(ctl, StartContainer, &start_request, &started, CHANGE_TIMEOUT_MS, err) < 0)
		return err_wrap(err, "start");
	return 0;
}

static int status(struct run *run, cri_ContainerStatusResponse *ret, struct err *err)
{
	const cri_ContainerStatusRequest request = { .container_id = (char *)run->container_id };

	return CALL_RUNTIME(run->ctl, ContainerStatus, &request, ret, READ_TIMEOUT_MS, err);
}

static int stop_container(struct run *run, struct err *err)
{
	const cri_StopContainerRequest request = { .container_id = (char *)run->container_id,
		                                   .timeout = STOP_GRACE_S };
	cri_StopContainerResponse response;

	return CALL_RUNTIME(run->ctl, StopContainer, &request, &response, CHANGE_TIMEOUT_MS, err);
}

/* Everything that start() made. What it failed for is told by the caller. */
static void clean_up(struct run *run)
{
	struct err err = { 0 };

	if (!run->pod_id)
		return;
	ctl_signals_ignore(run->ctl, run->signals);
	if (removal_pod(run->ctl, run->pod_id, &err) < 0)
		ctl_fail(run->ctl, &err);
}

/* The log, until the container has ended. 1: it has; 0: left to itself. */
static int watch(struct run *run, struct err *err)
{
	cleanup(log_close) struct log_reader reader = { 0 };
	cri_ContainerStatusResponse response;
	int rc;

	if (status(run, &response, err) < 0 ||
	    log_open(&reader, response.status.log_path, -1, true, err) < 0)
		return -1;
	rc = log_follow(run->ctl, &reader, run->container_id, run->signals, err);
	if (rc != 0)
		return rc;
	ctl_signals_ignore(run->ctl, run->signals);
	grpc_client_cancel_on(run->ctl->client, run->signals);
	if (stop_container(run, err) < 0)
		return err_is(err, CODE_CANCELLED) ? 0 : -1;
	return log_follow(run->ctl, &reader, run->container_id, run->signals, err);
}

/* How it ended; what the number alone does not say goes to stderr. */
static int ended(struct run *run)
{
	const cri_StopPodSandboxRequest stop = { .pod_sandbox_id = (char *)run->pod_id };
	cri_StopPodSandboxResponse stopped;
	cri_ContainerStatusResponse response;
	struct err err = { 0 };
	int code;

	ctl_signals_ignore(run->ctl, run->signals);
	if (status(run, &response, &err) < 0)
		return ctl_fail(run->ctl, &err);
	code = response.status.exit_code;
	if (!streq(or_empty(response.status.reason), "Completed") &&
	    !streq(or_empty(response.status.reason), "Error"))
		fprintf(stderr, "coracle ctl run: %s: %s%s%s\n", run->name,
		        or_empty(response.status.reason),
		        or_empty(response.status.message)[0] ? ": " : "",
		        or_empty(response.status.message));
	if (run->remove)
		clean_up(run);
	else if (CALL_RUNTIME(run->ctl, StopPodSandbox, &stop, &stopped, CHANGE_TIMEOUT_MS, &err) <
	         0) /* nobody is left in it */
		ctl_fail(run->ctl, &err);
	return code;
}

static int do_run(struct run *run)
{
	struct err err = { 0 };
	int rc;

	run->signals = ctl_signals(run->ctl, &err);
	if (run->signals < 0 || start(run, &err) < 0) {
		clean_up(run);
		return ctl_fail(run->ctl, &err);
	}
	if (run->detach) {
		printf("%s\n", run->container_id);
		return ctl_flush(run->ctl);
	}
	rc = watch(run, &err);
	if (rc < 0)
		return ctl_fail(run->ctl, &err);
	if (rc == 0) {
		fprintf(stderr, "coracle ctl run: %s goes on\n", run->name);
		return EXIT_FAILED;
	}
	return ended(run);
}

int verb_run(struct ctl *ctl, int argc, char **argv)
{
	cleanup(run_release) struct run run = { .ctl = ctl, .ns = "default" };
	const struct arg_option options[] = {
		{ "name", 'n', ARG_TEXT, &run.name, "NAME",
		  "of pod and container (made from the image's)" },
		{ "detach", 'd', ARG_FLAG, &run.detach, NULL,
		  "print the container's id and leave" },
		{ "rm", 0, ARG_FLAG, &run.remove, NULL,
		  "remove pod, container and log at the end" },
		{ "env", 'e', ARG_LIST, &run.envs, "NAME[=VALUE]",
		  "set a variable; without VALUE as it is here" },
		{ "volume", 'v', ARG_LIST, &run.volumes, "HOST:CONTAINER[:ro]",
		  "mount a directory or file of the host" },
		{ "workdir", 'w', ARG_TEXT, &run.workdir, "DIR", "start there" },
		{ "user", 'u', ARG_TEXT, &run.user, "USER[:GID]",
		  "run as this user, by name or number" },
		{ "entrypoint", 0, ARG_TEXT, &run.entrypoint, "PROGRAM", "instead of the image's" },
		{ "memory", 'm', ARG_TEXT, &run.memory, "SIZE",
		  "at most this much memory (64M, 1G)" },
		{ "cpus", 0, ARG_TEXT, &run.cpus, "N", "at most this many processors (0.5, 2)" },
		{ "host-network", 0, ARG_FLAG, &run.host_network, NULL,
		  "share the host's network" },
		{ "hostname", 0, ARG_TEXT, &run.hostname, "NAME",
		  "the pod's host name (its name)" },
		{ "privileged", 0, ARG_FLAG, &run.privileged, NULL, "with all rights on the host" },
		{ "read-only", 0, ARG_FLAG, &run.read_only, NULL,
		  "the image's files cannot be changed" },
		{ "label", 'l', ARG_LIST, &run.labels, "NAME=VALUE", "label pod and container" },
		{ "namespace", 0, ARG_TEXT, &run.ns, "NAMESPACE",
		  "the pod's Kubernetes namespace (default)" },
		{ "runtime", 0, ARG_TEXT, &run.runtime, "HANDLER",
		  "runtime handler (the default one)" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 1, -1);
	struct err err = { 0 };

	if (words < 0)
		return CTL_OVER(words);
	if (run.detach && run.remove)
		return ctl_usage(
			ctl,
			"--rm needs somebody who waits for the end: it does not go with --detach");
	if (run.host_network && run.hostname)
		return ctl_usage(ctl,
		                 "--hostname: a pod in the host's network has the host's name");
	run.image = argv[1];
	if (put_requests(&run, argv + 2, words - 1, &err) < 0)
		return err.code ? ctl_usage(ctl, "%s", err.msg) : EXIT_FAILED;
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (have_image(&run, &err) < 0 || name_is_free(&run, &err) < 0)
		return ctl_fail(ctl, &err);
	return do_run(&run);
}
