#!/bin/bash
# coracle check, id by id: tests/integration/check/run.sh [ID...]
#
# Every id of `check --list` has a case here: on a good machine it complains of nothing; the thing is broken and exactly
# that id complains; it is mended and the complaint is gone. An id without a case fails. What can be told by files is
# tried on a made-up system (--sysroot), the rest on this machine, with strace where the kernel has to be broken.
# usage: tests/integration/check/run.sh [ID|NAME...]
# CORACLE is the program (build/coracle). Needs root. Ends with `N passed, N failed, N skipped`.
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 2

coracle=$(realpath "${CORACLE:-build/coracle}")
dir=$(mktemp -d "${TMPDIR:-/tmp}/coracle-check.XXXXXX")
daemon=
cleanup() {
	local mount
	[ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null
	awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | tac | while read -r mount; do
		umount -l "$mount"
	done
	ip link del "cora-$(printf %s "$dir/hoststate" | sha256sum | cut -c 1-8)" 2>/dev/null # of the built-in network
	rm -rf "$dir"
}
trap cleanup EXIT
passed=0 failed=0 skipped=0

# --- a made-up system on which nothing is wrong

make_system() {
	local f=$1 name
	mkdir -p "$f"/{boot,etc/coracle/coracle.conf.d,etc/cni/net.d,etc/containerd,opt/cni/bin,usr/bin,run,var/lib/coracle} \
		"$f"/proc/{self/ns,sys/{kernel,vm,user,fs/inotify,net/ipv4,net/bridge},net} "$f"/sys/{fs/cgroup,module/overlay/parameters}
	echo 6.12.1 >"$f/proc/sys/kernel/osrelease"
	for name in mnt uts ipc pid net user cgroup time; do
		: >"$f/proc/self/ns/$name"
		echo 1000 >"$f/proc/sys/user/max_${name}_namespaces"
	done
	printf 'nodev\t%s\n' overlay proc sysfs tmpfs mqueue devpts >"$f/proc/filesystems"
	echo 4194304 >"$f/proc/sys/kernel/pid_max" && echo 100000 >"$f/proc/sys/kernel/threads-max"
	echo 8192 >"$f/proc/sys/fs/inotify/max_user_instances" && echo 100000 >"$f/proc/sys/fs/inotify/max_user_watches"
	echo 1 | tee "$f/proc/sys/net/ipv4/ip_forward" "$f"/proc/sys/net/bridge/bridge-nf-call-ip{,6}tables >/dev/null
	echo 1 >"$f/proc/sys/vm/overcommit_memory"
	printf 'CONFIG_%s=y\n' NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_PIDS CGROUP_SCHED CPUSETS MEMCG \
		FAIR_GROUP_SCHED INET PROC_FS OVERLAY_FS POSIX_MQUEUE VETH BRIDGE UNIX EPOLL SIGNALFD EVENTFD USER_NS CGROUP_HUGETLB \
		CFS_BANDWIDTH SECCOMP SECCOMP_FILTER BRIDGE_NETFILTER NF_NAT NF_CONNTRACK NETFILTER_XT_MATCH_COMMENT \
		NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_CONNTRACK NETFILTER_XT_TARGET_REDIRECT NF_TABLES KEYS SECURITY_APPARMOR \
		BLK_CGROUP EXT4_FS >"$f/boot/config-6.12.1"
	echo '30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw' >"$f/proc/self/mountinfo"
	echo '0::/' >"$f/proc/self/cgroup"
	echo 'cpuset cpu io memory hugetlb pids' >"$f/sys/fs/cgroup/cgroup.controllers"
	echo N | tee "$f"/sys/module/overlay/parameters/{redirect_dir,metacopy,index} >/dev/null
	printf '[log]\nlevel = info\n' >"$f/etc/coracle/coracle.conf"
	# shellcheck disable=SC2016 # the stub expands it
	printf '#!/bin/sh\n' >"$f/usr/bin/crun" && chmod 0755 "$f/usr/bin/crun"
	echo '{"cniVersion":"1.0.0","name":"k8s","plugins":[{"type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.88.0.0/16"}],[{"subnet":"fd00:1::/64"}]]}}]}' >"$f/etc/cni/net.d/10-k8s.conflist"
	printf 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\ncni0\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\n' >"$f/proc/net/route"
	printf '%s\n' 'fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0' \
		'fd000001000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001     eth0' >"$f/proc/net/ipv6_route"
	cp "$f/usr/bin/crun" "$f/opt/cni/bin/bridge" && cp "$f/usr/bin/crun" "$f/opt/cni/bin/host-local"
	printf 'version = 3\nimports = ["/etc/containerd/conf.d/*.toml"]\n[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "runc"\n' \
		>"$f/etc/containerd/config.toml"
	store=$f/var/lib/coracle && cp -a "$dir/store/." "$store"
	chmod 0711 "$f/var/lib/coracle" && chmod go-w -R "$f/etc"
}

# reported PYTHON: the program over what the checks of the last run reported.
reported() {
	/usr/bin/python3 -c "
import json, sys
rank = {'ok': 0, 'skip': 0, 'warn': 1, 'fail': 2}
checks = json.load(open(sys.argv[1]))['checks']
$1" "$dir/json" || { cat "$dir/stderr"; return 1; }
}

# shellcheck disable=SC2086 # words
run_checks() { $prefix "$coracle" check -j $args >"$dir/json" 2>"$dir/stderr"; }

# "ID WORST-STATUS" lines.
statuses() {
	run_checks
	reported '
worst = {}
for check in checks:
    worst[check["id"]] = max(worst.get(check["id"], 0), rank[check["status"]])
for name, status in sorted(worst.items()):
    print(name, status)'
}

# "ID STATUS OBJECT MESSAGE" lines.
messages() {
	run_checks
	reported '
for check in checks:
    print(check["id"], rank[check["status"]], check.get("object"), check["message"])'
}

# Complaints that do not say what to do, of groups that always do.
unadvised() {
	reported '
for check in checks:
    if rank[check["status"]] and "hint" not in check and check["group"] in ("kernel", "sysctl", "cgroup", "storage", "oci"):
        print(check["id"], check["message"])'
}

with_file() { # put a changed copy in place: FILE SED-EXPRESSION
	cp -p "$1" "$dir/saved" && sed -i "$2" "$1"
}

# flips ID BREAK MEND: what BREAK does, ID alone complains of. BREAK may end with says: what the report has to name.
flips() {
	local id=$1 before broken after worse unadvised
	before=$(statuses) || { echo "$before"; return 1; }
	grep -q "^$id 0$" <<<"$before" || { echo "complains of a good machine: $(grep "^$id " <<<"$before")"; return 1; }
	eval "$2" || { eval "$3"; return 1; }
	broken=$(statuses) || { echo "$broken"; eval "$3"; return 1; }
	unadvised=$(unadvised)
	worse=$(diff <(echo "$before") <(echo "$broken") | awk '/^> / && $3 > 0 { print $2 }')
	eval "$3"
	[ "$worse" = "$id" ] || { echo "complaints from: ${worse:-nobody}"; return 1; }
	[ -z "$unadvised" ] || { echo "no hint: $unadvised"; return 1; }
	after=$(statuses)
	[ "$before" = "$after" ] || { diff <(echo "$before") <(echo "$after"); return 1; }
}

# tells ID CHANGE BACK: a fact is no complaint, but what CHANGE does shows in what ID alone says.
tells() {
	local before changed after
	before=$(messages) || { echo "$before"; return 1; }
	eval "$2"
	changed=$(messages) || { echo "$changed"; eval "$3"; return 1; }
	eval "$3"
	[ "$(diff <(echo "$before") <(echo "$changed") | awk '/^[<>]/ { print $2, $3 }' | sort -u)" = "$1 0" ] ||
		{ diff <(echo "$before") <(echo "$changed"); return 1; }
	after=$(messages)
	[ "$before" = "$after" ] || { diff <(echo "$before") <(echo "$after"); return 1; }
}
says() {
	statuses >/dev/null
	grep -q -- "$1" "$dir/json" || { echo "does not say $1: $(cat "$dir/json")"; return 1; }
}

until_file() { for _ in $(seq 100); do [ -e "$1" ] && return; sleep 0.05; done; return 1; }

# edit ID FILE SED-EXPRESSION: the same, where a file of the made-up system is broken.
edit() { flips "$1" "with_file '$f/$2' '$3'" "cp -p '$dir/saved' '$f/$2'"; }
append() { flips "$1" "cp -p '$f/$2' '$dir/saved'; printf '$3' >>'$f/$2'" "cp -p '$dir/saved' '$f/$2'"; }
without() { flips "$1" "mv '$f/$2' '$dir/saved'" "mv '$dir/saved' '$f/$2'"; }

on_sysroot() { prefix='' args="--sysroot $f --containerd --fsck"; }
# This machine has its own faults: only the id at hand is looked at, and what is next to it.
on_host() { prefix='' args="--root $dir/host --state $dir/hoststate $*"; }

conf=etc/coracle/coracle.conf toml=etc/containerd/config.toml

case_config_readable() { flips config.readable "ln -s loop '$f/etc/coracle/coracle.conf.d/9.conf'; ln -s 9.conf '$f/etc/coracle/coracle.conf.d/loop'" "rm '$f/etc/coracle/coracle.conf.d/'*"; }
case_config_perms() { flips config.perms "chmod o+w '$f/$conf'" "chmod o-w '$f/$conf'"; }
case_config_syntax() { append config.syntax $conf 'what is this\n'; }
case_config_unknown() { append config.unknown $conf 'colour = red\n'; }
case_config_duplicate() { append config.duplicate $conf 'level = warn\n'; }
case_config_deprecated() { append config.deprecated $conf '[cni]\nbin_dir = /opt/cni/bin\n'; }
case_config_value() { edit config.value $conf 's/info/loud/'; }
case_config_runtime() { append config.runtime $conf '[runtime]\ndefault = x\n[runtime crun]\n'; }
case_config_paths() { append config.paths $conf '[daemon]\nroot = /run/coracle/inside\n'; }
case_kernel_version() { flips kernel.version "echo 5.3.0 >'$f/proc/sys/kernel/osrelease'; cp '$f/boot/config-6.12.1' '$f/boot/config-5.3.0'" "echo 6.12.1 >'$f/proc/sys/kernel/osrelease'"; }
case_kernel_ns() { edit kernel.ns proc/sys/user/max_net_namespaces 's/.*/0/' && without kernel.ns proc/self/ns/pid; }
case_kernel_fs() { edit kernel.fs proc/filesystems '/overlay/d'; }
case_kernel_config() { edit kernel.config boot/config-6.12.1 's/^CONFIG_VETH=y/# CONFIG_VETH is not set/' && edit kernel.config boot/config-6.12.1 '/SECCOMP_FILTER/d'; }
case_kernel_limits() { edit kernel.limits proc/sys/kernel/pid_max 's/.*/1000/'; }
case_sysctl_ip_forward() { edit sysctl.ip-forward proc/sys/net/ipv4/ip_forward 's/1/0/'; }
case_sysctl_bridge_nf() { edit sysctl.bridge-nf proc/sys/net/bridge/bridge-nf-call-iptables 's/1/0/'; }
case_cgroup_version() { edit cgroup.version proc/self/mountinfo d; }
case_cgroup_controllers() { edit cgroup.controllers sys/fs/cgroup/cgroup.controllers 's/pids//'; }
case_sysctl_userns() { tells sysctl.userns "echo 0 >'$f/proc/sys/kernel/unprivileged_userns_clone'" "rm '$f/proc/sys/kernel/unprivileged_userns_clone'"; }
case_sysctl_kubelet() { tells sysctl.kubelet "echo 0 >'$f/proc/sys/vm/overcommit_memory'" "echo 1 >'$f/proc/sys/vm/overcommit_memory'"; }
case_cgroup_driver() {
	local kubelet=$f/var/lib/kubelet/config.yaml rc
	mkdir -p "${kubelet%/*}"
	flips cgroup.driver "mkdir -p '$f/run/systemd/system'" "rm -r '$f/run/systemd'" &&
		flips cgroup.driver "echo 'cgroupDriver: \"systemd\"' >'$kubelet'" "rm '$kubelet'" || return 1
	mkdir -p "$f/run/systemd/system"
	/usr/bin/python3 -c 'import os, socket, sys, time; s = socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); s.bind("private"); s.listen(); time.sleep(60)' \
		"$f/run/systemd" &
	until [ -S "$f/run/systemd/private" ]; do sleep 0.05; done
	flips cgroup.driver "echo 'cgroupDriver: cgroupfs' >'$kubelet'" "rm '$kubelet'"
	rc=$?
	kill $! && wait $!
	return $rc
}
mark() { /usr/bin/python3 -c 'import os, sys; os.setxattr(sys.argv[1], "trusted.delegate", sys.argv[2].encode())' "$1" "$2"; }
case_cgroup_delegate() {
	local tree=$f/sys/fs/cgroup
	flips cgroup.delegate "mount --bind '$tree' '$tree' && mount -o remount,bind,ro '$tree'" "umount '$tree'" || return 1
	mkdir -p "$tree/system.slice/coracle.service" && mark "$tree/system.slice/coracle.service" 1 || return 1
	flips cgroup.delegate "mark '$tree/system.slice/coracle.service' 0" "mark '$tree/system.slice/coracle.service' 1"
}
tells_of_file() { mkdir -p "$f/sys/fs/cgroup/pod" && tells "$1" ": >'$f/sys/fs/cgroup/pod/$2'" "rm '$f/sys/fs/cgroup/pod/$2'"; }
case_cgroup_kill() { tells_of_file cgroup.kill cgroup.kill; }
case_cgroup_swap() { tells_of_file cgroup.swap memory.swap.max; }
case_cgroup_psi() { tells_of_file cgroup.psi cpu.pressure; }
case_storage_dirs() { flips storage.dirs "chmod 0777 '$f/var/lib/coracle'" "chmod 0711 '$f/var/lib/coracle'"; }
case_storage_overlay_opts() { edit storage.overlay-opts sys/module/overlay/parameters/metacopy 's/N/Y/'; }
case_oci_path() { without oci.path usr/bin/crun && flips oci.path "chmod 0777 '$f/usr/bin/crun'" "chmod 0755 '$f/usr/bin/crun'"; }
case_cni_conf_dir() { printf '[cni]\nbuiltin = no\n' >>"$f/$conf" && without cni.conf-dir etc/cni/net.d/10-k8s.conflist; }
case_cni_conf() {
	edit cni.conf etc/cni/net.d/10-k8s.conflist 's/"plugins"/"plugs"/' || return
	# the daemon goes on to the next file, and so does what looks at the network
	flips cni.conf "echo '{' >'$f/etc/cni/net.d/05-half.conf'; says 'the daemon uses the next file'" "rm '$f/etc/cni/net.d/05-half.conf'"
}
case_cni_plugins() { without cni.plugins opt/cni/bin/host-local; }
case_cni_subnet() {
	append cni.subnet proc/net/route 'tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\n' &&
		append cni.subnet proc/net/ipv6_route 'fd000001000000000000000000000000 30 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 tun0\n' &&
		edit cni.subnet etc/cni/net.d/10-k8s.conflist 's,fd00:1::/64,10.88.9.0/24,'
}
case_cni_leftover() {
	local pins=$f/run/coracle/ns addresses=$f/var/lib/cni/networks/k8s results=$f/var/lib/cni/results
	mkdir -p "$pins" "$addresses" "$results" && touch "$addresses/lock" "$results/other-1-eth0" && echo 10.88.0.5 >"$addresses/last_reserved_ip.0"
	flips cni.leftover "mkdir '$pins/abc'" "rmdir '$pins/abc'" && flips cni.leftover "printf 'abc\r\neth0' >'$addresses/10.88.0.5'" "rm '$addresses/10.88.0.5'" &&
		flips cni.leftover "echo '{\"containerId\":\"abc\"}' >'$results/k8s-abc-eth0'" "rm '$results/k8s-abc-eth0'"
}
case_net_other_runtime() {
	local socket=$f/run/containerd/containerd.sock other=''
	mkdir -p "$f/run/containerd" "$f/var/lib/kubelet"
	/usr/bin/python3 -c 'import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(9); time.sleep(600)' "$socket" &
	other=$!
	until_file "$socket"
	echo 'containerRuntimeEndpoint: unix:///run/coracle/coracle.sock' >"$f/var/lib/kubelet/config.yaml"
	edit net.other-runtime var/lib/kubelet/config.yaml 's,coracle/coracle,containerd/containerd,' &&
		flips net.other-runtime "echo 'X=\"--container-runtime-endpoint=unix:///run/containerd/containerd.sock\"' >'$f/var/lib/kubelet/kubeadm-flags.env'" "rm '$f/var/lib/kubelet/kubeadm-flags.env'"
	local rc=$?
	kill $other
	return $rc
}
case_state_lock() { flips state.lock "mkdir '$f/var/lib/coracle/lock'" "rmdir '$f/var/lib/coracle/lock'"; }
case_state_tmp() { flips state.tmp "mkdir '$f/var/lib/coracle/.check-abcdef'; touch -d '2 hours ago' '$f/var/lib/coracle/.check-abcdef'" "rmdir '$f/var/lib/coracle/.check-abcdef'"; }
case_containerd_syntax() { append containerd.syntax $toml 'x = {{ y }}\n'; }
case_containerd_version() { edit containerd.version $toml 's/version = 3/version = 9/'; }
case_containerd_lists() { edit containerd.lists $toml '1i disabled_plugins = ["cri"]'; }
case_containerd_plugin_names() { append containerd.plugin-names $toml '[plugins.cri]\n'; }
case_containerd_unknown() { edit containerd.unknown $toml '1i oom_scores = 1'; }
case_containerd_imports() { edit containerd.imports $toml 's,\[",["/etc/missing.toml"\, ",'; }
case_containerd_server() { append containerd.server $toml '[plugins."io.containerd.grpc.v1.cri"]\nstream_idle_timeout = "4"\n' && append containerd.server $toml '[plugins."io.containerd.grpc.v1.cri".x509_key_pair_streaming]\ntls_key_file = "/k"\n'; }
case_containerd_runtime() { edit containerd.runtime $toml 's/"runc"/"kata"/' && append containerd.runtime $toml '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.x]\nio_type = "magic"\n'; }
case_containerd_registry() { append containerd.registry $toml '[plugins."io.containerd.cri.v1.images"]\nimage_pull_progress_timeout = "5"\n'; }
case_containerd_deprecated() { append containerd.deprecated $toml '[plugins."io.containerd.cri.v1.images".registry.mirrors."docker.io"]\nendpoint = ["https://m"]\n'; }

# --- this machine

start_daemon() {
	"$coracle" daemon --root "$dir/host" --state "$dir/hoststate" "$@" 2>"$dir/daemon.log" &
	daemon=$!
	for _ in $(seq 100); do
		"$coracle" check live.version --root "$dir/host" --state "$dir/hoststate" >/dev/null 2>&1 && return 0
		sleep 0.05
	done
	cat "$dir/daemon.log"
	return 1
}
stop_daemon() { kill "$daemon" && wait "$daemon"; daemon=; }

case_kernel_syscalls() { on_host kernel && flips kernel.syscalls "prefix='strace -f -qq -o /dev/null -e inject=openat2:error=ENOSYS'" "prefix="; }
case_kernel_seccomp() { on_host kernel && flips kernel.seccomp "prefix='strace -f -qq -o /dev/null -e inject=seccomp:error=EOPNOTSUPP'" "prefix="; }
case_storage_fstype() {
	on_host storage.dirs storage.fstype storage.overlay storage.dtype storage.flags
	flips storage.fstype "mount -t tmpfs -o mode=0711 tmpfs '$dir/host'" "umount '$dir/host'"
}
case_storage_flags() {
	on_host storage && mount --bind "$dir/host" "$dir/host"
	flips storage.flags "mount -o remount,bind,noexec '$dir/host'" "mount -o remount,bind,exec '$dir/host'"
	local rc=$?
	umount "$dir/host"
	return $rc
}
case_storage_space() {
	on_host storage && mount -t tmpfs -o size=1M,mode=0711 tmpfs "$dir/host"
	flips storage.space "head -c 1000k /dev/zero >'$dir/host/fill'" "rm '$dir/host/fill'"
	local rc=$?
	umount "$dir/host"
	return $rc
}
case_storage_tmpfs_state() {
	on_host storage && mount -t tmpfs -o mode=0711 tmpfs "$dir/hoststate"
	flips storage.tmpfs-state "umount '$dir/hoststate'" "mount -t tmpfs -o mode=0711 tmpfs '$dir/hoststate'"
	local rc=$?
	umount "$dir/hoststate"
	return $rc
}
case_storage_dtype() { on_host storage && flips storage.dtype "prefix='strace -f -qq -o /dev/null -e inject=mknod,mknodat:error=EIO'" "prefix="; }
case_storage_overlay() { on_host storage && flips storage.overlay "prefix='strace -f -qq -o /dev/null -e inject=mount:error=ENODEV'" "prefix="; }
case_storage_idmap() {
	unshare -U true || return 77 # the kernel refuses user namespaces as a whole, as it does in a chroot
	on_host storage && flips storage.idmap "prefix='strace -f -qq -o /dev/null -e inject=mount_setattr:error=EINVAL'" "prefix="
}
case_storage_rename() {
	on_host storage && mkdir -p "$dir/host/layers" &&
		flips storage.rename "mount -t tmpfs tmpfs '$dir/host/layers'" "umount '$dir/host/layers'" &&
		flips storage.rename "prefix='strace -f -qq -o /dev/null -e inject=renameat2:error=EINVAL'" "prefix="
}
case_storage_fsync() { on_host storage && flips storage.fsync "prefix='strace -f -qq -o /dev/null -e inject=fsync:error=EIO'" "prefix="; }

stub_runtime() { # VERSION-OUTPUT FEATURES-COMMAND
	# shellcheck disable=SC2016 # the stub expands it
	printf '#!/bin/sh\ncase $1 in --version) %s ;; features) %s ;; esac\n' "$1" "$2" >"$dir/stub"
	chmod 0755 "$dir/stub"
	printf '[runtime stub]\npath = %s\n' "$dir/stub" >"$dir/stub.conf"
}
cat >"$dir/features" <<-'JSON'
	{"ociVersionMin":"1.0.0","ociVersionMax":"1.2.0",
	"hooks":["prestart","createRuntime","createContainer","startContainer","poststart","poststop"],
	"mountOptions":["rbind","rprivate","rro","rslave","rshared"],
	"linux":{"cgroup":{"v1":true,"v2":true,"systemd":true},
	"seccomp":{"enabled":true,"actions":["SCMP_ACT_ERRNO","SCMP_ACT_ALLOW"]},
	"mountExtensions":{"idmap":{"enabled":true}}}}
JSON
features="cat $dir/features"
case_oci_version() {
	on_host -c "$dir/stub.conf" oci.path oci.version oci.features && stub_runtime 'echo runc version 1.2.9' "$features"
	flips oci.version "stub_runtime 'echo hello' '$features'" "stub_runtime 'echo runc version 1.2.9' '$features'" &&
		flips oci.version "stub_runtime 'exit 3' '$features'" "stub_runtime 'echo runc version 1.2.9' '$features'"
}
case_oci_min_version() {
	on_host -c "$dir/stub.conf" oci.version oci.min-version oci.features && stub_runtime 'echo runc version 1.2.9' "$features"
	flips oci.min-version "stub_runtime 'echo runc version 1.0.3' '$features'" "stub_runtime 'echo runc version 1.2.9' '$features'"
}
case_oci_advisory() {
	on_host -c "$dir/stub.conf" oci && stub_runtime 'echo runc version 1.2.9' "$features"
	flips oci.advisory "stub_runtime 'echo runc version 1.1.9' '$features'" "stub_runtime 'echo runc version 1.2.9' '$features'"
}
case_oci_features() {
	on_host -c "$dir/stub.conf" oci && stub_runtime 'echo runc version 1.2.9' "$features"
	flips oci.features "stub_runtime 'echo runc version 1.2.9' 'exit 1'" "stub_runtime 'echo runc version 1.2.9' '$features'"
}
# feature ID SED-EXPRESSION: the runtime says something else of itself.
feature() {
	on_host -c "$dir/stub.conf" oci && stub_runtime 'echo runc version 1.2.9' "$features"
	flips "$1" "with_file '$dir/features' '$2'" "cp -p '$dir/saved' '$dir/features'"
}
case_oci_spec() { feature oci.spec 's/1.2.0/1.0.1-dev/' && feature oci.spec 's/1.0.0/1.1.0/'; }
case_oci_cgroup() {
	feature oci.cgroup 's/"v\([12]\)":true/"v\1":false/g' || return 1
	# shellcheck disable=SC2016 # the script expands it
	printf '#!/bin/sh\nmount -t tmpfs tmpfs /var/lib && mkdir /var/lib/kubelet &&\necho "cgroupDriver: systemd" >/var/lib/kubelet/config.yaml && exec "$@"\n' \
		>"$dir/with_kubelet" && chmod 0755 "$dir/with_kubelet"
	on_host -c "$dir/stub.conf" oci && prefix="unshare -m $dir/with_kubelet"
	flips oci.cgroup "with_file '$dir/features' 's/\"systemd\":true/\"systemd\":false/'" "cp -p '$dir/saved' '$dir/features'"
}
case_oci_seccomp() { feature oci.seccomp 's/"seccomp":{"enabled":true/"seccomp":{"enabled":false/' && feature oci.seccomp 's/,"SCMP_ACT_ALLOW"//'; }
case_oci_mounts() { feature oci.mounts 's/"rslave",//' && feature oci.mounts 's/"rro",//' && feature oci.mounts 's/"idmap":{"enabled":true/"idmap":{"enabled":false/'; }
case_oci_hooks() { feature oci.hooks 's/,"poststop"//'; }
stub_wrapper() { # COMMAND AT CREATE: otherwise a real runtime
	# shellcheck disable=SC2016 # the stub expands it
	printf '#!/bin/sh\ncase " $* " in *" create "*) %s ;; esac\nexec %s "$@"\n' "$1" "$(command -v crun || command -v runc)" >"$dir/stub"
	chmod 0755 "$dir/stub"
	printf '[runtime stub]\npath = %s\n' "$dir/stub" >"$dir/stub.conf"
}
case_oci_smoke() {
	on_host -c "$dir/stub.conf" oci.path oci.smoke && stub_wrapper :
	flips oci.smoke "stub_wrapper 'exit 3'" "stub_wrapper :" || return 1
	flips oci.smoke "stub_wrapper 'setsid sleep 4321 & sleep 4321'" "stub_wrapper :" || return 1
	! pgrep -f 'sleep 4321' && [ -z "$(find /sys/fs/cgroup "$dir/host" -name '*check-*')" ]
}
stub_plugin() { # COMMAND
	mkdir -p "$dir/plugins" "$dir/net.d" && printf '#!/bin/sh\n%s\n' "$1" >"$dir/plugins/stub" && chmod 0755 "$dir/plugins/stub"
	echo '{"cniVersion":"1.0.0","name":"stub","plugins":[{"type":"stub"}]}' >"$dir/net.d/1.conflist"
	printf '[cni]\nconf_dir = %s\nbin_dirs = %s\n' "$dir/net.d" "$dir/plugins" >"$dir/stub.conf"
}
# shellcheck disable=SC2016 # the stub expands it
plugin_speaks='[ $CNI_COMMAND = VERSION ] && grep -q cniVersion && echo '"'"'{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'"'"
case_cni_version() {
	local mend what
	on_host -c "$dir/stub.conf" cni.conf cni.plugins cni.version && stub_plugin "$plugin_speaks"
	mend='stub_plugin "$plugin_speaks"'
	for what in 'exit 1' 'echo hello' 'sleep 60' "echo '{\"supportedVersions\":[\"0.4.0\"]}'"; do
		flips cni.version 'stub_plugin "$what"' "$mend" || return
	done
}
case_cni_netns() {
	on_host cni && mount -t tmpfs tmpfs "$dir/hoststate" && mount --make-shared "$dir/hoststate"
	flips cni.netns "prefix='strace -f -qq -o /dev/null -e inject=mount:error=EPERM'" "prefix=" &&
		flips cni.netns "mount --make-private '$dir/hoststate'" "mount --make-shared '$dir/hoststate'"
	local rc=$?
	umount "$dir/hoststate"
	return $rc
}
case_net_listen() { on_host net state && flips net.listen "touch '$dir/hoststate/coracle.sock'" "rm '$dir/hoststate/coracle.sock'"; }

# shellcheck source=tests/integration/check/daemon.sh
. tests/integration/check/daemon.sh

# --- beyond the table

hangs_and_floods_are_cut_off_and_nobody_elses_failure() {
	on_host -c "$dir/stub.conf" oci && stub_runtime 'echo runc version 1.2.9' 'sleep 60'
	local start=$SECONDS before after
	before=$(statuses)
	[ $((SECONDS - start)) -le 8 ] && grep -q '^oci.features 2$' <<<"$before" && [ "$(grep -c ' 2$' <<<"$before")" -eq 1 ] || return 1
	grep -q 'does not end within 5 seconds' "$dir/json" || return 1
	stub_runtime 'echo runc version 1.2.9' 'yes'
	after=$(statuses)
	grep -q '^oci.features 2$' <<<"$after" && grep -q 'prints more than' "$dir/json"
}

what_a_runtime_does_not_tell_is_unknown() {
	on_host -c "$dir/stub.conf" oci && stub_runtime 'echo youki version 0.3.3' 'echo {}'
	! statuses | grep -v ' 0$' || return 1
	stub_runtime 'echo youki version 0.3.3' 'exit 1' # which oci.features complains of
	[ "$(statuses | grep -v ' 0$')" = 'oci.features 1' ]
}

a_container_is_started_only_when_asked_for() {
	on_host -c "$dir/stub.conf" && stub_wrapper 'exit 3'
	# shellcheck disable=SC2086 # words
	{
		grep smoke <<<"$("$coracle" check $args oci)" && return 1
		grep -q '^.FAIL. oci.smoke' <<<"$("$coracle" check $args -v oci)" &&
			grep -q '^.FAIL. oci.smoke .*create: exit status 3' <<<"$("$coracle" check $args oci.smoke)"
	}
}

exit_status_and_options_are_what_the_manual_says() {
	local out
	on_sysroot
	# shellcheck disable=SC2086
	"$coracle" check $args -q >"$dir/out" && [ ! -s "$dir/out" ] || return 1
	echo 'level = loud' >>"$f/$conf"
	# shellcheck disable=SC2086
	"$coracle" check $args -q | grep -q "config.value .*loud.*:3)" || return 1
	! "$coracle" check --sysroot "$f" --strict -q >/dev/null || return 1
	"$coracle" check -t -c "$f/$conf" 2>"$dir/out" || return 1 # not what keeps the daemon from starting
	grep -q "^$f/$conf:3: warning: .* \[config.value\]$" "$dir/out" || return 1
	printf '[daemon]\nroot = relative\n' >>"$f/$conf"
	! "$coracle" check -t -q -c "$f/$conf" 2>"$dir/out" || return 1
	grep -q "^$f/$conf:5: error: .* \[config.value\]$" "$dir/out" || return 1
	"$coracle" check --sysroot "$f" -q --ignore=config.value >/dev/null || return 1
	"$coracle" check --ignore=no.such 2>/dev/null
	[ $? -eq 2 ] || return 1
	"$coracle" check no.such 2>/dev/null
	[ $? -eq 2 ] || return 1
	"$coracle" check --list >/dev/full 2>/dev/null
	[ $? -eq 2 ] || return 1
	out=$("$coracle" check --sysroot "$f" --print-config)
	grep -q "^level = info # .*$conf:2$" <<<"$out" || return 1
	[ -z "$(find "$dir" /var/lib -maxdepth 3 -name '.check-*')" ]
}

without_rights_nothing_fails() {
	chmod 0755 "$dir"
	cp "$coracle" "$dir/coracle"
	on_host storage cgroup state net fsck live && start_daemon
	# shellcheck disable=SC2086
	setpriv --reuid=65534 --regid=65534 --clear-groups "$dir/coracle" check $args -v >"$dir/out"
	stop_daemon
	! grep -E 'FAIL|warn\] (state|net|fsck|live)' "$dir/out"
}

# One line per rule that containerd applies: ID STATUS TEXT, then a configuration of version 2 or (v3) 3 that breaks it.
# Alone: nothing else complains, and without the line nothing does.
containerds_rules_are_applied_one_by_one() {
	local id status text line table version bad=0
	while IFS='|' read -r id status text line; do
		version=2 table='plugins."io.containerd.grpc.v1.cri"'
		case $line in
		v3r\ *) version=3 table='plugins."io.containerd.cri.v1.runtime"' line=${line#v3r } ;;
		v3i\ *) version=3 table='plugins."io.containerd.cri.v1.images"' line=${line#v3i } ;;
		esac
		[ -n "$id" ] || continue
		# shellcheck disable=SC2059 # \n and the table's name
		printf "version = $version\n[$table]\n$line\n" >"$f/$toml"
		case $text in
		*4.11*) echo 4.10.0 >"$f/proc/sys/kernel/osrelease" ;;
		*cgroup*) mv "$f/sys/fs/cgroup/cgroup.controllers" "$dir/saved.c" ;;
		*nri-v010*) mkdir "$f/etc/nri" && touch "$f/etc/nri/conf.json" ;;
		esac
		"$coracle" check containerd --sysroot "$f" -v >"$dir/out"
		echo 6.12.1 >"$f/proc/sys/kernel/osrelease"
		[ ! -e "$dir/saved.c" ] || mv "$dir/saved.c" "$f/sys/fs/cgroup/cgroup.controllers"
		rm -rf "$f/etc/nri"
		if ! grep -F "[$status] containerd.$id " "$dir/out" | grep -qF -- "$text" ||
			{ grep '^.FAIL\|^.warn' | grep -v "^.$status. containerd.$id "; } <"$dir/out"; then
			echo "$line: not told: [$status] containerd.$id $text"
			cat "$dir/out"
			bad=1
		fi
	done <<'END'
