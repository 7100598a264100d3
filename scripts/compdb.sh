#!/bin/bash
# A compilation database on standard output: scripts/compdb.sh FILE... -- COMPILER FLAG...
set -euo pipefail

files=()
while [ "$1" != -- ]; do
	files+=("$1")
	shift
done
shift

quoted() { # as a JSON string
	local text=${1//\\/\\\\}
	printf '"%s"' "${text//\"/\\\"}"
}

arguments=
for word; do
	arguments+="$(quoted "$word"), "
done
separator=
echo '['
for file in "${files[@]}"; do
	printf '%s{"directory": %s, "file": %s, "arguments": [%s"-c", %s]}' \
		"$separator" "$(quoted "$PWD")" "$(quoted "$file")" "$arguments" "$(quoted "$file")"
	separator=$',\n'
done
printf '\n]\n'
