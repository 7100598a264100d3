#include "cmd/ctl/resolve.h"

#include <string.h>

#include "cmd/ctl/ctl.h"
#include "core/base/str.h"

#define NAMED_IN_ERROR 4 /* candidates that an error lists */

/* --- candidates */

struct candidates {
	const void *found[NAMED_IN_ERROR];
	size_t count;
};

static void candidates_add(struct candidates *c, const void *found)
{
	if (c->count < NAMED_IN_ERROR)
		c->found[c->count] = found;
	c->count++;
}

static bool is_hex(const char *text)
{
	return text[0] && text[strspn(text, "0123456789abcdef")] == '\0';
}

const cri_PodSandbox *pod_by_id(const struct objects *objects, const char *id)
{
	for (size_t i = 0; i < objects->npods; i++)
		if (streq(objects->pods[i].id, id))
			return &objects->pods[i];
	return NULL;
}

bool pod_is_run(const cri_PodSandbox *pod)
{
	for (size_t i = 0; i < pod->labels_count; i++)
		if (streq(pod->labels[i].key, RUN_LABEL))
			return true;
	return false;
}

/* @text is NAME, or OWNER/NAME where @owner is what owns the thing. */
static bool name_is(const char *text, const char *owner, const char *name)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : 0;

	if (!slash)
		return streq(text, or_empty(name));
	return strlen(or_empty(owner)) == len && !strncmp(text, or_empty(owner), len) &&
	       streq(slash + 1, or_empty(name));
}

/* --- containers */

static void list_containers(const struct candidates *c, char *text, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < c->count && i < NAMED_IN_ERROR && n < size; i++) {
		const cri_Container *container = c->found[i];
		int len = snprintf(text + n, size - n, "%s%.12s (%.40s)", i ? ", " : "",
		                   container->id, or_empty(container->metadata.name));

		n += (size_t)MAX(len, 0);
	}
	if (c->count > NAMED_IN_ERROR && n < size)
		snprintf(text + n, size - n, ", ...");
}

/* All are attempts at the same container of the same pod: the newest. */
static const cri_Container *newest_attempt(const struct objects *objects, const char *text,
                                           const cri_Container *first)
{
	const cri_Container *newest = first;

	for (size_t i = 0; i < objects->ncontainers; i++) {
		const cri_Container *c = &objects->containers[i];
		const cri_PodSandbox *pod = pod_by_id(objects, or_empty(c->pod_sandbox_id));

		if (!name_is(text, pod ? pod->metadata.name : NULL, c->metadata.name))
			continue;
		if (!streq(c->pod_sandbox_id, first->pod_sandbox_id))
			return NULL;
		if (c->metadata.attempt > newest->metadata.attempt)
			newest = c;
	}
	return newest;
}

static const cri_Container *find_container(const struct objects *objects, const char *text,
                                           struct candidates *by_id, struct candidates *by_name)
{
	for (size_t i = 0; i < objects->ncontainers; i++) {
		const cri_Container *c = &objects->containers[i];
		const cri_PodSandbox *pod = pod_by_id(objects, or_empty(c->pod_sandbox_id));

		if (streq(c->id, text))
			return c;
		if (name_is(text, pod ? pod->metadata.name : NULL, c->metadata.name))
			candidates_add(by_name, c);
		else if (is_hex(text) && starts_with(c->id, text))
			candidates_add(by_id, c);
	}
	if (by_name->count) /* a name that looks like the beginning of another's id is still that name */
		return newest_attempt(objects, text, by_name->found[0]);
	return by_id->count == 1 ? by_id->found[0] : NULL;
}

const cri_Container *resolve_container(const struct objects *objects, const char *text,
                                       struct err *err)
{
	struct candidates by_id = { .count = 0 }, by_name = { .count = 0 };
	const cri_Container *found = find_container(objects, text, &by_id, &by_name);
	const struct candidates *several = by_name.count ? &by_name : &by_id;
	char list[160];

