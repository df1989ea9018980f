"""The page of results: what is in it, and where its numbers come from."""

from functools import partial

import pytest

from bench.ratio import Ratio
from bench.report.numbers import Spread, Verdict, say_number, spread_apart
from scripts.report import COMMITTED, main

from .report_documents import CUDA, all_documents, layer_row, model_row, samples
from .report_pages import Structure, cells, make_report, some, write

SECTIONS = (
    *("models", "paper", "tuned", "peers", "world", "sites", "directions"),
    *("activations", "pass_time"),
)


@pytest.fixture
def report(tmp_path):
    """Make a page of documents: status, page (None if there is none), lines on stderr."""
    return partial(make_report, tmp_path)


@pytest.fixture(scope="module")
def whole_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    output = folder / "report.html"
    assert main([str(write(folder / "in", all_documents())), "-o", str(output)]) == 0
    return output.read_text()


def test_every_section_is_there_with_charts(whole_page):
    assert "not measured" not in whole_page
    places = [whole_page.index(f'<h2 id="{stem}"') for stem in SECTIONS]
    assert places == sorted(places)
    for start, end in zip(places, [*places[1:], len(whole_page)]):
        section = whole_page[start:end]
        assert section.count("<svg") >= 1 or 'id="directions"' in section
        assert section.count("<table") >= 1
    # Layers of three networks, the batch sweep and the totals; one each of the others, but for
    # the table of functions.
    assert whole_page.count("<svg") == 5 + 7
    assert "differ by 2.4e-07" in whole_page and "<td>ulp:any</td>" in whole_page


def test_the_page_is_well_formed_and_stands_alone(whole_page):
    structure = Structure()
    structure.feed(whole_page)
    assert structure.faults == [] and structure.open == []
    assert structure.fetched == []
    assert "http" not in whole_page and "@import" not in whole_page
    assert len(structure.ids) == len(set(structure.ids))


def test_where_figures_come_from_is_said(whole_page):
    assert (
        "Made by <code>python -m bench.peers vgg16_relu</code> on AMD EPYC (2 cores)" in whole_page
    )
    assert "commit 96ff8391b856." in whole_page
    assert "643239669d52+changes (6)" in whole_page  # the rows' own commits
    assert "xtc-tvm-python-bindings 0.19.0.12" in whole_page
    assert "seed" in whole_page


def test_the_summary_counts(whole_page):
    assert "4 networks in 6 measurements" in whole_page
    assert "4 faster, 1 the same within the quartiles, 1 slower." in whole_page
    assert "The worst row: light_resnet50, batch 1, 2 threads, default schedules: 0.9" in whole_page
    assert "identical in 97 of 100 comparisons" in whole_page
    assert "differ by 4.1e-06" in whole_page


def test_the_same_results_give_the_same_page(report):
    documents = some("models", "activations")
    assert report(documents)[1] == report(documents)[1]


def set_models(documents):
    documents["models"]["rows"][0]["time_ms"]["stock"] = [43.0] * 5
    return Ratio.of([43.0] * 5, samples(4.3, 1))


def set_layers(documents):
    documents["paper"]["layers"][0]["before_ms"] = [7.0] * 5
    return Ratio.of([7.0] * 5, documents["paper"]["layers"][0]["after_ms"])


def set_totals(documents):
    documents["paper"]["totals"][0]["time_ms"]["ours"] = [444.0] * 5
    return Ratio.of(documents["paper"]["totals"][0]["time_ms"]["stock"], [444.0] * 5)


def set_tuned(documents):
    documents["tuned"]["rows"][0]["time_ms"]["exchanged"] = [3.0] * 5
    return Ratio.of(documents["tuned"]["rows"][0]["time_ms"]["stock"], [3.0] * 5)


def set_peers(documents):
    documents["peers"]["rows"][0]["contestants"]["ours"]["time_ms"] = [77.0] * 5
    return Ratio.of(samples(147.0), [77.0] * 5)


def set_sites(documents):
    documents["sites"]["rows"][0]["time_ms"]["auto"] = [5.0] * 5
    return Ratio.of(samples(2.58), [5.0] * 5)


def set_activations(documents):
    documents["activations"]["samples_ns"]["tanh"] = [6.66] * 5
    return Spread.of([6.66] * 5)


