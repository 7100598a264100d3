#include "cmd/check/subnet.h"

#include <arpa/inet.h>
#include <linux/ipv6_route.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 256

int subnet_parse(const char *text, struct subnet *ret)
{
	struct subnet subnet = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };
	struct str address, bits;
	char copy[INET6_ADDRSTRLEN];
	uint64_t n;

	if (!str_cut(str_of(text), '/', &address, &bits) ||
	    str_format(copy, sizeof(copy), STR_FMT, STR_ARG(address)) < 0 ||
	    inet_pton(subnet.family, copy, subnet.address) != 1 ||
	    str_u64(bits, subnet.family == AF_INET ? 32 : 128, &n) < 0)
		return -1;
	subnet.bits = (unsigned int)n;
	*ret = subnet;
	return 0;
}

void subnet_text(const struct subnet *subnet, char text[SUBNET_TEXT])
{
	char address[INET6_ADDRSTRLEN] = "";

	inet_ntop(subnet->family, subnet->address, address, sizeof(address));
	snprintf(text, SUBNET_TEXT, "%s/%u", address, subnet->bits);
}

bool subnet_overlaps(const struct subnet *a, const struct subnet *b)
{
	unsigned int common = MIN(a->bits, b->bits), bytes = common / 8;
	uint8_t mask = (uint8_t)(0xff00 >> common % 8);

	return a->family == b->family && memcmp(a->address, b->address, bytes) == 0 &&
	       (common % 8 == 0 || ((a->address[bytes] ^ b->address[bytes]) & mask) == 0);
}

/* Interface, destination, gateway, flags, three numbers, mask; addresses are network order printed as a host word. */
static bool parse_ipv4(const char *line, struct route *ret)
{
	uint32_t to, mask;

	if (sscanf(line, "%31s %8x %*x %*x %*d %*d %*d %8x", ret->device, &to, &mask) != 3)
		return false; /* the heading */
	ret->to = (struct subnet){ .family = AF_INET,
		                   .bits = (unsigned int)__builtin_popcount(mask) };
	memcpy(ret->to.address, &to, sizeof(to));
	return ret->to.bits > 0;
}

/* Destination and its bits, source and its bits, next hop, metric, two counters, flags, interface. */
static bool parse_ipv6(const char *line, struct route *ret)
{
	static const struct subnet link_local = { AF_INET6, { 0xfe, 0x80 }, 10 },
				   multicast = { AF_INET6, { 0xff }, 8 };
	unsigned int flags;
	char to[33];

	ret->to = (struct subnet){ .family = AF_INET6 };
	if (sscanf(line, "%32[0-9a-f] %x %*x %*x %*x %*x %*x %*x %x %31s", to, &ret->to.bits,
	           &flags, ret->device) != 4 ||
	    strlen(to) != 32)
		return false;
	for (size_t i = 0; i < sizeof(ret->to.address); i++)
		if (sscanf(to + 2 * i, "%2hhx", &ret->to.address[i]) != 1)
			return false;
	return ret->to.bits > 0 && !(flags & RTF_LOCAL) &&
	       !subnet_overlaps(&ret->to, &link_local) && !subnet_overlaps(&ret->to, &multicast);
}

bool route_next(int family, struct str *inout, struct route *ret)
{
	struct str line;
	char copy[LINE_MAX_BYTES];

	while (inout->len) {
		str_cut(*inout, '\n', &line, inout);
		if (str_format(copy, sizeof(copy), STR_FMT, STR_ARG(line)) == 0 &&
		    (family == AF_INET ? parse_ipv4(copy, ret) : parse_ipv6(copy, ret)))
			return true;
	}
	return false;
}
