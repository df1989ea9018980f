"""Keep, exchange or fuse: what has the say, and how much a rewrite has to gain."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.decision import LEAST_GAIN, Action, Decision, choose, is_better

from .workloads import workload

KEEP, EXCHANGE, FUSE = Action
ALL = frozenset(Action)
SITE = workload()


class Table:
    """Times by action, as records or as a cost model; counts how often it is asked."""

    def __init__(self, **times):
        self.milliseconds = {Action(name): value for name, value in times.items()}
        self.asked = 0

    def times(self, site):
        """As records."""
        self.asked += 1
        return {a: [t] for a, t in self.milliseconds.items()} or None

    def estimate(self, site, action, kernel_ms=None):
        """As a cost model."""
        self.asked += 1
        return self.milliseconds.get(action)

    def error(self, site, action):
        """As a cost model whose error is that of records."""
        return (LEAST_GAIN - 1) * self.milliseconds[action]


def test_an_option_overrules_records_and_model():
    table = Table(keep=9, exchange=1, fuse=1)
    decision = choose(SITE, ALL, "keep", table, table)
    assert decision == Decision(KEEP, "option") and table.asked == 0


@pytest.mark.parametrize(
    "wanted, possible, action",
    [
        ("fuse", ALL, FUSE),
        ("fuse", {KEEP, EXCHANGE}, EXCHANGE),
        ("fuse", {KEEP}, KEEP),
        ("fuse", set(), KEEP),
        ("exchange", ALL, EXCHANGE),
        ("exchange", {KEEP, FUSE}, KEEP),
        ("keep", set(), KEEP),
    ],
)
def test_what_is_forced_falls_back_to_the_next_weaker_thing(wanted, possible, action):
    decision = choose(SITE, possible, wanted)
    assert decision.action is action and decision.basis == "option"
    assert bool(decision.note) == (wanted != str(action))
    if decision.note:
        assert f"{wanted} is not possible" in str(decision)


def test_an_unknown_wish_is_refused():
    with pytest.raises(ValueError, match="nonsense"):
        choose(SITE, ALL, "nonsense")


def test_records_overrule_the_model():
    model = Table(keep=9, exchange=9, fuse=1)
    decision = choose(SITE, ALL, "auto", Table(keep=3, exchange=2, fuse=4), model)
    assert decision == Decision(EXCHANGE, "records", 1.5) and model.asked == 0


def test_records_count_by_their_medians():
    class Samples:
        def times(self, site):
            return {KEEP: [2.0, 2.0, 2.0], FUSE: [1.0, 1.0, 99.0], EXCHANGE: [1.5, 1.5, 0.1]}

    decision = choose(SITE, ALL, "auto", Samples())
    assert decision.action is FUSE and decision.gain == 2.0


@pytest.mark.parametrize("records", [None, Table(), Table(exchange=1)])
def test_the_model_is_asked_where_nothing_usable_was_measured(records):
    decision = choose(SITE, ALL, "auto", records, Table(keep=2, fuse=1))
    assert decision == Decision(FUSE, "model", 2.0)


NOTHING = [None, Table(), Table(exchange=1, fuse=1)]  # without a time of keep there is no gain


@pytest.mark.parametrize("model", NOTHING)
@pytest.mark.parametrize(
    "site, possible, action",
    [
        (workload(chain=("sigmoid",)), ALL, EXCHANGE),
        (workload(chain=("sigmoid",)), {KEEP, FUSE}, KEEP),
        (workload(chain=("nn.relu",)), ALL, KEEP),
        (workload(chain=()), ALL, KEEP),
        (workload(chain=("sigmoid",), kernel=1), ALL, KEEP),
    ],
)
def test_without_knowledge_only_what_is_safe_is_done(model, site, possible, action):
    decision = choose(site, possible, "auto", None, model)
    assert decision.action is action and decision.gain is None
    assert decision.basis == "evaluations" and "no record" in str(decision)


def test_why_something_better_is_not_possible_is_said():
    table = Table(keep=2, exchange=1, fuse=0.5)
    for wanted in ("auto", "fuse"):
        decision = choose(SITE, {KEEP, EXCHANGE}, wanted, table, note="not fused: grouped")
        assert decision.action is EXCHANGE and decision.note == "not fused: grouped"
    assert choose(SITE, ALL, "auto", table, note="unused").note == ""
    slow = Table(keep=1, exchange=1)
    assert "; not fused: grouped" in choose(SITE, ALL, "auto", slow, note="not fused: grouped").note


@pytest.mark.parametrize("basis", ["records", "model"])
def test_a_gain_within_noise_is_left_alone(basis):
    for gain, action in [(LEAST_GAIN - 1e-6, KEEP), (LEAST_GAIN + 1e-6, EXCHANGE), (0.5, KEEP)]:
        table = Table(keep=gain, exchange=1.0)
        decision = choose(SITE, ALL, "auto", **{basis: table})
        assert decision.action is action and decision.basis == basis
        if action is KEEP:
            assert decision.gain == 1.0 and f"exchange would give {gain:.2f}x" in decision.note


def test_a_promise_has_to_exceed_its_error():
    class Unsure(Table):
        def error(self, site, action):
            return {KEEP: 0.0, EXCHANGE: 0.1, FUSE: 0.5}[action]

    decide = lambda **times: choose(SITE, ALL, "auto", None, Unsure(**times))
    assert decide(keep=2.0, exchange=1.8, fuse=1.4).action is FUSE
    assert decide(keep=2.0, exchange=1.8, fuse=1.6).action is EXCHANGE  # the surer one
    kept = decide(keep=2.0, exchange=1.95, fuse=1.6)
    assert kept.action is KEEP and kept.gain == 1.0
    assert kept.note == "fuse would give 1.25x, but at least 1.31x must be expected"


def test_what_is_not_possible_is_not_done_however_fast():
    table = Table(keep=3, exchange=2, fuse=1)
    assert choose(SITE, {KEEP, EXCHANGE}, "auto", table).action is EXCHANGE
    assert choose(SITE, {KEEP}, "auto", table).action is KEEP
    assert choose(SITE, {EXCHANGE}, "auto", None, table).action is EXCHANGE


def test_without_knowledge_why_not_fused_is_said_too():
    decision = choose(SITE, {KEEP, EXCHANGE}, "auto", note="not fused: grouped")
    assert decision.note.startswith("no record") and decision.note.endswith("; not fused: grouped")


@pytest.mark.parametrize("model", [None, Table(keep=2, exchange=9), Table(keep=1.0, fuse=1.0)])
@pytest.mark.parametrize("chain", [("nn.relu",), ("sigmoid",)], ids=str)
def test_apart_even_a_cheap_activation_is_exchanged(model, chain):
    """An exchange behind no convolution that could be fused, or where fusing would not pay."""
    records = Table(keep=1, exchange=2)
    possible = ALL if model and FUSE in model.milliseconds else {KEEP, EXCHANGE}
    decision = choose(
        workload(chain=chain),
        possible,
        "auto",
        records,
        model,
        "not fused: grouped",
        are_apart=True,
    )
    assert decision.action is EXCHANGE and records.asked == 0
    assert "kernel of its own; not fused: grouped" in decision.note


def test_apart_fusing_has_to_pay_without_the_activation():
    class Bare(Table):
        def estimate(self, site, action, kernel_ms=None):
            assert site.chain == ()
            return super().estimate(site, action) if kernel_ms is None else kernel_ms

    apart = lambda **options: choose(SITE, ALL, "auto", are_apart=True, **options)
    assert apart(model=Bare(keep=2, fuse=1)) == Decision(FUSE, "model", 2.0)
    assert apart(model=Bare(keep=1, fuse=2)).action is EXCHANGE
    tuned = apart(model=Bare(keep=1, fuse=2), tuned=(4.0, 2.0))
    assert tuned == Decision(FUSE, "tuning log", 2.0)


def test_apart_what_cannot_be_exchanged_is_weighed_as_ever():
    site = workload(chain=())
    decide = lambda model, possible: choose(site, possible, "auto", None, model, are_apart=True)
    assert decide(Table(keep=2, fuse=1), {KEEP, FUSE}).action is FUSE
    assert decide(Table(keep=1, fuse=2), {KEEP, FUSE}).action is KEEP
    assert decide(None, {KEEP}).action is KEEP
    assert choose(SITE, ALL, "keep", are_apart=True) == Decision(KEEP, "option")


def test_a_decision_is_one_line():
    line = str(Decision(FUSE, "records", 1.234, "so"))
    assert line == "fuse by records, expected 1.23x for this site alone (so)"
    assert str(Decision(KEEP, "option")) == "keep by option"
    assert Decision(KEEP, "option").as_dict()["action"] == "keep"


milliseconds = st.floats(1e-3, 1e3)
samples = st.lists(milliseconds, min_size=1, max_size=3)


@given(
    st.dictionaries(st.sampled_from(list(Action)), samples),
    st.frozensets(st.sampled_from(list(Action))),
)
def test_a_decision_by_records_never_loses(times, possible):
    class Samples:
        def times(self, site):
            return times

    decision = choose(SITE, possible, "auto", Samples())
    if KEEP not in times:
        assert decision.basis == "evaluations"
        return
    medians = {action: median(values) for action, values in times.items()}
    assert decision.basis == "records"
    if decision.action is KEEP:
        others = [medians[a] for a in possible & medians.keys() if a is not KEEP]
        assert all(medians[KEEP] / other < LEAST_GAIN for other in others)
        return
    assert decision.action in possible
    assert decision.gain == medians[KEEP] / medians[decision.action] >= LEAST_GAIN
    assert all(medians[decision.action] <= medians[a] for a in possible & medians.keys())


class _Tuned(Table):
    """A model that says what it was given."""

    def estimate(self, site, action, kernel_ms=None):
        return super().estimate(site, action) if kernel_ms is None else kernel_ms


def test_tuned_kernels_count_before_the_model():
    model = _Tuned(keep=1.0, fuse=0.5)
    decision = choose(SITE, ALL, "auto", None, model, tuned=(1.0, 2.0))
    assert decision.action is KEEP and decision.basis == "tuning log"
    decision = choose(SITE, ALL, "auto", None, model, tuned=(2.0, 1.0))
    assert decision.action is FUSE and decision.basis == "tuning log" and decision.gain == 2.0


@pytest.mark.parametrize("gain, action", [(1.04, "keep"), (1.06, "fuse")])
def test_an_untuned_operator_must_promise_more_than_a_tuned_convolution(gain, action):
    model = Table(keep=gain, fuse=1.0)
    decision = choose(SITE, ALL, "auto", None, model, tuned=(1.0, None))
    assert str(decision.action) == action and decision.basis == "model"


@pytest.mark.parametrize(
    "wider, shorter, is_free, expected",
    [
        (Decision(Action.KEEP, "model", 1.0), Decision(Action.FUSE, "model", 1.2), True, False),
        (Decision(Action.FUSE, "model", 1.1), Decision(Action.FUSE, "model", 1.2), True, True),
        (Decision(Action.FUSE, "model", 1.1), Decision(Action.FUSE, "model", 1.2), False, False),
        (Decision(Action.EXCHANGE, "model", 1.1), Decision(Action.KEEP, "model", 1.0), False, True),
        (Decision(Action.EXCHANGE, "option"), Decision(Action.EXCHANGE, "option"), False, True),
        (Decision(Action.EXCHANGE, "evaluations"), Decision(Action.FUSE, "x"), False, False),
    ],
)
def test_an_exchange_of_more_links_has_to_be_better(wider, shorter, is_free, expected):
    assert is_better(wider, shorter, is_free) is expected
