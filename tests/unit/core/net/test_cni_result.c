#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/net/cni_result.h"

static void assert_ips(const char *json, const char *expected)
{
	cleanup(strv_free) char **ips = NULL;
	char text[512] = "";
	struct err err;

	if (cni_result_ips(json, strlen(json), "eth0", &ips, &err) < 0)
		assert_int_equal(str_copy(text, sizeof(text), err.msg), 0);
	for (size_t i = 0; ips && ips[i]; i++) {
		size_t len = strlen(text);

		assert_int_equal(
			str_format(text + len, sizeof(text) - len, "%s%s", i ? " " : "", ips[i]),
			0);
	}
	assert_string_equal(text, expected);
}

static void results_of_0_2_0_have_ip4_and_ip6(void **arg)
{
	(void)arg;
	assert_ips(
		"{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.1.2.3/24\"},\"ip6\":{\"ip\":\"FD00::0003/64\"}}",
		"10.1.2.3 fd00::3");
	assert_ips("{\"ip6\":{\"ip\":\"fd00::3/64\"}}", "fd00::3");
}

static void results_of_1_0_0_have_ips_by_interface(void **arg)
{
	(void)arg;
	assert_ips(
		"{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"cni0\"},{\"name\":\"veth1\"},"
		"{\"name\":\"eth0\",\"sandbox\":\"/x\"},{\"name\":\"net1\",\"sandbox\":\"/x\"}],"
		"\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":0},{\"address\":\"10.9.9.9/24\",\"interface\":3},"
		"{\"address\":\"10.0.0.7/24\",\"interface\":2}]}",
		"10.0.0.7");
	/* none on eth0: whatever is inside */
	assert_ips(
		"{\"interfaces\":[{\"name\":\"br\"},{\"name\":\"net1\",\"sandbox\":\"/x\"}],"
		"\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":0},{\"address\":\"10.9.9.9/24\",\"interface\":1}]}",
		"10.9.9.9");
	/* no interface named: eth0's */
	assert_ips(
		"{\"cniVersion\":\"0.3.1\",\"ips\":[{\"version\":\"4\",\"address\":\"10.0.0.5/16\"}]}",
		"10.0.0.5");
}

static void the_first_ipv4_address_is_primary(void **arg)
{
	(void)arg;
	assert_ips(
		"{\"ips\":[{\"address\":\"fd00::1/64\"},{\"address\":\"10.0.0.1/24\"},{\"address\":\"10.0.0.2/24\"}]}",
		"10.0.0.1 fd00::1 10.0.0.2");
}

static void what_is_no_result_is_refused_with_a_reason(void **arg)
{
	(void)arg;
	assert_ips("[]", "the result is not a JSON object");
	assert_ips("{}", "the result has no address for eth0");
	assert_ips("{\"ips\":[{\"address\":\"10.0.0.256/24\"}]}",
	           "\"10.0.0.256/24\" is not an address");
	assert_ips("{\"ips\":[{\"address\":7}]}", "\"\" is not an address");
	assert_ips("{\"ips\":[7]}", "\"\" is not an address");
	assert_ips("{\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":1}],\"interfaces\":[{}]}",
	           "an address names an interface that is not listed");
	assert_ips("{\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":-1}],\"interfaces\":[{}]}",
	           "an address names an interface that is not listed");
}

static void an_error_object_gives_its_words(void **arg)
{
	char text[64];

	(void)arg;
	cni_result_error("{\"code\":11,\"msg\":\"no\\nroom\",\"details\":\"range full\"}", 51, text,
	                 sizeof(text));
	assert_string_equal(text, "no room: range full");
	cni_result_error("{\"code\":11}", 11, text, sizeof(text));
	assert_string_equal(text, "");
	cni_result_error("panic: x", 8, text, sizeof(text));
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(results_of_0_2_0_have_ip4_and_ip6),
		cmocka_unit_test(results_of_1_0_0_have_ips_by_interface),
		cmocka_unit_test(the_first_ipv4_address_is_primary),
		cmocka_unit_test(what_is_no_result_is_refused_with_a_reason),
		cmocka_unit_test(an_error_object_gives_its_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
