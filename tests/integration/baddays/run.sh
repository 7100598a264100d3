#!/bin/bash
# Bad days: the real daemon with broken runtimes, networks, disks and clients. Needs root, crun, busybox-static, curl, python3.
#
# usage: tests/integration/baddays/run.sh [WORD...]     scenarios whose name contains a WORD; -l lists them
#
# Each scenario is a shell function of scenarios/*.sh, run in a process and a directory of its own, with a daemon of its own. It
# ends with: nothing is left over, and the daemon still serves others. The last line is `N passed, N failed`.
set -euo pipefail
set -E
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
CORACLE=${CORACLE:-$top/build/coracle}
export CORACLE

scenarios() {
	sed -n 's/^\([a-z][a-z0-9_]*\)() { # scenario.*/\1/p' "$here"/scenarios/*.sh
}

if [ "${1:-}" = -l ]; then
	scenarios
	exit 0
fi
if [ "${1:-}" = --one ]; then
	# shellcheck source=tests/integration/baddays/lib.sh
	. "$here/lib.sh"
	for file in "$here"/scenarios/*.sh; do
		# shellcheck disable=SC1090
		. "$file"
	done
	begin "$2" "$3"
	"$2"
	end
	exit 0
fi

# One line per scenario, behind it what was said by one that failed.
run_one() {
	local start=${EPOCHREALTIME/./} status=0 ms

	timeout --kill-after=10 "${TEST_TIMEOUT:-120}" "$0" --one "$1" "$base" >"$base/$1.log" 2>&1 || status=$?
	ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	if [ "$status" -eq 0 ]; then
		printf 'ok      %5d ms  %s\n' "$ms" "${1//_/ }"
		: >"$base/$1.ok"
	else
		printf 'FAILED  %5d ms  %s (status %d)\n%s\n' "$ms" "${1//_/ }" "$status" "$(sed 's/^/    /' "$base/$1.log")"
		: >"$base/$1.failed"
	fi
}

is_wanted() { # NAME WORD...
	local name=$1 word

	[ $# -gt 1 ] || return 0
	for word in "${@:2}"; do
		[[ $name != *$word* ]] || return 0
	done
	return 1
}

if [ "${1:-}" = --run ]; then
	base=$3
	run_one "$2"
	exit 0
fi
[ "$(id -u)" -eq 0 ] || { echo "needs root" >&2 && exit 1; }
"$top/tests/conformance/host.sh" # what this kind of machine needs for crun
base=$(mktemp -d /tmp/coracle-bad.XXXXXX)
# shellcheck source=tests/integration/baddays/lib.sh
(. "$here/lib.sh" && work=$base/none && make_image >/dev/null)
for name in $(scenarios); do
	! is_wanted "$name" "$@" || printf '%s\0' "$name"
done | xargs -0 -r -I NAME -P "${JOBS:-2}" "$0" --run NAME "$base"
count() { find "$base" -maxdepth 1 -name "*.$1" | wc -l; }
passed=$(count ok) failed=$(count failed)
[ "$failed" -ne 0 ] || rm -rf "$base"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
