#!/bin/bash
# Does the fetching of third-party sources refuse what it must, and name the culprit? A stand-in for apt-helper serves files
# from a directory, so no network is touched.
set -uo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d "${TMPDIR:-/tmp}/coracle-build-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/served" "$work/tree/vendor" "$work/tree/scripts"
cp scripts/vendor.sh "$work/tree/scripts/"

# apt-helper -o ... download-file URL FILE SHA256:HEX
cat >"$work/apt-helper" <<'HELPER'
#!/bin/bash
while [ "$1" != download-file ]; do shift; done
served=$SERVED/${2##*/}
[ -f "$served" ] || { echo "E: Failed to fetch $2  404  Not Found" >&2; exit 100; }
cp "$served" "$3"
echo "${4#SHA256:}  $3" | sha256sum --check --status && exit 0
mv "$3" "$3.FAILED"
echo "E: Failed to fetch $2  Hash Sum mismatch" >&2
exit 100
HELPER
chmod +x "$work/apt-helper"
export SERVED=$work/served CORACLE_APT_HELPER=$work/apt-helper CORACLE_SRC_CACHE=$work/cache
export CORACLE_MIRROR=http://mirror.invalid/debian CORACLE_SNAPSHOT=http://snapshot.invalid

# A little package: an original, a patch for it.
mkdir -p "$work/pkg/demo-1.0" "$work/deb/debian/patches"
echo old >"$work/pkg/demo-1.0/file"
tar -C "$work/pkg" -czf "$SERVED/demo_1.0.orig.tar.gz" demo-1.0
printf 'fix.patch\n# a remark\n' >"$work/deb/debian/patches/series"
printf -- '--- a/file\n+++ b/file\n@@ -1 +1 @@\n-old\n+new\n' >"$work/deb/debian/patches/fix.patch"
tar -C "$work/deb" -cJf "$SERVED/demo_1.0-1.debian.tar.xz" debian
orig=$(sha256sum <"$SERVED/demo_1.0.orig.tar.gz" | cut -d ' ' -f 1)
deb=$(sha256sum <"$SERVED/demo_1.0-1.debian.tar.xz" | cut -d ' ' -f 1)
wrong=0000000000000000000000000000000000000000000000000000000000000000

manifest() { # HASH OF THE ORIGINAL
	printf 'demo\torig\tpool/demo_1.0.orig.tar.gz\t%s\tsha1-of-orig\t1\n' "$1"
	printf 'demo\tdebian\tpool/demo_1.0-1.debian.tar.xz\t%s\tsha1-of-deb\t1\n' "$deb"
}

passed=0 failed=0
# check SENTENCE COMMAND...: COMMAND must succeed.
check() {
	local sentence=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $sentence"
		sed 's/^/    /' "$work/out"
	fi
}
unpack() {
	(cd "$work/tree" && rm -rf build && scripts/vendor.sh unpack demo) >"$work/out" 2>&1
}
says() { grep -Fq -- "$1" "$work/out"; }
refused() { ! unpack; }
fresh() {
	rm -rf "$work/cache"
	manifest "${1:-$orig}" >"$work/tree/vendor/manifest.tsv"
}

fresh
check "a source is fetched, unpacked and patched" unpack
check "the patch was applied" grep -qx new "$work/tree/build/src/demo/file"

mv "$SERVED" "$SERVED.away"
check "a filled cache needs no server" unpack
mv "$SERVED.away" "$SERVED"

echo rot >>"$work/cache/demo_1.0.orig.tar.gz"
check "a damaged file in the cache is fetched again" unpack
mkdir -p "$work/cache" && echo rot >>"$work/cache/demo_1.0.orig.tar.gz"
check "offline, a damaged file in the cache is refused" eval 'CORACLE_OFFLINE=1 refused'
check "and its wrong hash is said" says "demo_1.0.orig.tar.gz: wrong SHA-256"

fresh "$wrong"
check "a file with another hash than the manifest's is refused" refused
check "the file is named" says "cannot get demo_1.0.orig.tar.gz"
check "the hash is named" says "$wrong"
check "the reason is named" says "wrong SHA-256"
check "the way out is named" says CORACLE_SRC_CACHE
check "nothing of it stays in the cache" test ! -e "$work/cache/demo_1.0.orig.tar.gz"

fresh
mv "$SERVED/demo_1.0.orig.tar.gz" "$work/"
check "a file that no server has is refused" refused
check "404 is said" says "not found (404)"
check "the mirror's variable is named" says CORACLE_MIRROR
check "the mirror that was asked is named" says "http://mirror.invalid/debian/pool/demo_1.0.orig.tar.gz"
check "the snapshot service was asked by SHA-1" says "http://snapshot.invalid/file/sha1-of-orig"
cp "$work/demo_1.0.orig.tar.gz" "$SERVED/sha1-of-orig"
check "what the mirror lost comes from the snapshot service" unpack
rm "$SERVED/sha1-of-orig"

fresh
printf 'demo\tfallback-orig\tpool/demo_0.9.orig.tar.gz\t%s\tsha1-of-fallback\t1\n' "$orig" >>"$work/tree/vendor/manifest.tsv"
cp "$work/demo_1.0.orig.tar.gz" "$SERVED/demo_0.9.orig.tar.gz"
check "an older version is never taken silently" refused
check "an older version is taken when asked for" eval 'CORACLE_ALLOW_FALLBACK=1 unpack'

check "an unknown name is refused" eval '! scripts/vendor.sh unpack no-such-library >"$work/out" 2>&1'
check "and the name is said" says "no row 'no-such-library'"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
