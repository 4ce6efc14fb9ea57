"""What is particular to the sandbox: its ledger, its magic instruments, and processes that share it."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from billy import clock
from billy.errors import (
    ConfigurationError,
    InvalidFundingInstrument,
    InvalidURIFormat,
    Misconfigured,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from billy.processors import sandbox as sandbox_module
from billy.processors.base import ProcessorFactory, ReceiptStatus, Submission, SubmissionType
from billy.processors.sandbox import Magic, Sandbox, SandboxOptions
from billy.processors.sandbox_ledger import Outcome
from tests.processors.harness import Kind, SandboxHarness

KEY = "sk_do_not_tell"


def a_sandbox(ledger: str | Path = ":memory:", *, deadline: float = 5.0, **options: Any) -> Sandbox:
    return Sandbox(SandboxOptions(ledger=str(ledger), **options), call_deadline=deadline)


def a_debit(number: int = 1, name: str = "ok", try_: int = 1) -> Submission:
    return Submission(
        type=SubmissionType.DEBIT,
        key=f"TX{number}-{try_}",
        transaction_guid=f"TX{number}",
        invoice_guid=f"IV{number}",
        customer_uri="/customers/CU1",
        amount=1000,
        funding_instrument_uri=f"/cards/{name}",
        charge_uri=None,
        appears_on_statement_as=None,
    )


def a_refund(charge_uri: str, number: int = 2, amount: int = 1000) -> Submission:
    return replace(
        a_debit(number),
        type=SubmissionType.REFUND,
        customer_uri=None,
        funding_instrument_uri=None,
        charge_uri=charge_uri,
        amount=amount,
    )


# --- the door ---


def test_the_module_tells_of_every_magic_name_and_of_no_other() -> None:
    table = re.findall(r"^``/cards/(\S+)`` {2,}", sandbox_module.__doc__ or "", re.MULTILINE)
    assert table[0] == "ok"
    assert sorted(table[1:]) == sorted(Magic)


def test_the_contract_suite_skips_nothing_of_the_sandbox() -> None:
    harness = SandboxHarness(":memory:")
    assert harness.idempotent
    names = {kind: (harness.instrument(kind) or "").rpartition("/")[2].removeprefix("refund-") for kind in Kind}
    assert {kind for kind, name in names.items() if name not in set(Magic)} == {Kind.SUCCEEDS}


@pytest.mark.parametrize(
    "uri",
    [
        "/v1/marketplaces/TEST-MP6lD3dBpta7OAXJsN766qA/cards/CCBXYdbpYDwX68hv69UH1eS",
        "/bank_accounts/BA1",
        "/cards/visa/",
    ],
)
def test_any_other_uri_is_an_instrument_that_succeeds(uri: str) -> None:
    sandbox = a_sandbox()
    sandbox(KEY).validate_funding_instrument(uri, SubmissionType.DEBIT, "/customers/1")
    receipt = sandbox(KEY).submit(replace(a_debit(), funding_instrument_uri=uri))
    assert receipt.status is ReceiptStatus.SUCCEEDED


def test_a_customer_of_the_callers_own_is_accepted() -> None:
    a_sandbox()(KEY).validate_customer("/v1/customers/CUCChwFzuMRlBGgoBwjRgqr")


@pytest.mark.parametrize("uri", ["CC123", "cards/ok", "ok"])
def test_a_bare_id_is_told_to_be_a_uri(uri: str) -> None:
    with pytest.raises(InvalidURIFormat, match="URI, which begins with a slash, not by a bare id"):
        a_sandbox()(KEY).validate_funding_instrument(uri, SubmissionType.DEBIT, "/customers/1")


def test_the_options_are_read_from_an_inis_texts() -> None:
    options = SandboxOptions.model_validate(
        {"ledger": "x.sqlite", "idempotent": "false", "slow": "1.5", "latency": "0"}
    )
    assert options == SandboxOptions(ledger="x.sqlite", idempotent=False, slow=1.5, latency=0)


@pytest.mark.parametrize(
    "mistake", [{"idempotence": "no"}, {"slow": "-1"}, {"latency": "long"}, {"ledger": ""}, {"idempotent": "perhaps"}]
)
def test_a_mistaken_option_is_refused(mistake: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SandboxOptions.model_validate(mistake)


def test_the_sandbox_is_a_processor_factory() -> None:
    factory: type[ProcessorFactory] = Sandbox
    assert (factory.name, factory.options) == ("sandbox", SandboxOptions)


def test_a_ledger_that_cannot_be_opened_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"billy\.sandbox\.ledger: cannot use .*/missing/ledger"):
        a_sandbox(tmp_path / "missing" / "ledger")


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear customer,\n" * 100)
    with pytest.raises(ConfigurationError, match=r"billy\.sandbox\.ledger"):
        a_sandbox(letter)
    assert letter.read_text() == "Dear customer,\n" * 100


# --- magic ---


def test_a_key_that_was_declined_is_declined_again_until_it_changes() -> None:
    sandbox = a_sandbox()
    answers = []
    for try_ in (1, 1, 1, 2, 2, 3):
        try:
            answers.append(sandbox(KEY).submit(a_debit(name="declined-twice", try_=try_)).status.value)
        except Refused as refused:
            answers.append(refused.code or "")
    assert answers == ["insufficient-funds"] * 5 + ["succeeded"]
    assert [send.replayed for send in sandbox.sends()] == [False, True, True, False, True, False]


def test_each_transaction_is_declined_twice() -> None:
    sandbox = a_sandbox()
    for number in (1, 2):
        for try_ in (1, 2):
            with pytest.raises(Refused):
                sandbox(KEY).submit(a_debit(number, "declined-twice", try_))
        sandbox(KEY).submit(a_debit(number, "declined-twice", 3))
        assert sandbox.charged(f"TX{number}") == 1


def test_the_two_declines_are_remembered_by_the_ledger_file(tmp_path: Path) -> None:
    for try_ in (1, 2):
        with pytest.raises(Refused):
            a_sandbox(tmp_path / "ledger")(KEY).submit(a_debit(name="declined-twice", try_=try_))
    receipt = a_sandbox(tmp_path / "ledger")(KEY).submit(a_debit(name="declined-twice", try_=3))
    assert receipt.status is ReceiptStatus.SUCCEEDED


def test_without_idempotency_every_send_is_declined_afresh() -> None:
    sandbox = a_sandbox(idempotent=False)
    for _ in range(2):
        with pytest.raises(Refused):
            sandbox(KEY).submit(a_debit(name="declined-twice"))
    assert sandbox(KEY).submit(a_debit(name="declined-twice")).status is ReceiptStatus.SUCCEEDED


def test_a_slow_instrument_within_the_deadline_answers() -> None:
    sandbox = a_sandbox(slow=0.2)
    started = datetime.now(UTC)
    assert sandbox(KEY).submit(a_debit(name="slow")).status is ReceiptStatus.SUCCEEDED
    assert (datetime.now(UTC) - started).total_seconds() >= 0.2


def test_latency_delays_every_submission_and_counts_against_the_deadline() -> None:
    sandbox = a_sandbox(latency=0.3, deadline=0.2)
    with pytest.raises(OutcomeUnknown):
        sandbox(KEY).submit(a_debit())
    assert sandbox.charged("TX1") == 1


def test_the_charge_is_made_in_the_middle_of_the_time_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = a_sandbox()
    charged: list[int] = []
    monkeypatch.setattr("billy.processors.sandbox.time.sleep", lambda seconds: charged.append(sandbox.charged("TX1")))
    sandbox(KEY).submit(a_debit(name="slow"))
    assert charged == [0, 1]


def test_the_bug_is_no_error_of_ours_and_sends_nothing() -> None:
    sandbox = a_sandbox()
    with pytest.raises(TypeError):
        sandbox(KEY).submit(a_debit(name="bug"))
    assert sandbox.sends() == []


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("declined", Refused),
        ("stolen", Refused),
        ("unreachable", Unavailable),
        ("slow-down", Unavailable),
        ("revoked-key", Misconfigured),
        ("lost-before-charge", OutcomeUnknown),
        ("lost-after-charge", OutcomeUnknown),
        ("bug", TypeError),
    ],
)
def test_with_refund_before_its_name_the_debit_succeeds_and_the_refund_misbehaves(
    name: str, error: type[Exception]
) -> None:
    sandbox = a_sandbox()
    charge = sandbox(KEY).submit(a_debit(name=f"refund-{name}"))
    assert charge.status is ReceiptStatus.SUCCEEDED
    with pytest.raises(error):
        sandbox(KEY).submit(a_refund(charge.processor_uri))


def test_without_it_the_refund_of_a_troublesome_debit_succeeds() -> None:
    sandbox = a_sandbox()
    with pytest.raises(OutcomeUnknown):
        sandbox(KEY).submit(a_debit(name="lost-after-charge"))
    (charge,) = sandbox.charges()
    assert sandbox(KEY).submit(a_refund(charge.uri)).status is ReceiptStatus.SUCCEEDED


def test_the_processor_key_unreachable_lets_no_call_arrive() -> None:
    sandbox = a_sandbox()
    with pytest.raises(Unavailable):
        sandbox("unreachable").create_customer("CU1")
    with pytest.raises(Unavailable):
        sandbox("unreachable").submit(a_debit())
    assert sandbox.sends() == []


def test_a_fault_breaks_every_call_until_it_is_mended() -> None:
    sandbox = a_sandbox()
    processor = sandbox(KEY)
    sandbox.fault = Unavailable("Down for maintenance", retry_after=60)
    with pytest.raises(Unavailable) as raised:
        processor.submit(a_debit())
    assert raised.value.retry_after == 60
    with pytest.raises(Unavailable):
        processor.look_up(a_debit())
    sandbox.fault = None
    assert processor.look_up(a_debit()) is None
    assert sandbox.sends() == []


# --- the ledger ---


def test_every_send_is_entered_with_what_became_of_it() -> None:
    sandbox = a_sandbox()
    names = ["ok", "pending", "fails", "declined", "stolen", "slow-down", "revoked-key", "lost-before-charge"]
    for number, name in enumerate([*names, "lost-after-charge", "unreachable", "not-found"]):
        with suppress(Refused, Unavailable, Misconfigured, OutcomeUnknown):
            sandbox(KEY).submit(a_debit(number, name))
    assert [(send.instrument, send.outcome) for send in sandbox.sends()] == [
        ("/cards/ok", Outcome.SUCCEEDED),
        ("/cards/pending", Outcome.PENDING),
        ("/cards/fails", Outcome.FAILED),
        ("/cards/declined", Outcome.DECLINED),
        ("/cards/stolen", Outcome.DECLINED_FOR_GOOD),
        ("/cards/slow-down", Outcome.TURNED_AWAY),
        ("/cards/revoked-key", Outcome.TURNED_AWAY),
        ("/cards/lost-before-charge", Outcome.LOST),
        ("/cards/lost-after-charge", Outcome.SUCCEEDED),
        ("/cards/not-found", Outcome.DECLINED_FOR_GOOD),
    ]


def test_a_send_with_a_revoked_key_is_entered_too() -> None:
    sandbox = a_sandbox()
    with pytest.raises(Misconfigured):
        sandbox("revoked").submit(a_debit())
    assert [send.outcome for send in sandbox.sends("TX1")] == [Outcome.TURNED_AWAY]


def test_a_send_tells_all_that_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "utc_now", lambda: now)
    sandbox = a_sandbox()
    processor = sandbox(KEY)
    charge = processor.submit(a_debit(7))
    processor.submit(a_debit(7))
    processor.submit(a_refund(charge.processor_uri, 8, 250))
    first, second, refund = sandbox.sends()
    assert first == sandbox_module.Send(
        sent_at=now,
        company=processor.company,
        submission_key="TX7-1",
        transaction_guid="TX7",
        type=SubmissionType.DEBIT,
        amount=1000,
        instrument="/cards/ok",
        charge_uri=None,
        outcome=Outcome.SUCCEEDED,
        processor_uri=charge.processor_uri,
        replayed=False,
    )
    assert second == replace(first, replayed=True)
    assert (refund.type, refund.amount, refund.charge_uri) == (SubmissionType.REFUND, 250, charge.processor_uri)
    assert sandbox.sends("TX8") == [refund]


def test_the_books_show_charges_and_what_was_refunded() -> None:
    sandbox = a_sandbox()
    charge = sandbox(KEY).submit(a_debit(1, "refund-pending"))
    sandbox(KEY).submit(a_refund(charge.processor_uri, 2, 300))
    failed = sandbox(KEY).submit(a_refund(charge.processor_uri, 3, 200))
    assert [(record.uri, record.refunded) for record in sandbox.charges()] == [(charge.processor_uri, 500)]
    sandbox.settle(failed.processor_uri, ReceiptStatus.FAILED)
    assert [record.refunded for record in sandbox.charges()] == [300]
    assert Counter(record.type for record in sandbox.records()) == {SubmissionType.DEBIT: 1, SubmissionType.REFUND: 2}


def test_charged_counts_what_moved_or_may_yet() -> None:
    sandbox = a_sandbox(idempotent=False)
    for _ in range(3):
        sandbox(KEY).submit(a_debit(1, "pending"))
    assert sandbox.charged("TX1") == 3
    sandbox.settle(sandbox.charges()[0].uri, ReceiptStatus.FAILED)
    assert sandbox.charged("TX1") == 2
    assert sandbox.charged("TX2") == 0


def test_a_look_up_is_no_send() -> None:
    sandbox = a_sandbox()
    sandbox(KEY).submit(a_debit())
    sandbox(KEY).look_up(a_debit())
    assert len(sandbox.sends()) == 1


def test_a_key_used_for_other_values_is_a_bug_and_no_send() -> None:
    sandbox = a_sandbox()
    sandbox(KEY).submit(a_debit())
    with pytest.raises(ValueError, match="TX1-1 was used for other values"):
        sandbox(KEY).submit(a_debit(name="another"))
    assert len(sandbox.sends()) == 1
    assert sandbox(KEY).submit(a_debit(2)).status is ReceiptStatus.SUCCEEDED


@pytest.mark.parametrize(
    "changes", [{"amount": 0}, {"amount": -5}, {"customer_uri": None}, {"funding_instrument_uri": None}]
)
def test_a_submission_that_lacks_something_is_a_bug(changes: dict[str, Any]) -> None:
    sandbox = a_sandbox()
    with pytest.raises(ValueError, match="lacks what it must name"):
        sandbox(KEY).submit(replace(a_debit(), **changes))
    assert sandbox.sends() == []


def test_settling_an_unknown_record_is_an_error() -> None:
    with pytest.raises(KeyError):
        a_sandbox().settle("/debits/DE1", ReceiptStatus.SUCCEEDED)


def test_an_emptied_ledger_does_not_give_an_old_uri_to_another_transaction() -> None:
    uris = {a_sandbox()(KEY).submit(a_debit(number)).processor_uri for number in (1, 2)}
    assert len(uris) == 2


def test_event_ids_are_not_repeated_by_an_emptied_ledger() -> None:
    assert json.loads(a_sandbox().announce(KEY)) != json.loads(a_sandbox().announce(KEY))


def test_the_ledger_file_holds_no_processor_key(tmp_path: Path) -> None:
    sandbox = a_sandbox(tmp_path / "ledger")
    sandbox(KEY).create_customer("CU1")
    sandbox(KEY).register_callback("https://example.com/")
    sandbox(KEY).submit(a_debit())
    sandbox.announce(KEY)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"TX1-1" in written
    assert KEY.encode() not in written


def test_a_bug_in_a_statement_is_not_taken_for_a_busy_ledger() -> None:
    sandbox = a_sandbox()
    with pytest.raises(sqlite3.OperationalError), sandbox._ledger.writing() as db:
        db.execute("INSERT INTO callbacks VALUES ('company', 'url')")
        db.execute("SELECT nothing FROM nowhere")
    with sandbox._ledger.reading() as db:
        assert db.execute("SELECT count(*) FROM callbacks").fetchone() == (0,)


def test_a_submission_reads_the_ledger_by_its_indexes_only() -> None:
    """So that the thousandth submission costs what the first did."""
    sandbox = a_sandbox()
    charge = sandbox(KEY).submit(a_debit(1))
    statements: list[str] = []
    with sandbox._ledger.reading() as db:
        db.set_trace_callback(statements.append)
    for submission in (a_debit(2), a_refund(charge.processor_uri, 3), a_debit(4, "lost-before-charge")):
        with suppress(OutcomeUnknown):
            sandbox(KEY).submit(submission)
    with sandbox._ledger.reading() as db:
        db.set_trace_callback(None)
        reads = [statement for statement in statements if statement.startswith("SELECT")]
        plans = [row[3] for read in reads for row in db.execute(f"EXPLAIN QUERY PLAN {read}")]
    assert len(reads) >= 6
    assert [plan for plan in plans if "SCAN" in plan] == []


# --- processes ---


def in_a_process(code: str, *arguments: object, wait: bool = True) -> subprocess.Popen[str]:
    program = "import os, sys\nfrom tests.processors.test_sandbox import *\n" + textwrap.dedent(code)
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    if wait:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    return process


def finish(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output


SUBMIT_FIFTY = """
sandbox = a_sandbox(sys.argv[1], idempotent=sys.argv[2] == "idempotent")
print("ready", flush=True)
for number in range(50):
    sandbox(KEY).submit(a_debit(number))
