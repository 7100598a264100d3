/* What the spec builder reads of an image: first byte chooses config JSON, or a user over /etc/passwd and /etc/group (the texts
 * are separated by NUL bytes). What is accepted keeps its promises. */
#include <stdint.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/spec/image_process.h"
#include "cri/spec/user.h"

static void fuzz_image(const char *text, size_t len)
{
	cleanup(image_process_release) struct image_process process = { 0 };
	struct err err;

	if (image_process_parse(text, len, &process, &err) < 0) {
		ensure(err.code != CODE_OK && err.msg[0]);
		return;
	}
	ensure(process.entrypoint && process.cmd && process.env && process.volumes);
	ensure(process.user && process.working_dir);
	ensure(strv_len(process.volumes) <= len);
}

/* Bytes up to the next NUL. */
static struct str next_text(struct str *rest)
{
	struct str text;

	str_cut(*rest, '\0', &text, rest);
	return text;
}

static void fuzz_user(const char *data, size_t len)
{
	struct str rest = { data, len };
	struct str wanted = next_text(&rest), passwd = next_text(&rest), group = rest;
	cleanup_free char *text = str_dup(wanted);
	cleanup(user_release) struct user user = { 0 };
	const int64_t extra[] = { 5, 5, USER_ID_MAX };
	struct err err;

	if (user_resolve(passwd, group, text, &user, &err) < 0 ||
	    user_add_groups(&user, group, true, extra, ARRAY_SIZE(extra), &err) < 0) {
		ensure(err.code != CODE_OK && err.msg[0]);
		return;
	}
	ensure(user.uid <= USER_ID_MAX && user.gid <= USER_ID_MAX);
	ensure(user.ngroups >= 1 && user.ngroups <= USER_GROUPS_MAX);
	for (size_t i = 1; i < user.ngroups; i++)
		ensure(user.groups[i - 1] < user.groups[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		fuzz_image((const char *)data + 1, size - 1);
	else
		fuzz_user((const char *)data + 1, size - 1);
	return 0;
}
