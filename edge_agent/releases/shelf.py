"""The folder of managed releases, `<state>/releases`: drafts as people edit them, dossiers as they were signed.

    cap-over-contract@2.toml     a draft: changes at will, counts for nothing
    cap-over-contract@2.signed   its dossier: from the moment it is submitted this is the release, not the draft

A shelf is read anew with every call: verbs and the agent are processes of their own.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from msgspec import UNSET

from edge_agent.audit.topic import Release
from edge_agent.contract.messages import ReleaseDecision
from edge_agent.model import Ms
from edge_agent.package import Keyset, PackageRefused, PrivateKey, Ratchet, open_package, seal_package
from edge_agent.releases.choosing import Ruling
from edge_agent.releases.dossier import KIND, Dossier, State, encode, read_dossier
from edge_agent.releases.entry import FILE_MAX, Entry, parts_of, told

RECEIVED_MAX = 4 * FILE_MAX
"""Bytes of a dossier that somebody brings."""


class NoSuchRelease(KeyError):
    """There is no such topic, or no such version of it."""


class Shelf:
    """`shipped`: paths of the release files that came with the agent. `gateway`: who this is, for scopes."""

    def __init__(self, folder: Path, keyset: Keyset, gateway: str, shipped: Iterable[Path]) -> None:
        self.folder = folder
        self._keyset = keyset
        self._scopes = frozenset({"fleet", gateway})
        came = (told(Entry("", 0, State.PUBLISHED, "shipped"), path.read_bytes().decode()) for path in shipped)
        self._shipped = {e.name: _as_shipped(e) for e in came}

    def entries(self) -> list[Entry]:
        """Everything there is, by topic and version. What cannot be read is listed with the reason."""
        found = dict(self._shipped)
        for path in sorted(self.folder.glob("*.toml")):
            if parts_of(path.stem)[1] and not path.with_suffix(".signed").exists():
                found[path.stem] = self._draft(path)
        for path in sorted(self.folder.glob("*.signed")):
            if parts_of(path.stem)[1]:
                found[path.stem] = self._signed(path)
        return sorted(found.values(), key=lambda e: (e.topic, e.version))

    def entry(self, name: str) -> Entry:
        """Raises `NoSuchRelease`."""
        found = next((e for e in self.entries() if e.name == name), None)
        if found is None:
            raise NoSuchRelease(name)
        return found

    def rulings(self) -> list[Ruling]:
        """What the dossiers say that are meant for this gateway; what cannot be used decides nothing."""
        return [
            Ruling(e.topic, e.version, e.state, frozenset(e.sets), e.release if e.origin == "managed" else None)
            for e in self.entries()
            if e.wrong is None and e.signed and e.scopes <= self._scopes
        ]

    def new(self, topic: str) -> Path:
        """The newest version of a topic, copied as the draft of the next one. Raises `NoSuchRelease`, OSError."""
        mine = [e for e in self.entries() if e.topic == topic]
        readable = [e for e in mine if e.text]
        if not readable:
            raise NoSuchRelease(topic)
        version = max(e.version for e in mine) + 1
        text = re.sub(r"(?m)^version\s*=.*$", f"version = {version}", readable[-1].text)
        text = re.sub(r"(?m)^status\s*=.*$", 'status = "draft"', text)
        path = self.folder / f"{topic}@{version}.toml"
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        return path

    def decide(self, name: str, wanted: State, key: PrivateKey, *, at: str, scope: str = "fleet") -> Dossier:
        """One step, signed. `at`: UTC, RFC 3339. Raises `PackageRefused` or `ReleaseError` for one that must not be;
        `NoSuchRelease`, OSError."""
        entry = self.entry(name)
        if entry.wrong is not None:
            raise entry.wrong
        if wanted is State.DRAFT:
            raise PackageRefused("step", name=name, state=entry.state.value, wanted=wanted.value)
        path = self.folder / f"{name}.signed"
        known = self._read(path).to_bytes() if path.exists() else b""
        decision = ReleaseDecision(
            topic=entry.topic, version=entry.version, state=cast(Any, wanted.value), digest=entry.digest, at=at,
            text=entry.text if wanted is State.IN_REVIEW else UNSET,
        )  # fmt: skip
        version = 1 + self.ratchet().last(KIND, key.id)
        sealed = seal_package(encode(decision), kind=KIND, version=version, scope=scope, key=key)
        dossier = read_dossier(known + sealed + b"\n", self._keyset, shipped=self._digest)
        _write(path, dossier.to_bytes())
        return dossier

    def receive(
        self, raw: bytes, *, now_ms: Ms | None, tried: Callable[[State, Release], None] = lambda state, release: None
    ) -> Dossier:
        """A dossier that somebody brought: what is here must be its beginning, what is new must be above the ratchet.

        `now_ms`: UTC by a synced clock, else None. `tried` is called before it is kept, and raises `ReleaseError` for
        one that must not be. Raises `PackageRefused`, `ReleaseError`, OSError.
        """
        if len(raw) > RECEIVED_MAX:
            raise PackageRefused("too_long", size=len(raw), most=RECEIVED_MAX)
        dossier = read_dossier(raw, self._keyset, shipped=self._digest)
        path = self.folder / f"{dossier.name}.signed"
        known = self._read(path).raw if path.exists() else ()
        if dossier.raw[: len(known)] != known:
            raise PackageRefused("history", name=dossier.name)
        ratchet, fresh = self.ratchet(), dossier.raw[len(known) :] or dossier.raw[-1:]
        for package in fresh:
            opened = open_package(package, self._keyset, kind=KIND, scopes=self._scopes, ratchet=ratchet, now_ms=now_ms)
            ratchet.take(opened.header)
        entry = told(Entry("", 0, State.DRAFT, "managed"), dossier.text) if dossier.text else self.entry(dossier.name)
        if entry.wrong is not None:
            raise entry.wrong
        if entry.release is not None:
            tried(dossier.state, entry.release)
        _write(path, dossier.to_bytes())
        return dossier

    def ratchet(self) -> Ratchet:
        """The highest versions that the dossiers here hold; one that cannot be read holds none."""
        ratchet = Ratchet()
        for path in self.folder.glob("*.signed"):
            with contextlib.suppress(PackageRefused):
                for _, opened in self._read(path).decisions:
                    ratchet.take(opened.header)
        return ratchet

    # -- inside -------------------------------------------------------------------------------------------------

    def _draft(self, path: Path) -> Entry:
        topic, version = parts_of(path.stem)
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            text = "\0"
        return replace(told(Entry(topic, version, State.DRAFT, "managed"), text), topic=topic, version=version)

    def _signed(self, path: Path) -> Entry:
        topic, version = parts_of(path.stem)
        try:
            dossier = self._read(path)
        except PackageRefused as refused:
            return Entry(topic, version, State.DRAFT, "managed", wrong=refused)
        entry = self._shipped.get(path.stem)
        if entry is None:
            entry = told(Entry(topic, version, dossier.state, "managed"), dossier.text)
        return replace(
            entry, state=dossier.state, author=dossier.author, approver=dossier.approver, signed=True,
            scopes=dossier.scopes,
        )  # fmt: skip

    def _read(self, path: Path) -> Dossier:
        dossier = read_dossier(path.read_bytes(), self._keyset, shipped=self._digest)
        if dossier.name != path.stem:
            raise PackageRefused("history", name=path.stem)
        return dossier

    def _digest(self, name: str) -> str | None:
        came = self._shipped.get(name)
        return None if came is None else came.digest


def _as_shipped(entry: Entry) -> Entry:
    """A file beside the agent says its state itself: whoever may write there needs no signature."""
    return entry if entry.release is None else replace(entry, state=State(entry.release.status))


def _write(path: Path, raw: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    with beside.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
