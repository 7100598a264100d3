/* core/base/err.c
 *
 * Every message is composed in a local buffer first, so an argument may point into the err that is
 * being filled (wrapping an error with its own text). Messages are one line: whatever a tool
 * printed, control characters become blanks here and nobody above needs to think of it.
 */
#include "core/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/bug.h"

#define MSG_SIZE sizeof(((struct err *)NULL)->msg)
#define CUT      "..."

/* Never cut in the middle of a UTF-8 sequence: gRPC peers refuse such text. */
static size_t utf8_boundary(const char *text, size_t at)
{
	while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
		at--;
	return at;
}

/* Keep at most @size - 1 bytes of @text; @full is the length it wanted to have. */
static void cut_to(char *text, size_t size, size_t full)
{
	size_t at;

	if (full < size)
		return;
	at = utf8_boundary(text, size - sizeof(CUT));
	memcpy(text + at, CUT, sizeof(CUT));
}

static void one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = ' ';
}

static void format(char text[MSG_SIZE], const char *fmt, va_list ap)
{
	int n = vsnprintf(text, MSG_SIZE, fmt, ap);

	ensure(n >= 0);
	cut_to(text, MSG_SIZE, (size_t)n);
	one_line(text);
}

/*
 * "head: tail". Where both do not fit, the middle goes: the start says which call it was, the end
 * says why it failed. So the head keeps its first and the tail its last characters, and either has
 * at least half the room.
 */
static void join(char text[MSG_SIZE], char head[MSG_SIZE], const char *tail)
{
	const size_t room = MSG_SIZE - 1 - strlen(": ");
	size_t tail_len = strlen(tail);
	const char *dots = "";
	int n;

	cut_to(head, room - MIN(tail_len, room / 2) + 1, strlen(head));
	if (strlen(head) + tail_len > room) {
		tail += tail_len - (room - strlen(head) - strlen(CUT));
		while (((unsigned char)*tail & 0xc0) ==
		       0x80) /* not from the middle of a UTF-8 sequence */
			tail++;
		dots = CUT;
	}
	n = snprintf(text, MSG_SIZE, "%s: %s%s", head, dots, tail);
	ensure(n >= 0 && (size_t)n < MSG_SIZE);
	one_line(text);
}

int err_set(struct err *err, enum code code, const char *fmt, ...)
{
	char text[MSG_SIZE];
	va_list ap;

	ensure(err && code != CODE_OK);

	va_start(ap, fmt);
	format(text, fmt, ap);
	va_end(ap);

	err->code = code;
	err->sys = 0;
	memcpy(err->msg, text, sizeof(text));
	return -1;
}

int err_sys(struct err *err, int sys, const char *fmt, ...)
{
	char head[MSG_SIZE], text[MSG_SIZE];
	va_list ap;

	ensure(err);

	va_start(ap, fmt);
	format(head, fmt, ap);
	va_end(ap);
	join(text, head, errno_name(sys));

	err->code = code_from_errno(sys);
	err->sys = sys;
	memcpy(err->msg, text, sizeof(text));
	return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char head[MSG_SIZE], text[MSG_SIZE];
	va_list ap;

	ensure(err && err->code != CODE_OK);

	va_start(ap, fmt);
	format(head, fmt, ap);
	va_end(ap);
	join(text, head, err->msg);

	memcpy(err->msg, text, sizeof(text));
	return -1;
}

bool err_is(const struct err *err, enum code code)
{
	return err->code == code;
}

void err_clear(struct err *err)
{
	*err = (struct err){ .code = CODE_OK };
}

enum code code_from_errno(int sys)
{
	switch (sys) {
	case ENOENT:
		return CODE_NOT_FOUND;
	case EEXIST:
		return CODE_ALREADY_EXISTS;
	case EACCES:
	case EPERM:
		return CODE_PERMISSION_DENIED;
	case ENOSPC:
	case EDQUOT:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return CODE_RESOURCE_EXHAUSTED;
	case ETIMEDOUT:
		return CODE_DEADLINE_EXCEEDED;
	default:
		return CODE_INTERNAL;
	}
}

const char *code_name(enum code code)
{
	switch (code) {
	case CODE_OK:
		return "OK";
	case CODE_CANCELLED:
		return "CANCELLED";
	case CODE_UNKNOWN:
		return "UNKNOWN";
	case CODE_INVALID_ARGUMENT:
		return "INVALID_ARGUMENT";
	case CODE_DEADLINE_EXCEEDED:
		return "DEADLINE_EXCEEDED";
	case CODE_NOT_FOUND:
		return "NOT_FOUND";
	case CODE_ALREADY_EXISTS:
		return "ALREADY_EXISTS";
	case CODE_PERMISSION_DENIED:
		return "PERMISSION_DENIED";
	case CODE_RESOURCE_EXHAUSTED:
		return "RESOURCE_EXHAUSTED";
	case CODE_FAILED_PRECONDITION:
		return "FAILED_PRECONDITION";
	case CODE_ABORTED:
		return "ABORTED";
	case CODE_OUT_OF_RANGE:
		return "OUT_OF_RANGE";
	case CODE_UNIMPLEMENTED:
		return "UNIMPLEMENTED";
	case CODE_INTERNAL:
		return "INTERNAL";
	case CODE_UNAVAILABLE:
		return "UNAVAILABLE";
	case CODE_DATA_LOSS:
		return "DATA_LOSS";
	case CODE_UNAUTHENTICATED:
		return "UNAUTHENTICATED";
	}
	return "UNKNOWN"; /* a number from a peer newer than us */
}

const char *errno_name(int sys)
{
	const char *text = strerror(sys < 0 ? -sys : sys);

	return text ? text : "unknown error";
}
