#include "core/net/plan.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define DEFAULT_IFNAME "eth0"
#define MAX_PLAN_BYTES (512 * 1024)

static int check_pod(const struct net_pod *pod, struct err *err)
{
	const struct {
		const char *what, *value;
	} args[] = { { "name", pod->name }, { "namespace", pod->ns }, { "uid", pod->uid } };
	const char *ifname = pod->ifname ? pod->ifname : DEFAULT_IFNAME;

	ensure(pod->id && pod->netns_path);
	if (!netconf_is_name(pod->id) || strlen(pod->id) > 128)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "pod id \"%.130s\" is not a CNI container id", pod->id);
	if (strlen(ifname) > 15 || !*ifname || strpbrk(ifname, "/: \t\n") || streq(ifname, ".") ||
	    streq(ifname, ".."))
		return err_set(err, CODE_INVALID_ARGUMENT, "\"%.60s\" is not an interface name",
		               ifname);
	for (size_t i = 0; i < ARRAY_SIZE(args); i++) {
		/* CNI_ARGS has no escapes. */
		if (strpbrk(or_empty(args[i].value), ";=") ||
		    strlen(or_empty(args[i].value)) > 4096)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "pod %s \"%.100s\" cannot be told to CNI plugins",
			               args[i].what, args[i].value);
	}
	return 0;
}

/* A Kubernetes quantity between 1k and 1P; what is below one bit is rounded up. */
static int parse_rate(const char *text, int64_t *ret)
{
	static const struct {
		const char *suffix;
		double factor;
	} units[] = { { "", 1 },        { "k", 1e3 },     { "M", 1e6 },     { "G", 1e9 },
		      { "T", 1e12 },    { "P", 1e15 },    { "E", 1e18 },    { "Ki", 0x1p10 },
		      { "Mi", 0x1p20 }, { "Gi", 0x1p30 }, { "Ti", 0x1p40 }, { "Pi", 0x1p50 },
		      { "m", 1e-3 },    { "u", 1e-6 },    { "n", 1e-9 } };
	size_t digits = strspn(text, "0123456789."), len = strlen(text);
	double value, factor = -1;
	const char *rest = text + digits;
	uint64_t exponent;

	if (digits == 0 || digits > 40 || len > 60 || strchr(text, '.') != strrchr(text, '.') ||
	    (digits == 1 && text[0] == '.'))
		return -1;
	value = strtod(text, NULL); /* takes an exponent along; cut below */
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (streq(rest, units[i].suffix))
			factor = units[i].factor;
	}
	if (factor < 0) {
		if ((rest[0] != 'e' && rest[0] != 'E') ||
		    str_u64(str_of(rest[1] == '+' ? rest + 2 : rest + 1), 30, &exponent) < 0)
			return -1;
		factor = 1;
	}
	value = ceil(value * factor);
	if (!(value >= 1e3 && value <= 1e15))
		return -1;
	*ret = (int64_t)value;
	return 0;
}

static int add_bandwidth(const struct net_pod *pod, yyjson_mut_doc *doc, yyjson_mut_val *config,
                         struct err *err)
{
	static const struct {
		const char *annotation, *rate, *burst;
	} directions[] = { { "kubernetes.io/ingress-bandwidth", "ingressRate", "ingressBurst" },
		           { "kubernetes.io/egress-bandwidth", "egressRate", "egressBurst" } };
	yyjson_mut_val *bandwidth = NULL;

	for (size_t i = 0; pod->annotations && i < ARRAY_SIZE(directions); i++) {
		const char *text = pairs_find(pod->annotations, directions[i].annotation);
		int64_t rate;

		if (!text)
			continue;
		if (parse_rate(text, &rate) < 0)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "annotation %s: \"%.60s\" is not a rate between 1k and 1P",
			               directions[i].annotation, text);
		if (!bandwidth)
			bandwidth = yyjson_mut_obj(doc);
		yyjson_mut_obj_add_int(doc, bandwidth, directions[i].rate, rate);
		yyjson_mut_obj_add_int(doc, bandwidth, directions[i].burst,
		                       UINT32_MAX); /* the most the kernel's filter takes */
	}
	if (bandwidth)
		yyjson_mut_obj_add_val(doc, config, "bandwidth", bandwidth);
	return 0;
}

