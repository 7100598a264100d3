# OCI runtimes that hang, lie or die. Sourced by run.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets, and reads

# A pod of the handler that misbehaves, and one beside it that must not notice.
bad_pod() {
	start
	image
	good=$(pod good)
	witness=$(running "$good" witness 'sleep 600')
	bad=$(pod bad runtime=bad)
}

the_witness_is_well() {
	is "$witness" RUNNING || fail "another pod's container is $(field container "$witness" state)"
	quickly 3 running "$good" "quick$RANDOM" true >/dev/null
}

a_runtime_that_hangs_at_create_is_killed_and_undone() { # scenario
	local c

	bad_pod
	c=$(container "$bad" hung true)
	behave create grandchild
	{ sleep 0.5 && the_witness_is_well && touch "$work/witnessed"; } &
	refused "DEADLINE_EXCEEDED *oci create*" cri start id="$c"
	wait $!
	[ -e "$work/witnessed" ] || fail "others waited"
	expect state "$(field container "$c" state)" EXITED
	expect reason "$(field container "$c" reason)" StartError
	expect message "$(field container "$c" message)" "*oci create*"
	no_process_of create
	cri remove id="$c"
}

no_process_of() { # VERB: nothing of the runtime's calls is alive
	local pid verb

	while read -r pid verb; do
		[ "$verb" != "$1" ] || [ ! -e "/proc/$pid" ] || fail "the runtime's $verb still runs as $pid"
	done <"$work/oci.log"
}

a_runtime_that_hangs_at_start_is_killed_and_the_container_deleted() { # scenario
	local c

	bad_pod
	c=$(container "$bad" hung 'sleep 600')
	behave start hang
	refused "DEADLINE_EXCEEDED *oci start*" cri start id="$c"
	expect reason "$(field container "$c" reason)" StartError
	expect "processes of the container" "$(init_of "$c")" ""
	no_process_of start
	the_witness_is_well
}

a_runtime_that_hangs_at_delete_delays_nobody_else_and_is_tried_again() { # scenario
	local c

	bad_pod
	behave delete hang
	c=$(running "$bad" hung true)
	eventually exited "$c"
	the_witness_is_well
	refused "*delete*" cri remove id="$c"
	expect "the container" "$(cri containers | grep "$c")" "$c hung EXITED"
	behave_well
	cri remove id="$c"
}

a_start_and_its_cleaning_that_both_fail_can_still_be_stopped_and_removed() { # scenario
	local c

	bad_pod
	c=$(container "$bad" cursed true)
	behave create late
	behave delete fail
	refused "*moon*" cri start id="$c"
	expect state "$(field container "$c" state)" EXITED
	quickly 5 cri stop id="$c"
	refused "*" cri remove id="$c"
	behave_well
	quickly 5 cri remove id="$c"
}

a_runtime_that_hangs_at_exec_is_killed_at_the_deadline() { # scenario
	local c

	bad_pod
	c=$(running "$bad" exec 'sleep 600')
	behave exec hang
	quickly 6 refused "DEADLINE_EXCEEDED *" cri exec id="$c" command=true limit=1
	quickly 6 refused "*" cri exec id="$c" command=true timeout=1
	eventually no_exec_runs
	behave_well
	expect "an exec afterwards" "$(cri exec id="$c" command='exit 5' | head -n 1)" "exit_code 5"
	# double forks die with their exec
	quickly 6 refused "DEADLINE_EXCEEDED *" cri exec id="$c" command='(sleep 601 &) ; sleep 602' limit=1
	eventually none 'sleep 60[12]$'
}

no_exec_runs() { (no_process_of exec) 2>/dev/null; }
none() { ! pgrep -f "^$1" >/dev/null; } # processes with this command line

what_a_failing_runtime_says_is_passed_on_as_a_sentence() { # scenario
	local c verb

	bad_pod
	c=$(container "$bad" said true)
	behave create fail
	refused 'INTERNAL *oci create: *the "moon" is in the wrong phase' cri start id="$c"
	c=$(container "$bad" silent true)
	behave create silent
	refused '* oci create: *' cri start id="$c"
	c=$(container "$bad" noise true)
	behave create garbage
	refused '* oci create*' cri start id="$c"
	behave_well
	c=$(container "$bad" start true)
	behave start fail
	refused 'INTERNAL *oci start: *the "moon" is in the wrong phase' cri start id="$c"
	behave_well
	c=$(running "$bad" exec 'sleep 600')
	behave exec fail
	refused '*the "moon" is in the wrong phase' cri exec id="$c" command=true
	behave exec garbage
	refused '*exec*' cri exec id="$c" command=true
	! grep -q '[^[:print:][:space:]]' "$log" || fail "the log has control characters"
	the_witness_is_well
}

a_daemon_killed_while_a_runtime_hangs_comes_back_and_undoes() { # scenario
	local c

	bad_pod
	c=$(container "$bad" cut 'sleep 600')
	behave create hang
	cri start id="$c" >/dev/null 2>&1 &
	eventually grep -q create "$work/oci.log"
	sleep 0.2
	kill_daemon
	behave_well
	start
	within 10 exited "$c" || fail "the start is $(field container "$c" state)"
	expect "exit code" "$(field container "$c" exit_code)" 128
	expect reason "$(field container "$c" reason)" StartError
	no_process_of create
	the_witness_is_well
}

a_bundle_that_was_removed_behind_our_back_fails_the_start_and_can_be_removed() { # scenario
	local c r p

	start
	image
	p=$(pod robbed)
	c=$(container "$p" created true)
	r=$(running "$p" running 'trap "exit 4" TERM; while :; do sleep 0.1; done')
	rm "$state/bundles/$c/config.json"
	refused "*config.json*" cri start id="$c"
	expect reason "$(field container "$c" reason)" StartError
	rm "$state/bundles/$r/config.json"
	refused "*config.json*" cri exec id="$r" command=true
	cri stop id="$r" grace=5
	expect "exit code" "$(field container "$r" exit_code)" 4
}

not_ready() { [ "$(field pod "$1" state)" = NOTREADY ]; }

pins_that_were_removed_behind_our_back_can_be_stopped_and_removed() { # scenario
	local c p

	start
	image
	network
	p=$(net_pod robbed)
	c=$(running "$p" inside 'sleep 600')
	umount "$state"/ns/"$p"/* 2>/dev/null || umount "$state"/ns/*"$p"*
	refused "FAILED_PRECONDITION *lost its namespaces*" running "$p" later true
	eventually not_ready "$p" # so that kubelet makes another
	exited "$c" || fail "a container goes on in a pod that is not ready"
	quickly 5 cri stop_pod id="$p"
	[ ! -e "$cni/added/$p" ] || fail "the network was not told"
	quickly 5 cri remove_pod id="$p"
}
