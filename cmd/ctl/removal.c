/* cmd/ctl/removal.c: stop and rm. */
#include "cmd/ctl/removal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cmd/ctl/ctl.h"
#include "cmd/ctl/resolve.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define GRACE_S 10

/* --- log files of what `run` made */

static const char *log_of(struct ctl *ctl, const char *id)
{
	const cri_ContainerStatusRequest request = { .container_id = (char *)id };
	cri_ContainerStatusResponse response;
	struct err err = { 0 };

	return CALL_RUNTIME(ctl, ContainerStatus, &request, &response, READ_TIMEOUT_MS, &err) < 0
	               ? NULL
	               : response.status.log_path;
}

/* The file, and its directory unless something else is in there. */
static void remove_log(const char *path)
{
	cleanup_free char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');

	if (unlink(path) < 0 && errno != ENOENT)
		return;
	if (slash && slash != dir) {
		*slash = '\0';
		rmdir(dir);
	}
}

/* --- pods */

static int remove_pod(struct ctl *ctl, const struct objects *objects, const cri_PodSandbox *pod,
                      struct err *err)
{
	const cri_StopPodSandboxRequest stop = { .pod_sandbox_id = pod->id };
	const cri_RemovePodSandboxRequest remove = { .pod_sandbox_id = pod->id };
	const char **logs = ctl_alloc(ctl, (objects->ncontainers + 1) * sizeof(*logs));
	cri_StopPodSandboxResponse stopped;
	cri_RemovePodSandboxResponse removed;
	size_t nlogs = 0;

	for (size_t i = 0; pod_is_run(pod) && i < objects->ncontainers; i++) {
		const char *log = streq(objects->containers[i].pod_sandbox_id, pod->id)
		                          ? log_of(ctl, objects->containers[i].id)
		                          : NULL;

		if (log && log[0])
			logs[nlogs++] = log;
	}
	if (CALL_RUNTIME(ctl, StopPodSandbox, &stop, &stopped, CHANGE_TIMEOUT_MS, err) < 0 ||
	    CALL_RUNTIME(ctl, RemovePodSandbox, &remove, &removed, CHANGE_TIMEOUT_MS, err) < 0)
		return -1;
	for (size_t i = 0; i < nlogs; i++)
		remove_log(logs[i]);
	return 0;
}

int removal_pod(struct ctl *ctl, const char *pod_id, struct err *err)
{
	struct objects objects;
	const cri_PodSandbox *pod;

	if (objects_fetch(ctl, &objects, err) < 0)
		return -1;
	pod = pod_by_id(&objects, pod_id);
	return pod ? remove_pod(ctl, &objects, pod, err) : 0;
}

/* --- what a word means: a container, or a pod with all of its containers */

struct target {
	const cri_PodSandbox *pod; /* NULL: the container alone */
	const cri_Container *container;
};

static int find_target(const struct objects *objects, const char *text, struct target *ret,
                       struct err *err)
{
	if (resolve_any(objects, text, &ret->pod, &ret->container, err) < 0)
		return -1;
	if (ret->container) {
		const cri_PodSandbox *pod =
			pod_by_id(objects, or_empty(ret->container->pod_sandbox_id));

		if (pod && pod_is_run(pod))
			ret->pod = pod;
	}
	return 0;
}

static bool is_running(const cri_Container *c)
{
	return c->state == cri_ContainerState_CONTAINER_RUNNING;
}

static bool belongs(const struct target *target, const cri_Container *c)
{
	return target->pod ? streq(c->pod_sandbox_id, target->pod->id) : c == target->container;
}

static int stop_target(struct ctl *ctl, const struct objects *objects, const struct target *target,
                       int64_t grace_s, struct err *err)
{
	cri_StopPodSandboxRequest stop_pod = { 0 };
	cri_StopPodSandboxResponse pod_stopped;

	for (size_t i = 0; i < objects->ncontainers; i++) {
		const cri_StopContainerRequest stop = { .container_id = objects->containers[i].id,
			                                .timeout = grace_s };
		cri_StopContainerResponse stopped;

		if (!belongs(target, &objects->containers[i]) ||
		    !is_running(&objects->containers[i]))
			continue;
		if (CALL_RUNTIME(ctl, StopContainer, &stop, &stopped,
		                 CHANGE_TIMEOUT_MS + grace_s * 1000, err) < 0)
			return -1;
	}
	if (!target->pod)
		return 0;
	stop_pod.pod_sandbox_id = target->pod->id;
	return CALL_RUNTIME(ctl, StopPodSandbox, &stop_pod, &pod_stopped, CHANGE_TIMEOUT_MS, err);
}

