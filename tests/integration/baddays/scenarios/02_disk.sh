# A disk that fills up, rots, or is of another time. Sourced by run.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets, and reads

# root on a file system of its own, SIZE MiB. A loop device: unlike tmpfs it has blocks to run out of, as disks do.
small_disk() {
	truncate -s "$1"M "$work/disk.img"
	mkfs.ext4 -q -F -m 0 -O ^has_journal "$work/disk.img" >/dev/null
	mkdir -p "$work/disk"
	mount -o loop "$work/disk.img" "$work/disk"
	root=$work/disk/root
}

fill_disk() {
	dd if=/dev/zero of="$work/disk/fill" bs=64k status=none 2>/dev/null || true
	dd if=/dev/zero of="$work/disk/fill2" bs=1k status=none 2>/dev/null || true
	[ "$(stat -f -c %a "$work/disk")" -lt 4 ] || fail "the disk is not full"
}

free_disk() { rm -f "$work/disk/fill" "$work/disk/fill2"; }

# Pods come and go until the journal has used up the space that it has.
use_up_the_journal() { # ID to spare
	local n

	for n in $(seq 60); do
		seq "$n"00 "$n"19 | cri each run_pod name host_network=1 cgroup="$cgroup" >"$work/made" 2>"$work/err" || break
		cri each remove_pod id <"$work/made"
	done
	grep -q 'UNAVAILABLE journal: ' "$work/err" || fail "the journal did not run out: $(tail -n 1 "$work/err")"
	cri pods | sed -n "/$1/!s/ .*//p" | cri each remove_pod id
}

when_the_disk_fills_up_exits_are_kept_and_pods_can_go() { # scenario
	local p c quiet

	printf '[journal]\nsegment_size = 512K\nkeep = 1M\n' >>"$conf"
	small_disk 160
	start
	image
	p=$(pod steady)
	c=$(running "$p" steady 'sleep 600; exit 9')
	quiet=$(running "$p" quiet 'trap "exit 3" TERM; while :; do sleep 0.1; done')
	fill_disk
	use_up_the_journal "$p"
	refused "UNAVAILABLE journal: *" pod refused
	expect Status "$(condition Runtime)" "RuntimeReady False *journal: *"

	# an exit, a stop and a removal find their way all the same
	kill -9 "$(init_of "$c")"
	eventually exited "$c"
	cri stop id="$quiet" grace=5
	expect "exit code of the stopped" "$(field container "$quiet" exit_code)" 3
	cri remove id="$quiet"
	# and nothing of it is lost when the daemon dies now
	kill_daemon
	start
	expect "containers after the restart" "$(cri containers)" "$c steady EXITED"
	expect "exit code of the killed" "$(field container "$c" exit_code)" 137

	free_disk
	within 20 pod fresh >/dev/null 2>&1 || fail "space returned, pods did not"
	expect Status "$(condition Runtime)" "RuntimeReady True*"
}

a_full_disk_at_the_start_of_a_node_that_ran_is_survived() { # scenario
	local p c

	small_disk 160
	start
	image
	p=$(pod old)
	c=$(running "$p" old 'trap "exit 7" TERM; while :; do sleep 0.1; done')
	stop
	fill_disk
	start
	eventually is "$c" RUNNING
	cri stop id="$c" grace=5
	expect "exit code" "$(field container "$c" exit_code)" 7
	cri remove_pod id="$p"
	expect "pods after the removal" "$(cri pods)" ""
	free_disk
	within 20 pod new >/dev/null 2>&1 || fail "space returned, pods did not"
}

a_new_node_on_a_full_disk_says_so() { # scenario
	small_disk 160
	fill_disk
	start_fails 1 "*$root*o space left*"
	free_disk
	start
}

