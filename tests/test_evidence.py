"""The hash chain: what it computes, and that nothing can be changed, moved or cut without being seen."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.evidence import GENESIS, Gap, next_hash, verify

Chain = list[tuple[int, bytes, bytes]]


def chain_of(bodies: list[bytes]) -> Chain:
    head, records = GENESIS, Chain()
    for n, body in enumerate(bodies, start=1):
        head = next_hash(head, n, body)
        records.append((n, body, head))
    return records


def head_of(records: Chain) -> tuple[int, bytes]:
    return records[-1][0], records[-1][2]


TEN = chain_of([b"record %d of the chain" % n for n in range(1, 11)])


def test_hash_is_sha256_over_marker_head_number_length_and_body():
    by_hand = hashlib.sha256(bytes.fromhex("00" + "00" * 32 + "0000000000000001" + "00000003") + b"abc").digest()
    assert next_hash(bytes(32), 1, b"abc") == by_hand
    second = hashlib.sha256(b"\x00" + by_hand + bytes.fromhex("0000000000000002" + "00000000")).digest()
    assert next_hash(by_hand, 2, b"") == second


def test_a_head_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        next_hash(b"short", 1, b"")


def test_an_untouched_chain_is_intact():
    report = verify(TEN, head=head_of(TEN))
    assert report.intact
    assert (report.records, report.head_seq, report.head) == (10, *head_of(TEN))


def test_an_empty_chain_is_intact_and_ends_where_it_began():
    assert verify([], head=(0, GENESIS)).intact


def test_every_single_bit_edit_of_a_body_or_a_hash_is_found_at_its_record():
    edits = 0
    for n, body, hash in TEN:
        for field, raw in (("body", body), ("hash", hash)):
            for bit in range(8 * len(raw)):
                edited = bytearray(raw)
                edited[bit // 8] ^= 1 << bit % 8
                row = (n, bytes(edited), hash) if field == "body" else (n, body, bytes(edited))
                report = verify([*TEN[: n - 1], row, *TEN[n:]], head=head_of(TEN))
                assert report.first_bad == n
                edits += 1
    assert edits == sum(8 * (len(body) + 32) for _, body, _ in TEN)


def test_every_exchange_of_two_records_is_found():
    for a in range(10):
        for b in range(a + 1, 10):
            rows = list(TEN)
            rows[a], rows[b] = rows[b], rows[a]
            assert not verify(rows, head=head_of(TEN)).intact, (a, b)
            # the same with the numbers left in order, as an editor of the file would leave them
            renumbered = [(n, *row[1:]) for n, row in enumerate(rows, start=1)]
            assert verify(renumbered, head=head_of(TEN)).first_bad == a + 1


def test_every_cut_in_the_middle_at_the_front_and_at_the_end_is_a_gap():
    for first in range(1, 11):
        for last in range(first, 11):
            left = [row for row in TEN if not first <= row[0] <= last]
            report = verify(left, head=head_of(TEN))
            assert report.gaps == (Gap(first, last),)
            assert not report.intact


def test_a_cut_tail_cannot_be_seen_without_the_head():  # why the head is kept apart, and repeated by the centre
    assert verify(TEN[:7]).intact
    assert not verify(TEN[:7], head=head_of(TEN)).intact


def test_a_rewritten_tail_with_hashes_of_its_own_does_not_reach_the_head():
    forged = chain_of([body for _, body, _ in TEN[:5]] + [b"nothing happened here"] * 5)
    assert verify(forged).intact
    assert verify(forged, head=head_of(TEN)).first_bad == 10


def test_a_record_put_in_twice_is_found():
    assert verify([*TEN[:4], TEN[3], *TEN[4:]], head=head_of(TEN)).first_bad == 4


def test_a_trimmed_chain_is_verified_from_where_it_was_trimmed():
    assert verify(TEN[6:], after=(TEN[5][0], TEN[5][2]), head=head_of(TEN)).intact
    assert verify(TEN[6:], after=(6, bytes(32)), head=head_of(TEN)).first_bad == 7


def test_one_damaged_record_is_counted_once():
    rows = list(TEN)
    rows[3] = (4, b"edited", rows[3][2])
    rows[7] = (8, b"edited", rows[7][2])
    report = verify(rows, head=head_of(TEN))
    assert (report.first_bad, report.bad, report.gaps) == (4, 2, ())


def test_a_file_that_holds_something_else_in_place_of_bytes_is_found():
    rows: list[Any] = list(TEN)
    rows[4] = (5, "text", rows[4][2])
    assert verify(rows).first_bad == 5
    rows = list(TEN)
    rows[4] = (5, rows[4][1], b"short")
    assert (verify(rows).first_bad, verify(rows).bad) == (5, 2)


@given(st.data(), st.integers(2, 12))
def test_any_other_order_is_found(data: st.DataObject, count: int):
    records = chain_of([b"%d" % n for n in range(count)])
    order = data.draw(st.permutations(range(count)).filter(lambda order: order != list(range(count))))
    assert not verify([records[k] for k in order], head=head_of(records)).intact
