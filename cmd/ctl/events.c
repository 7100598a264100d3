/* cmd/ctl/events.c: events. */
#include "cmd/ctl/ctl.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"
#include "core/base/clock.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/str.h"

static const char *event_name(cri_ContainerEventType type)
{
	switch (type) {
	case cri_ContainerEventType_CONTAINER_CREATED_EVENT:
		return "created";
	case cri_ContainerEventType_CONTAINER_STARTED_EVENT:
		return "started";
	case cri_ContainerEventType_CONTAINER_STOPPED_EVENT:
		return "stopped";
	case cri_ContainerEventType_CONTAINER_DELETED_EVENT:
		return "deleted";
	}
	return "unknown";
}

static const cri_ContainerStatus *status_of(const cri_ContainerEventResponse *event)
{
	for (size_t i = 0; i < event->containers_statuses_count; i++)
		if (streq(event->containers_statuses[i].id, event->container_id))
			return &event->containers_statuses[i];
	return NULL;
}

/* "default/web", or "" once the pod is gone */
static char *pod_name(const cri_ContainerEventResponse *event)
{
	const cri_PodSandboxMetadata *meta = &event->pod_sandbox_status.metadata;

	return event->has_pod_sandbox_status
	               ? xasprintf("%s/%s", or_empty(meta->namespace), or_empty(meta->name))
	               : xstrdup("");
}

static void print_json(struct ctl *ctl, const cri_ContainerEventResponse *event, const char *what)
{
	const cri_ContainerStatus *status = status_of(event);
	cleanup_free char *pod = pod_name(event);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *obj = yyjson_mut_obj(doc);

	ctl_json_time(doc, obj, "time", event->created_at);
	yyjson_mut_obj_add_str(doc, obj, "event", event_name(event->container_event_type));
	yyjson_mut_obj_add_str(doc, obj, "what", what);
	yyjson_mut_obj_add_strcpy(doc, obj, "id", or_empty(event->container_id));
	yyjson_mut_obj_add_strcpy(doc, obj, "pod_id", or_empty(event->pod_sandbox_status.id));
	yyjson_mut_obj_add_strcpy(doc, obj, "pod", pod);
	if (status) {
		yyjson_mut_obj_add_strcpy(doc, obj, "name", or_empty(status->metadata.name));
		if (status->state == cri_ContainerState_CONTAINER_EXITED)
			yyjson_mut_obj_add_int(doc, obj, "exit_code", status->exit_code);
	}
	ignore(ctl_print_json(ctl, doc, obj, false) != EXIT_OK); /* seen by the caller's flush */
}

static void print_line(const cri_ContainerEventResponse *event, const char *what)
{
	const cri_ContainerStatus *status = status_of(event);
	cleanup_free char *pod = pod_name(event), *clean_pod = text_clean(pod);
	cleanup_free char *name = text_clean(status ? or_empty(status->metadata.name) : "");
	char time[CLOCK_TEXT_SIZE];

	clock_format_utc(event->created_at, time);
	printf("%s %-7s %-9s %.12s", time, event_name(event->container_event_type), what,
	       or_empty(event->container_id));
	if (name[0])
		printf(" %s", name);
	if (clean_pod[0])
		printf(" %s%s", name[0] ? "of " : "", clean_pod);
	if (status && status->state == cri_ContainerState_CONTAINER_EXITED &&
	    event->container_event_type == cri_ContainerEventType_CONTAINER_STOPPED_EVENT)
		printf(", exit code %d", status->exit_code);
	putchar('\n');
}

struct watch {
	struct ctl *ctl;
	struct map pods, containers; /* ids seen so far */
};

/* Pods are told as containers, too. Both ids are the same then; but a deleted pod has no status any more. */
static const char *what_is(struct watch *watch, const cri_ContainerEventResponse *event)
{
	const char *id = or_empty(event->container_id);
	bool pod = event->has_pod_sandbox_status ? streq(id, event->pod_sandbox_status.id)
	                                         : !map_find(&watch->containers, id);

	if (pod || map_find(&watch->pods, id)) {
		map_set(&watch->pods, id, watch);
		return "pod";
	}
	map_set(&watch->containers, id, watch);
	return "container";
}

static int on_event(void *arg, const void *message)
{
	struct watch *watch = arg;
	struct ctl *ctl = watch->ctl;
	const cri_ContainerEventResponse *event = message;
	const char *what = what_is(watch, event);

	if (ctl->json)
		print_json(ctl, event, what);
	else
		print_line(event, what);
	return fflush(stdout) == 0 ? 0 : -1;
}

int verb_events(struct ctl *ctl, int argc, char **argv)
{
	int words = ctl_args(ctl, argc, argv, NULL, 0, 0, 0);
	const cri_GetEventsRequest request = { 0 };
	cri_ContainerEventResponse message;
	const struct grpc_client_call call = {
		.method = "/runtime.v1.RuntimeService/GetContainerEvents",
		.request_desc = cri_GetEventsRequest_fields,
		.request = &request,
		.response_desc = cri_ContainerEventResponse_fields,
	};
	struct watch watch = { .ctl = ctl };
	struct err err = { 0 };
	int rc;

	if (words < 0)
		return CTL_OVER(words);
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	map_init(&watch.pods);
	map_init(&watch.containers);
	rc = grpc_client_stream(ctl->client, &call, &message, on_event, &watch, &err);
	map_release(&watch.pods);
	map_release(&watch.containers);
	if (rc < 0)
		return ctl_fail(ctl, &err);
	return ctl_flush(ctl);
}
