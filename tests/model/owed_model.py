#!/usr/bin/python3
# tests/model/owed_model.py
#
# Who is owed which notification, small enough to try every interleaving: NRI plugins that connect, hang, veto, leave and come
# back while pods live and the daemon dies. A rule changes here first and in core/life/outbox, core/state and nri second.
# scripts/model.sh runs it.
"""Explicit-state model check of coracle's owed NRI notifications (docs/architecture.md).
Modelled: one pod (object 0), 1-2 containers; CRI ops as step machines; journal records appended, released in order; kill of the
daemon anywhere (any prefix of the unreleased records survives); power cut (released records since the last synced-class one may
go too); recovery; PLUGIN_SEEN/ACKED/FORGOTTEN; per connection a FIFO, one call in flight; cursor and since per name; chains;
tombstones; hold expiry; the cap. Plugins connect, hear and answer in separate steps, are slow, time out, veto, close anywhere,
come back, connect twice. Sending is eager; a CRI op begins only when no record is in flight; the request's order is index order.
Promises, the numbers in the Bad(...) texts: 1 every known name hears each exit; 2 repeats only after a kill or a lost connection;
3 no gap, no duplicate around a registration; 4 order; 5 only between Synchronize and close; 6 tombstones end; 7 CRI never waits for
the absent; 8 pod stop and remove reach everyone. 'Eventually': with no more failures every reachable state drains (fixed
priority of ordinary steps) to a state that owes nothing; drain edges are graph edges, so all drained states must be good and no
drain may loop. Drains F (absent names never return, holds end) and S (plugins never answer: CRI ops still end) leave the graph.
READINGS: 'first wording of the design | the rule it has now'. MUTANTS break the corrected protocol. Bounds: SCENARIOS (failures per run).
States are told apart by 64-bit hashes. Usage (exit 1 with the shortest counterexample on a violation):
  owed_model.py                    the rules as built         --first   its first wording: must fail
  owed_model.py --table            the rules, each reading alone in its first wording, each mutant (< 10 CPU min)
  options: --as-written a,b  --mutant NAME  --only SCENARIO,..  --quiet"""
import argparse, collections, sys, time

NONE, CREATING, CREATED, STARTING, RUNNING, EXITED, REMOVING, TOMB, GONE = range(9)    # pod: CREATED=READY RUNNING=STOPPING
SYNC, CREATE, POSTC, START, POSTS, STOP, REMOVE = range(7)                            # calls; a pod's CREATE is RunPodSandbox
CALL = 'Synchronize Create PostCreate Start PostStart Stop Remove'.split(); SENT, HEARD, ACKING, ALL = 0, 1, 2, 255
READINGS = {
 'stopseq': ('slow', "sandbox stop_seq = STOPPING, the first record of StopPodSandbox | STOPPING only after the containers' EXITED"),
 'created': ('slow', 'a CREATED container goes to REMOVING without EXITED | StopPod and Remove append EXITED first'),
 'firstcall': ('pair', 'in-flight create listed once its first gate call started | once its chain started (members taken)'),
 'undomask': ('one', 'mask of plugins called lives in the op | after a kill: mask = every known name, CREATING listed'),
 'maskrace': ('race', 'a create whose REMOVING is appended is listed to all | only to names in its mask'),
 'skip': ('slow', 'a timed-out call is given up and the next one sent | it stays in flight until answer or close'),
 'unsent': ('busy', 'a create whose deadline passes unsent is skipped | it is sent in its turn, its answer ignored'),
 'tomb': ('one', 'tombstone dropped when every cursor has passed remove_seq | when no name is owed it'),
 'repeat': ('slow', 'exactly once while the daemon lives | also: one repeat per connection lost between call and ack'),
 'podlist': ('one', 'Synchronize lists stopped pods to all  | only to names that are owed the stop'),
 'cap': ('cap', 'cap: cursor passes the oldest notification | cursor and since pass it'),
 'twice': ('twice', 'cursor follows the newer connection | an answer from either moves it'),
 'seen': ('power', 'PLUGIN_SEEN is written class | synced class for a new name')}
MUTANTS = {
 'cursor-head': ('slow', "registration sets a known name's cursor to the head"), 'tomb-release': ('slow', 'tombstone dropped at release'),
 'ack-first': ('slow', 'PLUGIN_ACKED appended when the call leaves'), 'no-inflight': ('pair', 'cut ignores in-flight creates'),
 'owed-bit': ('pair', 'one owed bit per object instead of a cursor per plugin'), 'unlisted': ('slow', 'owed exits not listed in Synchronize'),
 'next-early': ('slow', "next call leaves before its predecessor's ack is released"), 'by-name': ('late', 'chain members are names, not connections'),
 'keep-fifo': ('slow', 'the FIFO survives a close (post_* included)'), 'overtake': ('slow', "a request overtakes its own pod's notifications")}
