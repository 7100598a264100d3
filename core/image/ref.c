/* core/image/ref.c
 *
 * The grammar is small enough for hand-written scanners; each takes a view and says yes or no, so that the two directions
 * (splitting the domain off, then checking the parts) read in the order of the specification.
 */
#include "core/image/ref.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_alnum(char c)
{
	return is_digit(c) || is_lower(c) || is_upper(c);
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool has_upper(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (is_upper(s.p[i]))
			return true;
	return false;
}

static bool all_lower_hex(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_digit(s.p[i]) && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
			return false;
	return true;
}

/* alphanumeric runs joined by ".", "_", "__" or any number of "-" */
static bool component_is_valid(struct str s)
{
	size_t i = 0;

	while (i < s.len) {
		size_t word = i, sep;

		while (i < s.len && (is_lower(s.p[i]) || is_digit(s.p[i])))
			i++;
		if (i == word)
			return false;
		if (i == s.len)
			return true;
		sep = i;
		if (s.p[i] == '.') {
			i++;
		} else if (s.p[i] == '_') {
			while (i < s.len && s.p[i] == '_' && i - sep < 2)
				i++;
		} else {
			while (i < s.len && s.p[i] == '-')
				i++;
		}
		if (i == sep)
			return false;
	}
	return false; /* empty, or ended in a separator */
}

static bool path_is_valid(struct str s)
{
	struct str head, tail = s;

	do {
		s = tail;
		if (!str_cut(s, '/', &head, &tail))
			return component_is_valid(s);
		if (!component_is_valid(head))
			return false;
	} while (true);
}

static bool label_is_valid(struct str s)
{
	if (s.len == 0 || s.p[0] == '-' || s.p[s.len - 1] == '-')
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '-')
			return false;
	return true;
}

static bool host_is_valid(struct str s)
{
	struct str head, tail;

	if (s.len > 2 && s.p[0] == '[' && s.p[s.len - 1] == ']') {
		for (size_t i = 1; i + 1 < s.len; i++)
			if (!is_hex(s.p[i]) && s.p[i] != ':')
				return false;
		return true;
	}
	while (str_cut(s, '.', &head, &tail)) {
		if (!label_is_valid(head))
			return false;
		s = tail;
	}
	return label_is_valid(s);
}

static bool domain_is_valid(struct str s)
{
	struct str host = s;

	/* A port follows the last colon, unless that one is inside the brackets of an IPv6 address. */
	for (size_t i = s.len; i > 0; i--) {
		if (s.p[i - 1] == ']')
			break;
		if (s.p[i - 1] != ':')
			continue;
		if (i == s.len)
			return false;
		for (size_t k = i; k < s.len; k++)
			if (!is_digit(s.p[k]))
				return false;
		host.len = i - 1;
		break;
	}
	return host_is_valid(host);
}

static bool tag_is_valid(struct str s)
{
	if (s.len == 0 || s.len > 128 || s.p[0] == '.' || s.p[0] == '-')
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '.' && s.p[i] != '-')
			return false;
	return true;
}

bool digest_is_valid(struct str text)
{
	struct str algorithm, hex;
	size_t len;

	if (!str_cut(text, ':', &algorithm, &hex))
		return false;
	if (str_eq_c(algorithm, "sha256"))
		len = 64;
	else if (str_eq_c(algorithm, "sha384"))
		len = 96;
	else if (str_eq_c(algorithm, "sha512"))
		len = 128;
	else
		return false;
	return hex.len == len && all_lower_hex(hex);
}

void ref_release(struct ref *ref)
{
	free(ref->domain);
	free(ref->path);
	free(ref->tag);
	free(ref->digest);
	*ref = (struct ref){ 0 };
}

static struct ref take_ref(struct ref *ref)
{
	struct ref taken = *ref;

	*ref = (struct ref){ 0 };
	return taken;
}

/* Does the first path element name a registry, or a namespace on docker.io? */
static bool looks_like_domain(struct str s)
{
	if (str_eq_c(s, "localhost") || has_upper(s))
		return true;
	return memchr(s.p, '.', s.len) || memchr(s.p, ':', s.len);
}

static int bad(struct err *err, struct str text, const char *why)
{
	/* Control characters of a hostile name must not reach a terminal or a log line. */
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "image reference holds control characters");
	if (text.len > 120)
		return err_set(err, CODE_INVALID_ARGUMENT, "image reference \"%.*s...\": %s", 100,
		               text.p, why);
	return err_set(err, CODE_INVALID_ARGUMENT, "image reference \"" STR_FMT "\": %s",
	               STR_ARG(text), why);
}

