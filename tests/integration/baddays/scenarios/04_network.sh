# CNI plugins that hang, lie or vanish. Sourced by run.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets, and reads

with_network() {
	start
	image
	network
}

no_pod_is_left() {
	expect "pods" "$(cri pods)" ""
	expect "addresses given out" "$(ls "$cni/added")" ""
	expect "pins" "$(ls "$state/ns" 2>/dev/null)" ""
}

a_plugin_that_hangs_is_killed_and_what_it_did_is_undone() { # scenario
	with_network
	plugin ADD hang
	{ sleep 0.5 && quickly 3 pod host >"$work/host"; } &
	refused "DEADLINE_EXCEEDED *fake*" net_pod hung
	wait $! || fail "another pod waited"
	cri remove_pod id="$(cat "$work/host")"
	expect "what the plugin was asked" "$(tr '\n' , <"$cni/calls")" "*ADD hang,DEL ,"
	no_pod_is_left
}

a_plugin_that_prints_garbage_is_undone() { # scenario
	with_network
	plugin ADD garbage
	refused "*fake*" net_pod noise
	no_pod_is_left
	! grep -q '[^[:print:][:space:]]' "$log" || fail "the log has control characters"
}

an_add_that_fails_after_it_has_worked_is_followed_by_del() { # scenario
	with_network
	plugin ADD fail
	refused "*fake*no address left*pool is empty*" net_pod failed
	no_pod_is_left
	rm "$cni/behave/ADD"
	net_pod failed >/dev/null # the name is free again
}

a_del_that_fails_keeps_the_pod_until_it_works() { # scenario
	local p

	with_network
	p=$(net_pod sticky)
	plugin DEL fail
	refused "*no address left*" cri stop_pod id="$p"
	refused "*no address left*" cri remove_pod id="$p"
	expect "the pod" "$(cri pods)" "$p sticky NOTREADY"
	stop
	start
	expect "the pod after a restart" "$(cri pods)" "$p sticky NOTREADY"
	refused "ALREADY_EXISTS *" net_pod sticky
	plugin DEL hang
	refused "DEADLINE_EXCEEDED *" cri stop_pod id="$p"
	rm "$cni/behave/DEL"
	cri stop_pod id="$p"
	[ ! -e "$cni/added/$p" ] || fail "the address was not taken back"
	cri remove_pod id="$p"
}

a_failed_add_whose_del_fails_too_is_cleaned_later() { # scenario
	local p

	with_network
	plugin ADD fail
	plugin DEL fail
	refused "*no address left*" net_pod twice
	p=$(cri pods | cut -d' ' -f1)
	expect "the pod that could not be undone" "$(cri pods)" "$p twice NOTREADY"
	refused "*no address left*" cri stop_pod id="$p"
	rm "$cni"/behave/*
	cri stop_pod id="$p"
	no_pod_is_left
	net_pod twice >/dev/null
}

a_plugin_that_vanishes_between_add_and_del_is_named() { # scenario
	local p

	with_network
	p=$(net_pod orphan)
	mv "$cni/bin/fake" "$work/fake"
	rm "$cni/net.d/10-fake.conflist"
	refused "*fake*$cni/bin*" cri stop_pod id="$p"
	expect "the pod" "$(cri pods)" "$p orphan NOTREADY"
	pod beside >/dev/null
	mv "$work/fake" "$cni/bin/fake"
	cri remove_pod id="$p"
	[ ! -e "$cni/added/$p" ] || fail "the address was not taken back"
}

a_daemon_killed_during_add_takes_the_address_back() { # scenario
	with_network
	plugin ADD slow
	net_pod cut >/dev/null 2>&1 &
	eventually grep -q 'ADD slow' "$cni/calls"
	kill_daemon
	rm "$cni/behave/ADD"
	start
	eventually is_empty "$cni/added"
	expect "what the plugin was asked" "$(grep -v STATUS "$cni/calls" | tr '\n' ,)" "ADD slow,DEL ,"
	eventually no_pods
	no_pod_is_left
}

no_pods() { [ -z "$(cri pods)" ]; }
