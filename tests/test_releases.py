"""Topic management: two people from a draft to what runs, and what a release says otherwise before it does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edge_agent.archive import Archive
from edge_agent.assembly import load_point, releases_of, shelf_of
from edge_agent.audit.release import ReleaseError, mistakes_in
from edge_agent.audit.topic import Release, Step
from edge_agent.cli import main
from edge_agent.contract.demand import demand_row
from edge_agent.load.views import Band, Demand, Interval, Source
from edge_agent.package import PackageRefused, PrivateKey
from edge_agent.releases import Ruling, Shelf, State, differences, in_force
from edge_agent.releases.dossier import MOVES
from edge_agent.replay.compare import compare
from edge_agent.replay.dry_run import dry_run
from edge_agent.settings import config_files, device_specs, load_site
from edge_agent.store import IntervalRow, Limits, Store
from tests.letters import seal
from tests.signers import FACTORY, Signers

SIGNERS = Signers()
AT = "2026-03-14T12:00:00Z"
TOPIC, SECOND = "cap-over-contract", "cap-over-contract@2"
SHIPPED = releases_of(config_files(), "cn-sg-meter")
MIDNIGHT_MS = 1_773_417_600_000  # 2026-03-14 00:00 in Shanghai
QUARTER_MS = 900_000


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return SIGNERS.shelf(tmp_path / "releases")


def drafted(shelf: Shelf, before: str = "above = 1.05", after: str = "above = 1.03") -> str:
    path = shelf.new(TOPIC)
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    return path.stem


def published(shelf: Shelf, name: str = SECOND) -> None:
    for state, key in ((State.IN_REVIEW, SIGNERS.alice), (State.APPROVED, SIGNERS.bob), (State.PUBLISHED, SIGNERS.bob)):
        shelf.decide(name, state, key, at=AT)


def refused(act: Any) -> str:
    with pytest.raises(PackageRefused) as wrong:
        act()
    return wrong.value.code


# --- from a draft to what runs


def test_a_draft_is_the_newest_version_with_the_next_number(shelf: Shelf):
    path = shelf.new(TOPIC)
    assert path.name == f"{SECOND}.toml"
    entry = shelf.entry(SECOND)
    assert (entry.state, entry.version, entry.wrong) == (State.DRAFT, 2, None)
    assert "# The half of the topic" in entry.text, "with the comments of the one it was copied from"
    assert shelf.new(TOPIC).stem == f"{TOPIC}@3"


def test_two_people_bring_a_release_to_run_and_nothing_before_the_end_does(shelf: Shelf):
    name = drafted(shelf)
    ran = []
    for state, key in ((None, None), (State.IN_REVIEW, SIGNERS.alice), (State.APPROVED, SIGNERS.bob),
                       (State.PUBLISHED, SIGNERS.alice)):  # fmt: skip
        if state is not None and key is not None:
            shelf.decide(name, state, key, at=AT)
        ran.append(releases_of(config_files(), "cn-sg-meter", shelf.rulings())[TOPIC].name)
    assert ran == [f"{TOPIC}@1", f"{TOPIC}@1", f"{TOPIC}@1", SECOND]
    entry = shelf.entry(name)
    assert (entry.author, entry.approver, entry.state) == ("alice", "bob", State.PUBLISHED)
    release = releases_of(config_files(), "cn-sg-meter", shelf.rulings())[TOPIC]
    assert [x.above for x in release.levels] == [1.0, 1.03, 1.1]
    assert release.digest == entry.digest != SHIPPED[TOPIC].digest, "findings name its version and its digest"


def test_nobody_approves_what_he_wrote(shelf: Shelf):
    name = drafted(shelf)
    shelf.decide(name, State.IN_REVIEW, SIGNERS.alice, at=AT)
    assert refused(lambda: shelf.decide(name, State.APPROVED, SIGNERS.alice, at=AT)) == "same_person"
    assert shelf.entry(name).state is State.IN_REVIEW
    shelf.decide(name, State.APPROVED, SIGNERS.bob, at=AT)


def test_every_step_that_the_picture_does_not_show_is_refused(shelf: Shelf):
    name = drafted(shelf)
    walk = [State.DRAFT, State.IN_REVIEW, State.APPROVED, State.PUBLISHED, State.SUSPENDED, State.PUBLISHED,
            State.RETIRED]  # fmt: skip
    tried = 0
    for now, following in zip(walk, [*walk[1:], None], strict=True):
        for wanted in set(State) - MOVES[now]:
            tried += 1
            assert refused(lambda w=wanted: shelf.decide(name, w, SIGNERS.bob, at=AT)) in {"step", "same_person"}
        if following is not None:
            key = SIGNERS.alice if following is State.IN_REVIEW else SIGNERS.bob
            shelf.decide(name, following, key, at=AT)
    assert tried > 25


def test_a_submitted_text_stays_whatever_becomes_of_the_draft(shelf: Shelf):
    name = drafted(shelf)
    shelf.decide(name, State.IN_REVIEW, SIGNERS.alice, at=AT)
    (shelf.folder / f"{name}.toml").write_text("topic = 1", encoding="utf-8")
    shelf.decide(name, State.APPROVED, SIGNERS.bob, at=AT)
    assert "above = 1.03" in shelf.entry(name).text


def test_a_dossier_that_somebody_changed_decides_nothing(shelf: Shelf):
    name = drafted(shelf)
    published(shelf, name)
    path = shelf.folder / f"{name}.signed"
    whole = path.read_bytes()
    lines = whole.split(b"\n")
    for forged in (
        whole.replace(b"above = 1.03", b"above = 9.03"),
        b"\n".join(lines[3:]),  # nobody submitted it
        b"\n".join([*lines[:3], *lines[6:]]),  # nobody approved it
        whole[:-200],
        b"",
    ):
        path.write_bytes(forged)
        assert shelf.rulings() == []
        assert shelf.entry(name).wrong is not None
        assert releases_of(config_files(), "cn-sg-meter", shelf.rulings())[TOPIC].version == 1
    path.write_bytes(whole)
    assert len(shelf.rulings()) == 1


def test_a_key_that_is_pinned_nowhere_signs_for_nobody(shelf: Shelf):
    name = drafted(shelf)
    shelf.decide(name, State.IN_REVIEW, SIGNERS.alice, at=AT)
    for stranger in (SIGNERS.mallory, PrivateKey("mallory", SIGNERS.pem["mallory"])):
        assert refused(lambda s=stranger: shelf.decide(name, State.APPROVED, s, at=AT)) in {"signature", "unknown_key"}


def test_without_pinned_signers_no_dossier_counts(tmp_path: Path, shelf: Shelf):
    name = drafted(shelf)
    published(shelf, name)
    site = load_site(SIGNERS.site(tmp_path))
    (tmp_path / "signers.toml").unlink()
    (tmp_path / "state").mkdir()
    (tmp_path / "releases").rename(tmp_path / "state/releases")
    assert shelf_of(site, config_files()).rulings() == []
    (tmp_path / "signers.toml").write_text("[[key]]\nid = 1", encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"signers\.toml"):
        shelf_of(site, config_files())


# --- which version speaks


def versions(*states: tuple[int, State]) -> list[Ruling]:
    sets = frozenset({"cn-sg-meter"})
    return [
        Ruling(TOPIC, n, state, sets, None if n == 1 else dataclasses.replace(SHIPPED[TOPIC], version=n))
        for n, state in states
    ]


@pytest.mark.parametrize(
    ("states", "runs"),
    [
        ([], 1),
        ([(2, State.APPROVED)], 1),
        ([(2, State.PUBLISHED)], 2),
        ([(2, State.PUBLISHED), (3, State.IN_REVIEW)], 2),
        ([(2, State.SUSPENDED)], None),  # what was stopped is not followed by something older
        ([(2, State.SUSPENDED), (3, State.PUBLISHED)], 3),
        ([(2, State.RETIRED)], 1),
        ([(1, State.RETIRED), (2, State.RETIRED)], None),
        ([(1, State.SUSPENDED)], None),
        ([(1, State.RETIRED), (2, State.PUBLISHED)], 2),
    ],
)
def test_which_version_speaks_for_its_topic(states: list[tuple[int, State]], runs: int | None):
    chosen = in_force(SHIPPED, versions(*states), "cn-sg-meter")
    assert (chosen[TOPIC].version if TOPIC in chosen else None) == runs
    assert chosen.keys() | {TOPIC} == SHIPPED.keys(), "no other topic is touched"


def test_a_release_of_another_set_does_not_run():
    other = [r._replace(sets=frozenset({"elsewhere"})) for r in versions((2, State.PUBLISHED))]
    assert in_force(SHIPPED, other, "cn-sg-meter")[TOPIC].version == 1


def test_a_topic_that_came_with_the_agent_can_be_silenced(shelf: Shelf):
    shelf.decide("dat-comm@1", State.SUSPENDED, SIGNERS.bob, at=AT)
    assert "dat-comm" not in releases_of(config_files(), "cn-sg-meter", shelf.rulings())
    shelf.decide("dat-comm@1", State.PUBLISHED, SIGNERS.alice, at=AT)
    assert "dat-comm" in releases_of(config_files(), "cn-sg-meter", shelf.rulings())


# --- brought from elsewhere


def test_a_dossier_is_taken_whole_and_only_ever_grows(tmp_path: Path, shelf: Shelf):
    name = drafted(shelf)
    published(shelf, name)
    path = shelf.folder / f"{name}.signed"
    first = path.read_bytes()
    there = SIGNERS.shelf(tmp_path / "there")
    assert there.receive(first, now_ms=None).state is State.PUBLISHED
    assert refused(lambda: there.receive(first, now_ms=None)) == "old_version", "a replay"
    shelf.decide(name, State.SUSPENDED, SIGNERS.alice, at=AT)
    there.receive(path.read_bytes(), now_ms=None)
    assert there.entry(name).state is State.SUSPENDED
    assert refused(lambda: there.receive(first, now_ms=None)) == "history", "the state before the suspension"
    assert there.entry(name).state is State.SUSPENDED


def test_what_is_meant_for_another_gateway_is_not_taken_and_does_not_run(tmp_path: Path, shelf: Shelf):
    name = drafted(shelf)
    for state, key in ((State.IN_REVIEW, SIGNERS.alice), (State.APPROVED, SIGNERS.bob), (State.PUBLISHED, SIGNERS.bob)):
        shelf.decide(name, state, key, at=AT, scope="gw-2")
    assert shelf.rulings() == []
    raw = (shelf.folder / f"{name}.signed").read_bytes()
    assert refused(lambda: SIGNERS.shelf(tmp_path / "a").receive(raw, now_ms=None)) == "scope"
    there = SIGNERS.shelf(tmp_path / "b", "gw-2")
    there.receive(raw, now_ms=None)
    assert [r.version for r in there.rulings()] == [2]


def test_a_release_that_cannot_run_is_not_taken(tmp_path: Path, shelf: Shelf):
    name = drafted(shelf, 'route = "customer-inspection"', 'route = "elsewhere"')
    with pytest.raises(ReleaseError, match="route is 'elsewhere'"):
        shelf.decide(name, State.IN_REVIEW, SIGNERS.alice, at=AT)


# --- what is wrong in it, what differs


def test_every_mistake_of_a_release_is_said_at_once():
    said = list(mistakes_in({
        "topic": "x", "version": 0, "status": "new", "episode": "week", "route": "police", "colour": 1, "due_days": 3,
        "levels": [{"severity": "grave", "above": "1", "open": {"k": 0}}, {"severity": "notice", "above": 1.0,
                   "open": {"unit": "year"}, "source": "s", "why": 1}], "clear": {"below": 1},
        "supersedes": "y", "params": [],
    }))  # fmt: skip
    for words in ("unknown key 'colour'", "'iec' is missing", "version is 0", "status is 'new'", "episode is 'week'",
                  "route is 'police'", "levels[1].severity", "levels[1].above is '1'", "levels[1].open.k is 0",
                  "levels[1].source is missing", "levels[2].open.unit is 'year'", "levels[2].why is unknown",
                  "clear is", "due_days is 3", "supersedes must", "params must"):  # fmt: skip
        assert any(words in line for line in said), words


def test_differences_are_those_of_the_numbers():
    before: dict[str, Any] = {"version": 1, "levels": [{"severity": "warning", "above": 1.05}], "params": {"n": 2}}
    after: dict[str, Any] = {"version": 2, "levels": [{"severity": "notice", "above": 1.0},
                                                      {"severity": "warning", "above": 1.03}]}  # fmt: skip
    assert [tuple(c) for c in differences(before, after)] == [
        ("levels[notice].above", None, 1.0), ("levels[warning].above", 1.05, 1.03), ("params.n", 2, None),
    ]  # fmt: skip
    assert differences(before, {**before, "version": 9, "status": "draft"}) == []


# --- tried on what is stored


def blocks(*kva: float) -> list[Interval]:
    return [
        Interval("factory", MIDNIGHT_MS + n * QUARTER_MS, MIDNIGHT_MS + (n + 1) * QUARTER_MS, True,
                 Demand(Source.REGISTER, Band(x, x, x), None, Band(1000 * x, 1000 * x, 1000 * x), 1.0, 0.0), None,
                 MIDNIGHT_MS + (n + 1) * QUARTER_MS)
        for n, x in enumerate(kva)
    ]  # fmt: skip


def tried(intervals: list[Interval], releases: dict[str, Release]) -> dict[str, list[Step]]:
    site = load_site(FACTORY)
    archive, device = Archive.of(site), device_specs(site)[0]
    points = [load_point(archive, archive.points["factory"], device)]
    return dry_run(intervals, archive, points, releases, gateway="gw-1")


def test_a_dry_run_finds_what_the_agent_would_have_found(shelf: Shelf):
    name = drafted(shelf)
    before, after = dict(SHIPPED), {**SHIPPED, TOPIC: shelf.entry(name).release or SHIPPED[TOPIC]}
    kva = [200, 260, 260, 260, 200, 200, 200, 200]  # 104 % of 250 kVA, three times
    found = compare(tried(blocks(*kva), before), tried(blocks(*kva), after))
    assert [(p.before.severity, p.after.severity) for p in found.regraded] == [("notice", "warning")]
    assert not found.new
    assert not found.gone
    assert not found.moved
    calm = compare(tried(blocks(*[200] * 8), before), tried(blocks(*[200] * 8), after))
    assert not calm.differs


def test_findings_that_are_new_gone_or_moved():
    def at(level: str) -> dict[str, list[Step]]:
        first, *rest = SHIPPED[TOPIC].levels
        levels = (dataclasses.replace(first, above=float(level)), *rest)
        release = dataclasses.replace(SHIPPED[TOPIC], levels=levels)
        return tried(blocks(200, 255, 260, 262, 200, 200, 200, 200), {TOPIC: release})

    assert [t.topic for t in compare(at("1.00"), at("1.05")).gone] == [TOPIC]
    assert [t.topic for t in compare(at("1.05"), at("1.00")).new] == [TOPIC]
    (moved,) = compare(at("1.00"), at("1.03")).moved
    assert moved.after.opened_ms - moved.before.opened_ms == QUARTER_MS


# --- as a person calls it


def verb(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["releases", *map(str, words)])
    assert done.exit_code == code, done.output
    return done


def stored(site: Path, *kva: float) -> None:
    """Intervals in the store, as the agent leaves them."""
    state = Path(load_site(site).paths.state)
    state.mkdir(parents=True, exist_ok=True)
    files = (state / "findings.db", state / "telemetry.db")
    store = Store.open(*files, seal=seal, now_ms=lambda: MIDNIGHT_MS, limits=Limits(telemetry_s=0.01))
    rows = []
    for interval in blocks(*kva):
        demand = interval.register
        assert demand is not None
        body = demand_row("factory", source="register", coverage=1.0, active_w=demand.active,
                          apparent_va=demand.apparent)  # fmt: skip
        rows.append(IntervalRow("factory", interval.start_ms, interval.end_ms, body))
    store.add_intervals(rows).result()
    store.close()


def test_from_a_draft_to_a_published_release_by_the_verbs(tmp_path: Path):
    site = SIGNERS.site(tmp_path)
    stored(site, 200, 260, 260, 260, 200, 200, 200, 200)
    where = ("--site", site)
    verb("new", TOPIC, *where)
    draft = tmp_path / f"state/releases/{SECOND}.toml"
    draft.write_text(draft.read_text("utf-8").replace("above = 1.05", "above = 1.03"), encoding="utf-8")
    said = verb("diff", SECOND, *where).output
    assert "levels[warning].above: 1.05 -> 1.03" in said
    assert "notice -> warning" in said, "what it would have found on the stored days"
    assert "alice wrote it" in (
        verb("submit", SECOND, "--key", tmp_path / "alice.pem", *where).output
        + verb("approve", SECOND, "--key", tmp_path / "alice.pem", *where, code=1).output
    )
    verb("publish", SECOND, "--key", tmp_path / "bob.pem", *where, code=1)
    verb("approve", SECOND, "--key", tmp_path / "bob.pem", *where)
    done = json.loads(verb("publish", SECOND, "--key", tmp_path / "bob.pem", "--json", *where).output)
    assert done["state"] == "published"
    assert [p["after"]["severity"] for p in done["trial"]["tried"]["regraded"]] == ["warning"]
    rows = {r["release"]: r for r in json.loads(verb("list", "--json", *where).output)}
    assert rows[SECOND]["runs"]
    assert not rows[f"{TOPIC}@1"]["runs"]
    assert (rows[SECOND]["author"], rows[SECOND]["approver"]) == ("alice", "bob")
    assert verb("list", *where).output.count("published") == len(rows)


def test_a_release_that_breaks_on_the_stored_days_is_not_published(tmp_path: Path):
    site = SIGNERS.site(tmp_path)
    stored(site, *[200.0] * 4)
    shelf = shelf_of(load_site(site), config_files())
    name = drafted(shelf, "clear = { below = 0.95, hold_s = 1800 }", "clear = { below = 0.95, hold_s = 1800 }")
    shelf.decide(name, State.IN_REVIEW, SIGNERS.alice, at=AT)
    shelf.decide(name, State.APPROVED, SIGNERS.bob, at=AT)
    from edge_agent.replay import dry_run as room

    def broken(topics: Any) -> Any:
        raise ReleaseError("it cannot judge what is stored: KeyError('x')")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "topics_of", broken)
        said = verb("publish", name, "--key", tmp_path / "bob.pem", "--site", site, code=1).output
    assert "cannot judge what is stored" in said
    assert shelf.entry(name).state is State.APPROVED


def test_mistakes_in_a_draft_are_said_in_words_all_at_once(tmp_path: Path):
    site = SIGNERS.site(tmp_path)
    path = shelf_of(load_site(site), config_files()).new(TOPIC)
    text = path.read_text("utf-8").replace('"month"', '"week"').replace("version = 2", "version = 9")
    path.write_text(f'colour = "red"\n{text}', encoding="utf-8")
    said = verb("diff", SECOND, "--site", site, code=1).output
    for words in ("colour", "week", f"{TOPIC}@9"):
        assert words in said
    assert "Traceback" not in said


def test_keys_are_made_for_their_owner_alone_and_never_written_over(tmp_path: Path):
    done = verb("key", "ops-1", tmp_path / "a.pem")
    assert 'id = "ops-1"' in done.output
    assert (tmp_path / "a.pem").stat().st_mode & 0o777 == 0o600
    assert "there already" in verb("key", "ops-1", tmp_path / "a.pem", code=1).output
    site = SIGNERS.site(tmp_path)
    said = verb("suspend", "dat-comm@1", "--key", tmp_path / "a.pem", "--site", site, code=1).output
    assert "none of the pinned signers" in said
    (tmp_path / "signers.toml").unlink()
    said = verb("suspend", "dat-comm@1", "--key", tmp_path / "a.pem", "--site", site, code=1).output
    assert "No signers are pinned" in said


def test_what_is_brought_in_a_file(tmp_path: Path):
    here, there = SIGNERS.site(tmp_path / "here"), SIGNERS.site(tmp_path / "there")
    published(shelf_of(load_site(here), config_files()), drafted(shelf_of(load_site(here), config_files())))
    file = tmp_path / f"here/state/releases/{SECOND}.signed"
    assert "is published" in verb("receive", file, "--site", there).output
    assert "was sent before" in verb("receive", file, "--site", there, code=1).output
    assert any(r["release"] == SECOND and r["runs"] for r in json.loads(verb("list", "--json", "--site", there).output))
    no_such = verb("suspend", "cap-over-contract@7", "--key", tmp_path / "here/bob.pem", "--site", there, code=1)
    assert "no release cap-over-contract@7" in no_such.output
