/* cmd/ctl/list.c: ps, pods, images. */
#include <stdlib.h>
#include <string.h>

#include "cmd/ctl/ctl.h"
#include "cmd/ctl/resolve.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define ID_SHOWN 12

/* --- containers */

static const char *container_state(cri_ContainerState state)
{
	switch (state) {
	case cri_ContainerState_CONTAINER_CREATED:
		return "created";
	case cri_ContainerState_CONTAINER_RUNNING:
		return "running";
	case cri_ContainerState_CONTAINER_EXITED:
		return "exited";
	case cri_ContainerState_CONTAINER_UNKNOWN:
		break;
	}
	return "unknown";
}

/* How an exited container ended is in its status alone. NULL: not exited, or removed meanwhile. */
static const cri_ContainerStatus *exit_of(struct ctl *ctl, const cri_Container *c)
{
	const cri_ContainerStatusRequest request = { .container_id = c->id };
	cri_ContainerStatusResponse *response = ctl_alloc(ctl, sizeof(*response));
	struct err err = { 0 };

	if (c->state != cri_ContainerState_CONTAINER_EXITED ||
	    CALL_RUNTIME(ctl, ContainerStatus, &request, response, READ_TIMEOUT_MS, &err) < 0)
		return NULL;
	return &response->status;
}

static void container_json(struct ctl *ctl, const struct objects *objects, const cri_Container *c,
                           yyjson_mut_doc *doc, yyjson_mut_val *arr)
{
	const cri_PodSandbox *pod = pod_by_id(objects, or_empty(c->pod_sandbox_id));
	const cri_ContainerStatus *status = exit_of(ctl, c);
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, arr);

	yyjson_mut_obj_add_strcpy(doc, obj, "id", or_empty(c->id));
	yyjson_mut_obj_add_strcpy(doc, obj, "name", or_empty(c->metadata.name));
	yyjson_mut_obj_add_uint(doc, obj, "attempt", c->metadata.attempt);
	yyjson_mut_obj_add_strcpy(doc, obj, "pod_id", or_empty(c->pod_sandbox_id));
	yyjson_mut_obj_add_strcpy(doc, obj, "pod", pod ? or_empty(pod->metadata.name) : "");
	yyjson_mut_obj_add_strcpy(doc, obj, "namespace",
	                          pod ? or_empty(pod->metadata.namespace) : "");
	yyjson_mut_obj_add_strcpy(doc, obj, "image", or_empty(c->image.image));
	yyjson_mut_obj_add_strcpy(doc, obj, "image_id", or_empty(c->image_id));
	yyjson_mut_obj_add_str(doc, obj, "state", container_state(c->state));
	ctl_json_time(doc, obj, "created_at", c->created_at);
	if (status) {
		ctl_json_time(doc, obj, "started_at", status->started_at);
		ctl_json_time(doc, obj, "finished_at", status->finished_at);
		yyjson_mut_obj_add_int(doc, obj, "exit_code", status->exit_code);
		yyjson_mut_obj_add_strcpy(doc, obj, "reason", or_empty(status->reason));
		yyjson_mut_obj_add_strcpy(doc, obj, "message", or_empty(status->message));
	}
	ctl_json_pairs(doc, obj, "labels", c->labels, c->labels_count);
	ctl_json_pairs(doc, obj, "annotations", c->annotations, c->annotations_count);
}

static void container_row(struct ctl *ctl, const struct objects *objects, const cri_Container *c,
                          struct table *table)
{
	const cri_PodSandbox *pod = pod_by_id(objects, or_empty(c->pod_sandbox_id));
	const cri_ContainerStatus *status = exit_of(ctl, c);
	char age[TEXT_SIZE];

	table_add(table, "%.*s", ID_SHOWN, or_empty(c->id));
	table_add(table, "%s", or_empty(c->metadata.name));
	if (pod)
		table_add(table, "%s/%s", or_empty(pod->metadata.namespace),
		          or_empty(pod->metadata.name));
	else
		table_add(table, "%.*s", ID_SHOWN, or_empty(c->pod_sandbox_id));
	table_add(table, "%s", or_empty(c->image.image));
	if (status)
		table_add(table, "exited (%d)", status->exit_code);
	else
		table_add(table, "%s", container_state(c->state));
	text_age(c->created_at, clock_real_ns(), age);
	table_add(table, "%s", age);
}

