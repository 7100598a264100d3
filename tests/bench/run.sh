#!/bin/bash
# Every benchmark against the real daemon: tests/bench/run.sh DIRECTORY, where the benchmark programs are.
#
# Prints one line for each figure: PASS or MISS, goal, value, what. Fails if one misses its goal or could not be taken.
# Needs root, crun and the CNI plugins bridge and host-local. BENCH_IDLE_S (60) is how long an idle daemon is watched.
set -uo pipefail

programs=$1
status=0

[ "$(id -u)" -eq 0 ] || { echo "bench: needs root" >&2; exit 1; }
for program in "$programs"/*; do
	[ -x "$program" ] && [ "${program##*/}" != timed ] || continue
	TIMED="$programs/timed" "$program" || status=1
done
exit $status
