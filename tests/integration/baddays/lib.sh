# What the scenarios share: a daemon of one's own, calls, expectations, and what must not be left behind. Sourced by run.sh.
# shellcheck shell=bash disable=SC2119,SC2120 # most starts have nothing to add

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
IMAGE=test.local/busybox:1

# --- a place for one scenario

begin() { # NAME BASE
	work=$2/${1:0:8}.$$
	root=$work/root state=$work/state conf=$work/conf
	cgroup=/bad.$$ log=$work/daemon.log
	oci=$work/bin/oci cni=$work/cni
	daemon='' enter=() failed_line=-
	mkdir -p "$work/bin" "$work/behave" "$work/logs" "$cni/net.d" "$cni/bin" "$cni/added" "$cni/behave"
	trap cleanup EXIT
	trap 'failed_line=$LINENO' ERR
	make_runtime
	make_plugin
	configure
}

# What an operator would write; scenarios add to it.
configure() {
	cat >"$conf" <<-TEXT
		[runtime]
		default = crun
		timeout = 2s
		[runtime crun]
		[runtime bad]
		path = $oci
		[cni]
		conf_dir = $cni/net.d
		bin_dirs = $cni/bin
		builtin = off
		timeout = 2s
	TEXT
}

# The end every scenario has in common.
end() {
	others_are_served
	nothing_is_left
	no_handler_was_slow
}

cleanup() {
	local status=$? pid file

	set +e
	[ "$status" -eq 0 ] || tell_more
	[ -z "$daemon" ] || { kill -CONT "$daemon"; kill -9 "$daemon"; } 2>/dev/null
	for pid in $(monitors); do
		kill -CONT "$pid"
		kill -9 "$pid"
	done
	for file in /sys/fs/cgroup/freezer"$cgroup"/*/freezer.state /sys/fs/cgroup{,/unified}"$cgroup"/*/cgroup.freeze; do
		[ ! -e "$file" ] || thaw "${file%/*}"
	done
	while read -r pid _; do # runtimes that were told to hang: each leads a session
		[[ $(ps -o args= -p "$pid") != @(sleep 600|*"$oci"*) ]] || pkill -9 -s "$pid"
	done 2>/dev/null <"$work/oci.log"
	for pid in $(cat /sys/fs/cgroup{,/*}"$cgroup"/*/cgroup.procs 2>/dev/null | sort -u); do
		kill -9 "$pid"
	done
	rm -rf "$cni/behave" "$work/behave"
	awk -v a="$work/" 'index($5, a) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r target; do
		umount -l "$target"
	done
	remove_cgroups
	exit "$status"
}

tell_more() {
	echo "failed in ${FUNCNAME[*]:2}, line $failed_line"
	echo "--- daemon:"
	tail -n 40 "$log"
	[ ! -s "$work/oci.log" ] || { echo "--- runtime:"; tail -n 20 "$work/oci.log"; }
} 2>/dev/null

remove_cgroups() {
	find /sys/fs/cgroup -depth -type d -path "*$cgroup*" -exec rmdir {} + 2>/dev/null || true
}

# --- programs that misbehave on request: a file behave/VERB holds what to do

# hang, alone or with a child; garbage and success; silent and fail: status 1, without and with a JSON error; late: fail
# after the work was done; slow.
make_runtime() {
	echo '{"level":"error","msg":"the \"moon\" is in the wrong phase","time":"2024-01-01T00:00:00Z"}' >"$work/error.json"
	cat >"$oci" <<-TEXT
		#!/bin/bash
		prev=
		for arg; do
		    case \$arg in create|start|delete|exec|state|kill|update|features|--version) verb=\$arg;; esac
		    [ "\$prev" != --log ] || log=\$arg
		    prev=\$arg
		done
		echo "\$\$ \$verb" >>$work/oci.log
		fail() { cat $work/error.json >>"\${log:-/dev/stderr}"; exit 1; }
		case \$(cat $work/behave/\$verb 2>/dev/null) in
		hang) exec sleep 600 ;;
		grandchild) sleep 600 & sleep 600 ;;
		garbage) head -c 3000 /dev/urandom; exit 0 ;;
		silent) exit 1 ;;
		fail) fail ;;
		late) crun "\$@"; fail ;;
		slow) sleep 1 ;;
		esac
		exec crun "\$@"
	TEXT
	chmod +x "$oci"
}

