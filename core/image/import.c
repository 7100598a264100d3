/* core/image/import.c
 *
 * The archive becomes a table of members (name -> range of one file), whatever order it came in; then the images are read from
 * that table like from a directory. The one file is the archive itself when it can be read in place, else the spool.
 */
#include "core/image/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/base/fd.h"
#include "core/base/json.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/blob.h"
#include "core/image/inflate.h"
#include "core/image/ref.h"
#include "core/image/tar.h"

#define READ_BYTES  (256 * 1024)
#define PARALLEL    4
#define SPACE_EVERY (16 * 1024 * 1024)

struct member {
	uint64_t offset, size;
	uint64_t got; /* bytes seen while the archive is read */
	char *link;   /* clean path of what it stands for; NULL: a file */
};

struct archive {
	struct pull *pull;
	int input;
	int file; /* ranges of members are in here */
	bool in_place;
	struct map members; /* clean path -> struct member */
	struct member *current;
	struct tar *tar;
	uint64_t consumed; /* of the plain archive */
	uint64_t spooled, space_checked;
};

static void archive_release(struct archive *archive)
{
	map_for_each(e, &archive->members) {
		struct member *member = e->value;

		free(member->link);
		free(member);
	}
	map_release(&archive->members);
	tar_free(archive->tar);
	if (archive->file >= 0 && archive->file != archive->input)
		close(archive->file);
}
DEFINE_CLEANUP(struct archive, archive_release);

/* --- reading the archive */

static char *join_link(const char *path, const char *target)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *joined = NULL;

	if (target[0] == '/' || !slash)
		return tar_clean_path(target);
	joined = xasprintf("%.*s/%s", (int)(slash - path), path, target);
	return tar_clean_path(joined);
}

static int add_member(struct archive *archive, const struct tar_entry *entry, struct err *err)
{
	cleanup_free char *path = tar_clean_path(entry->path);
	struct member *member;

	archive->current = NULL;
	if (!path)
		return err_set(err, CODE_INVALID_ARGUMENT, "archive: a member's name is too long");
	if (!*path ||
	    (entry->type != TAR_FILE && entry->type != TAR_SYMLINK && entry->type != TAR_HARDLINK))
		return 0;
	member = map_find(&archive->members, path);
	if (!member) {
		if (map_count(&archive->members) >= IMPORT_MEMBERS_MAX)
			return err_set(err, CODE_RESOURCE_EXHAUSTED,
			               "archive: more than %d members", IMPORT_MEMBERS_MAX);
		member = xcalloc(1, sizeof(*member));
		map_set(&archive->members, path, member);
	}
	free(member->link); /* the last one of a name wins */
	*member = (struct member){ .size = entry->size };
	if (entry->type == TAR_FILE) {
		member->offset = archive->in_place ? 0 : archive->spooled;
		archive->current = member;
	} else {
		member->link = entry->type == TAR_SYMLINK ? join_link(path, entry->link)
		                                          : tar_clean_path(entry->link);
		if (!member->link)
			return err_set(err, CODE_INVALID_ARGUMENT, "archive: %s: bad link", path);
	}
	return 0;
}

static int check_space(struct archive *archive, struct err *err)
{
	uint64_t reserve = pull_request(archive->pull)->free_bytes;
	struct statfs fs;

	archive->space_checked = archive->spooled;
	if (fstatfs(archive->file, &fs) == 0 &&
	    (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < reserve)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "image store: less than %llu MiB free",
		               (unsigned long long)(reserve >> 20));
	return 0;
}

static int add_data(struct archive *archive, struct tar_data data, const uint8_t *base,
                    struct err *err)
{
	struct member *member = archive->current;
	ssize_t n;

	if (!member)
		return 0;
	if (data.offset != member->got)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "archive: sparse members are not supported");
	if (archive->in_place) {
		if (member->got == 0)
			member->offset = archive->consumed + (uint64_t)(data.p - base);
		member->got += data.len;
		return 0;
	}
	n = pwrite_full(archive->file, data.p, data.len, (off_t)archive->spooled);
	if (n < 0)
		return err_sys(err, (int)-n, "spool archive");
	member->got += data.len;
	archive->spooled += data.len;
	return archive->spooled - archive->space_checked >= SPACE_EVERY ? check_space(archive, err)
	                                                                : 0;
}

