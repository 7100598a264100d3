#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/net/builtin.h"
#include "core/net/netconf.h"

static const char header[] =
	"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";

static uint32_t subnet_of(const char *state, const char *routes)
{
	uint32_t subnet = 0;
	struct err err;

	assert_int_equal(builtin_subnet(state, routes, "coracle0", &subnet, &err), 0);
	assert_int_equal(subnet & 0xff, 0);
	assert_in_range(subnet, 0x0ac80000, 0x0ae7ff00);
	return subnet;
}

static void two_state_directories_share_neither_bridge_nor_subnet(void **arg)
{
	char a[BUILTIN_BRIDGE_SIZE], b[BUILTIN_BRIDGE_SIZE];

	(void)arg;
	builtin_bridge("/run/coracle", a);
	assert_string_equal(a, "coracle0");
	builtin_bridge("/run/other", a);
	builtin_bridge("/run/another", b);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), 13);
	assert_int_not_equal(subnet_of("/run/other", header), subnet_of("/run/another", header));
	assert_int_equal(subnet_of("/run/other", header), subnet_of("/run/other", header));
}

/* A line of /proc/net/route as this machine would print it. */
static char *route(const char *name, uint32_t net, uint32_t mask)
{
	return xasprintf("%s%s\t%08X\t00000000\t0001\t0\t0\t0\t%08X\t0\t0\t0\n", header, name,
	                 __builtin_bswap32(net), __builtin_bswap32(mask));
}

static void a_routed_subnet_is_avoided_whether_wider_or_narrower(void **arg)
{
	uint32_t first = subnet_of("/run/coracle", header);
	cleanup_free char *wide = route("wg0", first & 0xffff0000, 0xffff0000);
	cleanup_free char *narrow = route("wg0", first + 128, 0xffffff80);
	cleanup_free char *ours = route("coracle0", first, 0xffffff00);
	cleanup_free char *all = route("wg0", 0x0a000000, 0xff000000);
	uint32_t subnet;
	struct err err;

	(void)arg;
	assert_int_not_equal(subnet_of("/run/coracle", wide) & 0xffff0000, first & 0xffff0000);
	assert_int_not_equal(subnet_of("/run/coracle", narrow), first);
	assert_int_equal(subnet_of("/run/coracle", ours), first);
	assert_int_equal(builtin_subnet("/run/coracle", all, "coracle0", &subnet, &err), -1);
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
}

static void the_list_is_a_valid_network_and_its_subnet_stays(void **arg)
{
	char state[] =
		"/tmp/test-\"builtin-XXXXXX"; /* a quote in the path must not break the JSON */
	cleanup_free char *first = NULL, *second = NULL, *plain = NULL;
	cleanup(netconf_free) struct netconf *conf = NULL;
	yyjson_val *ipam;
	struct err err;

	(void)arg;
	assert_non_null(mkdtemp(state));
	assert_int_equal(builtin_conf(state,
	                              BUILTIN_MASQUERADE | BUILTIN_FIREWALL | BUILTIN_PORTMAP, true,
	                              &first, &err),
	                 0);
	assert_int_equal(netconf_parse("built-in", first, strlen(first), &conf, &err), 0);
	assert_int_equal(netconf_count(conf), 3);
	assert_string_equal(netconf_type(conf, 2), "portmap");
	ipam = json_obj(netconf_plugin(conf, 0), "ipam");
	assert_memory_equal(json_str(ipam, "dataDir", ""), state, strlen(state));
	assert_int_equal(builtin_conf(state,
	                              BUILTIN_MASQUERADE | BUILTIN_FIREWALL | BUILTIN_PORTMAP, true,
	                              &second, &err),
	                 0);
	assert_string_equal(first, second);

	assert_int_equal(builtin_conf(state, 0, true, &plain, &err), 0);
	assert_non_null(strstr(plain, "\"ipMasq\":false"));
	assert_null(strstr(plain, "portmap"));
	assert_null(strstr(plain, "firewall"));
	assert_int_equal(fsx_remove_tree(AT_FDCWD, state), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_state_directories_share_neither_bridge_nor_subnet),
		cmocka_unit_test(a_routed_subnet_is_avoided_whether_wider_or_narrower),
		cmocka_unit_test(the_list_is_a_valid_network_and_its_subnet_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
