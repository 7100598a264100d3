#!/usr/bin/python3
# tests/model/journal_model.py
#
# The journal's rules, small enough to try every interleaving: kill, power cut, rot and a failing fdatasync against log, spool
# and recovery. A rule changes here first and in core/journal second; the crash matrix (tests/crash) then asks of the C what
# this asks of the idea, and should find the same mutants. scripts/model.sh runs it.
"""Explicit-state model check of coracle's durability protocol (docs/architecture.md).

Run:  journal_model.py                  the rules as built, every config; exit 1 + shortest trace on a violation
      journal_model.py --text           its first wording (no correction): must fail
      journal_model.py --without C3     all corrections but C3 (comma list)    --only C1,C2  just these
      journal_model.py --mutant M1      a deliberately broken protocol; must fail
      journal_model.py --table          each correction left out, each mutant: config, steps to the counterexample
      --config J1,X1 picks configs; --max N stops a config after N states (verdict INCOMPLETE)

Disk: a file is a tuple of blocks, a block a tuple of versions: [0] is on the platter, [-1] in the page cache, those between
were cached since the last sync. Kill keeps every [-1]. Power cut picks, for each block with several versions, any of them
or garbage (torn), and for each unsynced create/rename/unlink any state it passed through. Rot makes one synced block garbage.
Journal: write (batch) -> fdatasync (if it holds a synced-class record) -> pwrite slot -> release; ops accumulate meanwhile;
rotation; a killed start or write leaves any prefix of its blocks; fdatasync may fail (7.8: new segment + memory snapshot).
A segment's chain crc is modelled by seq continuity + writer's life. Snapshot = facts up to a seq, durable replace.
Monitor: pwrite tmp -> rename to new/ -> (daemon unreachable: fsync both) -> exit, lock falls. May be killed after the pwrite.
Daemon start: load, new segment, rows 2 (new/, then tmp/), 3, 4+5 of 8.4 as separate steps interleaved with monitors and journal.
Not modelled: NRI cursors, Remove, space exhaustion, recycled segments, retention, rot of snapshots and spool files,
eviction of pages whose write-back failed, records larger than a block.

Invariants: a told facts survive (synced: all crashes; written: kills)   b no refusal without rot   c rot: refusal, or all
that was told is there, except (after a power cut) what no surviving slot or header calls synced   d one EXITED per container,
255/128 never written over a readable exit record, nor over one that a monitor fsynced   e unlinked record => EXITED stays
f what a life dropped and then opened its gate without never comes back   g no pid of another boot is ever probed
"""
import sys, itertools, time
from collections import namedtuple

St = namedtuple('St', 'segs slot snap spool mon d life boot bud gh')  # spool[c] = (place versions, content versions)
Seg = namedtuple('Seg', 'first boot blk ent dead')  # boot = seq of BOOT if a life's first segment; blk[0] = header
D = namedtuple('D', 'pc facts R S acc bat j fresh un op old')  # daemon memory; facts = state; R last released, S last synced
Gh = namedtuple('Gh', 'tS tW cons rec dead must cut rot')  # ghosts: told, consumed, fsynced by monitor, dropped, rot promise
Cfg = namedtuple('Cfg', 'ops run start lives crash fail rot mkill cap segcap')
Bud = namedtuple('Bud', 'ops start crash fail rot mkill')
FIX = {'C1': 'new segment: directory fsynced before use; journal_open fsyncs the directory',
       'C2': 'rotation fdatasyncs the old segment before the new one is written',
       'C3': 'a segment ends at the smallest first seq of all later ones that count',
       'C4': 'copies + BOOT synced inside journal_open, before replay_run',
       'C5': 'lock found free (row 4, socket EOF): look into new/ and tmp/ again before 255',
       'C6': 'boot id compared per container, not with the last BOOT',
       'C7': '7.8: snapshot durable first, then segment; slot only after both',
       'C8': 'segment header names the seq of its BOOT',
       'C9': 'synced_seq is searched in segments with a bad header or that do not count, too'}