int verb_ps(struct ctl *ctl, int argc, char **argv)
{
	static const char *const headings[] = { "CONTAINER", "NAME", "POD", "IMAGE",
		                                "STATE",     "+AGE", NULL };
	bool all = false, quiet = false;
	const char *pod_text = NULL;
	const struct arg_option options[] = {
		{ "all", 'a', ARG_FLAG, &all, NULL, "those that do not run, too" },
		{ "pod", 'p', ARG_TEXT, &pod_text, "POD", "only those of this pod" },
		{ "quiet", 'q', ARG_FLAG, &quiet, NULL, "ids alone, in full" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 0, 0);
	cleanup(table_release) struct table table = { 0 };
	yyjson_mut_doc *doc = NULL;
	yyjson_mut_val *arr = NULL;
	const cri_PodSandbox *pod = NULL;
	struct objects objects;
	struct err err = { 0 };

	table_init(&table, headings);
	if (words < 0)
		return CTL_OVER(words);
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (objects_fetch(ctl, &objects, &err) < 0)
		return ctl_fail(ctl, &err);
	if (pod_text) {
		pod = resolve_pod(&objects, pod_text, &err);
		if (!pod)
			return ctl_fail(ctl, &err);
	}
	if (ctl->json) {
		doc = yyjson_mut_doc_new(NULL);
		arr = yyjson_mut_arr(doc);
	}
	for (size_t i = 0; i < objects.ncontainers; i++) {
		const cri_Container *c = &objects.containers[i];

		if (!all && c->state != cri_ContainerState_CONTAINER_RUNNING)
			continue;
		if (pod && !streq(c->pod_sandbox_id, pod->id))
			continue;
		if (ctl->json)
			container_json(ctl, &objects, c, doc, arr);
		else if (quiet)
			printf("%s\n", c->id);
		else
			container_row(ctl, &objects, c, &table);
	}
	if (ctl->json)
		return ctl_print_json(ctl, doc, arr, true);
	if (!quiet)
		table_print(&table, stdout);
	return ctl_flush(ctl);
}

/* --- pods */

/* Addresses are in the status alone. NULL: removed meanwhile. */
static const cri_PodSandboxStatus *pod_status(struct ctl *ctl, const cri_PodSandbox *pod)
{
	const cri_PodSandboxStatusRequest request = { .pod_sandbox_id = pod->id };
	cri_PodSandboxStatusResponse *response = ctl_alloc(ctl, sizeof(*response));
	struct err err = { 0 };

	return CALL_RUNTIME(ctl, PodSandboxStatus, &request, response, READ_TIMEOUT_MS, &err) < 0
	               ? NULL
	               : &response->status;
}

static const char *pod_state(const cri_PodSandbox *pod)
{
	return pod->state == cri_PodSandboxState_SANDBOX_READY ? "ready" : "not ready";
}

static void pod_json(struct ctl *ctl, const cri_PodSandbox *pod, yyjson_mut_doc *doc,
                     yyjson_mut_val *arr)
{
	const cri_PodSandboxStatus *status = pod_status(ctl, pod);
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, arr), *ips;

	yyjson_mut_obj_add_strcpy(doc, obj, "id", or_empty(pod->id));
	yyjson_mut_obj_add_strcpy(doc, obj, "name", or_empty(pod->metadata.name));
	yyjson_mut_obj_add_strcpy(doc, obj, "namespace", or_empty(pod->metadata.namespace));
	yyjson_mut_obj_add_strcpy(doc, obj, "uid", or_empty(pod->metadata.uid));
	yyjson_mut_obj_add_uint(doc, obj, "attempt", pod->metadata.attempt);
	yyjson_mut_obj_add_bool(doc, obj, "ready", pod->state == cri_PodSandboxState_SANDBOX_READY);
	ctl_json_time(doc, obj, "created_at", pod->created_at);
	yyjson_mut_obj_add_strcpy(doc, obj, "runtime_handler", or_empty(pod->runtime_handler));
	ips = yyjson_mut_obj_add_arr(doc, obj, "ips");
	if (status && or_empty(status->network.ip)[0]) {
		yyjson_mut_arr_add_strcpy(doc, ips, status->network.ip);
		for (size_t i = 0; i < status->network.additional_ips_count; i++)
			yyjson_mut_arr_add_strcpy(doc, ips,
			                          or_empty(status->network.additional_ips[i].ip));
	}
	ctl_json_pairs(doc, obj, "labels", pod->labels, pod->labels_count);
	ctl_json_pairs(doc, obj, "annotations", pod->annotations, pod->annotations_count);
}

static void pod_row(struct ctl *ctl, const cri_PodSandbox *pod, const struct objects *objects,
                    struct table *table)
{
	const cri_PodSandboxStatus *status = pod_status(ctl, pod);
	size_t running = 0, all = 0;
	char age[TEXT_SIZE];

	for (size_t i = 0; i < objects->ncontainers; i++)
		if (streq(objects->containers[i].pod_sandbox_id, pod->id)) {
			all++;
			running += objects->containers[i].state ==
			           cri_ContainerState_CONTAINER_RUNNING;
		}
	table_add(table, "%.*s", ID_SHOWN, or_empty(pod->id));
	table_add(table, "%s", or_empty(pod->metadata.namespace));
	table_add(table, "%s", or_empty(pod->metadata.name));
	table_add(table, "%s", pod_state(pod));
	table_add(table, "%zu/%zu", running, all);
	table_add(table, "%s", status ? or_empty(status->network.ip) : "");
	text_age(pod->created_at, clock_real_ns(), age);
	table_add(table, "%s", age);
}

