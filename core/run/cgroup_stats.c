/* core/run/cgroup_stats.c
 *
 * Statistics of a cgroup. What every reading needs stays open: a pread of a kept descriptor costs no path walk, and goes on
 * working for as long as the cgroup exists, which ENODEV then denies. The rest is opened when it is asked for.
 *
 * The parsers take any text: an unknown key, a torn line or a number that is none is passed over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/run/cgroup.h"

#define TEXT_MAX  65536
#define KEPT_MAX  16384               /* the longest kept file is memory.stat: 2 KiB and growing */
#define NO_LIMIT  (UINT64_C(1) << 62) /* v1 says "no limit" with LONG_MAX rounded down to a page */
#define PSI_SCALE 100

/* -------------------------------------------------------------------------------------------------------- parsers */

/* "key 123": the number, or false. */
static bool key_number(struct str line, struct str *ret_key, uint64_t *ret_value)
{
	struct str value;

	return str_cut(line, ' ', ret_key, &value) &&
	       str_u64(str_trim(value), UINT64_MAX, ret_value) == 0;
}

struct field {
	const char *key;
	size_t offset; /* of a uint64_t in struct cgroup_stats */
	uint64_t scale;
};
#define FIELD(key, member, scale)                                                                  \
	{                                                                                          \
		key, offsetof(struct cgroup_stats, member), scale                                  \
	}

/* How many fields were there. */
static size_t parse_fields(struct str text, const struct field *fields, size_t count,
                           struct cgroup_stats *stats)
{
	struct str line, key;
	size_t found = 0;
	uint64_t value;

	while (text.len > 0) {
		str_cut(text, '\n', &line, &text);
		if (!key_number(line, &key, &value))
			continue;
		for (size_t i = 0; i < count; i++) {
			if (!str_eq_c(key, fields[i].key))
				continue;
			if (__builtin_mul_overflow(value, fields[i].scale, &value))
				value = UINT64_MAX;
			memcpy((char *)stats + fields[i].offset, &value, sizeof(value));
			found++;
			break;
		}
	}
	return found;
}

void cgroup_parse_cpu_stat_v2(struct str text, struct cgroup_stats *stats)
{
	static const struct field fields[] = {
		FIELD("usage_usec", cpu_usage_ns, 1000),
		FIELD("user_usec", cpu_user_ns, 1000),
		FIELD("system_usec", cpu_system_ns, 1000),
		FIELD("nr_periods", cpu_periods, 1),
		FIELD("nr_throttled", cpu_throttled_periods, 1),
		FIELD("throttled_usec", cpu_throttled_ns, 1000),
	};

	if (parse_fields(text, fields, ARRAY_SIZE(fields), stats) > 0)
		stats->has_cpu = true;
}

void cgroup_parse_cpu_stat_v1(struct str text, struct cgroup_stats *stats)
{
	static const struct field fields[] = {
		FIELD("nr_periods", cpu_periods, 1),
		FIELD("nr_throttled", cpu_throttled_periods, 1),
		FIELD("throttled_time", cpu_throttled_ns, 1),
	};

	ignore(parse_fields(text, fields, ARRAY_SIZE(fields), stats) == 0);
}

/* A key of the text, or 0. */
static uint64_t one_of(struct str text, const char *wanted)
{
	struct str line, key;
	uint64_t value;

	while (text.len > 0) {
		str_cut(text, '\n', &line, &text);
		if (key_number(line, &key, &value) && str_eq_c(key, wanted))
			return value;
	}
	return 0;
}

void cgroup_parse_memory_stat_v2(struct str text, struct cgroup_stats *stats)
{
	static const struct field fields[] = {
		FIELD("anon", memory_rss, 1),
		FIELD("file", memory_cache, 1),
		FIELD("file_mapped", memory_mapped_file, 1),
		FIELD("kernel", memory_kernel, 1),
		FIELD("active_file", memory_active_file, 1),
		FIELD("inactive_file", memory_inactive_file, 1),
		FIELD("pgfault", page_faults, 1),
		FIELD("pgmajfault", major_page_faults, 1),
	};

	ignore(parse_fields(text, fields, ARRAY_SIZE(fields), stats) == 0);
	/* Kernels before 5.18 do not add it up themselves. */
	if (stats->memory_kernel == 0)
		stats->memory_kernel = one_of(text, "kernel_stack") + one_of(text, "pagetables") +
		                       one_of(text, "percpu") + one_of(text, "slab");
}

