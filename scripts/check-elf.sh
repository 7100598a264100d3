#!/bin/bash
# What a linked program must be, checked on the file itself because a wrong spec file links without a word.
#
#   scripts/check-elf.sh pie FILE     static-pie: ET_DYN, no interpreter, no needed library, RELRO, no text relocations
#   scripts/check-elf.sh plain FILE   static and free of relocations: ET_EXEC, no dynamic section at all
set -euo pipefail
export LC_ALL=C

kind=$1 file=$2
header=$(readelf -hW "$file")
segments=$(readelf -lW "$file")
dynamic=$(readelf -dW "$file" 2>/dev/null || true)

bad() {
	echo "check-elf: $file: $*" >&2
	exit 1
}

has() { grep -Eq "$1" <<<"$2"; }

has 'INTERP' "$segments" && bad "has a program interpreter, so it is not static"
has '\(NEEDED\)' "$dynamic" && bad "needs a shared library"
has 'GNU_STACK' "$segments" || bad "has no GNU_STACK header: the stack would be executable"
has 'GNU_STACK .* RWE' "$segments" && bad "asks for an executable stack"
has 'LOAD .* RWE' "$segments" && bad "has a segment that is writable and executable"

case $kind in
pie)
	has 'Type: +DYN' "$header" || bad "is not position independent"
	has 'GNU_RELRO' "$segments" || bad "has no RELRO segment"
	has '\(TEXTREL\)' "$dynamic" && bad "has text relocations"
	;;
plain)
	has 'Type: +EXEC' "$header" || bad "is position independent, which costs every process its relocated pages"
	has 'DYNAMIC' "$segments" && bad "has a dynamic section"
	relocations=$(readelf -rW "$file" | grep -vc -e IRELATIV -e '^$' -e 'no relocations' -e '^Relocation' -e 'Offset' || true)
	[ "$relocations" -eq 0 ] || bad "has $relocations relocations"
	;;
*) bad "unknown kind $kind" ;;
esac
exit 0
