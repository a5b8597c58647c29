"""What is handed to the store while it fails: held, handed over again, in order, each once; and never without bound."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, cast

import msgspec
import pytest

from edge_agent.app.identity import identity_of
from edge_agent.app.keeping import (
    AGAIN_MS,
    EVIDENCE_HELD_MAX,
    HELD_MAX,
    STATE_EVERY_MS,
    Keeping,
    _packed,
    _unpacked,
)
from edge_agent.archive import Archive
from edge_agent.assembly import core_of
from edge_agent.audit.track import Track
from edge_agent.core import CoreOutcome
from edge_agent.evidence.frozen import Frozen, freeze
from edge_agent.image import Snapshot
from edge_agent.model import ClockQuality, ClockState, Letter, Quantity, Reading, Sealed, Severity
from edge_agent.settings import config_files, device_specs, load_site
from edge_agent.store import Store, StoreFull

SITE = load_site(config_files().shipped / "examples/factory.toml")
CLOCK = ClockState(ClockQuality.SYNCED, 0, 0)


class Shelf:
    """Stands for the store: `full` fails every write, `slow` answers only when told."""

    def __init__(self) -> None:
        self.full = False
        self.slow = False
        self.letters: list[str] = []
        self.tracks: dict[str, bytes | None] = {}
        self.ledger: list[tuple[str, bytes]] = []
        self.trimmed: list[str] = []
        self.urgent: list[bool] = []
        self.evidence: list[Frozen] = []
        self.open: list[tuple[Future[list[Sealed]], Any]] = []

    def record(
        self,
        letters: Sequence[Letter],
        tracks: Mapping[str, bytes | None],
        ledger: Sequence[tuple[str, bytes]],
        *,
        urgent: bool,
        evidence: Sequence[Frozen] = (),
    ) -> Future[list[Sealed]]:
        self.urgent.append(urgent)
        self.evidence += () if self.full else evidence
        future: Future[list[Sealed]] = Future()
        self.open.append((future, (letters, tracks, ledger)))
        if not self.slow:
            self.answer()
        return future

    def answer(self) -> None:
        """As a commit does: all that wait, or none."""
        waiting, self.open = self.open, []
        for future, (letters, tracks, ledger) in waiting:
            if self.full:
                future.set_exception(StoreFull(path="/var/lib/edge-agent/findings.db"))
                continue
            self.letters += [x.id for x in letters if x.id not in self.letters]
            self.tracks |= tracks
            self.ledger += ledger
            future.set_result([])

    def trim_ledger(self, before_key: str) -> None:
        self.trimmed.append(before_key)

    def load_tracks(self) -> dict[str, bytes]:
        return {k: v for k, v in self.tracks.items() if v is not None}

    def load_ledger(self) -> list[bytes]:
        return [blob for _, blob in self.ledger]


def letter(id_: str, severity: Severity = Severity.NOTICE) -> Letter:
    return Letter(id_, "record", "edge-agent.record.boot.v1", "/demo/gw-1", "boot", None, severity)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def keeping(shelf: Shelf, told: list[frozenset[str]] | None = None) -> Keeping:
    archive = Archive.of(SITE)
    core = core_of(archive, device_specs(SITE), config_files(), gateway="gw-1", release_set="cn-sg-meter")
    committed = (lambda points: None) if told is None else told.append
    return Keeping(core, cast(Store, shelf), archive, identity_of(SITE.site, "0" * 64), committed=committed)


def tick(keeper: Keeping, now_bt: int, **changed: Track) -> None:
    keeper.keep(CoreOutcome(changed=changed), Snapshot(now_bt, now_bt, CLOCK))


def test_state_alone_is_written_once_a_minute(shelf):
    keeper = keeping(shelf)
    for second in range(180):
        tick(keeper, second * 1000)
    assert len(shelf.ledger) == 3
    assert not any(shelf.urgent)


def test_what_meters_say_is_written_when_it_changes_and_now_and_then_and_survives(shelf):
    def witnesses() -> list[int]:
        plain = [msgspec.msgpack.decode(zlib.decompress(blob)) for _, blob in shelf.ledger]
        return [n for n, delta in enumerate(plain) if "witness" in delta]

    keeper = keeping(shelf)
    for minute in range(25):
        tick(keeper, minute * 60_000)
    assert witnesses() == [0, 10, 20]
    device = keeper._core.ledger.points[0].device
    counted = Reading(device, Quantity.EVENTS_COVER, 3.0, 1.0, 0, None)
    keeper._core.witness.feed([(counted, 1_500_000)])
    tick(keeper, 25 * 60_000)
    tick(keeper, 26 * 60_000)
    assert witnesses() == [0, 10, 20, 25]
    again = keeping(shelf)
    again.restore()
    assert again._core.witness.dump() == keeper._core.witness.dump()
    for at_ms in (3_600_000, 3_610_000):
        again._core.witness.feed([(counted._replace(value=4.0), at_ms)])
    assert again._core.witness.rose() == {device: {"cover_open": 1}}


def test_a_witness_that_another_version_wrote_is_dropped_with_the_rest(shelf):
    keeper = keeping(shelf)
    tick(keeper, 0)
    key, blob = shelf.ledger[-1]
    delta = msgspec.msgpack.decode(zlib.decompress(blob))
    shelf.ledger[-1] = (key, zlib.compress(msgspec.msgpack.encode({**delta, "witness": {"meters": {"m1": 7}}})))
    again = keeping(shelf)
    assert again.restore() == 0
    assert again._core.witness.dump() == {"meters": {}, "recent": []}


def test_letters_go_at_once_and_critical_ones_urgently(shelf):
    told: list[frozenset[str]] = []
    keeper = keeping(shelf, told)
    keeper.write([letter("a")], 0, points=frozenset({"factory"}))
    keeper.write([letter("b", Severity.CRITICAL)], 1)
    assert shelf.letters == ["a", "b"]
    assert shelf.urgent == [False, True]
    assert told == [{"factory"}, frozenset()]


def test_what_a_full_disk_did_not_take_is_held_and_told_once_and_in_order(shelf):
    told: list[frozenset[str]] = []
    keeper = keeping(shelf, told)
    shelf.full = True
    track = Track("cap-over-contract", "factory", "", last_end_ms=1)
    keeper._core.lifecycle.tracks[track.id] = track
    track.levels = []
    track.phase = track.phase.OPEN
    keeper.write([letter("1")], 0, points=frozenset({"factory"}))
    tick(keeper, 100, **{track.id: track})
    keeper.write([letter("2")], 200)
    keeper.write([letter("3")], 300)
    assert shelf.letters == []
    assert told == [], "nobody hears of what is not on the disk"
    assert "no space left" in keeper.trouble
    shelf.full = False
    tick(keeper, 400)
    assert shelf.letters == [], "a store that fails is not asked at every tick"
    for second in range(1, 20):
        tick(keeper, second * 1000)
    assert shelf.letters == ["1", "2", "3"]
    assert [p for p in told if p] == [{"factory"}]
    assert keeper.trouble == ""
    assert list(shelf.tracks) == [track.id]
    assert len({key for key, _ in shelf.ledger}) == len(shelf.ledger) > 0, "no state was left out, none came twice"
    assert [key for key, _ in shelf.ledger] == sorted(key for key, _ in shelf.ledger)


def test_what_a_finding_rests_on_is_held_with_it_and_bounded(shelf):
    keeper = keeping(shelf)
    shelf.full = True
    keeper._evidence = [freeze(f"f{n}", 1, {"n": n}) for n in range(EVIDENCE_HELD_MAX + 5)]
    keeper.write([letter("1")], 0)
    keeper.write([letter("2")], AGAIN_MS)
    assert shelf.evidence == []
    shelf.full = False
    keeper.write([], 2 * AGAIN_MS + 1)
    keeper.write([], 3 * AGAIN_MS + 2)
    assert shelf.letters == ["1", "2"]
    assert [f.finding for f in shelf.evidence] == [f"f{n}" for n in range(EVIDENCE_HELD_MAX)]


def test_a_later_state_never_overtakes_an_earlier_one(shelf):
    keeper = keeping(shelf)
    shelf.slow = True
    keeper.write([letter("1")], 0)
    keeper.write([letter("2")], 100)
    first, second = (job[2] for _, job in shelf.open)
    assert len(first) == 1
    assert second == (), "the first may still fail"
    shelf.full = True
    shelf.answer()
    shelf.full = shelf.slow = False
    keeper.write([letter("3")], 200)  # learns of the failure
    keeper.write([], 200 + AGAIN_MS)
    assert shelf.letters == ["1", "2", "3"]
    keys = [key for key, _ in shelf.ledger]
    assert keys == sorted(keys)
    assert len(keys) == 2


def test_what_is_held_has_a_bound_and_what_is_given_up_is_counted(shelf):
    keeper = keeping(shelf)
    shelf.full = True
    for i in range(HELD_MAX + 7):
        keeper.write([letter(str(i))], 0)
    keeper.write([], AGAIN_MS)
    keeper.write([], AGAIN_MS + 1)
    assert keeper.take_lost() == 0, "while it fails, there is nobody to tell"
    shelf.full = False
    keeper.write([], 2 * AGAIN_MS + 2)
    keeper.write([], 2 * AGAIN_MS + 3)
    assert len(shelf.letters) == HELD_MAX
    assert keeper.take_lost() == 7
    assert keeper.take_lost() == 0


def test_old_state_is_trimmed_by_number_whatever_the_wall_clock_does(shelf):
    keeper = keeping(shelf)
    for minute in range(100):
        now_bt = minute * STATE_EVERY_MS
        wall_ms = 10**12 - minute * 3_600_000
        keeper.keep(CoreOutcome(), Snapshot(now_bt, wall_ms, ClockState(ClockQuality.RTC, wall_ms - now_bt, None)))
    keys = [key for key, _ in shelf.ledger]
    assert keys == sorted(keys)
    assert len(set(keys)) == 100
    last = max(shelf.trimmed)
    kept = [key for key in keys if key >= last]
    assert 45 <= len(kept) <= 47, "three demand periods of 15 minutes"
    again = keeping(shelf)
    again.restore()
    again.write([], 0)
    assert shelf.ledger[-1][0] > keys[-1], "numbers go on after a restart"


@pytest.mark.parametrize(
    "blob",
    [
        b"\xff\xff",
        zlib.compress(b"\xc1"),
        zlib.compress(msgspec.msgpack.encode([1])),
        zlib.compress(msgspec.msgpack.encode({"points": 5})),
        zlib.compress(msgspec.msgpack.encode({"points": ["factory"], "made": [[]], "dropped": 0})),
    ],
)
def test_state_that_nobody_can_read_is_dropped(shelf, blob):
    shelf.ledger = [("1", blob)]
    shelf.tracks = {
        "a": b"\xc1",
        "b": msgspec.msgpack.encode({"a": 1}),
        "c": msgspec.msgpack.encode({**Track("t", "p", "").to_plain(), "last_end_ms": "yesterday"}),
        "d": msgspec.msgpack.encode({**Track("t", "p", "").to_plain(), "phase": "asleep"}),
        "e": msgspec.msgpack.encode(Track("cap-over-contract", "factory", "").to_plain()),
    }
    keeper = keeping(shelf)
    assert keeper.restore() == 0
    assert list(keeper._core.lifecycle.tracks) == ["cap-over-contract/factory/"], "the one that can be read"
    tick(keeper, 0)
    assert len(shelf.ledger) == 2, "and the agent goes on"


@pytest.mark.parametrize("depth", [1, 2, 4, 9])
def test_what_is_written_piece_by_piece_is_what_was_written_whole(depth: int):
    plain = {"entry": 7, "studies": {"t": {"release": "r", "kept": {"p": [1.5, None], "q": {"x": "y"}}}, "u": {}}}
    packed = b"".join(_packed(plain, depth))
    assert msgspec.msgpack.decode(packed) == plain
    studies = msgspec.msgpack.decode(msgspec.msgpack.encode(plain["studies"]), type=dict[str, msgspec.Raw])
    read = _unpacked(studies["t"])
    assert (read["release"], dict(read["kept"])) == ("r", {"p": [1.5, None], "q": {"x": "y"}})


@pytest.mark.parametrize("plain", [[1], 5, {"release": "r", "kept": [1]}, {"release": "r", "kept": {3: 4}}])
def test_a_study_of_another_form_is_read_whole_and_left_to_the_study(plain: object):
    assert _unpacked(msgspec.Raw(msgspec.msgpack.encode(plain))) == plain