void cgroup_parse_memory_stat_v1(struct str text, struct cgroup_stats *stats)
{
	static const struct field fields[] = {
		FIELD("total_rss", memory_rss, 1),
		FIELD("total_cache", memory_cache, 1),
		FIELD("total_mapped_file", memory_mapped_file, 1),
		FIELD("total_active_file", memory_active_file, 1),
		FIELD("total_inactive_file", memory_inactive_file, 1),
		FIELD("total_pgfault", page_faults, 1),
		FIELD("total_pgmajfault", major_page_faults, 1),
		FIELD("hierarchical_memory_limit", memory_limit, 1),
	};
	static const struct field swap[] = { FIELD("total_swap", swap_usage, 1) };
	uint64_t both;

	ignore(parse_fields(text, fields, ARRAY_SIZE(fields), stats) == 0);
	if (stats->memory_limit >= NO_LIMIT)
		stats->memory_limit = 0;
	if (parse_fields(text, swap, 1, stats) == 0)
		return; /* no swap accounting */
	stats->has_swap = true;
	both = one_of(text, "hierarchical_memsw_limit");
	if (both > 0 && both < NO_LIMIT && stats->memory_limit > 0 && both >= stats->memory_limit)
		stats->swap_limit = both - stats->memory_limit;
}

void cgroup_parse_memory_events(struct str text, struct cgroup_stats *stats)
{
	static const struct field fields[] = {
		FIELD("max", memory_failcnt, 1),
		FIELD("oom_kill", oom_kills, 1),
	};

	ignore(parse_fields(text, fields, ARRAY_SIZE(fields), stats) == 0);
}

static bool device_number(struct str text, uint32_t *ret_major, uint32_t *ret_minor)
{
	struct str major, minor;
	uint64_t a, b;

	if (!str_cut(text, ':', &major, &minor) || str_u64(major, UINT32_MAX, &a) < 0 ||
	    str_u64(minor, UINT32_MAX, &b) < 0)
		return false;
	*ret_major = (uint32_t)a;
	*ret_minor = (uint32_t)b;
	return true;
}

/* The device's place, made when it is new; NULL: no device, or one too many. */
static struct cgroup_io *io_of(struct cgroup_stats *stats, struct str device)
{
	uint32_t major, minor;

	if (!device_number(device, &major, &minor))
		return NULL;
	for (size_t i = 0; i < stats->nio; i++)
		if (stats->io[i].major == major && stats->io[i].minor == minor)
			return &stats->io[i];
	if (stats->nio == CGROUP_IO_MAX)
		return NULL;
	stats->io[stats->nio] = (struct cgroup_io){ .major = major, .minor = minor };
	return &stats->io[stats->nio++];
}

void cgroup_parse_io_stat_v2(struct str text, struct cgroup_stats *stats)
{
	static const struct {
		const char *key;
		size_t offset;
	} members[] = {
		{ "rbytes", offsetof(struct cgroup_io, read_bytes) },
		{ "wbytes", offsetof(struct cgroup_io, write_bytes) },
		{ "rios", offsetof(struct cgroup_io, reads) },
		{ "wios", offsetof(struct cgroup_io, writes) },
		{ "dbytes", offsetof(struct cgroup_io, discard_bytes) },
		{ "dios", offsetof(struct cgroup_io, discards) },
	};
	struct str line, word, key, value;
	struct cgroup_io *io;

	while (text.len > 0) {
		str_cut(text, '\n', &line, &text);
		if (!str_cut(line, ' ', &word, &line))
			continue; /* a device without numbers did nothing */
		io = io_of(stats, word);
		while (io && line.len > 0) {
			uint64_t number;

			str_cut(line, ' ', &word, &line);
			if (!str_cut(word, '=', &key, &value) ||
			    str_u64(value, UINT64_MAX, &number) < 0)
				continue;
			for (size_t i = 0; i < ARRAY_SIZE(members); i++)
				if (str_eq_c(key, members[i].key))
					memcpy((char *)io + members[i].offset, &number,
					       sizeof(number));
		}
	}
}

