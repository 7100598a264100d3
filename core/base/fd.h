/* core/base/fd.h
 *
 * Descriptors. Results are >= 0 or a negative errno. Everything made here is CLOEXEC.
 */
#ifndef CORACLE_CORE_BASE_FD_H
#define CORACLE_CORE_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/base/attr.h"

NODISCARD int fd_set_nonblock(int fd, bool on);
NODISCARD int fd_set_cloexec(int fd, bool on);
/* Whole buffer, EINTR and short counts handled. read_full returns what there was before EOF. */
NODISCARD ssize_t read_full(int fd, void *data, size_t len);
NODISCARD ssize_t write_full(int fd, const void *data, size_t len);
NODISCARD ssize_t pread_full(int fd, void *data, size_t len, off_t off);
NODISCARD ssize_t pwrite_full(int fd, const void *data, size_t len, off_t off);
/* One message with up to 8 descriptors over a unix socket (they arrive CLOEXEC). recv: *inout_nfds
 * in = room, out = got; data or descriptors beyond the room: -EMSGSIZE, nothing is kept open. */
NODISCARD ssize_t fd_send(int sock, const void *data, size_t len, const int *fds, size_t nfds);
NODISCARD ssize_t fd_recv(int sock, void *data, size_t len, int *fds, size_t *inout_nfds);
/* Unix socket addresses longer than sun_path are reached through /proc/self/fd of the directory.
 * unix_listen replaces a socket file that nobody listens on; -EADDRINUSE: somebody does; -EEXIST:
 * it is another kind of file. */
NODISCARD int unix_listen(const char *path, int type, mode_t mode, int backlog);
NODISCARD int unix_connect(const char *path, int type); /* blocking connect */

#endif
