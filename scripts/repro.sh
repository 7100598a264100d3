#!/bin/bash
# Is the build reproducible? Build the tree again, from nothing, in another directory, and compare: scripts/repro.sh BINARY
set -euo pipefail
unset MAKEFLAGS MFLAGS MAKELEVEL

binary=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/coracle-repro.XXXXXX")
trap 'rm -rf "$work"' EXIT

tar -c --exclude=./build --exclude=./vendor/cache --exclude=./.git . | tar -x -C "$work"
export CORACLE_SRC_CACHE=${CORACLE_SRC_CACHE:-$PWD/vendor/cache}
make -C "$work" -j"$(nproc)" >"$work/log" 2>&1 || {
	tail -n 30 "$work/log" >&2
	echo "repro: the second build failed" >&2
	exit 1
}
for file in "$binary" "$binary.debug"; do
	if ! cmp "$file" "$work/build/${file##*/}" >&2; then
		echo "repro: ${file##*/} differs between two builds of the same source" >&2
		exit 1
	fi
done
echo "repro: two builds, the same $(stat -c %s "$binary") bytes: $(sha256sum <"$binary" | cut -d ' ' -f 1)"
