# What is missing or broken when the daemon starts. Sourced by run.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets, and reads

without_a_runtime_reads_work_and_one_installed_later_is_used() { # scenario
	local p c

	printf '[cni]\nconf_dir = %s\nbuiltin = off\n' "$cni/net.d" >"$conf"
	# a mount namespace of its own, in which both programs are something else
	enter=(unshare -m sh -c 'for p in crun runc; do p=$(command -v $p) && mount --bind /dev/null "$p"; done; exec "$@"' sh)
	start PATH=/usr/sbin:/usr/bin
	expect Status "$(condition Runtime)" "RuntimeReady False *neither crun nor runc was found in /usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/sbin:/bin*"
	expect "pods that can be listed" "$(cri pods)" ""
	image
	refused "UNAVAILABLE *neither crun nor runc was found in *" pod early
	nsenter -t "$daemon" -m -r umount "$(command -v crun)"
	within 15 ready Runtime || fail "crun was not noticed"
	p=$(pod late)
	c=$(running "$p" late true)
	eventually exited "$c"
}

a_configured_runtime_that_is_not_there_is_named() { # scenario
	local c

	sed -i "s,$oci,$work/opt/kata," "$conf"
	start
	image
	expect Status "$(condition Runtime)" "RuntimeReady True*"
	refused "UNAVAILABLE *$work/opt/kata*" pod early runtime=bad
	refused "NOT_FOUND *crun*" pod never runtime=nobody
	mkdir "$work/opt"
	cp "$oci" "$work/opt/kata"
	within 15 pod late runtime=bad >"$work/id" 2>/dev/null || fail "it was not noticed"
	c=$(running "$(cat "$work/id")" late true)
	eventually exited "$c"
}

without_a_network_pods_of_the_host_network_still_run() { # scenario
	local p c

	start
	image
	expect Status "$(condition Network)" "NetworkReady False *$cni/net.d*"
	refused "UNAVAILABLE *$cni/net.d*" net_pod lonely
	expect "pods left by the refused one" "$(cri pods)" ""
	p=$(pod proud)
	c=$(running "$p" proud true)
	eventually exited "$c"
	network
	p=$(net_pod lonely)
	expect "its address" "$(field pod "$p" ip)" 10.9.8.7
}

a_root_that_cannot_be_used_ends_the_start_with_a_sentence() { # scenario
	mkdir -p "$work/ro"
	echo file >"$work/file"
	mount -t tmpfs -o ro ro "$work/ro"

	start_fails 1 "*$work/file*[Nn]ot a directory*" --root "$work/file"
	start_fails 1 "*$work/file*[Nn]ot a directory*" --root "$work/file/below"
	start_fails 1 "*$work/ro/root*ead-only*" --root "$work/ro/root"
	start_fails 1 "*$work/ro*ead-only*" --state "$work/ro"
	start_fails 78 "*$work/nothing.conf*" -c "$work/nothing.conf"
	umount "$work/ro"
	start # what failed has left nothing that disturbs
}

a_second_daemon_is_turned_away_and_the_first_does_not_notice() { # scenario
	local p

	start
	p=$(pod first)
	start_fails 75 "*$root is locked by another coracle, pid $daemon*"
	start_fails 75 "*$state is locked by another coracle, pid $daemon*" --root "$work/other"
	expect "first daemon's pods" "$(cri pods)" "$p first READY"
	[ -S "$state/coracle.sock" ] || fail "the socket is gone"
}
