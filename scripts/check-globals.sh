#!/bin/bash
# Mutable file-scope variables in our archives: scripts/check-globals.sh ARCHIVE...
#
# State lives in structures that somebody owns. What must be global stands in scripts/globals.allow with its reason.
# Judged is what the compiler put into .data, .bss, .tdata and .tbss; constant tables (.rodata, .data.rel.ro) are fine.
set -euo pipefail
export LC_ALL=C
allow=$(dirname "$0")/globals.allow

members=$(objdump -t "$@" | awk '
	/^In archive / { archive = $3; sub(/^.*\//, "", archive); sub(/[.]a:$/, "", archive) }
	/:     file format / { object = archive "/" $1; sub(/:$/, "", object); print object, "-" }
	(/ O [.](data|bss|tdata|tbss)/ && !/ [.]data[.]rel[.]ro/) || /[*]COM[*]/ {
		name = $NF
		sub(/[.][0-9]+$/, "", name) # a static inside a function
		print object, name
	}' | sort -u)
allowed=$(awk '/^[^#]/ { print $1, $2 }' "$allow")

status=0
while read -r object name; do
	[ "$name" != - ] || continue
	grep -Fqx "$object $name" <<<"$allowed" && continue
	echo "$object: '$name' is a mutable variable at file scope (if it must be one, say why in $allow)"
	status=1
done <<<"$members"

# An entry that is no longer needed would hide the next variable of that name.
while read -r object name; do
	[ -n "$object" ] && grep -Fqx "$object -" <<<"$members" || continue
	grep -Fqx "$object $name" <<<"$members" && continue
	echo "$allow: $object has no '$name' any more"
	status=1
done <<<"$allowed"
exit $status
