#!/bin/bash
# Run test commands one after the other and add up their `N passed, N failed[, N skipped]` lines:
#   scripts/add-counts.sh 'COMMAND' ...
# A command that prints no count, or fails without having counted a failure, counts as one.
set -uo pipefail

passed=0 failed=0 skipped=0
out=$(mktemp "${TMPDIR:-/tmp}/coracle-counts.XXXXXX")
trap 'rm -f "$out"' EXIT

for command; do
	bash -c "$command" 2>&1 | tee "$out"
	rc=${PIPESTATUS[0]}
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$out" | tail -n 1)
	p=0 f=0 s=0
	[ -z "$line" ] || read -r p f s < <(tr -cs '0-9\n' ' ' <<<"$line 0")
	if [ -z "$line" ] || { [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; }; then
		echo "add-counts: exit status $rc: $command"
		f=$((f + 1))
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + ${s%% *}))
done
printf '%d passed, %d failed' "$passed" "$failed"
[ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
echo
[ "$failed" -eq 0 ]
