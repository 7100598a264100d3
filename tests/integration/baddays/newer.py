#!/usr/bin/python3
"""Make a journal segment one of the next version: newer.py FILE. docs/wire.md has the layout."""
import sys

POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


with open(sys.argv[1], "r+b") as segment:
    header = bytearray(segment.read(60))
    assert header[:7] == b"coraseg"
    header[8:10] = (int.from_bytes(header[8:10], "little") + 1).to_bytes(2, "little")
    segment.seek(0)
    segment.write(header + crc32c(header).to_bytes(4, "little"))
