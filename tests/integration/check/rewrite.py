#!/usr/bin/python3
"""Change what a record of a journal says, its checksums staying right: rewrite.py JOURNAL RECORD OLD NEW

In every segment of the directory JOURNAL: in the payloads that hold the bytes RECORD, OLD becomes NEW, which is as long.
docs/wire.md has the layout.
"""
import pathlib
import struct
import sys

BLOCK = 4096
HEAD = struct.Struct("<IQqHHQI")
TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data, seed=0):
    crc = seed ^ 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def frames(data):
    """Offset and payload length of each record."""
    at = BLOCK
    while at + HEAD.size <= len(data):
        length, seq = HEAD.unpack_from(data, at)[:2]
        if seq:
            yield at, length
            at += HEAD.size + length + 4
        if not seq or BLOCK - at % BLOCK < HEAD.size:
            at = (at // BLOCK + 1) * BLOCK


def rewrite(data, record, old, new):
    """Changed bytes, and the last record's crc before and after."""
    salt = struct.unpack_from("<I", data, 12)[0]
    before = after = salt
    for at, length in frames(data):
        end = at + HEAD.size + length
        payload = data[at + HEAD.size:end]
        if record in payload:
            data[at + HEAD.size:end] = payload.replace(old, new)
        before = struct.unpack_from("<I", data, end)[0]
        seed = crc32c(struct.pack("<I", after), salt)
        after = crc32c(data[at:end], seed)
        struct.pack_into("<I", data, end, after)
        yield before, after


def main():
    journal = pathlib.Path(sys.argv[1])
    record, old, new = (word.encode() for word in sys.argv[2:5])
    crcs = {}
    assert len(old) == len(new)
    for path in sorted(journal.glob("segment-*")):
        data = bytearray(path.read_bytes())
        if data[:7] == b"coraseg":
            crcs.update(rewrite(data, record, old, new))
            path.write_bytes(data)
    slots = bytearray((journal / "synced").read_bytes())
    for at in (0, BLOCK):
        crc = struct.unpack_from("<I", slots, at + 24)[0]
        struct.pack_into("<I", slots, at + 24, crcs.get(crc, crc))
        struct.pack_into("<I", slots, at + 28, crc32c(slots[at:at + 28]))
    (journal / "synced").write_bytes(slots)


main()