MUT = {'M1': 'reply before sync', 'M2': 'unlink before sync', 'M3': 'no journal/synced file', 'M4': 'reopen the old segment',
       'M5': 'boot-id step before spool scan', 'M6': 'no copy ahead of BOOT', 'M7': 'batch not on a block boundary',
       'M8': 'monitor never fsyncs', 'M9': 'row 3 ignores exits in flight', 'M10': 'row 2 skips STARTING',
       'M11': 'a segment without BOOT counts', 'M12': 'slot written before the sync'}
CFG = {  #          ops run start lives crash fail rot mkill cap segcap
    'J1': Cfg(3, 0, 0, 3, 3, 0, 0, 0, 1, 2),   # journal only: torn tails, rotation, three lives
    'J2': Cfg(4, 0, 0, 3, 2, 0, 0, 0, 2, 2),   # two records share a block
    'F1': Cfg(3, 0, 0, 3, 2, 1, 0, 0, 1, 3),   # one fdatasync fails
    'R1': Cfg(3, 0, 0, 3, 2, 0, 1, 0, 1, 3),   # one synced block rots
    'X1': Cfg(0, 2, 0, 3, 2, 0, 0, 1, 2, 4),   # two running containers exit, a monitor is killed
    'X2': Cfg(0, 1, 1, 3, 2, 0, 0, 0, 2, 4)}   # one running, one being started
WHERE = {'C3': 'F1', 'C4': 'X1', 'C5': 'X1', 'C6': 'X1', 'C7': 'F1', 'C9': 'R1', 'M2': 'X1', 'M3': 'R1', 'M4': 'F1', 'M5': 'X1',
         'M7': 'J2', 'M8': 'X1', 'M9': 'X1', 'M10': 'X2'}  # --table: configs tried (default J1 F1 X1)
H, REC, FILL = ('H',), 'rec', 'fill'
SYNCED = 'SBRX'  # kinds of class synced; W and T are of class written
fix, mut, cfg = set(FIX), None, None

class Viol(Exception): pass
def need(ok, text, *a):
    if not ok: raise Viol(text % a)
def cls(facts, synced): return frozenset(f for f in facts if (f[0] in SYNCED) == synced)

def place(seg, recs, fresh):
    """Write recs behind seg's end, in the page cache; returns the segment after each block (the last one: all written)."""
    blk, out, touched = list(seg.blk), [], set()
    for r in recs:
        if fresh or len(blk) == 1 or len(blk[-1][-1] or ()) >= cfg.cap:
            if touched: out.append(seg._replace(blk=tuple(blk)))
            blk, fresh = blk + [((),)], False
        v, i = blk[-1], len(blk) - 1
        blk[i] = (v[:-1] if i in touched else v) + ((v[-1] or ()) + (r,),)
        touched.add(i)
    return out + [seg._replace(blk=tuple(blk))]

def new_seg(first, boot): return Seg(first, boot, (((), H),), int('C1' in fix), 0)
def flush(seg):  # fdatasync: everything but pages whose write-back failed once (the kernel called them clean)
    return seg._replace(blk=tuple(v if i < seg.dead else v[-1:] for i, v in enumerate(seg.blk)))

def chain(seg):
    out, ss, broken = [], 0, False
    for v in seg.blk[1:]:
        broken |= v[-1] is None
        for i, r in enumerate(v[-1] or ()):
            broken |= r[0] != seg.first + len(out) or bool(out) and r[3] < out[-1][3]
            if not broken: out.append(r)
            if not broken or i == 0:  # after damage, headers are searched on block boundaries only
                ss = max(ss, r[2])
    return out, ss
def load(st):
    """journal_open's decision on what the page cache shows: (refuse, L, S, facts, records above S, headers' S, last seg)."""
    hs, cnt = 0, []
    for n, s in enumerate(st.segs):
        out, ss = chain(s)
        ok = s.blk[0][-1] == H
        if s.boot and 'C8' in fix and mut != 'M11': ok &= any(r[0] == s.boot and r[1][0] == 'B' for r in out)
        cnt += [(s.first, out, n)] if ok else []
        if ok or 'C9' in fix: hs = max([hs, ss] + [v[-1][0][2] for v in s.blk[1:] if v[-1]])
    (base, facts), recs = st.snap[-1], []
    e, big = base + 1, 1 << 30
    for i, (first, out, n) in enumerate(cnt):
        later = [c[0] for c in cnt[i + 1:]]
        end = (min(later) if 'C3' in fix else later[0]) if later else big
        if end <= e: continue
        if first > e: break  # a hole: damage at e
        new = [r[:2] for r in out if e <= r[0] < end]
        recs, e = recs + new, e + len(new)
        if e < end and later: break  # ends before its successor begins: damage at e
    S = max(hs, st.slot[-1], base)
    return e - 1 < S, e - 1, S, frozenset(facts | {f for _, f in recs}), [r for r in recs if r[0] > S], hs, [c[2] for c in cnt]