PHASE = dict(CREATING=CREATING, CREATED=CREATED, STARTING=STARTING, RUNNING=RUNNING, EXITED=EXITED, STOPPING=RUNNING, STOPPED=EXITED, REMOVING=REMOVING, REMOVED=TOMB)
class Bad(Exception): pass
def put(t, i, v): return t[:i] + (v,) + t[i + 1:]
class S:
    __slots__ = ('up nseq bud ob proc pend op kn cn ff fl late tmo obs alw must top dur tail').split()
    def copy(s):
        n = S.__new__(S); [setattr(n, f, getattr(s, f)) for f in S.__slots__]; return n
    def key(s): return hash(tuple([getattr(s, f) for f in S.__slots__]))

BUD = 'kill close tmo forget cap veto cut'.split()
class M:
    def __init__(m, sc, w, mut):
        m.w, m.mut, m.asyn, m.pod, m.drains = w, mut, sc.get('asyn', 1), sc.get('pod', 1), sc.get('drains', 'FS')
        m.names, m.slots, m.nobj = len(sc['names']), sc.get('slots', list(range(len(sc['names'])))), 1 + sc.get('ctr', 1)
        m.kinds, m.two, m.N, m.cutting = sc['names'], len(sc.get('slots', [])) > len(sc['names']), range(len(sc['names'])), 'cut' in sc
        m.K, m.O = range(len(m.slots)), range(m.nobj); s = S(); k, o = len(m.slots), m.nobj; s.up, s.nseq, s.bud, s.pend, s.op = 1, 0, tuple(sc.get(b, 0) for b in BUD), (), (None,) * o
        s.ob = (((CREATED if sc.get('ready') else NONE), 0, 0, 0),) + ((NONE, 0, 0, 0),) * (o - 1)
        s.proc, s.must, s.cn, s.tmo = (0,) * o, (0,) * o, (0,) * k, (0,) * k; s.kn = tuple(None if x == 'new' else (0, 0) for x in m.kinds)
        s.ff, s.late, s.fl, s.alw = ((),) * k, ((),) * k, (None,) * k, (None,) * k
        s.obs, s.top, s.tail = ((0,) * o,) * k, ((),) * m.names, (); s.dur = (s.ob, s.kn, 0, s.must) if m.cutting else None; m.init = s
    # ---- journal -----------------------------------------------------------------------------------------------------
    def add(m, s, kind, x, extra=None):
        if kind in ('ACKED', 'FORGOTTEN', 'CAP'): seq = extra[0] if kind != 'FORGOTTEN' else 0
        else: s.nseq += 1; seq = s.nseq
        s.pend += ((kind, x, seq, extra),)
    def owed(m, s, n):                                    # what lies behind n's cursor, in seq order
        if s.kn[n] is None: return ()
        since, cur = s.kn[n]; r = []
        for o in m.O:
            ph, x, rm, mask = s.ob[o]
            if x > since and mask >> n & 1:
                if x > cur and x != rm: r.append((x, STOP, o))
                if rm > cur: r.append((rm, REMOVE, o))
        return tuple((l, o, q) for q, l, o in sorted(r))
    def fold(m, s, rec):
        kind, x, q, e = rec
        if kind == 'SEEN': s.kn = put(s.kn, x, s.kn[x] or (q, q))
        elif kind == 'ACKED':
            for n in [n for n in (m.N if 'owed-bit' in m.mut else [x]) if s.kn[n]]: s.kn = put(s.kn, n, (s.kn[n][0], max(s.kn[n][1], q)))
        elif kind == 'FORGOTTEN': s.kn = put(s.kn, x, None); m.excuse(s, x, m.O)
        elif kind == 'CAP':
            if s.kn[x]: s.kn = put(s.kn, x, (s.kn[x][0] if 'cap' in m.w else q, q)); m.excuse(s, x, [o for o in m.O if 0 < s.ob[o][1] <= q])
        else:
            ph, xs, rs, mask = s.ob[x]
            ph = PHASE[kind]
            if kind == 'EXITED' and s.proc[x] == 2: raise Bad('1: wrong exit: the process lives')
            if kind in ('EXITED', 'STOPPING'): xs, mask = q, ALL; s.must = put(s.must, x, sum(1 << n for n in m.N if s.kn[n]))
            if kind == 'REMOVING': xs, mask = q, e
            if kind == 'REMOVED': rs = q; mask = mask if xs else ALL; xs = xs or q
            s.ob = put(s.ob, x, (ph, xs, rs, mask))
        for o in m.O:                                     # tombstones
            ph, xs, rs, mask = s.ob[o]
            past = all(k is None or k[1] >= rs for k in s.kn) if 'tomb' in m.w else not any(c[1] == o for n in m.N for c in m.owed(s, n))
            if ph == TOMB and (past or 'tomb-release' in m.mut):
                for n in [n for n in m.N if s.must[o] >> n & 1 and not any(s.obs[k][o] == REMOVE for k in m.K if m.slots[k] == n)]:
                    raise Bad('1: tombstone of object %d dropped, but name %d, known at its exit, has not heard all' % (o, n))
                s.ob, s.must = put(s.ob, o, (GONE, 0, 0, 0)), put(s.must, o, 0)
    def excuse(m, s, n, objs):                            # forgotten: nothing is promised to n about objs
        for o in objs:
            s.must = put(s.must, o, s.must[o] & ~(1 << n))
            s.obs = tuple(put(v, o, 0) if m.slots[k] == n else v for k, v in enumerate(s.obs))
    def release(m, s):
        rec, s.pend = s.pend[0], s.pend[1:]; kind, x, q, e = rec; new = kind == 'SEEN' and s.kn[x] is None; m.fold(s, rec)
        if m.cutting:
            s.tail += (rec,)
            if kind in ('CREATED', 'RUNNING', 'EXITED', 'STOPPED') or new and 'seen' not in m.w: s.dur, s.tail = (s.ob, s.kn, s.nseq, s.must), ()
        op = s.op[x] if kind not in ('SEEN', 'ACKED', 'FORGOTTEN', 'CAP') else None
        if kind == 'SEEN': m.cut(s, e, x) if s.cn[e] == 1 else None
        elif kind == 'ACKED':
            k = e[1]
            if k >= 0 and s.fl[k] and s.fl[k][3] == ACKING and s.fl[k][2] == q: s.fl = put(s.fl, k, None)
        elif kind in ('CREATING', 'STARTING'):
            s.op = put(s.op, x, (op[0], 1, (), 0))
            if kind == 'STARTING': s.proc = put(s.proc, x, 1)
        elif kind == 'STOPPING':
            if 'stopseq' not in m.w: m.push(s, STOP, x, q)
            s.op = put(s.op, x, ('stop', 1 if 'stopseq' in m.w else 3, (), 0))
        elif kind == 'REMOVING': m.push(s, STOP, x, q); m.add(s, 'REMOVED', x)
        elif kind not in ('FORGOTTEN', 'CAP'):
            if kind != 'STOPPED' and (x or kind != 'CREATED'): m.push(s, dict(CREATED=POSTC, RUNNING=POSTS, EXITED=STOP, REMOVED=REMOVE)[kind], x, q)
            s.op = put(s.op, x, None)
    def push(m, s, lvl, o, q):
        for k in m.K:
            if s.cn[k] >= 2:
                n = m.slots[k]
                if lvl < STOP or s.ob[o][3] >> n & 1 and s.kn[n] and s.ob[o][1] > s.kn[n][0]: s.ff = put(s.ff, k, s.ff[k] + ((lvl, o, q),))
    def cut(m, s, k, n):                                  # release of PLUGIN_SEEN: Synchronize snapshot, FIFO from the cursor
        if 'cursor-head' in m.mut: s.kn = put(s.kn, n, (s.kn[n][0], s.nseq))
        owed = m.owed(s, n); stops = [c[1] for c in owed if c[0] == STOP]; lst = []
        for o in m.O:
            ph, op = s.ob[o][0], s.op[o]; v = 0           # 1 in flight, 2 CREATED, 4 RUNNING/READY, 7 STOPPED, 5 stopped pod
            if ph == CREATING and 'no-inflight' not in m.mut and op and (op[1] == 3 or op[1] == 2 and (
                    'firstcall' not in m.w) or op[1] == 9 and 'undomask' not in m.w or op[1] == 4):
                v = 1; s.op = put(s.op, o, op[:3] + (op[3] | 1 << n,))
            elif ph == CREATING and op and op[1] == 5: v = 'maskrace' in m.w or op[3] >> n & 1   # REMOVING has left
            elif ph in (CREATED, STARTING): v = 2 if o else 4
            elif ph == RUNNING and o: v = 4
            elif o in stops: v = 0 if 'unlisted' in m.mut else 7
            elif o == 0 and ph in (RUNNING, EXITED) and 'podlist' in m.w: v = 5
            lst.append(v)
        s.fl, s.cn = put(s.fl, k, (SYNC, tuple(lst), 0, SENT)), put(s.cn, k, 2)
        keep = tuple(c for c in s.ff[k] if c[0] in (POSTC, POSTS)) if 'keep-fifo' in m.mut else (); s.ff = put(s.ff, k, keep + owed)
        if 'twice' in m.w: s.top = put(s.top, n, tuple(i for i in s.top[n] if i != k) + (k,))
    # ---- what a plugin observes ----
    def told(m, s, k, o): return max(s.obs[i][o] for i in m.K if m.slots[i] == m.slots[k])
    def hear(m, s, k, call):
        lvl, x = call[0], call[1]; ob, any_ = list(s.obs[k]), s.alw[k] == 'any'
        if s.cn[k] < 2 or lvl != SYNC and s.cn[k] != 3: raise Bad('5: %s outside Synchronize..close' % CALL[lvl])
        if lvl == SYNC:
            for o in m.O:
                v, c = x[o], ob[o]
                if v == 0 and m.two and 1 <= c <= STOP and m.told(s, k, o) >= STOP: ob[o] = REMOVE if s.ob[o][0] >= TOMB and (REMOVE, o) not in [c[:2] for c in s.ff[k]] else STOP  # the name heard it
                elif v == 0 and 1 <= c <= 4: raise Bad('3: gap: plugin %d knows object %d as live, Synchronize lacks it and no Stop came' % (k, o))
                if v in (1, 2, 4) and c >= STOP and not any_: raise Bad('4: object %d listed as live after Stop' % o)
                if v == 7 and c == REMOVE and not any_: raise Bad('4: object %d listed again after its Remove' % o)
                if v == 7 and c == STOP and not any_ and s.alw[k] != (STOP, o): raise Bad('2: owed again without a kill: object %d' % o)
                if v and o and not (x[0] or ob[0]): raise Bad('3: container %d listed without its pod' % o)
                if v == 7: ob[o] = 4 if c < STOP or any_ else c
                elif v: ob[o] = v if any_ else max(c, v)
        else:
            c = ob[x]
            if lvl >= STOP and c == lvl or any_ and c > lvl:
                if not any_ and s.alw[k] != (lvl, x): raise Bad('2: %s of object %d repeated to plugin %d beyond what the promise allows' % (CALL[lvl], x, k))
                s.alw = s.alw if any_ else put(s.alw, k, None)
            elif lvl == CREATE and c: raise Bad('3: duplicate: Create of object %d that plugin %d already has' % (x, k))
            elif lvl == REMOVE and c == 0 and m.told(s, k, x) >= STOP: pass
            elif lvl > CREATE and c == 0: raise Bad('3: %s to plugin %d of object %d that it neither saw created nor in Synchronize' % (CALL[lvl], k, x))
            elif lvl <= c: raise Bad('4: %s of object %d after %s' % (CALL[lvl], x, CALL[c]))
            elif lvl == REMOVE and c != STOP: raise Bad('4: Remove of object %d without Stop' % x)
            elif lvl in (START, POSTS) and c < POSTC: raise Bad('4: %s before PostCreate' % CALL[lvl])
            elif lvl == STOP and x and s.proc[x] >= 2 and c < POSTS: raise Bad('4: Stop of object %d before its PostStart' % x)
            if x == 0 and lvl >= STOP:
                if any(1 <= c <= 4 for c in ob[1:]): raise Bad('8: %sPodSandbox before the Stop of a container' % CALL[lvl])
            ob[x] = lvl
        s.obs = put(s.obs, k, tuple(ob))
    def free(m, s, k, o): return s.cn[k] == 3 and s.fl[k] is None and (not s.ff[k] or 'overtake' in m.mut)
    def settle(m, s):                                     # what the loop does at once
        again = True
        while again:
            again = False
            if s.pend and not m.asyn: m.release(s); again = True
            for o in m.O:
                op = s.op[o]
                if op and op[0] in ('new', 'start') and op[1] in (2, 3):
                    mem = op[2]
                    if not mem:
                        m.add(s, 'CREATED' if op[0] == 'new' else 'RUNNING', o); s.op = put(s.op, o, (op[0], 4, (), op[3]))
                        s.proc = put(s.proc, o, 2) if op[0] == 'start' else s.proc; again = True
                    elif m.free(s, mem[0], o):
                        lvl = CREATE if op[0] == 'new' else START; s.fl = put(s.fl, mem[0], (lvl, o, 0, SENT))
                        s.op = put(s.op, o, (op[0], 3, mem, op[3] | 1 << m.slots[mem[0]])); again = True
            for k in m.K:
                if s.cn[k] == 3 and s.fl[k] is None and s.ff[k]:
                    c = s.ff[k][0]; s.ff = put(s.ff, k, s.ff[k][1:]); s.fl = put(s.fl, k, c + (SENT,)); again = True
                    if 'ack-first' in m.mut and c[0] >= STOP: m.add(s, 'ACKED', m.slots[k], (c[2], -1, c))
        return s
    def close(m, s, k):
        c = s.fl[k]
        if c and c[3] == HEARD and c[0] >= STOP and 'repeat' not in m.w and s.alw[k] != 'any': s.alw = put(s.alw, k, c[:2])
        s.cn, s.fl, s.late, s.tmo = put(s.cn, k, 0), put(s.fl, k, None), put(s.late, k, ()), put(s.tmo, k, 0)
        if 'keep-fifo' not in m.mut: s.ff = put(s.ff, k, ())
        for o, op in enumerate(s.op):
            if op and k in op[2] and not ('by-name' in m.mut and op[2][0] != k): s.op = put(s.op, o, op[:2] + (tuple(i for i in op[2] if i != k), op[3]))
        n = m.slots[k]; s.top = put(s.top, n, tuple(i for i in s.top[n] if i != k))
    def answer(m, s, k, veto=False):
        lvl, x, q, _ = s.fl[k]; n = m.slots[k]; s.tmo = put(s.tmo, k, 0); s.fl = put(s.fl, k, None)
        if lvl == SYNC: s.cn = put(s.cn, k, 3)
        elif lvl in (CREATE, START) and q == 0: m.served(s, k, x, veto)
        elif lvl >= STOP and 'ack-first' not in m.mut:
            if q > s.kn[n][1] and ('twice' not in m.w or s.top[n][-1:] == (k,)):
                m.add(s, 'ACKED', n, (q, k, (lvl, x)))
                if 'next-early' not in m.mut: s.fl = put(s.fl, k, (lvl, x, q, ACKING))
    def served(m, s, k, o, veto=False):                   # a chain's head answered, or its deadline passed
        op = s.op[o]
        if not op or op[2][:1] != (k,): return
        if not veto: s.op = put(s.op, o, (op[0], 3, op[2][1:], op[3]))
        elif op[0] == 'new': s.op = put(s.op, o, ('new', 5, (), op[3])); m.add(s, 'REMOVING', o, op[3])
        else: s.op = put(s.op, o, ('start', 5, (), 0)); m.add(s, 'EXITED', o)
    def down(m, s):                                       # the daemon's memory goes
        k = len(m.slots); s.up, s.pend, s.op, s.cn, s.tmo = 0, (), (None,) * m.nobj, (0,) * k, (0,) * k; s.ff, s.late, s.fl, s.top = ((),) * k, ((),) * k, (None,) * k, ((),) * m.names
    def restart(m, s):
        s.up = 1
        for o, (ph, *_) in enumerate(s.ob):
            if ph == CREATING: s.op = put(s.op, o, ('new', 9, (), 0 if 'undomask' in m.w else ALL))
            elif ph == REMOVING: s.op = put(s.op, o, ('new', 6, (), 0)); m.add(s, 'REMOVED', o)
            elif ph == STARTING and o: s.op = put(s.op, o, ('start', 4, (), 0)); m.add(s, 'RUNNING' if s.proc[o] >= 2 else 'EXITED', o)
            elif ph == RUNNING and o == 0: s.op = put(s.op, 0, ('stop', 1 if 'stopseq' in m.w else 3, (), 0))
    def acts(m, s0, mode='C'):                        # yields (drain rank or None, label, state or None = costs a failure)
        out = []
        def do(rank, label, fn, b=None):
            if mode == 'S': rank = None if rank in (9, 10, 11, 40) or rank and rank >= 50 else 45 if b == 'tmo' else rank
            if mode == 'F' and b == 'forget': rank = 40
            if mode != 'C' and rank is None: return
            s = s0.copy()
            if b and mode == 'C':
                i = BUD.index(b)
                if not s.bud[i]: return
                s.bud = put(s.bud, i, s.bud[i] - 1)
            try: fn(s); out.append((rank, label, m.settle(s)))
            except Bad as e: out.append((rank, label, e))
        s = s0; busy = [o for o in m.O if s.op[o]]
        for o in m.O[1:]:
            if s.proc[o] == 2 and s.ob[o][0] <= RUNNING: do(50, 'container %d dies' % o, lambda n, o=o: setattr(n, 'proc', put(n.proc, o, 3)))
        if not s.up: do(0, 'daemon starts, recovers', m.restart); return out
        if s.pend: do(1, 'release %s %s' % s.pend[0][:2], m.release)
        inpend = lambda kind, x: any(r[0] == kind and r[1] == x for r in s.pend)
        for k in m.K:
            n, c = m.slots[k], s.fl[k]; others = any(s.cn[i] for i in m.K if m.slots[i] == n)
            if s.cn[k] == 0 and not any(r[0] == 'SEEN' and r[3] == k for r in s.pend):
                do(40 if s.kn[n] and not others and (mode == 'C' or m.kinds[n] == 'pre') else None, 'plugin %d connects' % k, lambda t, k=k, n=n: (setattr(t, 'cn', put(t.cn, k, 1)), m.add(t, 'SEEN', n, k)))
            if s.late[k]: do(9, 'plugin %d hears late %s' % (k, CALL[s.late[k][0][0]]), lambda t, k=k: (m.hear(t, k, t.late[k][0]), setattr(t, 'late', put(t.late, k, t.late[k][1:]))))
            if c:
                nm = '%s%s' % (CALL[c[0]], c[1] if c[0] else list(c[1]))
                if c[3] == SENT and not s.late[k]: do(10, 'plugin %d hears %s' % (k, nm), lambda t, k=k, c=c: (m.hear(t, k, c), setattr(t, 'fl', put(t.fl, k, c[:3] + (HEARD,)))))
                if c[3] == HEARD:
                    do(11, 'plugin %d answers %s' % (k, nm), lambda t, k=k: m.answer(t, k))
                    if c[0] in (CREATE, START) and c[2] == 0: do(None, 'plugin %d vetoes %s' % (k, nm), lambda t, k=k: m.answer(t, k, True), 'veto')
                if c[3] < ACKING and c[0] and ('skip' in m.w or c[0] in (CREATE, START) and c[2] == 0): do(None, 'deadline of %s at plugin %d' % (nm, k), lambda t, k=k: m.timeout(t, k), 'tmo')
            if s.cn[k]: do(None, 'plugin %d closes' % k, lambda t, k=k: m.close(t, k), 'close')
        for n in m.N:
            if s.kn[n] and m.kinds[n] != 'pre' and not any(s.cn[i] for i in m.K if m.slots[i] == n) and not inpend('FORGOTTEN', n) and not inpend('CAP', n):
                do(None, 'hold of name %d ends' % n, lambda t, n=n: m.add(t, 'FORGOTTEN', n), 'forget')
                if m.owed(s, n): do(None, 'cap: name %d loses its oldest' % n, lambda t, n=n: m.add(t, 'CAP', n, (m.owed(t, n)[0][2],)), 'cap')
        for o in m.O:
            ph, op = s.ob[o][0], s.op[o]; set_ = lambda t, v, o=o: setattr(t, 'op', put(t.op, o, v))
            if op:
                if op[0] in ('new', 'start') and op[1] == 1: do(20, 'chain of object %d starts' % o, lambda t, o=o, op=op: set_(t, (op[0], 2, tuple(k for k in m.K if t.cn[k] >= 2), 0), o))
                elif op[0] == 'new' and op[1] == 9: do(20, 'undo of object %d' % o, lambda t, o=o, op=op: (set_(t, ('new', 5, (), op[3]), o), m.add(t, 'REMOVING', o, op[3])))
                elif op[0] in ('new', 'start') and op[1] in (2, 3) and op[2] and not (s.fl[op[2][0]] and s.fl[op[2][0]][:3] == (CREATE if op[0] == 'new' else START, o, 0)):
                    do(None, 'request for object %d meets its deadline unsent at plugin %d' % (o, op[2][0]), lambda t, o=o: m.unsent(t, o), 'tmo')
                elif op[0] == 'stop': m.stop(s, op, do, set_)
                continue
            if o and s.proc[o] == 3 and ph == RUNNING and not inpend('EXITED', o): do(30, 'life_exit %d' % o, lambda t, o=o: m.add(t, 'EXITED', o))
            podfree = s.op[0] is None and not s.pend
            if ph == NONE and not s.pend and (o == 0 or s.ob[0][0] == CREATED and podfree):
                do(None, ('RunPodSandbox' if o == 0 else 'CreateContainer %d' % o), lambda t, o=o: (set_(t, ('new', 0, (), 0), o), m.add(t, 'CREATING', o)))
            elif o and podfree and ph == CREATED:
                if s.ob[0][0] == CREATED: do(None, 'StartContainer %d' % o, lambda t, o=o: (set_(t, ('start', 0, (), 0), o), m.add(t, 'STARTING', o)))
                do(62, 'RemoveContainer %d' % o, lambda t, o=o: (set_(t, ('rm', 0, (), 0), o), None if 'created' in m.w else m.add(t, 'EXITED', o), m.add(t, 'REMOVED', o)))
            elif o and podfree and ph == EXITED: do(61, 'RemoveContainer %d' % o, lambda t, o=o: (set_(t, ('rm', 0, (), 0), o), m.add(t, 'REMOVED', o)))
            elif o == 0 and m.pod and not busy and not s.pend and ph == CREATED:
                do(60, 'StopPodSandbox', lambda t: (set_(t, ('stop', 0, (), 0), 0), m.add(t, 'STOPPING', 0) if 'stopseq' in m.w else m.killall(t)))
            elif o == 0 and not busy and not s.pend and ph == EXITED:
                do(63, 'RemovePodSandbox', lambda t: (set_(t, ('rm', 0, (), 0), 0), [m.add(t, kind, i) for i in m.O[1:] for kind in ((('REMOVED',) if 'created' in m.w else ('EXITED', 'REMOVED')) if t.ob[i][0] == CREATED else ('REMOVED',) if t.ob[i][0] == EXITED else ())], m.add(t, 'REMOVED', 0)))
        for j in range(len(s.pend) + 1): do(None, 'KILL (%d of %d unreleased records survive)' % (j, len(s.pend)), lambda t, j=j: m.kill(t, j), 'kill')
        for j in range((len(s.tail + s.pend) + 1) * m.cutting): do(None, 'POWER CUT (%d of %d unsynced records survive)' % (j, len(s.tail + s.pend)), lambda t, j=j: m.power(t, j), 'cut')
        return out
    def killall(m, t):
        for i in m.O[1:]:
            if t.proc[i] == 2: t.proc = put(t.proc, i, 3)
            if t.ob[i][0] == CREATED and 'created' not in m.w: m.add(t, 'EXITED', i)
        t.op = put(t.op, 0, ('stop', 1, (), 0))
    def stop(m, s, op, do, set_):                         # StopPodSandbox: 1 containers down, 3 sandbox_stop heard, 4 STOPPED
        live = [i for i in m.O[1:] if s.ob[i][0] in (CREATING, STARTING, RUNNING) or s.ob[i][0] == CREATED and 'created' not in m.w]
        if op[1] == 1 and 'stopseq' in m.w and any(s.proc[i] == 2 or s.ob[i][0] == CREATED and not any(x[:2] == ('EXITED', i) for x in s.pend) for i in live): do(20, 'stop the containers', m.killall)
        elif op[1] == 1 and not live:
            if 'stopseq' not in m.w: do(20, 'STOPPING', lambda t: (set_(t, ('stop', 2, (), 0), 0), m.add(t, 'STOPPING', 0)))
            else: do(20, 'gate sandbox_stop', lambda t: (set_(t, ('stop', 3, (), 0), 0), [setattr(t, 'ff', put(t.ff, k, t.ff[k] + ((STOP, 0, t.ob[0][1]),))) for k in m.K if t.cn[k] >= 2 and not any(c[:2] == (STOP, 0) for c in t.ff[k]) and not (t.fl[k] or ())[:2] == (STOP, 0) and t.kn[m.slots[k]][1] < t.ob[0][1]]))
        elif op[1] == 3:
            wait = [k for k in m.K if s.cn[k] >= 2 and (any(c[:2] == (STOP, 0) for c in s.ff[k]) or s.fl[k] and s.fl[k][:2] == (STOP, 0) and s.fl[k][3] < ACKING)]
            do(None if wait else 20, 'STOPPED' + (' (deadline at plugin %s)' % wait if wait else ''), lambda t: (set_(t, ('stop', 4, (), 0), 0), m.add(t, 'STOPPED', 0)), 'tmo' if wait else None)
    def timeout(m, t, k):
        c = t.fl[k]
        if 'skip' in m.w:
            if c[3] == SENT: t.late = put(t.late, k, t.late[k] + (c[:3],))
            t.fl, t.tmo = put(t.fl, k, None), put(t.tmo, k, t.tmo[k] + 1)
            if c[0] >= STOP: t.alw = put(t.alw, k, c[:2])     # even one repeat per deadline does not save it
        else: t.fl = put(t.fl, k, (c[0], c[1], -1, c[3]))
        if c[0] in (CREATE, START): m.served(t, k, c[1])
        if t.tmo[k] == 3: m.close(t, k)
    def unsent(m, t, o):
        op = t.op[o]; k = op[2][0]
        if t.cn[k] == 2: return m.close(t, k)             # its Synchronize deadline: dropped
        if op[0] == 'new' and 'unsent' not in m.w: t.ff = put(t.ff, k, t.ff[k] + ((CREATE, o, -1),)); t.op = put(t.op, o, op[:3] + (op[3] | 1 << m.slots[k],))
        m.served(t, k, o)
    def kill(m, t, j):
        for rec in [r for r in t.pend[j:] if r[0] == 'ACKED' and r[3][1] >= 0 and t.alw[r[3][1]] != 'any']: t.alw = put(t.alw, rec[3][1], rec[3][2])
        for k in m.K:
            c = t.fl[k]
            if c and c[3] == HEARD and c[0] >= STOP and t.alw[k] != 'any': t.alw = put(t.alw, k, c[:2])
        kept = t.pend[:j]; m.down(t)
        for rec in kept: m.fold(t, rec)
    def power(m, t, j):
        recs = (t.tail + t.pend)[:j]; t.ob, t.kn, t.nseq, t.must = t.dur; m.down(t); t.alw = ('any',) * len(m.slots)
        for rec in recs: m.fold(t, rec); t.nseq = max(t.nseq, rec[2])
        t.dur, t.tail = (t.ob, t.kn, t.nseq, t.must), (); t.proc = tuple(0 if t.ob[o][0] <= CREATED or p == 1 else 3 if p == 2 else p for o, p in enumerate(t.proc))
        for o in m.O:                                     # never durable, never answered: nothing was promised
            if t.ob[o][0] == NONE: t.obs, t.proc = tuple(put(v, o, 0) for v in t.obs), put(t.proc, o, 0)
    def final(m, s):                                      # a drained state owes nothing
        for o in m.O[1 - m.pod:]:
            if s.ob[o][0] not in (NONE, GONE): return '6: object %d never goes (state %d): tombstone or op stuck' % (o, s.ob[o][0])
            for k in m.K:
                if s.obs[k][o] not in (0, REMOVE) and s.kn[m.slots[k]] and (not m.two or s.cn[k]): return '%d: plugin %d never hears the end of object %d (last: %s)' % (8 if o == 0 else 1, k, o, CALL[s.obs[k][o]])
        if any(s.ff) or any(s.fl) or any(s.late): return '6: FIFO not empty'