int ref_parse(struct str text, struct ref *ret_ref, struct err *err)
{
	cleanup(ref_release) struct ref ref = { 0 };
	struct str rest, domain = STR("docker.io"), digest = { 0 }, tag = { 0 }, head, tail;
	bool official = false;

	if (text.len == 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "image reference is empty");
	if (text.len > REF_MAX_BYTES)
		return bad(err, text, "too long");
	if (text.len == 64 && all_lower_hex(text))
		return bad(err, text, "is an image id, not a name");

	rest = text;
	if (str_cut(text, '/', &head, &tail) && looks_like_domain(head)) {
		domain = str_eq_c(head, "index.docker.io") ? domain : head;
		rest = tail;
	}
	if (!domain_is_valid(domain))
		return bad(err, text, "the registry is not a host name with optional port");

	if (str_cut(rest, '@', &head, &tail)) {
		digest = tail;
		rest = head;
		if (!digest_is_valid(digest))
			return bad(err, text,
			           "the digest is not sha256, sha384 or sha512 in lower-case hex");
	}
	/* The path holds no colon, so the first one starts the tag. */
	if (str_cut(rest, ':', &head, &tail)) {
		tag = tail;
		rest = head;
		if (!tag_is_valid(tag))
			return bad(
				err, text,
				"the tag is not 1 to 128 of A-Z a-z 0-9 _ . - (not starting with . or -)");
	}
	if (rest.len == 0)
		return bad(err, text, "the repository name is empty");
	if (has_upper(rest))
		return bad(err, text, "the repository name must be lower case");
	if (!path_is_valid(rest))
		return bad(err, text, "the repository name is not a-z 0-9 with single separators");

	official = str_eq_c(domain, "docker.io") && !memchr(rest.p, '/', rest.len);
	if (rest.len + (official ? strlen("library/") : 0) > REF_PATH_MAX)
		return bad(err, text, "the repository name is longer than 255 characters");

	ref.domain = str_dup(domain);
	ref.path = official ? xasprintf("library/" STR_FMT, STR_ARG(rest)) : str_dup(rest);
	ref.tag = tag.p ? str_dup(tag) : NULL;
	ref.digest = digest.p ? str_dup(digest) : NULL;

	*ret_ref = take_ref(&ref);
	return 0;
}

int ref_canonical(struct str text, char **ret_text, struct err *err)
{
	cleanup(ref_release) struct ref ref = { 0 };

	if (ref_parse(text, &ref, err) < 0)
		return -1;
	if (ref.digest) {
		free(ref.tag);
		ref.tag = NULL;
	} else if (!ref.tag) {
		ref.tag = xstrdup("latest");
	}
	*ret_text = ref_text(&ref);
	return 0;
}

int ref_parse_any(struct str text, char **ret_text, bool *ret_is_digest, struct err *err)
{
	if (text.len == 64 && all_lower_hex(text)) {
		*ret_text = xasprintf("sha256:" STR_FMT, STR_ARG(text));
		*ret_is_digest = true;
		return 0;
	}
	if (digest_is_valid(text)) {
		*ret_text = str_dup(text);
		*ret_is_digest = true;
		return 0;
	}
	if (ref_canonical(text, ret_text, err) < 0)
		return -1;
	*ret_is_digest = false;
	return 0;
}

char *ref_name(const struct ref *ref)
{
	return xasprintf("%s/%s", ref->domain, ref->path);
}

char *ref_text(const struct ref *ref)
{
	return xasprintf("%s/%s%s%s%s%s", ref->domain, ref->path, ref->tag ? ":" : "",
	                 or_empty(ref->tag), ref->digest ? "@" : "", or_empty(ref->digest));
}

static int rank(const char *text)
{
	cleanup(ref_release) struct ref ref = { 0 };
	struct err err = { 0 };

	if (digest_is_valid(str_of(text)))
		return 5;
	if (ref_parse(str_of(text), &ref, &err) < 0)
		return 6;
	if (ref.tag)
		return ref.digest ? 1 : 2;
	return ref.digest ? 3 : 4;
}

int ref_compare(const char *a, const char *b)
{
	int ra = rank(a), rb = rank(b);

	return ra != rb ? ra - rb : strcmp(a, b);
}
