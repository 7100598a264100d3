#!/bin/bash
# Manual pages and --help say the same: tests/integration/manual/run.sh
#
# CORACLE is the program (build/coracle). Ends with `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 2

coracle=$(realpath "${CORACLE:-build/coracle}")
passed=0 failed=0

# judge WHAT COMMAND...
judge() {
	local what=$1 out
	shift
	if out=$("$@" 2>&1); then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL manual: $what: $out"
	fi
}
equal() { [ -n "$1" ] && diff <(sort -u <<<"$1") <(sort -u <<<"$2"); } # as lists of words
# "-o" and "--output" of every option that --help explains; of every .TP that begins with a dash.
help_options() { "$coracle" "$1" --help | sed -nE 's/^ {2,6}(-[a-zA-Z], )?(--[a-z-]+).*/\1\2/p'; }
page_options() { awk '/^\.TP/ { getline; if (/^\.B[IR]? "?\\-/) print }' "$1" | sed -E 's/\\-/-/g; s/^\.B[IR]? "?((-[a-zA-Z], )?--[a-z-]+).*/\1/'; }

for command in check migrate-config; do
	judge "options of $command" equal "$(help_options "$command")" "$(page_options "docs/man/coracle-$command.8")"
done
judge "options of daemon" equal "$(help_options daemon)" "$(page_options docs/man/coracle.8)"
judge "commands" equal "$("$coracle" help | sed -nE 's/^  ([a-z-]+) .*/\1/p')" \
	"$(awk '/^\.SH/ { here = /COMMANDS/ } here && /^\.TP/ { getline; gsub(/\\/, ""); print $2 }' docs/man/coracle.8)"
judge "ids of check" equal "$("$coracle" check --list | awk '{ print $1 }')" \
	"$(awk '/^\.SH/ { here = /CHECKS/ } here && /^\.TP/ { getline; gsub(/\\/, ""); print $2 }' docs/man/coracle-check.8)"
for page in docs/man/*.[1-8]; do
	judge "$page begins with its title" grep -q '^\.TH ' "$page"
	judge "$page has a name" grep -q '^\.SH NAME' "$page"
	judge "$page has a see also" grep -q '^\.SH SEE ALSO' "$page"
done
while read -r code; do
	judge "$code is explained" grep -q "\b$code\b" docs/man/coracle-migrate-config.8
done < <(grep -oE '\b[EW]_[A-Z0-9_]+' cmd/migrate/edit.h | sort -u)

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