server|FAIL|"1d" is no duration|stream_idle_timeout = "1d"
server| ok ||stream_idle_timeout = "-1.5h"
server| ok ||stream_idle_timeout = "3μs"
server|FAIL|disable_tcp_service: no boolean|disable_tcp_service = "yes"
server|FAIL|has a certificate, but no key|enable_tls_streaming = true\nx509_key_pair_streaming.tls_cert_file = "/c"
server|FAIL|has a key, but no certificate|enable_tls_streaming = true\nx509_key_pair_streaming.tls_key_file = "/c"
server|FAIL|is a certificate, but streaming with TLS is off|x509_key_pair_streaming.tls_cert_file = "/c"
server|FAIL|is a key, but streaming with TLS is off|x509_key_pair_streaming.tls_key_file = "/c"
server|FAIL|/c: No such file|enable_tls_streaming = true\nx509_key_pair_streaming = { tls_cert_file = "/c", tls_key_file = "/proc/filesystems" }
server|FAIL|no pair|enable_tls_streaming = true\nx509_key_pair_streaming = { tls_cert_file = "/proc/filesystems", tls_key_file = "/proc/filesystems" }
server| ok ||enable_tls_streaming = true
runtime|FAIL|default_runtime_name: empty|containerd.default_runtime_name = ""
runtime|FAIL|no runtime kata|containerd.default_runtime_name = "kata"
runtime| ok ||containerd.default_runtime_name = "kata"\ncontainerd.runtimes.kata.runtime_type = "x"
runtime|FAIL|set as well|v3r cni = { bin_dir = "/x", bin_dirs = ["/y"] }\n[plugins."io.containerd.cri.v1.images"]\nignore_deprecation_warnings = ["io.containerd.deprecation/cri-cni-bin-dir"]
runtime| ok ||v3r cni = { bin_dir = "/x", bin_dirs = ["/opt/cni/bin"] }\nignore_deprecation_warnings = ["io.containerd.deprecation/cri-cni-bin-dir"]
runtime|FAIL|needs cgroup v2|v3r containerd.runtimes.a.cgroup_writable = true
runtime|FAIL|all devices are allowed|containerd.runtimes.a.privileged_without_host_devices_all_devices_allowed = true
runtime|FAIL|neither fifo nor streaming|containerd.runtimes.a.io_type = "x"
runtime|FAIL|"x" is no duration|drain_exec_sync_io_timeout = "x"
runtime|FAIL|"10" is no duration|v3r stats_collect_period = "10"
runtime| ok ||stats_collect_period = 10
runtime|FAIL|"1y" is no duration|v3r stats_retention_period = "1y"
runtime|FAIL|ports: needs Linux 4.11|enable_unprivileged_ports = true\nenable_unprivileged_icmp = false
runtime|FAIL|icmp: needs Linux 4.11 or newer; it is on by default|v3r enable_unprivileged_ports = false
runtime| ok |settings|v3r enable_unprivileged_ports = false\nenable_unprivileged_icmp = false
runtime|FAIL|exclude each other|containerd.untrusted_workload_runtime.runtime_type = "x"\ncontainerd.runtimes.untrusted.runtime_type = "x"
runtime| ok ||containerd.untrusted_workload_runtime.runtime_type = ""\ncontainerd.runtimes.untrusted.runtime_type = "x"
runtime|warn|default_runtime: has a type|containerd.default_runtime.runtime_type = "x"
runtime|FAIL|systemd_cgroup: only for a default runtime|systemd_cgroup = true
runtime| ok ||systemd_cgroup = true\ncontainerd.runtimes.runc.runtime_type = "io.containerd.runtime.v1.linux"
runtime| ok ||v3r systemd_cgroup = true
runtime|FAIL|no_pivot: only for a default runtime|containerd.no_pivot = true
runtime|FAIL|runtime_engine is for the type|containerd.runtimes.a.runtime_engine = "/x"
runtime|FAIL|runtime_root is for the type|containerd.runtimes.a.runtime_root = "/x"
runtime| ok ||containerd.runtimes.a = { runtime_root = "/x", runtime_type = "io.containerd.runtime.v1.linux" }
registry|FAIL|mirrors together with config_path|v3i registry = { config_path = "/x", mirrors.x.endpoint = [] }\n[plugins."io.containerd.cri.v1.runtime"]\nignore_deprecation_warnings = ["io.containerd.deprecation/cri-registry-mirrors"]
registry|FAIL|tls together with config_path|registry = { config_path = "/x", configs.x.tls.ca_file = "/x" }\nignore_deprecation_warnings = ["io.containerd.deprecation/cri-registry-configs"]
registry|FAIL|is a URL|registry.auths.x.auth = "a"\nignore_deprecation_warnings = ["io.containerd.deprecation/cri-registry-auths"]
registry|FAIL|"5" is no duration|image_pull_progress_timeout = "5"
registry| ok |transfer service because of containerd/disable_snapshot_annotations containerd/discard_unpacked_layers|containerd = { discard_unpacked_layers = true, disable_snapshot_annotations = false }
registry| ok |because of disable_snapshot_annotations discard_unpacked_layers|v3i discard_unpacked_layers = true\ndisable_snapshot_annotations = false
registry| ok |because of image_pull_with_sync_fs max_concurrent_downloads|v3i image_pull_with_sync_fs = true\nmax_concurrent_downloads = 4
registry| ok |are accepted|v3i image_pull_with_sync_fs = false\nmax_concurrent_downloads = 3
deprecated|warn|/cri-registry-mirrors)|v3i registry.mirrors.x.endpoint = []
deprecated|warn|/cri-registry-configs)|v3i registry.configs.x.auth.username = "a"
deprecated|warn|/cri-registry-auths)|v3i registry.auths."https://x".auth = "a"
deprecated|warn|/cri-cni-bin-dir)|cni.bin_dir = "/x"
deprecated|warn|/enable-cdi)|v3r enable_cdi = false
deprecated| ok ||v3r enable_cdi = false\nignore_deprecation_warnings = ["io.containerd.deprecation/enable-cdi"]
deprecated|warn|/tracing-service-config)|[plugins."io.containerd.internal.v1.tracing"]\nsampling_ratio = 0.5
deprecated|warn|/tracing-service-config)|[plugins."io.containerd.internal.v1.tracing"]\nservice_name = "x"
deprecated|warn|/tracing-processor-config)|[plugins."io.containerd.tracing.processor.v1.otlp"]\ninsecure = true
deprecated|warn|/tracing-processor-config)|[plugins."io.containerd.tracing.processor.v1.otlp"]\nendpoint = "x"
deprecated| ok ||[plugins."io.containerd.tracing.processor.v1.otlp"]\nendpoint = ""
deprecated|warn|/runc-options-task-api-address)|containerd.runtimes.a.options.TaskApiAddress = "x"
deprecated|warn|/runc-options-task-api-version)|containerd.runtimes.a.options.TaskApiVersion = 3
deprecated|warn|/nri-v010-plugin)|
END
	return $bad
}

