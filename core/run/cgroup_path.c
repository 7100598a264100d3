/* core/run/cgroup_path.c
 *
 * What cgroups are called: the path that an OCI spec carries, and the directory that the runtimes make of it. Pure.
 */
#include <limits.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/run/cgroup.h"

#define APP "coracle"

static struct str last_element(const char *path)
{
	struct str head, tail, whole = str_of(path);

	while (whole.len > 1 && whole.p[whole.len - 1] == '/')
		whole.len--;
	return str_rcut(whole, '/', &head, &tail) ? tail : whole;
}

bool cgroup_path_is_systemd(const char *oci_path)
{
	const char *colon = strchr(oci_path, ':');

	return colon && strchr(colon + 1, ':') &&
	       !memchr(oci_path, '/', (size_t)(colon - oci_path));
}

/* Path elements without "", "." and "..": joined by single slashes after a leading one. */
static int clean_path(const char *path, struct buf *out, struct err *err)
{
	struct str part, rest = str_of(path);

	while (rest.len > 0) {
		str_cut(rest, '/', &part, &rest);
		if (part.len == 0 || str_eq_c(part, "."))
			continue;
		if (str_eq_c(part, ".."))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "cgroup path %.150s: \"..\" in it", path);
		if (part.len > NAME_MAX)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "cgroup path %.60s...: a name longer than %d bytes", path,
			               NAME_MAX);
		for (size_t i = 0; i < part.len; i++)
			if ((unsigned char)part.p[i] < ' ')
				return err_set(err, CODE_INVALID_ARGUMENT,
				               "cgroup path has a control character");
		if (buf_printf(out, "/" STR_FMT, STR_ARG(part)) < 0)
			return err_set(err, CODE_INVALID_ARGUMENT, "cgroup path %.60s...: too long",
			               path);
	}
	return 0;
}

/* "a-b-c.slice" -> "/a.slice/a-b.slice/a-b-c.slice"; "-.slice" is the root. */
static int expand_slice(struct str slice, struct buf *out, struct err *err)
{
	size_t stem = slice.len - strlen(".slice");

	if (slice.len <= strlen(".slice") || !str_ends(slice, ".slice") ||
	    memchr(slice.p, '/', slice.len) || memchr(slice.p, ':', slice.len) ||
	    str_eq_c(slice, "..slice"))
		return err_set(err, CODE_INVALID_ARGUMENT, "\"%.100s\" is not the name of a slice",
		               slice.p);
	if (slice.len > NAME_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT, "slice %.60s...: longer than %d bytes",
		               slice.p, NAME_MAX);
	if (str_eq_c(slice, "-.slice"))
		return 0;
	if (slice.p[0] == '-' || slice.p[stem - 1] == '-' || memmem(slice.p, stem, "--", 2))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "\"" STR_FMT
		               "\" is not the name of a slice: an empty part between dashes",
		               STR_ARG(slice));
	for (size_t i = 1; i <= stem; i++)
		if (i == stem || slice.p[i] == '-')
			if (buf_printf(out, "/%.*s.slice", (int)i, slice.p) < 0)
				return err_set(err, CODE_INVALID_ARGUMENT,
				               "slice " STR_FMT ": too long", STR_ARG(slice));
	return 0;
}

static int expand_systemd(const char *oci_path, struct buf *out, struct err *err)
{
	struct str slice, prefix, name;
	int rc;

	if (!str_cut(str_of(oci_path), ':', &slice, &name) || !str_cut(name, ':', &prefix, &name) ||
	    name.len == 0 || memchr(name.p, '/', name.len) || memchr(prefix.p, '/', prefix.len) ||
	    prefix.len + name.len > NAME_MAX - 7)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "cgroup path %.150s: not slice:prefix:name", oci_path);
	if (slice.len == 0)
		slice = STR("system.slice");
	if (expand_slice(slice, out, err) < 0)
		return err_wrap(err, "cgroup path %.100s", oci_path);
	if (str_ends(name, ".slice"))
		rc = buf_printf(out, "/" STR_FMT, STR_ARG(name));
	else
		rc = buf_printf(out, "/" STR_FMT "%s" STR_FMT ".scope", STR_ARG(prefix),
		                prefix.len ? "-" : "", STR_ARG(name));
	return rc < 0 ? err_set(err, CODE_INVALID_ARGUMENT, "cgroup path %.60s...: too long",
	                        oci_path)
	              : 0;
}

char *cgroup_dir(const char *oci_path, struct err *err)
{
	cleanup(buf_release) struct buf buf = { 0 };
	struct str base = last_element(oci_path);
	int rc;

	buf_init(&buf, CGROUP_DIR_MAX);
	if (cgroup_path_is_systemd(oci_path))
		rc = expand_systemd(oci_path, &buf, err);
	else if (str_ends(base, ".slice"))
		rc = expand_slice(base, &buf, err);
	else
		rc = clean_path(oci_path, &buf, err);
	if (rc == 0 && buf.len == 0)
		rc = buf_add_str(&buf, "/");
	return rc < 0 ? NULL : buf_take_str(&buf);
}

char *cgroup_oci_path(const char *parent, const char *id, struct err *err)
{
	cleanup(buf_release) struct buf buf = { 0 };
	cleanup_free char *dir = NULL;
	struct str base = last_element(parent);
	int rc;

	if (strchr(parent, ':')) {
		err_set(err, CODE_INVALID_ARGUMENT, "cgroup parent %.150s: a ':' in it", parent);
		return NULL;
	}
	buf_init(&buf, CGROUP_DIR_MAX);
	if (str_ends(base, ".slice")) {
		rc = buf_printf(&buf, STR_FMT ":" APP ":%s", STR_ARG(base), id);
	} else {
		if (clean_path(parent, &buf, err) < 0) {
			err_wrap(err, "cgroup parent");
			return NULL;
		}
		rc = buf_printf(&buf, "%s/%s", buf.len ? "" : "/" APP, id);
	}
	if (rc < 0) {
		err_set(err, CODE_INVALID_ARGUMENT, "cgroup parent %.60s...: too long", parent);
		return NULL;
	}
	/* What the runtime will make of it must be a path, too: a slice's grows when it is expanded. */
	dir = cgroup_dir(buf.data, err);
	if (!dir) {
		err_wrap(err, "cgroup parent %.100s", parent);
		return NULL;
	}
	return buf_take_str(&buf);
}
