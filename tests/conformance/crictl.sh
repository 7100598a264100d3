#!/bin/bash
# The life of a pod in the hands of an administrator. Needs CRICTL, ENDPOINT, IMAGE (to pull), WORK.
set -euxo pipefail
cri() {
	"$CRICTL" --config /dev/null -r "$ENDPOINT" -i "$ENDPOINT" -t 60s "$@"
}
mkdir -p "$WORK/logs"
cat >"$WORK/pod.json" <<'TEXT'
{ "metadata": { "name": "p", "namespace": "n", "uid": "u", "attempt": 1 }, "hostname": "boat",
  "log_directory": "WORK/logs", "labels": { "app": "x" },
  "dns_config": { "servers": ["192.0.2.1"], "searches": ["a.test"], "options": ["ndots:3"] },
  "linux": { "security_context": { "namespace_options": { "pid": 1 } } } }
TEXT
sed -i "s|WORK|$WORK|" "$WORK/pod.json"
cat >"$WORK/container.json" <<TEXT
{ "metadata": { "name": "c" }, "image": { "image": "$IMAGE" }, "log_path": "c.log", "labels": { "app": "x" },
  "command": ["sh", "-c", "echo started; cat /etc/resolv.conf; hostname; trap 'exit 3' TERM; while :; do sleep 0.1; done"] }
TEXT
cri version | grep -q 'RuntimeName:  coracle'
cri info | grep -q '"RuntimeReady"'
cri pull "$IMAGE"
cri images | grep -q busybox
cri inspecti "$IMAGE" | grep -q imageSpec
pod=$(cri runp "$WORK/pod.json")
cri pods --label app=x -q | grep -qx "$pod"
address=$(cri inspectp "$pod" | sed -n 's/.*"ip": "\([0-9.]*\)".*/\1/p' | head -n 1)
[ -n "$address" ]
container=$(cri create "$pod" "$WORK/container.json" "$WORK/pod.json")
cri ps -a --state created -q | grep -qx "$container"
cri start "$container"
for _ in $(seq 50); do
	cri logs "$container" | grep -q boat && break
	sleep 0.1
done
cri logs "$container" >"$WORK/c.out"
grep -qx started "$WORK/c.out"
grep -qx 'search a.test' "$WORK/c.out"
grep -qx 'nameserver 192.0.2.1' "$WORK/c.out"
grep -qx 'options ndots:3' "$WORK/c.out"
grep -qx boat "$WORK/c.out"
cri inspect "$container" | grep -q '"state": "CONTAINER_RUNNING"'
[ "$(cri exec -s "$container" echo hi)" = hi ]
status=0
cri exec -s "$container" sh -c 'exit 9' || status=$?
[ "$status" -ne 0 ]
cri stats "$container" | grep -q "${container:0:13}"
cri stop "$container"
cri inspect "$container" | grep -q '"exitCode": 3'
cri rm "$container"
[ -z "$(cri ps -a -q)" ]
cri stopp "$pod"
cri pods --state notready -q | grep -qx "$pod"
cri rmp "$pod"
[ -z "$(cri pods -q)" ]
cri rmi "$IMAGE"
! cri images | grep -q busybox
