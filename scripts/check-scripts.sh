#!/bin/bash
# Shell scripts: syntax, a purpose on top, strict mode; shellcheck on errors where it is installed.
#   scripts/check-scripts.sh FILE...
set -uo pipefail

status=0
complain() {
	echo "$*"
	status=1
}

for script; do
	[ -f "$script" ] || continue
	bash -n "$script" || status=1
	[ -x "$script" ] || complain "$script: is not executable"
	head -n 1 "$script" | grep -q '^#!/bin/\(ba\)\?sh' || complain "$script: first line names no shell"
	sed -n 2p "$script" | grep -q '^# .' || complain "$script: second line does not say what it is for"
	grep -q '^set -[a-z]*u' "$script" || complain "$script: no set -u"
	if command -v shellcheck >/dev/null; then
		shellcheck --severity=error "$script" || status=1
	fi
done
exit $status