imports_of_containerd_are_merged_and_loops_end() {
	mkdir "$f/etc/containerd/conf.d"
	printf 'version = 3\nimports = ["../containerd/./conf.d/*.toml"]\n[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "late"\n' >"$f/$toml"
	printf 'version = 3\nimports = ["../config.toml", "./1.toml"]\n[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.late]\nio_type = "x"\n' >"$f/etc/containerd/conf.d/1.toml"
	"$coracle" check containerd --sysroot "$f" -v >"$dir/out"
	grep -q 'containerd.syntax .* and 1 imports' "$dir/out" && grep -q 'containerd.runtime .*io_type.*/conf.d/1.toml:4' "$dir/out" && [ "$(grep -c FAIL "$dir/out")" -eq 1 ]
}

configurations_from_the_field_break_no_rule_of_containerd() {
	local file id bad=0
	for file in tests/corpus/configs/*.toml; do
		"$coracle" check containerd --containerd="$PWD/$file" -q >"$dir/out" && continue
		case ${file##*/} in
		bottlerocket-thar-v1.toml) id=containerd.runtime ;; # for 1.2, where the default runtime was another
		microk8s-v2.toml) id=containerd.runtime ;; # a template: the default runtime is ${RUNTIME}
		minikube-kicbase-imports-v2.toml) id=containerd.imports ;; # of another machine
		*) id=none ;;
		esac
		if grep FAIL "$dir/out" | grep -v "^.FAIL. $id "; then
			echo "$file"
			bad=1
		fi
	done
	return $bad
}

