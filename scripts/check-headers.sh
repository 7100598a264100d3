#!/bin/bash
# Each header compiles on its own: scripts/check-headers.sh HEADER... -- COMPILER FLAG...
#
# Also checks the guard (derived from the path) and that a .c file includes its own header first.
set -uo pipefail

headers=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	headers+=("$1")
	shift
done
shift
compile=("$@")

check() {
	local header=$1 guard source first output

	guard=CORACLE_$(tr 'a-z/.-' 'A-Z___' <<<"$header")
	if ! grep -qx "#ifndef $guard" "$header" || ! grep -qx "#define $guard" "$header"; then
		echo "$header: include guard is not $guard"
	fi
	source=${header%.h}.c
	if [ -f "$source" ]; then
		first=$(sed -n 's/^#include ["<]\(.*\)[">].*/\1/p' "$source" | head -n 1)
		[ "$first" = "$header" ] || echo "$source: includes $first before its own header"
	fi
	output=$(echo "#include \"$header\"" | "${compile[@]}" -fsyntax-only -x c - 2>&1) ||
		printf '%s: does not compile on its own:\n%s\n' "$header" "$output"
}

findings=$(for header in "${headers[@]}"; do check "$header"; done)
[ -z "$findings" ] && exit 0
echo "$findings"
exit 1
