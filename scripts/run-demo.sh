#!/bin/bash
# A demonstration on this machine, left running: scripts/run-demo.sh [--once]
#
# Starts a daemon of its own (private directories, embedded defaults), runs a first container, kills the daemon with SIGKILL while
# another one runs, starts it again and shows that nothing got lost. Then the daemon stays in the foreground until ^C; with --once
# everything is removed at once. CORACLE names another binary than build/coracle.
set -euo pipefail
cd "$(dirname "$0")/.."

once=
case ${1:-} in
"") ;;
--once) once=1 ;;
*)
	echo "usage: scripts/run-demo.sh [--once]" >&2
	exit 2
	;;
esac

coracle=$(realpath "${CORACLE:-build/coracle}")
image=coracle-demo/busybox
daemon='' work='' flags=() mounted=''

say() {
	printf '\n== %s\n' "$*"
}

shown() { # COMMAND...: what the user would type
	printf '   $ %s\n' "$*"
}

indent() {
	sed 's/^/   /'
}

die() {
	printf 'run-demo: %s\n' "$*" >&2
	if [ -s "$work/daemon.log" ]; then
		echo "The end of the daemon's log:" >&2
		tail -n 15 "$work/daemon.log" >&2
	fi
	exit 1
}

ctl() {
	"$coracle" ctl --root "$work/root" --state "$work/state" "$@"
}

start_daemon() {
	# a session of its own: ^C is for this script, which tidies up before it stops the daemon
	setsid "$coracle" daemon --root "$work/root" --state "$work/state" >>"$work/daemon.log" 2>&1 &
	daemon=$!
	ctl --wait 20 ps -q >/dev/null || die "the daemon does not start"
}

# ------------------------------------------------------------------------------------------------------- tidying up

# Nothing stays: containers, namespaces, the built-in network's bridge, cgroups, files.
clean_up() {
	local status=$? pods

	trap - EXIT INT TERM HUP
	if [ -n "$work" ]; then
		if [ -n "$daemon" ]; then
			kill -0 "$daemon" 2>/dev/null || start_daemon || true
			pods=$(ctl --wait 20 pods -q 2>/dev/null) || true
			# shellcheck disable=SC2086 # ids
			[ -z "$pods" ] || ctl rm -f $pods >/dev/null || status=1
			kill -TERM "$daemon" 2>/dev/null || true
			wait "$daemon" 2>/dev/null || true
		fi
		[ -z "${bridge:-}" ] || [ ! -e "/sys/class/net/$bridge" ] || ip link del "$bridge" || status=1
		# what a daemon that could not tidy up left mounted, innermost first
		awk -v w="$work/" 'index($2, w) == 1 { print $2 }' /proc/mounts | tac | xargs -r -n 1 umount || status=1
		rm -rf --one-file-system "$work" || status=1
	fi
	if [ -n "$mounted" ]; then
		umount /sys/fs/cgroup/hugetlb 2>/dev/null || true # somebody else may use it by now
	fi
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---------------------------------------------------------------------------------------------------- what it needs

[ "$(id -u)" -eq 0 ] || die "containers need root"
[ -x "$coracle" ] || die "$coracle is not there: ./build.sh builds it"
command -v crun >/dev/null || command -v runc >/dev/null || die "neither crun nor runc is on PATH: apt-get install crun"
command -v busybox >/dev/null || die "the image is made of busybox: apt-get install busybox-static"

work=$(mktemp -d /tmp/coracle-demo.XXXXXX)

# ------------------------------------------------------------------------------------------------------------ image

make_image() {
	local rootfs=$work/image/rootfs layer

	mkdir -p "$rootfs/bin" "$rootfs/etc" "$rootfs/tmp" "$rootfs/root"
	cp "$(command -v busybox)" "$rootfs/bin/busybox"
	chroot "$rootfs" /bin/busybox --install -s /bin 2>/dev/null ||
		die "$(command -v busybox) does not run on its own: apt-get install busybox-static"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$rootfs/etc/passwd"
	tar -C "$rootfs" --numeric-owner --owner=0 --group=0 -cf "$work/image/layer.tar" .
	layer=$(sha256sum "$work/image/layer.tar" | cut -d ' ' -f 1)
	printf '{"architecture":"%s","os":"linux","config":{"Cmd":["/bin/sh"],"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')" "$layer" >"$work/image/config.json"
	printf '[{"Config":"config.json","RepoTags":["%s:latest"],"Layers":["layer.tar"]}]' "$image" >"$work/image/manifest.json"
	tar -C "$work/image" -cf "$work/image.tar" manifest.json config.json layer.tar
	rm -rf "$work/image"
}

