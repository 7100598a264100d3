#!/bin/bash
# From a fresh machine to a tested binary: set-up, third-party libraries, build, tests. Safe to run again at any time.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
	cat <<-'TEXT'
		usage: ./build.sh                         build build/coracle
		       ./build.sh test [SUITE...]         build, then every test this machine can carry (or only the suites named)
		       ./build.sh test --accept           the same; the counts become the floor (tests/floor.tsv)
		       ./build.sh run [--once]            build, then a demonstration pod
		       ./build.sh --help

		Missing Debian packages are installed if we are root, else listed. Logs are in build/log. Suites: tests/suites.tsv.

		CORACLE_SRC_CACHE    directory of third-party source archives (default vendor/cache)
		CORACLE_MIRROR       Debian mirror to fetch them from (default: the machine's own)
		CORACLE_OFFLINE=1    never use the network: archives and packages must be there
		CORACLE_REQUIRE      needs (go,registry,root,clang) whose absence fails the tests instead of skipping suites
		JOBS                 parallel jobs (default: the number of processors)
	TEXT
}

logs=build/log
jobs=${JOBS:-$(nproc)}
unset MAKEFLAGS MFLAGS MAKELEVEL
export LC_ALL=C.UTF-8
mkdir -p "$logs"

# step NAME COMMAND...: one line on the terminal, the rest in the log.
step() {
	local name=$1 log="$logs/$1.log" start=$SECONDS
	shift

	printf '%-14s ' "$name"
	if "$@" >"$log" 2>&1; then
		echo "ok ($((SECONDS - start)) s)"
	else
		echo "failed ($((SECONDS - start)) s), log: $log"
		tail -n 40 "$log" >&2
		exit 1
	fi
}

build() {
	if [ -n "${CORACLE_OFFLINE:-}" ]; then
		echo "setup          skipped, CORACLE_OFFLINE is set"
	else
		step setup scripts/setup.sh "$@"
	fi
	step vendor make --no-print-directory -j"$jobs" vendor
	step build make --no-print-directory -j"$jobs" all
}

# ------------------------------------------------------------------------------------------------------- needs
# need_NAME: is it there? If not, one line on why.

need_root() {
	[ "$(id -u)" -eq 0 ] || { echo "not root"; return 1; }
}

need_go() {
	PATH=$PATH:/usr/local/go/bin command -v go >/dev/null || { echo "no go on PATH"; return 1; }
}

need_registry() {
	command -v docker-registry >/dev/null || { echo "no docker-registry on PATH"; return 1; }
}

need_clang() {
	command -v clang-14 >/dev/null || { echo "no clang-14 on PATH"; return 1; }
}

# ------------------------------------------------------------------------------------------------------- suites

total_passed=0 total_failed=0 total_skipped=0

floor_of() {
	awk -F '\t' -v s="$1" '/^[^#]/ && $1 == s { print $2 }' tests/floor.tsv
}

