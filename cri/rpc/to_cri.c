#include "cri/rpc/to_cri.h"

#include <stddef.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/str.h"
#include "core/image/store.h"

/* Map entries of every message are two pointers, as struct pair is: arrays are lent, not copied. */
#define SAME_AS_PAIR(type)                                                                         \
	_Static_assert(sizeof(type) == sizeof(struct pair) &&                                      \
	                       offsetof(type, key) == offsetof(struct pair, key) &&                \
	                       offsetof(type, value) == offsetof(struct pair, value),              \
	               #type " has the layout of struct pair")
SAME_AS_PAIR(cri_PodSandbox_LabelsEntry);
SAME_AS_PAIR(cri_PodSandbox_AnnotationsEntry);
SAME_AS_PAIR(cri_PodSandboxStatus_LabelsEntry);
SAME_AS_PAIR(cri_PodSandboxStatus_AnnotationsEntry);
SAME_AS_PAIR(cri_Container_LabelsEntry);
SAME_AS_PAIR(cri_Container_AnnotationsEntry);
SAME_AS_PAIR(cri_ContainerStatus_LabelsEntry);
SAME_AS_PAIR(cri_ContainerStatus_AnnotationsEntry);
SAME_AS_PAIR(cri_PodSandboxFilter_LabelSelectorEntry);
SAME_AS_PAIR(cri_ContainerFilter_LabelSelectorEntry);
SAME_AS_PAIR(cri_ContainerStatsFilter_LabelSelectorEntry);
SAME_AS_PAIR(cri_PodSandboxStatsFilter_LabelSelectorEntry);

#define LEND(msg, field, pairs)                                                                    \
	do {                                                                                       \
		(msg)->field = (void *)(pairs).items;                                              \
		(msg)->field##_count = (pb_size_t)(pairs).count;                                   \
	} while (0)

bool labels_match(const struct pairs *labels, const void *selector, size_t count)
{
	const struct pair *wanted = selector;

	for (size_t i = 0; i < count; i++) {
		const char *value = pairs_find(labels, or_empty(wanted[i].key));

		if (!value || !streq(value, or_empty(wanted[i].value)))
			return false;
	}
	return true;
}

cri_PodSandboxState to_cri_sandbox_state(const struct sandbox *sb)
{
	return sb->state == SANDBOX_READY ? cri_PodSandboxState_SANDBOX_READY
	                                  : cri_PodSandboxState_SANDBOX_NOTREADY;
}

cri_ContainerState to_cri_container_state(const struct container *c)
{
	switch (c->state) {
	case CONTAINER_CREATED:
	case CONTAINER_STARTING:
		return cri_ContainerState_CONTAINER_CREATED;
	case CONTAINER_RUNNING:
		return cri_ContainerState_CONTAINER_RUNNING;
	case CONTAINER_EXITED:
	case CONTAINER_REMOVING:
		return cri_ContainerState_CONTAINER_EXITED;
	case CONTAINER_INVALID:
	case CONTAINER_CREATING:
	case CONTAINER_GONE:
	case CONTAINER_STATES:
		break;
	}
	return cri_ContainerState_CONTAINER_UNKNOWN;
}

static const struct {
	const char *name;
	cri_Signal number;
} signals[] = {
#define SIGNAL(name)                                                                               \
	{                                                                                          \
#name, cri_Signal_##name                                                           \
	}
	SIGNAL(SIGABRT),   SIGNAL(SIGALRM),  SIGNAL(SIGBUS),  SIGNAL(SIGCHLD), SIGNAL(SIGCLD),
	SIGNAL(SIGCONT),   SIGNAL(SIGFPE),   SIGNAL(SIGHUP),  SIGNAL(SIGILL),  SIGNAL(SIGINT),
	SIGNAL(SIGIO),     SIGNAL(SIGIOT),   SIGNAL(SIGKILL), SIGNAL(SIGPIPE), SIGNAL(SIGPOLL),
	SIGNAL(SIGPROF),   SIGNAL(SIGPWR),   SIGNAL(SIGQUIT), SIGNAL(SIGSEGV), SIGNAL(SIGSTKFLT),
	SIGNAL(SIGSTOP),   SIGNAL(SIGSYS),   SIGNAL(SIGTERM), SIGNAL(SIGTRAP), SIGNAL(SIGTSTP),
	SIGNAL(SIGTTIN),   SIGNAL(SIGTTOU),  SIGNAL(SIGURG),  SIGNAL(SIGUSR1), SIGNAL(SIGUSR2),
	SIGNAL(SIGVTALRM), SIGNAL(SIGWINCH), SIGNAL(SIGXCPU), SIGNAL(SIGXFSZ), SIGNAL(SIGRTMIN),
	SIGNAL(SIGRTMAX),
#undef SIGNAL
};

static const char *rt_signal(cri_Signal signal, char *text, size_t size)
{
	if (signal > cri_Signal_SIGRTMIN && signal <= cri_Signal_SIGRTMINPLUS15)
		return str_format(text, size, "SIGRTMIN+%d", (int)(signal - cri_Signal_SIGRTMIN)) <
		                       0
		               ? NULL
		               : text;
	if (signal >= cri_Signal_SIGRTMAXMINUS14 && signal < cri_Signal_SIGRTMAX)
		return str_format(text, size, "SIGRTMAX-%d", (int)(cri_Signal_SIGRTMAX - signal)) <
		                       0
		               ? NULL
		               : text;
	return NULL;
}

cri_Signal to_cri_signal(const char *name)
{
	char text[16];

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		if (streq(signals[i].name, name) || streq(signals[i].name + 3, name))
			return signals[i].number;
	}
	for (int n = cri_Signal_SIGRTMIN; n <= (int)cri_Signal_SIGRTMAX; n++) {
		const char *rt = rt_signal((cri_Signal)n, text, sizeof(text));

		if (rt && streq(rt, name))
			return (cri_Signal)n;
	}
	return cri_Signal_RUNTIME_DEFAULT;
}

