/* cri/spec/security.c
 *
 * What a container may do: capabilities, no_new_privs, hidden and read-only paths of /proc, seccomp, AppArmor, SELinux.
 *
 * A profile that was asked for by name and cannot be applied fails the call; the default that nobody named does not, where the
 * kernel lacks what it needs (D22).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/spec/build.h"

#define PROFILE_MAX_BYTES  (1024 * 1024)
#define PROFILES_MAX_BYTES (4 * 1024 * 1024)
#define APPARMOR_PROFILES  "/sys/kernel/security/apparmor/profiles"
#define APPARMOR_DEFAULT   "coracle-default"
#define BIT(cap)           (UINT64_C(1) << (cap))

/* ------------------------------------------------------------------------------------------------- capabilities */

static const uint64_t default_capabilities =
	BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FSETID) | BIT(CAP_FOWNER) |
	BIT(CAP_MKNOD) | BIT(CAP_NET_RAW) | BIT(CAP_SETGID) | BIT(CAP_SETUID) | BIT(CAP_SETFCAP) |
	BIT(CAP_SETPCAP) | BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_SYS_CHROOT) | BIT(CAP_KILL) |
	BIT(CAP_AUDIT_WRITE);

struct capabilities {
	uint64_t granted; /* bounding, permitted and effective */
	uint64_t ambient; /* these also inheritable: the kernel ties them together */
};

static void set_list(struct build *build, const char *path, uint64_t caps)
{
	const char *names[CAPABILITY_COUNT];
	size_t count = 0;

	for (int cap = 0; cap < CAPABILITY_COUNT; cap++)
		if (caps & BIT(cap))
			names[count++] = capability_name(cap);
	spec_set_strv(&build->spec, path, names, count);
}

static bool has_all(char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (streq(or_empty(names[i]), "ALL") || streq(or_empty(names[i]), "all"))
			return true;
	return false;
}

/* The named capabilities; "ALL" is somebody else's business. */
static int named(const struct build *build, const char *field, char *const *names, size_t count,
                 bool grant, uint64_t *ret, struct err *err)
{
	uint64_t caps = 0;

	for (size_t i = 0; i < count; i++) {
		const char *name = or_empty(names[i]);
		int cap = capability_find(name);

		if (has_all(&names[i], 1))
			continue;
		if (cap < 0)
			return build_invalid(
				err,
				"linux.security_context.capabilities.%s[%zu]: there is no capability \"%.60s\"",
				field, i, name);
		if (grant && !(build->host->capabilities & BIT(cap)))
			return err_set(
				err, CODE_FAILED_PRECONDITION,
				SECURITY_FIELD
				".capabilities.%s[%zu]: coracle itself has no %s on this host",
				field, i, capability_name(cap));
		caps |= BIT(cap);
	}
	*ret = caps;
	return 0;
}

int build_capabilities(struct build *build, struct err *err)
{
	const cri_Capability *request = &build->security->capabilities;
	/* a default that this host does not have is no default */
	struct capabilities caps = { .granted = default_capabilities & build->host->capabilities };
	uint64_t add = 0, drop = 0, ambient = 0;

	if (named(build, "add_capabilities", request->add_capabilities,
	          request->add_capabilities_count, true, &add, err) < 0 ||
	    named(build, "drop_capabilities", request->drop_capabilities,
	          request->drop_capabilities_count, false, &drop, err) < 0 ||
	    named(build, "add_ambient_capabilities", request->add_ambient_capabilities,
	          request->add_ambient_capabilities_count, true, &ambient, err) < 0)
		return -1;
	if (has_all(request->add_capabilities, request->add_capabilities_count) ||
	    build->security->privileged)
		caps.granted = build->host->capabilities;
	if (has_all(request->drop_capabilities, request->drop_capabilities_count) &&
	    !build->security->privileged)
		caps.granted = 0;
	caps.granted |= add | ambient;
	caps.ambient = ambient;
	if (!build->security->privileged) {
		caps.granted &= ~drop;
		caps.ambient &= ~drop;
	}
	set_list(build, "process.capabilities.bounding", caps.granted);
	set_list(build, "process.capabilities.effective", caps.granted);
	set_list(build, "process.capabilities.permitted", caps.granted);
	set_list(build, "process.capabilities.inheritable", caps.ambient);
	set_list(build, "process.capabilities.ambient", caps.ambient);
	return 0;
}

/* Back from the finished spec. */
static uint64_t bounding_of(const struct build *build)
{
	yyjson_mut_val *list = spec_find(&build->spec, "process.capabilities.bounding"), *value;
	uint64_t caps = 0;
	size_t i, n;

	yyjson_mut_arr_foreach(list, i, n, value)
	{
		int cap = capability_find(yyjson_mut_get_str(value));

		if (cap >= 0)
			caps |= BIT(cap);
	}
	return caps;
}

/* -------------------------------------------------------------------------------------------------------- profiles */

enum profile_kind { PROFILE_UNNAMED, PROFILE_DEFAULT, PROFILE_UNCONFINED, PROFILE_LOCALHOST };

struct profile {
	enum profile_kind kind;
	const char *name;  /* LOCALHOST: file or profile name */
	const char *field; /* of the request, for errors */
};

