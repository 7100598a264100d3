#!/bin/bash
# ctl and recover against a real daemon, runtime and disk. Needs root, crun or runc, busybox-static, python3.
#
# usage: tests/integration/ctl/run.sh [WORD...]     tests whose name contains a WORD
#
# Each test is a function and runs in a process of its own; all share one image and, unless they stop it, one daemon. The last
# line is `N passed, N failed`.
set -euo pipefail
cd "$(dirname "$0")/../../.."

CORACLE=$(realpath "${CORACLE:-build/coracle}")
PYTHON=/usr/bin/python3
IMAGE=ctl-test/busybox

[ "$(id -u)" -eq 0 ] || { echo "needs root" >&2 && exit 1; }
[ ! -x tests/conformance/host.sh ] || tests/conformance/host.sh >/dev/null # what crun needs on this kind of machine
work=$(mktemp -d /tmp/coracle-ctl.XXXXXX)
root=$work/root state=$work/state

# ------------------------------------------------------------------------------------------------------------ helpers

ctl() {
	"$CORACLE" ctl --root "$root" --state "$state" "$@"
}

recover() {
	"$CORACLE" recover --root "$root" --state "$state" "$@"
}

fail() {
	echo "$*" >&2
	exit 1
}

start_daemon() {
	"$CORACLE" daemon --root "$root" --state "$state" >>"$work/daemon.log" 2>&1 &
	echo $! >"$work/pid"
	disown # bash need not tell that it was killed
	ctl --wait 20 ps -q >/dev/null
}

# The daemon is a child of another test's process, perhaps: waited for by looking.
stop_daemon() { # SIGNAL
	local pid
	pid=$(cat "$work/pid")
	kill "-$1" "$pid"
	while kill -0 "$pid" 2>/dev/null && [ "$(ps -o stat= -p "$pid" | cut -c 1)" != Z ]; do sleep 0.02; done
}

# expect STATUS TEXT COMMAND...: exit status, and a part of what it says (either stream)
expect() {
	local status=$1 text=$2 out rc=0
	shift 2
	out=$("$@" 2>&1) || rc=$?
	[ "$rc" -eq "$status" ] || fail "'$*' ended with $rc, not $status: $out"
	[[ $out == *"$text"* ]] || fail "'$*' does not say '$text': $out"
}

equal() { # WHAT GOT WANTED
	[ "$2" = "$3" ] || fail "$1: '$2', not '$3'"
}

json() { # EXPRESSION over d; the document is on stdin
	$PYTHON -c "import json, sys; d = json.load(sys.stdin); print($1)"
}

tree_of() { # everything about every file but the time it was read
	find "$@" -printf '%p %T@ %C@ %s %m %i\n' | sort
	find "$@" -type f -not -path '*/ns/*' -exec sha256sum {} + | sort # namespaces cannot be read
}

until_true() { # COMMAND...
	for _ in $(seq 200); do
		! "$@" || return 0
		sleep 0.05
	done
	fail "never: $*"
}

no_orphans() {
	[ -z "$(pgrep -f "$root" | grep -v -x "$(cat "$work/pid")")" ]
}

exit_is_spooled() {
	[ -n "$(ls -A "$root/spool/new")" ]
}

make_archive() {
	local dir=$work/image layer

	mkdir -p "$dir/rootfs/bin" "$dir/rootfs/etc" "$dir/rootfs/tmp"
	cp "$(command -v busybox)" "$dir/rootfs/bin/busybox"
	chroot "$dir/rootfs" /bin/busybox --install -s /bin
	printf 'root:x:0:0::/:/bin/sh\nguest:x:405:100::/:/bin/sh\n' >"$dir/rootfs/etc/passwd"
	tar -C "$dir/rootfs" --owner=0 --group=0 --numeric-owner -cf "$dir/layer.tar" .
	layer=$(sha256sum "$dir/layer.tar" | cut -d ' ' -f 1)
	printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$layer" >"$dir/config.json"
	printf '[{"Config":"config.json","RepoTags":["%s:latest"],"Layers":["layer.tar"]}]' "$IMAGE" >"$dir/manifest.json"
	tar -C "$dir" -cf "$work/image.tar" manifest.json config.json layer.tar
}

# -------------------------------------------------------------------------------------------------------------- tests

