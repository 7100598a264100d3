/* tests/lib/spec_input.h
 *
 * A pod and a container to build a spec for: change the requests, then spec_input_build(). A machine that can everything and a
 * runtime that can everything, until a test says otherwise.
 */
#ifndef CORACLE_TESTS_LIB_SPEC_INPUT_H
#define CORACLE_TESTS_LIB_SPEC_INPUT_H

#include <yyjson.h>

#include "core/life/life.h"
#include "cri/proto/cri.h"
#include "cri/spec/build.h"

#define TEXT(literal) ((char *)(uintptr_t)(literal)) /* messages are not const */

struct spec_input_fixture {
	char dir[64];
	char rootfs[128], sandbox_dir[128],
		container_dir[128]; /* below dir; sandbox_dir holds the three files and shm/ */
	cri_PodSandboxConfig pod;
	cri_ContainerConfig config;
	cri_LinuxContainerSecurityContext *security; /* of config */
	cri_LinuxContainerResources *resources;
	struct sandbox sandbox;
	struct container container;
	struct runtime_info runtime;
	struct host_limits limits;
	struct host_facts host;
	const char *image; /* config JSON */
	pid_t pause_pid, target_pid;
	/* what the last build said */
	char *json;
	yyjson_doc *doc;
	struct err err;
};

void spec_input_init(struct spec_input_fixture *f);
void spec_input_release(struct spec_input_fixture *f);
/* A file of the root file system, directories on the way made. */
void spec_input_file(struct spec_input_fixture *f, const char *path, const char *text);
/* 0, and json and doc are set; -1 and err */
int spec_input_build(struct spec_input_fixture *f);
/* The member at an RFC 6901 pointer, or NULL. */
yyjson_val *spec_input_get(const struct spec_input_fixture *f, const char *pointer);
/* A list of strings as "a b c"; heap. "(none)" when it is not there. */
char *spec_input_words(const struct spec_input_fixture *f, const char *pointer);
/* "TYPE SOURCE OPTION,..." of a mount; heap. "(none)" */
char *spec_input_mount(const struct spec_input_fixture *f, const char *destination);
/* Path of a namespace: "" for a new one, "(none)" when not there. */
const char *spec_input_namespace(const struct spec_input_fixture *f, const char *type);

#endif
