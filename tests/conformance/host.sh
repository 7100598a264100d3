#!/bin/bash
# crun refuses a hybrid cgroup hierarchy while the version 2 tree has a controller; the only one that stays there on such
# machines is hugetlb, and mounting it as version 1 takes it away.
set -eu
[ -e /sys/fs/cgroup/unified/cgroup.controllers ] || exit 0
grep -qw hugetlb /sys/fs/cgroup/unified/cgroup.controllers || exit 0
mkdir -p /sys/fs/cgroup/hugetlb
mountpoint -q /sys/fs/cgroup/hugetlb || mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb
