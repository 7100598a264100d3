#include "core/net/builtin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/codec.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/sha256.h"
#include "core/base/str.h"

#define DEFAULT_STATE   "/run/coracle"
#define MAX_ROUTE_BYTES (4 * 1024 * 1024)
#define FIRST_NET                                                                                  \
	0x0ac80000u /* 10.200.0.0: away from the 10.42, 10.88, 10.244 and 10.96 of others */
#define CANDIDATES  (32 * 256) /* up to 10.231.255.0/24 */
#define PREFIX_MASK 0xffffff00u

static void hash_state(const char *state_dir, uint8_t digest[SHA256_SIZE])
{
	struct sha256 ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, state_dir, strlen(state_dir));
	sha256_final(&ctx, digest);
}

void builtin_bridge(const char *state_dir, char name[BUILTIN_BRIDGE_SIZE])
{
	uint8_t digest[SHA256_SIZE];

	if (streq(state_dir, DEFAULT_STATE)) {
		ignore(str_copy(name, BUILTIN_BRIDGE_SIZE, "coracle0")); /* fits */
		return;
	}
	hash_state(state_dir, digest);
	snprintf(name, BUILTIN_BRIDGE_SIZE, "cora-%02x%02x%02x%02x", digest[0], digest[1],
	         digest[2], digest[3]);
}

/* One line of /proc/net/route: name, destination, gateway, ..., mask; addresses are network order printed as a host word. */
static bool parse_route(struct str line, char name[32], uint32_t *ret_net, uint32_t *ret_mask)
{
	char copy[256];
	unsigned dest, mask;

	if (line.len >= sizeof(copy))
		return false;
	memcpy(copy, line.p, line.len);
	copy[line.len] = '\0';
	if (sscanf(copy, "%31s %8x %*x %*x %*d %*d %*d %8x", name, &dest, &mask) != 3)
		return false;
	*ret_net = ntohl(dest);
	*ret_mask = ntohl(mask);
	return true;
}

static bool is_routed(uint32_t net, const char *routes, const char *bridge)
{
	struct str rest = str_of(routes), line;

	while (rest.len > 0) {
		uint32_t other, mask, common;
		char name[32];

		str_cut(rest, '\n', &line, &rest);
		if (!parse_route(line, name, &other, &mask) || mask == 0 || streq(name, bridge))
			continue; /* the header, a default route, or our own */
		common = mask & PREFIX_MASK;
		if ((net & common) == (other & common))
			return true;
	}
	return false;
}

int builtin_subnet(const char *state_dir, const char *routes, const char *bridge,
                   uint32_t *ret_subnet, struct err *err)
{
	uint8_t digest[SHA256_SIZE];
	uint32_t start;

	hash_state(state_dir, digest);
	start = ((uint32_t)digest[4] << 8 | digest[5]) % CANDIDATES;
	for (uint32_t i = 0; i < CANDIDATES; i++) {
		uint32_t net = FIRST_NET + ((start + i) % CANDIDATES) * 256;

		if (!is_routed(net, routes, bridge)) {
			*ret_subnet = net;
			return 0;
		}
	}
	return err_set(
		err, CODE_RESOURCE_EXHAUSTED,
		"built-in network: the host has routes to every candidate subnet from 10.200.0.0 to 10.231.255.0");
}

/* What an earlier start of this boot chose; its pods live in it. */
static bool read_kept(const char *path, uint32_t *ret_subnet)
{
	cleanup_free char *text = NULL;
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	uint64_t subnet;
	struct err err;
	size_t len;

	if (fsx_read(AT_FDCWD, path, 4096, &text, &len) < 0)
		return false;
	doc = json_parse(text, len, 4096, path, &err);
	subnet = doc ? json_u64(yyjson_doc_get_root(doc), "subnet", 0) : 0;
	if (subnet < FIRST_NET || subnet >= FIRST_NET + CANDIDATES * 256 || (subnet & 0xff) != 0)
		return false; /* written half, or by somebody else: choose anew */
	*ret_subnet = (uint32_t)subnet;
	return true;
}

static int choose_subnet(const char *state_dir, const char *bridge, bool keep, uint32_t *ret_subnet,
                         struct err *err)
{
	cleanup_free char *dir = xasprintf("%s/net", state_dir);
	cleanup_free char *path = xasprintf("%s/builtin.json", dir);
	cleanup_free char *routes = NULL;
	char text[64];
	size_t len;
	int rc;

	if (read_kept(path, ret_subnet))
		return 0;
	rc = fsx_read(AT_FDCWD, "/proc/net/route", MAX_ROUTE_BYTES, &routes, &len);
	if (rc < 0)
		return err_sys(err, -rc, "built-in network: read /proc/net/route");
	if (builtin_subnet(state_dir, routes, bridge, ret_subnet, err) < 0)
		return -1;
	if (!keep)
		return 0;
	rc = fsx_mkdir_p(dir, 0700);
	if (rc < 0)
		return err_sys(err, -rc, "built-in network: create %s", dir);
	ignore(str_format(text, sizeof(text), "{\"subnet\":%u}\n",
	                  (unsigned)*ret_subnet)); /* fits */
	rc = fsx_write(AT_FDCWD, path, text, strlen(text), 0600);
	if (rc < 0)
		return err_sys(err, -rc, "built-in network: write %s", path);
	return 0;
}

int builtin_conf(const char *state_dir, unsigned with, bool keep, char **ret_text, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/net/ipam", state_dir);
	cleanup_free char *data_dir = json_quote(path);
	char bridge[BUILTIN_BRIDGE_SIZE];
	uint32_t subnet = 0;

	builtin_bridge(state_dir, bridge);
	if (choose_subnet(state_dir, bridge, keep, &subnet, err) < 0)
		return -1;
	/* isGateway makes the bridge plugin switch ip_forward on. The firewall plugin lets the pods through a FORWARD chain
	 * whose policy is DROP. No CHECK: portmap (1.1.1) then misses the IPv6 rules that an IPv4 pod never gets. */
	*ret_text = xasprintf(
		"{\"cniVersion\":\"0.4.0\",\"name\":\"%s\",\"disableCheck\":true,\"plugins\":["
		"{\"type\":\"bridge\",\"bridge\":\"%s\",\"isGateway\":true,\"ipMasq\":%s,\"hairpinMode\":true,"
		"\"ipam\":{\"type\":\"host-local\",\"dataDir\":%s,\"ranges\":[[{\"subnet\":\"%u.%u.%u.0/24\"}]],"
		"\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}}%s%s]}",
		bridge, bridge, with & BUILTIN_MASQUERADE ? "true" : "false", data_dir,
		subnet >> 24, subnet >> 16 & 0xff, subnet >> 8 & 0xff,
		with & BUILTIN_FIREWALL ? ",{\"type\":\"firewall\"}" : "",
		with & BUILTIN_PORTMAP
			? ",{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true}}"
			: "");
	return 0;
}