static enum profile_kind kind_of(cri_SecurityProfile_ProfileType type)
{
	switch (type) {
	case cri_SecurityProfile_ProfileType_RuntimeDefault:
		return PROFILE_DEFAULT;
	case cri_SecurityProfile_ProfileType_Unconfined:
		return PROFILE_UNCONFINED;
	case cri_SecurityProfile_ProfileType_Localhost:
		return PROFILE_LOCALHOST;
	}
	return PROFILE_UNNAMED;
}

static const char *without_localhost(const char *ref)
{
	return starts_with(ref, "localhost/") ? ref + strlen("localhost/") : ref;
}

/* The message wins over the text of older clients. */
static int profile_of(bool has, const cri_SecurityProfile *message, const char *field,
                      const char *text, const char *text_field, struct profile *ret,
                      struct err *err)
{
	*ret = (struct profile){ .kind = PROFILE_UNNAMED, .field = field };
	text = or_empty(text);
	if (has) {
		ret->kind = kind_of(message->profile_type);
		ret->name = without_localhost(or_empty(message->localhost_ref));
		if (ret->kind == PROFILE_UNNAMED)
			return build_invalid(
				err, "linux.security_context.%s.profile_type: unknown value %d",
				field, (int)message->profile_type);
		if ((ret->kind == PROFILE_LOCALHOST) != (ret->name[0] != '\0'))
			return build_invalid(
				err,
				"linux.security_context.%s.localhost_ref: \"%.100s\" does not go with this "
				"profile type",
				field, ret->name);
		return 0;
	}
	ret->field = text_field;
	if (!text[0])
		return 0;
	if (streq(text, "runtime/default") || streq(text, "docker/default")) {
		ret->kind = PROFILE_DEFAULT;
	} else if (streq(text, "unconfined")) {
		ret->kind = PROFILE_UNCONFINED;
	} else if (starts_with(text, "localhost/") && text[strlen("localhost/")]) {
		ret->kind = PROFILE_LOCALHOST;
		ret->name = without_localhost(text);
	} else {
		return build_invalid(
			err,
			"linux.security_context.%s: \"%.100s\" is not runtime/default, docker/default, unconfined "
			"or localhost/NAME",
			text_field, text);
	}
	return 0;
}

/* --- seccomp */

