/* CNI bytes from outside: first byte chooses network configuration, result or error. What is accepted keeps its promises. */
#include <stdint.h>
#include <string.h>

#include <yyjson.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/net/cni_result.h"
#include "core/net/netconf.h"

/* A list that was accepted is accepted again in the form we keep it in, as a journaled plan needs. */
static void fuzz_conf(const char *text, size_t len)
{
	cleanup(netconf_free) struct netconf *conf = NULL;
	cleanup(netconf_free) struct netconf *again = NULL;
	cleanup_free char *kept = NULL;
	struct err err;
	size_t kept_len;

	if (netconf_parse("fuzz", text, len, &conf, &err) < 0)
		return;
	ensure(netconf_is_name(conf->name) && netconf_count(conf) > 0 &&
	       netconf_count(conf) <= NETCONF_MAX_PLUGINS);
	for (size_t i = 0; i < netconf_count(conf); i++)
		ensure(*netconf_type(conf, i) && !strchr(netconf_type(conf, i), '/'));
	kept = yyjson_val_write(yyjson_doc_get_root(conf->doc), 0, &kept_len);
	if (!kept || kept_len > NETCONF_MAX_BYTES)
		return;
	ensure(netconf_parse("again", kept, kept_len, &again, &err) == 0);
	ensure(streq(conf->name, again->name) && streq(conf->version, again->version));
	ensure(netconf_count(conf) == netconf_count(again));
}

static void fuzz_result(const char *text, size_t len)
{
	cleanup(strv_free) char **ips = NULL;
	struct err err;

	if (cni_result_ips(text, len, "eth0", &ips, &err) < 0)
		return;
	ensure(strv_len(ips) > 0 && strv_len(ips) <= CNI_RESULT_MAX_IPS);
	for (size_t i = 0; ips[i]; i++)
		ensure(strspn(ips[i], "0123456789abcdef.:") == strlen(ips[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	char words[64];

	if (size == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		fuzz_conf(text, size - 1);
		break;
	case 1:
		fuzz_result(text, size - 1);
		break;
	default:
		cni_result_error(text, size - 1, words, sizeof(words));
		ensure(strlen(words) < sizeof(words) && !strchr(words, '\n'));
		break;
	}
	return 0;
}