/* "8:0 Read 4096" */
static void parse_blkio(struct str text, bool ops, struct cgroup_stats *stats)
{
	struct str line, device, verb, number;
	struct cgroup_io *io;
	uint64_t value;

	while (text.len > 0) {
		str_cut(text, '\n', &line, &text);
		if (!str_cut(line, ' ', &device, &line) || !str_cut(line, ' ', &verb, &number) ||
		    str_u64(str_trim(number), UINT64_MAX, &value) < 0)
			continue;
		io = io_of(stats, device);
		if (io && str_eq_c(verb, "Read"))
			*(ops ? &io->reads : &io->read_bytes) = value;
		else if (io && str_eq_c(verb, "Write"))
			*(ops ? &io->writes : &io->write_bytes) = value;
		else if (io && str_eq_c(verb, "Discard"))
			*(ops ? &io->discards : &io->discard_bytes) = value;
	}
}

void cgroup_parse_blkio_v1(struct str bytes, struct str ops, struct cgroup_stats *stats)
{
	parse_blkio(bytes, false, stats);
	parse_blkio(ops, true, stats);
}

/* "12.34" -> 1234 */
static bool hundredths(struct str text, uint32_t *ret)
{
	struct str whole, fraction;
	uint64_t a, b = 0;

	if (str_cut(text, '.', &whole, &fraction)) {
		if (fraction.len != 2 || str_u64(fraction, 99, &b) < 0)
			return false;
	}
	if (str_u64(whole, UINT32_MAX / PSI_SCALE - 1, &a) < 0)
		return false;
	*ret = (uint32_t)(a * PSI_SCALE + b);
	return true;
}

void cgroup_parse_psi(struct str text, struct cgroup_psi *psi)
{
	struct str line, word, key, value;

	while (text.len > 0) {
		struct cgroup_psi_line *into;

		str_cut(text, '\n', &line, &text);
		str_cut(line, ' ', &word, &line);
		into = str_eq_c(word, "some")   ? &psi->some
		       : str_eq_c(word, "full") ? &psi->full
		                                : NULL;
		while (into && line.len > 0) {
			uint64_t total;

			str_cut(line, ' ', &word, &line);
			if (!str_cut(word, '=', &key, &value))
				continue;
			if (str_eq_c(key, "avg10"))
				ignore(!hundredths(value, &into->avg10_c));
			else if (str_eq_c(key, "avg60"))
				ignore(!hundredths(value, &into->avg60_c));
			else if (str_eq_c(key, "avg300"))
				ignore(!hundredths(value, &into->avg300_c));
			else if (str_eq_c(key, "total") &&
			         str_u64(value, UINT64_MAX, &total) == 0) {
				into->total_us = total;
				psi->has = true;
			}
		}
	}
}

int cgroup_parse_limit(struct str text, uint64_t *ret)
{
	uint64_t value;

	text = str_trim(text);
	if (str_eq_c(text, "max") || str_eq_c(text, "-1")) {
		*ret = 0;
		return 0;
	}
	if (str_u64(text, UINT64_MAX, &value) < 0)
		return -1;
	*ret = value >= NO_LIMIT ? 0 : value;
	return 0;
}

/* The linear map between [2, 2^18] and [1, 10^4] that the runtimes apply; 0 means "not set" on both sides. */
#define SHARES_MIN 2
#define SHARES_MAX 262144
#define WEIGHT_MIN 1
#define WEIGHT_MAX 10000

uint64_t cgroup_weight_from_shares(uint64_t shares)
{
	if (shares == 0)
		return 0;
	shares = MIN(MAX(shares, SHARES_MIN), SHARES_MAX);
	return WEIGHT_MIN +
	       (shares - SHARES_MIN) * (WEIGHT_MAX - WEIGHT_MIN) / (SHARES_MAX - SHARES_MIN);
}

