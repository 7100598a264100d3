/* core/image/hosts_toml.h
 *
 * What mirrors.c and the reader of hosts.toml share. Private to the two.
 */
#ifndef CORACLE_CORE_IMAGE_HOSTS_TOML_H
#define CORACLE_CORE_IMAGE_HOSTS_TOML_H

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/mirrors.h"

void mirror_release(struct mirror *mirror);
/* The registry @domain itself, as it is without any configuration. */
NODISCARD int mirror_upstream(const char *domain, struct mirror *ret, struct err *err);
/* Bounded; errors name @path. */
NODISCARD int mirror_read_file(int dirfd, const char *path, char **ret_text, struct err *err);
void mirror_add_ca(struct mirror *mirror, char *pem); /* takes @pem */

DEFINE_CLEANUP(struct mirror, mirror_release);

#endif
