"""The short torture: one of everything that ``make torture`` does for as long as it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from torture import bad_database, bad_network, bad_times, constraints, crash_points, model, races
from torture.case import Case
from torture.crash_points import RUN, Points
from torture.stage import Theater

pytestmark = pytest.mark.postgresql


@pytest.fixture(scope="session")
def points(theater: Theater) -> Points:
    return crash_points.everywhere(theater, 1, only="crash/postgresql/")


def those(cases: Iterable[Case], matches: Callable[[str], bool]) -> list[Case]:
    return [case for case in cases if matches(case.name)]


def test_a_run_that_is_killed_before_or_after_any_commit_or_call_loses_and_doubles_nothing(survives, points):
    cases = crash_points.cases(points, "off", database="postgresql")
    chosen = those(cases, lambda name: f"/{RUN}/" in name and name.endswith(":1"))
    assert {name.partition(":")[0].rpartition("/")[2] for name in (case.name for case in chosen)} >= {
        "billing_run._file.file_batch",
        "billing_run._record.record_batch",
        "create_customer",
        "look_up",
        "submit",
    }
    assert survives(chosen).points == len(chosen)


def test_requests_that_are_killed_around_their_call_lose_and_double_nothing(survives, points):
    cases = crash_points.cases(points, "off", database="postgresql")
    chosen = those(cases, lambda name: "/requests/" in name)[4:8]
    assert survives(chosen).points >= 4 * 4


def test_a_process_that_sleeps_past_its_lease_doubles_nothing_that_the_books_do_not_show(survives):
    names = ("suspended", "slow-call")
    cases = those(bad_times.cases({}), lambda name: "/postgresql/" in name and any(each in name for each in names))
    assert survives(cases).faults >= 6


@pytest.mark.parametrize("story", ["no-look-up-for-a-day", "restored-back-up", "restored-and-recovered", "clock-ahead"])
def test_time_does_no_harm(survives, story):
    assert survives(those(bad_times.cases({}), lambda name: name.endswith(story))).faults > 0


def test_whatever_happens_on_the_way_to_the_processor_an_invoice_is_charged_once(survives):
    chosen = those(bad_network.cases(), lambda name: name == "network/postgresql/unreliable")
    assert survives(chosen).faults > len(bad_network.READING)


def test_a_charge_that_the_network_delivers_twice_is_shown_as_overpaid(survives):
    chosen = those(bad_network.cases(), lambda name: name == "network/postgresql/delivered-twice")
    assert survives(chosen).overpaid == 5


@pytest.mark.parametrize("illness", ["connections-cut", "serialization-deadlock-full-disk"])
def test_an_ill_database_loses_and_doubles_nothing(survives, illness):
    assert survives(those(bad_database.cases(), lambda name: name.endswith(illness))).faults > 0


def test_a_run_that_does_not_hear_of_its_commits_loses_and_doubles_nothing(survives, points):
    cases = bad_database.cut_commits(points)
    assert survives(those(cases, lambda name: name.endswith(":after:1"))).faults >= 5


def test_the_api_and_four_runs_at_once_leave_balanced_books(survives):
    assert survives(those(races.cases(40), lambda name: "/postgresql" in name)).faults > 0


def test_any_story_leaves_balanced_books(survives):
    survives(model.cases(stories=6))


def test_a_billy_that_forgets_a_check_is_stopped_by_the_database(survives):
    assert survives(those(constraints.cases(), lambda name: "/postgresql/" in name)).faults == 2