uint64_t cgroup_shares_from_weight(uint64_t weight)
{
	if (weight == 0)
		return 0;
	weight = MIN(MAX(weight, WEIGHT_MIN), WEIGHT_MAX);
	return SHARES_MIN +
	       (weight - WEIGHT_MIN) * (SHARES_MAX - SHARES_MIN) / (WEIGHT_MAX - WEIGHT_MIN);
}

/* ------------------------------------------------------------------------------------------------ kept-open files */

enum kept {
	KEPT_CPU, /* v1 cpuacct.usage, v2 cpu.stat */
	KEPT_MEMORY,
	KEPT_MEMORY_STAT,
	KEPT_MEMORY_MAX, /* v2 */
	KEPT_SWAP,       /* v2 */
	KEPT_SWAP_MAX,   /* v2 */
	KEPT_PIDS,
	KEPT_CPU_PSI, /* v2 */
	KEPT_MEMORY_PSI,
	KEPT_IO_PSI,
	KEPT_FILES,
};

static const struct {
	enum cgroup_controller controller;
	const char *v1, *v2;
} kept_files[KEPT_FILES] = {
	[KEPT_CPU] = { CGROUP_CPUACCT, "cpuacct.usage", "cpu.stat" },
	[KEPT_MEMORY] = { CGROUP_MEMORY, "memory.usage_in_bytes", "memory.current" },
	[KEPT_MEMORY_STAT] = { CGROUP_MEMORY, "memory.stat", "memory.stat" },
	[KEPT_MEMORY_MAX] = { CGROUP_MEMORY, NULL, "memory.max" },
	[KEPT_SWAP] = { CGROUP_MEMORY, NULL, "memory.swap.current" },
	[KEPT_SWAP_MAX] = { CGROUP_MEMORY, NULL, "memory.swap.max" },
	[KEPT_PIDS] = { CGROUP_PIDS, "pids.current", "pids.current" },
	[KEPT_CPU_PSI] = { CGROUP_CPUACCT, NULL, "cpu.pressure" },
	[KEPT_MEMORY_PSI] = { CGROUP_CPUACCT, NULL, "memory.pressure" },
	[KEPT_IO_PSI] = { CGROUP_CPUACCT, NULL, "io.pressure" },
};

struct cgroup_files {
	const struct cgroup_host *host;
	char *dir;
	int fd[KEPT_FILES]; /* -1: this host has no such file */
};

static char *file_path(const struct cgroup_files *files, enum cgroup_controller controller,
                       const char *file)
{
	const struct cgroup_hierarchy *h = cgroup_find(files->host, controller);

	return h ? xasprintf("%s%s/%s", h->mount, strcmp(files->dir, "/") == 0 ? "" : files->dir,
	                     file)
	         : NULL;
}

static bool is_v2(const struct cgroup_files *files, enum cgroup_controller controller)
{
	const struct cgroup_hierarchy *h = cgroup_find(files->host, controller);

	return h && h->v2;
}

struct cgroup_files *cgroup_files_open(const struct cgroup_host *host, const char *dir,
                                       struct err *err)
{
	cleanup(cgroup_files_free) struct cgroup_files *files = xcalloc(1, sizeof(*files));
	bool any = false;

	*files = (struct cgroup_files){ .host = host, .dir = xstrdup(dir) };
	for (int k = 0; k < KEPT_FILES; k++)
		files->fd[k] = -1;
	for (int k = 0; k < KEPT_FILES; k++) {
		enum cgroup_controller controller = kept_files[k].controller;
		const char *name = is_v2(files, controller) ? kept_files[k].v2 : kept_files[k].v1;
		cleanup_free char *path = name ? file_path(files, controller, name) : NULL;

		if (!path)
			continue;
		files->fd[k] = open(path, O_RDONLY | O_CLOEXEC);
		/* Not every kernel has every file; no descriptors left is another matter. */
		if (files->fd[k] < 0 && errno != ENOENT && errno != EOPNOTSUPP && errno != ENODEV) {
			err_sys(err, errno, "open %s", path);
			return NULL;
		}
		any = any || files->fd[k] >= 0;
	}
	if (!any) {
		err_set(err, CODE_NOT_FOUND,
		        "cgroup %s has no statistics: it is gone, or no controller is mounted",
		        dir);
		return NULL;
	}
	return take_ptr(files);
}