def set_pass_time(documents):
    documents["pass_time"]["rows"][0]["pass_s"] = 1.0
    return "8.00 %"


@pytest.mark.parametrize(
    "change",
    [
        set_models,
        set_layers,
        set_totals,
        set_tuned,
        set_peers,
        set_sites,
        set_activations,
        set_pass_time,
    ],
)
def test_numbers_come_from_the_samples(change, report, whole_page):
    documents = all_documents()
    expected = str(change(documents))
    assert expected not in cells(whole_page)
    stem = next(stem for stem, content in all_documents().items() if documents[stem] != content)
    status, page, lines = report({stem: documents[stem]})
    assert (status, lines) == (0, [])
    assert expected in cells(page)


def test_charts_come_from_the_samples(report):
    documents = some("activations")
    before = report(documents)[1]
    documents["activations"]["samples_ns"]["tanh"] = samples(3.3)
    after = report(documents)[1]
    chart = lambda page: page[page.index("<svg") : page.index("</svg>")]
    assert chart(before) != chart(after)


def test_names_are_escaped(report):
    name = "<script>alert('x')</script>&$x$"
    documents = some("models", "pass_time")
    documents["models"]["rows"] = [model_row(name, 2.0, 1.0)]
    documents["models"]["command"] = f"python -m bench.models {name}"
    documents["pass_time"]["rows"][0]["network"] = name
    status, page, lines = report(documents)
    assert (status, lines) == (0, [])
    assert "<script" not in page and "alert('x')" not in page
    assert "&lt;script&gt;" in page
    structure = Structure()
    structure.feed(page)
    assert structure.faults == []


def test_what_was_not_measured_is_said(report):
    status, page, _ = report(some("models"))
    assert status == 0
    for command in ("bench.paper", "scripts.tune", "bench.sites", "bench.activations"):
        assert f"not measured: run <code>python -m {command}</code>" in page
    assert "bench.models</code>" in page  # made by it, not to be run


def test_a_gain_inside_a_network_is_looked_up_among_the_sites(report):
    documents = some("models", "sites")
    gain = str(Ratio.of(samples(1.23), samples(1.0, 1)))
    page = report(documents)[1]
    row = documents["models"]["rows"][1]
    assert row["network"] == "vgg16_relu" and row["batch"] == 1
    assert cells(page).count(gain) == 2  # alone, and in the network at this batch
    row["batch"] = 2
    assert cells(report(documents)[1]).count(gain) == 1


def test_both_targets_and_the_papers_figures(report):
    documents = some("paper")
    documents["paper"]["layers"] = [
        layer_row("vgg16", 1, 1, 3.9, paper=[3.9, 4.0]),
        layer_row("vgg16", 1, 1, 3.2, target=CUDA, paper=3.0),
    ]
    page = report(documents)[1]
    assert "vgg16: time of each activation layer, batch 1, 2 threads, llvm" in page
    assert "vgg16: time of each activation layer, batch 1, 2 threads, cuda" in page
    assert page.count("Diamonds: the paper&#x27;s own figures.") == 2
    assert "over the batch" not in page  # one batch is no sweep
    assert {"3.9-4.0", "3.0"} <= set(cells(page))


def test_committed_results_are_shown_whole(tmp_path, capsys):
    assert main([str(COMMITTED), "-o", str(tmp_path / "report.html")]) == 0
    assert capsys.readouterr().err == ""


# Numbers


def test_verdicts_need_both_quartiles():
    assert Verdict.of(Ratio(1.1, 1.01, 1.2)) is Verdict.FASTER
    assert Verdict.of(Ratio(1.1, 0.99, 1.2)) is Verdict.SAME
    assert Verdict.of(Ratio(0.9, 0.8, 0.99)) is Verdict.SLOWER


def test_one_sample_is_its_own_quartiles():
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0)
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(3.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1208.27, "1208"),
        (158.27, "158"),
        (4.0, "4.00"),
        (0.04632, "0.0463"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_as_text(value, text):
    assert say_number(value) == text


def test_labels_are_spread_apart():
    assert spread_apart([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    assert spread_apart([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.3, 0.4, 0.5])
    assert spread_apart([0.0, 0.0], 0.1) == pytest.approx([0.0, 0.1])
    assert spread_apart([1.2, 1.3], 0.1) == pytest.approx([0.9, 1.0])