import_takes_files_and_standard_input() { # test
	local id

	id=$(ctl import "$work/image.tar" | cut -d ' ' -f 1)
	equal "from standard input" "$(ctl import - --name other:1 <"$work/image.tar" | tr ' ' '\n' | sort | tr '\n' ' ')" \
		"docker.io/$IMAGE:latest docker.io/library/other:1 $id "
	equal "as JSON" "$(ctl import --json "$work/image.tar" | json 'd["id"]')" "$id"
	[ -z "$(find /var/tmp -maxdepth 1 -name 'coracle-import-*' -newer "$work/image.tar")" ] || fail "the spooled archive stayed"
	ctl rm -i other:1 >/dev/null
	ctl import "$work/image.tar" >/dev/null # rm has taken all names
}

import_names_what_is_wrong() { # test
	echo "no archive" >"$work/junk"
	expect 1 "$work/nosuch: No such file" ctl import "$work/nosuch"
	expect 1 "$work/junk" ctl import "$work/junk"
	expect 1 "/dev/zero" ctl import /dev/zero
	expect 1 "standard input" ctl import - <"$work/junk"
	expect 2 "too few arguments" ctl import
}

run_passes_streams_and_exit_code_on() { # test
	local rc=0

	ctl run --rm "$IMAGE" sh -c 'echo out; echo err >&2; exit 7' >"$work/o" 2>"$work/e" || rc=$?
	equal "exit code" $rc 7
	equal stdout "$(cat "$work/o")" out
	equal stderr "$(cat "$work/e")" err
	equal "pods left" "$(ctl pods -q)" ""
	equal "logs left" "$(ls -A "$root/logs")" ""
}

run_does_as_it_is_told() { # test
	mkdir -p "$work/volume"
	echo content >"$work/volume/file"
	# shellcheck disable=SC2016
	equal "output" "$(FROM_HERE='b c' ctl run --rm -e A=1=2 -e FROM_HERE -v "$work/volume:/v:ro" -w /tmp -u guest --hostname h1 --read-only \
		"$IMAGE" sh -c 'echo "$A|$FROM_HERE|$(cat /v/file)|$(pwd)|$(id -u)|$(hostname)"; touch /v/x 2>/dev/null || echo ro; touch /x 2>/dev/null || echo ro')" \
		"$(printf '1=2|b c|content|/tmp|405|h1\nro\nro')"
	equal "entrypoint" "$(ctl run --rm --entrypoint echo "$IMAGE" -n a b)" "a b"
	equal "host network" "$(ctl run --rm --host-network "$IMAGE" readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"
}

run_refuses_what_cannot_be() { # test
	expect 2 "--env '=x'" ctl run -e =x "$IMAGE"
	expect 2 "--volume 'a' is not HOST:CONTAINER" ctl run -v a "$IMAGE"
	expect 2 "/no/such/dir: No such file" ctl run -v /no/such/dir:/x "$IMAGE"
	expect 2 "--memory '1X' is not a size" ctl run -m 1X "$IMAGE"
	expect 2 "does not go with --detach" ctl run --rm -d "$IMAGE"
	expect 1 "nosuchprogram" ctl run "$IMAGE" nosuchprogram
	equal "pods left by a failed start" "$(ctl pods -q)" ""
	ctl run -d --name taken "$IMAGE" sleep 60 >/dev/null
	expect 1 "there is a pod 'taken' already" ctl run --name taken "$IMAGE"
	ctl rm -f taken >/dev/null
}

a_signal_stops_what_runs_in_front() { # test
	local rc=0 pid

	"$CORACLE" ctl --root "$root" --state "$state" run --name front "$IMAGE" sh -c 'trap "echo bye; exit 9" TERM; echo hi; while :; do sleep 0.1; done' >"$work/o" &
	pid=$!
	until_true grep -q hi "$work/o"
	kill -TERM $pid
	wait $pid || rc=$?
	equal "exit code" $rc 9
	equal "output" "$(tr '\n' ' ' <"$work/o")" "hi bye "
	equal "pod" "$(ctl pods --json | json '[p["ready"] for p in d if p["name"] == "front"]')" "[False]"
	ctl rm front >/dev/null
}

