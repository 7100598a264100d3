#!/bin/bash
# Check the two protocol models exhaustively: scripts/model.sh [--table]
#
# Without arguments: the rules as built must hold in every configuration (some minutes of CPU each, both at once). With --table
# each correction is left out and each mutant put in, and the shortest counterexample is printed; nothing is judged then.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-/usr/bin/python3}
case ${1:-} in
'') args=() ;;
--table) args=(--table) ;;
*)
	echo "usage: scripts/model.sh [--table]" >&2
	exit 2
	;;
esac

logs=$(mktemp -d) || exit 2
trap 'rm -rf "$logs"' EXIT
declare -A pids
for model in journal owed; do
	"$python" "tests/model/${model}_model.py" "${args[@]}" >"$logs/$model" 2>&1 &
	pids[$model]=$!
done
ok=0 bad=0
for model in journal owed; do
	if wait "${pids[$model]}"; then
		ok=$((ok + 1))
	else
		bad=$((bad + 1))
	fi
	echo "--- $model"
	cat "$logs/$model"
done
echo "$ok passed, $bad failed"
[ "$bad" -eq 0 ]
