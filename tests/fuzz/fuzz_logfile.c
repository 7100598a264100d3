/* A container's output in reads of any size: the log's records are well formed, none is longer
 * than allowed, and joined they are what was written, line ends apart. The first two bytes
 * choose the longest line and the size of the reads. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/monitor/logfile.h"

#define HEAD (sizeof("2025-11-25T02:23:13.000000001Z stdout F ") - 1)

/* "\r\n" is "\n" in a log. */
static size_t normalise(const uint8_t *data, size_t size, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < size; i++)
		if (data[i] != '\r' || i + 1 == size || data[i + 1] != '\n')
			out[n++] = (char)data[i];
	return n;
}

static size_t join(const char *log, size_t len, size_t max_line, char *out)
{
	size_t n = 0;

	for (size_t at = 0; at < len;) {
		const char *end = memchr(log + at, '\n', len - at);
		size_t content;

		ensure(end && (size_t)(end - log) >= at + HEAD);
		ensure(memcmp(log + at + 30, " stdout ", 8) == 0 && log[at + HEAD - 1] == ' ');
		content = (size_t)(end - log) - at - HEAD;
		ensure(content <= max_line);
		memcpy(out + n, log + at + HEAD, content);
		n += content;
		if (log[at + HEAD - 2] == 'F')
			out[n++] = '\n';
		else
			ensure(log[at + HEAD - 2] == 'P' && content > 0);
		at = (size_t)(end - log) + 1;
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct logstream stream;
	struct logfile log = { .path = "" };
	size_t max_line, step, len, have, want;
	char *text, *joined, *plain;
	uint8_t *buf;

	if (size < 2 || size > 8192)
		return 0;
	max_line = 1 + data[0] % 64;
	step = 1 + data[1];
	data += 2;
	size -= 2;

	log.fd = memfd_create("log", MFD_CLOEXEC);
	ensure(log.fd >= 0);
	ensure(fcntl(log.fd, F_SETFL, O_APPEND) == 0);
	buf = malloc(LOG_STREAM_BYTES(max_line));
	logstream_init(&stream, "stdout", buf, max_line);
	for (size_t at = 0; at < size;) {
		size_t room, n = step < size - at ? step : size - at;
		uint8_t *to = logstream_room(&stream, &room);

		n = n < room ? n : room;
		memcpy(to, data + at, n);
		logstream_grew(&stream, &log, n, INT64_C(1764037393000000001));
		ensure(stream.len <= max_line + 1);
		at += n;
	}
	logstream_finish(&stream, &log, INT64_C(1764037393000000001));
	ensure(log.lost == 0 && stream.len == 0);

	len = (size_t)lseek(log.fd, 0, SEEK_END);
	text = malloc(len + 1);
	joined = malloc(len + 1);
	plain = malloc(size + 1);
	ensure(pread(log.fd, text, len, 0) == (ssize_t)len);
	have = join(text, len, max_line, joined);
	want = normalise(data, size, plain);
	ensure(have == want && memcmp(joined, plain, want) == 0);

	free(plain);
	free(joined);
	free(text);
	free(buf);
	logfile_close(&log);
	return 0;
}