static int on_plain(void *arg, const uint8_t *data, size_t len, struct err *err)
{
	struct archive *archive = arg;
	const uint8_t *base = data, *p = data;
	size_t left = len;
	enum tar_event event;

	do {
		if (tar_next(archive->tar, &p, &left, &event, err) < 0)
			return -1;
		if (event == TAR_ENTRY && add_member(archive, tar_entry(archive->tar), err) < 0)
			return -1;
		if (event == TAR_DATA && add_data(archive, tar_data(archive->tar), base, err) < 0)
			return -1;
	} while (event == TAR_ENTRY || event == TAR_DATA);
	archive->consumed += len;
	return 0;
}

/* A plain regular file is read in place. */
static bool can_read_in_place(int fd)
{
	uint8_t head[TAR_BLOCK];
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || lseek(fd, 0, SEEK_CUR) != 0)
		return false;
	if (pread_full(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head))
		return false;
	return memcmp(head + 257, "ustar", 5) ==
	       0; /* certainly no gzip or zstd; a v7 archive is spooled, which works too */
}

static int read_archive(struct archive *archive, struct err *err)
{
	cleanup(inflate_free) struct inflate *inflate = inflate_new(on_plain, archive);
	cleanup_free uint8_t *block = xcalloc(1, READ_BYTES);

	archive->tar = tar_new();
	for (;;) {
		ssize_t n = read(archive->input, block, READ_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "read archive");
		if (n == 0)
			break;
		if (inflate_feed(inflate, block, (size_t)n, err) < 0)
			return err_wrap(err, "archive");
		pull_advance(archive->pull,
		             0); /* a sign of life: the bytes that count are those of the layers */
	}
	if (inflate_finish(inflate, err) < 0 || tar_finish(archive->tar, err) < 0)
		return err_wrap(err, "archive");
	return 0;
}

static int open_archive(struct archive *archive, struct err *err)
{
	archive->in_place = can_read_in_place(archive->input);
	if (archive->in_place) {
		archive->file = archive->input;
	} else {
		archive->file = openat(pull_spool_fd(archive->pull), "archive",
		                       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (archive->file < 0)
			return err_sys(err, errno, "make spool file");
	}
	return read_archive(archive, err);
}

/* --- members */

static const struct member *find_member(const struct archive *archive, const char *path)
{
	for (int hop = 0; hop < IMPORT_LINK_MAX; hop++) {
		const struct member *member = map_find(&archive->members, path);

		if (!member || !member->link)
			return member;
		path = member->link;
	}
	return NULL;
}

static int read_member(const struct archive *archive, const char *path, size_t max_bytes,
                       char **ret_text, size_t *ret_len, struct err *err)
{
	const struct member *member = find_member(archive, path);
	cleanup_free char *text = NULL;
	ssize_t n;

	if (!member)
		return err_set(err, CODE_INVALID_ARGUMENT, "archive: %s is missing", path);
	if (member->size > max_bytes)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "archive: %s: larger than %zu bytes",
		               path, max_bytes);
	text = xcalloc(1, (size_t)member->size + 1);
	n = pread_full(archive->file, text, (size_t)member->size, (off_t)member->offset);
	if (n < 0)
		return err_sys(err, (int)-n, "archive: %s", path);
	if ((uint64_t)n != member->size)
		return err_set(err, CODE_DATA_LOSS, "archive: %s: changed while it was read", path);
	*ret_text = take_ptr(text);
	*ret_len = (size_t)n;
	return 0;
}

/* "blobs/sha256/<hex>" */
static void blob_path(const char *digest, char path[DIGEST_TEXT_MAX + 16])
{
	struct str algorithm, hex;

	str_cut(str_of(digest), ':', &algorithm, &hex);
	ignore(str_format(path, DIGEST_TEXT_MAX + 16, "blobs/" STR_FMT "/" STR_FMT,
	                  STR_ARG(algorithm), STR_ARG(hex))); /* fits */
}

static int read_blob(const struct archive *archive, const struct descriptor *descriptor,
                     char **ret_text, size_t *ret_len, struct err *err)
{
	char path[DIGEST_TEXT_MAX + 16];

	blob_path(descriptor->digest, path);
	if (read_member(archive, path, MANIFEST_MAX_BYTES, ret_text, ret_len, err) < 0)
		return -1;
	if (blob_verify(*ret_text, *ret_len, descriptor->digest, descriptor->size, path, err) == 0)
		return 0;
	free(*ret_text);
	*ret_text = NULL;
	return -1;
}