# ---------------------------------------------------------------------------------- what works on this very machine

probe() {
	ctl run --rm --name probe ${flags[@]+"${flags[@]}"} "$@" "$image" true >"$work/probe.log" 2>&1
}

choose_flags() {
	local plugins=missing dir why

	# The built-in network needs the reference CNI plugins.
	for dir in /opt/cni/bin /usr/lib/cni; do
		[ ! -x "$dir/bridge" ] || plugins=there
	done
	if [ "$plugins" = missing ]; then
		echo "   no CNI plugins here (apt-get install containernetworking-plugins): the pods share the host's network"
		flags+=(--host-network)
	fi
	probe && return
	why=$(tail -n 1 "$work/probe.log")
	if command -v crun >/dev/null && command -v runc >/dev/null && probe --runtime runc; then
		echo "   crun refuses this machine, runc is used instead: ${why##*crun: }"
		flags+=(--runtime runc)
		return
	fi
	# crun looks for every controller that the kernel has, and takes a missing hugetlb for a broken hierarchy.
	if grep -q '^hugetlb.*1$' /proc/cgroups && [ -d /sys/fs/cgroup/memory ] && ! mountpoint -q /sys/fs/cgroup/hugetlb &&
		mkdir -p /sys/fs/cgroup/hugetlb && mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb; then
		mounted=1
		echo "   crun missed the cgroup v1 controller hugetlb: mounted at /sys/fs/cgroup/hugetlb for now"
		probe && return
	fi
	indent <"$work/probe.log" >&2
	die "no container runs here"
}

# ------------------------------------------------------------------------------------------------------------- show

version=$("$coracle" version)
say "A daemon of its own ($version), nothing configured"
shown "coracle daemon --root $work/root --state $work/state"
start_daemon
echo "   ready"
bridge=$(ctl dump | sed -n 's/^ *"network": "\(cora[-a-z0-9]*\)".*/\1/p')

say "An image, made of this machine's busybox"
make_image
shown "coracle ctl import $work/image.tar"
ctl import "$work/image.tar" | indent
choose_flags

say "A first container, with its output and its exit code"
shown "coracle ctl run --rm${flags[*]:+ ${flags[*]}} $image sh -c 'echo ...; exit 7'"
code=0
# shellcheck disable=SC2016 # for the shell in the container
ctl run --rm --name hello ${flags[@]+"${flags[@]}"} "$image" \
	sh -c 'echo "hello from pid $$ on $(hostname)"; ip -4 -o addr show 2>/dev/null | while read -r _ dev _ addr _; do echo "$dev has $addr"; done; exit 7' |
	indent || code=${PIPESTATUS[0]}
[ "$code" -eq 7 ] || die "exit code $code instead of 7"
echo "   exit code $code"

say "A container that counts to 8 while its daemon is killed"
shown "coracle ctl run -d --name counter ... ; kill -9 $daemon"
# shellcheck disable=SC2016
ctl run -d --name counter ${flags[@]+"${flags[@]}"} "$image" \
	sh -c 'for i in 1 2 3 4 5 6 7 8; do echo "count $i"; sleep 0.4; done; exit 42' >/dev/null
until [ "$(ctl logs counter | grep -c count || true)" -ge 2 ]; do sleep 0.1; done
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
echo "   killed at count $(cat "$work"/root/logs/*/counter.log | grep -c count); its monitor goes on alone"
for _ in $(seq 100); do
	[ -z "$(ls -A "$work/root/spool/new")" ] || break
	sleep 0.1
done

say "What the next start will find (nothing is touched yet)"
shown "coracle recover --root $work/root --state $work/state"
"$coracle" recover --root "$work/root" --state "$work/state" | sed -n '/next start/,$p' | indent

say "The daemon again: exit code and log are complete"
start_daemon
shown "coracle ctl ps -a"
ctl ps -a | indent
ctl ps -a | grep -q 'exited (42)' || die "the exit of 'counter' got lost"
shown "coracle ctl logs counter"
ctl logs counter | tr '\n' ' ' | indent
echo
[ "$(ctl logs counter | tr -dc 0-9)" = 12345678 ] || die "the log of 'counter' is not complete"
ctl rm counter >/dev/null

if [ -n "$once" ]; then
	say "Done; everything is removed again"
	exit 0
fi
say "The daemon stays until ^C (its log: $work/daemon.log). To talk to it:"
echo "   alias c='$coracle ctl --root $work/root --state $work/state'"
echo "   c run --rm${flags[*]:+ ${flags[*]}} $image sh -c 'ps; id'"
wait "$daemon" || die "the daemon has ended"
