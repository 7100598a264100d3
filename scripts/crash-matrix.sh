#!/bin/bash
# Run the crash matrices and show what they tried: [MUTANT=name] scripts/crash-matrix.sh ROOT PROGRAM...
#
# With MUTANT the programs run with that fault in the code (core/base/mutant.h): they must fail. Without, they run as they are;
# then each fault that the code has is tried, and one that no program finds is a failure here: the matrix would be blind.
set -uo pipefail

root=$1
shift
export TEST_TIMEOUT=${TEST_TIMEOUT:-600}
bin=$(dirname "$0")
logs=$root/.log

if [ -n "${MUTANT:-}" ]; then
	export CORACLE_MUTANT=$MUTANT
	exec "$bin/run-tests.sh" "$root" "$@"
fi

out=$(mktemp "${TMPDIR:-/tmp}/coracle-crash.XXXXXX")
trap 'rm -f "$out"' EXIT
"$bin/run-tests.sh" "$root" "$@" | tee "$out" | sed '$d'
for program; do
	grep -h -E 'stops' "$logs/${program#"$root"/}" | grep -v '^\['
done
read -r passed failed < <(tail -n 1 "$out" | tr -cs '0-9\n' ' ' | awk '{ print $1 + 0, $2 + 0 }')

# Those of the journal are found by the journal's matrix, the others by life's; each gets the other as a second chance.
mutants=$(grep -oh 'MUTANT([a-z_]*)' "$bin"/../core/*/*.c | sed 's/MUTANT(//; s/)//' | sort -u)
try() { # MUTANT PROGRAM...
	local mutant=$1 program

	shift
	for program; do
		CORACLE_MUTANT=$mutant timeout --kill-after=5 "$TEST_TIMEOUT" "$program" >"$logs/mutant-$mutant" 2>&1 </dev/null && continue
		printf 'mutant %-22s found by %s: %s\n' "$mutant" "${program#"$root"/}" \
			"$(grep -m 1 -A 2 VIOLATED "$logs/mutant-$mutant" | tr -s '\n ' ' ' | cut -c -150)"
		return
	done
	printf 'mutant %-22s NOT FOUND\n' "$mutant"
}
export -f try
export root logs
for mutant in $mutants; do
	if grep -q "MUTANT($mutant)" "$bin"/../core/journal/*.c; then
		printf '%s\0' "$mutant $*"
	else
		printf '%s\0' "$mutant $(printf '%s\n' "$@" | tac | tr '\n' ' ')"
	fi
done | xargs -0 -P "${JOBS:-$(nproc)}" -n 1 bash -c 'try $1' _ | tee "$out"
passed=$((passed + $(grep -c 'found by' "$out")))
failed=$((failed + $(grep -c 'NOT FOUND' "$out")))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$(wc -l <"$out")" -eq "$(wc -w <<<"$mutants")" ]
