/* The fault that CORACLE_MUTANT names, with '-' or '_' between its words. */
#include "core/base/mutant.h"

#include <stdbool.h>
#include <stdlib.h>

bool mutant_is_on(const char *name)
{
	static const char *wanted;

	if (!wanted) {
		wanted = getenv("CORACLE_MUTANT");
		if (!wanted)
			wanted = "";
	}
	for (size_t i = 0;; i++) {
		char w = wanted[i] == '-' ? '_' : wanted[i];

		if (w != name[i])
			return false;
		if (!w)
			return true;
	}
}
