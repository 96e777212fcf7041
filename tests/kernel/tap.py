"""A witness that rsttrace has no part in: packet sockets that see every RST on every device."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from rsttrace.lab import tcp
from rsttrace.lab.net import Lab

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING, SO_RCVBUFFORCE = 263, 6, 4, 33

Wire = tuple[str, str, int, int, int, int, int]  # end, way, ports, seq, ack, flags


class Tap:
    """Sees every packet of every device of one namespace, incoming and outgoing."""

    def __init__(self, lab: Lab, end: str) -> None:
        self.end = end
        with lab.inside(end):
            kind = socket.SOCK_DGRAM
            self.sock = socket.socket(socket.AF_PACKET, kind, socket.htons(ETH_P_ALL))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self.sock.setblocking(False)

    def resets(self) -> Iterator[Wire]:
        """All RSTs it saw, oldest first; closes it."""
        with self.sock:
            while True:
                try:
                    data, (_, protocol, kind, *_) = self.sock.recvfrom(256)
                except BlockingIOError:
                    break
                header = self._tcp(data, protocol)
                if header and header[13] & tcp.RST:
                    sport, dport, seq, ack = struct.unpack_from("!HHII", header)
                    way = "out" if kind == PACKET_OUTGOING else "in"
                    yield self.end, way, sport, dport, seq, ack, header[13] & 0x3F
            statistics = self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
            assert struct.unpack("=II", statistics)[1] == 0, "the packet socket lost packets"

    @staticmethod
    def _tcp(data: bytes, protocol: int) -> bytes | None:
        if protocol == ETH_P_IP and data[9] == socket.IPPROTO_TCP:
            return data[(data[0] & 15) * 4 :]
        if protocol == ETH_P_IPV6 and data[6] == socket.IPPROTO_TCP:
            return data[40:]
        return None