# The same for a network plugin; what it has given out and not taken back are files in added/.
make_plugin() {
	cat >"$cni/bin/fake" <<-TEXT
		#!/bin/bash
		# cni/net.d/10-fake.conflist
		config=\$(cat)
		how=\$(cat $cni/behave/\$CNI_COMMAND 2>/dev/null)
		echo "\$CNI_COMMAND \$how" >>$cni/calls
		add() { echo x >$cni/added/\$CNI_CONTAINERID; }
		fail() { echo '{"cniVersion":"1.0.0","code":11,"msg":"no address left","details":"pool is empty"}'; exit 1; }
		case \$CNI_COMMAND:\$how in
		VERSION:*) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'; exit ;;
		ADD:hang) add; exec sleep 600 ;;
		*:hang) exec sleep 600 ;;
		ADD:garbage) add; head -c 3000 /dev/urandom; exit 0 ;;
		ADD:fail) add; fail ;;
		ADD:slow) add; sleep 1 ;;
		DEL:fail) fail ;;
		ADD:*) add ;;
		esac
		[ "\$CNI_COMMAND" != DEL ] || rm -f $cni/added/\$CNI_CONTAINERID
		[ "\$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"x"}],"ips":[{"address":"10.9.8.7/24","interface":0}]}'
	TEXT
	chmod +x "$cni/bin/fake"
}

network() {
	echo '{"cniVersion":"1.0.0","name":"fake","plugins":[{"type":"fake"}]}' >"$cni/net.d/10-fake.conflist"
	within 5 ready Network
}

