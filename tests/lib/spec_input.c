/* tests/lib/spec_input.c */
#include "tests/lib/spec_input.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

static void put_file(const char *dir, const char *path, const char *text)
{
	cleanup_free char *full = xasprintf("%s/%s", dir, path);
	cleanup_free char *parent = xstrdup(full);

	*strrchr(parent, '/') = '\0';
	assert_true(fsx_mkdir_p(parent, 0755) >= 0);
	assert_true(fsx_write(AT_FDCWD, full, text, strlen(text), 0644) >= 0);
}

void spec_input_file(struct spec_input_fixture *f, const char *path, const char *text)
{
	put_file(f->rootfs, path, text);
}

static void make_dirs(struct spec_input_fixture *f)
{
	cleanup_free char *shm = NULL;

	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-spec-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(str_format(f->rootfs, sizeof(f->rootfs), "%s/rootfs", f->dir), 0);
	assert_int_equal(str_format(f->sandbox_dir, sizeof(f->sandbox_dir), "%s/pod", f->dir), 0);
	assert_int_equal(
		str_format(f->container_dir, sizeof(f->container_dir), "%s/container", f->dir), 0);
	shm = xasprintf("%s/shm", f->sandbox_dir);
	assert_true(fsx_mkdir_p(f->rootfs, 0755) >= 0 && fsx_mkdir_p(shm, 0755) >= 0 &&
	            fsx_mkdir_p(f->container_dir, 0755) >= 0);
	put_file(f->sandbox_dir, "hostname", "pod-a\n");
	put_file(f->sandbox_dir, "hosts", "127.0.0.1 localhost\n");
	put_file(f->sandbox_dir, "resolv.conf", "nameserver 192.0.2.1\n");
}

void spec_input_init(struct spec_input_fixture *f)
{
	*f = (struct spec_input_fixture){ 0 };
	make_dirs(f);
	f->pod = (cri_PodSandboxConfig){ .has_linux = true };
	f->pod.linux.has_security_context = true;
	f->pod.linux.security_context.has_namespace_options = true;
	f->config = (cri_ContainerConfig){ .has_linux = true };
	f->config.linux.has_security_context = true;
	f->security = &f->config.linux.security_context;
	f->security->has_namespace_options = true;
	f->security->namespace_options.pid = cri_NamespaceMode_CONTAINER;
	f->resources = &f->config.linux.resources;
	f->sandbox = (struct sandbox){
		.id = "5a5a",
		.name = TEXT("pod"),
		.uid = TEXT("uid-1"),
		.ns = TEXT("default"),
		.hostname = TEXT("pod-a"),
		.netns_path = TEXT("/run/pins/net"),
		.ipcns_path = TEXT("/run/pins/ipc"),
		.utsns_path = TEXT("/run/pins/uts"),
	};
	f->container = (struct container){
		.id = "c0c0",
		.name = TEXT("app"),
		.image_ref = TEXT("registry.example/app:1"),
		.cgroups_path = TEXT("/pods/c0c0"),
	};
	f->runtime = (struct runtime_info){
		.name = TEXT("crun"),
		.kind = RUNTIME_CRUN,
		.program = TEXT("crun"),
		.version = TEXT("1.15"),
		.number = 1015000,
		.features = UINT64_MAX,
	};
	f->limits = (struct host_limits){ .cap_sys_resource = true, .can_lower_oom = true };
	f->host = (struct host_facts){
		.swap = true,
		.hugetlb = true,
		.seccomp = true,
		.capabilities = (UINT64_C(1) << CAPABILITY_COUNT) - 1,
		.hostname = "node-1",
	};
	f->image = "{\"config\":{\"Cmd\":[\"/bin/app\"]}}";
}

static void forget_result(struct spec_input_fixture *f)
{
	yyjson_doc_free(f->doc);
	f->doc = NULL;
	free(f->json);
	f->json = NULL;
}

void spec_input_release(struct spec_input_fixture *f)
{
	forget_result(f);
	assert_true(fsx_remove_tree(AT_FDCWD, f->dir) >= 0);
}

static struct bytes encode(const pb_msgdesc_t *desc, const void *msg)
{
	struct buf buf;
	struct err err;

	buf_init(&buf, 8u << 20);
	if (pb_encode_msg(&buf, desc, msg, &err) < 0)
		fail_msg("%s", err.msg);
	return (struct bytes){ .data = (uint8_t *)buf.data, .len = buf.len };
}

int spec_input_build(struct spec_input_fixture *f)
{
	struct spec_input in = {
		.sandbox = &f->sandbox,
		.container = &f->container,
		.image_config = f->image,
		.image_config_len = strlen(f->image),
		.rootfs = f->rootfs,
		.sandbox_dir = f->sandbox_dir,
		.container_dir = f->container_dir,
		.pause_pid = f->pause_pid,
		.target_pid = f->target_pid,
		.runtime = &f->runtime,
		.limits = &f->limits,
	};
	int rc;

	forget_result(f);
	f->err = (struct err){ 0 };
	f->sandbox.request = encode(cri_PodSandboxConfig_fields, &f->pod);
	f->container.request = encode(cri_ContainerConfig_fields, &f->config);
	rc = spec_build(&in, &f->host, &f->json, &f->err);
	bytes_release(&f->sandbox.request);
	bytes_release(&f->container.request);
	if (rc < 0)
		return rc;
	f->doc = json_parse(f->json, strlen(f->json), SPEC_MAX_BYTES, "config.json", &f->err);
	assert_non_null(f->doc);
	return 0;
}

yyjson_val *spec_input_get(const struct spec_input_fixture *f, const char *pointer)
{
	return yyjson_doc_ptr_get(f->doc, pointer);
}

static char *join(yyjson_val *list, char separator)
{
	char *out = xstrdup("");
	yyjson_val *value;
	size_t i, n;

	yyjson_arr_foreach(list, i, n, value)
	{
		char *next = i ? xasprintf("%s%c%s", out, separator, yyjson_get_str(value))
		               : xstrdup(yyjson_get_str(value));

		free(out);
		out = next;
	}
	return out;
}

char *spec_input_words(const struct spec_input_fixture *f, const char *pointer)
{
	yyjson_val *list = spec_input_get(f, pointer);

	return yyjson_is_arr(list) ? join(list, ' ') : xstrdup("(none)");
}

char *spec_input_mount(const struct spec_input_fixture *f, const char *destination)
{
	yyjson_val *value;
	size_t i, n;

	yyjson_arr_foreach(spec_input_get(f, "/mounts"), i, n, value)
	{
		cleanup_free char *options = join(json_arr(value, "options"), ',');

		if (streq(json_str(value, "destination", ""), destination))
			return xasprintf("%s %s %s", json_str(value, "type", ""),
			                 json_str(value, "source", ""), options);
	}
	return xstrdup("(none)");
}

const char *spec_input_namespace(const struct spec_input_fixture *f, const char *type)
{
	yyjson_val *value;
	size_t i, n;

	yyjson_arr_foreach(spec_input_get(f, "/linux/namespaces"), i, n,
	                   value) if (streq(json_str(value, "type", ""),
	                                    type)) return json_str(value, "path", "");
	return "(none)";
}
