/* core/image/overlay.h
 *
 * Root file systems: the layers of an image under a writable directory of the container.
 *
 *   <root>/layers/<64 hex>/fs	       one layer, in overlayfs form (untar.h)
 *   <root>/layers/<64 hex>/meta       "size N\ninodes N\nroot 0|1\n"
 *   <root>/snapshots/<id>/upper,work  the writable part of container <id>
 *
 * Mounting can take long (and is where a broken disk shows), so it runs in a child: the parent prepares a plan (allocates,
 * checks), the child executes it without allocating, and says what went wrong on stderr.
 *
 *	plan = overlay_plan_new(&args, &err);
 *	child_spawn(loop, &(struct child_args){ .fn = overlay_mount_child, .fn_arg = plan, .capture_err = true, ... });
 *	in done: overlay_plan_free(plan)
 *
 * All steps are idempotent: mounting again over a finished mount is success.
 */
#ifndef CORACLE_CORE_IMAGE_OVERLAY_H
#define CORACLE_CORE_IMAGE_OVERLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define OVERLAY_LAYERS_MAX 500

struct overlay_args {
	const char *root;    /* store, absolute */
	const char *id;      /* snapshot: [A-Za-z0-9._-]+ */
	char *const *layers; /* keys "sha256:<hex>", base first; may be empty (scratch image) */
	const char *target;  /* where to mount, absolute; created (0755) when missing */
	bool read_only;      /* no upper: an image volume */
	const char *
		userns; /* path of the user namespace whose maps the lower layers get; NULL: none */
	uint32_t
		owner_uid; /* with a user namespace: host id of its root, owner of the upper directory */
	uint32_t owner_gid;
	bool force_mount2; /* tests: the path that kernels before 6.7 take */
};

struct overlay_plan;

/* INVALID_ARGUMENT naming what is wrong with the arguments. The namespace is opened by
 * the child, which inherits no descriptors. */
NODISCARD struct overlay_plan *overlay_plan_new(const struct overlay_args *args, struct err *err);
void overlay_plan_free(struct overlay_plan *plan);
int overlay_mount_child(void *arg);   /* creates upper and work, mounts */
int overlay_unmount_child(void *arg); /* target only (lazy); upper and work stay */
int overlay_remove_child(void *arg);  /* unmounts, removes target directory and snapshot */

/* Paths derived from ids; heap. */
char *overlay_upper_path(const char *root, const char *id);
char *overlay_layer_path(const char *root, const char *key); /* .../fs */

struct layer_meta {
	uint64_t size_bytes, inodes;
	bool has_root;
};
/* "size N\ninodes N\nroot 0|1\n"; -1 unless exactly that. */
int layer_meta_format(const struct layer_meta *meta, char *text, size_t size);
NODISCARD int layer_meta_parse(const char *text, size_t len, struct layer_meta *ret);

DEFINE_CLEANUP_PTR(struct overlay_plan, overlay_plan_free);

#endif
