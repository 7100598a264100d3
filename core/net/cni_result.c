#include "core/net/cni_result.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <yyjson.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

struct addresses {
	char *items[CNI_RESULT_MAX_IPS + 1];
	int family[CNI_RESULT_MAX_IPS];
	size_t count;
};

static void addresses_release(struct addresses *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	list->count = 0;
}
DEFINE_CLEANUP(struct addresses, addresses_release);

/* "10.1.2.3/24", or without the prefix length; kept in canonical form. */
static int add_address(struct addresses *list, const char *text, struct err *err)
{
	char host[INET6_ADDRSTRLEN], canonical[INET6_ADDRSTRLEN];
	unsigned char bytes[sizeof(struct in6_addr)];
	size_t len = text ? strcspn(text, "/") : 0;
	int family = text && memchr(text, ':', len) ? AF_INET6 : AF_INET;

	if (len == 0 || len >= sizeof(host))
		return err_set(err, CODE_INVALID_ARGUMENT, "\"%.60s\" is not an address",
		               or_empty(text));
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(family, host, bytes) != 1 ||
	    !inet_ntop(family, bytes, canonical, sizeof(canonical)))
		return err_set(err, CODE_INVALID_ARGUMENT, "\"%.60s\" is not an address", text);
	if (list->count == CNI_RESULT_MAX_IPS)
		return err_set(err, CODE_INVALID_ARGUMENT, "more than %d addresses",
		               CNI_RESULT_MAX_IPS);
	list->family[list->count] = family;
	list->items[list->count++] = xstrdup(canonical);
	return 0;
}

/* 0.1.0 and 0.2.0 */
static int collect_old(yyjson_val *root, struct addresses *list, struct err *err)
{
	static const char *const keys[] = { "ip4", "ip6" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		yyjson_val *half = json_obj(root, keys[i]);

		if (half && add_address(list, json_str(half, "ip", NULL), err) < 0)
			return -1;
	}
	return 0;
}

enum place { PLACE_WANTED, PLACE_INSIDE, PLACE_HOST };

/* Which interface does an address belong to? An address that names none is the wanted one's. */
static int place_of(yyjson_val *ip, yyjson_val *interfaces, const char *ifname, enum place *ret,
                    struct err *err)
{
	yyjson_val *index = yyjson_obj_get(ip, "interface"), *interface;

	if (!index || yyjson_is_null(index)) {
		*ret = PLACE_WANTED;
		return 0;
	}
	if (!yyjson_is_int(index) || yyjson_get_sint(index) < 0 ||
	    (uint64_t)yyjson_get_sint(index) >= (interfaces ? yyjson_arr_size(interfaces) : 0))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "an address names an interface that is not listed");
	interface = yyjson_arr_get(interfaces, (size_t)yyjson_get_sint(index));
	if (!*json_str(interface, "sandbox", ""))
		*ret = PLACE_HOST;
	else
		*ret = streq(json_str(interface, "name", ""), ifname) ? PLACE_WANTED : PLACE_INSIDE;
	return 0;
}

/* 0.3.0 and later; addresses of one place only. */
static int collect_new(yyjson_val *root, const char *ifname, enum place wanted,
                       struct addresses *list, struct err *err)
{
	yyjson_val *ips = json_arr(root, "ips"), *interfaces = json_arr(root, "interfaces");
	size_t count = ips ? yyjson_arr_size(ips) : 0;

	for (size_t i = 0; i < count; i++) {
		yyjson_val *ip = yyjson_arr_get(ips, i);
		enum place place;

		if (place_of(ip, interfaces, ifname, &place, err) < 0)
			return -1;
		if (place == wanted && add_address(list, json_str(ip, "address", NULL), err) < 0)
			return -1;
	}
	return 0;
}

int cni_result_ips(const char *json, size_t len, const char *ifname, char ***ret_ips,
                   struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(json, len, CNI_RESULT_MAX_BYTES, "result", err);
	cleanup(addresses_release) struct addresses list = { .count = 0 };
	yyjson_val *root = doc ? yyjson_doc_get_root(doc) : NULL;
	size_t primary = 0, n = 0;
	char **ips;

	if (!doc)
		return -1;
	if (!yyjson_is_obj(root))
		return err_set(err, CODE_INVALID_ARGUMENT, "the result is not a JSON object");
	if (yyjson_obj_get(root, "ip4") || yyjson_obj_get(root, "ip6")) {
		if (collect_old(root, &list, err) < 0)
			return -1;
	} else {
		if (collect_new(root, ifname, PLACE_WANTED, &list, err) < 0)
			return -1;
		if (list.count == 0 && collect_new(root, ifname, PLACE_INSIDE, &list, err) < 0)
			return -1;
	}
	if (list.count == 0)
		return err_set(err, CODE_FAILED_PRECONDITION, "the result has no address for %s",
		               ifname);

	while (primary < list.count && list.family[primary] != AF_INET)
		primary++;
	if (primary == list.count)
		primary = 0;
	ips = xcalloc(list.count + 1, sizeof(*ips));
	ips[n++] = list.items[primary];
	for (size_t i = 0; i < list.count; i++) {
		if (i != primary)
			ips[n++] = list.items[i];
	}
	list.count = 0; /* they moved */
	*ret_ips = ips;
	return 0;
}

void cni_result_error(const char *json, size_t len, char *text, size_t size)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	const char *msg, *details;
	yyjson_val *root;
	struct err err;

	text[0] = '\0';
	doc = json_parse(json, len, CNI_RESULT_MAX_BYTES, "error", &err);
	root = doc ? yyjson_doc_get_root(doc) : NULL;
	msg = json_str(root, "msg", "");
	details = json_str(root, "details", "");
	snprintf(text, size, "%s%s%s", msg, *msg && *details ? ": " : "", details);
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	}
}