a_signal_before_the_start_leaves_nothing() { # test
	local pid

	mkfifo "$work/fifo"
	mkdir "$work/tmp"
	TMPDIR=$work/tmp "$CORACLE" ctl --root "$root" --state "$state" import - <"$work/fifo" >"$work/o" 2>&1 &
	pid=$!
	exec 9>"$work/fifo"
	until_true sh -c "ls '$work/tmp' | grep -q coracle-import-"
	kill -TERM "$pid"
	! wait "$pid" || fail "import succeeded"
	exec 9>&-
	equal "said" "$(cat "$work/o")" "coracle ctl import: interrupted"
	equal "spooled" "$(ls -A "$work/tmp")" ""
}

things_are_called_by_name_and_prefix() { # test
	local id

	id=$(ctl run -d --name one "$IMAGE" sleep 60)
	ctl run -d --name two "$IMAGE" sleep 60 >/dev/null
	for ref in "$id" "${id:0:12}" one one/one; do
		equal "exec in $ref" "$(ctl exec "$ref" hostname)" one
	done
	expect 1 "no container 'three'" ctl exec three true
	expect 1 "no pod or container 'three'" ctl stop three
	equal "ps" "$(ctl ps | awk '{ print $2 }' | tr '\n' ' ')" "NAME one two "
	equal "ps of a pod" "$(ctl ps --pod two -q | wc -l)" 1
	equal "ps as JSON" "$(ctl ps --json | json '[(c["name"], c["pod"], c["state"]) for c in d]')" \
		"[('one', 'one', 'running'), ('two', 'two', 'running')]"
	equal "images" "$(ctl images --json | json '[i["tags"] for i in d]')" "[['docker.io/$IMAGE:latest']]"
	ctl rm -f one two >/dev/null
}

exec_passes_streams_and_exit_code_on() { # test
	local rc=0

	ctl run -d --name e "$IMAGE" sleep 60 >/dev/null
	ctl exec e sh -c 'echo out; echo err >&2; exit 3' >"$work/o" 2>"$work/e" || rc=$?
	equal "exit code" $rc 3
	equal stdout "$(cat "$work/o")" out
	equal stderr "$(cat "$work/e")" err
	expect 1 "ctl exec:" ctl exec --timeout 1 e sleep 30
	expect 2 "too few arguments" ctl exec e
	ctl rm -f e >/dev/null
}

logs_end_with_their_container() { # test
	ctl run -d --name l "$IMAGE" sh -c 'for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; printf end' >/dev/null
	equal "followed" "$(ctl logs -f l | tr '\n' ' ')" "line 1 line 2 line 3 line 4 line 5 end"
	equal "tail" "$(ctl logs -n 2 l | tr '\n' ' ')" "line 5 end"
	[[ $(ctl logs -t -n 2 l) == 20[0-9][0-9]-*Z\ line\ 5* ]] || fail "no time: $(ctl logs -t -n 2 l)"
	ctl rm l >/dev/null
	expect 1 "no container 'l'" ctl logs l
}

stop_and_rm_take_pods_and_containers() { # test
	ctl run -d --name s "$IMAGE" sleep 60 >/dev/null
	expect 1 "is running: stop it first, or use --force" ctl rm s
	ctl stop -t 0 s >/dev/null
	expect 0 "exited (137)" ctl ps -a
	[ -n "$(ls -A "$root/logs")" ] || fail "its log is gone too early"
	expect 1 "no pod or container 'nosuch'" ctl rm s nosuch
	equal "left" "$(ctl ps -aq)$(ctl pods -q)$(ls -A "$root/logs")" ""
	expect 1 "no image 'nosuch'" ctl rm -i nosuch
}

events_and_stats_are_told() { # test
	local pid

	ctl events --json >"$work/events" &
	pid=$!
	sleep 0.3
	ctl run -d --name v "$IMAGE" sh -c 'sleep 2' >/dev/null
	equal "stats" "$(ctl stats --json v | json '[(s["name"], s["memory_working_set_bytes"] > 0, s["cpu_percent"] >= 0) for s in d]')" \
		"[('v', True, True)]"
	ctl rm -f v >/dev/null
	sleep 0.3
	kill $pid
	wait $pid 2>/dev/null || true
	equal "events" "$($PYTHON -c 'import json, sys; print([(e["what"][0], e["event"]) for e in map(json.loads, sys.stdin)])' <"$work/events")" \
		"[('p', 'created'), ('p', 'started'), ('c', 'created'), ('c', 'started'), ('c', 'stopped'), ('p', 'stopped'), ('c', 'deleted'), ('p', 'deleted')]"
}

