/* tests/crash/life/scenarios.h
 *
 * What is played to life in the crash matrix. A script is a list of lines, a line a verb and its objects:
 *
 *	pull I   unimage I			images
 *	run P   stopp P   rmp P			pods
 *	create P C   start C   stop C MS   rm C   update C	containers
 *	exit C CODE				it ends by itself
 *	quick CODE				containers end as soon as they are started
 *	mdie C					its monitor is killed
 *	plug NAME   unplug NAME   mute NAME   speak NAME	plugins
 *	fail KIND   late KIND   hang KIND	what becomes of the next job of that kind (fake_world.h), if it is asked for in this life
 *	pause   nopause				pods from now on share a PID namespace, or not
 *	fill N					N records that nobody misses
 *	wait MS
 *	--					what is above is not stopped: it is where the scenario begins
 *
 * Lines run one after the other, each to its answer; "&" in front: the next one begins at once, and the next without "&" waits
 * for all. "!" in front: it must be answered with an error (as long as nothing was stopped).
 */
#ifndef CORACLE_TESTS_CRASH_LIFE_SCENARIOS_H
#define CORACLE_TESTS_CRASH_LIFE_SCENARIOS_H

#include <stddef.h>
#include <stdint.h>

struct scenario {
	const char *name;
	const char *script;
	uint64_t segment_bytes; /* 0: large ones */
	size_t cuts;            /* outcomes of each power cut */
	unsigned every;         /* one stop in so many is tried (0: each), and ... */
	unsigned
		nested; /* ... of those one in so many has its second life stopped as well, somewhere; 0: none */
};

extern const struct scenario scenarios[];
extern const size_t nscenarios;

#endif
