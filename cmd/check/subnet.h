/* cmd/check/subnet.h: address ranges of both families, and the routes of a machine. */
#ifndef CORACLE_CMD_CHECK_SUBNET_H
#define CORACLE_CMD_CHECK_SUBNET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/str.h"

struct subnet {
	int family; /* AF_INET, AF_INET6 */
	uint8_t address[16];
	unsigned int bits;
};

#define SUBNET_TEXT 64

/* "10.1.0.0/16"; -1: not a range. */
NODISCARD int subnet_parse(const char *text, struct subnet *ret);
void subnet_text(const struct subnet *subnet, char text[SUBNET_TEXT]);
bool subnet_overlaps(const struct subnet *a, const struct subnet *b);

struct route {
	struct subnet to;
	char device[32];
};

/*
 * route_next - cut the next route off @inout, the text of /proc/net/route or (@family AF_INET6) /proc/net/ipv6_route. Default routes,
 * and those to the machine's own addresses, to links and groups are passed over. False: that was all.
 */
NODISCARD bool route_next(int family, struct str *inout, struct route *ret);

#endif