usage_errors_name_the_culprit() { # test
	expect 2 "did you mean 'logs'" ctl lgos
	expect 2 "did you mean '--all'" ctl ps --al
	expect 2 "unexpected argument 'x'" ctl ps x
	expect 2 "--tail: 'x' is not a number" ctl logs -n x y
	expect 1 "connect to /nowhere/sock: No such file" "$CORACLE" ctl --address /nowhere/sock ps
	expect 2 "no subcommand 'explian'" recover explian x
	expect 2 "is not the number of a record" recover at none
	expect 2 "unknown option '--fx'" recover --fx
	for verb in ps pods images pull import run exec logs stats events stop rm dump; do
		expect 0 "usage: coracle ctl $verb" ctl $verb --help
	done
	expect 0 "usage: coracle recover" recover --help
}

dumps_live_and_offline_agree() { # test
	ctl run -d --name d "$IMAGE" sleep 60 >/dev/null
	ctl dump >"$work/live"
	ctl dump --offline >"$work/offline"
	equal "state" "$($PYTHON -c 'import json, sys; a, b = (json.load(open(f))["state"] for f in sys.argv[1:]); print(a == b, len(a["containers"]))' \
		"$work/live" "$work/offline")" "True 1"
	ctl rm -f d >/dev/null
}

recover_looks_without_touching() { # test
	local id seq

	id=$(ctl run -d --name gone "$IMAGE" sh -c 'sleep 0.6; exit 42')
	ctl run -d --name stays "$IMAGE" sleep 60 >/dev/null
	expect 0 "A daemon is running" recover
	expect 75 "is locked by another coracle" recover --fix
	stop_daemon KILL
	until_true exit_is_spooled
	tree_of "$root" "$state" >"$work/before"
	expect 0 "exit       container ${id:0:12} exited 42" recover
	expect 0 "runs" recover
	recover --json >"$work/json"
	equal "JSON" "$(json '(d["home"], len(d["state"]["containers"]), sorted(l["what"] for l in d["next_start"] if l["what"] != "orphan"))' <"$work/json")" \
		"('here', 2, ['exit', 'runs'])"
	expect 0 "next:  container ${id:0:12} exited 42" recover explain gone
	expect 0 "CONTAINER_RUNNING" recover timeline gone
	expect 1 "the journal knows no 'nosuch'" recover explain nosuch
	seq=$(recover timeline --json gone | json '[r["seq"] for r in d if r["record"] == "CONTAINER_CREATED"][-1]')
	equal "state at $seq" "$(recover at "$seq" | json '[c["state"] for c in d["containers"] if c["name"] == "gone"]')" "['created']"
	equal "state at the end" "$(recover at "$(json 'd["state"]["seq"]' <"$work/json")" | sha256sum)" \
		"$(json 'json.dumps(d["state"])' <"$work/json" | $PYTHON -c 'import json, sys; print(json.dumps(json.load(sys.stdin), indent=2, ensure_ascii=False).replace("[]", "[]"))' | sha256sum)"
	ctl dump --offline >/dev/null
	tree_of "$root" "$state" >"$work/after"
	cmp "$work/before" "$work/after" || fail "recover has changed something: $(diff "$work/before" "$work/after")"
	start_daemon
	expect 0 "exited (42)" ctl ps -a
	ctl rm -f gone stays >/dev/null
}

recover_fix_does_what_the_start_would() { # test
	local id

	id=$(ctl run -d --name fixed "$IMAGE" sh -c 'sleep 0.5; exit 43')
	stop_daemon KILL
	until_true exit_is_spooled
	expect 0 "container ${id:0:12} exited 43" recover --fix
	equal "spool" "$(ls -A "$root/spool/new")" ""
	expect 0 "nothing to do" recover
	equal "again, as JSON" "$(recover --fix --json | json 'd["done"]')" "[]"
	start_daemon
	expect 0 "exited (43)" ctl ps -a
	ctl rm fixed >/dev/null
}