/* --- layers as blobs */

struct layers {
	const struct archive *archive;
	const struct member **by_index; /* docker: the member of each layer; NULL: by digest */
};

struct range {
	int fd;
	uint64_t at, end;
};

static int range_read(void *arg, void *data, size_t max, size_t *ret_len, struct err *err)
{
	struct range *range = arg;
	size_t want = (size_t)MIN((uint64_t)max, range->end - range->at);
	ssize_t n = pread_full(range->fd, data, want, (off_t)range->at);

	if (n < 0)
		return err_sys(err, (int)-n, "read archive");
	range->at += (uint64_t)n;
	*ret_len = (size_t)
		n; /* short only when the file shrank: then sizes and digests will not match */
	return 0;
}

static int open_layer(void *arg, size_t index, const struct descriptor *layer,
                      struct pull_blob *ret, struct err *err)
{
	const struct layers *layers = arg;
	const struct member *member;
	char path[DIGEST_TEXT_MAX + 16];
	struct range *range;

	if (layers->by_index) {
		member = layers->by_index[index];
	} else {
		blob_path(layer->digest, path);
		member = find_member(layers->archive, path);
		if (!member)
			return err_set(err, CODE_INVALID_ARGUMENT, "archive: %s is missing", path);
	}
	range = xcalloc(1, sizeof(*range));
	*range = (struct range){ layers->archive->file, member->offset,
		                 member->offset + member->size };
	*ret = (struct pull_blob){ .read = range_read, .arg = range };
	return 0;
}

static void close_layer(void *arg, struct pull_blob *blob)
{
	(void)arg;
	free(blob->arg);
}

/* --- OCI layout */

static int check_layout(const struct archive *archive, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL;
	const char *version;
	size_t len = 0;

	if (read_member(archive, "oci-layout", 4096, &text, &len, err) < 0)
		return -1;
	doc = json_parse(text, len, 4096, "oci-layout", err);
	if (!doc)
		return -1;
	version = json_str(yyjson_doc_get_root(doc), "imageLayoutVersion", "");
	if (!streq(version, "1.0.0"))
		return err_set(err, CODE_UNIMPLEMENTED,
		               "oci-layout: version \"%.20s\" is not 1.0.0", version);
	return 0;
}

/* The name an entry of index.json carries, canonical; NULL: none of use (a bare tag says nothing without a repository). */
static int entry_name(const struct descriptor *entry, char **ret, struct err *err)
{
	const char *name = entry->name;

	*ret = NULL;
	if (!name && entry->ref_name && strpbrk(entry->ref_name, ":/@"))
		name = entry->ref_name;
	if (!name)
		return 0;
	return ref_canonical(str_of(name), ret, err);
}

/* Down through nested indexes to the manifest that suits us. */
static int resolve(const struct archive *archive, const struct descriptor *top,
                   struct document *ret, char **ret_text, size_t *ret_len, char **ret_digest,
                   uint64_t *ret_index_bytes, struct err *err)
{
	cleanup(descriptor_release) struct descriptor at = { 0 };

	at.digest = xstrdup(top->digest);
	at.media_type = xstrdup(top->media_type);
	at.size = top->size;
	*ret_index_bytes = 0;
	for (int depth = 0; depth <= INDEX_DEPTH_MAX; depth++) {
		cleanup(document_release) struct document document = { 0 };
		cleanup_free char *text = NULL;
		const struct descriptor *next;
		size_t len = 0;

		if (read_blob(archive, &at, &text, &len, err) < 0 ||
		    document_parse(text, len, at.media_type, at.digest, &document, err) < 0)
			return -1;
		if (document.kind == DOCUMENT_MANIFEST) {
			*ret = document;
			document = (struct document){ 0 };
			*ret_text = take_ptr(text);
			*ret_len = len;
			*ret_digest = take_ptr(at.digest);
			return 0;
		}
		*ret_index_bytes += len;
		if (index_choose(&document, pull_platform(archive->pull), &next, err) < 0)
			return err_wrap(err, "%s", at.digest);
		free(at.digest);
		free(at.media_type);
		at.digest = xstrdup(next->digest);
		at.media_type = xstrdup(next->media_type);
		at.size = next->size;
	}
	return err_set(err, CODE_INVALID_ARGUMENT, "%s: indexes nested deeper than %d", top->digest,
	               INDEX_DEPTH_MAX);
}

