/* Ranges of addresses and a machine's routes, as /proc tells them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "cmd/check/subnet.h"

static bool overlap(const char *a, const char *b)
{
	struct subnet left, right;

	assert_int_equal(subnet_parse(a, &left), 0);
	assert_int_equal(subnet_parse(b, &right), 0);
	assert_int_equal(subnet_overlaps(&left, &right), subnet_overlaps(&right, &left));
	return subnet_overlaps(&left, &right);
}

static void ranges_overlap_when_one_holds_the_other(void **arg)
{
	(void)arg;
	assert_true(overlap("10.0.0.0/8", "10.88.0.0/16"));
	assert_true(overlap("10.88.0.0/16", "10.88.0.0/16"));
	assert_true(overlap("10.88.0.0/13", "10.95.255.255/32"));
	assert_true(overlap("0.0.0.0/0", "10.88.0.0/16"));
	assert_true(overlap("fd00:1::/64", "fd00::/16"));
	assert_false(overlap("10.88.0.0/13", "10.96.0.0/13"));
	assert_false(overlap("10.88.0.0/24", "10.88.1.0/24"));
	assert_false(overlap("fd00:1::/64", "fd00:1:0:1::/64"));
	assert_false(overlap("::/0", "10.88.0.0/16"));
}

static void what_is_no_range_is_refused(void **arg)
{
	static const char *const bad[] = { "",           "10.0.0.0", "10.0.0.0/33", "10.0.0/8",
		                           "fd00::/129", "x/8",      "10.0.0.0/",   "10.0.0.0/-1" };
	struct subnet subnet;

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(subnet_parse(bad[i], &subnet), -1);
}

static void a_range_is_written_as_it_is_read(void **arg)
{
	static const char *const texts[] = { "10.88.0.0/16", "fd00:1::/64" };
	char text[SUBNET_TEXT];
	struct subnet subnet;

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(subnet_parse(texts[i], &subnet), 0);
		subnet_text(&subnet, text);
		assert_string_equal(text, texts[i]);
	}
}

/* What a machine tells, without the default route and the heading. */
static void ipv4_routes_are_read(void **arg)
{
	struct str rest = STR(
		"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
		"eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
		"cni0\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
		"garbage\n");
	char text[SUBNET_TEXT];
	struct route route;

	(void)arg;
	assert_true(route_next(AF_INET, &rest, &route));
	subnet_text(&route.to, text);
	assert_string_equal(text, "10.88.0.0/16");
	assert_string_equal(route.device, "cni0");
	assert_false(route_next(AF_INET, &rest, &route));
}

/* Links, groups and the machine's own addresses are no routes to others. */
static void ipv6_routes_are_read(void **arg)
{
	struct str rest = STR(
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
		"fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"
		"ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0\n"
		"fd000001000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001     eth0\n"
		"fd000001000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     tun0\n");
	char text[SUBNET_TEXT];
	struct route route;

	(void)arg;
	assert_true(route_next(AF_INET6, &rest, &route));
	subnet_text(&route.to, text);
	assert_string_equal(text, "fd00:1::/64");
	assert_string_equal(route.device, "tun0");
	assert_false(route_next(AF_INET6, &rest, &route));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_overlap_when_one_holds_the_other),
		cmocka_unit_test(what_is_no_range_is_refused),
		cmocka_unit_test(a_range_is_written_as_it_is_read),
		cmocka_unit_test(ipv4_routes_are_read),
		cmocka_unit_test(ipv6_routes_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
