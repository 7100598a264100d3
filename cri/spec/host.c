/* cri/spec/host.c
 *
 * What the builder must know about the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "core/run/cgroup.h"
#include "cri/spec/build.h"

#define SMALL_FILE_BYTES (64 * 1024)

/* A filter at no address: a kernel with filters looks at it (EFAULT), one without knows no such mode (EINVAL). */
static bool can_filter(void)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) < 0 && errno == EFAULT;
}

static bool has_apparmor(void)
{
	cleanup_free char *text = NULL;

	if (!fsx_is_dir("/sys/kernel/security/apparmor"))
		return false;
	return fsx_read(AT_FDCWD, "/sys/module/apparmor/parameters/enabled", SMALL_FILE_BYTES,
	                &text, NULL) >= 0 &&
	       text[0] == 'Y';
}

static uint64_t effective_capabilities(void)
{
	cleanup_free char *text = NULL;
	const char *line;

	if (fsx_read(AT_FDCWD, "/proc/self/status", SMALL_FILE_BYTES, &text, NULL) < 0)
		return 0;
	line = strstr(text, "\nCapEff:");
	return line ? strtoull(line + strlen("\nCapEff:"), NULL, 16) : 0;
}

static int cgroup_mount_options(const struct proc_mount *mount, void *arg)
{
	struct host_facts *facts = arg;

	if (!streq(mount->target, "/sys/fs/cgroup") || !streq(mount->fstype, "cgroup2"))
		return 0;
	facts->cgroup_nsdelegate = strstr(mount->super_options, "nsdelegate");
	facts->cgroup_recursiveprot = strstr(mount->super_options, "memory_recursiveprot");
	return 1;
}

int host_facts_read(struct host_facts *ret, struct err *err)
{
	cleanup(cgroup_host_free) struct cgroup_host *cgroups = cgroup_host_new(err);
	int rc;

	if (!cgroups)
		return -1;
	*ret = (struct host_facts){
		.cgroup2 = cgroups->mode == CGROUP_V2,
		.swap = cgroups->swap,
		.hugetlb = cgroup_find(cgroups, CGROUP_HUGETLB) != NULL,
		.seccomp = can_filter(),
		.apparmor = has_apparmor(),
		.capabilities = effective_capabilities(),
	};
	if (gethostname(ret->hostname, sizeof(ret->hostname) - 1) < 0)
		return err_sys(err, errno, "gethostname");
	if (!ret->cgroup2)
		return 0;
	rc = proc_mounts(cgroup_mount_options, ret);
	return rc < 0 ? err_sys(err, -rc, "read mounts") : 0;
}