static char **one_string(char *text)
{
	char **strv = xcalloc(2, sizeof(*strv));

	strv[0] = text;
	return strv;
}

/* "name:tag" -> "name@digest"; a name that is one already stays. */
static char *with_digest(const char *name, const char *digest)
{
	cleanup(ref_release) struct ref ref = { 0 };
	struct err err = { 0 };

	if (ref_parse(str_of(name), &ref, &err) < 0)
		return NULL; /* it is canonical: cannot happen */
	free(ref.tag);
	free(ref.digest);
	ref.tag = NULL;
	ref.digest = xstrdup(digest);
	return ref_text(&ref);
}

static int import_entry(const struct archive *archive, const struct descriptor *entry,
                        const char *name, struct err *err)
{
	cleanup(document_release) struct document document = { 0 };
	cleanup(strv_free) char **digests = NULL;
	cleanup(strv_free) char **names = NULL;
	cleanup_free char *manifest = NULL;
	cleanup_free char *config = NULL;
	cleanup_free char *digest = NULL;
	size_t manifest_len = 0, config_len = 0;
	uint64_t index_bytes = 0;
	struct layers layers = { .archive = archive };

	if (resolve(archive, entry, &document, &manifest, &manifest_len, &digest, &index_bytes,
	            err) < 0 ||
	    read_blob(archive, &document.config, &config, &config_len, err) < 0)
		return -1;
	names = strchr(name, '@') ? xcalloc(1, sizeof(*names)) : one_string(xstrdup(name));
	digests = one_string(with_digest(name, entry->digest));
	return pull_image(archive->pull,
	                  &(struct pull_image){ .what = name,
	                                        .manifest = manifest,
	                                        .manifest_len = manifest_len,
	                                        .manifest_digest = digest,
	                                        .document = &document,
	                                        .config = config,
	                                        .config_len = config_len,
	                                        .index_bytes = index_bytes,
	                                        .names = names,
	                                        .digests = digests },
	                  &(struct pull_source){ open_layer, close_layer, &layers, PARALLEL }, err);
}

struct group {      /* entries of index.json under one name: platforms of one image */
	char *name; /* NULL: without */
	struct document index;
};

struct groups {
	struct group *items;
	size_t count;
};

static void groups_release(struct groups *groups)
{
	for (size_t i = 0; i < groups->count; i++) {
		free(groups->items[i].name);
		free(groups->items[i]
		             .index.entries.items); /* the descriptors themselves are borrowed */
	}
	free(groups->items);
}
DEFINE_CLEANUP(struct groups, groups_release);

static int group_entries(const struct document *index, struct groups *ret, struct err *err)
{
	ret->items = xcalloc(index->entries.count + 1, sizeof(*ret->items));
	for (size_t i = 0; i < index->entries.count; i++) {
		const struct descriptor *entry = &index->entries.items[i];
		cleanup_free char *name = NULL;
		struct descriptors *list;
		size_t g;

		if (entry_name(entry, &name, err) < 0)
			return err_wrap(err, "index.json");
		for (g = 0; g < ret->count && !streq(ret->items[g].name, name); g++)
			;
		if (g == PULL_IMAGES_MAX)
			return err_set(err, CODE_RESOURCE_EXHAUSTED,
			               "index.json: more than %d images", PULL_IMAGES_MAX);
		if (g == ret->count) {
			ret->items[g].index.kind = DOCUMENT_INDEX;
			ret->items[g].index.entries.items =
				xcalloc(index->entries.count, sizeof(*entry));
			ret->items[g].name = take_ptr(name);
			ret->count++;
		}
		list = &ret->items[g].index.entries;
		list->items[list->count++] = *entry;
	}
	return 0;
}

static int import_group(const struct archive *archive, const struct group *group, const char *name,
                        struct err *err)
{
	const struct descriptor *entry;

	if (index_choose(&group->index, pull_platform(archive->pull), &entry, err) < 0)
		return err_wrap(err, "%s", name);
	return import_entry(archive, entry, name, err);
}

