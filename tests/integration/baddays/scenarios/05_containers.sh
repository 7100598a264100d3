# Containers and monitors in trouble. Sourced by run.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets, and reads

a_monitor_that_is_stopped_hangs_no_list_and_no_stop() { # scenario
	local p c

	start
	image
	p=$(pod frozen)
	c=$(running "$p" frozen 'trap "exit 6" TERM; while :; do sleep 0.1; done')
	kill -STOP "$(monitor_of "$c")"
	quickly 2 cri containers >/dev/null
	expect state "$(field container "$c" state)" RUNNING
	quickly 5 cri exec id="$c" command=true >/dev/null
	refused "DEADLINE_EXCEEDED *" cri stop id="$c" grace=1 timeout=3 # nobody could say how it ended
	quickly 2 cri containers >/dev/null
	stop # a restart meets a monitor that does not answer
	quickly 5 start
	quickly 2 cri containers >/dev/null
	kill -CONT "$(monitor_of "$c")"
	eventually exited "$c"
	expect "exit code" "$(field container "$c" exit_code)" 6
}

a_container_whose_monitor_was_killed_is_adopted() { # scenario
	local p c d

	start
	image
	p=$(pod adopted)
	c=$(running "$p" adopted 'trap "exit 6" TERM; while :; do sleep 0.1; done')
	d=$(running "$p" restart 'sleep 600')
	kill -9 "$(monitor_of "$c")"
	eventually logged 'adopted'
	quickly 2 cri containers >/dev/null
	expect state "$(field container "$c" state)" RUNNING
	cri exec id="$c" command=true >/dev/null
	quickly 8 cri stop id="$c" grace=3
	expect "exit code" "$(field container "$c" exit_code)" "@(6|255)"
	expect message "$(field container "$c" message)" "*monitor was killed*"
	stop
	kill -9 "$(monitor_of "$d")"
	start
	is "$d" RUNNING || fail "a container without monitor is $(field container "$d" state) after a restart"
	quickly 8 cri stop id="$d" grace=0
	cri remove_pod id="$p"
}

a_container_that_ignores_its_signal_is_killed_when_the_time_is_over() { # scenario
	local p c

	start
	image
	p=$(pod stubborn)
	c=$(running "$p" deaf 'trap "" TERM; while :; do sleep 0.1; done')
	quickly 5 cri stop id="$c" grace=1
	expect "exit code" "$(field container "$c" exit_code)" 137
	c=$(running "$p" patient 'trap "" TERM; while :; do sleep 0.1; done')
	cri stop id="$c" grace=600 &
	sleep 0.3
	quickly 5 cri stop id="$c" grace=0 # the shorter wish counts
	wait $!
}

a_container_frozen_by_somebody_cannot_stop_others() { # scenario
	local p c frozen group

	start
	image
	p=$(pod freezer)
	frozen=$(running "$p" frozen 'sleep 600')
	c=$(running "$p" warm 'sleep 600')
	group=$(frozen_group "$frozen")
	freeze "$group"
	# as in D state: even SIGKILL waits
	refused "DEADLINE_EXCEEDED *" cri stop id="$frozen" grace=1 timeout=5
	expect state "$(field container "$frozen" state)" "@(RUNNING|EXITED)"
	quickly 3 cri stop id="$c" grace=0
	eventually logged 'does not die of SIGKILL'
	thaw "$group"
	eventually exited "$frozen"
}

frozen_group() {
	local dir

	for dir in /sys/fs/cgroup/freezer"$cgroup/$1" /sys/fs/cgroup{,/unified}"$cgroup/$1"; do
		[ ! -d "$dir" ] || { echo "$dir"; return; }
	done
	fail "no cgroup of $1"
}
freeze() { [ -e "$1/freezer.state" ] && echo FROZEN >"$1/freezer.state" || echo 1 >"$1/cgroup.freeze"; }
thaw() { [ -e "$1/freezer.state" ] && echo THAWED >"$1/freezer.state" || echo 0 >"$1/cgroup.freeze"; }

a_container_out_of_memory_says_so() { # scenario
	local p c

	start
	image
	p=$(pod greedy)
	c=$(running "$p" greedy 'x=a; while :; do x=$x$x; done' memory=16777216)
	within 30 exited "$c" || fail "it is $(field container "$c" state)"
	expect reason "$(field container "$c" reason)" OOMKilled
	expect "exit code" "$(field container "$c" exit_code)" 137
}

a_log_that_cannot_be_written_stops_no_container() { # scenario
	local p c

	mkdir -p "$work/logs"
	mount -t tmpfs -o size=128k logs "$work/logs"
	start
	image
	p=$(pod chatty)
	c=$(running "$p" chatty 'trap "exit 2" TERM; seq 20000; echo through >&2; while :; do echo more; sleep 0.1; done')
	eventually log_is_full
	is "$c" RUNNING || fail "a full log ended the container"
	cri exec id="$c" command=true >/dev/null
	umount -l "$work/logs" && rm -rf "$work/logs" # and now there is not even a directory
	sleep 0.3
	is "$c" RUNNING || fail "a removed log ended the container"
	quickly 6 cri stop id="$c" grace=5
	expect "exit code" "$(field container "$c" exit_code)" 2
	mkdir "$work/logs"
	rm -rf "$work/logs"
	c=$(running "$p" again 'echo here') # its directory is made anew
	eventually exited "$c"
	expect "its log" "$(cat "$work/logs/again.log")" "*here"
}

log_is_full() { [ "$(stat -f -c %a "$work/logs")" -eq 0 ]; }
