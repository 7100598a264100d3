#!/bin/bash
# coracle migrate-config on real files: tests/integration/migrate/run.sh
#
# CORACLE is the program (build/coracle). Needs root for owners and a full disk, strace for the kill at every system
# call; works in a private directory and leaves nothing. Ends with `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../../.."

coracle=$(realpath "${CORACLE:-build/coracle}")
configs=$PWD/tests/corpus/configs
dir=$(mktemp -d "${TMPDIR:-/tmp}/coracle-migrate.XXXXXX")
cleanup() {
	local mount
	awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | while read -r mount; do
		umount "$mount"
	done
	rm -rf "$dir"
}
trap cleanup EXIT
passed=0 failed=0

# A test is a function; its name says what it shows. It runs in an empty directory and fails with the first command.
run() {
	local name=$1 work="$dir/$1"

	mkdir "$work"
	( # not as a condition: bash would ignore -e inside
		set -e
		cd "$work"
		"$name"
	) >"$dir/log" 2>&1 </dev/null
	local rc=$?
	if [ "$rc" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL migrate/$name"
		tail -n 20 "$dir/log"
	fi
}

migrate() { "$coracle" migrate-config "$@"; }
fails_with() { # STATUS TEXT COMMAND...
	local want=$1 text=$2 rc=0 out
	shift 2
	out=$("$@" 2>&1) || rc=$?
	[ "$rc" -eq "$want" ] || { echo "status $rc instead of $want: $out"; return 1; }
	grep -Fq -- "$text" <<<"$out" || { echo "no \"$text\" in: $out"; return 1; }
}
attributes() { stat -c '%u %g %a' "$1" && getfattr --absolute-names -d -m '^user\.' "$1" | tail -n +2; }
sample() { cp "$configs/edge/crlf.toml" "$1" && chmod u+w "$1"; }
expected=$configs/edge/expected/crlf.toml
no_strays() { [ -z "$(find . -name '.*.coracle-*')" ]; }

every_file_of_the_corpus_becomes_what_is_expected_and_stays_so() {
	local dir_of file before
	for dir_of in "$configs" "$configs/edge"; do
		for file in "$dir_of"/*.toml; do
			[ -f "$dir_of/expected/${file##*/}" ] || continue
			cp "$file" f.toml && chmod 0640 f.toml
			if cmp -s "$file" "$dir_of/expected/${file##*/}"; then
				migrate --check f.toml
				before=$(migrate f.toml 2>&1)
				[ -z "$before" ] && [ ! -e f.toml.pre-coracle ]
			else
				fails_with 1 "" migrate --check f.toml
				cp f.toml patched.toml
				migrate --dry-run f.toml | patch --binary -s patched.toml
				migrate -q --no-backup f.toml
				cmp patched.toml f.toml
			fi
			cmp f.toml "$dir_of/expected/${file##*/}"
			before=$(stat -c '%i %Y' f.toml)
			[ -z "$(migrate f.toml 2>&1)" ]
			[ "$before" = "$(stat -c '%i %Y' f.toml)" ]
		done
	done
}

broken_files_fail_with_code_and_line_and_stay_as_they_are() {
	local file result code _ place
	while IFS=$'\t' read -r file result code _; do
		[ "$result" = error ] || continue
		cp "$configs/edge/$file" f.toml && chmod u+w f.toml
		fails_with 2 "[$code]" migrate f.toml
		cmp f.toml "$configs/edge/$file"
	done <"$configs/edge/index.tsv"
	while IFS=$'\t' read -r file _ _ _ _ _ place _; do
		[ "$file" != file ] || continue
		cp "$configs/invalid/$file" f.toml && chmod u+w f.toml
		fails_with 2 "f.toml:${place%:*}:" migrate f.toml
		fails_with 2 "[E_SYNTAX]" migrate f.toml
		cmp f.toml "$configs/invalid/$file"
	done <"$configs/invalid/index.tsv"
	[ -z "$(find . -name '*.pre-coracle*')" ]
}

owner_mode_attributes_and_links_are_kept() {
	mkdir real && sample real/config.toml
	chown 12:34 real/config.toml && chmod 0641 real/config.toml
	setfattr -n user.note -v kept real/config.toml
	local before
	before=$(attributes real/config.toml)
	ln -s real/config.toml link
	migrate link
	[ -L link ]
	cmp link "$expected"
	[ "$before" = "$(attributes real/config.toml)" ]
	[ "$before" = "$(attributes real/config.toml.pre-coracle)" ]
}

backups_are_never_overwritten() {
	sample f && echo other >f.pre-coracle
	migrate f
	[ "$(cat f.pre-coracle)" = other ]
	cmp f.pre-coracle.1 "$configs/edge/crlf.toml"
	sample f # the same contents again: the same backup
	migrate f
	[ ! -e f.pre-coracle.2 ]
	sample f
	migrate --backup=.old f
	cmp f.old "$configs/edge/crlf.toml"
	sample g
	migrate --no-backup g
	[ ! -e g.pre-coracle ]
}

