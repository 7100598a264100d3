#include "cri/rpc/pull_request.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/str.h"
#include "core/image/ref.h"

static void add(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, const char *value)
{
	if (value && value[0])
		yyjson_mut_obj_add_str(doc, obj, key, value);
}

int pull_text_make(struct pull_text *ret, const struct config *config, const char *image, const struct pull_auth *auth,
		   struct err *err)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = NULL;
	yyjson_mut_val *root, *obj;

	if (ref_canonical(str_of(image), &ret->name, err) < 0)
		return -1;
	doc = yyjson_mut_doc_new(NULL);
	root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	add(doc, root, "hosts_dir", config->registry_hosts_dir);
	obj = yyjson_mut_obj_add_obj(doc, root, "auth");
	add(doc, obj, "username", auth->username);
	add(doc, obj, "password", auth->password);
	add(doc, obj, "auth", auth->auth);
	add(doc, obj, "identity_token", auth->identity_token);
	add(doc, obj, "registry_token", auth->registry_token);
	add(doc, obj, "server_address", auth->server_address);
	ret->registry = json_write(doc, false, NULL);
	if (!ret->registry)
		return err_set(err, CODE_INVALID_ARGUMENT, "auth: credentials are not UTF-8");
	return 0;
}

void pull_text_release(struct pull_text *text)
{
	free(text->name);
	if (text->registry)
		explicit_bzero(text->registry, strlen(text->registry));
	free(text->registry);
	*text = (struct pull_text){ 0 };
}
