"""The drivers that a site file names, each loaded by name when it is first needed."""

from __future__ import annotations

import importlib

from edge_agent.model import DeviceSpec, Frame, LinkSpec, Profile, Register, Request
from edge_agent.ports import Clock, Driver


def open_driver(link: LinkSpec, clock: Clock) -> Driver:
    """A driver for the link's kind; it connects at the first question."""
    module = importlib.import_module(f"drivers.{link.kind.partition('-')[0]}")
    driver: Driver = module.open_driver(link, clock.now_ms)
    return driver


def requests_of(device: DeviceSpec) -> tuple[Request, ...]:
    """The round trips that read everything the device's profile names."""
    found: tuple[Request, ...] = importlib.import_module(f"drivers.{device.profile.driver}").requests(device)
    return found


def raw_of(profile: Profile, register: Register, frame: Frame) -> bytes:
    """A register's own bytes in the frame that brought its value."""
    found: bytes = importlib.import_module(f"drivers.{profile.driver}").raw_of(register, frame)
    return found