const char *from_cri_signal(cri_Signal signal)
{
	static const char *const plus[] = { "SIGRTMIN+1",  "SIGRTMIN+2",  "SIGRTMIN+3",
		                            "SIGRTMIN+4",  "SIGRTMIN+5",  "SIGRTMIN+6",
		                            "SIGRTMIN+7",  "SIGRTMIN+8",  "SIGRTMIN+9",
		                            "SIGRTMIN+10", "SIGRTMIN+11", "SIGRTMIN+12",
		                            "SIGRTMIN+13", "SIGRTMIN+14", "SIGRTMIN+15" };
	static const char *const minus[] = { "SIGRTMAX-14", "SIGRTMAX-13", "SIGRTMAX-12",
		                             "SIGRTMAX-11", "SIGRTMAX-10", "SIGRTMAX-9",
		                             "SIGRTMAX-8",  "SIGRTMAX-7",  "SIGRTMAX-6",
		                             "SIGRTMAX-5",  "SIGRTMAX-4",  "SIGRTMAX-3",
		                             "SIGRTMAX-2",  "SIGRTMAX-1" };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (signals[i].number == signal)
			return signals[i].name;
	if (signal > cri_Signal_SIGRTMIN && signal <= cri_Signal_SIGRTMINPLUS15)
		return plus[signal - cri_Signal_SIGRTMIN - 1];
	if (signal >= cri_Signal_SIGRTMAXMINUS14 && signal < cri_Signal_SIGRTMAX)
		return minus[signal - cri_Signal_SIGRTMAXMINUS14];
	return NULL;
}

/* --- pods */

static cri_PodSandboxMetadata sandbox_metadata(const struct sandbox *sb)
{
	return (cri_PodSandboxMetadata){
		.name = sb->name, .uid = sb->uid, .namespace = sb->ns, .attempt = sb->attempt
	};
}

int to_cri_sandbox(const struct sandbox *sb, cri_PodSandbox *ret)
{
	*ret = (cri_PodSandbox){
		.id = (char *)sb->id,
		.has_metadata = true,
		.metadata = sandbox_metadata(sb),
		.state = to_cri_sandbox_state(sb),
		.created_at = sb->created_ns,
		.runtime_handler = sb->runtime_handler,
	};
	LEND(ret, labels, sb->labels);
	LEND(ret, annotations, sb->annotations);
	return 0;
}

