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
cri version | grep >/dev/null 'RuntimeName:  coracle'
cri info | grep >/dev/null '"RuntimeReady"'
cri pull "$IMAGE"
cri images | grep >/dev/null busybox
cri inspecti "$IMAGE" | grep >/dev/null imageSpec
pod=$(cri runp "$WORK/pod.json")
cri pods --label app=x -q | grep -x >/dev/null "$pod"
address=$(cri inspectp "$pod" | sed -n 's/.*"ip": "\([0-9.]*\)".*/\1/p' | head -n 1)
[ -n "$address" ]
container=$(cri create "$pod" "$WORK/container.json" "$WORK/pod.json")
cri ps -a --state created -q | grep -x >/dev/null "$container"
cri start "$container"
for _ in $(seq 50); do
	cri logs "$container" | grep >/dev/null boat && break
	sleep 0.1
done
cri logs "$container" >"$WORK/c.out"
grep -x >/dev/null started "$WORK/c.out"
grep -x >/dev/null 'search a.test' "$WORK/c.out"
grep -x >/dev/null 'nameserver 192.0.2.1' "$WORK/c.out"
grep -x >/dev/null 'options ndots:3' "$WORK/c.out"
grep -x >/dev/null boat "$WORK/c.out"
cri inspect "$container" | grep >/dev/null '"state": "CONTAINER_RUNNING"'
[ "$(cri exec -s "$container" echo hi)" = hi ]
status=0
cri exec -s "$container" sh -c 'exit 9' || status=$?
[ "$status" -ne 0 ]
cri stats "$container" | grep >/dev/null "${container:0:13}"
cri stop --timeout 5 "$container"
cri inspect "$container" | grep >/dev/null '"exitCode": 3'
cri rm "$container"
[ -z "$(cri ps -a -q)" ]
cri stopp "$pod"
cri pods --state notready -q | grep -x >/dev/null "$pod"
cri rmp "$pod"
[ -z "$(cri pods -q)" ]
cri rmi "$IMAGE"
! cri images | grep >/dev/null busybox