int verb_pods(struct ctl *ctl, int argc, char **argv)
{
	static const char *const headings[] = { "POD",      "NAMESPACE", "NAME", "STATE",
		                                "+RUNNING", "ADDRESS",   "+AGE", NULL };
	bool quiet = false;
	const struct arg_option options[] = {
		{ "quiet", 'q', ARG_FLAG, &quiet, NULL, "ids alone, in full" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 0, 0);
	cleanup(table_release) struct table table = { 0 };
	yyjson_mut_doc *doc = NULL;
	yyjson_mut_val *arr = NULL;
	struct objects objects;
	struct err err = { 0 };

	table_init(&table, headings);
	if (words < 0)
		return CTL_OVER(words);
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (objects_fetch(ctl, &objects, &err) < 0)
		return ctl_fail(ctl, &err);
	if (ctl->json) {
		doc = yyjson_mut_doc_new(NULL);
		arr = yyjson_mut_arr(doc);
	}
	for (size_t i = 0; i < objects.npods; i++) {
		if (ctl->json)
			pod_json(ctl, &objects.pods[i], doc, arr);
		else if (quiet)
			printf("%s\n", objects.pods[i].id);
		else
			pod_row(ctl, &objects.pods[i], &objects, &table);
	}
	if (ctl->json)
		return ctl_print_json(ctl, doc, arr, true);
	if (!quiet)
		table_print(&table, stdout);
	return ctl_flush(ctl);
}

/* --- images */

static void add_strings(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key,
                        char *const *items, size_t count)
{
	yyjson_mut_val *arr = yyjson_mut_obj_add_arr(doc, obj, key);

	for (size_t i = 0; i < count; i++)
		yyjson_mut_arr_add_strcpy(doc, arr, or_empty(items[i]));
}

static void image_json(const cri_Image *image, yyjson_mut_doc *doc, yyjson_mut_val *arr)
{
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, arr);

	yyjson_mut_obj_add_strcpy(doc, obj, "id", or_empty(image->id));
	add_strings(doc, obj, "tags", image->repo_tags, image->repo_tags_count);
	add_strings(doc, obj, "digests", image->repo_digests, image->repo_digests_count);
	yyjson_mut_obj_add_uint(doc, obj, "size_bytes", image->size);
	yyjson_mut_obj_add_bool(doc, obj, "pinned", image->pinned);
}

static void image_row(const cri_Image *image, const char *name, struct table *table)
{
	const char *id =
		starts_with(image->id, "sha256:") ? image->id + strlen("sha256:") : image->id;
	char size[TEXT_SIZE];

	text_bytes(image->size, size);
	table_add(table, "%s", name);
	table_add(table, "%.*s", ID_SHOWN, id);
	table_add(table, "%s", size);
}

int verb_images(struct ctl *ctl, int argc, char **argv)
{
	static const char *const headings[] = { "IMAGE", "ID", "+SIZE", NULL };
	bool quiet = false;
	const struct arg_option options[] = {
		{ "quiet", 'q', ARG_FLAG, &quiet, NULL, "ids alone, in full" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 0, 0);
	const cri_ListImagesRequest request = { 0 };
	cleanup(table_release) struct table table = { 0 };
	yyjson_mut_doc *doc = NULL;
	yyjson_mut_val *arr = NULL;
	cri_ListImagesResponse response;
	struct err err = { 0 };

	table_init(&table, headings);
	if (words < 0)
		return CTL_OVER(words);
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (CALL_IMAGE(ctl, ListImages, &request, &response, READ_TIMEOUT_MS, &err) < 0)
		return ctl_fail(ctl, &err);
	if (ctl->json) {
		doc = yyjson_mut_doc_new(NULL);
		arr = yyjson_mut_arr(doc);
	}
	for (size_t i = 0; i < response.images_count; i++) {
		const cri_Image *image = &response.images[i];

		if (ctl->json) {
			image_json(image, doc, arr);
		} else if (quiet) {
			printf("%s\n", image->id);
		} else {
			for (size_t k = 0; k < image->repo_tags_count; k++)
				image_row(image, image->repo_tags[k], &table);
			if (!image->repo_tags_count) /* pulled by digest, or its tag has moved on */
				image_row(image,
				          image->repo_digests_count ? image->repo_digests[0]
				                                    : "<none>",
				          &table);
		}
	}
	if (ctl->json)
		return ctl_print_json(ctl, doc, arr, true);
	if (!quiet)
		table_print(&table, stdout);
	return ctl_flush(ctl);
}
