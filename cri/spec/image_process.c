/* cri/spec/image_process.c */
#include "cri/spec/image_process.h"

#include <stdlib.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define CONFIG_MAX_BYTES (4u << 20) /* as for any document of an image */

static int wrong_type(const char *key, const char *what, struct err *err)
{
	return err_set(err, CODE_INVALID_ARGUMENT, "image config: config.%s is not %s", key, what);
}

/* json_parse() refuses NUL characters: text is whole. */
static int get_text(yyjson_val *value, const char *key, char **ret, struct err *err)
{
	const char *text = yyjson_get_str(value);

	if (!text)
		return wrong_type(key, "text", err);
	*ret = xstrdup(text);
	return 0;
}

static int get_member(yyjson_val *config, const char *key, char **ret, struct err *err)
{
	yyjson_val *value = yyjson_obj_get(config, key);

	if (!value || yyjson_is_null(value)) {
		*ret = xstrdup("");
		return 0;
	}
	return get_text(value, key, ret, err);
}

static int get_list(yyjson_val *config, const char *key, char ***ret, struct err *err)
{
	yyjson_val *list = yyjson_obj_get(config, key), *value;
	size_t i, n;

	if (list && !yyjson_is_null(list) && !yyjson_is_arr(list))
		return wrong_type(key, "a list", err);
	*ret = xcalloc(yyjson_arr_size(list) + 1, sizeof(**ret));
	yyjson_arr_foreach(list, i, n, value)
	{
		if (get_text(value, key, &(*ret)[i], err) < 0)
			return -1;
	}
	return 0;
}

/* {"/data": {}} */
static int get_keys(yyjson_val *config, const char *key, char ***ret, struct err *err)
{
	yyjson_val *map = yyjson_obj_get(config, key), *name, *value;
	size_t i, n;

	if (map && !yyjson_is_null(map) && !yyjson_is_obj(map))
		return wrong_type(key, "an object", err);
	*ret = xcalloc(yyjson_obj_size(map) + 1, sizeof(**ret));
	if (!map)
		return 0; /* the macro below looks behind its first key */
	yyjson_obj_foreach(map, i, n, name, value)
	{
		(void)value;
		if (get_text(name, key, &(*ret)[i], err) < 0)
			return -1;
	}
	return 0;
}

int image_process_parse(const char *text, size_t len, struct image_process *ret, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	struct image_process process = { 0 };
	yyjson_val *config;

	if (len == 0)
		text = "{}", len = 2;
	doc = json_parse(text, len, CONFIG_MAX_BYTES, "image config", err);
	if (!doc)
		return -1;
	config = yyjson_obj_get(yyjson_doc_get_root(doc), "config");
	if (config && !yyjson_is_null(config) && !yyjson_is_obj(config))
		return err_set(err, CODE_INVALID_ARGUMENT, "image config: config is not an object");
	if (get_list(config, "Entrypoint", &process.entrypoint, err) < 0 ||
	    get_list(config, "Cmd", &process.cmd, err) < 0 ||
	    get_list(config, "Env", &process.env, err) < 0 ||
	    get_keys(config, "Volumes", &process.volumes, err) < 0 ||
	    get_member(config, "User", &process.user, err) < 0 ||
	    get_member(config, "WorkingDir", &process.working_dir, err) < 0) {
		image_process_release(&process);
		return -1;
	}
	*ret = process;
	return 0;
}

void image_process_release(struct image_process *process)
{
	strv_free(process->entrypoint);
	strv_free(process->cmd);
	strv_free(process->env);
	strv_free(process->volumes);
	free(process->user);
	free(process->working_dir);
	*process = (struct image_process){ 0 };
}
