#!/bin/bash
# Run cmocka programs and count: scripts/run-tests.sh ROOT PROGRAM...
#
# ROOT is the directory the programs' suites are named after. One line per suite (folder), the output of what failed, and
# last a plain line `N passed, N failed[, N skipped]`. Fails if a test failed, a program crashed, or none ran at all.
# JOBS programs run at a time (default: the processors), each at most TEST_TIMEOUT seconds (default 60).
set -uo pipefail

root=$1
shift
logs=$root/.log
jobs=${JOBS:-$(nproc)}
export TEST_TIMEOUT=${TEST_TIMEOUT:-60} root logs

if [ $# -eq 0 ]; then
	echo "run-tests: no test matches" >&2
	echo "0 passed, 0 failed"
	exit 1
fi

# Each program writes LOG and, last, LOG.rc.
run_one() {
	local program=$1 log="$logs/${1#"$root"/}"

	mkdir -p "${log%/*}"
	rm -f "$log.rc"
	(
		# Tests look at descriptors: they start with these three, whatever make and the terminal left open.
		exec >"$log" 2>&1 </dev/null
		for fd in /proc/self/fd/*; do
			fd=${fd##*/}
			[ "$fd" -le 2 ] || eval "exec $fd>&-"
		done
		exec timeout --kill-after=5 "$TEST_TIMEOUT" "$program"
	)
	echo $? >"$log.rc"
}
export -f run_one

printf '%s\0' "$@" | xargs -0 -n 1 -P "$jobs" bash -c 'run_one "$1"' _

total_ok=0 total_bad=0 total_skip=0
declare -A suite_ok suite_bad suite_skip
order=()
for program; do
	name=${program#"$root"/}
	log=$logs/$name
	rc=$(cat "$log.rc" 2>/dev/null || echo 127)
	# The per-test lines, not the closing summary: a program may run several groups or die in the middle.
	read -r ok bad skip < <(awk '
		/^\[       OK \] / { ok++ }
		/^\[  FAILED  \] / && !/listed below:$/ && !failed[$0]++ { bad++ }
		/^\[  SKIPPED \] / && !/listed below:$/ && !skipped[$0]++ { skip++ }
		/^\[  ERROR   \] / && !/^\[  ERROR   \] ---/ { bad++ }
		END { print ok + 0, bad + 0, skip + 0 }' "$log")
	if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then
		bad=1
		case $rc in
		124 | 137) echo "run-tests: $name: still running after ${TEST_TIMEOUT} s" >>"$log" ;;
		*) echo "run-tests: $name: exit status $rc" >>"$log" ;;
		esac
	elif [ "$rc" -eq 0 ] && [ $((ok + bad + skip)) -eq 0 ]; then
		bad=1
		echo "run-tests: $name: ran no test" >>"$log"
	fi
	if [ "$bad" -ne 0 ]; then
		echo "--- $name ---" >&2
		grep -v -e '^\[ RUN ' -e '^\[       OK \]' "$log" >&2
	fi
	suite=${name%/*}
	[ -n "${suite_ok[$suite]:-}" ] || order+=("$suite")
	suite_ok[$suite]=$((${suite_ok[$suite]:-0} + ok))
	suite_bad[$suite]=$((${suite_bad[$suite]:-0} + bad))
	suite_skip[$suite]=$((${suite_skip[$suite]:-0} + skip))
	total_ok=$((total_ok + ok)) total_bad=$((total_bad + bad)) total_skip=$((total_skip + skip))
done

counts() { # PASSED FAILED SKIPPED
	printf '%d passed, %d failed' "$1" "$2"
	[ "$3" -eq 0 ] || printf ', %d skipped' "$3"
	echo
}

for suite in "${order[@]}"; do
	printf '%-16s %s\n' "$suite" "$(counts "${suite_ok[$suite]}" "${suite_bad[$suite]}" "${suite_skip[$suite]}")"
done
counts "$total_ok" "$total_bad" "$total_skip"
[ "$total_bad" -eq 0 ]
