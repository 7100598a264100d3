#include "cri/rpc/pull_request.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

static void add(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, const char *value)
{
	if (value && value[0])
		yyjson_mut_obj_add_str(doc, obj, key, value);
}

char *pull_registry_text(const struct config *config, const char *version,
                         const struct pull_auth *auth, struct err *err)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	cleanup_free char *agent = xasprintf("coracle/%s", version);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *obj;
	char *text;

	yyjson_mut_doc_set_root(doc, root);
	add(doc, root, "hosts_dir", config->registry_hosts_dir);
	add(doc, root, "user_agent", agent);
	obj = yyjson_mut_obj_add_obj(doc, root, "auth");
	add(doc, obj, "username", auth->username);
	add(doc, obj, "password", auth->password);
	add(doc, obj, "auth", auth->auth);
	add(doc, obj, "identity_token", auth->identity_token);
	add(doc, obj, "registry_token", auth->registry_token);
	add(doc, obj, "server_address", auth->server_address);
	text = json_write(doc, false, NULL);
	if (!text)
		err_set(err, CODE_INVALID_ARGUMENT, "auth: credentials are not UTF-8");
	return text;
}

void pull_registry_text_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}