/* What the caller asked it to be called, canonical; NULL if nothing. */
static int given_name(const struct archive *archive, char **ret, struct err *err)
{
	const char *name = pull_request(archive->pull)->name;

	*ret = NULL;
	return name ? ref_canonical(str_of(name), ret, err) : 0;
}

static int import_oci(const struct archive *archive, struct err *err)
{
	cleanup(document_release) struct document index = { 0 };
	cleanup(groups_release) struct groups groups = { 0 };
	cleanup_free char *given = NULL;
	cleanup_free char *text = NULL;
	size_t len = 0, done = 0;

	if (check_layout(archive, err) < 0 ||
	    read_member(archive, "index.json", MANIFEST_MAX_BYTES, &text, &len, err) < 0 ||
	    document_parse(text, len, MEDIA_OCI_INDEX, "index.json", &index, err) < 0 ||
	    group_entries(&index, &groups, err) < 0 || given_name(archive, &given, err) < 0)
		return -1;
	if (groups.count == 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "index.json: no images");
	if (given && groups.count > 1)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "the archive holds %zu images: they cannot all be called %s",
		               groups.count, given);
	for (size_t i = 0; i < groups.count; i++) {
		const struct group *group = &groups.items[i];
		const char *name = given ? given : group->name;

		if (!name && groups.count > 1)
			continue; /* the others have names */
		if (!name)
			return err_set(
				err, CODE_FAILED_PRECONDITION,
				"the image in the archive has no name%s%.80s: one must be given",
				group->index.entries.items[0].ref_name ? ", only the tag " : "",
				or_empty(group->index.entries.items[0].ref_name));
		if (import_group(archive, group, name, err) == 0)
			done++;
		else if (groups.count == 1 ||
		         !(err_is(err, CODE_NOT_FOUND) || err_is(err, CODE_FAILED_PRECONDITION)))
			return -1; /* images of other platforms are left out */
	}
	return done ? 0 : -1;
}

/* --- docker archive */

/* docker before 1.10 named images in `repositories` only: { name: { tag: top layer id } }. */
static int repositories_names(const struct archive *archive, const char *top_layer, char ***ret,
                              struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	cleanup(strv_free) char **names = NULL;
	cleanup_free char *text = NULL;
	yyjson_obj_iter repos, tags;
	yyjson_val *repo, *tag;
	struct str top, rest;
	size_t len = 0, n = 0;

	names = xcalloc(PULL_NAMES_MAX + 1, sizeof(*names));
	str_cut(str_of(top_layer), '/', &top, &rest);
	if (find_member(archive, "repositories")) {
		if (read_member(archive, "repositories", IMPORT_JSON_MAX, &text, &len, err) < 0)
			return -1;
		doc = json_parse(text, len, IMPORT_JSON_MAX, "repositories", err);
		if (!doc)
			return -1;
		if (yyjson_obj_iter_init(yyjson_doc_get_root(doc), &repos))
			while ((repo = yyjson_obj_iter_next(&repos))) {
				if (!yyjson_obj_iter_init(yyjson_obj_iter_get_val(repo), &tags))
					continue;
				while ((tag = yyjson_obj_iter_next(&tags))) {
					cleanup_free char *name = NULL;

					if (!str_eq_c(top,
					              or_empty(yyjson_get_str(
							      yyjson_obj_iter_get_val(tag)))) ||
					    n == PULL_NAMES_MAX)
						continue;
					name = xasprintf("%s:%s", yyjson_get_str(repo),
					                 yyjson_get_str(tag));
					if (ref_canonical(str_of(name), &names[n], err) < 0)
						return err_wrap(err, "repositories");
					n++;
				}
			}
	}
	*ret = take_ptr(names);
	return 0;
}

