#!/bin/bash
# Run fuzz targets.
#
#   scripts/fuzz.sh DIR NAME...            libFuzzer programs DIR/NAME: the corpus, then FUZZ_SECONDS (0: until stopped) each
#   scripts/fuzz.sh --replay DIR NAME...   programs linked with tests/fuzz/driver.c: the corpus only
#
# The committed corpus is tests/fuzz/corpus/NAME (never written), a dictionary tests/fuzz/NAME.dict. Inputs found on the way
# are kept in build/fuzz/NAME/corpus for the next run, what crashed in build/fuzz/NAME. FUZZ_JOBS targets run at a time.
# Ends with a plain line `N passed, N failed`.
set -uo pipefail

replay=
if [ "${1:-}" = --replay ]; then
	replay=1
	shift
fi
dir=$1
shift
jobs=${FUZZ_JOBS:-$(nproc)}
export dir replay FUZZ_SECONDS=${FUZZ_SECONDS:-20}

fuzz_one() {
	local name=$1 work="build/fuzz/$1" seeds="tests/fuzz/corpus/$1" log options=()

	mkdir -p "$work/corpus"
	log=$work/log
	rm -f "$work/failed"
	[ -d "$seeds" ] || seeds=
	if [ -n "$replay" ]; then
		"$dir/$name" $seeds "$work/corpus" >"$log" 2>&1 </dev/null && return 0
	else
		options=(-artifact_prefix="$work/" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1)
		[ "$FUZZ_SECONDS" -eq 0 ] || options+=(-max_total_time="$FUZZ_SECONDS")
		[ ! -f "tests/fuzz/$name.dict" ] || options+=(-dict="tests/fuzz/$name.dict")
		if [ "$FUZZ_SECONDS" -eq 0 ]; then
			exec "$dir/$name" "${options[@]}" "$work/corpus" $seeds
		fi
		"$dir/$name" "${options[@]}" "$work/corpus" $seeds >"$log" 2>&1 </dev/null && return 0
	fi
	touch "$work/failed"
}
export -f fuzz_one

if [ "$FUZZ_SECONDS" -eq 0 ] && [ -z "$replay" ]; then
	fuzz_one "$1"
fi
[ $# -eq 0 ] || printf '%s\0' "$@" | xargs -0 -n 1 -P "$jobs" bash -c 'fuzz_one "$1"' _

passed=0 failed=0
for name; do
	work=build/fuzz/$name
	if [ -e "$work/failed" ] || [ ! -s "$work/log" ]; then
		failed=$((failed + 1))
		echo "--- fuzz $name ---"
		tail -n 60 "$work/log"
	else
		passed=$((passed + 1))
		runs=$(sed -n "s/^stat::number_of_executed_units: *\(.*\)/\1 runs/p; s/^[0-9]* inputs\$/&/p" "$work/log" | tail -n 1)
		printf '%-24s %s\n' "$name" "${runs:-?}"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