static int add_ports(const struct net_pod *pod, yyjson_mut_doc *doc, yyjson_mut_val *config,
                     struct err *err)
{
	yyjson_mut_val *ports = yyjson_mut_arr(doc);

	for (size_t i = 0; i < pod->nports; i++) {
		const struct net_port *port = &pod->ports[i];
		yyjson_mut_val *item;

		if (port->host_port == 0)
			continue;
		if (!streq(port->protocol, "tcp") && !streq(port->protocol, "udp") &&
		    !streq(port->protocol, "sctp"))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "host port %u: protocol \"%.30s\" is none of tcp, udp, sctp",
			               port->host_port, or_empty(port->protocol));
		item = yyjson_mut_arr_add_obj(doc, ports);
		yyjson_mut_obj_add_int(doc, item, "hostPort", port->host_port);
		yyjson_mut_obj_add_int(doc, item, "containerPort", port->container_port);
		yyjson_mut_obj_add_strcpy(doc, item, "protocol", port->protocol);
		yyjson_mut_obj_add_strcpy(doc, item, "hostIP", or_empty(port->host_ip));
	}
	if (yyjson_mut_arr_size(ports) > 0)
		yyjson_mut_obj_add_val(doc, config, "portMappings", ports);
	return 0;
}

static yyjson_mut_val *string_array(yyjson_mut_doc *doc, char *const *items)
{
	yyjson_mut_val *list = yyjson_mut_arr(doc);

	for (size_t i = 0; items && items[i]; i++)
		yyjson_mut_arr_add_strcpy(doc, list, items[i]);
	return list;
}

static int add_arguments(const struct net_pod *pod, yyjson_mut_doc *doc, yyjson_mut_val *config,
                         struct err *err)
{
	yyjson_mut_val *value;

	if (add_ports(pod, doc, config, err) < 0 || add_bandwidth(pod, doc, config, err) < 0)
		return -1;
	if (pod->has_dns) {
		value = yyjson_mut_obj(doc);
		yyjson_mut_obj_add_val(doc, value, "servers", string_array(doc, pod->dns_servers));
		yyjson_mut_obj_add_val(doc, value, "searches",
		                       string_array(doc, pod->dns_searches));
		yyjson_mut_obj_add_val(doc, value, "options", string_array(doc, pod->dns_options));
		yyjson_mut_obj_add_val(doc, config, "dns", value);
	}
	if (pod->ip_ranges && pod->ip_ranges[0]) {
		value = yyjson_mut_arr(doc);
		for (size_t i = 0; pod->ip_ranges[i]; i++) {
			yyjson_mut_val *range = yyjson_mut_arr_add_arr(doc, value);

			yyjson_mut_obj_add_strcpy(doc, yyjson_mut_arr_add_obj(doc, range), "subnet",
			                          pod->ip_ranges[i]);
		}
		yyjson_mut_obj_add_val(doc, config, "ipRanges", value);
	}
	if (*or_empty(pod->cgroup_parent))
		yyjson_mut_obj_add_strcpy(doc, config, "cgroupPath", pod->cgroup_parent);
	if (pod->annotations && pod->annotations->count > 0) {
		value = yyjson_mut_obj(doc);
		for (size_t i = 0; i < pod->annotations->count; i++) {
			const struct pair *pair = &pod->annotations->items[i];

			yyjson_mut_obj_add(value, yyjson_mut_strcpy(doc, pair->key),
			                   yyjson_mut_strcpy(doc, pair->value));
		}
		yyjson_mut_obj_add_val(doc, config, "io.kubernetes.cri.pod-annotations", value);
	}
	return 0;
}

