#!/bin/bash
# What a daemon without pods has left: mounts, processes, monitors, files. usage: leftovers.sh [--remove] ROOT STATE
set -u
remove=
[ "${1:-}" != --remove ] || { remove=1; shift; }
root=$1 state=$2
found=0

report() {
	[ -n "$remove" ] || echo "left over: $*"
	found=1
}

while read -r target; do
	report "mount $target"
	[ -z "$remove" ] || umount -l "$target"
done < <(awk -v a="$root/" -v b="$state/" 'index($5, a) == 1 || index($5, b) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
for lock in "$state"/monitors/*.lock; do
	[ -e "$lock" ] || continue
	report "monitor $lock"
	[ -z "$remove" ] || fuser -k "$lock" >/dev/null 2>&1
done
for dir in "$state"/{bundles,ns,ops,sandboxes,runtime} "$root"/{snapshots,containers,staging,spool/new,spool/tmp}; do
	[ -d "$dir" ] || continue
	while read -r name; do
		report "$name"
	done < <(find "$dir" -mindepth 1 -maxdepth 1)
done
while read -r address; do
	report "address $address"
done < <(find "$state"/net/ipam -type f -name '[0-9]*.*' 2>/dev/null)
if [ -n "$remove" ]; then
	bridge=$(grep -ho '"cora-[0-9a-f]*"' "$state/net/builtin.json" 2>/dev/null | head -n 1 | tr -d '"')
	[ -z "$bridge" ] || ip link delete "$bridge" 2>/dev/null
	exit 0
fi
exit $found
