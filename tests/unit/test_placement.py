"""What the load of hosts counts when they are ranked."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmd.loads import OLD, OLD_AFTER, SHARE, UNKNOWN, Gauge, Load, Loads, weigh
from qrmd.placement import Candidate, Requirement, choose, explain, rank
from qrmd.ranking import Ranking

WANTED = Requirement("any", 1, 100)
SHARES = st.floats(0, 1)
LOADS = st.one_of(st.just(UNKNOWN), st.just(OLD), st.builds(weigh, SHARES, SHARES))


def host(ident: int, load: Load = UNKNOWN, *, cpus: int = 0, memory_mb: int = 0) -> Candidate:
    """One of ten processors and 1000 MiB, of which so much is promised."""
    gauge = Gauge()
    gauge.now = load
    return Candidate(ident, f"h{ident}", "x", "up", 10, 1000, cpus, memory_mb, load=gauge)


def order(*hosts: Candidate) -> list[int]:
    return [each.host_id for each in rank(WANTED, hosts, len(hosts))]


HOSTS = st.lists(
    st.builds(
        lambda load, cpus, memory: host(0, load, cpus=cpus, memory_mb=memory),
        LOADS,
        st.integers(0, 12),
        st.integers(0, 1100),
    ),
    max_size=8,
)


@pytest.mark.parametrize("busy", [weigh(0.2, 0.1), weigh(0.1, 0.2), weigh(1, 1)])
def test_of_equal_hosts_the_busy_one_comes_last(busy: Load) -> None:
    idle = weigh(0.1, 0.1)
    assert order(host(1, busy), host(2, idle), host(3, busy), host(4, idle)) == [2, 4, 1, 3]


def test_what_was_promised_counts_three_times_as_much() -> None:
    promised_to_three_tenths = host(1, weigh(0, 0), cpus=3)
    assert order(promised_to_three_tenths, host(2, weigh(0.95, 0))) == [1, 2]
    assert order(promised_to_three_tenths, host(2, weigh(0.85, 0))) == [2, 1]


def test_a_score_is_three_quarters_unpromised_and_one_quarter_idle() -> None:
    (verdict,) = explain(WANTED, [host(1, weigh(0.5, 0.3), cpus=1, memory_mb=300)])
    assert verdict.score == pytest.approx(0.75 * 0.6 + 0.25 * 0.5)
    assert verdict.reason == "fits; 600 MiB stay free; load counts 25%: processors 50% busy, memory 30% used"


@pytest.mark.parametrize(("load", "said"), [(UNKNOWN, "load unknown"), (OLD, "load older than 30 s")])
def test_where_no_load_is_known_only_promises_count(load: Load, said: str) -> None:
    (verdict,) = explain(WANTED, [host(1, load, cpus=1, memory_mb=300)])
    assert verdict.score == pytest.approx(0.6)
    assert verdict.reason.endswith(f"{said}, only promises count")
    assert order(host(1, load), host(2, weigh(0.2, 0)), host(3, weigh(0, 0))) == [3, 1, 2]


@given(HOSTS)
def test_load_decides_the_order_never_who_fits(hosts: list[Candidate]) -> None:
    bare = [host(0, cpus=each.used_cpus, memory_mb=each.used_memory_mb) for each in hosts]
    verdicts = explain(WANTED, hosts)
    assert sum(each.fits for each in verdicts) == sum(each.fits for each in explain(WANTED, bare))
    assert (choose(WANTED, hosts) is None) == (choose(WANTED, bare) is None)
    scores = [each.score for each in verdicts if each.fits]
    assert [each.fits for each in verdicts] == sorted((each.fits for each in verdicts), reverse=True)
    assert all(former >= latter - 1e-9 for former, latter in pairwise(scores))
    assert all(-1e-9 <= score <= 1 for score in scores)


@pytest.mark.parametrize("absurd", [math.nan, math.inf, -math.inf, 1e300, -7.0])
def test_an_absurd_load_counts_as_the_nearest_share(absurd: float) -> None:
    load = weigh(absurd, absurd)
    assert load.busy in {0, SHARE}
    assert "nan" not in load.reason
    assert explain(WANTED, [host(1, load)])[0].fits


class Clock:
    """Seconds, as the test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_load_gets_old_by_itself_and_young_again() -> None:
    clock = Clock()
    loads = Loads(clock)
    first, second = loads.of(1), loads.of(2)
    loads.forget_old()
    loads.note(1, 0.5, 0.5)
    clock.now += OLD_AFTER / 2
    loads.note(2, 0.25, 0.0)
    loads.forget_old()
    assert (first.now.busy, second.now.busy) == (0.125, 0.0625)
    clock.now += OLD_AFTER / 2
    loads.forget_old()
    assert (first.now, second.now.busy) == (OLD, 0.0625)
    loads.note(1, 1, 1)
    clock.now += OLD_AFTER / 2
    loads.forget_old()
    assert (first.now.busy, second.now) == (SHARE, OLD)
    clock.now += OLD_AFTER / 2
    loads.forget_old()
    assert first.now is OLD
    assert loads.of(1) is first


CHANGES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.integers(0, 1100)), max_size=60)


@given(st.integers(1, 10), CHANGES, st.integers(1, 12))
def test_a_ranking_that_is_kept_is_the_same_as_a_new_one(
    hosts: int, changes: list[tuple[int, int, int]], limit: int
) -> None:
    known = [host(ident) for ident in range(hosts)]
    ranking = Ranking(WANTED, known)
    for ident, cpus, memory_mb in changes:
        if ident < hosts:
            known[ident].used_cpus, known[ident].used_memory_mb = cpus, memory_mb
        ranking.update(ident)
        assert ranking.best(limit) == rank(WANTED, known, limit)