void cgroup_files_free(struct cgroup_files *files)
{
	if (!files)
		return;
	for (int k = 0; k < KEPT_FILES; k++)
		if (files->fd[k] >= 0)
			close(files->fd[k]);
	free(files->dir);
	free(files);
}

/* 1 and the text; 0: no such file here; -1: the cgroup is gone or the read failed. */
static int kept_text(const struct cgroup_files *files, enum kept k, char *text, struct str *ret,
                     struct err *err)
{
	ssize_t n;

	if (files->fd[k] < 0)
		return 0;
	/* One read has it all; a second one, to see the end, would make the kernel add everything up again. */
	do {
		n = pread(files->fd[k], text, KEPT_MAX, 0);
	} while (n < 0 && errno == EINTR);
	n = n < 0 ? -errno : n;
	if (n == -ENODEV)
		return err_set(err, CODE_NOT_FOUND, "cgroup %s is gone", files->dir);
	if (n == -EOPNOTSUPP) /* pressure accounting is switched off */
		return 0;
	if (n < 0)
		return err_sys(err, (int)-n, "read %s of cgroup %s",
		               is_v2(files, kept_files[k].controller) ? kept_files[k].v2
		                                                      : kept_files[k].v1,
		               files->dir);
	*ret = (struct str){ text, (size_t)n };
	return 1;
}

static int kept_number(const struct cgroup_files *files, enum kept k, char *text, uint64_t *ret,
                       struct err *err)
{
	struct str str = { NULL, 0 };
	int rc = kept_text(files, k, text, &str, err);

	return rc > 0 ? cgroup_parse_limit(str, ret) == 0 : rc;
}

static int read_psi(const struct cgroup_files *files, char *text, struct cgroup_stats *stats,
                    struct err *err)
{
	struct {
		enum kept k;
		struct cgroup_psi *psi;
	} each[] = {
		{ KEPT_CPU_PSI, &stats->cpu_psi },
		{ KEPT_MEMORY_PSI, &stats->memory_psi },
		{ KEPT_IO_PSI, &stats->io_psi },
	};

	for (size_t i = 0; i < ARRAY_SIZE(each); i++) {
		struct str str = { NULL, 0 };
		int rc = kept_text(files, each[i].k, text, &str, err);

		if (rc < 0)
			return -1;
		if (rc > 0)
			cgroup_parse_psi(str, each[i].psi);
	}
	return 0;
}

static int read_cpu(const struct cgroup_files *files, char *text, struct cgroup_stats *stats,
                    struct err *err)
{
	struct str str = { NULL, 0 };
	int rc = kept_text(files, KEPT_CPU, text, &str, err);

	if (rc > 0 && is_v2(files, CGROUP_CPUACCT))
		cgroup_parse_cpu_stat_v2(str, stats);
	else if (rc > 0)
		stats->has_cpu = str_u64(str_trim(str), UINT64_MAX, &stats->cpu_usage_ns) == 0;
	return rc < 0 ? -1 : 0;
}

static int read_memory(const struct cgroup_files *files, char *text, struct cgroup_stats *stats,
                       struct err *err)
{
	bool v2 = is_v2(files, CGROUP_MEMORY);
	struct str str = { NULL, 0 };
	int rc;

	rc = kept_number(files, KEPT_MEMORY, text, &stats->memory_usage, err);
	if (rc < 0)
		return -1;
	stats->has_memory = rc > 0;
	rc = kept_text(files, KEPT_MEMORY_STAT, text, &str, err);
	if (rc < 0)
		return -1;
	if (rc > 0 && v2)
		cgroup_parse_memory_stat_v2(str, stats);
	else if (rc > 0)
		cgroup_parse_memory_stat_v1(str, stats);

	if (kept_number(files, KEPT_MEMORY_MAX, text, &stats->memory_limit, err) < 0 ||
	    kept_number(files, KEPT_SWAP_MAX, text, &stats->swap_limit, err) < 0)
		return -1;
	rc = kept_number(files, KEPT_SWAP, text, &stats->swap_usage, err);
	stats->has_swap = stats->has_swap || rc > 0;
	return rc < 0 ? -1 : 0;
}