static int docker_names(const struct archive *archive, yyjson_val *image, const char *given,
                        char ***ret, struct err *err)
{
	cleanup(strv_free) char **names = NULL;
	yyjson_val *tags = json_arr(image, "RepoTags"), *tag, *layers = json_arr(image, "Layers");
	yyjson_arr_iter iter;
	size_t n = 0;

	if (given) {
		*ret = one_string(xstrdup(given));
		return 0;
	}
	if (yyjson_arr_size(tags) == 0)
		return repositories_names(
			archive, or_empty(yyjson_get_str(yyjson_arr_get_last(layers))), ret, err);
	if (yyjson_arr_size(tags) > PULL_NAMES_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "manifest.json: more than %d names",
		               PULL_NAMES_MAX);
	names = xcalloc(yyjson_arr_size(tags) + 1, sizeof(*names));
	yyjson_arr_iter_init(tags, &iter);
	while ((tag = yyjson_arr_iter_next(&iter))) {
		if (ref_canonical(str_of(yyjson_get_str(tag)), &names[n], err) < 0)
			return err_wrap(err, "manifest.json");
		n++;
	}
	*ret = take_ptr(names);
	return 0;
}

/* What a layer member is as a blob. Plain tar: the diffID. Compressed (crane, kaniko): its own digest. */
static int docker_layer_digest(const struct archive *archive, const struct member *member,
                               const char *diff_id, char text[DIGEST_TEXT_MAX], struct err *err)
{
	cleanup_free uint8_t *block = xcalloc(1, READ_BYTES);
	struct range range = { archive->file, member->offset, member->offset + member->size };
	struct digester digester;
	size_t n = 0;

	if (range_read(&range, block, READ_BYTES, &n, err) < 0)
		return -1;
	if (!inflate_is_compressed(block, n))
		return str_copy(text, DIGEST_TEXT_MAX, diff_id) < 0
		               ? err_set(err, CODE_INTERNAL, "%s", diff_id)
		               : 0;
	digester_init(&digester, DIGEST_SHA256);
	while (n > 0) {
		digester_update(&digester, block, n);
		if (range_read(&range, block, READ_BYTES, &n, err) < 0)
			return -1;
	}
	digester_final(&digester, text);
	return 0;
}

/* The manifest that a registry would have: docker archives have none. */
static int make_manifest(const struct archive *archive, const char *config_digest,
                         size_t config_len, const struct member *const *members,
                         char *const *diff_ids, char **ret_text, size_t *ret_len, struct err *err)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *config, *layers;

	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_int(doc, root, "schemaVersion", 2);
	yyjson_mut_obj_add_str(doc, root, "mediaType", MEDIA_DOCKER_MANIFEST);
	config = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_str(doc, config, "mediaType", MEDIA_DOCKER_CONFIG);
	yyjson_mut_obj_add_uint(doc, config, "size", config_len);
	yyjson_mut_obj_add_str(doc, config, "digest", config_digest);
	yyjson_mut_obj_add_val(doc, root, "config", config);
	layers = yyjson_mut_arr(doc);
	for (size_t i = 0; diff_ids[i]; i++) {
		yyjson_mut_val *layer = yyjson_mut_arr_add_obj(doc, layers);
		char digest[DIGEST_TEXT_MAX];

		if (docker_layer_digest(archive, members[i], diff_ids[i], digest, err) < 0)
			return -1;
		yyjson_mut_obj_add_str(doc, layer, "mediaType", MEDIA_DOCKER_LAYER);
		yyjson_mut_obj_add_uint(doc, layer, "size", members[i]->size);
		yyjson_mut_obj_add_strcpy(doc, layer, "digest", digest);
	}
	yyjson_mut_obj_add_val(doc, root, "layers", layers);
	*ret_text = json_write(doc, false, ret_len);
	return *ret_text ? 0 : err_set(err, CODE_RESOURCE_EXHAUSTED, "manifest: out of memory");
}

static int docker_layers(const struct archive *archive, yyjson_val *list,
                         const struct image_config *config, const struct member **members,
                         struct err *err)
{
	yyjson_arr_iter iter;
	yyjson_val *item;
	size_t n = 0;

	if (yyjson_arr_size(list) != strv_len(config->diff_ids))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "manifest.json: %zu layers, but the config has %zu diffIDs",
		               yyjson_arr_size(list), strv_len(config->diff_ids));
	if (!yyjson_arr_iter_init(list, &iter))
		return 0;
	while ((item = yyjson_arr_iter_next(&iter))) {
		cleanup_free char *path = tar_clean_path(or_empty(yyjson_get_str(item)));
		const struct member *member = path ? find_member(archive, path) : NULL;

		if (!member || member->size == 0)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "archive: layer %.100s is missing",
			               or_empty(yyjson_get_str(item)));
		members[n++] = member;
	}
	return 0;
}