behave() { echo "$2" >"$work/behave/$1"; }
behave_well() { rm -f "$work"/behave/* "$cni"/behave/*; }
plugin() { echo "$2" >"$cni/behave/$1"; }

# --- the daemon

# Through the words of enter, if any.
start() { # [ENVIRONMENT=...]
	launch "$@"
	within 10 answers || fail "the daemon does not answer"
	within 10 reads_are_served || fail "the daemon does not recover"
}

launch() {
	"${enter[@]}" env "$@" "$CORACLE" daemon -c "$conf" --root "$root" --state "$state" >>"$log" 2>&1 &
	daemon=$!
}

stop() {
	local status=0

	kill "$daemon"
	wait "$daemon" || status=$?
	daemon=
	expect "exit status of a stopped daemon" "$status" 0
}

kill_daemon() {
	kill -9 "$daemon"
	wait "$daemon" 2>/dev/null || true
	daemon=
}

# A start that must not succeed, with this status and these words: start_fails STATUS PATTERN ARGUMENT...
start_fails() {
	local said status=0

	said=$(timeout 10 "$CORACLE" daemon -c "$conf" --root "$root" --state "$state" "${@:3}" 2>&1) || status=$?
	expect "words of the failed start" "$said" "$2"
	expect "its status" "$status" "$1"
}

cri() { "$here/cri.py" "$state/coracle.sock" "$@"; }
answers() { cri version >/dev/null 2>"$work/err"; }
reads_are_served() { cri pods >/dev/null 2>"$work/err"; }
ready() { [[ $(cri status) == *"$1Ready True"* ]]; }
condition() { cri status | grep "^$1Ready"; }
image() { "$CORACLE" ctl --address "$state/coracle.sock" import "$(make_image)" >/dev/null; }

# A tar file with busybox as an image; run.sh calls this first.
make_image() {
	local dir=${work%/*}/image tar=${work%/*}/busybox.tar applet

	if [ ! -f "$tar" ]; then
		mkdir -p "$dir"/files/{bin,tmp}
		cp /bin/busybox "$dir/files/bin/busybox"
		for applet in sh sleep cat echo true ls kill dd head yes seq touch tail; do
			ln "$dir/files/bin/busybox" "$dir/files/bin/$applet"
		done
		make_layout "$dir" $IMAGE "$tar"
	fi
	echo "$tar"
}

# DIR/files as an image of one layer, an OCI layout: make_layout DIR NAME TAR
make_layout() {
	local dir=$1 layer config manifest

	mkdir -p "$dir/oci/blobs/sha256"
	layer=$(tar -C "$dir/files" -c . | put "$dir")
	config=$(printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
		"$layer" | put "$dir")
	manifest=$(printf '{"schemaVersion":2,"config":%s,"layers":[%s]}' "$(descriptor config "$config")" \
		"$(descriptor layer "$layer")" | put "$dir")
	printf '{"schemaVersion":2,"manifests":[%s]}' \
		"$(descriptor manifest "$manifest" ',"annotations":{"org.opencontainers.image.ref.name":"'"$2"'"}')" >"$dir/oci/index.json"
	echo '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci/oci-layout"
	tar -C "$dir/oci" -cf "$3" .
}

put() { # DIR < blob; prints its digest
	local digest

	cat >"$1/blob"
	digest=$(sha256sum "$1/blob" | cut -d' ' -f1)
	mv "$1/blob" "$1/oci/blobs/sha256/$digest"
	echo "sha256:$digest"
}

descriptor() { # KIND DIGEST [MORE]
	local type=application/vnd.oci.image.$1.v1

	[ "$1" = layer ] && type=$type.tar || type=$type+json
	printf '{"mediaType":"%s","digest":"%s","size":%d%s}' "$type" "$2" "$(stat -c %s "$dir/oci/blobs/sha256/${2#*:}")" "${3:-}"
}

# --- pods and containers; all print an id

pod() { cri run_pod name="$1" host_network=1 cgroup="$cgroup" logs="$work/logs" "${@:2}"; }
net_pod() { cri run_pod name="$1" cgroup="$cgroup" logs="$work/logs" "${@:2}"; }
container() { cri create pod="$1" name="$2" image=$IMAGE command="$3" log="$2.log" logs="$work/logs" "${@:4}"; }
running() { # POD NAME COMMAND
	local id

	id=$(container "$@") && cri start id="$id" || return
	echo "$id"
}
field() { cri "$1" id="$2" | sed -n "s/^$3 //p"; } # container|pod ID FIELD
is() { [ "$(field container "$1" state)" = "$2" ]; }
exited() { is "$1" EXITED; }
# The monitors of this scenario have its state directory as descriptor 6 (core/monitor).
monitors() {
	local dir

	for dir in /proc/[0-9]*; do
		[ "$(readlink "$dir/fd/6" 2>/dev/null)" = "$state/monitors" ] && [[ $(cat "$dir/comm") == coracle* ]] && echo "${dir#/proc/}"
	done
	return 0
}
monitor_of() { pgrep -xf "coracle-monitor $1"; } # ID
init_of() { # ID: the container's first process
	head -qn 1 /sys/fs/cgroup/{pids,unified,.}"$cgroup/$1/cgroup.procs" 2>/dev/null | head -n 1
}

# --- expectations

fail() {
	echo "at ${BASH_LINENO[*]}: $*" >&2
	exit 1
}

expect() { # WHAT ACTUAL EXPECTED, a pattern
	# shellcheck disable=SC2053
	[[ $2 == $3 ]] || fail "$1: \"$2\", expected \"$3\""
}

# The command must fail and say why: refused PATTERN COMMAND...
refused() {
	local said status=0

	said=$("${@:2}" 2>&1) || status=$?
	[ "$status" -ne 0 ] || fail "\"${*:2}\" succeeded, expected \"$1\""
	expect "error of \"${*:2}\"" "$said" "$1"
}

within() { # SECONDS COMMAND...
	local end=$((SECONDS + $1 + 1))

	until "${@:2}"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

eventually() { within 10 "$@" || fail "\"$*\" did not come true"; }
logged() { grep -q -e "$1" "$log"; }

# In at most SECONDS: quickly SECONDS COMMAND...
quickly() {
	local start=${EPOCHREALTIME/./} ms

	"${@:2}"
	ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	[ "$ms" -le $(($1 * 1000)) ] || fail "\"${*:2}\" took $ms ms"
}

others_are_served() {
	local p c

	[ -n "$daemon" ] || start
	[ -n "$(cri images 2>/dev/null)" ] || image
	p=$(pod others)
	c=$(running "$p" others 'echo alive')
	eventually exited "$c"
	expect "exit code" "$(field container "$c" exit_code)" 0
	expect "its log" "$(cat "$work/logs/others.log")" '*stdout F alive'
}

# Every pod goes, then nothing of any may be there: mounts, monitors, cgroups, files, addresses, locks.
nothing_is_left() {
	local left

	behave_well
	cri pods | cut -d' ' -f1 | cri each remove_pod id
	expect pods "$(cri pods)" ""
	expect containers "$(cri containers)" ""
	within 5 nothing_lives || fail "left over: $(leftovers)"
	expect "operations under way" "$("$CORACLE" ctl --address "$state/coracle.sock" dump | tr -d ' \n' | grep -o '"ops":\[[^]]*\]')" '"ops":\[\]'
	stop
	left=$(leftovers)
	[ -z "$left" ] || fail "left over after the stop: $left"
}

nothing_lives() { [ -z "$(leftovers)" ]; }

leftovers() {
	awk -v a="$work/" 'index($5, a) == 1 { print "mount", $5 }' /proc/self/mountinfo | grep -v -e " $root\$" -e " $work/disk\$" || true
	monitors | sed 's/^/monitor /'
	find /sys/fs/cgroup -mindepth 2 -type d -path "*$cgroup/*"
	for dir in "$state"/{bundles,ns,ops,sandboxes,runtime,monitors} "$root"/{snapshots,containers,staging,spool/new,spool/tmp} "$cni/added"; do
		[ ! -d "$dir" ] || find "$dir" -mindepth 1 -maxdepth 1
	done
}

no_handler_was_slow() {
	# 10 ms is the budget; but time passes, too, while the machine is busy with something else
	! grep -E 'handler .* took ([5-9][0-9]{2}|[0-9]{4,}) ms' "$log" || fail "the loop was held up"
}