/* A regular file and nothing that blocks. */
static int read_profile(const char *path, char **ret, size_t *ret_len, struct err *err)
{
	cleanup_close int fd = -1;
	cleanup_free char *text = NULL;
	struct stat st;
	ssize_t n;

	if (path[0] != '/')
		return err_set(err, CODE_INVALID_ARGUMENT, "\"%.100s\" is not an absolute path",
		               path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return err_sys(err, errno, "open %s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "stat %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: not a regular file", path);
	text = xcalloc(PROFILE_MAX_BYTES + 1, 1);
	n = read_full(fd, text, PROFILE_MAX_BYTES + 1);
	if (n < 0)
		return err_sys(err, (int)-n, "read %s", path);
	if (n > PROFILE_MAX_BYTES)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: larger than %d bytes", path,
		               PROFILE_MAX_BYTES);
	*ret = take_ptr(text);
	*ret_len = (size_t)n;
	return 0;
}

static int set_local_seccomp(struct build *build, const char *path, struct err *err)
{
	cleanup_free char *text = NULL;
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	size_t len = 0;

	if (read_profile(path, &text, &len, err) < 0)
		return -1;
	doc = json_parse(text, len, PROFILE_MAX_BYTES, path, err);
	if (!doc)
		return -1;
	if (!json_str(yyjson_doc_get_root(doc), "defaultAction", NULL))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: no seccomp profile: defaultAction is missing", path);
	if (yyjson_obj_get(yyjson_doc_get_root(doc), "listenerPath") &&
	    runtime_require(build->in->runtime, RUNTIME_SECCOMP_NOTIFY, err) < 0)
		return -1;
	spec_set(&build->spec, "linux.seccomp",
	         yyjson_val_mut_copy(build->spec.doc, yyjson_doc_get_root(doc)));
	return 0;
}

static int build_seccomp(struct build *build, struct err *err)
{
	struct profile profile;

	if (profile_of(build->security->has_seccomp, &build->security->seccomp, "seccomp",
	               build->security->seccomp_profile_path, "seccomp_profile_path", &profile,
	               err) < 0)
		return -1;
	if (build->security->privileged || profile.kind == PROFILE_UNNAMED ||
	    profile.kind == PROFILE_UNCONFINED)
		return 0;
	if (!build->host->seccomp)
		return err_set(err, CODE_FAILED_PRECONDITION,
		               SECURITY_FIELD ".%s: this kernel has no seccomp filters",
		               profile.field);
	if (runtime_require(build->in->runtime, RUNTIME_SECCOMP, err) < 0)
		return err_wrap(err, SECURITY_FIELD ".%s", profile.field);
	if (profile.kind == PROFILE_DEFAULT)
		seccomp_default(&build->spec, bounding_of(build));
	else if (set_local_seccomp(build, profile.name, err) < 0)
		return err_wrap(err, SECURITY_FIELD ".%s", profile.field);
	return 0;
}

/* --- AppArmor */

/* Lines read "NAME (enforce)". */
static bool apparmor_loaded(const char *name)
{
	cleanup_free char *text = NULL;
	cleanup_free char *start = xasprintf("%s (", name);
	size_t len = 0;
	struct str rest, line;

	if (fsx_read(AT_FDCWD, APPARMOR_PROFILES, PROFILES_MAX_BYTES, &text, &len) < 0)
		return false;
	rest = (struct str){ text, len };
	while (rest.len) {
		str_cut(rest, '\n', &line, &rest);
		if (str_starts(line, start))
			return true;
	}
	return false;
}

static int build_apparmor(struct build *build, struct err *err)
{
	struct profile profile;
	const char *name;

	if (profile_of(build->security->has_apparmor, &build->security->apparmor, "apparmor",
	               build->security->apparmor_profile, "apparmor_profile", &profile, err) < 0)
		return -1;
	if (profile.kind == PROFILE_UNCONFINED ||
	    (build->security->privileged && profile.kind != PROFILE_LOCALHOST))
		return 0;
	if (!build->host->apparmor)
		return profile.kind == PROFILE_UNNAMED
		               ? 0
		               : err_set(err, CODE_FAILED_PRECONDITION,
		                         SECURITY_FIELD ".%s: this host has no AppArmor",
		                         profile.field);
	name = profile.kind == PROFILE_LOCALHOST ? profile.name : APPARMOR_DEFAULT;
	if (!apparmor_loaded(name))
		return profile.kind == PROFILE_UNNAMED
		               ? 0
		               : err_set(err, CODE_FAILED_PRECONDITION,
		                         SECURITY_FIELD
		                         ".%s: AppArmor profile \"%.100s\" is not loaded",
		                         profile.field, name);
	if (runtime_require(build->in->runtime, RUNTIME_APPARMOR, err) < 0)
		return profile.kind == PROFILE_UNNAMED
		               ? 0
		               : err_wrap(err, SECURITY_FIELD ".%s", profile.field);
	spec_set_str(&build->spec, "process.apparmorProfile", name);
	return 0;
}

/* --- SELinux: labels are not applied (as peers whose support for it is off, their default); what they would refuse, we do */

static struct str digits(struct str text, size_t max)
{
	size_t n = 0;

	while (n < text.len && n < max && text.p[n] >= '0' && text.p[n] <= '9')
		n++;
	return (struct str){ text.p, n };
}

static bool take(struct str *text, const char *literal, size_t digits_max)
{
	struct str rest = *text;
	size_t n;

	if (!str_starts(rest, literal))
		return false;
	rest.p += strlen(literal), rest.len -= strlen(literal);
	n = digits(rest, digits_max).len;
	if (n == 0)
		return false;
	text->p = rest.p + n, text->len = rest.len - n;
	return true;
}

/* s0, s0-s0, s0:c1, s0:c1.c5,c9: one digit per sensitivity, up to four per category */
static bool level_is_valid(const char *level)
{
	struct str text = str_of(level);

	if (!take(&text, "s", 1))
		return false;
	take(&text, "-s", 1);
	if (!take(&text, ":c", 4))
		return text.len == 0;
	do
		take(&text, ".c", 4);
	while (take(&text, ",c", 4));
	return text.len == 0;
}

static int check_selinux(const struct build *build, struct err *err)
{
	const char *level = or_empty(build->security->selinux_options.level);

	if (level[0] && !level_is_valid(level))
		return build_invalid(
			err,
			"linux.security_context.selinux_options.level: \"%.60s\" is not of the form s0:c1,c2",
			level);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------------ paths */

static int set_paths(struct build *build, const char *path, const char *field, char *const *names,
                     size_t count, struct err *err)
{
	if (build->security->privileged)
		return 0;
	for (size_t i = 0; i < count; i++)
		if (or_empty(names[i])[0] != '/')
			return build_invalid(
				err,
				"linux.security_context.%s[%zu]: \"%.100s\" is not an absolute path",
				field, i, or_empty(names[i]));
	/* kubelet sends the usual ones; none is what procMount: Unmasked looks like */
	spec_set_strv(&build->spec, path, (const char *const *)names, count);
	return 0;
}

int build_security(struct build *build, struct err *err)
{
	const cri_LinuxContainerSecurityContext *security = build->security;

	if (security->privileged && !build->pod_security->privileged)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               SECURITY_FIELD ".privileged: the pod sandbox is not privileged");
	spec_set_bool(&build->spec, "process.noNewPrivileges", security->no_new_privs);
	if (set_paths(build, "linux.maskedPaths", "masked_paths", security->masked_paths,
	              security->masked_paths_count, err) < 0 ||
	    set_paths(build, "linux.readonlyPaths", "readonly_paths", security->readonly_paths,
	              security->readonly_paths_count, err) < 0 ||
	    build_capabilities(build, err) < 0 || build_seccomp(build, err) < 0 ||
	    build_apparmor(build, err) < 0)
		return -1;
	return check_selinux(build, err);
}