run_suite() { # NAME TIMEOUT NEEDS COMMAND
	local name=$1 timeout=$2 needs=$3 command=$4 log="$logs/test-$1.log" start=$SECONDS need why rc=0 line floor note=""
	local passed=0 failed=0 skipped=0

	printf '%-14s ' "$name"
	for need in ${needs//,/ }; do
		[ "$need" != - ] || continue
		why=$("need_$need") && continue
		if [[ ",${CORACLE_REQUIRE:-}," == *",$need,"* ]]; then
			echo "FAILED: $why, and CORACLE_REQUIRE asks for $need"
			total_failed=$((total_failed + 1))
		else
			echo "skipped: $why"
			total_skipped=$((total_skipped + 1))
		fi
		return
	done

	timeout --kill-after=30 "$timeout" bash -c "$command" >"$log" 2>&1 </dev/null || rc=$?
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1 || true)
	if [ -n "$line" ]; then
		read -r passed failed skipped < <(sed -E 's/ (passed|failed|skipped)//g; s/,//g; s/$/ 0/' <<<"$line" | cut -d ' ' -f 1-3)
	fi
	if [ "$rc" -eq 124 ] || [ "$rc" -eq 137 ]; then
		note="still running after $timeout s"
	elif [ -z "$line" ]; then
		note="printed no count (exit status $rc)"
	elif [ "$rc" -ne 0 ] && [ "$failed" -eq 0 ]; then
		note="exit status $rc"
	fi
	floor=$(floor_of "$name")
	if [ -z "$note" ] && [ -n "$floor" ] && [ $((passed + skipped)) -lt "$floor" ] && [ "$failed" -eq 0 ]; then
		note="$((passed + skipped)) tests, $floor in tests/floor.tsv: some got lost"
	fi
	if [ -z "$note" ] && [ -n "${CORACLE_REQUIRE:-}" ] && [ "$skipped" -ne 0 ]; then
		note="$skipped skipped, and CORACLE_REQUIRE is set"
	fi
	[ -z "$note" ] || failed=$((failed + 1))
	counts[$name]=$passed
	total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed)) total_skipped=$((total_skipped + skipped))

	printf '%d passed, %d failed, %d skipped (%d s)' "$passed" "$failed" "$skipped" $((SECONDS - start))
	[ -z "$note" ] || printf ': %s' "$note"
	if [ -n "$floor" ] && [ "$passed" -gt "$floor" ]; then
		printf '; floor is %d, raise it with --accept' "$floor"
	fi
	echo
	if [ "$failed" -ne 0 ]; then
		echo "    log: $log"
		tail -n 60 "$log" | sed 's/^/    /'
	fi
}

accept_floor() {
	local name floor tmp=tests/floor.tsv.new

	grep '^#' tests/floor.tsv >"$tmp"
	while IFS=$'\t' read -r name _; do
		[[ -z $name || $name == \#* ]] && continue
		floor=${counts[$name]:-$(floor_of "$name")}
		[ -z "$floor" ] || printf '%s\t%s\n' "$name" "$floor" >>"$tmp"
	done <tests/suites.tsv
	mv "$tmp" tests/floor.tsv
}

run_tests() {
	local accept="" wanted=() name timeout needs command known

	declare -gA counts=()
	known=$(awk -F '\t' '/^[^#]/ { print $1 }' tests/suites.tsv)
	while [ $# -gt 0 ]; do
		case $1 in
		--accept) accept=1 ;;
		-*)
			usage >&2
			exit 2
			;;
		*)
			grep -Fqx -- "$1" <<<"$known" || {
				echo "build.sh: no test suite '$1'; there are:" $known >&2
				exit 2
			}
			wanted+=("$1")
			;;
		esac
		shift
	done

	build build test
	export MAKEFLAGS=-j$jobs
	while IFS=$'\t' read -r -u 3 name timeout needs command; do
		[[ -z $name || $name == \#* ]] && continue
		[ ${#wanted[@]} -eq 0 ] || grep -Fqx -- "$name" < <(printf '%s\n' "${wanted[@]}") || continue
		run_suite "$name" "$timeout" "$needs" "$command"
	done 3<tests/suites.tsv
	if [ -n "$accept" ] && [ "$total_failed" -eq 0 ]; then
		accept_floor
	fi

	printf '%d passed, %d failed' "$total_passed" "$total_failed"
	[ "$total_skipped" -eq 0 ] || printf ', %d skipped' "$total_skipped"
	echo
	[ "$total_failed" -eq 0 ]
}

case ${1:-} in
"")
	build build
	echo "build/coracle: $(stat -c %s build/coracle) bytes, sha256 $(sha256sum build/coracle | cut -d ' ' -f 1)"
	;;
test)
	shift
	run_tests "$@"
	;;
run)
	shift
	build build run
	exec scripts/run-demo.sh "$@"
	;;
-h | --help)
	usage
	;;
*)
	echo "build.sh: unknown argument '$1'" >&2
	usage >&2
	exit 2
	;;
esac
