#!/bin/bash
# Install the Debian packages that are missing: scripts/setup.sh ROLE... (build, run, test; see scripts/packages.tsv)
#
# Nothing that is installed is upgraded, removed or reconfigured. Without root the command to run is printed, and the exit
# status is 1 if a package of role build is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v dpkg-query >/dev/null; then
	echo "setup: no dpkg here; the packages in scripts/packages.tsv are taken for granted"
	exit 0
fi
arch=$(dpkg --print-architecture)

missing=() needed_to_build=()
for role; do
	for package in $(awk -F '\t' -v r="$role" -v a="$arch" '/^[^#]/ && index("," $2 ",", "," r ",") && ($3 == "-" || $3 == a) { print $1 }' \
		scripts/packages.tsv); do
		# "ii": a removed package whose configuration is left does not count.
		status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
		[ "${status:0:2}" = ii ] && continue
		missing+=("$package")
		[ "$role" != build ] || needed_to_build+=("$package")
	done
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "setup: not root; missing packages, to be installed with:"
	echo "    apt-get install --no-install-recommends ${missing[*]}"
	[ ${#needed_to_build[@]} -eq 0 ]
	exit
fi

export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -q --no-install-recommends --no-upgrade)
apt-get update -q || echo "setup: apt-get update failed; trying with the package lists at hand"
if ! "${install[@]}" "${missing[@]}"; then
	# One by one, so that a package that this mirror lacks does not keep the others away.
	for package in "${missing[@]}"; do
		"${install[@]}" "$package" || echo "setup: cannot install $package" >&2
	done
fi
for package in ${needed_to_build[@]+"${needed_to_build[@]}"}; do
	status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
	[ "${status:0:2}" = ii ] || {
		echo "setup: package $package is needed to build and could not be installed" >&2
		exit 1
	}
done