# ---- exploration ----
B = dict(ready=1, asyn=0, pod=0, drains='')                # ready: pod exists; asyn=0: records released at once; pod=0: pod stays
SCENARIOS = {
 'slow': dict(names=['known'], ready=1, kill=1, close=1, tmo=3), 'one': dict(names=['new'], kill=1, close=1, veto=1),
 'pre': dict(names=['pre'], kill=2, close=1), 'cap': dict(names=['known'], ready=1, cap=1, forget=1, close=1),
 'power': dict(names=['new'], ready=1, cut=1), 'ctr2': dict(names=['known'], ctr=2, ready=1, kill=1, asyn=0),
 'twice': dict(B, names=['new'], slots=[0, 0], kill=1, close=2, drains='FS'), 'pair': dict(B, names=['pre', 'new'], kill=1, veto=1),
 'late': dict(B, names=['known', 'new'], tmo=1, veto=1, close=1, drains='S'), 'race': dict(B, names=['known', 'new'], veto=1, asyn=1),
 'busy': dict(B, names=['known'], ctr=2, tmo=1, close=1, drains='FS'), 'three': dict(B, names=['pre', 'known', 'new'], veto=1)}
def explore(m):
    seen, par, lab, nxt, q = {m.init.key(): 0}, [-1], [''], [-1], collections.deque([m.init])
    def trace(i, *last):
        r = []
        while i > 0: r.append(lab[i]); i = par[i]
        return r[::-1] + list(last)
    i, edges, memo, worst = 0, 0, {'F': set(), 'S': set()}, 0
    while q:
        s = q.popleft(); best = None
        for rank, label, n in m.acts(s):
            edges += 1
            if isinstance(n, Bad): return str(n), trace(i, label), len(par), edges, worst
            h = n.key(); j = seen.get(h)
            if j is None: j = seen[h] = len(par); par.append(i); lab.append(sys.intern(label)); nxt.append(-1); q.append(n)
            if rank is not None and (best is None or rank < best): best = rank; nxt[i] = j
        e = m.final(s) if best is None else None
        if e: return e, trace(i), len(par), edges, worst
        for mode in m.drains:
            if mode == 'S' and not any(s.op) or mode == 'F' and all(s.cn): continue
            e, steps, worst = drain(m, s, mode, memo[mode], worst)
            if e: return e, trace(i, *steps), len(par), edges, worst
        i += 1
    ok = bytearray(len(nxt))                              # no drain may loop
    for a in range(len(nxt)):
        path, b = [], a
        while b >= 0 and not ok[b]: ok[b] = 2; path.append(b); b = nxt[b]
        if b >= 0 and ok[b] == 2: return '1: the drain loops', trace(b), len(par), edges, worst
        for b in path: ok[b] = 1
    return None, [], len(par), edges, worst
