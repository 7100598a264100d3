# Cases about what a daemon leaves on disk, and about a daemon that runs. Sourced by run.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # what run.sh sets, and reads

image=test.local/one:1

# --- images and a store, made once

make_images() {
	local name
	for name in one two; do
		mkdir -p "$dir/$name/files/bin" && cp /bin/busybox "$dir/$name/files/bin/sh" && echo "$name" >"$dir/$name/files/name"
		(. tests/integration/baddays/lib.sh && make_layout "$dir/$name" "test.local/$name:1" "$dir/$name.tar")
	done
}

# The directory of a daemon that has stored two images and was stopped.
make_store() {
	printf '[journal]\nsegment_size = 64K\n' >"$dir/small.conf"
	mkdir -p "$dir/host" "$dir/hoststate" && make_images && start_daemon -c "$dir/small.conf" && import && is_tidy && stop_daemon &&
		rm -f "$dir/host/lock" && mv "$dir/host" "$dir/store" && rm -rf "$dir/hoststate"
}

# An import answers before its leftovers are gone.
is_tidy() { for _ in $(seq 100); do [ -n "$(find "$dir"/host/{staging,trash} -mindepth 1)" ] || return 0; sleep 0.05; done; return 1; }

import() {
	ctl import "$dir/one.tar" && ctl import "$dir/two.tar"
}

ctl() { "$coracle" ctl --root "$dir/host" --state "$dir/hoststate" "$@"; }
of_container() { ctl dump --offline | /usr/bin/python3 -c "import json, sys; print(json.load(sys.stdin)['state']['containers'][0]['$1'])"; }

# --- a daemon with one pod; nothing is left of them afterwards

# run_pod COMMAND: container and its process id in $id and $pid.
run_pod() {
	ctl run -d --name pod $image sh -c "$1" >"$dir/id" || return
	id=$(cat "$dir/id") pid=$(of_container pid)
}
kill_daemon() { kill -9 "$daemon" && { wait "$daemon"; daemon=; } 2>/dev/null; }
init_ends() { # SIGNAL
	kill "-$1" "$pid"
	while [ -d "/proc/$pid" ] && [ "$(ps -o stat= -p "$pid" | cut -c 1)" != Z ]; do sleep 0.02; done
}
# CASE ARGUMENT...: with a daemon and its pod.
with_pod() {
	local rc=1 id='' pid=''
	start_daemon && import && run_pod 'while :; do sleep 1; done' && "$@" && rc=0
	[ -n "$daemon" ] || start_daemon
	ctl rm -f pod
	stop_daemon
	return $rc
}

# --- state

case_state_schema() { flips state.schema "cp -r '$store/journal' '$dir/saved.d'; tests/integration/baddays/newer.py $(first_segment)" "rm -r '$store/journal'; mv '$dir/saved.d' '$store/journal'"; }
first_segment() { grep -l '^coraseg' "$store"/journal/segment-* | head -n 1; }

