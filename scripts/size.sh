#!/bin/bash
# Bytes of the linked binary by part, largest first: scripts/size.sh BINARY LINK-MAP ELF...
#
# Counted from the linker's map, so what was thrown away as unused does not appear.
set -euo pipefail

binary=$1 map=$2
shift 2

printf '%9d  %s\n' "$(stat -c %s "$binary")" "$binary"
for elf; do
	[ ! -s "$elf" ] || printf '%9d  %s (inside)\n' "$(stat -c %s "$elf")" "$elf"
done
echo
# " .text.name  0xADDRESS  0xSIZE  path/lib.a(member.o)", the name alone on a line when it is long.
awk '
	function number(hex, i, n) { # mawk has no strtonum
		for (i = 3; i <= length(hex); i++)
			n = n * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
		return n
	}
	/^Linker script and memory map/ { on = 1 }
	/^ [.](debug|comment|note)/ || /^ [*]/ { next }
	on {
		size = 0
		for (i = 1; i < NF; i++)
			if ($i ~ /^0x0*[1-9a-f][0-9a-f]*$/ && $(i + 1) ~ /^0x/ && $(i + 2) ~ /[.](a|o)/) {
				size = number($(i + 1))
				part = $(i + 2)
			}
		if (!size)
			next
		sub(/[(].*/, "", part)
		sub(/^.*\/lib\//, "", part)
		sub(/^.*\//, "", part)
		total[part] += size
	}
	END { for (part in total) printf "%9d  %s\n", total[part], part }' "$map" | sort -rn
