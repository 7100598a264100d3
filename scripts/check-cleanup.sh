#!/bin/bash
# A variable with a cleanup is born initialised: scripts/check-cleanup.sh FILE...
#
# The first early return between the declaration and the code that fills it would release what the stack held before.
# Compilers do not see it: the release is a call into another file.
set -euo pipefail
! grep -HnE '^[[:space:]]*cleanup(_[a-z]+|\([a-z_]+\)) [^=]*;' "$@" |
	sed 's/\t\+/ /; s/$/ needs an initialiser/' | grep .