nothing_is_written_when_one_of_several_files_is_bad() {
	sample a && sample b && echo 'x = ' >bad
	fails_with 2 "bad:1:5: error:" migrate a bad b
	cmp a "$configs/edge/crlf.toml"
	cmp b "$configs/edge/crlf.toml"
	rm bad
	migrate a b
	cmp a "$expected"
	cmp b "$expected"
}

a_file_named_twice_is_done_once() {
	sample f && ln -s f link
	[ "$(migrate f ./f link 2>&1 | wc -l)" -eq 1 ]
	cmp f "$expected"
	cmp f.pre-coracle "$configs/edge/crlf.toml"
	[ "$(migrate --report f link | grep -c '^f: version')" -eq 1 ]
}

# Somebody who rewrites the file all the time wins or loses, but nobody's bytes are mixed.
a_file_that_is_edited_meanwhile_is_left_to_the_editor() {
	sample f && cp f other && echo '# edited' >>other
	local rc=0
	strace -qq -o /dev/null -e trace=fsync -e inject=fsync:delay_enter=500000:when=1 "$coracle" migrate-config f 2>log &
	local migrating=$!
	sleep 0.2
	cp other new && mv new f
	wait "$migrating" || rc=$?
	[ "$rc" -eq 2 ] && grep -q 'changed by somebody else meanwhile \[E_OPEN\]' log
	cmp f other
	no_strays && [ ! -e f.pre-coracle ]
}

what_is_no_regular_file_is_refused() {
	ln -s loop loop && ln -s nowhere dangling && mkfifo fifo && mkdir d
	fails_with 2 "[E_OPEN]" migrate loop
	fails_with 2 "[E_OPEN]" migrate dangling
	fails_with 2 "[E_OPEN]" timeout 5 "$coracle" migrate-config fifo
	fails_with 2 "not a regular file [E_OPEN]" migrate d
	fails_with 2 "[E_OPEN]" migrate /dev/null
	fails_with 2 "[E_OPEN]" migrate missing
	truncate -s 17M huge
	fails_with 2 "larger than 16 MiB [E_OPEN]" migrate huge
	head -c 4096 /dev/urandom >binary && printf '\xff' >>binary
	fails_with 2 "binary:" migrate binary
}

standard_input_goes_to_standard_output() {
	migrate - <"$configs/edge/crlf.toml" >out
	cmp out "$expected"
	migrate -o - "$configs/edge/crlf.toml" | cmp - "$expected"
	sample f
	migrate -o out2 f
	cmp out2 "$expected"
	cmp f "$configs/edge/crlf.toml"
	migrate -o /dev/null f
	[ -c /dev/null ]
	fails_with 2 "FILE itself" migrate -o f f
	fails_with 2 "No space left" bash -c "'$coracle' migrate-config -o - f >/dev/full"
}

new_files_are_found_by_the_daemon_and_written_once() {
	cp "$configs/puppet-full-v2.toml" f && chmod u+w f
	migrate --conf-out=conf.d/50.conf --hosts-out=hosts f
	[ "$(stat -c %a conf.d/50.conf)" = 640 ]
	cp conf.d/50.conf before
	[ -z "$(migrate --conf-out=conf.d/50.conf --hosts-out=hosts f 2>&1)" ]
	cmp conf.d/50.conf before
	cp "$configs/puppet-full-v2.toml" f && chmod u+w f
	echo '[log]' >conf.d/50.conf
	fails_with 2 "--force" migrate --conf-out=conf.d/50.conf f
	cmp f "$configs/puppet-full-v2.toml"
	migrate --force --conf-out=conf.d/50.conf f
	cmp conf.d/50.conf before
}

