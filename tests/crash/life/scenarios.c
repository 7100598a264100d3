#include "tests/crash/life/scenarios.h"

#include "core/base/attr.h"

#define IMAGE "docker.io/test/image:1"

const struct scenario scenarios[] = {
	{ .name = "a pod and a container, without plugins",
	  .script = "pull " IMAGE "\n--\n"
	            "run p1\ncreate p1 c1\nstart c1\nexit c1 3\nrm c1\nstopp p1\nrmp p1\n",
	  .cuts = 6,
	  .nested = 7 },
	{ .name = "a pod and a container, with plugins",
	  .script =
	          "pull " IMAGE "\nplug 10-a\n--\n"
	          "plug 20-b\nrun p1\ncreate p1 c1\nstart c1\nunplug 20-b\nstop c1 1000\nplug 20-b\nrm c1\nstopp p1\nrmp p1\n",
	  .cuts = 4,
	  .nested = 9 },
	{ .name = "a plugin that is away for all of it",
	  .script = "pull " IMAGE "\nplug 10-a\nunplug 10-a\n--\n"
	            "run p1\ncreate p1 c1\nstart c1\nexit c1 137\nrmp p1\nplug 10-a\n",
	  .cuts = 4,
	  .nested = 9 },
	{ .name = "failures with undo",
	  .script = "pull " IMAGE "\nplug 10-a\n--\n"
	            "fail add\n!run p1\nlate add\n!run p1\nfail pin\n!run p1\nrun p1\n"
	            "fail overlay\n!create p1 c1\ncreate p1 c1\nfail create\n!start c1\nrmp p1\n",
	  .cuts = 3,
	  .nested = 9 },
	{ .name = "clean-up that fails",
	  .script =
	          "pull " IMAGE "\n--\n"
	          "run p1\ncreate p1 c1\nstart c1\nfail del\n!stopp p1\nfail unpin\n!stopp p1\nfail mount\n!rm c1\nrm c1\nrmp p1\n",
	  .cuts = 3,
	  .nested = 9 },
	{ .name = "two pods at a time",
	  .script =
	          "pull " IMAGE "\nplug 10-a\n--\n"
	          "&run p1\nrun p2\n&create p1 c1\ncreate p2 c2\n&start c1\nstart c2\n&exit c1 1\nexit c2 2\n&rmp p1\nrmp p2\n",
	  .cuts = 3,
	  .nested = 9 },
	{ .name = "a container stopped by its pod",
	  .script = "pull " IMAGE "\nrun p1\n--\n"
	            "create p1 c1\ncreate p1 c2\nstart c1\nstopp p1\nrmp p1\n",
	  .cuts = 4,
	  .nested = 9 },
	{ .name = "a pod with a pause container",
	  .script = "pull " IMAGE "\npause\n--\n"
	            "run p1\ncreate p1 c1\nstart c1\nstop c1 0\nstopp p1\nrmp p1\n",
	  .cuts = 3,
	  .nested = 9 },
	{ .name = "images come and go",
	  .script = "--\npull " IMAGE "\npull other/image:2\nrun p1\ncreate p1 c1\nunimage " IMAGE
	            "\nunimage other/image:2\nrmp p1\n",
	  .cuts = 4,
	  .nested = 9 },
	{ .name = "a slow plugin",
	  .script =
	          "pull " IMAGE "\nplug 10-a\nplug 20-b\n--\n"
	          "run p1\nmute 10-a\ncreate p1 c1\nspeak 10-a\nstart c1\nexit c1 0\nmute 20-b\nrmp p1\nspeak 20-b\n",
	  .cuts = 3,
	  .nested = 9 },
	{ .name = "containers that end at once, updated and stopped late",
	  .script =
	          "pull " IMAGE "\nplug 10-a\nrun p1\n--\n"
	          "create p1 c1\nupdate c1\nstart c1\nupdate c1\nstop c1 0\nquick 5\ncreate p1 c2\nstart c2\nstop c2 100\n"
	          "stopp p1\nrmp p1\n",
	  .cuts = 3,
	  .nested = 9 },
	{ .name = "a monitor is killed",
	  .script = "pull " IMAGE "\nrun p1\ncreate p1 c1\n--\n"
	            "start c1\nmdie c1\nwait 100\nexit c1 4\nrm c1\nrmp p1\n",
	  .cuts = 4,
	  .nested = 9 },
	{ .name = "a hanging network plugin",
	  .script = "pull " IMAGE "\n--\nhang add\n!run p1\nrun p1\nrmp p1\n",
	  .cuts = 3,
	  .nested = 9 },
	{ .name = "small segments: rotation and snapshots",
	  .script =
	          "pull " IMAGE "\nplug 10-a\n--\n"
	          "run p1\ncreate p1 c1\nfill 12\nstart c1\nfill 12\nexit c1 3\nfill 12\nrmp p1\n",
	  .segment_bytes = 64 * 1024,
	  .cuts = 2,
	  .every = 2,
	  .nested = 31 },
};
const size_t nscenarios = ARRAY_SIZE(scenarios);