/* Arguments that no plugin declares a capability for would only make the journal longer. */
static void drop_unwanted(yyjson_mut_val *config, const struct netconf *conf)
{
	yyjson_mut_obj_iter iter = yyjson_mut_obj_iter_with(config);
	yyjson_mut_val *key;

	while ((key = yyjson_mut_obj_iter_next(&iter))) {
		bool wanted = false;

		for (size_t i = 0; i < netconf_count(conf); i++)
			wanted |= json_bool(json_obj(netconf_plugin(conf, i), "capabilities"),
			                    yyjson_mut_get_str(key), false);
		if (!wanted)
			yyjson_mut_obj_iter_remove(&iter);
	}
}

static int write_plan(const struct netconf *conf, const struct net_pod *pod, yyjson_mut_doc *doc,
                      char **ret, size_t *ret_len, struct err *err)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc), *config = yyjson_mut_obj(doc);
	cleanup_free char *args = xasprintf(
		"IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;"
		"K8S_POD_UID=%s",
		or_empty(pod->ns), or_empty(pod->name), pod->id, or_empty(pod->uid));
	cleanup_free char *text = NULL;
	size_t len;

	yyjson_mut_doc_set_root(doc, root);
	if (add_arguments(pod, doc, config, err) < 0)
		return -1;
	drop_unwanted(config, conf);
	yyjson_mut_obj_add_int(doc, root, "version", 1);
	yyjson_mut_obj_add_strcpy(doc, root, "id", pod->id);
	yyjson_mut_obj_add_strcpy(doc, root, "netns", pod->netns_path);
	yyjson_mut_obj_add_strcpy(doc, root, "ifname", pod->ifname ? pod->ifname : DEFAULT_IFNAME);
	yyjson_mut_obj_add_strcpy(doc, root, "args", args);
	yyjson_mut_obj_add_val(doc, root, "runtimeConfig", config);
	yyjson_mut_obj_add_val(doc, root, "network",
	                       yyjson_val_mut_copy(doc, yyjson_doc_get_root(conf->doc)));
	text = json_write(doc, false, &len);
	if (!text || len > MAX_PLAN_BYTES)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "network \"%s\": plan larger than %d bytes", conf->name,
		               MAX_PLAN_BYTES);
	*ret = take_ptr(text);
	*ret_len = len;
	return 0;
}

int net_plan_write(const struct netconf *conf, const struct net_pod *pod, char **ret_text,
                   size_t *ret_len, struct err *err)
{
	yyjson_mut_doc *doc;
	int rc;

	if (check_pod(pod, err) < 0)
		return -1;
	doc = yyjson_mut_doc_new(NULL);
	rc = write_plan(conf, pod, doc, ret_text, ret_len, err);
	yyjson_mut_doc_free(doc);
	return rc;
}

static int read_members(struct net_plan *plan, struct err *err)
{
	yyjson_val *root = yyjson_doc_get_root(plan->doc);
	cleanup_free char *network = NULL;
	size_t len;

	if (json_i64(root, "version", 0) != 1)
		return err_set(err, CODE_FAILED_PRECONDITION, "network plan: unknown version");
	if (json_str_req(root, "id", "network plan", &plan->id, err) < 0 ||
	    json_str_req(root, "netns", "network plan", &plan->netns, err) < 0 ||
	    json_str_req(root, "ifname", "network plan", &plan->ifname, err) < 0 ||
	    json_str_req(root, "args", "network plan", &plan->args, err) < 0)
		return -1;
	plan->runtime_config = json_obj(root, "runtimeConfig");
	network = yyjson_val_write(json_obj(root, "network"), 0, &len);
	if (!network)
		return err_set(err, CODE_INVALID_ARGUMENT, "network plan: no network");
	return netconf_parse("network plan", network, len, &plan->conf, err);
}

int net_plan_read(const void *text, size_t len, struct net_plan *ret_plan, struct err *err)
{
	struct net_plan plan = { .doc = json_parse(text, len, MAX_PLAN_BYTES, "network plan",
		                                   err) };

	if (!plan.doc)
		return -1;
	if (read_members(&plan, err) < 0) {
		net_plan_release(&plan);
		return -1;
	}
	*ret_plan = plan;
	return 0;
}

void net_plan_release(struct net_plan *plan)
{
	yyjson_doc_free(plan->doc);
	netconf_free(plan->conf);
	*plan = (struct net_plan){ .doc = NULL };
}
