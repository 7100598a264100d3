#!/bin/bash
# Run lint targets of the Makefile one after the other, all of them even if one fails: scripts/lint.sh lint-NAME...
#
# A target whose tool is not installed is skipped, by name. Ends with a plain line `N passed, N failed[, N skipped]`.
set -uo pipefail

tool_of() {
	case $1 in
	lint-format) echo clang-format-14 ;;
	lint-tidy) echo clang-tidy-14 ;;
	lint-cppcheck) echo cppcheck ;;
	*) echo bash ;;
	esac
}

passed=0 failed=0 skipped=0
for target; do
	name=${target#lint-}
	tool=$(tool_of "$target")
	if ! command -v "$tool" >/dev/null; then
		echo "$name: skipped, $tool is not installed"
		skipped=$((skipped + 1))
	elif output=$("${MAKE:-make}" --no-print-directory -s -k "$target" 2>&1); then
		echo "$name: ok"
		passed=$((passed + 1))
	else
		echo "$name: failed"
		sed 's/^/    /' <<<"$output"
		failed=$((failed + 1))
	fi
done
printf '%d passed, %d failed' "$passed" "$failed"
[ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
echo
[ "$failed" -eq 0 ]
