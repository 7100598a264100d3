/* core/loop/stream.h
 *
 * Buffered nonblocking bytes over one descriptor, with watermarks: reading pauses while the owner's consumer is behind,
 * writers learn when the buffer is above its high mark.
 */
#ifndef CORACLE_CORE_LOOP_STREAM_H
#define CORACLE_CORE_LOOP_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"

struct stream;

struct stream_ops {
	/* Bytes arrived; returns how many were consumed (the rest is offered again with more). Called with the whole unconsumed
	 * input. May free the stream (then return value is ignored). */
	size_t (*on_data)(void *arg, const void *data, size_t len);
	/* EOF (err NULL) or failure. Reading has ended; writes may go on after EOF. Called once. */
	void (*on_end)(void *arg, const struct err *err);
	/* Output fell below the low mark after it was above the high mark; NULL: not wanted. */
	void (*on_drain)(void *arg);
};

/* Takes the descriptor (nonblocking afterwards). max_in/max_out: hard limits in bytes. */
NODISCARD struct stream *stream_new(struct loop *loop, int fd, size_t max_in, size_t max_out,
                                    const struct stream_ops *ops, void *arg, const char *name,
                                    struct err *err);
void stream_free(struct stream *stream);
/* Queue bytes; tries to write at once. -1 when max_out would be exceeded or the stream is dead. */
NODISCARD int stream_write(struct stream *stream, const void *data, size_t len);
size_t stream_pending(const struct stream *stream);    /* bytes not written yet */
bool stream_above_mark(const struct stream *stream);   /* pending > max_out / 2 */
void stream_pause(struct stream *stream, bool paused); /* stop/continue reading */
void stream_shutdown_write(struct stream *stream); /* half-close after what is pending went out */
int stream_fd(const struct stream *stream);

#endif
