#!/bin/bash
# What each key of coracle.conf changes: tests/integration/config/run.sh
#
# Every key of the sample file has a case that starts daemons with two values and sees them behave differently; a key
# without a case fails, so that none is accepted that does nothing.
# CORACLE is the program (build/coracle). Needs root and crun. Ends with `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 2

coracle=$(realpath "${CORACLE:-build/coracle}")
dir=$(mktemp -d "${TMPDIR:-/tmp}/coracle-config.XXXXXX")
daemon=
unmount() {
	local mount
	awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | tac | while read -r mount; do
		umount -l "$mount"
	done
}
cleanup() {
	stop
	unmount
	rm -rf "$dir"
}
trap cleanup EXIT
passed=0 failed=0

# start SECTION 'KEY = VALUE'...: a daemon with this configuration, its log in $dir/log. A fresh one; or, when $by is reload, one
# that runs with another configuration and is told to read this one.
by=restart
start() {
	if [ $by = reload ]; then
		[ -n "$daemon" ] || fresh || return 1
		configure "$@"
		: >"$dir/log"
		kill -HUP "$daemon"
		await ' read again'
	else
		fresh "$@"
	fi
}
fresh() {
	stop
	unmount
	rm -rf "$dir/r" "$dir/s"
	configure "$@"
	launch --root "$dir/r" --state "$dir/s"
}
configure() {
	printf '[cni]\nbuiltin = no\nconf_dir = %s/net.d\n' "$dir" >"$dir/conf"
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$dir/conf"
}
launch() {
	: >"$dir/log" # the one before also says that it serves
	"$coracle" daemon -c "$dir/conf" "$@" 2>>"$dir/log" &
	daemon=$!
	await ' serves '
}
await() { # PATTERN in the log
	for _ in $(seq 100); do
		grep -q "$1" "$dir/log" && return 0
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.05
	done
	cat "$dir/log"
	return 1
}
stop() {
	[ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null
	daemon=
}
ctl() { local verb=$1 && shift && "$coracle" ctl "$verb" --root "$dir/r" --state "$dir/s" "$@"; }
condition() { tests/integration/baddays/cri.py "$dir/s/coracle.sock" status | grep "$1"; } # what Status says of it
seconds() { # COMMAND...: how long it takes, its output in $dir/out
	local start=$SECONDS
	"$@" >"$dir/out" 2>&1
	echo $((SECONDS - start))
}

# An image that holds nothing but this program.
make_image() {
	/usr/bin/python3 - "$coracle" "$dir/image.tar" <<-'END'
		import hashlib, io, json, sys, tarfile
		layer = io.BytesIO()
		with tarfile.open(fileobj=layer, mode="w") as tar:
		    tar.add(sys.argv[1], "coracle")
		layer = layer.getvalue()
		config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/coracle", "version"]},
		                     "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
		manifest = json.dumps([{"Config": "config.json", "RepoTags": ["test.local/self:1"], "Layers": ["layer.tar"]}]).encode()
		with tarfile.open(sys.argv[2], "w") as out:
		    for name, data in (("manifest.json", manifest), ("config.json", config), ("layer.tar", layer)):
		        info = tarfile.TarInfo(name)
		        info.size = len(data)
		        out.addfile(info, io.BytesIO(data))
	END
}
stub() { # NAME BODY: a program
	mkdir -p "$dir/bin"
	printf '#!/bin/sh\n%s\n' "$2" >"$dir/bin/$1" && chmod 0755 "$dir/bin/$1"
}

case_daemon_root() {
	printf '[daemon]\nroot = %s/r2\n[cni]\nbuiltin = no\n' "$dir" >"$dir/conf"
	launch --state "$dir/s" && [ -d "$dir/r2/journal" ]
}
case_daemon_state() {
	printf '[daemon]\nstate = %s/s2\n[cni]\nbuiltin = no\n' "$dir" >"$dir/conf"
	launch --root "$dir/r" && [ -S "$dir/s2/coracle.sock" ]
}
case_daemon_listen() { start '[daemon]' "listen = $dir/sock" && [ -S "$dir/sock" ] && [ ! -e "$dir/s/coracle.sock" ]; }
runs() { ctl import "$dir/image.tar" && ctl run --host-network --rm test.local/self:1; }
case_log_level() {
	start '[log]' 'level = info' && runs && grep -q ' info .*exited 0' "$dir/log" &&
		start '[log]' 'level = notice' && runs && ! grep -q ' info ' "$dir/log"
}
case_cri_ignore_deprecations() {
	start '[cni]' "bin_dir = $dir/nowhere" && grep -q ' is deprecated, .* \[config.deprecated\]' "$dir/log" &&
		condition Deprecation | grep -q '^CoracleHasNoDeprecationWarnings False {.*"config.deprecated":"[^"]*bin_dirs"' || return 1
	start '[cri]' 'ignore_deprecations = config.deprecated, cgroup.version' '[cni]' "bin_dir = $dir/nowhere" && grep -q 'config.deprecated' "$dir/log" &&
		condition Deprecation | grep -q '^CoracleHasNoDeprecationWarnings True $'
}
case_runtime_default() {
	start '[runtime]' 'default = b' '[runtime a]' 'path = crun' '[runtime b]' "path = $dir/bin/none"
	stop
	! grep -q 'runtime b: .* at ' "$dir/log" && start '[runtime]' 'default = a' '[runtime a]' 'path = crun' '[runtime b]' "path = $dir/bin/none" &&
		ctl import "$dir/image.tar" && ctl run --host-network --rm test.local/self:1 | grep -q '^coracle [0-9]' || return 1
	start '[runtime]' 'default = b' '[runtime a]' 'path = crun' '[runtime b]' "path = $dir/bin/none"
	ctl import "$dir/image.tar" && ! ctl run --host-network --rm test.local/self:1
}
case_runtime_timeout() {
	stub slow "case \" \$* \" in *\" create \"*) sleep 30 ;; *) exec crun \"\$@\" ;; esac"
	[ $by = restart ] || fresh '[runtime slow]' "path = $dir/bin/slow" || return 1 # a handler comes with a restart only
	start '[runtime]' 'timeout = 1s' '[runtime slow]' "path = $dir/bin/slow" && ctl import "$dir/image.tar" || return 1
	[ "$(seconds ctl run --host-network --rm test.local/self:1)" -lt 15 ] && ! grep -q '^coracle [0-9]' "$dir/out"
}
case_runtime_NAME_handler() { start '[runtime x]' 'path = crun' 'handler = long.name' && grep -q 'runtime long.name: crun' "$dir/log"; }
case_runtime_NAME_path() { start '[runtime x]' 'path = crun' && grep -q 'runtime x: crun' "$dir/log" && start '[runtime x]' 'path = runc' && grep -q 'runtime x: runc' "$dir/log"; }
case_runtime_NAME_sandbox() {
	start '[runtime x]' 'path = crun' && ctl import "$dir/image.tar" && ctl run --host-network --name self test.local/self:1 || return 1
	! grep -q '"pause"' <<<"$(ctl dump)" && ctl rm self || return 1
	start '[runtime x]' 'path = crun' 'sandbox = pause' && ctl import "$dir/image.tar" && ctl run --host-network --name self test.local/self:1
	ctl dump | tee "$dir/out" | grep -q '"pause"' && ctl rm self
}
case_cni_conf_dir() {
	mkdir -p "$dir/other.d" "$dir/cni"
	echo '{"cniVersion":"1.0.0","name":"mine","plugins":[{"type":"mine"}]}' >"$dir/other.d/1.conflist"
	stub mine 'exit 1' && cp "$dir/bin/mine" "$dir/cni/mine"
	start && condition Network | grep -q "^NetworkReady False .*$dir/net.d" || return 1
	start '[cni]' "conf_dir = $dir/other.d" "bin_dirs = $dir/cni" && condition Network | grep -q "^NetworkReady True .*\"mine\" from $dir/other.d"
}
case_cni_bin_dirs() {
	mkdir -p "$dir/net.d" "$dir/cni"
	echo '{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"mine"}]}' >"$dir/net.d/1.conflist"
	rm -f "$dir/called"
	stub mine "touch $dir/called; exit 1" && cp "$dir/bin/mine" "$dir/cni/mine"
	start '[cni]' "bin_dirs = $dir/nowhere" && ctl import "$dir/image.tar" && ! ctl run --rm test.local/self:1 && [ ! -e "$dir/called" ] &&
		start '[cni]' "bin_dirs = $dir/cni" && ctl import "$dir/image.tar" && ! ctl run --rm test.local/self:1 && [ -e "$dir/called" ]
	local rc=$?
	rm -r "$dir/net.d"
	return $rc
}
case_cni_builtin() {
	start '[cni]' 'builtin = no' && condition Network | grep -q '^NetworkReady False ' &&
		start '[cni]' 'builtin = yes' && condition Network | grep -q '^NetworkReady True built-in network'
}
case_cni_timeout() {
	mkdir -p "$dir/net.d" "$dir/cni"
	echo '{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"slow"}]}' >"$dir/net.d/1.conflist"
	# shellcheck disable=SC2016 # the stub expands it
	stub slow 'case $CNI_COMMAND in ADD) sleep 30 ;; VERSION) echo "{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"1.0.0\"]}" ;; esac'
	cp "$dir/bin/slow" "$dir/cni/slow"
	start '[cni]' "bin_dirs = $dir/cni" 'timeout = 1s' && ctl import "$dir/image.tar" || return 1
	local took
	took=$(seconds ctl run --rm test.local/self:1)
	rm -r "$dir/net.d"
	[ "$took" -lt 15 ] && ! grep -q '^coracle [0-9]' "$dir/out"
}
case_image_pinned_images() {
	start '[image]' 'pinned_images =' && ctl import "$dir/image.tar" && ctl images --json >"$dir/out" && ! grep -q '"pinned": *true' "$dir/out" || return 1
	start '[image]' 'pinned_images = test.local/self:1' && ctl import "$dir/image.tar" && ctl images --json | grep -q '"pinned": *true'
}
case_registry_config_path() {
	mkdir -p "$dir/hosts/test.invalid" && echo 'this is [ no toml' >"$dir/hosts/test.invalid/hosts.toml"
	start '[registry]' "config_path = $dir/hosts"
	! ctl pull test.invalid/x:1 >"$dir/out" 2>&1 && grep -q 'hosts.toml' "$dir/out" || return 1
	start '[registry]' "config_path = $dir/nohosts"
	! ctl pull test.invalid/x:1 >"$dir/out" 2>&1 && ! grep -q 'hosts.toml' "$dir/out"
}
case_journal_segment_size() {
	start '[journal]' 'segment_size = 65536' && [ "$(stat -c %s "$dir"/r/journal/segment-* | sort -u)" = 65536 ] &&
		start '[journal]' 'segment_size = 1MiB' && [ "$(stat -c %s "$dir"/r/journal/segment-* | sort -u)" = 1048576 ]
}
case_journal_keep() { # more than 1 MiB of records: containers with a long command
	local keep long
	long=$(printf 'x%.0s' {1..60000})
	for keep in 64MiB 1MiB; do
		start '[journal]' "keep = $keep" 'segment_size = 256KiB' && ctl import "$dir/image.tar" || return 1
		for _ in $(seq 20); do
			! ctl run --host-network --rm test.local/self:1 /coracle version "$long" >/dev/null 2>&1 || return 1
		done
		ls "$dir/r/journal" >"$dir/out"
		case $keep in
		64MiB) grep -q '^segment-0000000001-' "$dir/out" || return 1 ;;
		1MiB) ! grep -q '^segment-0000000001-' "$dir/out" || return 1 ;;
		esac
	done
}
# Needs a plugin that goes away, and there is no NRI yet: the outbox's own test has one.
elsewhere() { grep -q "$2" "$1" || { echo "$1 does not prove it any more"; return 1; }; }
case_nri_hold() { elsewhere tests/unit/core/life/test_outbox.c hold; }