rewritten() { # ID [RECORD OLD NEW]...
	local id=$1 edits=''
	shift
	while [ $# -gt 0 ]; do
		edits+="tests/integration/check/rewrite.py '$store/journal' '$1' '$2' '$3'; "
		shift 3
	done
	flips "$id" "cp -r '$store/journal' '$dir/saved.d'; $edits" "rm -r '$store/journal'; mv '$dir/saved.d' '$store/journal'"
}

case_state_journal() {
	flips state.journal "cp -r '$store/journal' '$dir/saved.d'; rm $(first_segment)" "rm -r '$store/journal'; mv '$dir/saved.d' '$store/journal'" || return
	[ "$(worst state.journal)" = 0 ] || return
	local last
	last=$(grep -l '^coraseg' "$store"/journal/segment-* | tail -n 1)
	flips state.journal "cp -p '$last' '$dir/saved'; printf torn | dd of='$last' bs=1 seek=\$((\$(stat -c %s '$last') - 8)) conv=notrunc status=none; says torn" "cp -p '$dir/saved' '$last'"
}
worst() { statuses | sed -n "s/^$1 //p"; }
# A namespace that is gone, an image and a pod that no record knows, a runtime handler that the configuration no longer has.
case_state_refs() {
	printf '[runtime]\ndefault = crun\n[runtime crun]\n[runtime odd]\npath = crun\n' >"$dir/refs.conf"
	on_host -c "$dir/refs.conf" state
	with_pod refs_on_host || return
	on_host -c "$dir/refs.conf" state
	start_daemon -c "$dir/refs.conf" && import && ctl run -d --name odd --runtime odd $image sh -c 'sleep 1000' >/dev/null &&
		flips state.refs "sed -i '/odd/,\$d' '$dir/refs.conf'; says 'runtime handler odd'" "printf '[runtime odd]\npath = crun\n' >>'$dir/refs.conf'"
	local rc=$?
	ctl rm -f odd
	stop_daemon
	return $rc
}
refs_on_host() {
	local pin
	pin=$(echo "$dir"/hoststate/ns/*/net)
	store=$dir/host
	flips state.refs "umount '$pin'; says '$pin'" "mount --bind /proc/$pid/ns/net '$pin'" && stop_daemon &&
		rewritten state.refs "$id" "$(of_container image_id)" "sha256:$(printf '0%.0s' {1..64})" &&
		rewritten state.refs "$image" "$(of_container sandbox_id)" "$(printf '0%.0s' {1..64})"
}

case_state_exits() { on_host state && with_pod exits_on_host; }
exits_on_host() {
	kill_daemon
	flips state.exits "init_ends KILL; until_file '$dir/host/spool/new/$id'; says 'exited 137'" start_daemon
}

# Nobody can tell how it ended: monitor and container are killed.
case_state_pids() { on_host state && with_pod pids_on_host; }
pids_on_host() {
	kill_daemon
	flips state.pids "pkill -9 -xf 'coracle-monitor $id'; init_ends KILL; says 'process $pid is gone'" start_daemon
}

case_state_mounts() { on_host state && with_pod mounts_on_host; }
mounts_on_host() {
	local stray=$dir/hoststate/bundles/$(printf 'b%.0s' {1..64})
	flips state.mounts "mkdir '$stray'; mount -t tmpfs tmpfs '$stray'; says '$stray is mounted'" "umount '$stray'; rmdir '$stray'"
}

case_state_runtime_root() { on_host state && with_pod runtime_root_on_host; }
runtime_root_on_host() {
	local runtime=$dir/hoststate/runtime
	flips state.runtime-root "cp -r '$runtime/$id' '$runtime/${id//[0-9]/a}'; says '${id//[0-9]/a}'" "rm -r '$runtime/${id//[0-9]/a}'" &&
		flips state.runtime-root "mv '$runtime/$id' '$dir/forgotten'; says 'forgotten it'" "mv '$dir/forgotten' '$runtime/$id'"
}

# --- fsck

image_file() { echo "$store/images/$1/$2"; }
image_ids() { ls "$store/images"; }
layer_keys() { ls "$store/layers"; }
first() { head -n 1 <<<"$1"; }
second() { sed -n 2p <<<"$1"; }

case_fsck_config() { edit fsck.config "$(below "$(image_file "$(first "$(image_ids)")" config.json)")" 's/amd64/arm64/' && without fsck.config "$(below "$(image_file "$(first "$(image_ids)")" config.json)")"; }
below() { echo "${1#"$f"/}"; }
case_fsck_manifest() {
	local file ids
	ids=$(image_ids) && file=$(below "$(image_file "$(first "$ids")" manifest.json)")
	without fsck.manifest "$file" && edit fsck.manifest "$file" 's/"size":[0-9]*/"size":99999999/2' &&
		edit fsck.manifest "$file" "s/$(first "$ids")/$(second "$ids")/" && edit fsck.manifest "$file" 's/.$//'
}
# Two images that have each other's layers on record.
case_fsck_chain() {
	local a b ids
	ids=$(image_ids)
	a=$(grep -o 'sha256:[0-9a-f]*' "$(image_file "$(first "$ids")" config.json)") b=$(grep -o 'sha256:[0-9a-f]*' "$(image_file "$(second "$ids")" config.json)")
	rewritten fsck.chain "$(first "$ids")" "$a" "$b" "$(second "$ids")" "$b" "$a"
}
case_fsck_layer() {
	local tree
	tree=$store/layers/$(first "$(layer_keys)")/fs
	flips fsck.layer "mv '$tree' '$tree.away' && says '$tree is missing'" "mv '$tree.away' '$tree'"
}
case_fsck_meta() { edit fsck.meta "$(below "$store/layers/$(first "$(layer_keys)")/meta")" 's/size/sise/'; }
case_fsck_orphans() {
	local name kind
	name=$(printf 'c%.0s' {1..64})
	for kind in layers images snapshots staging trash; do
		flips fsck.orphans "mkdir -p '$store/$kind/$name/fs'; head -c 70000 /dev/zero >'$store/$kind/$name/fs/x'; says '$name' && says '[78][0-9] KiB'" "rm -r '$store/$kind/$name'" || return
	done
}
case_fsck_snapshot() { on_host fsck && with_pod snapshot_on_host; }
snapshot_on_host() {
	local upper=$dir/host/snapshots/$id/upper
	ctl stop pod && flips fsck.snapshot "mv '$upper' '$dir/upper'; says '$upper'" "mv '$dir/upper' '$upper'"
}

# --- live

# This machine may have cgroup v1.
no_deprecations=$'[cri]\nignore_deprecations = cgroup.version\n'
live() { # CASE: with a daemon that has a network of its own
	mkdir -p "$dir/net.d" && printf '[cni]\nbuiltin = no\nconf_dir = %s\n[journal]\nsegment_size = 64K\nkeep = 64K\n%s' "$dir/net.d" "$no_deprecations" >"$dir/live.conf"
	echo '{"cniVersion":"0.4.0","name":"live","plugins":[{"type":"bridge","bridge":"live0","ipam":{"type":"host-local"}}]}' >"$dir/net.d/1.conflist"
	on_host -c "$dir/live.conf" live
	start_daemon -c "$dir/live.conf" && import && "$1"
	local rc=$?
	[ -z "$daemon" ] || stop_daemon
	return $rc
}
case_live_version() { live version_flips; }
version_flips() { flips live.version stop_daemon "start_daemon -c '$dir/live.conf'" && flips live.version "kill -STOP $daemon" "kill -CONT $daemon"; }
case_live_images() { live images_flips; }
images_flips() { flips live.images "mv '$dir/host/layers' '$dir/layers'; says layers" "mv '$dir/layers' '$dir/host/layers'"; }
case_live_lists() { live lists_flips; }
lists_flips() {
	ctl run -d --host-network --name lists $image sh -c 'sleep 1000' && flips live.lists "mv '$dir/host/journal' '$dir/journal'; says 'lists 1 pods'" "mv '$dir/journal' '$dir/host/journal'"
	local rc=$?
	ctl rm -f lists
	return $rc
}
case_live_conditions() {
	live network_flips || return
	mount -t tmpfs -o size=160M,mode=0711 tmpfs "$dir/host"
	live disk_flips
	local rc=$?
	umount "$dir/host"
	return $rc
}
network_flips() { flips live.conditions "mv '$dir/net.d/1.conflist' '$dir/conflist'; sleep 0.2; says 'NetworkReady'" "mv '$dir/conflist' '$dir/net.d/1.conflist'; sleep 0.2"; }
# The disk is full, and the journal has used up the space that it keeps.
disk_flips() {
	local big
	big=$(head -c 20000 /dev/zero | tr '\0' x)
	flips live.conditions "cat /dev/zero >'$dir/host/fill'; run_until_refused; says 'o space left'" "rm '$dir/host/fill'; until_ready"
}
run_until_refused() {
	local n
	for n in $(seq 30); do
		ctl run --rm --host-network -l "big=$big" --name "n$n" $image sh -c true || return 0
	done 2>/dev/null
}
until_ready() { for _ in $(seq 100); do [ "$(worst live.conditions)" = 0 ] && return; sleep 0.2; done; }

# --- beyond the table

a_full_disk_and_an_unwritable_root_are_named() {
	local full=$dir/full rc=0
	mkdir "$full" && mount -t tmpfs -o size=1M,mode=0711 tmpfs "$full" && head -c 1000k /dev/zero >"$full/fill"
	prefix='' args="--root $full --state $dir/hoststate storage"
	says "$full.* free" || rc=1
	rm "$full/fill" && mount -o remount,ro "$full"
	says "$full is mounted read-only" || rc=1
	umount "$full" && rmdir "$full" && touch "$full"
	says "$full is no directory" || rc=1
	return $rc
}

# A daemon at work is neither disturbed nor defamed.
a_busy_daemon_has_no_faults() {
	local n rc=0
	printf %s "$no_deprecations" >"$dir/quiet.conf"
	on_host state fsck live && start_daemon -c "$dir/quiet.conf" && import || return
	for n in $(seq 12); do
		ctl run --rm $image sh -c 'exit 0' || rc=1
	done &
	while kill -0 $! 2>/dev/null; do
		statuses | grep ' [12]$' && cat "$dir/json" && rc=1
	done
	wait $! || rc=1
	stop_daemon
	return $rc
}

# Not a byte and no time stamp of what lies there changes.
looking_changes_nothing() {
	local before rc=0
	on_host state fsck live && start_daemon && import || return
	while [ -n "$(ls -A "$dir/host/staging")" ]; do sleep 0.05; done # goes behind the import
	before=$(find "$dir/host" -printf '%p %T@ %C@ %s\n')
	statuses >/dev/null
	diff <(echo "$before") <(find "$dir/host" -printf '%p %T@ %C@ %s\n') || rc=1
	stop_daemon
	return $rc
}
