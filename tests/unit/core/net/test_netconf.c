#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/net/netconf.h"

static struct netconf *parse(const char *text)
{
	struct netconf *conf;
	struct err err;

	if (netconf_parse("f", text, strlen(text), &conf, &err) < 0)
		fail_msg("%s", err.msg);
	return conf;
}

static void assert_refused(const char *text, const char *expected)
{
	struct netconf *conf;
	struct err err;

	assert_int_equal(netconf_parse("f", text, strlen(text), &conf, &err), -1);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	assert_string_equal(err.msg, expected);
}

static void a_list_keeps_its_plugins_in_order(void **arg)
{
	cleanup(netconf_free) struct netconf *conf =
		parse("{\"cniVersion\":\"0.3.1\",\"name\":\"n\",\"disableCheck\":true,"
	              "\"plugins\":[{\"type\":\"a\",\"x\":1},{\"type\":\"b\"}]}");

	(void)arg;
	assert_string_equal(conf->name, "n");
	assert_string_equal(conf->version, "0.3.1");
	assert_true(conf->disable_check);
	assert_false(conf->disable_gc);
	assert_int_equal(netconf_count(conf), 2);
	assert_string_equal(netconf_type(conf, 0), "a");
	assert_string_equal(netconf_type(conf, 1), "b");
	assert_true(netconf_at_least(conf, 0, 3));
	assert_false(netconf_at_least(conf, 0, 4));
}

static void a_single_plugin_is_a_list_of_one(void **arg)
{
	cleanup(netconf_free) struct netconf *conf =
		parse("{\"name\":\"n\",\"type\":\"bridge\",\"ipam\":{}}");

	(void)arg;
	assert_int_equal(netconf_count(conf), 1);
	assert_string_equal(netconf_type(conf, 0), "bridge");
	assert_string_equal(conf->version, "0.1.0");
	assert_non_null(yyjson_obj_get(netconf_plugin(conf, 0), "ipam"));
}

static void of_several_versions_the_newest_that_we_speak_is_used(void **arg)
{
	cleanup(netconf_free) struct netconf *conf =
		parse("{\"cniVersion\":\"0.4.0\",\"cniVersions\":[\"0.4.0\",\"1.1.0\",\"1.0.0\","
	              "\"2.0.0\"],\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}]}");

	(void)arg;
	assert_string_equal(conf->version, "1.1.0");
	assert_refused("{\"cniVersion\":\"2.0.0\",\"name\":\"n\",\"type\":\"a\"}",
	               "f: cniVersion 2.0.0 is newer than 1.1.0");
	assert_refused("{\"cniVersion\":\"1.0\",\"name\":\"n\",\"type\":\"a\"}",
	               "f: \"1.0\" is not a CNI version");
	assert_refused("{\"cniVersion\":1,\"name\":\"n\",\"type\":\"a\"}",
	               "f: cniVersion is not a string");
}

static void what_cannot_be_a_network_is_refused_with_the_reason(void **arg)
{
	(void)arg;
	assert_refused("[]", "f: not a JSON object");
	assert_refused("{}", "f: has neither \"plugins\" nor \"type\"");
	assert_refused("{\"plugins\":[]}", "f: \"\" is not a network name");
	assert_refused("{\"name\":\"a b\",\"plugins\":[]}", "f: \"a b\" is not a network name");
	assert_refused("{\"name\":\"n\",\"plugins\":[]}", "f: the list has no plugins");
	assert_refused("{\"name\":\"n\",\"plugins\":{}}", "f: plugins is not an array");
	assert_refused("{\"name\":\"n\",\"plugins\":[{\"type\":\"a\"},{}]}",
	               "f: plugin 2 has no type");
	assert_refused("{\"name\":\"n\",\"type\":\"../sh\"}",
	               "f: plugin 1: type \"../sh\" is not a plain name");
	assert_refused("{\"name\":\"n\",\"type\":\"..\"}",
	               "f: plugin 1: type \"..\" is not a plain name");
}

static void names_follow_the_rule_of_the_specification(void **arg)
{
	(void)arg;
	assert_true(netconf_is_name("a_b.c-D9"));
	assert_false(netconf_is_name(""));
	assert_false(netconf_is_name("-a"));
	assert_false(netconf_is_name("a/b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_keeps_its_plugins_in_order),
		cmocka_unit_test(a_single_plugin_is_a_list_of_one),
		cmocka_unit_test(of_several_versions_the_newest_that_we_speak_is_used),
		cmocka_unit_test(what_cannot_be_a_network_is_refused_with_the_reason),
		cmocka_unit_test(names_follow_the_rule_of_the_specification),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
