/* cri/spec/resources.c
 *
 * linux.resources and oom_score_adj. Zero and empty mean "not set" in CRI.
 */
#include <stdlib.h>

#include "core/base/str.h"
#include "cri/spec/build.h"
#include "cri/spec/to_spec.h"

#define RESOURCES "linux.resources"

static void set_unless_zero(struct spec *spec, const char *path, int64_t value)
{
	if (value)
		spec_set_int(spec, path, value);
}

static void set_unless_empty(struct spec *spec, const char *path, const char *value)
{
	if (or_empty(value)[0])
		spec_set_str(spec, path, value);
}

static void set_memory(struct spec *spec, const struct host_facts *host,
                       const cri_LinuxContainerResources *res)
{
	int64_t swap = res->memory_swap_limit_in_bytes;

	set_unless_zero(spec, RESOURCES ".memory.limit", res->memory_limit_in_bytes);
	/* Swap counts memory and swap together; a limit on memory alone would leave all of swap open. */
	if (host->swap)
		set_unless_zero(spec, RESOURCES ".memory.swap",
		                swap ? swap : res->memory_limit_in_bytes);
}

static int set_hugepages(struct spec *spec, const struct host_facts *host,
                         const cri_LinuxContainerResources *res, struct err *err)
{
	/* kubelet names every page size of the node, with 0 for what is not to be used: without the controller there is nothing
	 * to enforce it with (the peers do not even try by default). */
	if (!host->hugetlb)
		return 0;
	for (size_t i = 0; i < res->hugepage_limits_count; i++) {
		yyjson_mut_val *limit;

		if (!or_empty(res->hugepage_limits[i].page_size)[0])
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "hugepage_limits[%zu].page_size: missing", i);
		limit = yyjson_mut_arr_add_obj(spec->doc,
		                               spec_array(spec, RESOURCES ".hugepageLimits"));
		yyjson_mut_obj_add_strcpy(spec->doc, limit, "pageSize",
		                          res->hugepage_limits[i].page_size);
		yyjson_mut_obj_add_uint(spec->doc, limit, "limit", res->hugepage_limits[i].limit);
	}
	return 0;
}

static int set_unified(struct spec *spec, const struct host_facts *host,
                       const cri_LinuxContainerResources *res, struct err *err)
{
	if (res->unified_count && !host->cgroup2)
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "unified: \"%.60s\" needs cgroup v2, this host has v1",
		               or_empty(res->unified[0].key));
	for (size_t i = 0; i < res->unified_count; i++)
		spec_entry_set(spec, RESOURCES ".unified", or_empty(res->unified[i].key),
		               or_empty(res->unified[i].value));
	return 0;
}

/* Everything but oom_score_adj, which is the process's. */
static int set_resources(struct spec *spec, const struct host_facts *host,
                         const cri_LinuxContainerResources *res, struct err *err)
{
	set_unless_zero(spec, RESOURCES ".cpu.shares", res->cpu_shares);
	set_unless_zero(spec, RESOURCES ".cpu.quota", res->cpu_quota);
	set_unless_zero(spec, RESOURCES ".cpu.period", res->cpu_period);
	set_unless_empty(spec, RESOURCES ".cpu.cpus", res->cpuset_cpus);
	set_unless_empty(spec, RESOURCES ".cpu.mems", res->cpuset_mems);
	set_memory(spec, host, res);
	if (set_hugepages(spec, host, res, err) < 0)
		return -1;
	return set_unified(spec, host, res, err);
}

int build_resources(struct build *build, struct err *err)
{
	const cri_LinuxContainerResources *res = &build->config->linux.resources;

	if (set_resources(&build->spec, build->host, res, err) < 0)
		return err_wrap(err, "config.linux.resources");
	if (res->oom_score_adj < -1000 || res->oom_score_adj > 1000)
		return build_invalid(err, "linux.resources.oom_score_adj: %lld is not -1000..1000",
		                     (long long)res->oom_score_adj);
	/* Set even when nobody asked: a container must not inherit ours. */
	spec_set_int(&build->spec, "process.oomScoreAdj",
	             runtime_clamp_oom(build->in->limits, (int)res->oom_score_adj));
	return 0;
}

char *spec_resources_json(const cri_LinuxContainerResources *res, struct err *err)
{
	cleanup(spec_release) struct spec spec = { 0 };
	struct host_facts host;
	char *json = NULL;

	spec_init(&spec);
	if (host_facts_read(&host, err) < 0)
		return NULL;
	if (set_resources(&spec, &host, res, err) < 0) {
		err_wrap(err, "linux");
		return NULL;
	}
	spec.root = spec_object(&spec, RESOURCES);
	yyjson_mut_doc_set_root(spec.doc, spec.root);
	return spec_write(&spec, &json, err) < 0 ? NULL : json;
}
