"""The runner of benchmarks: what it records, tabulates and calls a fall."""

import json

import pytest

import measure
import run


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


def test_a_speedup_is_the_ratio_of_medians_with_the_spread_of_rounds():
    ratio = measure.speedup([1.0, 2.0, 1.0], [2.0, 2.0, 4.0], bar=3)
    assert ratio == (2.0, (1.0, 4.0), 3, "")


def test_a_ratio_that_fell_by_more_than_a_fifth_is_named(results):
    before = results("before", fast=measure.Ratio(2.0, (1.9, 2.1)), new=measure.Ratio(1, (1, 1)))
    after = results("after", fast=measure.Ratio(1.59, (1.5, 1.7)))
    assert run.compare(after, before) == ["error: reading: fast fell from 2.00 to 1.59"]
    assert run.compare(before, before) == []
    assert run.compare(results("good", fast=measure.Ratio(1.61, (1, 2))), before) == []


def test_the_table_says_what_was_reached_and_what_was_not(results):
    folder = results(
        "all",
        won=measure.Ratio(2.0, (1.9, 2.1), 1.5),
        lost=measure.Ratio(0.5, (0.4, 0.6), 1, "it waits for the disk"),
    )
    text = run.table(folder)
    assert "| won | 2.00 (1.90 to 2.10) | 1.5 | reached |" in text
    assert "| lost | 0.50 (0.40 to 0.60) | 1 | **missed** it waits for the disk |" in text
    assert "| photos | 12 |" in text


def test_every_recorded_result_has_a_benchmark_and_the_table_is_up_to_date():
    recorded = {file.stem for file in measure.RESULTS.glob("*.json")}  # a variant: name-variant
    assert {name.partition("-")[0] for name in recorded} <= set(run.benchmarks())
    for name in recorded:
        assert json.loads((measure.RESULTS / f"{name}.json").read_text())["benchmark"] == name
    if recorded:
        assert run.TABLE.read_text(encoding="utf-8") == run.table(measure.RESULTS)


def test_an_unknown_benchmark_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.argv", ["run.py", "nonsense"])
    with pytest.raises(SystemExit) as stopped:
        run.main()
    assert stopped.value.code == 2
    assert "no benchmark nonsense; there are: " in capsys.readouterr().err