def has(facts, k, c=None): return any(f[0] == k and c in (None, f[1]) for f in facts)
def seen(d):  # state and what is in flight (7.2)
    return d.facts | set(d.acc + d.bat)
def ran(facts, c):  # the boot in which c was started, 0 if it was not or has EXITED
    return 0 if has(facts, 'X', c) else max([f[2] for f in facts if f[0] in 'TR' and f[1] == c], default=0)
def readable(st, c):  # an exit record that whoever looks now can read
    place_, content = st.spool[c]
    return content[-1] == REC and (place_[-1] == 'N' or place_[-1] == 'T' and st.mon[c] == 4)
def spooled(st, c, place_, content):
    return st._replace(spool=st.spool[:c] + ((place_, content),) + st.spool[c + 1:])
def move(st, c, to): return spooled(st, c, st.spool[c][0] + (to,), st.spool[c][1])
def turn(st, c, m): return st._replace(mon=st.mon[:c] + (m,) + st.mon[c + 1:])
def append(st, *facts):
    for f in facts:
        need(f[0] != 'X' or f[2] < 100 or not readable(st, f[1]) and f[1] not in st.gh.rec,
             'd: EXITED %d of c%d is journaled over a real exit record', f[2], f[1])
    return st._replace(d=st.d._replace(acc=st.d.acc + facts))
def unlink(st, c):
    if readable(st, c): st = st._replace(gh=st.gh._replace(cons=st.gh.cons | {c}))
    return st if st.spool[c][0][-1] == '-' else move(st, c, '-')
def life_exit(st, c):  # 8.3 row 3
    if has(st.d.acc + st.d.bat, 'X', c) or c in st.d.op: return st
    if has(st.d.facts, 'X', c): return unlink(st, c)
    if st.spool[c][1][-1] != REC: return append(move(st, c, '-'), ('X', c, 255))  # moved to bad/
    return append(st, ('X', c, 10 + c))

def scan(st, where):
    for c in range(len(st.mon)):
        if mut == 'M10' and st.d.pc in 'ab' and has(st.d.facts, 'T', c) and not has(st.d.facts, 'R', c): continue
        if st.spool[c][0][-1] == where and (where == 'N' or readable(st, c)): st = life_exit(st, c)
    return st

def row3(st):
    for c in range(len(st.mon)):
        boot = ran(st.d.facts if mut == 'M9' else seen(st.d), c)
        if boot and st.boot != (boot if 'C6' in fix else st.d.old): st = append(st, ('X', c, 255))
    return st

def row45(st, eof=False):  # rows 4 and 5; eof: the live daemon's "monitor socket EOF" (only where C5 says what to do then)
    for c, m in enumerate(st.mon):
        boot, run = ran(seen(st.d), c), has(seen(st.d), 'R', c)
        if not boot or run and m in (1, 2, 3) or c in st.d.op or eof and not (run and readable(st, c)): continue
        need(boot == st.boot, 'g: row 4 probes pid and lock of c%d, which ran in an earlier boot', c)
        if run: st = life_exit(st, c) if readable(st, c) and 'C5' in fix else append(st, ('X', c, 255))
        elif m in (1, 2, 3):  # STARTING, monitor alive: asked, it says "started"; the start op goes on
            st = append(st, ('R', c, st.boot))
            st = st._replace(d=st.d._replace(op=st.d.op | {c}))
        else: st = append(st, *[('R', c, st.boot), ('X', c, 10 + c)] if readable(st, c) else [('X', c, 128)])
    return st