static int remove_target(struct ctl *ctl, const struct objects *objects,
                         const struct target *target, bool force, struct err *err)
{
	cri_RemoveContainerRequest remove = { 0 };
	cri_RemoveContainerResponse removed;

	for (size_t i = 0; !force && i < objects->ncontainers; i++)
		if (belongs(target, &objects->containers[i]) && is_running(&objects->containers[i]))
			return err_set(
				err, CODE_FAILED_PRECONDITION,
				"container %.12s (%.64s) is running: stop it first, or use --force",
				objects->containers[i].id,
				or_empty(objects->containers[i].metadata.name));
	if (target->pod)
		return remove_pod(ctl, objects, target->pod, err);
	remove.container_id = target->container->id;
	return CALL_RUNTIME(ctl, RemoveContainer, &remove, &removed, CHANGE_TIMEOUT_MS, err);
}

/* --- images */

static int remove_image(struct ctl *ctl, const char *text, struct err *err)
{
	const cri_ImageStatusRequest look = { .has_image = true,
		                              .image = { .image = (char *)text } };
	const cri_RemoveImageRequest remove = { .has_image = true,
		                                .image = { .image = (char *)text } };
	cri_ImageStatusResponse found;
	cri_RemoveImageResponse removed;

	if (CALL_IMAGE(ctl, ImageStatus, &look, &found, READ_TIMEOUT_MS, err) < 0)
		return -1;
	if (!found.has_image)
		return err_set(err, CODE_NOT_FOUND, "no image '%.128s'", text);
	return CALL_IMAGE(ctl, RemoveImage, &remove, &removed, CHANGE_TIMEOUT_MS, err);
}

/* --- verbs */

int verb_stop(struct ctl *ctl, int argc, char **argv)
{
	int64_t grace_s = GRACE_S;
	const struct arg_option options[] = {
		{ "time", 't', ARG_NUMBER, &grace_s, "SECONDS",
		  "kill what has not ended by then (10)" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 1, -1);
	struct objects objects;
	struct err err = { 0 };
	int status = EXIT_OK;

	if (words < 0)
		return CTL_OVER(words);
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (objects_fetch(ctl, &objects, &err) < 0)
		return ctl_fail(ctl, &err);
	for (int i = 1; i <= words; i++) {
		struct target target;

		if (find_target(&objects, argv[i], &target, &err) < 0)
			status = ctl_fail(ctl, &err);
		else if (stop_target(ctl, &objects, &target, grace_s, &err) < 0) {
			err_wrap(&err, "%.64s", argv[i]);
			status = ctl_fail(ctl, &err);
		} else {
			printf("%s\n", argv[i]);
		}
	}
	return ctl_flush(ctl) == EXIT_OK ? status : EXIT_FAILED;
}

int verb_rm(struct ctl *ctl, int argc, char **argv)
{
	bool force = false, image = false;
	const struct arg_option options[] = {
		{ "force", 'f', ARG_FLAG, &force, NULL,
		  "running containers, too: they are killed" },
		{ "image", 'i', ARG_FLAG, &image, NULL, "the words name images" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 1, -1), rc;
	struct objects objects = { 0 };
	struct err err = { 0 };
	int status = EXIT_OK;

	if (words < 0)
		return CTL_OVER(words);
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (!image && objects_fetch(ctl, &objects, &err) < 0)
		return ctl_fail(ctl, &err);
	for (int i = 1; i <= words; i++) {
		struct target target;

		if (image) {
			rc = remove_image(ctl, argv[i], &err);
		} else {
			rc = find_target(&objects, argv[i], &target, &err);
			if (rc == 0) {
				rc = remove_target(ctl, &objects, &target, force, &err);
				if (rc < 0)
					err_wrap(&err, "%.64s", argv[i]);
			}
		}
		if (rc < 0)
			status = ctl_fail(ctl, &err);
		else
			printf("%s\n", argv[i]);
	}
	return ctl_flush(ctl) == EXIT_OK ? status : EXIT_FAILED;
}
