"""A DL/T 698.45 meter played by the package `dlt698`'s own server, a process of its own: `dlt698_meter.py [CONNECT]`.

It prints its port and lives until its input ends. Without an argument it needs no CONNECT; with one it does.
"""

from __future__ import annotations

import sys

from dlt698 import ConnectionProfile, Data, Oad, Server, ServerOptions, SessionOptions
from dlt698.protocol.link import AddressType, ServerAddress

OBJECTS = {
    0x00100200: Data.array([Data.uint32(n) for n in (12_345_678, 1_000_001, 4_000_002, 5_000_003, 2_345_672)]),
    0x20000200: Data.array([Data.uint16(n) for n in (2413, 2205, 2198)]),
    0x20010200: Data.array([Data.int32(n) for n in (1000, -5123, 498)]),
    0x20040200: Data.array([Data.int32(n) for n in (12345, -5432, 8888, 8889)]),
    0x200A0200: Data.array([Data.int16(n) for n in (823, -980, 1000, 999)]),
    0x200F0200: Data.uint16(5002),
    0x40000200: Data.date_time_s([7, 234, 11, 24, 18, 50, 7]),
    0x40020200: Data.octet_string(bytes.fromhex("000012345678")),
    0x41000200: Data.uint8(15),
}


def main() -> None:
    address = ServerAddress(type=AddressType.single, logical=0, bytes=bytes.fromhex("123456789012")[::-1])
    with Server(options=ServerOptions(protocol=SessionOptions(server=address))) as server:
        for oad, data in OBJECTS.items():
            server.set(Oad(oi=oad >> 16, attribute=oad >> 8 & 0xFF, index=oad & 0xFF), data)
        profile = ConnectionProfile.local_public if sys.argv[1:] else ConnectionProfile.local_preset
        server.start_tcp("127.0.0.1", 0, profile)
        print(server.local_port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