def start(st):
    """Rows 3 of 8.1: load, check what it shows against what was told, open this life's segment with copies and BOOT."""
    bad, L, S, facts, above, hs, last = load(st)
    gh = st.gh
    if bad: return need(gh.rot, 'b: DATA_LOSS without rot (log ends at %d, synced says %d)', L, S)
    need(not gh.must or gh.must <= facts, 'c: rot silently dropped %s', gh.must and sorted(gh.must - facts))
    gh = gh._replace(must=None)
    if not gh.rot:
        need(gh.tS | gh.tW <= facts, 'a: lost although told: %s', sorted((gh.tS | gh.tW) - facts))
        for c in gh.cons: need(has(facts, 'X', c), 'e: exit record of c%d was unlinked, its EXITED is gone', c)
        need(not facts & gh.dead, 'f: dropped by an earlier life, back again: %s', sorted(facts & gh.dead))
    else: gh = gh._replace(tS=gh.tS & facts, tW=gh.tW & facts, cons=frozenset(), rec=frozenset())
    for c in range(len(st.mon)): need(sum(f[0] == 'X' and f[1] == c for f in facts) < 2, 'd: two EXITED for c%d', c)
    if st.life >= cfg.lives: return  # a last load, only to check
    life = st.life + 1
    old, boot = max([f[1:] for f in facts if f[0] == 'B'], default=(0, 0))[1], ('B', life, st.boot)
    if 'C1' in fix: st = st._replace(segs=tuple(s._replace(ent=1) for s in st.segs), snap=st.snap[-1:])
    above = [] if mut == 'M6' else above
    recs = [(q, f, S, life) for q, f in above] + [(L + 1, boot, S, life)]
    if mut == 'M4' and last:
        olds, keep = st.segs[:last[-1]], st.segs[last[-1]]
        n = max([i for i, v in enumerate(keep.blk) if v[-1]], default=0)
        parts = place(keep._replace(blk=keep.blk[:n + 1]), recs[-1:], True)
    else:
        olds, base = st.segs, new_seg(recs[0][0], L + 1)
        parts = [base] + place(base, recs, True)
    for p in parts[:-1] if st.bud.crash else ():
        yield 'start, killed while writing its segment', st._replace(
            segs=olds + (p,), life=life, gh=gh, bud=st.bud._replace(crash=st.bud.crash - 1))
    yield 'start: load to %d (synced %d), segment first=%d with %d copies + BOOT %d written' % (
        L, S, recs[0][0], len(recs) - 1, L + 1), st._replace(segs=olds + (parts[-1],), life=life, gh=gh, d=D(
            'c' if mut == 'M5' else 'a', facts, L, S, (), (boot,), 1, False, frozenset(), frozenset(), old))

def top(s): return max([0] + [v[-1][0][2] for v in s.blk[1:] if v[-1]]) if 'C9' in fix else 0
def tidy(s, hs):
    n = max([i + 1 for i, v in enumerate(s.blk) if v[-1] and (v[-1] == H or v[-1][0] in chain(s)[0] or v[-1][0][2] > hs)])
    return s._replace(blk=s.blk[:n])

def cut(st):
    """Power cut: all combinations of what may have reached the platter."""
    def blocks(s):
        # a block that was empty and is garbage now reads like an empty one: one case, not two
        return itertools.product(*[[v] if len(v) == 1 else [(x,) for x in set(v) | ({None} if v[0] else {()})] for v in s.blk])
    segopts = [([None] if not s.ent else []) + list(dict.fromkeys(
        s._replace(blk=b, ent=1, dead=0) for b in blocks(s))) for s in st.segs]
    spopts = [[((p,), (x,)) for p in set(pl) for x in (set(co) | ({FILL} if len(co) > 1 else set()) if p != '-' else [FILL])]
              for pl, co in st.spool]
    mon = tuple(4 if m in (1, 2, 3) else m for m in st.mon)
    gh, bud = st.gh._replace(tW=frozenset(), cut=1), st.bud._replace(crash=st.bud.crash - 1)
    for segs in itertools.product(*segopts):
        t = St(tuple(s for s in segs if s), (0,), (), (), mon, None, st.life, st.boot + 1, bud, gh)
        for snap in set(st.snap):
            t = t._replace(snap=(snap,))
            hs, good = load(t)[5:]
            if not t.bud.rot:  # nothing can ever be read from a segment that does not count, nor behind a broken chain
                t = t._replace(segs=tuple(tidy(s, hs) for i, s in enumerate(t.segs) if i in good or top(s) > hs))
            for slot in {x if x > hs else 0 for x in st.slot} | {0}:
                for sp in itertools.product(*spopts):
                    yield t._replace(slot=(slot,), spool=sp)

