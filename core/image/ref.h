/* core/image/ref.h
 *
 * Image references as people write them ("busybox", "localhost:5000/a/b:v1@sha256:...") and the one canonical form that is
 * the key of every name in the store: domain always present, "library/" added for docker.io, ":latest" when neither tag nor
 * digest is given, the tag dropped when there is a digest.
 *
 * Source: the grammar of the distribution project, which kubelet and both peers use unchanged.
 */
#ifndef CORACLE_CORE_IMAGE_REF_H
#define CORACLE_CORE_IMAGE_REF_H

#include <stdbool.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/str.h"

#define REF_MAX_BYTES 4096
#define REF_PATH_MAX  255 /* repository path, domain excluded */

struct ref {
	char *domain; /* "docker.io", "[fc00::1]:5000" */
	char *path;   /* "library/busybox" */
	char *tag;    /* NULL: none given */
	char *digest; /* "sha256:<hex>", NULL: none given */
};

void ref_release(struct ref *ref);

/*
 * ref_parse - parse @text and fill in domain and "library/"; tag and digest stay as given.
 * Errors: INVALID_ARGUMENT naming @text and the rule it breaks.
 */
NODISCARD int ref_parse(struct str text, struct ref *ret_ref, struct err *err);

/* ref_canonical - the store's key for @text: "docker.io/library/busybox:latest", "gcr.io/x@sha256:...". Heap. */
NODISCARD int ref_canonical(struct str text, char **ret_text, struct err *err);

/*
 * ref_parse_any - what a client may send where an image is asked for: 64 hex characters or a full digest give
 * "sha256:<hex>" (*ret_is_digest true), everything else its canonical name.
 */
NODISCARD int ref_parse_any(struct str text, char **ret_text, bool *ret_is_digest, struct err *err);

char *ref_name(const struct ref *ref); /* "domain/path", heap */
char *ref_text(const struct ref *ref); /* with ":tag" and "@digest" as present, heap */

/* Order inside one image's lists: name:tag@digest, name:tag, name@digest, name, digest, anything else; bytewise within a rank. */
int ref_compare(const char *a, const char *b);

/* "alg:hex" with a supported algorithm (sha256, sha384, sha512), lower-case hex of the right length. */
bool digest_is_valid(struct str text);

DEFINE_CLEANUP(struct ref, ref_release);

#endif