a_copy_is_looked_at_but_not_repaired() { # test
	ctl run -d --name c "$IMAGE" sleep 60 >/dev/null
	cp -a "$root" "$work/copy"
	tree_of "$work/copy" >"$work/before"
	expect 0 "whether containers run is unknown here" "$CORACLE" recover --root "$work/copy" --state "$work/elsewhere"
	expect 2 "it can be looked at, not repaired" "$CORACLE" recover --root "$work/copy" --state "$work/elsewhere" --fix
	expect 2 "it can be looked at, not repaired" "$CORACLE" recover --root "$work/copy" --state "$work/elsewhere" --truncate
	tree_of "$work/copy" >"$work/after"
	cmp "$work/before" "$work/after" || fail "the copy has changed"
	[ ! -e "$work/elsewhere" ] || fail "a state directory was made"
	rm -rf "$work/copy"
	ctl rm -f c >/dev/null
}

damage_is_told_and_only_given_up_on_demand() { # test
	local segment rc=0

	ctl run -d --name before "$IMAGE" sleep 60 >/dev/null
	stop_daemon TERM
	# a byte in the middle of what is known to be on disk
	segment=$(ls -t "$root"/journal/segment-* | while read -r f; do [ "$(tr -d '\0' <"$f" | wc -c)" -lt 500 ] || { echo "$f" && break; }; done)
	$PYTHON - "$segment" <<-'PY'
		import sys
		with open(sys.argv[1], "r+b") as f:
		    data = f.read()
		    at = data.rindex(b"before")
		    f.seek(at)
		    f.write(b"BEFORE")
	PY
	tree_of "$root" >"$work/before"
	expect 1 "DAMAGE" recover
	expect 1 "recover --truncate" recover
	expect 1 "$(basename "$segment")" recover --fix
	tree_of "$root" >"$work/after"
	cmp "$work/before" "$work/after" >/dev/null || rc=$?
	equal "journal changed without leave" "$(diff "$work/before" "$work/after" | grep -v '/lock' | grep -c '^[<>].*/journal/' || true)" 0
	expect 0 "" recover --truncate
	start_daemon
	ctl ps -a >/dev/null
	# its record is lost, its processes are an orphan's: the start has ended them
	until_true no_orphans
}

a_daemon_that_is_not_there_yet_is_waited_for() { # test
	local pid

	stop_daemon TERM
	expect 1 "connect to $state/coracle.sock" ctl ps
	ctl --wait 20 ps >"$work/o" &
	pid=$!
	sleep 0.2
	start_daemon
	wait $pid || fail "it was not waited for"
	expect 2 "--wait: 'x' is not a number" ctl --wait x ps
}

# -------------------------------------------------------------------------------------------------------------- runner

clean_up() {
	local pods bridge

	set +e
	kill -0 "$(cat "$work/pid")" 2>/dev/null || start_daemon
	pods=$(ctl pods -q 2>/dev/null)
	# shellcheck disable=SC2086 # ids
	[ -z "$pods" ] || ctl rm -f $pods >/dev/null
	bridge=$(ctl dump | sed -n 's/^ *"network": "\(cora[-a-z0-9]*\)".*/\1/p')
	stop_daemon TERM
	[ -z "$bridge" ] || [ ! -e "/sys/class/net/$bridge" ] || ip link del "$bridge"
	awk -v w="$work/" 'index($2, w) == 1 { print $2 }' /proc/mounts | tac | xargs -r -n 1 umount
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT

make_archive
start_daemon
ctl import "$work/image.tar" >/dev/null
passed=0 failed=0
for name in $(sed -n 's/^\([a-z][a-z0-9_]*\)() { # test$/\1/p' "tests/integration/ctl/run.sh"); do
	wanted=$([ $# -gt 0 ] || echo yes)
	for word; do
		[[ $name != *$word* ]] || wanted=yes
	done
	[ -n "$wanted" ] || continue
	if (trap - EXIT && set -e && "$name") >"$work/test.log" 2>&1; then
		passed=$((passed + 1))
		printf 'ok      %s\n' "${name//_/ }"
	else
		failed=$((failed + 1))
		printf 'FAILED  %s\n' "${name//_/ }"
		sed 's/^/    /' "$work/test.log"
		tail -n 5 "$work/daemon.log" | sed 's/^/    daemon: /'
		kill -0 "$(cat "$work/pid")" 2>/dev/null || start_daemon
		pods=$(ctl pods -q)
		# shellcheck disable=SC2086 # ids
		[ -z "$pods" ] || ctl rm -f $pods >/dev/null || true
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