def daemon(st):
    """Steps of a living daemon: loop (rows, scans, client ops) and journal threads."""
    d, b = st.d, st.bud
    cur, pre, last = st.segs[-1], st.segs[:-1], d.R + len(d.bat)
    def nd(s=st, **k): return s._replace(d=s.d._replace(**k))
    rows = {'a': ('row 2: scan new/', lambda s: scan(s, 'N')), 'b': ('row 2: scan tmp/', lambda s: scan(s, 'T')),
            'c': ('row 3: boot id', row3), 'd': ('rows 4, 5', row45)}
    if d.pc in rows and not ('C4' in fix and d.j and has(d.bat, 'B')):
        order = 'cabdw' if mut == 'M5' else 'abcdw'
        yield rows[d.pc][0], nd(rows[d.pc][1](st), pc=order[order.index(d.pc) + 1])
    if d.pc == 'w' and not d.j and not d.acc:
        disk = {r[1] for s in st.segs for v in s.blk[1:] for x in v if x for r in x if r[1][0] in 'SWB'}
        gh = st.gh._replace(tS=st.gh.tS | cls(d.facts, True), tW=st.gh.tW | cls(d.facts, False), dead=st.gh.dead | (disk - d.facts))
        yield 'gate opens', nd(st._replace(gh=gh), pc='o')
    if d.pc in 'wo':
        t = row45(scan(st, 'N'), True) if 'C5' in fix else scan(st, 'N')
        if t != st: yield 'spool scan', t
    if d.pc == 'o' and d.j < 4:
        for k in 'SW' if b.ops else '':
            yield 'client op %s%d appended' % (k, b.ops), append(st._replace(bud=b._replace(ops=b.ops - 1)), (k, b.ops, 0))
        c = len(st.mon) - 1
        if b.start and not has(d.facts, 'T', c) and not has(d.facts, 'X', c):
            t = append(st._replace(bud=b._replace(start=0)), ('T', c, st.boot))
            yield 'client starts c%d: STARTING appended' % c, nd(t, op=d.op | {c})
    for c in sorted(d.op):  # the start op's next steps
        if has(d.facts, 'T', c) and st.mon[c] == 0:
            yield 'monitor of c%d spawned, container runs' % c, turn(move(st, c, 'T'), c, 1)
        elif st.mon[c] and not has(seen(d), 'R', c):
            yield 'RUNNING of c%d appended' % c, append(st, ('R', c, st.boot))
    for c in sorted(d.un) + ([f[1] for f in d.bat if f[0] == 'X' and st.spool[f[1]][0][-1] != '-'] if mut == 'M2' else []):
        yield 'unlink exit record of c%d' % c, nd(unlink(st, c), un=d.un - {c})
    if d.j == 0 and d.acc:
        t, S, seg, how = st, d.S, cur, 'write '
        if len(seg.blk) - 1 + -(-len(d.acc) // cfg.cap) > cfg.segcap:
            if 'C2' in fix:
                cur, S = flush(cur), d.R
                t = t._replace(slot=t.slot + (S,)) if S > d.S else t
            pre, seg, how = pre + (cur,), new_seg(d.R + 1, 0), 'rotate, write '
        recs = [(d.R + 1 + i, f, S, st.life) for i, f in enumerate(d.acc)]
        parts = place(seg, recs, d.fresh and mut != 'M7' or len(seg.blk) == 1)
        for p in parts[:-1] if b.crash else ():
            yield how + 'cut short by a kill', t._replace(segs=pre + (p,), d=None, bud=b._replace(crash=b.crash - 1))
        yield how + ' '.join('%d:%s%d' % (r[0], r[1][0], r[1][1]) for r in recs), nd(
            t._replace(segs=pre + (parts[-1],)), bat=d.acc, acc=(), j=1, S=S, fresh=False)
    sync = bool(cls(d.bat, True))
    if d.j == 1 and sync and mut != 'M1':
        if mut == 'M12' and st.slot[-1] < last: yield 'slot early', st._replace(slot=st.slot + (last,))
        yield 'fdatasync', nd(st._replace(segs=pre + (flush(cur),)), j=2, S=last, fresh=True)
        if b.fail and d.pc == 'o':
            yield 'fdatasync FAILS, segment dead', nd(
                st._replace(segs=pre + (cur._replace(dead=len(cur.blk)),), bud=b._replace(fail=0)), j=4)
    if d.j == 2: yield 'slot %d written' % d.S, nd(st if mut == 'M3' else st._replace(slot=st.slot + (d.S,)), j=3)
    if d.j == 3 or d.j == 1 and (not sync or mut == 'M1'):
        gh, un = st.gh, d.un | {f[1] for f in d.bat if f[0] == 'X'}
        for f in d.bat: need(f[0] != 'X' or not has(d.facts, 'X', f[1]), 'd: second EXITED released for c%d', f[1])
        if d.pc == 'o': gh = gh._replace(tS=gh.tS | cls(d.bat, True), tW=gh.tW | cls(d.bat, False))
        yield 'release to %d' % last, nd(
            st._replace(gh=gh), facts=d.facts | set(d.bat), R=last, bat=(), j=0, op=d.op - {f[1] for f in d.bat if f[0] == 'R'},
            un=frozenset(c for c in un if st.spool[c][0][-1] != '-'))
    # 7.8: j = 4 dead, then 16 + bits {1 segment synced, 2 snapshot renamed, 4 its directory synced, 8 slot written early}
    if d.j == 4:
        recs = [(d.R + 1 + i, f, d.S, st.life) for i, f in enumerate(d.bat + d.acc)]
        yield '7.8: new segment first=%d with unreleased records' % (d.R + 1), nd(
            st._replace(segs=st.segs + (place(new_seg(d.R + 1, 0), recs, True)[-1],)), bat=d.bat + d.acc, acc=(), j=16)
    if d.j >= 16:
        bits = d.j - 16
        if not bits & 1 and ('C7' not in fix or bits & 4):
            yield '7.8: new segment synced', nd(st._replace(segs=pre + (flush(cur),)), j=d.j | 1)
        if bits & 1 and not bits & 8 and 'C7' not in fix:
            yield '7.8: slot %d written' % last, nd(st._replace(slot=st.slot + (last,)), j=d.j | 8)
        if not bits & 2:
            yield '7.8: snapshot of %d written, synced, renamed' % d.R, nd(st._replace(snap=st.snap + ((d.R, d.facts),)), j=d.j | 2)
        if bits & 2 and not bits & 4:
            yield '7.8: directory synced', nd(st._replace(
                snap=st.snap[-1:], segs=tuple(s._replace(ent=1) for s in st.segs)), j=d.j | 4)
        if bits & 7 == 7: yield '7.8: resume', nd(j=2, S=last, fresh=True)

def monitors(st):
    for c, m in enumerate(st.mon):
        pl, co = st.spool[c]
        if m == 1: yield 'c%d exits: monitor pwrites tmp/' % c, turn(spooled(st, c, pl, co + (REC,)), c, 2)
        elif m == 2:
            yield 'monitor of c%d renames into new/' % c, turn(move(st, c, 'N'), c, 3)
            if st.bud.mkill: yield 'monitor of c%d is killed' % c, turn(st, c, 4)._replace(bud=st.bud._replace(mkill=0))
        elif m == 3:
            if st.d: yield 'monitor of c%d rings, exits' % c, turn(st, c, 4)
            if not st.d or st.d.pc not in 'wo':
                t = turn(st if mut == 'M8' else spooled(st, c, pl[-1:], co[-1:]), c, 4)
                t = t._replace(gh=st.gh._replace(rec=st.gh.rec | ({c} if pl[-1] == 'N' else set())))
                yield 'monitor of c%d cannot reach the daemon: fsyncs, exits' % c, t

def succ(st):
    yield from monitors(st)
    b = st.bud
    if st.d:
        yield from daemon(st)
        if b.crash: yield 'KILL daemon', st._replace(d=None, bud=b._replace(crash=b.crash - 1))
    else:
        yield from start(st)
        if b.rot:
            facts, above = load(st)[3:5]
            must = (st.gh.tS | st.gh.tW) & (facts - {f for q, f in above}) | (frozenset() if st.gh.cut else st.gh.tS)
            for i, s in enumerate(st.segs):
                for k in [k for k, v in enumerate(s.blk) if len(v) == 1 and v[0] and s.ent]:
                    bad = s._replace(blk=s.blk[:k] + ((None,),) + s.blk[k + 1:])
                    yield 'ROT of segment %d block %d' % (i + 1, k), st._replace(
                        segs=st.segs[:i] + (bad,) + st.segs[i + 1:], bud=b._replace(rot=0), gh=st.gh._replace(must=must, rot=1))
    if b.crash and st.gh.must is None:  # rot is judged by the next load; a cut between would only blur who lost what
        yield from (('POWER CUT', t) for t in dict.fromkeys(cut(st)))

def initial():
    n, boot, e, facts = cfg.run + cfg.start, ('B', 1, 1), frozenset(), frozenset(('R', c, 1) for c in range(cfg.run))
    seg = Seg(1, 1, ((H,), (((1, boot, 0, 1),),)), 1, 0)
    d = D('o', facts | {boot}, 1, 1, (), (), 0, True, e, e, 1)
    spool = tuple((('T',), (FILL,)) if c < cfg.run else (('-',), (FILL,)) for c in range(n))
    return St((seg,), (0, 1), ((0, facts),), spool, tuple(int(c < cfg.run) for c in range(n)), d, 1, 1,
              Bud(cfg.ops, cfg.start, cfg.crash, cfg.fail, cfg.rot, cfg.mkill), Gh(facts, e, e, e, e, None, 0, 0))

def check(name, limit):
    """Breadth first: (states, transitions, violation or None, shortest trace, complete)."""
    global cfg
    cfg = CFG[name]
    order, trans, i, leaves = [initial()], 0, 0, 0
    ids, parent = set(order), [(-1, 'life 1 runs')]
    while i < len(order) <= limit:
        st, order[i], label = order[i], None, ''
        try:
            for label, t in succ(st):
                trans += 1
                if not t.d and not t.bud.crash and not t.bud.rot and t.life >= cfg.lives:
                    leaves += 1  # nothing can follow but a load: check it here, do not store it
                    any(start(t))
                elif t not in ids:
                    ids.add(t)
                    order.append(t)
                    parent.append((i, label))
                label = ''
        except Viol as v:
            tr = [label + ' -> the next step breaks the promise']
            while i >= 0:
                i, label = parent[i]
                tr.append(label)
            return len(order) + leaves, trans, str(v), tr[::-1], True
        i += 1
    return len(order) + leaves, trans, None, [], i == len(order)

def main(a):
    global fix, mut
    def opt(k, dflt): return a[a.index(k) + 1] if k in a else dflt
    limit, names = int(opt('--max', 3000000)), opt('--config', ','.join(CFG)).split(',')
    if '--table' in a:
        for k in list(FIX) + list(MUT):
            fix, mut = set(FIX) - {k}, k if k in MUT else None
            hits = []
            for n in WHERE.get(k, 'J1 F1 X1').split():
                r = check(n, limit)
                hits += [(len(r[3]) - 1, n, r[2])] if r[2] else []
            print('%-4s %-75.75s %s' % (k, FIX.get(k) or MUT[k], '%d steps in %s: %s' % min(hits) if hits else 'NOT FOUND'), flush=True)
        return 0
    fix = set() if '--text' in a else set(opt('--only', '').split(',')) if '--only' in a else \
        set(FIX) - set(opt('--without', '').split(','))
    mut, rc = opt('--mutant', None), 0
    print('rules: %s  mutant: %s' % (' '.join(sorted(fix)) or 'the first wording', mut))
    for n in names:
        t0 = time.process_time()
        states, trans, v, tr, done = check(n, limit)
        print('%s %s: %d states, %d transitions, %.0f s CPU: %s' % (n, tuple(CFG[n]), states, trans, time.process_time() - t0,
              'VIOLATED ' + v if v else 'holds' if done else 'INCOMPLETE, no violation so far'), flush=True)
        for k, label in enumerate(tr): print('   %2d %s' % (k, label))
        rc = 1 if v else rc
    return rc

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
