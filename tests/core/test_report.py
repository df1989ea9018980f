"""Sites and reports: order of statuses, merging, JSON."""

import json
from dataclasses import replace
from threading import Thread

from tvm_reorder.core.refusal import Reason, Refusal
from tvm_reorder.core.report import Report, Site, Status

MISS = Refusal(Reason.NOT_MONOTONE, "sin", "neither rising nor falling", "monotone")
REFUSED = Site("a", Status.REFUSED, "2x2", ("gelu",), MISS)
DONE = Site("a", Status.EXCHANGED, "2x2", ("nn.relu",), None, 16, 4, "ExchangeChain")


def test_statuses_are_ordered():
    assert Status.REFUSED < Status.EXCHANGEABLE < Status.EXCHANGED
    assert str(Status.EXCHANGED) == "exchanged"


def test_a_refusal_is_one_sentence():
    assert str(MISS) == "sin is neither rising nor falling but must be monotone"


def test_merging_keeps_the_better_outcome_and_the_later_miss():
    later = Site("a", Status.REFUSED, "2x2", (), Refusal(Reason.SHARED, "x", "y", "z"))
    assert REFUSED.merged_with(later) is later
    assert REFUSED.merged_with(DONE) is DONE
    assert DONE.merged_with(later) == replace(DONE, refusal=later.refusal)  # what is left stays
    nothing = replace(later, refusal=replace(MISS, reason=Reason.NO_ACTIVATION))
    assert DONE.merged_with(nothing) is DONE


def test_two_exchanges_of_one_pool_add_up():
    second = Site("a", Status.EXCHANGED, "2x2", ("tanh",), MISS, 32, 8, "ExchangeConcatenate")
    merged = DONE.merged_with(second)
    assert merged.chain == ("tanh", "nn.relu")
    assert (merged.evaluations_before, merged.evaluations_after) == (48, 12)
    assert merged.rule == "ExchangeChain+ExchangeConcatenate" and merged.refusal is MISS


def test_the_latest_run_is_shown_and_json_has_the_keys():
    report = Report()
    assert not report.has_run and len(report) == 0 and str(report) == "the pass has not run"
    average = Site("p", Status.REFUSED, "7x7", refusal=MISS, is_max_pool=False)
    report.add((REFUSED,))
    report.add((DONE, average))
    assert list(report) == [DONE] and report.other_pools == (average,) and len(report.runs) == 2
    site = json.loads(report.to_json())["sites"][0]
    assert set(site) == {
        *("name", "status", "reason", "explanation", "chain", "window", "ends"),
        *("evaluations_before", "evaluations_after", "decision"),
    }
    assert site["status"] == "exchanged" and site["reason"] is None
    assert "4.00x fewer evaluations" in str(report)


def test_threads_lose_no_run():
    report = Report()
    threads = [Thread(target=lambda: [report.add((DONE,)) for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(report.runs) == 400
