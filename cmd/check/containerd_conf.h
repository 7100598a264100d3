/* cmd/check/containerd_conf.h
 *
 * A containerd configuration with its imports, as far as its own rules need it: which setting is in force, and where it
 * stands. The files are kept in the order they are read; a setting is the last one that stands anywhere. Where the CRI
 * settings live depends on the version: one table up to version 2, three since.
 */
#ifndef CORACLE_CMD_CHECK_CONTAINERD_CONF_H
#define CORACLE_CMD_CHECK_CONTAINERD_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cmd/check/check.h"
#include "core/base/attr.h"
#include "core/base/toml.h"

#define CONTAINERD_MAX_FILES 64

struct containerd_file {
	char *path;
	dev_t dev; /* with ino: who it is, however it is called */
	ino_t ino;
	struct toml *toml;
	int64_t version;
};

struct containerd_conf {
	struct containerd_file all[CONTAINERD_MAX_FILES];
	size_t count; /* all[0] is the main file */
};

/* The file of @ctx and its imports, those that can be read; @out (may be NULL) hears of the others. False: there is not
 * even the first. */
NODISCARD bool containerd_read(const struct check_ctx *ctx, struct containerd_conf *ret,
                               struct check_out *out);
void containerd_conf_release(struct containerd_conf *conf);
DEFINE_CLEANUP(struct containerd_conf, containerd_conf_release);

/* Where an import points, below the sysroot; heap. */
char *containerd_import(const struct check_ctx *ctx, const struct containerd_file *file,
                        struct str import);

struct setting {
	const struct containerd_file *file; /* NULL: it stands nowhere */
	const struct toml_value *value;
};

/* A CRI setting, "cni/bin_dir". */
struct setting containerd_find(const struct containerd_conf *conf, const char *path);
/* A setting of another plugin; @old_name: the plugin's name in files of version 0 and 1. */
struct setting containerd_plugin(const struct containerd_conf *conf, const char *name,
                                 const char *old_name, const char *key);

bool setting_is_text(struct setting s); /* and not empty */
bool setting_is_true(struct setting s);
/* Set to something: not "", 0, false or an empty table or list. */
bool setting_is_set(struct setting s);

/* Each configured runtime, once, with the file that says the last word on it. */
typedef void (*containerd_runtime_fn)(void *arg, const struct containerd_file *file,
                                      const char *name);
void containerd_each_runtime(const struct containerd_conf *conf, containerd_runtime_fn fn,
                             void *arg);

/* The report before is about this place. */
void containerd_source(struct check_out *out, const struct containerd_file *file,
                       const struct toml_value *value);

#endif