static void derive(struct cgroup_stats *s)
{
	s->memory_working_set = s->memory_usage > s->memory_inactive_file
	                                ? s->memory_usage - s->memory_inactive_file
	                                : 0;
	s->memory_available = s->memory_limit > s->memory_working_set
	                              ? s->memory_limit - s->memory_working_set
	                              : 0;
	s->swap_available = s->swap_limit > s->swap_usage ? s->swap_limit - s->swap_usage : 0;
}

/* ----------------------------------------------------------------------------------------------- files on demand */

/* Heap text, or NULL: this kernel, version or configuration has no such file, which leaves the member at 0. */
static char *text_of(const struct cgroup_files *files, enum cgroup_controller controller,
                     const char *file)
{
	cleanup_free char *path = file_path(files, controller, file);
	char *text;

	return path && fsx_read(AT_FDCWD, path, TEXT_MAX, &text, NULL) >= 0 ? text : NULL;
}

static bool number_of(const struct cgroup_files *files, enum cgroup_controller controller,
                      const char *file, uint64_t *ret)
{
	cleanup_free char *text = text_of(files, controller, file);

	return text && cgroup_parse_limit(str_of(text), ret) == 0;
}

static void more_cpu(const struct cgroup_files *files, struct cgroup_stats *stats)
{
	cleanup_free char *text = NULL;
	uint64_t value;

	stats->cpu_quota_us = -1;
	if (is_v2(files, CGROUP_CPU)) {
		struct str quota, period;

		if (number_of(files, CGROUP_CPU, "cpu.weight", &value))
			stats->cpu_shares = cgroup_shares_from_weight(value);
		text = text_of(files, CGROUP_CPU, "cpu.max");
		if (!text || !str_cut(str_trim(str_of(text)), ' ', &quota, &period))
			return;
		ignore(str_u64(period, UINT64_MAX, &stats->cpu_period_us) < 0);
		if (str_u64(quota, INT64_MAX, &value) == 0)
			stats->cpu_quota_us = (int64_t)value;
		return;
	}
	ignore(!number_of(files, CGROUP_CPUACCT, "cpuacct.usage_user", &stats->cpu_user_ns));
	ignore(!number_of(files, CGROUP_CPUACCT, "cpuacct.usage_sys", &stats->cpu_system_ns));
	ignore(!number_of(files, CGROUP_CPU, "cpu.shares", &stats->cpu_shares));
	ignore(!number_of(files, CGROUP_CPU, "cpu.cfs_period_us", &stats->cpu_period_us));
	if (number_of(files, CGROUP_CPU, "cpu.cfs_quota_us", &value) && value > 0 &&
	    value <= INT64_MAX)
		stats->cpu_quota_us = (int64_t)value;
	text = text_of(files, CGROUP_CPU, "cpu.stat");
	if (text)
		cgroup_parse_cpu_stat_v1(str_of(text), stats);
}

static void more_memory(const struct cgroup_files *files, struct cgroup_stats *stats)
{
	cleanup_free char *text = NULL;
	uint64_t both;

	if (is_v2(files, CGROUP_MEMORY)) {
		ignore(!number_of(files, CGROUP_MEMORY, "memory.peak", &stats->memory_max_usage));
		text = text_of(files, CGROUP_MEMORY, "memory.events");
		if (text)
			cgroup_parse_memory_events(str_of(text), stats);
		return;
	}
	ignore(!number_of(files, CGROUP_MEMORY, "memory.max_usage_in_bytes",
	                  &stats->memory_max_usage));
	ignore(!number_of(files, CGROUP_MEMORY, "memory.failcnt", &stats->memory_failcnt));
	ignore(!number_of(files, CGROUP_MEMORY, "memory.kmem.usage_in_bytes",
	                  &stats->memory_kernel));
	/* Its own limit, where memory.stat knew the smallest one up to the root. */
	ignore(!number_of(files, CGROUP_MEMORY, "memory.limit_in_bytes", &stats->memory_limit));
	if (number_of(files, CGROUP_MEMORY, "memory.memsw.limit_in_bytes", &both))
		stats->swap_limit = both > stats->memory_limit && stats->memory_limit > 0
		                            ? both - stats->memory_limit
		                            : 0;
	text = text_of(files, CGROUP_MEMORY, "memory.oom_control");
	if (text)
		stats->oom_kills = one_of(str_of(text), "oom_kill");
}

