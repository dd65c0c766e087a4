"""The runner of benchmarks: what it records, tabulates and calls a fall."""

import contextlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import contest
import from_scratch
import increment
import measure
import peer_recipes
import peers
import run
import timed_stages

MACHINE = {"processor": "Some CPU", "cores": 2, "python": "3.11.7"}


@pytest.fixture
def results(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Records a benchmark with some ratios into a folder of its own."""

    def results(folder: str, **ratios: measure.Ratio):
        monkeypatch.setattr(measure, "RESULTS", tmp_path / folder)
        measure.record("reading", ratios=ratios, figures={"photos": 12})
        return tmp_path / folder

    return results


def test_cases_take_turns_and_the_first_round_does_not_count():
    turns = []
    cases = {"ours": lambda: turns.append("ours"), "theirs": lambda: turns.append("theirs")}
    seconds = measure.alternate(cases, rounds=2)
    assert turns == ["ours", "theirs"] * 3
    assert {name: len(times) for name, times in seconds.items()} == {"ours": 2, "theirs": 2}


def test_how_much_longer_the_first_round_took_is_a_figure_of_its_own():
    seconds = measure.Rounds(("ours", "theirs"))
    seconds |= {"ours": [1.0, 1.5, 9.0], "theirs": [2.0, 2.0, 2.0]}
    seconds.first = {"ours": 4.0, "theirs": 1.75}
    assert seconds.compiling() == {
        "ours, first round longer by, s": 2.5,
        "theirs, first round longer by, s": -0.25,
    }


def test_a_speedup_is_the_median_of_rounds_with_their_spread():
    ratio = measure.speedup([1.0, 2.0, 1.0], [2.0, 2.0, 4.0], bar=3)
    assert ratio == (2.0, (1.0, 4.0), 3, "")
    # A machine that turns slow between two rounds is no speedup: each round says 1.
    assert measure.speedup([1.0, 1.0, 5.0], [1.0, 5.0, 5.0]).value == 1.0


def test_a_ratio_that_fell_by_more_than_a_fifth_or_below_its_bar_is_named(results, capsys):
    before = results("before", fast=measure.Ratio(2.0, (1.9, 2.1)), new=measure.Ratio(1, (1, 1)))
    new = measure.Ratio(1, (1, 1))
    after = results("after", fast=measure.Ratio(1.59, (1.5, 1.7)), new=new)
    assert run.compare(after, before) == ["error: reading: fast fell from 2.00 to 1.59"]
    assert run.compare(before, before) == []
    assert run.compare(results("good", fast=measure.Ratio(1.61, (1, 1.8)), new=new), before) == []
    noisy = results("noisy", fast=measure.Ratio(1.5, (1, 2)), new=new)  # a round was as good
    capsys.readouterr()
    assert run.compare(noisy, before) == []
    possibly = "reading: fast possibly fell from 2.00 to 1.50, but rounds overlap\n"
    assert capsys.readouterr().out == possibly
    bar = results("bar", shards=measure.Ratio(1.0, (1.0, 1.0), 1.0))
    missed = results("missed", shards=measure.Ratio(0.8, (0.8, 0.8), 1.0))  # by a fifth, no more
    assert run.compare(missed, bar) == ["error: reading: shards fell from 1.00 to 0.80"]
    fewer = results("fewer", fast=measure.Ratio(2.0, (2, 2)))
    assert run.compare(fewer, before) == ["error: reading: new was not measured"]


def test_what_fell_on_another_machine_is_printed_and_no_error(results, monkeypatch, capsys):
    monkeypatch.setattr(measure, "machine", lambda: MACHINE | {"cores": 96})
    before = results("before", fast=measure.Ratio(2.0, (1.9, 2.1)))
    monkeypatch.setattr(measure, "machine", lambda: MACHINE)
    after = results("after", fast=measure.Ratio(1.0, (0.9, 1.1)))
    capsys.readouterr()
    assert run.compare(after, before) == []
    told = "reading: fast fell from 2.00 to 1.00, which was measured on 96 cores (Some CPU)\n"
    assert capsys.readouterr().out == told
    monkeypatch.setattr(measure, "machine", lambda: MACHINE | {"generation": "family 25"})
    newer = results("newer", fast=measure.Ratio(0.5, (0.4, 0.6)))
    assert run.compare(newer, after) == []  # of which generation that was nobody knows


@pytest.mark.parametrize(("status", "failed"), [(0, []), (77, []), (1, ["error: benchmark a"])])
def test_a_benchmark_that_cannot_run_here_is_no_failure(status: int, failed, tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text(f"import sys; sys.exit({status})")
    monkeypatch.setattr(run, "HERE", tmp_path)
    assert run.run({"a": ["a"]}, tmp_path) == [f"{line} failed" for line in failed]


def test_the_table_says_what_was_reached_and_what_was_not(results):
    folder = results(
        "all",
        won=measure.Ratio(2.0, (1.9, 2.1), 1.5),
        lost=measure.Ratio(0.5, (0.4, 0.6), 1, "it waits for the disk"),
        slower=measure.Ratio(0.9, (0.9, 0.9), 0.8, "it checks more"),
    )
    text = run.table(folder)
    assert run.purpose("reading") in text
    assert "| won | 2.00 (1.90 to 2.10) | 1.5 | reached |" in text
    assert "| lost | 0.50 (0.40 to 0.60) | 1 | **missed**: it waits for the disk |" in text
    assert "| slower | 0.90 | 0.8 | reached: it checks more |" in text
    assert "| photos | 12 |" in text


def test_every_recorded_result_has_a_benchmark_and_the_table_is_up_to_date():
    recorded = {file.stem for file in measure.RESULTS.glob("*.json")}  # a variant: name-variant
    assert {name.partition("-")[0] for name in recorded} <= set(run.benchmarks())
    for name in recorded:
        assert json.loads((measure.RESULTS / f"{name}.json").read_text())["benchmark"] == name
    if recorded:
        told = "run python benchmarks/run.py --table"
        assert run.TABLE.read_text(encoding="utf-8") == run.table(measure.RESULTS), told


def test_what_is_recorded_is_measured_again_with_the_same_options(results, monkeypatch):
    folder = results("all", fast=measure.Ratio(2.0, (1.9, 2.1)))
    words = ["benchmarks/reading.py", "my cars", "--name", "reading-cars"]
    monkeypatch.setattr("sys.argv", words)
    measure.record("reading-cars", figures={})
    measure.record("reading-x", figures={})  # without its name it would be written elsewhere
    monkeypatch.setattr("sys.argv", ["elsewhere.py"])
    measure.record("elsewhere", figures={})
    monkeypatch.setattr("sys.argv", ["benchmarks/gpu.py", "--source", "cars"])
    measure.record("gpu", figures={"device": "a GPU"})
    found = run.commands(folder)
    assert found["reading-cars"] == ["reading", "my cars", "--name", "reading-cars"]
    assert found["workers"] == ["workers"]  # never recorded there
    assert found["gpu"] == ["gpu"]
    monkeypatch.setattr("sys.argv", ["benchmarks/feed.py"])
    monkeypatch.setattr(measure, "BACKEND", "jax")
    measure.record("feed", figures={})
    recorded = json.loads((folder / "feed.json").read_text())["command"]
    assert recorded == "KERAS_BACKEND=jax python benchmarks/feed.py"
    assert run.commands(folder)["feed"] == ["feed"]  # another backend's is not repeated here
    assert "gpu" not in run.unattended(folder)  # hours here, and no such result
    assert "workers" in run.unattended(folder)
    assert not {"elsewhere", "reading-x"} & set(found)


def test_a_variant_named_by_the_value_of_an_option_is_measured_again_with_it(results, monkeypatch):
    folder = results("all", fast=measure.Ratio(2.0, (1.9, 2.1)))
    monkeypatch.setattr("sys.argv", ["benchmarks/augment.py", "--beside", "albumentations"])
    measure.record("augment-albumentations", figures={})
    found = run.commands(folder)
    assert found["augment-albumentations"] == ["augment", "--beside", "albumentations"]
    assert found["augment"] == ["augment"]


def test_a_check_of_all_names_those_that_have_no_ratio_and_leaves_them_out(
    results, monkeypatch, capsys
):
    folder = results("all", fast=measure.Ratio(2.0, (1.9, 2.1)))
    measure.record("codec", figures={"photos": 12})
    ran = []
    monkeypatch.setattr(run, "RESULTS", folder)
    monkeypatch.setattr(run, "benchmarks", lambda: ["codec", "reading", "workers"])
    monkeypatch.setattr(run, "run", lambda chosen, _: ran.extend(chosen) or [])
    monkeypatch.setattr("sys.argv", ["run.py", "--check"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run.main()
    assert stopped.value.code is None
    assert ran == ["reading"]
    left_out = "left out, as no ratio of them is recorded: codec, workers\n"
    assert capsys.readouterr().out == left_out


def test_the_table_says_with_what_versions_a_result_was_measured(results):
    folder = results("all", fast=measure.Ratio(2.0, (1.9, 2.1)))
    file = folder / "reading.json"
    for name, versions in (
        ("codec", {"dvc": "3", "keras": "3.15", "timm": "1.0"}),
        ("feed", {"dvc": "4", "keras": "3.15", "torch": "2.13"}),
        ("reading", {"dvc": "3", "keras": "3.15", "torch": "2.13"}),
    ):
        document = json.loads(file.read_text()) | {"benchmark": name, "versions": versions}
        (folder / f"{name}.json").write_text(json.dumps(document))
    head, codec, feed, reading = run.table(folder).split("\n## ")
    assert "  dvc 3, keras 3.15, torch 2.13\n" in head
    python = f"Python {measure.machine()['python']}"
    assert f"{python}, with timm 1.0, without torch\n" in codec
    assert f"{python}, with dvc 4\n" in feed
    assert f"{python}\n" in reading


def test_what_is_added_may_keep_the_ratios_of_what_was_there(results):
    ratios = {"fast": measure.Ratio(2.0, (1.9, 2.1))}
    results("all", **ratios)
    assert measure.earlier_ratios("reading") == ratios
    assert measure.earlier_ratios("nothing") == {}


def test_what_is_added_keeps_the_command_of_what_was_there(results, monkeypatch):
    folder = results("all", fast=measure.Ratio(2.0, (1.9, 2.1)))
    monkeypatch.setattr("sys.argv", ["benchmarks/reading.py", "--add"])
    figures = measure.earlier_figures("reading", {"photos": 12}) | {"more": 1}
    for _ in range(2):
        measure.record("reading", figures=figures, added=True)
    document = json.loads((folder / "reading.json").read_text())
    assert document["figures"] == {"photos": 12, "more": 1}
    _, *added = document["command"].split(measure.AND)
    assert added == ["python benchmarks/reading.py --add"]
    assert run.commands(folder)["reading"] == ["reading"]
    with pytest.raises(SystemExit, match="photos: 12, not 13; run it without --add"):
        measure.earlier_figures("reading", {"photos": 13})
    here = measure.machine()
    monkeypatch.setattr(measure, "machine", lambda: here | {"processor": "Another"})
    with pytest.raises(SystemExit, match="not Another; run it without --add"):
        measure.earlier_figures("reading", {"photos": 12})
    monkeypatch.setattr(measure, "machine", lambda: here)
    monkeypatch.setattr(measure, "installed", lambda: {"numpy": "0"})
    with pytest.raises(SystemExit, match="not 0; run it without --add"):
        measure.earlier_figures("reading", {"photos": 12})


def test_every_lost_comparison_and_every_missed_bar_says_why():
    lost = {
        f"{file.stem}: {key}": ratio["note"]
        for file in measure.RESULTS.glob("*.json")
        for key, ratio in json.loads(file.read_text())["ratios"].items()
        if ratio["value"] < max(1, ratio["bar"] or 0)
    }
    assert [name for name, note in lost.items() if not note] == []


def test_an_unknown_benchmark_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.argv", ["run.py", "nonsense"])
    with pytest.raises(SystemExit) as stopped:
        run.main()
    assert stopped.value.code == 2
    assert "no benchmark nonsense; there are: " in capsys.readouterr().err


COST = timed_stages.Cost(
    before=10,
    each_copy=2,
    fixed=8,
    head=timed_stages.Epoch(0, 0),
    network=[timed_stages.Epoch(0, 0.01), timed_stages.Epoch(0, 0.03)],
)
"""Of which an epoch of 96 rows costs 0.96 s small and 2.88 s large."""


def values(**train) -> dict:
    common = {"batch_size": 32, "head_epochs": 0, "sizes": [0.5, 1.0], "finetune_epochs": 4}
    return {"augment": {"copies": 0}, "train": common | train}


def test_the_time_of_our_stages_is_foreseen_by_rows_and_sizes():
    assert timed_stages.rows_of(100, 0, 32) == 96  # what is left waits for another epoch
    assert timed_stages.rows_of(100, 1, 32) == 192
    foreseen = timed_stages.predict(COST, values(), 100, 0, 4)
    assert foreseen == pytest.approx(10 + 8 + 2 * 0.96 + 2 * 2.88)
    # Of three epochs two are small, of one none is, as the train stage has it.
    alone = timed_stages.predict(COST, values(), 100, 0, 1)
    assert alone == pytest.approx(10 + 8 + 2.88)
    assert timed_stages.predict(COST, values(), 100, 1, 3) == pytest.approx(
        10 + 2 + 8 + 2 * (2 * 0.96 + 2.88)
    )


@pytest.mark.parametrize(
    ("seconds", "chosen", "fits"),
    [
        (60, set(), (3, 4)),  # 10 + 3 x 2 + 8 + 4 x (2 x 0.96 + 2 x 2.88) = 54.7
        (54, set(), (2, 4)),
        (25, set(), (0, 3)),  # one copy would be too much, and four epochs too
        (60, {"augment.copies"}, (0, 21)),
        (60, {"train.finetune_epochs"}, (3, 4)),
    ],
)
def test_as_much_is_trained_as_fits(seconds: float, chosen: set[str], fits: tuple[int, int]):
    found = timed_stages.fit_into(seconds, values(), COST, 100, frozenset(chosen))
    assert found == fits
    assert timed_stages.predict(COST, values(), 100, *found) <= seconds


def test_what_an_epoch_costs_whatever_its_length_is_told_apart_from_its_rows():
    epoch = timed_stages.between([100, 300], [3.0, 5.0])
    assert epoch == pytest.approx((2.0, 0.01))
    assert epoch.seconds(1000) == pytest.approx(12.0)
    # Noise can turn the line round; neither part may help.
    assert timed_stages.between([100, 300], [3.0, 2.0]) == pytest.approx((3.0, 0.0))


def test_a_clock_is_over_before_a_step_could_be_late(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr(contest.time, "time", lambda: now)
    clock = contest.Clock(100, started=0)
    now = 50.0
    assert not clock.over()  # what came before was no step
    now = 60.0
    assert not clock.over()  # 60 + 3 x 10
    now = 75.0
    assert clock.over()  # 75 + 3 x 15
    assert clock.share == 0.75
    assert clock.first_step == 10.0


def test_a_clock_allows_for_a_step_as_long_as_the_longest(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(contest.time, "time", lambda: now)
    clock = contest.Clock(1000, started=0)
    clock.over()
    for at in (300, *range(310, 801, 10)):  # one step of 200 seconds, then many of ten
        now = at
        assert not clock.over()
    now = 810
    assert clock.over()  # 810 + 200


def test_the_time_to_an_accuracy_is_when_it_was_first_seen():
    looks = [(1.0, 0.2), (2.0, 0.5), (3.0, 0.4), (4.0, 0.6)]
    assert contest.minutes_until(looks, 0.4) == 2.0
    assert contest.minutes_until(looks, 0.7) == "never"


def test_the_time_to_what_others_had_last_is_said_unless_they_learnt_nothing():
    looks = {
        "ours": [(2.0, 0.1), (6.0, 0.3), (12.0, 0.7)],
        "plain": [(1.0, 0.2), (5.0, 0.5), (9.0, 0.4), (13.0, 0.5)],
        "reference": [(6.0, 0.03), (13.0, 0.06)],
    }
    assert from_scratch.times_to_marks(1, looks, chance=1 / 30) == {
        "ours, seed 1: minutes to the plain loop's last val top-1": 12.0,
        "plain, seed 1: minutes to its last val top-1": 5.0,
    }
    learnt = from_scratch.times_to_marks(0, {**looks, "plain": []}, chance=0.01)
    assert learnt == {
        "ours, seed 0: minutes to the reference's last val top-1": 2.0,
        "reference, seed 0: minutes to its last val top-1": 13.0,
    }
    alone = from_scratch.times_to_marks(0, {**looks, "ours": []}, chance=1 / 30)
    assert alone == {"plain, seed 0: minutes to its last val top-1": 5.0}


def test_recorded_times_to_a_mark_are_those_of_the_recorded_curves():
    file = measure.RESULTS / "from_scratch.json"
    figures = json.loads(file.read_text())["figures"]
    told = {key: value for key, value in figures.items() if " last val top-1" in key}
    found = {}
    for seed in {int(number) for key in told for number in re.findall(r"seed (\d+):", key)}:
        looks = f"seed {seed}: minutes and val top-1"
        curves = {
            name: from_scratch.looks_in(str(figures.get(f"{name}, {looks}", "")))
            for name in ("ours", "plain", "reference")
        }
        found |= from_scratch.times_to_marks(seed, curves, chance=1 / figures["classes"])
    assert found == told
    assert found


def test_rounds_of_several_peers_are_put_side_by_side():
    found = {
        "ours": {
            0: {"ours: test top-1": 0.9, "ours: minutes and val top-1": "0.5 0.400, 1 0.900"},
            1: {"ours: test top-1": 0.8, "ours: minutes and val top-1": "0.6 0.100, 1 0.800"},
        },
        "reference": {
            0: {
                "reference: test top-1": 0.45,
                "reference: minutes and val top-1": "0.5 0.500, 1 0.400",
            },
            1: {"reference: test top-1": "invalid: took 2 of 1 minutes"},
        },
        "torch": {1: {"torch: test top-1": 0.5}},  # it failed with the first seed
    }
    ratios, figures = peers.together(found, seeds=[0, 1])
    assert {name: ratio[:2] for name, ratio in ratios.items()} == {
        "test top-1, ours over reference": (2.0, (2.0, 2.0)),
        "test top-1, ours over torch": (1.6, (1.6, 1.6)),
    }
    assert figures["ours: test top-1, each seed"] == "0.9; 0.8"
    assert figures["ours: test top-1, median"] == pytest.approx(0.85)
    assert figures["torch: test top-1, median"] == 0.5
    assert figures["torch: test top-1, each seed"] == "none; 0.5"
    alone = peers.together({"torch": {3: {"torch: test top-1": 0.6}}}, seeds=[3])
    assert alone == ({}, {"torch: test top-1": 0.6})
    assert figures["ours: minutes to the reference's last val top-1"] == "0.5"


def test_others_get_as_many_epochs_as_fit_and_their_trials_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    now, trials = 0.0, []

    def fitted(epochs: int) -> None:
        nonlocal now
        now += 2 + 5 * epochs + (0 if trials else 4)  # the first of a process compiles
        trials.append(epochs)

    monkeypatch.setattr(peer_recipes.time, "monotonic", lambda: now)
    clock = SimpleNamespace(seconds=60, spent=5, stopped=contextlib.nullcontext)
    known = tmp_path / "peer.json"
    # 60 - 5 - (2 + 4) that are no epoch's, by 5 each.
    assert peer_recipes.epochs_that_fit(fitted, clock, known=known) == 10
    assert trials == [1, 1, 4]
    clock.seconds = 9
    assert peer_recipes.epochs_that_fit(fitted, clock, known=known) == 1
    assert trials == [1, 1, 4]  # another seed costs the same


def test_looks_at_val_are_noted_and_are_no_steps(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr(contest.time, "time", lambda: now)
    clock = contest.Clock(100, started=0)

    def looked() -> float:
        nonlocal now
        now += 20  # while the clock stands
        return 0.5

    now = 30.0
    clock.over()
    clock.look(looked, times=4)  # a quarter has gone
    clock.look(looked, times=4)  # no second one before the half
    now += 1
    assert not clock.over()
    assert clock.first_step == 1.0  # not 21
    now += 19
    clock.look(looked, times=4)
    assert clock.looks == [(0.5, 0.5), (0.83, 0.5)]
    assert clock.spent == 50.0
    assert clock.learnt == pytest.approx(20 / 70)  # of the time from the first step on


def test_a_late_run_is_thrown_away_unseen_and_the_next_keeps_its_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pace, scored, copies = 2.0, [], []

    def run(_: Path, name: str) -> contest.Run:
        if name == "evaluate":
            scored.append(copies[-1])
        foreseen = timed_stages.predict(COST, document, 100, copies[-1], 4)
        line = (1.0, "network 4/4  val_accuracy 0.5")
        return contest.Run(pace * foreseen if name == "train" else 0.0, [line])

    document = values()
    monkeypatch.setattr(timed_stages, "params_with", lambda _: document)
    monkeypatch.setattr(timed_stages, "photos_of", lambda *_: [None] * 100)
    monkeypatch.setattr(timed_stages, "measure", lambda *_: COST)
    monkeypatch.setattr(timed_stages, "run_stage", run)
    monkeypatch.setattr(timed_stages, "evaluated_predictions", lambda _: {})
    monkeypatch.setattr(
        timed_stages, "set_params", lambda _, changes: copies.append(changes["augment.copies"])
    )
    monkeypatch.setattr(timed_stages, "_plans", {})
    given = {"seconds": 120, "split": "test", "chosen": frozenset({"train.precision"})}
    trained = timed_stages.train_for(tmp_path, {"train.seed": 1}, **given)
    late, kept = copies
    assert late > kept
    assert scored == [kept]
    planned = timed_stages.SAFETY * 120
    one_more = pace * timed_stages.predict(COST, document, 100, kept + 1, 4)
    assert trained.seconds <= planned < one_more
    assert trained.notes["late runs before"] == 1
    trained = timed_stages.train_for(tmp_path, {"train.seed": 2}, **given)
    assert copies[2:] == [kept]  # its pace is known by now
    assert "late runs before" not in trained.notes


def test_an_increment_that_ends_in_other_bytes_than_a_full_rebuild_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ends = {"persist: true": "aa.dir", "persist: false": "aa.dir"}

    def repro(*_: str) -> None:
        out = {"path": "data/augmented", "md5": ends[Path("dvc.yaml").read_text()]}
        Path("dvc.lock").write_text(json.dumps({"stages": {"augment": {"outs": [out]}}}))

    project = object.__new__(increment.Project)
    project.root, project.count = tmp_path, 1000
    monkeypatch.setattr(project, "add", lambda: None, raising=False)
    monkeypatch.setattr(project, "repro", repro, raising=False)
    for remembered in (".cache", increment.SEEN):
        (tmp_path / remembered).mkdir(parents=True)
    (tmp_path / ".cache/looks.db").touch()
    (tmp_path / "dvc.yaml").write_text("persist: true")
    project.compare_with_rebuild()
    assert not (tmp_path / ".cache").exists()  # else it would be no full rebuild
    for remembered in (".cache", increment.SEEN):
        (tmp_path / remembered).mkdir()
    (tmp_path / ".cache/looks.db").touch()
    ends["persist: false"] = "bb.dir"
    with pytest.raises(SystemExit) as stopped:
        project.compare_with_rebuild()
    assert stopped.value.code == (
        "error: 1,000 photos: not as after a full rebuild: data/augmented"
    )
    assert (tmp_path / "dvc.yaml").read_text() == "persist: true"