int to_cri_sandbox_status(const struct sandbox *sb, struct pb_arena *arena,
                          cri_PodSandboxStatus *ret)
{
	cri_PodSandboxConfig *config = pb_arena_alloc(arena, sizeof(*config));
	size_t nips = 0;
	struct err err = { 0 };

	if (!config)
		return -1;
	*ret = (cri_PodSandboxStatus){
		.id = (char *)sb->id,
		.has_metadata = true,
		.metadata = sandbox_metadata(sb),
		.state = to_cri_sandbox_state(sb),
		.created_at = sb->created_ns,
		.has_network = true,
		.runtime_handler = sb->runtime_handler,
	};
	LEND(ret, labels, sb->labels);
	LEND(ret, annotations, sb->annotations);
	while (sb->ips && sb->ips[nips])
		nips++;
	if (nips) {
		cri_PodIP *more = pb_arena_alloc(arena, nips * sizeof(*more));

		if (!more)
			return -1;
		ret->network.ip = sb->ips[0];
		for (size_t i = 1; i < nips; i++)
			more[i - 1].ip = sb->ips[i];
		ret->network.additional_ips = more;
		ret->network.additional_ips_count = (pb_size_t)(nips - 1);
	}
	/* what does not decode any more is left out: the rest is still true */
	if (sb->request.len &&
	    pb_decode_msg(arena, cri_PodSandboxConfig_fields, config, sb->request.data,
	                  sb->request.len, "PodSandboxConfig", &err) == 0 &&
	    config->has_linux && config->linux.has_security_context &&
	    config->linux.security_context.has_namespace_options) {
		ret->has_linux = true;
		ret->linux.has_namespaces = true;
		ret->linux.namespaces.has_options = true;
		ret->linux.namespaces.options = config->linux.security_context.namespace_options;
	}
	return 0;
}

/* --- containers */

int to_cri_container(const struct container *c, cri_Container *ret)
{
	*ret = (cri_Container){
		.id = (char *)c->id,
		.pod_sandbox_id = (char *)c->sandbox_id,
		.has_metadata = true,
		.metadata = { .name = c->name, .attempt = c->attempt },
		.has_image = true,
		.image = { .image = c->image_ref },
		.image_ref = c->image_id,
		.image_id = c->image_id,
		.state = to_cri_container_state(c),
		.created_at = c->created_ns,
	};
	LEND(ret, labels, c->labels);
	LEND(ret, annotations, c->annotations);
	return 0;
}

const char *to_cri_reason(const struct container *c)
{
	if (c->reason[0] || (c->state != CONTAINER_EXITED && c->state != CONTAINER_REMOVING))
		return c->reason;
	return c->exit_code ? "Error" : "Completed";
}

/* What the first process really got, from the spec it was started with. */
static int status_user(const char *text, size_t len, struct pb_arena *arena,
                       cri_ContainerStatus *ret)
{
	struct err err = { 0 };
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(text, len, 4 << 20, "config.json", &err);
	yyjson_val *user =
		doc ? json_obj(json_obj(yyjson_doc_get_root(doc), "process"), "user") : NULL;
	yyjson_val *groups, *group;
	cri_LinuxContainerUser *out = &ret->user.linux;
	size_t i, n;

	if (!user)
		return 0;
	ret->has_user = true;
	ret->user.has_linux = true;
	out->uid = json_i64(user, "uid", 0);
	out->gid = json_i64(user, "gid", 0);
	groups = json_arr(user, "additionalGids");
	n = yyjson_arr_size(groups);
	if (!n)
		return 0;
	out->supplemental_groups = pb_arena_alloc(arena, n * sizeof(int64_t));
	if (!out->supplemental_groups)
		return -1;
	yyjson_arr_foreach(groups, i, n, group) out->supplemental_groups[i] =
		(int64_t)yyjson_get_uint(group);
	out->supplemental_groups_count = (pb_size_t)n;
	return 0;
}