run() { # NAME COMMAND
	local log="$dir/log"
	f=$dir/system
	rm -rf "$f" && make_system "$f"
	mkdir -p "$dir/host" "$dir/hoststate" && chmod 0711 "$dir/host" "$dir/hoststate"
	on_sysroot
	"$2" >"$log" 2>&1 </dev/null
	case $? in
	0) passed=$((passed + 1)) ;;
	77)
		skipped=$((skipped + 1))
		echo "skipped: check/$1: $(tail -n 1 "$log")"
		;;
	*)
		failed=$((failed + 1))
		echo "FAIL check/$1"
		tail -n 20 "$log"
		;;
	esac
}
counts() { echo "$passed passed, $failed failed, $skipped skipped"; }

everything() {
	"$coracle" check --list | awk '{ print $1 }'
	echo hangs_and_floods_are_cut_off_and_nobody_elses_failure what_a_runtime_does_not_tell_is_unknown \
		a_container_is_started_only_when_asked_for exit_status_and_options_are_what_the_manual_says \
		a_full_disk_and_an_unwritable_root_are_named a_busy_daemon_has_no_faults looking_changes_nothing \
		without_rights_nothing_fails containerds_rules_are_applied_one_by_one imports_of_containerd_are_merged_and_loops_end \
		configurations_from_the_field_break_no_rule_of_containerd | tr ' ' '\n'
}

# Without words everything runs, in a few processes at a time: most of it is waiting.
if [ $# -eq 0 ]; then
	everything | awk -v groups=4 '{ group[NR % groups] = group[NR % groups] " " $0 } END { for (i in group) print group[i] }' |
		xargs -P 4 -I WORDS sh -c '"$0" WORDS' "$0" >"$dir/all"
	grep -v ' passed, ' "$dir/all"
	awk '/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { runs++; passed += $1; failed += $3; skipped += $5 }
		END { print passed + 0 " passed, " failed + 0 " failed, " skipped + 0 " skipped"; exit failed || runs != 4 }' "$dir/all"
	exit
fi
make_store >"$dir/log" 2>&1 || { cat "$dir/log"; failed=1 && counts; exit 1; }
for word; do
	name=case_${word//[.-]/_}
	declare -F "$name" >/dev/null || name=$word
	if declare -F "$name" >/dev/null; then
		run "$word" "$name"
	else
		failed=$((failed + 1))
		echo "FAIL check/$word has no case"
	fi
done
counts
[ "$failed" -eq 0 ]
