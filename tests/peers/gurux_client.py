# SPDX-License-Identifier: GPL-2.0-only
"""A meter reader made of Gurux's DLMS library, for the tests: a program of its own, run as a process.

    gurux_client.py PLACE WORK     PLACE: host:port, or the path of a serial port. WORK: JSON, see `main`.

It is under the GNU General Public License, version 2 only, as the library is. Nothing of the edge agent imports it or
is imported by it, it is in no wheel, and it knows the library by its public documentation alone. It says one line of
JSON a step, as soon as the step is done: what came of it, or why nothing did, and all octets that were said for it.
"""

import contextlib
import json
import os
import socket
import sys
import termios
import time
import tty
from datetime import datetime
from importlib.metadata import version

from gurux_dlms import GXByteBuffer, GXDateTime, GXDLMSException, GXReplyData  # type: ignore[import-not-found]
from gurux_dlms.enums import Authentication, Conformance, InterfaceType, Security  # type: ignore[import-not-found]
from gurux_dlms.objects import GXDLMSClock, GXDLMSData, GXDLMSProfileGeneric, GXDLMSRegister  # type: ignore[import-not-found]
from gurux_dlms.secure import GXDLMSSecureClient  # type: ignore[import-not-found]

WAIT_S = 5.0
AUTHENTICATION = {"none": Authentication.NONE, "lls": Authentication.LOW, "gmac": Authentication.HIGH_GMAC}


