/* core/run/bundle.c */
#include "core/run/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define DIR_MODE  0711 /* a mapped root passes through, and sees no names */
#define FILE_MODE 0600

static const char *const exec_suffixes[] = { ".json", ".pid", ".log", ".sock" };

static bool is_component(const char *id)
{
	return id[0] != '\0' && id[0] != '.' && !strchr(id, '/');
}

int bundle_names(struct bundle *bundle, const char *state, const char *id, struct err *err)
{
	struct bundle names;

	if (!is_component(id))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "container id \"%.70s\" cannot name a directory", id);
	if (str_format(names.dir, sizeof(names.dir), "%s/bundles/%s", state, id) < 0 ||
	    str_format(names.config, sizeof(names.config), "%s/config.json", names.dir) < 0 ||
	    str_format(names.rootfs, sizeof(names.rootfs), "%s/rootfs", names.dir) < 0 ||
	    str_format(names.pid_file, sizeof(names.pid_file), "%s/pid", names.dir) < 0 ||
	    str_format(names.log, sizeof(names.log), "%s/runtime.log", names.dir) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "bundle of %.70s: state directory has too long a name", id);
	*bundle = names;
	return 0;
}

int bundle_create(const struct bundle *bundle, struct err *err)
{
	int rc = fsx_mkdir_p(bundle->rootfs, DIR_MODE);

	return rc < 0 ? err_sys(err, -rc, "create bundle %s", bundle->rootfs) : 0;
}

static int write_json(const char *path, const char *json, size_t len, struct err *err)
{
	int rc = fsx_write(AT_FDCWD, path, json, len, FILE_MODE);

	return rc < 0 ? err_sys(err, -rc, "write %s", path) : 0;
}

int bundle_write_config(const struct bundle *bundle, const char *json, size_t len, struct err *err)
{
	if (len > BUNDLE_CONFIG_MAX_BYTES)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "OCI spec: %zu bytes, more than %u",
		               len, BUNDLE_CONFIG_MAX_BYTES);
	return write_json(bundle->config, json, len, err);
}

int bundle_read_config(const struct bundle *bundle, char **ret_json, size_t *ret_len,
                       struct err *err)
{
	return file_read_all(bundle->config, BUNDLE_CONFIG_MAX_BYTES, ret_json, ret_len, err);
}

int bundle_exec_name(const struct bundle *bundle, uint64_t n, const char *suffix, char *ret,
                     size_t size, struct err *err)
{
	if (str_format(ret, size, "%s/exec-%llu%s", bundle->dir, (unsigned long long)n, suffix) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "exec in %s: state directory has too long a name", bundle->dir);
	return 0;
}

int bundle_write_exec(const struct bundle *bundle, uint64_t n, const char *json, size_t len,
                      struct err *err)
{
	char path[BUNDLE_PATH_SIZE];

	if (bundle_exec_name(bundle, n, ".json", path, sizeof(path), err) < 0)
		return -1;
	return write_json(path, json, len, err);
}

void bundle_remove_exec(const struct bundle *bundle, uint64_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(exec_suffixes); i++) {
		char path[BUNDLE_PATH_SIZE];
		struct err unused;

		/* What stays behind goes with the bundle. */
		if (bundle_exec_name(bundle, n, exec_suffixes[i], path, sizeof(path), &unused) == 0)
			ignore(unlink(path) < 0);
	}
}

int bundle_read_pid(const char *pid_file, pid_t *ret_pid, struct err *err)
{
	cleanup_free char *text = NULL;
	uint64_t pid;
	int rc;

	rc = fsx_read(AT_FDCWD, pid_file, 64, &text, NULL);
	if (rc < 0)
		return err_sys(err, -rc, "read pid file %s", pid_file);
	if (str_trim(str_of(text)).len == 0)
		return err_set(err, CODE_NOT_FOUND, "pid file %s is still empty", pid_file);
	if (str_u64(str_trim(str_of(text)), INT32_MAX, &pid) < 0 || pid == 0)
		return err_set(err, CODE_INTERNAL, "pid file %s holds no pid: \"%.20s\"", pid_file,
		               text);
	*ret_pid = (pid_t)pid;
	return 0;
}

int bundle_remove(const struct bundle *bundle, struct err *err)
{
	int rc = fsx_remove_tree(AT_FDCWD, bundle->dir);

	return rc < 0 ? err_sys(err, -rc, "remove bundle %s", bundle->dir) : 0;
}

int bundle_list(const char *state, char ***ret_ids, struct err *err)
{
	cleanup_free char *dir = xasprintf("%s/bundles", state);
	int rc = fsx_list(AT_FDCWD, dir, ret_ids);

	if (rc == -ENOENT) { /* before the first container */
		*ret_ids = xcalloc(1, sizeof(**ret_ids));
		return 0;
	}
	return rc < 0 ? err_sys(err, -rc, "list %s", dir) : 0;
}
