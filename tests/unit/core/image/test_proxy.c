#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/str.h"
#include "core/image/proxy.h"
#include "core/image/tls.h"

struct variable {
	const char *name, *value;
};

static const char *environment(void *arg, const char *name)
{
	for (const struct variable *v = arg; v->name; v++)
		if (streq(v->name, name))
			return v->value;
	return NULL;
}

static const char *proxy_of(const struct variable *variables, const char *text, char *host,
                            size_t size)
{
	cleanup(proxies_release) struct proxies proxies = { 0 };
	cleanup(http_url_release) struct http_url url = { 0 };
	const struct http_url *proxy;
	struct err err = { 0 };

	if (proxies_init(&proxies, environment, (void *)(uintptr_t)variables, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(http_url_parse(str_of(text), &url, &err), 0);
	proxy = proxy_for(&proxies, &url);
	if (!proxy)
		return "direct";
	assert_true(str_format(host, size, "%s:%u", proxy->host, proxy->port) >= 0);
	return host;
}

static void each_scheme_has_its_proxy(void **arg)
{
	static const struct variable variables[] = { { "HTTP_PROXY", "http://plain:3128" },
		                                     { "HTTPS_PROXY", "upper:1" },
		                                     { "https_proxy", "secure:8080" },
		                                     { NULL, NULL } };
	char host[64];

	(void)arg;
	assert_string_equal(proxy_of(variables, "http://reg/", host, sizeof(host)), "plain:3128");
	assert_string_equal(proxy_of(variables, "https://reg/", host, sizeof(host)), "secure:8080");
	assert_string_equal(proxy_of(variables, "https://localhost/", host, sizeof(host)),
	                    "direct");
	assert_string_equal(proxy_of(variables, "https://127.8.9.1:5000/", host, sizeof(host)),
	                    "direct");
	assert_string_equal(proxy_of(variables, "https://[::1]/", host, sizeof(host)), "direct");
	assert_string_equal(
		proxy_of(&(struct variable){ NULL, NULL }, "http://reg/", host, sizeof(host)),
		"direct");
}

static void check_excluded(const char *list, const char *url, bool excluded)
{
	const struct variable variables[] = { { "HTTPS_PROXY", "http://p" },
		                              { "NO_PROXY", list },
		                              { NULL, NULL } };
	char host[64];

	if (streq(proxy_of(variables, url, host, sizeof(host)), "direct") != excluded)
		fail_msg("NO_PROXY=%s %s: expected %s", list, url,
		         excluded ? "direct" : "the proxy");
}

static void no_proxy_names_hosts_domains_and_networks(void **arg)
{
	(void)arg;
	check_excluded("*", "https://any/", true);
	check_excluded("a, Reg.Example ,b", "https://reg.example/", true);
	check_excluded("reg.example", "https://sub.reg.example/", true);
	check_excluded("reg.example", "https://notreg.example/", false);
	check_excluded(".example", "https://reg.example/", true);
	check_excluded("*.example", "https://reg.example/", true);
	check_excluded(".reg.example", "https://reg.example/", false);
	check_excluded("reg:5000", "https://reg:5000/", true);
	check_excluded("reg:5000", "https://reg/", false);
	check_excluded("10.0.0.0/8", "https://10.200.3.4/", true);
	check_excluded("10.0.0.0/8", "https://11.0.0.1/", false);
	check_excluded("10.1.2.3", "https://10.1.2.3:5000/", true);
	check_excluded("fd00::/16", "https://[fd00::5]/", true);
	check_excluded("::ffff:10.0.0.0/104", "https://10.1.1.1/", true);
	check_excluded("10.0.0.0/40", "https://10.0.0.1/", false);
	check_excluded("", "https://reg/", false);
}

static void an_unusable_proxy_is_named_without_its_password(void **arg)
{
	static const struct variable variables[] = { { "https_proxy", "socks5://u:secret@p:1" },
		                                     { NULL, NULL } };
	static const struct variable port[] = { { "HTTP_PROXY", "http://u:secret@p:0" },
		                                { NULL, NULL } };
	cleanup(proxies_release) struct proxies proxies = { 0 };
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(proxies_init(&proxies, environment, (void *)(uintptr_t)variables, &err),
	                 -1);
	assert_non_null(strstr(err.msg, "https_proxy"));
	assert_null(strstr(err.msg, "secret"));
	assert_int_equal(proxies_init(&proxies, environment, (void *)(uintptr_t)port, &err), -1);
	assert_non_null(strstr(err.msg, "HTTP_PROXY"));
	assert_null(strstr(err.msg, "secret"));
}

static void check_name(const char *name, const char *host, bool covers)
{
	if (tls_name_matches(name, strlen(name), host) != covers)
		fail_msg("%s %s %s", name, covers ? "should cover" : "covers", host);
}

static void a_certificate_covers_one_label_by_wildcard(void **arg)
{
	(void)arg;
	check_name("reg.example", "REG.example", true);
	check_name("reg.example", "reg.example.", true);
	check_name("*.example.com", "reg.example.com", true);
	check_name("*.example.com", "a.reg.example.com", false);
	check_name("*.example.com", "example.com", false);
	check_name("*.example.com", ".example.com", false);
	check_name("*.com", "example.com", false);
	check_name("r*.example.com", "reg.example.com", false);
	check_name("*", "reg", false);
	check_name("", "", true);
	check_name("reg.example", "reg.examples", false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_scheme_has_its_proxy),
		cmocka_unit_test(no_proxy_names_hosts_domains_and_networks),
		cmocka_unit_test(an_unusable_proxy_is_named_without_its_password),
		cmocka_unit_test(a_certificate_covers_one_label_by_wildcard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