class Port:
    """A serial port, by the four calls of a socket that are used here."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)
        settings = termios.tcgetattr(self.fd)
        settings[4] = settings[5] = termios.B115200
        settings[6][termios.VMIN], settings[6][termios.VTIME] = 0, int(10 * WAIT_S)
        termios.tcsetattr(self.fd, termios.TCSANOW, settings)

    def sendall(self, data):
        os.write(self.fd, data)

    def recv(self, size):
        return os.read(self.fd, size)

    def close(self):
        os.close(self.fd)


class Reader:
    def __init__(self, place, work):
        self.work = work
        self.said = []
        host, _, port = place.rpartition(":")
        self.wire = socket.create_connection((host, int(port)), WAIT_S) if port.isdigit() else Port(place)
        self.client = self.made()

    def made(self):
        work = self.work
        client = GXDLMSSecureClient(True)
        client.interfaceType = InterfaceType.HDLC if work["hdlc"] else InterfaceType.WRAPPER
        client.clientAddress = work["client"]
        client.serverAddress = work["server"]
        client.authentication = AUTHENTICATION[work["auth"]]
        client.maxReceivePDUSize = work["most_pdu"]
        if "conformance" in work:
            client.proposedConformance = Conformance(work["conformance"])
        if work["auth"] == "lls":
            client.password = work["password"].encode("ascii")
        if work["auth"] == "gmac":
            ciphering = client.ciphering
            ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            ciphering.systemTitle = bytearray.fromhex(work["title"])
            ciphering.blockCipherKey = bytearray.fromhex(work["encryption_key"])
            ciphering.authenticationKey = bytearray.fromhex(work["authentication_key"])
            ciphering.invocationCounter = work["counter"]
            if not work["general"]:  # the library proposes it by itself
                client.proposedConformance &= ~Conformance.GENERAL_PROTECTION
        return client

    # -- octets there and back

    def ask(self, request, reply):
        """One request, and what comes until an answer is whole."""
        if not request:
            return
        self.said.append(bytes(request).hex())
        reply.error = 0
        self.wire.sendall(request)
        came, note, until = GXByteBuffer(), GXReplyData(), time.monotonic() + WAIT_S
        while not self.client.getData(came, reply, note):
            more = self.wire.recv(4096)
            if not more or time.monotonic() > until:
                raise TimeoutError("silence" if more == b"" else "no answer in time")
            came.set(more)
        if reply.error:
            raise GXDLMSException(reply.error)

    def converse(self, requests, reply):
        """Requests, and for each all that is more of its answer."""
        for request in requests if isinstance(requests, list) else [requests]:
            reply.clear()
            self.ask(request, reply)
            while reply.isMoreData():
                self.ask(self.client.receiverReady(reply), reply)

    # -- steps

    def associate(self):
        client, reply = self.client, GXReplyData()
        if request := client.snrmRequest():
            self.converse(request, reply)
            client.parseUAResponse(reply.data)
        self.converse(client.aarqRequest(), reply)
        client.parseAareResponse(reply.data)
        if self.work["auth"] == "gmac":  # the library forgets here that its authentication is an enumeration
            self.converse(client.getApplicationAssociationRequest(), reply)
            client.parseApplicationAssociationResponse(reply.data)
        return type(client.authentication).__name__

    def one(self, item, attribute):
        reply = GXReplyData()
        self.converse(self.client.read(item, attribute), reply)
        return self.client.updateValue(item, attribute, reply.value)

    def single(self):
        found: dict[str, object] = {}
        for name in self.work["registers"]:
            register = GXDLMSRegister(name)
            self.one(register, 3)
            found[name] = [float(self.one(register, 2)), float(register.scaler), int(register.unit)]
        clock = GXDLMSClock(self.work["clock"])
        self.one(clock, 2)
        data = GXDLMSData(self.work["data"])
        found[self.work["data"]] = bytes(self.one(data, 2)).hex()
        return found

    def listed(self):
        items = [(GXDLMSRegister(name), 2) for name in self.work["registers"]]
        reply, values = GXReplyData(), []
        for request in self.client.readList(items):
            self.converse(request, reply)
            values += reply.value
        self.client.updateValues(items, values)
        return {item.logicalName: float(item.value) for item, _ in items}

    def profile_of(self):
        profile = GXDLMSProfileGeneric(self.work["profile"])
        self.one(profile, 3)
        return profile

    def block(self):
        profile = self.profile_of()
        self.said.clear()
        return self.rows(self.one(profile, 2))

    def range(self):
        profile = self.profile_of()
        self.said.clear()
        first, last = (GXDateTime(datetime.fromisoformat(text)) for text in self.work["range"])
        reply = GXReplyData()
        self.converse(self.client.readRowsByRange(profile, first, last), reply)
        return self.rows(self.client.updateValue(profile, 2, reply.value))

    def entries(self):
        profile = self.profile_of()
        self.said.clear()
        reply = GXReplyData()
        self.converse(self.client.readRowsByEntry(profile, *self.work["entries"]), reply)
        return self.rows(self.client.updateValue(profile, 2, reply.value))

    def release(self):
        reply = GXReplyData()
        self.converse(self.client.releaseRequest(), reply)
        if self.work["hdlc"]:
            reply.clear()
            self.ask(self.client.disconnectRequest(), reply)
        return len(self.said)

    def rows(self, buffer):
        return [[shown(cell) for cell in row] for row in buffer]


def shown(cell):
    if isinstance(cell, (bytes, bytearray)):
        return bytes(cell).hex()
    if isinstance(cell, GXDateTime):
        return cell.value.isoformat()
    return cell if isinstance(cell, (int, float, str, type(None))) else str(cell)


def main():
    """WORK: hdlc, client, server, auth, password, general, title, encryption_key, authentication_key, counter,
    most_pdu, registers, clock, data, profile, range, entries, steps, and perhaps conformance: the block that is
    proposed, in the library's order of bits."""
    place, work = sys.argv[1], json.loads(sys.argv[2])
    reader = Reader(place, work)
    print(json.dumps({"step": "program", "came": "gurux-dlms " + version("gurux-dlms")}), flush=True)
    for step in work["steps"]:
        reader.said.clear()
        try:
            with contextlib.redirect_stdout(sys.stderr):  # the library says things there as well
                said = {"came": getattr(reader, step)()}
        except Exception as error:  # whatever the library throws is what came of the step
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"step": step, "questions": reader.said, **said}), flush=True)
    reader.wire.close()


if __name__ == "__main__":
    main()
