/* cri/spec/base.c
 *
 * The builder: decodes what core kept, puts the frame of the spec together (process, root, namespaces, annotations) and asks the
 * other parts for the rest.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/spec/build.h"
#include "cri/spec/to_spec.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define CDI_PREFIX   "cdi.k8s.io/"

int build_invalid(struct err *err, const char *fmt, ...)
{
	char text[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(err, CODE_INVALID_ARGUMENT, "config.%s", text);
}

static uint32_t outside_root(const struct id_maps *maps)
{
	for (size_t i = 0; i < maps->count; i++)
		if (maps->items[i].inside == 0)
			return maps->items[i].outside;
	return 0;
}

uint32_t build_root_uid(const struct build *build)
{
	return outside_root(&build->in->sandbox->uid_maps);
}

uint32_t build_root_gid(const struct build *build)
{
	return outside_root(&build->in->sandbox->gid_maps);
}

/* ---------------------------------------------------------------------------------------------- what we cannot do */

/* Named in a request and not in this release: said, rather than left out. */
static int refuse_unknown(const struct build *build, struct err *err)
{
	static const char *const annotation_prefixes[] = {
		CDI_PREFIX,
		"blockio.resources.beta.kubernetes.io/",
		"rdt.resources.beta.kubernetes.io/",
	};
	const cri_ContainerConfig *config = build->config;

	if (config->CDI_devices_count)
		return err_set(err, CODE_UNIMPLEMENTED,
		               "config.CDI_devices[0]: \"%.100s\": CDI devices are not supported",
		               or_empty(config->CDI_devices[0].name));
	for (size_t i = 0; i < config->annotations_count; i++)
		for (size_t k = 0; k < ARRAY_SIZE(annotation_prefixes); k++)
			if (starts_with(or_empty(config->annotations[i].key),
			                annotation_prefixes[k]))
				return err_set(err, CODE_UNIMPLEMENTED,
				               "config.annotations: \"%.100s\" is not supported",
				               config->annotations[i].key);
	return 0;
}

/* ---------------------------------------------------------------------------------------------------------- process */

static void add_words(struct build *build, yyjson_mut_val *array, char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		spec_add_str(&build->spec, array, or_empty(words[i]));
}

/* A command replaces entrypoint and cmd of the image, args its cmd alone. */
static int build_args(struct build *build, struct err *err)
{
	const cri_ContainerConfig *config = build->config;
	const struct image_process *image = &build->image;
	yyjson_mut_val *array = spec_array(&build->spec, "process.args");
	size_t nentry = strv_len(image->entrypoint);

	if (config->command_count) {
		add_words(build, array, config->command, config->command_count);
	} else {
		if (nentry == 1 && !image->entrypoint[0][0])
			nentry = 0; /* [""]: how an image takes its parent's entrypoint back */
		add_words(build, array, image->entrypoint, nentry);
		if (!config->args_count)
			add_words(build, array, image->cmd, strv_len(image->cmd));
	}
	add_words(build, array, config->args, config->args_count);
	if (yyjson_mut_arr_size(array) == 0)
		return build_invalid(
			err, "command: no command specified, neither here nor in the image");
	return 0;
}

/* "KEY=value" sets, "KEY" alone takes away. */
static void add_env(struct build *build, const char *text)
{
	const char *equals = strchr(text, '=');
	cleanup_free char *key = equals ? xstrndup(text, (size_t)(equals - text)) : xstrdup(text);

	if (equals)
		spec_env_set(&build->spec, key, equals + 1, strlen(equals + 1));
	else
		spec_env_unset(&build->spec, key);
}

static int build_env(struct build *build, struct err *err)
{
	const cri_ContainerConfig *config = build->config;
	const char *hostname = or_empty(build->in->sandbox->hostname);

	if (!hostname[0])
		hostname = build->host->hostname;
	spec_array(&build->spec, "process.env");
	add_env(build, DEFAULT_PATH);
	if (config->tty)
		add_env(build, "TERM=xterm");
	spec_env_set(&build->spec, "HOSTNAME", hostname, strlen(hostname));
	for (char **env = build->image.env; *env; env++)
		add_env(build, *env);
	for (size_t i = 0; i < config->envs_count; i++) {
		const char *key = or_empty(config->envs[i].key);
		const pb_bytes_array_t *value = config->envs[i].value;

		if (!key[0] || strchr(key, '='))
			return build_invalid(
				err, "envs[%zu].key: \"%.60s\" is not the name of a variable", i,
				key);
		if (value && memchr(value->bytes, '\0', value->size))
			return build_invalid(err, "envs[%zu].value: of \"%.60s\" holds a NUL byte",
			                     i, key);
		spec_env_set(&build->spec, key, value ? (const char *)value->bytes : "",
		             value ? value->size : 0);
	}
	return 0;
}

