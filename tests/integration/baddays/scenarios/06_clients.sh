# Clients that are many, rude or gone. Sourced by run.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets, and reads

# A call whose client is killed after SECONDS: cut SECONDS METHOD ARGUMENT...
cut_call() {
	timeout --signal=KILL "$1" "$here/cri.py" "$state/coracle.sock" "${@:2}" >/dev/null 2>&1 || true
}

# A call whose client is killed once WORD stands in FILE: cut_at FILE WORD METHOD ARGUMENT...
cut_at() {
	local client

	"$here/cri.py" "$state/coracle.sock" "${@:3}" >/dev/null 2>&1 &
	client=$!
	eventually grep -qs "$2" "$1"
	kill -9 $client
	wait $client 2>/dev/null || true
}

no_operation() { [[ $("$CORACLE" ctl --address "$state/coracle.sock" dump | tr -d ' \n') == *'"ops":[]'* ]]; }

a_client_that_dies_in_run_pod_leaves_nothing() { # scenario
	start
	network
	plugin ADD slow
	cut_at "$cni/calls" 'ADD slow' run_pod name=cut cgroup="$cgroup"
	eventually no_operation
	expect "pods" "$(cri pods)" ""
	expect "addresses given out" "$(ls "$cni/added")" ""
	expect "what the plugin was asked" "$(tr '\n' , <"$cni/calls")" "*ADD slow,DEL *"
	rm "$cni/behave/ADD"
	net_pod cut >/dev/null # its name is free
}

a_client_that_dies_in_create_or_start_leaves_a_container_that_can_go() { # scenario
	local p c

	start
	image
	p=$(pod host runtime=bad)
	for n in 1 2 3 4 5 6; do # somewhere between request and answer
		cut_call "0.0$((4 + n))" create pod="$p" name="cut$n" image="$IMAGE" command=true
	done
	eventually no_operation
	cri containers | cut -d' ' -f3 | grep -v CREATED && fail "a container is neither there nor gone"
	c=$(container "$p" started 'sleep 600')
	behave create slow
	cut_at "$work/oci.log" create start id="$c"
	eventually no_operation
	expect "state" "$(field container "$c" state)" EXITED
	expect "reason" "$(field container "$c" reason)" StartError
	expect "processes" "$(init_of "$c")" ""
}

two_clients_that_want_the_same_pod_share_it() { # scenario
	local first second

	start
	network
	plugin ADD slow
	net_pod twin >"$work/first" &
	first=$!
	net_pod twin >"$work/second" &
	second=$!
	wait $first
	wait $second
	expect "the second's pod" "$(cat "$work/second")" "$(cat "$work/first")"
	cri remove_pod id="$(cat "$work/first")"

	# one of them goes away: the other gets its pod
	: >"$cni/calls"
	net_pod twin >"$work/third" &
	second=$!
	cut_at "$cni/calls" 'ADD slow' run_pod name=twin cgroup="$cgroup" logs="$work/logs"
	wait $second
	expect "the pod of who stayed" "$(cri pods)" "$(cat "$work/third") twin READY"
	cri remove_pod id="$(cat "$work/third")"

	# the only one goes, and another asks again while it is undone
	: >"$cni/calls"
	cut_at "$cni/calls" 'ADD slow' run_pod name=twin cgroup="$cgroup"
	net_pod twin >"$work/fourth"
	expect "pods" "$(cri pods)" "$(cat "$work/fourth") twin READY"
	expect "what the plugin was asked" "$(tr '\n' , <"$cni/calls")" "ADD slow,DEL ,ADD slow,"
}

many_and_rude_connections_do_not_keep_others_out() { # scenario
	local p rude

	start
	image
	p=$(pod host)
	"$here/rude.py" "$state/coracle.sock" >"$work/rude" &
	rude=$!
	eventually grep -q ready "$work/rude"
	quickly 3 running "$p" beside true >/dev/null
	refused "*" cri raw path=RuntimeService/RunPodSandbox bytes=20000000 # curl does not read an answer before its end
	logged 'larger than max (20000000' || fail "the refusal is not in the log"
	refused "RESOURCE_EXHAUSTED config: *" container "$p" huge true padding_kib=3000
	refused "INTERNAL *malformed*" cri raw path=RuntimeService/RunPodSandbox bytes=20
	eventually unknown_method # curl 7 may forget an answer that came before it had sent all
	quickly 3 running "$p" after true >/dev/null
	kill $rude
}

unknown_method() { [[ $(cri raw path=RuntimeService/Explode bytes=0 2>&1) == UNIMPLEMENTED* ]]; }

two_hundred_pods_come_and_go() { # scenario
	local before after

	start
	pod warm >/dev/null
	seq 20 | cri each run_pod name host_network=1 cgroup="$cgroup" | cri each remove_pod id
	before=$(memory)
	seq 200 | cri each run_pod name host_network=1 cgroup="$cgroup" >"$work/ids"
	expect "number of pods" "$(wc -l <"$work/ids")" 200
	quickly 3 cri pods >/dev/null
	cri each remove_pod id <"$work/ids"
	expect "number of pods" "$(cri pods | wc -l)" 1
	after=$(memory)
	[ $((after - before)) -lt 2048 ] || fail "memory went from $before to $after KiB"
}

memory() { awk '/^Private_Dirty/ { n += $2 } END { print n }' "/proc/$daemon/smaps_rollup"; }

a_journal_stream_gets_fields() { # scenario
	local p c reader

	# what systemd gives a service: standard error is journald's stream, whose numbers are in JOURNAL_STREAM
	"$here/journald.py" "$work/socket" "$work/journal" &
	reader=$!
	eventually [ -S "$work/socket" ]
	enter=(unshare -m sh -c 'mount -t tmpfs run /run && mkdir -p /run/systemd/journal && ln -s "$0" /run/systemd/journal/socket &&
		JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"' "$work/socket")
	start
	image
	p=$(pod logged)
	c=$(running "$p" logged 'exit 3')
	eventually grep -q "^CORACLE_CONTAINER=$c" "$work/journal"
	grep -q "^CORACLE_SANDBOX=$p" "$work/journal" || fail "no pod in $(cat "$work/journal")"
	grep -q '^MESSAGE=exited 3 Error' "$work/journal" || fail "no exit in $(cat "$work/journal")"
	grep -q '^PRIORITY=6' "$work/journal" || fail "no priority"
	refused "*" pod ""
	eventually grep -q '^CORACLE_OP=RunPodSandbox' "$work/journal"
	nothing_is_left
	kill $reader
	enter=()
}
