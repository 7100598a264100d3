#!/bin/bash
# Fetch, verify, unpack and patch third-party sources: vendor/manifest.tsv -> build/src/NAME.
#
#   scripts/vendor.sh fetch [NAME...]    only fill the cache (all names without arguments)
#   scripts/vendor.sh unpack NAME...     fetch if need be, then unpack and patch into build/src/NAME
#
# A file is looked for in $CORACLE_SRC_CACHE (default vendor/cache), on the Debian mirror ($CORACLE_MIRROR or the
# machine's own), and in Debian's snapshot service ($CORACLE_SNAPSHOT), in this order. Whatever its way here, its SHA-256 must be
# the one in the manifest. An older version is never taken silently: CORACLE_ALLOW_FALLBACK=1 asks for it.
set -euo pipefail
cd "$(dirname "$0")/.."

manifest=vendor/manifest.tsv
cache=${CORACLE_SRC_CACHE:-vendor/cache}
snapshot=${CORACLE_SNAPSHOT:-http://snapshot.debian.org}
apt_helper=${CORACLE_APT_HELPER:-/usr/lib/apt/apt-helper}

die() {
	echo "vendor: $*" >&2
	exit 1
}

# The four patches of nghttp2 that touch the library; the others concern its programs and tests.
wanted_patch() {
	[ "$1" != nghttp2 ] || grep -q '^+++ [^/]*/lib/' "$2"
}

mirror() {
	if [ -n "${CORACLE_MIRROR:-}" ]; then
		echo "${CORACLE_MIRROR%/}"
		return
	fi
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sort -u | sed -n 's,/debian/$,/debian,p' | head -n 1
}

verified() { # FILE SHA256
	[ -f "$1" ] && echo "$2  $1" | sha256sum --check --status
}

# download URL FILE SHA256: true if FILE is there with that hash. $why says what was wrong otherwise.
download() {
	local tmp="$2.part.$$" log

	[ -x "$apt_helper" ] || { why="$1: $apt_helper is missing (package apt)"; return 1; }
	# apt-helper writes to its target's directory and checks the hash itself; a mismatch leaves NAME.FAILED.
	if log=$("$apt_helper" -o APT::Sandbox::User=root -o Acquire::Retries=2 \
		download-file "$1" "$tmp" "SHA256:$3" 2>&1); then
		if verified "$tmp" "$3"; then
			mv "$tmp" "$2"
			return 0
		fi
		log="hash mismatch"
	fi
	if [ -e "$tmp.FAILED" ] || [[ $log == *[Hh]ash*mismatch* ]]; then
		why="$1: wrong SHA-256"
	elif [[ $log == *404* ]]; then
		why="$1: not found (404)"
	else
		why="$1: $(sed -n 's/^E: Failed to fetch [^ ]* *//p; s/^E: //p' <<<"$log" | head -n 1)"
	fi
	rm -f "$tmp" "$tmp.FAILED"
	return 1
}

# fetch_row PATH SHA256 SHA1: true if the file is in the cache afterwards.
fetch_row() {
	local path=$1 sha256=$2 sha1=$3 file="$cache/${1##*/}" reasons="" base why

	verified "$file" "$sha256" && return 0
	if [ -f "$file" ]; then
		reasons="  $file: wrong SHA-256 (moved to $file.bad)"$'\n'
		mv "$file" "$file.bad" 2>/dev/null || die "$file has the wrong SHA-256 and cannot be moved away"
	fi
	mkdir -p "$cache"
	if [ -n "${CORACLE_OFFLINE:-}" ]; then
		reasons+="  CORACLE_OFFLINE is set: the network was not asked"$'\n'
	else
		base=$(mirror)
		if [ -z "$base" ]; then
			reasons+="  no Debian mirror in the machine's apt sources"$'\n'
		elif download "$base/$path" "$file" "$sha256"; then
			return 0
		else
			reasons+="  $why"$'\n'
		fi
		download "$snapshot/file/$sha1" "$file" "$sha256" && return 0
		reasons+="  $why"$'\n'
	fi
	cat >&2 <<-MSG
		vendor: cannot get ${path##*/}
		  sha256 $sha256
		${reasons%$'\n'}
		Put the file into $cache (or the directory named by CORACLE_SRC_CACHE), or name a Debian mirror
		that has $path in CORACLE_MIRROR.
	MSG
	return 1
}

# rows NAME ROLE: path, sha256, sha1
rows() {
	awk -F '\t' -v n="$1" -v r="$2" '$1 == n && $2 == r { print $3, $4, $5 }' "$manifest"
}

# fetch NAME: sets $orig and $debian (may be empty) to files in the cache.
fetch() {
	local path sha256 sha1

	orig="" debian=""
	read -r path sha256 sha1 < <(rows "$1" orig) || die "$manifest has no row '$1'"
	if fetch_row "$path" "$sha256" "$sha1"; then
		orig=$cache/${path##*/}
	elif [ -n "${CORACLE_ALLOW_FALLBACK:-}" ] && read -r path sha256 sha1 < <(rows "$1" fallback-orig); then
		echo "vendor: $1: CORACLE_ALLOW_FALLBACK is set, trying ${path##*/}" >&2
		fetch_row "$path" "$sha256" "$sha1" || exit 1
		orig=$cache/${path##*/}
	else
		exit 1
	fi
	if read -r path sha256 sha1 < <(rows "$1" debian); then
		fetch_row "$path" "$sha256" "$sha1" || exit 1
		debian=$cache/${path##*/}
	fi
}

unpack() {
	local name=$1 tmp="build/src/.$1.$$" patch

	fetch "$name"
	rm -rf "$tmp"
	mkdir -p "$tmp"
	tar -x --strip-components=1 --no-same-owner -C "$tmp" -f "$orig"
	if [ -n "$debian" ]; then
		tar -x --no-same-owner -C "$tmp" -f "$debian"
		while read -r patch _; do
			[[ -z $patch || $patch == \#* ]] && continue
			wanted_patch "$name" "$tmp/debian/patches/$patch" || continue
			patch -d "$tmp" -p1 --quiet --no-backup-if-mismatch <"$tmp/debian/patches/$patch" ||
				die "$name: patch $patch of ${debian##*/} does not apply"
		done <"$tmp/debian/patches/series"
	fi
	rm -rf "build/src/$name"
	mv -T "$tmp" "build/src/$name"
}

verb=${1:-}
shift || true
case $verb in
fetch)
	[ $# -gt 0 ] || set -- $(awk -F '\t' '/^[^#]/ { print $1 }' "$manifest" | sort -u)
	for name; do fetch "$name"; done
	;;
unpack)
	[ $# -gt 0 ] || die "unpack: which one?"
	for name; do unpack "$name"; done
	;;
*) die "usage: scripts/vendor.sh fetch [NAME...] | unpack NAME..." ;;
esac