# --- beyond the table

the_log_and_check_give_a_problem_the_same_id() {
	start '[log]' 'lvel = info' 'level = loud' 'what is this' '[cni]' 'builtin = yes' 'builtin = no' "bin_dir = $dir/nowhere"
	local line n=0
	"$coracle" check -t -c "$dir/conf" 2>"$dir/out"
	while read -r line; do
		grep -qF -- "configuration: ${line/ warning:/}" "$dir/log" || { echo "not in the log: $line"; return 1; }
		n=$((n + 1))
	done < <(grep "^$dir/conf:[0-9]*: warning: .* \[config\.[a-z]*\]$" "$dir/out")
	[ "$n" -eq 6 ]
}

run() {
	"$1" >"$dir/test.log" 2>&1 </dev/null
	local rc=$?
	stop
	if [ "$rc" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL config/$1 by $by"
		tail -n 8 "$dir/test.log" "$dir/out" "$dir/log" 2>/dev/null
	fi
}

make_image
while read -r name; do
	if declare -F "$name" >/dev/null; then
		run "$name"
	else
		failed=$((failed + 1))
		echo "FAIL config/$name: the key has no case"
	fi
done < <(awk '/^#? ?\[/ { gsub(/[^a-z ]/, ""); section = $1 ($2 ? "_NAME" : "") } /^#[a-z_]+ =/ { sub("^#", ""); print "case_" section "_" $1 }' dist/coracle.conf)
run the_log_and_check_give_a_problem_the_same_id

# What SIGHUP takes over according to the manual, and what it does not.
a_bad_file_changes_nothing_and_the_rest_waits_for_a_restart() {
	start '[runtime]' 'timeout = 3s' || return 1
	printf '[daemon]\nroot = relative\n' >"$dir/conf"
	kill -HUP "$daemon" && await 'the one in use stays' && kill -0 "$daemon" || return 1
	start '[journal]' 'keep = 8MiB' && grep -q '\[journal\] keep has changed (.*/conf:[0-9]*), which needs a restart' "$dir/log" || return 1
	start '[log]' 'levle = info' && grep -q 'unknown key "levle".*did you mean' "$dir/log" && ctl ps
}
by=reload
while read -r name; do
	run "$name"
done < <(awk '/^\.SH \[/ { gsub(/[^a-z]/, "", $2); section = $2 } /^\.BR [a-z_]+ "/ { key = $2 } /^SIGHUP takes it over/ { print "case_" section "_" key }' docs/man/coracle.conf.5)
run a_bad_file_changes_nothing_and_the_rest_waits_for_a_restart
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