"""


@pytest.mark.parametrize(("mode", "charges"), [("idempotent", 50), ("not", 200)])
def test_processes_that_share_a_new_ledger_file_see_each_others_keys(tmp_path: Path, mode: str, charges: int) -> None:
    ledger = tmp_path / "ledger"
    finish([in_a_process(SUBMIT_FIFTY, ledger, mode, wait=False) for _ in range(4)])
    sandbox = a_sandbox(ledger)
    assert len(sandbox.sends()) == 200
    assert len(sandbox.charges()) == charges
    assert sum(send.replayed for send in sandbox.sends()) == 200 - charges


def test_a_new_ledger_file_can_be_made_by_several_at_once(tmp_path: Path) -> None:
    # SQLite refuses one of two that switch a new file to its write-ahead log, about once in a hundred times.
    together = threading.Barrier(4, timeout=30)

    def use(number: int) -> int:
        together.wait()
        sandbox = a_sandbox(tmp_path / str(number // 4))
        sandbox(KEY).submit(a_debit(number))
        return len(sandbox.charges())

    with ThreadPoolExecutor(4) as pool:
        assert min(pool.map(use, range(800))) >= 1


def test_a_killed_process_leaves_what_it_sent_in_the_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    process = in_a_process(
        """
        for number in range(100_000):
            a_sandbox(sys.argv[1])(KEY).submit(a_debit(number))
            print(number, flush=True)
        """,
        ledger,
        wait=False,
    )
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = 20 + len(process.stdout.readlines())
    process.wait()
    process.stdout.close()
    sandbox = a_sandbox(ledger)
    assert len(sandbox.charges()) in (told, told + 1)
    assert len(sandbox.sends()) == len(sandbox.charges())
    assert sandbox(KEY).look_up(a_debit(told - 1)) is not None


def test_a_forked_child_and_its_parent_share_the_ledger_file(tmp_path: Path) -> None:
    in_a_process(
        """
        sandbox = a_sandbox(sys.argv[1])
        sandbox(KEY).submit(a_debit(0))
        children = []
        for child in range(1, 4):
            if not (pid := os.fork()):
                for number in range(child * 100, child * 100 + 50):
                    sandbox(KEY).submit(a_debit(number))
                sys.exit(0)
            children.append(pid)
        for number in range(1, 50):
            sandbox(KEY).submit(a_debit(number))
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
        assert len(sandbox.charges()) == 200, len(sandbox.charges())
        """,
        tmp_path / "ledger",
    )
    assert len(a_sandbox(tmp_path / "ledger").charges()) == 200


def test_what_a_forked_child_charges_outlives_its_parents_connection(tmp_path: Path) -> None:
    # The last connection to close deletes SQLite's log, also under a child that only believes to hold a lock.
    in_a_process(
        """
        sandbox = a_sandbox(sys.argv[1])
        sandbox(KEY).submit(a_debit(1))
        wait, go = os.pipe()
        if not (pid := os.fork()):
            sandbox(KEY).submit(a_debit(2))
            os.read(wait, 1)
            sandbox(KEY).submit(a_debit(3))
            os._exit(0)
        sandbox._ledger.close()
        os.write(go, b"!")
        os.waitpid(pid, 0)
        """,
        tmp_path / "ledger",
    )
    assert [record.transaction_guid for record in a_sandbox(tmp_path / "ledger").charges()] == ["TX1", "TX2", "TX3"]


def test_a_child_forked_while_a_thread_holds_the_ledger_can_use_it(tmp_path: Path) -> None:
    in_a_process(
        """
        sandboxes = [a_sandbox(sys.argv[1]), a_sandbox()]
        done = threading.Event()
        def work(sandbox):
            number = 0
            while not done.wait(0.001):  # SQLite's locks are not fair: without a pause a child may starve
                number += 1
                sandbox(KEY).submit(a_debit(number))
        threads = [threading.Thread(target=work, args=[sandbox]) for sandbox in sandboxes]
        for thread in threads:
            thread.start()
        codes = []
        for child in range(20):
            if not (pid := os.fork()):
                for sandbox in sandboxes:
                    sandbox(KEY).submit(a_debit(-1 - child))
                os._exit(0)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        done.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * 20
        assert all(sandboxes[0].charged(f"TX{-1 - child}") == 1 for child in range(20))
        """,
        tmp_path / "ledger",
    )


def test_a_forked_child_starts_with_an_empty_memory() -> None:
    in_a_process(
        """
        sandbox = a_sandbox()
        sandbox(KEY).submit(a_debit())
        if not (pid := os.fork()):
            os._exit(len(sandbox.charges()))
        assert os.waitpid(pid, 0)[1] == 0
        assert len(sandbox.charges()) == 1
        """
    )


def test_a_ledger_that_another_process_keeps_is_unavailable_not_in_doubt(tmp_path: Path) -> None:
    sandbox = a_sandbox(tmp_path / "ledger", deadline=0.3)
    other = sqlite3.connect(tmp_path / "ledger")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        sandbox(KEY).submit(a_debit())
    other.close()
    assert sandbox.sends() == []
    assert sandbox(KEY).submit(a_debit()).status is ReceiptStatus.SUCCEEDED


def test_a_closed_ledger_is_opened_again(tmp_path: Path) -> None:
    sandbox = a_sandbox(tmp_path / "ledger")
    sandbox(KEY).submit(a_debit())
    sandbox._ledger.close()
    assert len(sandbox.sends()) == 1


def test_the_instruments_that_validation_refuses() -> None:
    refused = []
    for name in ["ok", *Magic]:
        for purpose in (SubmissionType.DEBIT, SubmissionType.CREDIT):
            try:
                a_sandbox()(KEY).validate_funding_instrument(f"/cards/{name}", purpose, "/customers/1")
            except InvalidFundingInstrument:
                refused.append((name, purpose))
    assert refused == [
        ("not-found", SubmissionType.DEBIT),
        ("not-found", SubmissionType.CREDIT),
        ("debit-only", SubmissionType.CREDIT),
    ]