def drain(m, s, mode, memo, worst):
    s = s.copy(); s.bud = (0,) * len(BUD); steps, late = [], {}
    while True:
        h = s.key()
        if mode == 'F' and h in memo or mode == 'S' and not any(s.op): return None, [], worst
        memo.add(h)
        best = min((a for a in m.acts(s, mode) if a[0] is not None), key=lambda a: a[0], default=None)
        if best is None: return '7: a CRI operation waits for ever' if mode == 'S' else m.final(s), steps, worst
        steps.append('[%s] %s' % (mode, best[1]))
        if isinstance(best[2], Bad): return str(best[2]), steps, worst
        if best[0] == 45: late[best[1]] = 1; worst = max(worst, len(late))
        s = best[2]
def run(name, w, mut, tag, quiet):
    t = time.process_time(); e, steps, n, ed, worst = explore(M(SCENARIOS[name], w, mut))
    print('%-12s %-6s %8d states %8d edges %5.1f s, deadlines <= %d: %s' % (tag, name, n, ed, time.process_time() - t, worst, e or 'all hold'), flush=True)
    for k, x in enumerate(steps if not quiet else []): print('   %2d %s' % (k + 1, x))
    return bool(e)
def main():
    a = argparse.ArgumentParser(); a.add_argument('--first', action='store_true'); a.add_argument('--table', action='store_true')
    a.add_argument('--as-written', default=''); a.add_argument('--mutant'); a.add_argument('--only'); a.add_argument('--quiet', action='store_true')
    a = a.parse_args(); w = set(a.as_written.split(',')) - {''}; names = a.only.split(',') if a.only else list(SCENARIOS)
    if a.table:
        bad = sum([run(n, set(), set(), 'corrected', 1) for n in names]); miss = [x for x in READINGS if not run(READINGS[x][0], {x}, set(), x, a.quiet)]
        miss += [x for x in MUTANTS if not run(MUTANTS[x][0], set(), {x}, 'M:' + x, a.quiet)]
        print('corrected protocol: %d of %d scenarios fail; readings and mutants without a counterexample: %s' % (bad, len(names), miss or 'none')); return 1 if bad or miss else 0
    if a.first: w = set(READINGS)
    return max([run(n, w, {a.mutant} - {None}, a.mutant or ('written' if w else 'corrected'), a.quiet) for n in names])
if __name__ == '__main__': sys.exit(main())
