/* core/image/unpack.h
 *
 * The privileged half of an image pull: `coracle unpack`, started by `coracle pull` before that one confines itself. It knows
 * no archive format, no compression and no JSON: it is told, entry by entry, what to create below the staging directory, and
 * does it under the rules of untar.h. Sessions run in forks of their own, so that layers are written in parallel.
 *
 * The calls below are made by the pull process.
 */
#ifndef CORACLE_CORE_IMAGE_UNPACK_H
#define CORACLE_CORE_IMAGE_UNPACK_H

#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/unpack_wire.h"

/* Applet: argv = { "unpack", <staging directory>, <layers directory> }, control socket on descriptor UNPACK_CONTROL_FD. */
int unpack_main(int argc, char **argv);
#define UNPACK_CONTROL_FD 3

#define UNPACK_SESSIONS_MAX 8

/*
 * unpack_start - fork and exec "/proc/self/exe unpack"; *ret_control is our end of its control socket.
 * It ends when the control socket and all sessions are closed.
 */
NODISCARD int unpack_start(const char *staging, const char *layers, int *ret_control,
                           pid_t *ret_pid, struct err *err);

/* unpack_session - a new session; the socket is the caller's. Thread: any. */
NODISCARD int unpack_session(int control, int *ret_socket, struct err *err);

/* Send one frame / wait for DONE. A reply that carries an error fails with that error. */
NODISCARD int unpack_send(int sock, enum unpack_frame type, const void *head, size_t head_len,
                          const void *data, size_t len, struct err *err);
NODISCARD int unpack_wait(int sock, struct untar_result *ret, struct err *err);

/* unpack_fix - finish @slot once all of @lowers (top-most first, "s<slot>" or "l<hex>") are complete. */
NODISCARD int unpack_fix(int control, uint32_t slot, char *const *lowers, size_t nlowers,
                         struct untar_result *ret, struct err *err);

#endif