an_import_that_fills_the_disk_is_undone() { # scenario
	local said

	small_disk 300
	start
	image
	mkdir -p "$work/big/files"
	head -c 80M /dev/urandom >"$work/big/files/blob"
	make_layout "$work/big" test.local/big:1 "$work/big.tar"
	said=$({
		head -c 30M "$work/big.tar"
		sleep 0.3
		fill_disk
		tail -c +$((30 * 1024 * 1024 + 1)) "$work/big.tar"
	} | "$CORACLE" ctl --address "$state/coracle.sock" import - 2>&1) && fail "it succeeded"
	expect "what it said" "$said" "*@(o space left|less than 64 MiB free)*"
	eventually is_empty "$root/staging"
	expect "number of layers" "$(find "$root/layers" -mindepth 1 -maxdepth 1 | wc -l)" 1
	free_disk
	"$CORACLE" ctl --address "$state/coracle.sock" import "$work/big.tar" >/dev/null
}

is_empty() { [ -z "$(ls -A "$1")" ]; }

a_torn_tail_is_dropped_and_damage_is_refused_with_advice() { # scenario
	local p segment

	start
	p=$(pod kept)
	pod other >/dev/null
	kill_daemon
	segment=$(last_segment)
	write_at "$segment" $(($(end_of_records "$segment") + 512)) "$(printf 'x%.0s' {1..300})"
	start
	expect "pods behind a torn tail" "$(cri pods | cut -d' ' -f2- | sort | tr '\n' ,)" "kept READY,other READY,"
	stop

	cp -a "$root/journal" "$work/good"
	segment=$(grep -l "$p" "$root"/journal/segment-* | tail -n 1)
	write_at "$segment" "$(($(grep -abo "$p" "$segment" | head -n 1 | cut -d: -f1) + 8))" '~'
	start_fails 1 "*${segment##*/}*coracle recover --truncate*"
	start_fails 1 "*coracle recover --truncate*" # nothing was changed by the first
	"$CORACLE" recover -c "$conf" --root "$root" --state "$state" --truncate --fix >"$work/truncated" 2>&1 ||
		fail "recover --truncate: $(cat "$work/truncated")"
	start
	ls "$root"/journal/damaged-* >/dev/null || fail "what was cut off was not put aside"
}

# The newest segment with records: spares are zeros.
last_segment() { grep -l coraseg "$root"/journal/segment-* | tail -n 1; }
end_of_records() { tr '\0' '\n' <"$1" | awk '{ n += length($0) + 1; if (length($0)) last = n } END { print last }'; }
write_at() { printf %s "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; } # FILE OFFSET TEXT

the_state_of_a_newer_version_is_left_alone() { # scenario
	local segment

	start
	pod old >/dev/null
	stop
	segment=$(last_segment)
	cp -a "$segment" "$work/segment"
	"$here/newer.py" "$segment"
	find "$root/journal" -type f -printf '%p %s %T@\n' | sort >"$work/before"
	start_fails 78 "*${segment##*/}*newer*"
	find "$root/journal" -type f -printf '%p %s %T@\n' | sort >"$work/after"
	diff "$work/before" "$work/after" || fail "the start that was refused has written"
	cp -a "$work/segment" "$segment"
	start
}

the_spool_takes_garbage_and_strangers() { # scenario
	local p c stranger

	start
	image
	p=$(pod spool)
	c=$(running "$p" spool 'sleep 600')
	stranger=$(printf 'ab%.0s' {1..32})
	cp "$root/spool/tmp/$c" "$root/spool/stray"
	mv "$root/spool/stray" "$root/spool/new/$stranger"
	eventually [ ! -e "$root/spool/new/$stranger" ]
	is "$c" RUNNING || fail "a stranger's record ended a container"

	# the monitor dies and leaves a record that rots
	kill -9 "$(monitor_of "$c")"
	kill -9 "$(init_of "$c")"
	eventually exited "$c"
	p=$(pod damaged)
	c=$(running "$p" damaged 'sleep 600')
	kill -STOP "$(monitor_of "$c")"
	head -c 136 /dev/urandom >"$root/spool/stray"
	mv "$root/spool/stray" "$root/spool/new/$c"
	eventually exited "$c"
	expect "exit code" "$(field container "$c" exit_code)" 255
	expect reason "$(field container "$c" reason)" Unknown
	expect message "$(field container "$c" message)" "*damaged*"
	[ -e "$root/spool/bad/$c" ] || fail "the damaged record was not kept"
	pkill -CONT -xf "coracle-monitor $c"
}