static int status_request(const struct container *c, struct pb_arena *arena,
                          cri_ContainerStatus *ret)
{
	cri_ContainerConfig *config = pb_arena_alloc(arena, sizeof(*config));
	cri_LinuxContainerResources *resources = pb_arena_alloc(arena, sizeof(*resources));
	struct err err = { 0 };

	if (!config || !resources)
		return -1;
	if (!c->request.len ||
	    pb_decode_msg(arena, cri_ContainerConfig_fields, config, c->request.data,
	                  c->request.len, "ContainerConfig", &err) < 0)
		return 0;
	ret->mounts = config->mounts;
	ret->mounts_count = config->mounts_count;
	if (!ret->image.image[0] && config->has_image)
		ret->image = config->image;
	if (config->has_linux && config->linux.has_resources) {
		ret->has_resources = ret->resources.has_linux = true;
		ret->resources.linux = config->linux.resources;
	}
	if (c->resources.len &&
	    pb_decode_msg(arena, cri_LinuxContainerResources_fields, resources, c->resources.data,
	                  c->resources.len, "LinuxContainerResources", &err) == 0) {
		ret->has_resources = ret->resources.has_linux = true;
		ret->resources.linux = *resources;
	}
	return 0;
}

int to_cri_resources(const struct container *c, struct pb_arena *arena,
                     cri_LinuxContainerResources *ret)
{
	cri_ContainerStatus status = { .image = { .image = (char *)"" } };

	if (status_request(c, arena, &status) < 0)
		return -1;
	*ret = status.resources.linux;
	return 0;
}

void merge_resources(cri_LinuxContainerResources *into, const cri_LinuxContainerResources *update)
{
#define TAKE(field)                                                                                \
	do {                                                                                       \
		if (update->field)                                                                 \
			into->field = update->field;                                               \
	} while (0)
#define TAKE_TEXT(field)                                                                           \
	do {                                                                                       \
		if (update->field && update->field[0])                                             \
			into->field = update->field;                                               \
	} while (0)
	TAKE(cpu_period);
	TAKE(cpu_quota);
	TAKE(cpu_shares);
	TAKE(memory_limit_in_bytes);
	TAKE(memory_swap_limit_in_bytes);
	TAKE_TEXT(cpuset_cpus);
	TAKE_TEXT(cpuset_mems);
#undef TAKE
#undef TAKE_TEXT
	/* oom_score_adj is never changed on a container that exists */
	if (update->hugepage_limits_count) {
		into->hugepage_limits = update->hugepage_limits;
		into->hugepage_limits_count = update->hugepage_limits_count;
	}
	if (update->unified_count) {
		into->unified = update->unified;
		into->unified_count = update->unified_count;
	}
}

int to_cri_container_status(const struct state *state, const struct container *c,
                            const char *bundle_config, size_t len, struct pb_arena *arena,
                            cri_ContainerStatus *ret)
{
	const struct image *image = image_get(state, c->image_id);
	bool ended = c->state == CONTAINER_EXITED || c->state == CONTAINER_REMOVING;

	*ret = (cri_ContainerStatus){
		.id = (char *)c->id,
		.has_metadata = true,
		.metadata = { .name = c->name, .attempt = c->attempt },
		.state = to_cri_container_state(c),
		.created_at = c->created_ns,
		.started_at = ended || c->state == CONTAINER_RUNNING ? c->started_ns : 0,
		.finished_at = ended ? c->finished_ns : 0,
		.exit_code = c->exit_code,
		.has_image = true,
		.image = { .image = image && image->names[0] ? image->names[0] : c->image_ref },
		.image_ref = c->image_digest,
		.image_id = c->image_id,
		.reason = (char *)to_cri_reason(c),
		.message = c->message,
		.log_path = c->log_path,
		.stop_signal = to_cri_signal(c->stop_signal),
	};
	LEND(ret, labels, c->labels);
	LEND(ret, annotations, c->annotations);
	if (status_request(c, arena, ret) < 0)
		return -1;
	return bundle_config ? status_user(bundle_config, len, arena, ret) : 0;
}

/* --- images */

int to_cri_image(const struct image *image, char *const *pinned, struct pb_arena *arena,
                 cri_Image *ret)
{
	char *name = pb_arena_alloc(arena, 256);
	int64_t uid = 0;

	if (!name)
		return -1;
	*ret = (cri_Image){
		.id = image->id,
		.repo_tags = image->names,
		.repo_digests = image->digests,
		.size = image->size_bytes,
		.pinned = image->pinned || store_pinned(image, pinned),
	};
	while (image->names[ret->repo_tags_count])
		ret->repo_tags_count++;
	while (image->digests[ret->repo_digests_count])
		ret->repo_digests_count++;
	if (store_user(image, &uid, name, 256)) {
		ret->has_uid = true;
		ret->uid.value = uid;
	} else {
		ret->username = name;
	}
	return 0;
}
