#include "cmd/deprecations.h"

#include <yyjson.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

static bool is_ignored(const struct config *config, const char *id)
{
	for (char *const *one = config->ignore_deprecations; one && *one; one++)
		if (streq(*one, id))
			return true;
	return false;
}

/* Several texts of one id follow each other: a key stands once in an object. */
static void add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *id, const char *text)
{
	const char *before = yyjson_mut_get_str(yyjson_mut_obj_get(object, id));
	cleanup_free char *both = before ? xasprintf("%s; %s", before, text) : xstrdup(text);

	yyjson_mut_obj_remove_key(object, id);
	yyjson_mut_obj_add_strcpy(doc, object, id, both);
}

char *deprecations_json(const struct config *config, enum cgroup_mode mode)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	const char *id = config_trouble_id(CONFIG_DEPRECATED);

	yyjson_mut_doc_set_root(doc, object);
	for (size_t i = 0; i < config->nproblems && !is_ignored(config, id); i++)
		if (config->problems[i].trouble == CONFIG_DEPRECATED)
			add_text(doc, object, id, config->problems[i].text);
	if ((mode == CGROUP_V1 || mode == CGROUP_HYBRID) && !is_ignored(config, "cgroup.version"))
		add_text(doc, object, "cgroup.version",
		         "cgroup v1: Kubernetes and the runtimes are about to drop it");
	return yyjson_mut_obj_size(object) ? json_write(doc, false, NULL) : NULL;
}