static void build_cwd(struct build *build)
{
	const char *cwd = or_empty(build->config->working_dir);
	cleanup_free char *clean = NULL;

	if (!cwd[0])
		cwd = build->image.working_dir;
	clean = spec_path_clean(cwd); /* an image may say "app": from the root */
	spec_set_str(&build->spec, "process.cwd", clean);
}

static int build_process(struct build *build, struct err *err)
{
	spec_set_bool(&build->spec, "process.terminal", build->config->tty);
	if (build_user(build, err) < 0 || build_args(build, err) < 0 || build_env(build, err) < 0)
		return -1;
	build_cwd(build);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- namespaces */

static bool same_maps(const cri_IDMapping *a, size_t na, const cri_IDMapping *b, size_t nb)
{
	if (na != nb)
		return false;
	for (size_t i = 0; i < na; i++)
		if (a[i].host_id != b[i].host_id || a[i].container_id != b[i].container_id ||
		    a[i].length != b[i].length)
			return false;
	return true;
}

/* A container may repeat its pod's user namespace, not choose another. */
static int check_userns(const struct build *build, struct err *err)
{
	const cri_NamespaceOption *mine = &build->security->namespace_options;
	const cri_UserNamespace *a = &mine->userns_options,
				*b = &build->pod_security->namespace_options.userns_options;

	if (!mine->has_userns_options)
		return 0;
	if (!build->pod_security->namespace_options.has_userns_options &&
	    a->mode == cri_NamespaceMode_NODE)
		return 0;
	if (a->mode != b->mode || !same_maps(a->uids, a->uids_count, b->uids, b->uids_count) ||
	    !same_maps(a->gids, a->gids_count, b->gids, b->gids_count))
		return build_invalid(
			err,
			"linux.security_context.namespace_options.userns_options: differ from the pod sandbox's");
	return 0;
}

/* What the pod has of its own must be there: without its pin the container would silently get the host's. */
static int join(struct build *build, const char *type, bool of_host, const char *path,
                struct err *err)
{
	if (of_host)
		return 0;
	if (!path || !path[0])
		return err_set(err, CODE_FAILED_PRECONDITION, "the pod's %s namespace is gone",
		               type);
	spec_namespace_set(&build->spec, type, path);
	return 0;
}

static void join_pid(struct build *build, pid_t pid)
{
	cleanup_free char *path = xasprintf("/proc/%d/ns/pid", (int)pid);

	spec_namespace_set(&build->spec, "pid", path);
}

static int build_pid_namespace(struct build *build, struct err *err)
{
	const bool pod_on_host =
		build->pod_security->namespace_options.pid == cri_NamespaceMode_NODE;

	switch (build->security->namespace_options.pid) {
	case cri_NamespaceMode_NODE:
		/* the pod decides about the host; in one that shares a namespace, that is what is joined */
		if (!pod_on_host && !build->in->pause_pid)
			return build_invalid(
				err,
				"linux.security_context.namespace_options.pid: NODE, but the pod sandbox is not in "
				"the host's PID namespace");
		/* fall through */
	case cri_NamespaceMode_POD:
		if (build->in->pause_pid)
			join_pid(build, build->in->pause_pid);
		else if (!pod_on_host)
			spec_namespace_set(&build->spec, "pid", NULL);
		return 0;
	case cri_NamespaceMode_CONTAINER:
		spec_namespace_set(&build->spec, "pid", NULL);
		return 0;
	case cri_NamespaceMode_TARGET:
		if (build->in->target_pid <= 0)
			return err_set(
				err, CODE_FAILED_PRECONDITION,
				SECURITY_FIELD
				".namespace_options.target_id: the target container is not running");
		join_pid(build, build->in->target_pid);
		return 0;
	}
	return build_invalid(err, "linux.security_context.namespace_options.pid: unknown value %d",
	                     (int)build->security->namespace_options.pid);
}

static int build_namespaces(struct build *build, struct err *err)
{
	const struct sandbox *sb = build->in->sandbox;

	if (check_userns(build, err) < 0)
		return -1;
	spec_namespace_set(&build->spec, "mount", NULL);
	if (build_pid_namespace(build, err) < 0)
		return -1;
	if (join(build, "network", build->host_network, sb->netns_path, err) < 0 ||
	    join(build, "ipc", build->host_ipc, sb->ipcns_path, err) < 0 ||
	    join(build, "uts", build->host_network, sb->utsns_path, err) < 0 ||
	    join(build, "user", !build->userns, sb->userns_path, err) < 0)
		return -1;
	if (build->userns) {
		spec_id_maps_set(&build->spec, "linux.uidMappings", sb->uid_maps.items,
		                 sb->uid_maps.count);
		spec_id_maps_set(&build->spec, "linux.gidMappings", sb->gid_maps.items,
		                 sb->gid_maps.count);
	}
	if (build->host->cgroup2 && !build->security->privileged)
		spec_namespace_set(&build->spec, "cgroup", NULL);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ annotations */

static void annotate(struct build *build, const char *key, const char *value)
{
	cleanup_free char *name = xasprintf("io.kubernetes.cri.%s", key);

	spec_entry_set(&build->spec, "annotations", name, or_empty(value));
}

static void build_annotations(struct build *build)
{
	const struct sandbox *sb = build->in->sandbox;
	const struct container *c = build->in->container;
	const char *image = or_empty(build->config->image.user_specified_image);

	annotate(build, "container-type", "container");
	annotate(build, "sandbox-id", sb->id);
	annotate(build, "sandbox-name", sb->name);
	annotate(build, "sandbox-namespace", sb->ns);
	annotate(build, "sandbox-uid", sb->uid);
	annotate(build, "container-name", c->name);
	annotate(build, "image-name", image[0] ? image : c->image_ref);
}

/* ------------------------------------------------------------------------------------------------------------ whole */

static int build_all(struct build *build, struct err *err)
{
	struct spec *spec = &build->spec;

	if (refuse_unknown(build, err) < 0 || build_process(build, err) < 0)
		return -1;
	spec_set_str(spec, "root.path", build->in->rootfs);
	spec_set_bool(spec, "root.readonly", build->security->readonly_rootfs);
	spec_set_str(spec, "linux.cgroupsPath", build->in->container->cgroups_path);
	/* security last: the default filter depends on the capabilities, and an error names what was asked for first */
	if (build_namespaces(build, err) < 0 || build_mounts(build, err) < 0 ||
	    build_resources(build, err) < 0 || build_devices(build, err) < 0 ||
	    build_security(build, err) < 0)
		return -1;
	build_annotations(build);
	return 0;
}

static int decode(const struct spec_input *in, struct pb_arena *arena, cri_PodSandboxConfig *pod,
                  cri_ContainerConfig *config, struct err *err)
{
	const struct bytes *a = &in->sandbox->request, *b = &in->container->request;

	if (pb_decode_msg(arena, cri_PodSandboxConfig_fields, pod, a->data, a->len,
	                  "PodSandboxConfig", err) < 0)
		return -1;
	return pb_decode_msg(arena, cri_ContainerConfig_fields, config, b->data, b->len,
	                     "ContainerConfig", err);
}

int spec_build(const struct spec_input *in, const struct host_facts *host, char **ret_json,
               struct err *err)
{
	cleanup(pb_arena_free) struct pb_arena *arena = NULL;
	cri_PodSandboxConfig pod;
	cri_ContainerConfig config;
	struct build build;
	int rc = -1;

	ensure(in->sandbox && in->container && in->rootfs && in->runtime && in->limits);
	arena = pb_arena_new(pb_budget_for(in->sandbox->request.len + in->container->request.len));
	if (decode(in, arena, &pod, &config, err) < 0)
		return -1;
	build = (struct build){
		.in = in,
		.host = host,
		.pod = &pod,
		.config = &config,
		.pod_security = &pod.linux.security_context,
		.security = &config.linux.security_context,
		.userns = in->sandbox->uid_maps.count > 0,
		.host_network = in->sandbox->host_network,
		.host_ipc =
			pod.linux.security_context.namespace_options.ipc == cri_NamespaceMode_NODE,
	};
	if (image_process_parse(in->image_config, in->image_config_len, &build.image, err) < 0)
		return -1;
	spec_init(&build.spec);
	if (build_all(&build, err) == 0)
		rc = spec_write(&build.spec, ret_json, err);
	spec_release(&build.spec);
	image_process_release(&build.image);
	return rc;
}

static int builder_build(void *arg UNUSED, const struct spec_input *in, char **ret_json,
                         struct err *err)
{
	struct host_facts host;

	if (host_facts_read(&host, err) < 0)
		return -1;
	return spec_build(in, &host, ret_json, err);
}

struct spec_builder cri_spec_builder(void)
{
	return (struct spec_builder){ .build = builder_build };
}