	if (found)
		return found;
	if (!several->count) {
		err_set(err, CODE_NOT_FOUND, "no container '%.64s'", text);
		return NULL;
	}
	list_containers(several, list, sizeof(list));
	err_set(err, CODE_INVALID_ARGUMENT, "'%.64s' may be any of %s", text, list);
	return NULL;
}

/* --- pods */

static const cri_PodSandbox *find_pod(const struct objects *objects, const char *text,
                                      struct candidates *by_id, struct candidates *by_name)
{
	for (size_t i = 0; i < objects->npods; i++) {
		const cri_PodSandbox *pod = &objects->pods[i];

		if (streq(pod->id, text))
			return pod;
		if (name_is(text, pod->metadata.namespace, pod->metadata.name))
			candidates_add(by_name, pod);
		else if (is_hex(text) && starts_with(pod->id, text))
			candidates_add(by_id, pod);
	}
	if (by_name->count)
		return by_name->count == 1 ? by_name->found[0] : NULL;
	return by_id->count == 1 ? by_id->found[0] : NULL;
}

const cri_PodSandbox *resolve_pod(const struct objects *objects, const char *text, struct err *err)
{
	struct candidates by_id = { .count = 0 }, by_name = { .count = 0 };
	const cri_PodSandbox *found = find_pod(objects, text, &by_id, &by_name);
	const struct candidates *several = by_name.count ? &by_name : &by_id;
	char list[160];
	size_t n = 0;

	if (found)
		return found;
	if (!several->count) {
		err_set(err, CODE_NOT_FOUND, "no pod '%.64s'", text);
		return NULL;
	}
	for (size_t i = 0; i < several->count && i < NAMED_IN_ERROR && n < sizeof(list); i++) {
		const cri_PodSandbox *pod = several->found[i];
		int len = snprintf(list + n, sizeof(list) - n, "%s%.12s (%.20s/%.20s)",
		                   i ? ", " : "", pod->id, or_empty(pod->metadata.namespace),
		                   or_empty(pod->metadata.name));

		n += (size_t)MAX(len, 0);
	}
	err_set(err, CODE_INVALID_ARGUMENT, "'%.64s' may be any of %s%s", text, list,
	        several->count > NAMED_IN_ERROR ? ", ..." : "");
	return NULL;
}

/* --- either */

int resolve_any(const struct objects *objects, const char *text, const cri_PodSandbox **ret_pod,
                const cri_Container **ret_container, struct err *err)
{
	struct err no_pod = { 0 }, no_container = { 0 };
	const cri_PodSandbox *pod = resolve_pod(objects, text, &no_pod);
	const cri_Container *container = resolve_container(objects, text, &no_container);

	*ret_pod = NULL;
	*ret_container = NULL;
	if (pod && container && !streq(container->pod_sandbox_id, pod->id))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "'%.64s' may be the pod %.12s or the container %.12s", text, pod->id,
		               container->id);
	if (pod) {
		*ret_pod = pod;
		return 0;
	}
	if (container) {
		*ret_container = container;
		return 0;
	}
	/* "may be any of" says more than "there is none" */
	*err = err_is(&no_pod, CODE_NOT_FOUND) ? no_container : no_pod;
	if (err_is(err, CODE_NOT_FOUND))
		err_set(err, CODE_NOT_FOUND, "no pod or container '%.64s'", text);
	return -1;
}

int objects_fetch(struct ctl *ctl, struct objects *ret, struct err *err)
{
	const cri_ListPodSandboxRequest pods_request = { 0 };
	const cri_ListContainersRequest containers_request = { 0 };
	cri_ListPodSandboxResponse pods;
	cri_ListContainersResponse containers;

	/* containers first: one that is listed then has its pod in the second list, unless it is just being removed */
	if (CALL_RUNTIME(ctl, ListContainers, &containers_request, &containers, READ_TIMEOUT_MS,
	                 err) < 0 ||
	    CALL_RUNTIME(ctl, ListPodSandbox, &pods_request, &pods, READ_TIMEOUT_MS, err) < 0)
		return -1;
	*ret = (struct objects){
		.pods = pods.items,
		.npods = pods.items_count,
		.containers = containers.containers,
		.ncontainers = containers.containers_count,
	};
	return 0;
}
