/* core/image/store.c */
#include "core/image/store.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/ref.h"

static const struct image *image_of(const struct list *link)
{
	return container_of(link, const struct image, link);
}

const struct image *store_find_id(const struct list *images, const char *id)
{
	for (const struct list *l = images->next; l != images; l = l->next)
		if (streq(image_of(l)->id, id))
			return image_of(l);
	return NULL;
}

static bool strv_has(char *const *strv, const char *text)
{
	for (; strv && *strv; strv++)
		if (streq(*strv, text))
			return true;
	return false;
}

const struct image *store_find_name(const struct list *images, const char *canonical)
{
	for (const struct list *l = images->next; l != images; l = l->next)
		if (strv_has(image_of(l)->names, canonical) ||
		    strv_has(image_of(l)->digests, canonical))
			return image_of(l);
	return NULL;
}

/* The one image whose id starts with @hex; NULL with err OK when there is none. */
static const struct image *find_prefix(const struct list *images, struct str hex, struct err *err)
{
	const struct image *found = NULL;

	for (const struct list *l = images->next; l != images; l = l->next) {
		const struct image *image = image_of(l);
		const char *id =
			image->id + (starts_with(image->id, "sha256:") ? strlen("sha256:") : 0);

		if (strlen(id) < hex.len || memcmp(id, hex.p, hex.len) != 0)
			continue;
		if (found) {
			err_set(err, CODE_INVALID_ARGUMENT, "image id \"" STR_FMT "\" is ambiguous",
			        STR_ARG(hex));
			return NULL;
		}
		found = image;
	}
	return found;
}

static bool is_hex(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
			return false;
	return s.len > 0;
}

const struct image *store_resolve(const struct list *images, const char *text, struct err *err)
{
	cleanup_free char *canonical = NULL;
	const struct image *image = NULL;
	struct err parse_err = { 0 };
	struct str hex = str_of(text);
	bool is_digest = false;

	err_clear(err);
	if (!text || !*text) {
		err_set(err, CODE_INVALID_ARGUMENT, "no image specified");
		return NULL;
	}
	if (ref_parse_any(str_of(text), &canonical, &is_digest, &parse_err) == 0) {
		image = is_digest ? store_find_id(images, canonical)
		                  : store_find_name(images, canonical);
		if (image)
			return image;
	}
	if (str_starts(hex, "sha256:"))
		hex = (struct str){ hex.p + 7, hex.len - 7 };
	if (is_hex(hex)) {
		image = find_prefix(images, hex, err);
		if (image || err->code != CODE_OK)
			return image;
	}
	err_set(err, CODE_NOT_FOUND, "image \"%.150s\" is not here", text);
	return NULL;
}

bool store_user(const struct image *image, int64_t *ret_uid, char *ret_name, size_t name_size)
{
	struct str user, group;

	str_cut(str_of(image->user), ':', &user, &group);
	ret_name[0] = '\0';
	if (user.len == 0)
		return false;
	if (str_i64(user, INT64_MIN, INT64_MAX, ret_uid) == 0)
		return true;
	ignore(str_format(ret_name, name_size, STR_FMT,
	                  STR_ARG(user))); /* a name too long for any passwd file stays empty */
	return false;
}

static bool matches(const char *name, const char *pattern)
{
	size_t len = strlen(pattern);

	if (len > 0 && pattern[len - 1] == '*')
		return strncmp(name, pattern, len - 1) == 0;
	return streq(name, pattern);
}

static bool any_matches(char *const *names, const char *pattern)
{
	for (; names && *names; names++)
		if (matches(*names, pattern))
			return true;
	return false;
}

bool store_pinned(const struct image *image, char *const *patterns)
{
	for (; patterns && *patterns; patterns++)
		if (any_matches(image->names, *patterns) || any_matches(image->digests, *patterns))
			return true;
	return false;
}

bool store_layer_used(const struct list *images, const char *key, const struct image *except)
{
	for (const struct list *l = images->next; l != images; l = l->next)
		if (image_of(l) != except && strv_has(image_of(l)->layers, key))
			return true;
	return false;
}

static int by_rank(const void *a, const void *b)
{
	return ref_compare(*(char *const *)a, *(char *const *)b);
}

void store_sort_names(char **names)
{
	size_t n = strv_len(names), kept = 0;

	if (n < 2)
		return;
	qsort(names, n, sizeof(*names), by_rank);
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && streq(names[kept - 1], names[i]))
			free(names[i]);
		else
			names[kept++] = names[i];
	}
	names[kept] = NULL;
}