/* "hugetlb.2MB.usage_in_bytes" or "hugetlb.2MB.current" -> "2MB" */
static bool page_size_of(const char *file, const char *suffix, char size[16])
{
	struct str name = str_of(file);

	if (!str_starts(name, "hugetlb.") || !str_ends(name, suffix) ||
	    name.len <= strlen("hugetlb.") + strlen(suffix))
		return false;
	name.p += strlen("hugetlb.");
	name.len -= strlen("hugetlb.") + strlen(suffix);
	return !memchr(name.p, '.', name.len) && str_format(size, 16, STR_FMT, STR_ARG(name)) == 0;
}

static void more_hugetlb(const struct cgroup_files *files, struct cgroup_stats *stats)
{
	const char *suffix = is_v2(files, CGROUP_HUGETLB) ? ".current" : ".usage_in_bytes";
	cleanup_free char *dir = file_path(files, CGROUP_HUGETLB, ".");
	cleanup(strv_free) char **names = NULL;

	if (!dir || fsx_list(AT_FDCWD, dir, &names) < 0)
		return;
	for (char **name = names; *name && stats->nhugetlb < CGROUP_PAGE_SIZES_MAX; name++) {
		struct cgroup_hugetlb *page = &stats->hugetlb[stats->nhugetlb];
		cleanup_free char *max = NULL, *fails = NULL, *events = NULL;

		if (!page_size_of(*name, suffix, page->page_size))
			continue;
		stats->nhugetlb++;
		ignore(!number_of(files, CGROUP_HUGETLB, *name, &page->usage));
		max = xasprintf("hugetlb.%s.max_usage_in_bytes", page->page_size);
		fails = xasprintf("hugetlb.%s.failcnt", page->page_size);
		if (!is_v2(files, CGROUP_HUGETLB)) {
			ignore(!number_of(files, CGROUP_HUGETLB, max, &page->max_usage));
			ignore(!number_of(files, CGROUP_HUGETLB, fails, &page->failcnt));
			continue;
		}
		free(fails);
		fails = xasprintf("hugetlb.%s.events", page->page_size);
		events = text_of(files, CGROUP_HUGETLB, fails);
		if (events)
			page->failcnt = one_of(str_of(events), "max");
	}
}

static void more_io(const struct cgroup_files *files, struct cgroup_stats *stats)
{
	cleanup_free char *bytes = NULL, *ops = NULL;

	if (is_v2(files, CGROUP_IO)) {
		bytes = text_of(files, CGROUP_IO, "io.stat");
		if (bytes)
			cgroup_parse_io_stat_v2(str_of(bytes), stats);
		return;
	}
	bytes = text_of(files, CGROUP_IO, "blkio.throttle.io_service_bytes_recursive");
	ops = text_of(files, CGROUP_IO, "blkio.throttle.io_serviced_recursive");
	cgroup_parse_blkio_v1(str_of(bytes), str_of(ops), stats);
}

int cgroup_files_read(struct cgroup_files *files, bool all, struct cgroup_stats *ret,
                      struct err *err)
{
	char text[KEPT_MAX];
	struct cgroup_stats stats = { .cpu_quota_us = -1 };

	if (read_cpu(files, text, &stats, err) < 0 || read_memory(files, text, &stats, err) < 0 ||
	    read_psi(files, text, &stats, err) < 0)
		return -1;
	if (files->fd[KEPT_PIDS] >= 0) {
		int rc = kept_number(files, KEPT_PIDS, text, &stats.pids, err);

		if (rc < 0)
			return -1;
		stats.has_pids = rc > 0;
	}
	if (all) {
		more_cpu(files, &stats);
		more_memory(files, &stats);
		more_hugetlb(files, &stats);
		more_io(files, &stats);
		ignore(!number_of(files, CGROUP_PIDS, "pids.max", &stats.pids_limit));
	}
	derive(&stats);
	stats.time_ns = clock_real_ns();
	*ret = stats;
	return 0;
}