static int import_docker_image(const struct archive *archive, yyjson_val *image, const char *given,
                               struct err *err)
{
	cleanup(image_config_release) struct image_config config = { 0 };
	cleanup(document_release) struct document document = { 0 };
	cleanup_free const struct member **members = NULL;
	cleanup(strv_free) char **digests = xcalloc(1, sizeof(*digests));
	cleanup(strv_free) char **names = NULL;
	char config_digest[DIGEST_SHA256_TEXT], manifest_digest[DIGEST_SHA256_TEXT];
	cleanup_free char *config_path = NULL;
	cleanup_free char *config_text = NULL;
	cleanup_free char *manifest = NULL;
	size_t config_len = 0, manifest_len = 0;
	const char *member_name;
	struct layers layers;

	if (json_str_req(image, "Config", "manifest.json", &member_name, err) < 0)
		return -1;
	config_path = tar_clean_path(member_name);
	if (read_member(archive, config_path ? config_path : member_name, MANIFEST_MAX_BYTES,
	                &config_text, &config_len, err) < 0 ||
	    image_config_parse(config_text, config_len, member_name, &config, err) < 0 ||
	    docker_names(archive, image, given, &names, err) < 0)
		return -1;
	if (!names[0])
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "the image in the archive has no name: one must be given");
	members = xcalloc(strv_len(config.diff_ids) + 1, sizeof(*members));
	digest_sha256_text(config_text, config_len, config_digest);
	if (docker_layers(archive, json_arr(image, "Layers"), &config, members, err) < 0 ||
	    make_manifest(archive, config_digest, config_len, members, config.diff_ids, &manifest,
	                  &manifest_len, err) < 0 ||
	    document_parse(manifest, manifest_len, MEDIA_DOCKER_MANIFEST, names[0], &document,
	                   err) < 0)
		return -1;
	digest_sha256_text(manifest, manifest_len, manifest_digest);
	layers = (struct layers){ .archive = archive, .by_index = members };
	return pull_image(archive->pull,
	                  &(struct pull_image){ .what = names[0],
	                                        .manifest = manifest,
	                                        .manifest_len = manifest_len,
	                                        .manifest_digest = manifest_digest,
	                                        .document = &document,
	                                        .config = config_text,
	                                        .config_len = config_len,
	                                        .names = names,
	                                        .digests = digests },
	                  &(struct pull_source){ open_layer, close_layer, &layers, PARALLEL }, err);
}

static int import_docker(const struct archive *archive, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	cleanup_free char *given = NULL;
	cleanup_free char *text = NULL;
	yyjson_val *root, *image;
	yyjson_arr_iter iter;
	size_t len = 0, count, done = 0;

	if (read_member(archive, "manifest.json", IMPORT_JSON_MAX, &text, &len, err) < 0)
		return -1;
	doc = json_parse(text, len, IMPORT_JSON_MAX, "manifest.json", err);
	if (!doc || given_name(archive, &given, err) < 0)
		return -1;
	root = yyjson_doc_get_root(doc);
	count = yyjson_arr_size(root);
	if (count == 0 || count > PULL_IMAGES_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "manifest.json: not a list of 1 to %d images", PULL_IMAGES_MAX);
	if (given && count > 1)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "the archive holds %zu images: they cannot all be called %s", count,
		               given);
	yyjson_arr_iter_init(root, &iter);
	while ((image = yyjson_arr_iter_next(&iter))) {
		if (import_docker_image(archive, image, given, err) == 0)
			done++;
		else if (count == 1 || !err_is(err, CODE_FAILED_PRECONDITION))
			return -1; /* images of other platforms or without a name are left out */
	}
	return done ? 0 : -1;
}

int import_run(struct pull *pull, int input_fd, struct err *err)
{
	cleanup(archive_release) struct archive archive = { .pull = pull,
		                                            .input = input_fd,
		                                            .file = -1 };

	map_init(&archive.members);
	if (open_archive(&archive, err) < 0)
		return -1;
	if (find_member(&archive, "oci-layout") && find_member(&archive, "index.json"))
		return import_oci(&archive, err);
	if (find_member(&archive, "manifest.json"))
		return import_docker(&archive, err);
	return err_set(
		err, CODE_INVALID_ARGUMENT,
		"neither an OCI image layout (oci-layout, index.json) nor a docker archive (manifest.json)");
}
