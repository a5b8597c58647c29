"""Stands in for the agent in the demo's own test: says what an agent would say about the factory's day.

Run as `python -m tests.demo_stub [--silent-about cleared] SITE`. It reads the site file that the demo wrote, polls the
meter once, and publishes birth, closed intervals and the finding in the scenario's time.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import struct
import threading
import tomllib
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.contract.demand import demand_message, demand_row
from simulator.clock import DAY_MS, ScaledClock, to_ms
from simulator.demo import DAY
from simulator.shape import factory_day
from tests.test_central import EPOCH, Gateway

BLOCK_MS = 900_000


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--silent-about", default="")
    arguments.add_argument("site", type=Path)
    asked = arguments.parse_args()
    site = tomllib.loads(asked.site.read_text())
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    clock = ScaledClock(to_ms(site["clock"]["start"]), site["clock"]["rate"], site["clock"]["anchor_bt_ms"])
    with socket.create_connection((site["link"][0]["host"], site["link"][0]["port"])) as meter:
        meter.sendall(struct.pack(">HHHBBHH", 1, 0, 6, site["device"][0]["unit"], 3, 0x0A, 2))
        assert meter.recv(64)[7] == 3
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "gw-1", protocol=MQTTProtocolVersion.MQTTv311)
    client.connect(site["mqtt"]["host"], site["mqtt"]["port"])
    client.loop_start()
    up = "ea/v1/demo/gw-1/up/"
    gateway = Gateway(EPOCH)
    day = factory_day(peak_w=220_000, mean_w=160_000, pf=0.85, midnight_ms=to_ms(DAY))
    was_open = False
    for i in range(96):
        start_ms, end_ms = to_ms(DAY) + i * BLOCK_MS, to_ms(DAY) + (i + 1) * BLOCK_MS
        if stopped.wait(max(clock.real_s_until(end_ms), 0)):
            break
        flowed = day.energies(end_ms).minus(day.energies(start_ms))
        p, s = (round(wh * 4, 1) for wh in (flowed.active_import_wh, flowed.apparent_vah))
        row = demand_row(
            "factory", source="register", coverage=1.0,
            active_w=(p, p, p), apparent_va=(s, s, s),
        )  # fmt: skip
        client.publish(up + "demand", demand_message(start_ms, end_ms, [row]), qos=1)
        if (s > 250_000) != was_open:
            was_open = not was_open
            step = "opened" if was_open else "cleared"
            if step != asked.silent_about:
                time = json.loads(demand_message(start_ms, end_ms, [row]))["end"]
                client.publish(up + "finding", gateway.write(step=step, time=time), qos=1)
    stopped.wait(clock.real_s_until(to_ms(DAY) + 2 * DAY_MS))
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