what_is_written_beside_other_configuration_passes_check() {
	local file
	mkdir conf.d
	printf '[runtime mine]\npath = crun\n' >conf
	for file in "$configs"/*.toml; do
		rm -f conf.d/50.conf
		migrate -q -o /dev/null --conf-out=conf.d/50.conf "$file"
		"$coracle" check -t --strict -c conf
	done
}

mirrors_are_found_again_by_the_daemon() {
	local in='[plugins.cri.registry]\nmirrors.r.endpoint = ["https://m"]\nconfigs.m.tls.ca_file = "'$PWD'/ca"\n'
	# shellcheck disable=SC2059 # \n
	printf "$in" >f && cp f before
	fails_with 2 "$PWD/ca" migrate --conf-out=c --hosts-out="$PWD/hosts" f # no such certificate
	cmp f before && [ ! -e c ] && [ ! -e hosts ]
	touch ca
	fails_with 0 "hosts.toml written for 2 registries" migrate --conf-out=c --hosts-out="$PWD/hosts" f
	[ ! -s f ] && [ "$(stat -c %a hosts/r/hosts.toml)" = 640 ]
	"$coracle" check -t --strict -c c
	"$coracle" check --print-config -c c | grep -q "^config_path = $PWD/hosts, /etc/coracle/hosts.d, /etc/containerd/certs.d #"
	cp before f
	fails_with 0 "name the directory in [registry] config_path" migrate --hosts-out=elsewhere f
}

a_full_disk_leaves_the_old_file_alone() {
	mkdir small && mount -t tmpfs -o size=64k tmpfs small
	cp "$configs/containerd-default-1.7-v2.toml" small/f
	fill() { head -c 1M /dev/zero >small/fill 2>/dev/null || true; }
	fill
	fails_with 2 "[E_WRITE]" migrate small/f
	cmp small/f "$configs/containerd-default-1.7-v2.toml"
	[ -z "$(find small -name '.f*')" ]
	rm small/fill
	mount -o remount,ro small
	fails_with 2 "[E_WRITE]" migrate small/f
	mount -o remount,rw small
	migrate -q --no-backup small/f
	mount -o remount,ro small
	migrate small/f # nothing to do: a read-only disk is fine
	umount small
}

a_mount_point_is_not_replaced() {
	sample f && touch target && mount --bind f target
	fails_with 2 "with -o" migrate target
	umount target
	cmp f "$configs/edge/crlf.toml"
	no_strays
}

a_running_containerd_is_told_of() {
	sample f
	printf '[grpc]\r\naddress = "%s"\r\n' "$PWD/s" >>f
	/usr/bin/python3 - <<-'END' &
		import socket, time
		s = socket.socket(socket.AF_UNIX)
		s.bind("s")
		s.listen()
		time.sleep(20)
	END
	local server=$!
	for _ in $(seq 100); do
		[ -S s ] && break
		sleep 0.05
	done
	fails_with 0 "[W_LIVE]" migrate f
	kill "$server"
}

two_runs_at_once_wait_for_each_other() {
	sample f
	exec 9<.
	flock 9
	migrate f 2>log &
	local other=$!
	sleep 0.3
	cmp f "$configs/edge/crlf.toml"
	flock -u 9
	wait "$other"
	cmp f "$expected"
}

a_signal_leaves_no_temporary_file() {
	sample f
	local rc=0
	strace -qq -o /dev/null -e inject=write:signal=SIGTERM:when=1 "$coracle" migrate-config f 2>/dev/null || rc=$?
	[ "$rc" -eq 143 ]
	cmp f "$configs/edge/crlf.toml"
	no_strays
}

# Killed at its nth system call, for every n: the file is the old or the new one, whole, with its attributes; whatever is
# left beside it is gone after the next run. STRACE-OPTION...: what else goes wrong meanwhile.
killed_anywhere() {
	local calls n seen_old=0 seen_new=0 before
	cp "$configs/containerd-default-1.7-v2.toml" old && cp "$configs/expected/containerd-default-1.7-v2.toml" new
	fresh() {
		rm -f f f.pre-coracle
		cp old f && chown 12:34 f && chmod 0641 f && setfattr -n user.note -v kept f
	}
	fresh
	before=$(attributes f)
	calls=$(strace -qq -f -o /dev/stdout "$@" "$coracle" migrate-config -q f | wc -l)
	cmp f new
	[ "$calls" -gt 30 ]
	for n in $(seq "$calls"); do
		fresh
		strace -qq -o /dev/null -e inject=all:signal=SIGKILL:when="$n" "$@" "$coracle" migrate-config -q f >/dev/null 2>&1 || true
		if cmp -s f old; then
			seen_old=$((seen_old + 1))
		else
			cmp f new
			seen_new=$((seen_new + 1))
		fi
		[ "$before" = "$(attributes f)" ]
		[ ! -e f.pre-coracle ] || cmp f.pre-coracle old
		migrate -q f
		cmp f new
		[ "$before" = "$(attributes f)" ]
		cmp f.pre-coracle old
		[ "$before" = "$(attributes f.pre-coracle)" ]
		[ ! -e f.pre-coracle.1 ]
		no_strays
	done
	[ "$seen_old" -gt 10 ] && [ "$seen_new" -gt 1 ]
}
killed_at_any_system_call_the_file_is_whole() { killed_anywhere; }
killed_where_there_are_no_hard_links_the_file_is_whole() { killed_anywhere -e inject=linkat:error=EPERM; }

for test in $(declare -F | awk '$3 ~ /_/ && $3 !~ /^(fails_with|no_strays|killed_anywhere)$/ { print $3 }'); do
	run "$test"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
