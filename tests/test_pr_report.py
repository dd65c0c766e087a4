"""The pull-request comment, from a repository with two branches."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import pr_report
from forked_dvc import run_dvc
from review import figures, history, markdown
from review.history import snapshot
from tiny_history import GRAPH, History, predictions
from tiny_project import refusal

pytestmark = pytest.mark.xdist_group("review")

SHIPPED = Path(__file__).resolve().parents[1] / "metrics"
EVIL = "@octocat <img src=x onerror=1> [a](https://example.org) #1 | `x` ![b](c) \u202eltr\n# h"

MAIN = predictions("++++++------" + "+" * 8) + predictions("++++", label="Seat Two")
BRANCH = predictions("+" * 20) + predictions("++--", label="Seat Two")


@pytest.fixture(scope="module")
def two_branches(tmp_path_factory: pytest.TempPathFactory) -> History:
    """On ``slower``; it and ``main`` are committed with what their stages made."""
    history = History.begin(tmp_path_factory.mktemp("branches"))
    history.outcome(
        rows=MAIN,
        params={"lr": 0.4, "momentum": 0.9},
        curve=[0.1, 0.3, 0.6],
        split={"kept": 40, "quarantined": 0, "reasons": {}},
        top1=0.75,
        ece=0.02,
        log_loss=0.5,
        test_photos=24,
    )
    history.repro()
    history.commit("main")
    history.git("checkout", "--quiet", "-b", "slower")
    history.outcome(
        rows=BRANCH,
        params={"lr": 0.1, "momentum": 0.9},
        curve=[0.1, 0.5, 0.9],
        split={"kept": 38, "quarantined": 2, "reasons": {"unreadable": 2}},
        top1=0.916667,
        ece=0.03,
        log_loss=0.3,
        test_photos=24,
    )
    history.repro()
    history.commit("Learn more slowly")
    return history


@pytest.fixture
def branches(two_branches: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """A copy of it, and the current folder."""
    monkeypatch.chdir(two_branches.copy_to(tmp_path / "copy").root)
    return History(Path.cwd())


def report(base: str = "main", head: str = "workspace", **options) -> str:
    return pr_report.report(snapshot(base), snapshot(head), **options)


def test_a_reviewer_sees_what_changed_verdict_first(branches: History, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["pr_report.py", "main"])
    pr_report.main()
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0] == pr_report.MARKER
    assert lines[2] == "## ⚪ No difference shown"  # three listings gained and one lost
    assert "0.7500 → 0.9167, +16.7 points (95% interval " in lines[4]
    assert "on the same 24 photos of 12 listings: 6 became right, 2 wrong." in lines[4]
    assert "| `top1` | 0.7500 | 0.9167 | +0.1667 | ▲ better |" in lines
    assert "| `ece` | 0.0200 | 0.0300 | +0.0100 | ▼ worse |" in lines
    assert "| `log_loss` | 0.5000 | 0.3000 | -0.2000 | ▲ better |" in lines
    assert "| `test_photos` | 24 | 24 | 0 |  |" in lines
    assert "| `train.lr` | `0.4` | `0.1` |" in lines
    assert "momentum" not in text
    assert "| `Audi One` | 14 of 20 | 20 of 20 | +30 |" in lines
    assert "| `Seat Two` | 4 of 4 | 2 of 4 | -50 |" in lines
    assert "1 better, 1 worse" in text
    assert "| `val/accuracy` | `▁▃▅ 0.6` | `▁▅█ 0.9` |" in lines
    assert "| `metrics/train/plots/metrics/val/accuracy.tsv` | changed |" in lines
    assert "| `quarantined` | 0 | 2 | +2 | ▼ worse |" in lines
    assert "| `reasons.unreadable` | 0 | 2 | +2 |  |" in lines
    found = json.loads(run_dvc("params", "diff", "--json", "main", cwd=branches.root).stdout)
    assert list(found["params.yaml"]) == ["train.lr"]  # DVC sees no other change either
    metrics = run_dvc("metrics", "diff", "--all", "--json", "main", cwd=branches.root)
    assert shown_figures(text) == dvc_figures(json.loads(metrics.stdout))
    (evaluate,) = (line for line in lines if line.startswith("| `evaluate` |"))
    assert "params `train.lr`" in evaluate
    assert "earlier stages `metrics/split.json`" in evaluate
    assert evaluate.endswith("| changed |")
    assert "WARNING" not in text
    assert "NOTE" not in text


def shown_figures(text: str) -> dict[str, tuple[str, ...]]:
    """Before, after and difference of each row of the comment's tables of figures."""
    tables = re.findall(r"^\| (?:figure|photos) \|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = [line.strip("| ").split(" | ") for table in tables for line in table.splitlines()[1:]]
    assert len({row[0] for row in rows}) == len(rows)
    return {name.strip("`"): tuple(cells[:3]) for name, *cells in rows}


def dvc_figures(metrics: dict[str, dict[str, dict]]) -> dict[str, tuple[str, ...]]:
    """The same from ``dvc metrics diff --all --json``: all that evaluate and what split changed."""
    found = {}
    for path, reported in metrics.items():
        for name, values in reported.items():
            before, after = values.get("old") or 0, values["new"]  # a reason may be new
            if path == "metrics/evaluate.json" or before != after:
                digits = "" if isinstance(after, int) else ".4f"
                change = f"{after - before:+{digits}}" if before != after else "0"
                found[name] = (f"{before:{digits}}", f"{after:{digits}}", change)
    return found


def test_the_same_report_comes_from_two_revisions(branches: History):
    # A bare clone has neither the cache nor a workspace of the branch.
    branches.git("checkout", "--quiet", "main")
    both = report("main", "slower")
    branches.git("checkout", "--quiet", "slower")
    assert "`dvc plots diff main slower`" in both  # without it DVC takes the workspace
    here = both.replace("`slower`", "`workspace`").replace("diff main slower`", "diff main`")
    assert here == report()
    assert both == report("main", "slower")


@pytest.mark.usefixtures("branches")
def test_the_documentation_shows_this_very_comment():
    page = (SHIPPED.parent / "docs/pull-requests.md").read_text()
    _, shown, *_ = page.split("\n---\n")
    assert shown.strip() == report().strip()


@pytest.mark.usefixtures("branches")
def test_nothing_changed_is_said_shortly():
    text = report("slower")
    assert "No difference shown" in text
    assert "No stage of the graph changed." in text
    for absent in ("### Params", "### Classes", "### Plots", "### Data"):
        assert absent not in text


def test_a_dvc_experiment_is_reviewed_by_its_name(branches: History):
    branches.git("checkout", "--quiet", "main")
    branches.dvc("exp", "run", "--name", "quick", "-S", "train.lr=0.3")
    branches.git("checkout", "--quiet", "--force", "main")
    text = report("main", "quick")
    assert "| `train.lr` | `0.4` | `0.3` |" in text
    assert "| `evaluate` | params `train.lr` | the same |" in text
    assert "No difference shown" in text
    (ref,) = branches.git("for-each-ref", "--format=%(objectname)", "refs/exps/*/*/quick").split()
    for base in ("quick", ref):  # nobody merges an experiment
        assert "Merge it first" not in report(base, "main")


def test_figures_that_this_code_did_not_make_are_marked(branches: History):
    with (branches.root / "src/stand_in.py").open("a") as handle:
        handle.write("# edited\n")
    branches.write("params.yaml", "split: {seed: 0}\ntrain: {lr: 0.2, momentum: 0.9, new: 1}\n")
    branches.commit("edited, never run")
    for text in (report(), report("main", "HEAD")):
        assert "These figures are not those of this code, these params and these photos" in text
        assert "`split` (`src/stand_in.py`)" in text
        assert "`evaluate` (`src/stand_in.py`, `train.lr`, `train.new`)" in text


DEMO = """
stages:
  render:
    cmd: mkdir photos sheets && cp render.py photos && cp render.py sheets && cp render.py rows
    deps: [render.py, ../../src/stand_in.py]
    params: [demo.seed]
    outs: [{photos: {cache: false}}, {rows: {cache: false}}, {sheets: {cache: false}}]
"""


@pytest.fixture
def demo(branches: History) -> History:
    """With a graph in ``data/demo`` that made the photos, all of it committed."""
    branches.write("data/demo/dvc.yaml", DEMO)
    branches.write("data/demo/params.yaml", "demo: {seed: 7}\n")
    branches.write("data/demo/render.py", "# draws\n")
    branches.write("data/demo/.gitignore", "/photos\n/rows\n")
    lie_in(branches, "data/demo/photos")
    branches.dvc("repro", "data/demo/dvc.yaml")
    branches.commit("A demo")
    return branches


def lie_in(history: History, photos: str) -> None:
    params = yaml.safe_load((history.root / "params.yaml").read_text())
    params["data"] = {"photos": photos}
    history.write("params.yaml", yaml.safe_dump(params))


def test_a_demo_that_was_not_rendered_with_its_code_and_params_is_marked(demo: History):
    assert "WARNING" not in report("HEAD")
    demo.write("data/demo/params.yaml", "demo: {seed: 8}\n")
    demo.write("data/demo/render.py", "# draws more\n")
    demo.commit("edited, never rendered")
    for text in (report(), report("main", "HEAD")):
        assert "Out of date: `data/demo/dvc.yaml:render` (`render.py`, `demo.seed`)\n" in text
    demo.write("src/stand_in.py", "# edited\n")  # which the demo shares with the root's graph
    assert "; `data/demo/dvc.yaml:render` (`../../src/stand_in.py`, `render.py`, " in report()
    demo.git("checkout", "--quiet", "HEAD~1", "--", "src", "data/demo")
    demo.write("data/demo/rows", "of another branch, and Git ignores them\n")
    assert "WARNING" not in report()
    demo.write("data/demo/sheets/render.py", "by hand\n")
    assert "Out of date: `data/demo/dvc.yaml:render` (`sheets`)\n" in report()


def test_a_demo_that_was_rendered_anew_is_told(demo: History):
    demo.write("data/demo/params.yaml", "demo: {seed: 8}\n")
    demo.write("data/demo/render.py", "# draws more\n")
    demo.dvc("repro", "data/demo/dvc.yaml")
    text = report("HEAD")
    assert "WARNING" not in text
    found = json.loads(run_dvc("params", "diff", "--json", "HEAD", cwd=demo.root).stdout)
    assert found == {"data/demo/params.yaml": {"demo.seed": {"old": 7, "new": 8, "diff": 1}}}
    params = text.partition("### Params")[2].partition("###")[0]
    assert params.endswith(
        "| --- | --- | --- |\n| `data/demo/params.yaml:demo.seed` | `7` | `8` |\n\n"
    )
    why = "code `render.py`; params `demo.seed`"
    assert f"| `data/demo/dvc.yaml:render` | {why} | changed |\n" in text


def test_who_has_other_photos_hears_nothing_of_the_demo(demo: History):
    lie_in(demo, "data/cars/photos")
    demo.commit("Cars")
    demo.write("data/demo/params.yaml", "demo: {seed: 8}\n")
    demo.git("rm", "--quiet", "data/demo/dvc.lock")
    assert "demo" not in report("HEAD")


def test_a_stage_that_never_ran_and_another_command_are_marked(branches: History):
    never_run = "  publish:\n    cmd: python src/stand_in.py\n"
    # What stands for other names or values is for DVC to tell.
    several = "  each:\n    foreach: [a, b]\n    do: {cmd: python src/stand_in.py}\n"
    graph = GRAPH.replace("cmd: python src/stand_in.py metrics/split", "cmd: make metrics/split")
    graph = graph.replace("cmd: python src/stand_in.py metrics/eval", "cmd: ${run} metrics/eval")
    branches.write("dvc.yaml", graph + never_run + several)
    assert "Out of date: `split` (`cmd`); `publish` (`never run`)\n" in report()


def test_a_stage_that_did_not_run_on_what_came_before_it_is_marked(branches: History):
    """As after ``dvc repro split``: what Git holds of inputs and params fits all the same."""
    lock = yaml.safe_load((branches.root / "dvc.lock").read_text())
    manifest = {"path": "data/split/manifest.csv", "hash": "md5"}
    lock["stages"]["split"]["outs"].append(manifest | {"md5": "1" * 32})
    lock["stages"]["evaluate"]["deps"].append(manifest | {"md5": "0" * 32})
    branches.write("dvc.lock", yaml.safe_dump(lock))
    assert "Out of date: `evaluate` (`data/split/manifest.csv`)\n" in report()


@pytest.mark.parametrize(
    ("note", "noted"),
    [("data/cars/labels.csv.dvc", "{%s}"), ("data/cars/dvc.lock", "stages: {render: {%s}}")],
    ids=["added", "rendered"],
)
def test_what_dvc_alone_holds_may_be_another_branch_s(branches: History, note: str, noted: str):
    """As after ``git switch`` without ``dvc checkout``, of which ``dvc status`` tells."""
    lock = yaml.safe_load((branches.root / "dvc.lock").read_text())
    manifest, labels = "data/split/manifest.csv", "data/cars/labels.csv"
    states = {path: {"path": path, "hash": "md5", "md5": "a" * 32} for path in (manifest, labels)}
    lock["stages"]["split"]["deps"].append(states[labels])
    lock["stages"]["split"]["outs"].append(states[manifest])
    lock["stages"]["evaluate"]["deps"].append(states[manifest])
    branches.write("dvc.lock", yaml.safe_dump(lock))
    branches.write(note, noted % f"outs: [{{path: labels.csv, hash: md5, md5: {'a' * 32}}}]")
    for path in (manifest, labels):
        branches.write(path, "of another branch\n")
    assert "WARNING" not in report()
    branches.write("metrics/split.json", "{}")  # which Git holds
    told = "Out of date: `split` (`metrics/split.json`); `evaluate` (`metrics/split.json`)\n"
    assert told in report()


def test_a_stage_that_was_removed_makes_none_out_of_date(branches: History):
    lock = yaml.safe_load((branches.root / "dvc.lock").read_text())
    copies = {"path": "data/augmented", "hash": "md5"}
    lock["stages"]["evaluate"]["deps"].append(copies | {"md5": "1" * 32})
    lock["stages"]["split"]["outs"].append(copies | {"md5": "1" * 32})
    lock["stages"]["augment"] = {"cmd": "gone", "outs": [copies | {"md5": "0" * 32}]}
    branches.write("dvc.lock", yaml.safe_dump(lock))
    assert "WARNING" not in report()


@pytest.mark.parametrize(
    ("path", "noted"),
    [("data/cars/photos.dvc", "{%s}"), ("data/cars/dvc.lock", "stages: {render: {%s}}")],
    ids=["added", "rendered"],
)
@pytest.mark.parametrize("named", ["data/cars/photos", "data/cars/photos/"])
def test_photos_that_nothing_ran_on_are_marked(
    branches: History, named: str, path: str, noted: str
):
    lock = yaml.safe_load((branches.root / "dvc.lock").read_text())
    photos = {"path": named, "hash": "md5", "md5": f"{'0' * 32}.dir"}
    lock["stages"]["split"]["deps"].append(photos)
    branches.write("dvc.lock", yaml.safe_dump(lock))
    outs = "outs: [{path: photos, hash: md5, md5: %s.dir}]"
    branches.write(path, noted % (outs % ("0" * 32)))
    assert "WARNING" not in report()
    branches.write(path, noted % (outs % ("1" * 32)))
    branches.commit("More photos, nothing run")
    for text in (report(), report("main", "HEAD")):
        assert f"Out of date: `split` (`{named}`)\n" in text


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("metrics/predictions.csv", "metrics/predictions.csv"),
        ("metrics/train/plots/metrics/val/accuracy.tsv", "metrics/train"),
    ],
)
def test_results_that_no_run_of_this_lock_wrote_are_marked(branches: History, path: str, out: str):
    """Edited by hand, or of the other side of a merge."""
    branches.git("checkout", "--quiet", "main", "--", path)
    branches.commit("half of one run and half of another")
    for text in (report(), report("main", "HEAD")):
        assert f"Out of date: `evaluate` (`{out}`)\n" in text


def test_results_that_were_not_committed_are_marked(branches: History):
    branches.write("metrics/evaluate.json", '{"top1": 1}')
    assert "`dvc.lock` and `metrics/` of the workspace are not committed" in report()


def test_a_branch_that_lacks_commits_of_its_base_is_told(branches: History):
    branches.git("checkout", "--quiet", "main")
    branches.commit("more on main")
    assert "Commits of `main` that are not in here: 1. Merge it first" in report("main", "slower")


def test_a_shallow_clone_does_not_say_that_commits_are_missing(branches: History, monkeypatch):
    """Without the commits between, it cannot know that main is wholly in the branch."""
    source, clone = branches.root.as_uri(), branches.root.parent / "clone"
    branches.git("clone", "--quiet", "--depth=1", "--no-single-branch", source, str(clone))
    monkeypatch.chdir(clone)
    text = report("origin/main")
    assert "Merge it first" not in text
    assert "too shallow to tell whether commits of `origin/main` are missing here" in text
    history.git("fetch", "--quiet", "--unshallow")
    assert "NOTE" not in report("origin/main")


def test_another_folder_than_the_project_is_told(branches: History, monkeypatch):
    monkeypatch.chdir(branches.root / "src")
    told = "dvc.yaml: not in main nor in workspace; run from the project's top folder"
    assert told in refusal(report)


def test_other_test_photos_are_not_compared_in_silence(branches: History):
    rows = [*BRANCH, *predictions("+" * 6, start=20)]
    branches.outcome(rows=rows, top1=0.9)
    branches.repro()
    text = report()
    assert "## ⚠️ Not comparable" in text
    assert "24 are the same in both, 6 are in one alone" in text
    assert "On the common photos alone: **no difference shown**, top-1 0.7500 → 0.9167" in text


def test_classes_that_went_and_came_are_named(branches: History):
    """With a class its mistakes go, so top-1 may rise by it."""
    kept = [row for row in BRANCH if row[2] != "Seat Two"]
    branches.outcome(rows=[*kept, *predictions("+-", label="Kia `Four`")], top1=0.9)
    branches.repro()
    text = report()
    assert "\nNo more in test: `Seat Two`.\n" in text
    assert "\nNew in test: `Kia 'Four'`.\n" in text


def test_a_base_from_before_predictions_is_told(branches: History):
    branches.git("rm", "--quiet", "--cached", "metrics/predictions.csv")
    branches.git("commit", "--quiet", "--message", "without")
    text = report("HEAD")
    assert "No `metrics/predictions.csv` on the base." in text
    assert "| `top1` |" in text


def test_a_base_without_counts_is_not_one_of_no_photos(branches: History):
    """No file: nothing is known of its photos. A file that lacks a reason: none had it."""
    branches.git("rm", "--quiet", "--cached", "metrics/split.json")
    branches.git("commit", "--quiet", "--message", "without")
    data = report("HEAD").partition("### Data and quarantine")[2]
    assert "| `kept` | - | 38 |  |  |" in data
    assert "| `quarantined` | - | 2 |  |  |" in data
    assert "| `reasons.unreadable` | 0 | 2 | +2 |  |" in report()


def test_a_label_may_hold_any_bytes(branches: History):
    for name in ("outcome", "."):
        file = branches.root / name / "metrics/predictions.csv"
        file.write_bytes(file.read_bytes().replace(b"Seat Two", b"Seat \xff"))
    branches.commit("bytes")
    file.write_bytes(file.read_bytes().replace(b"Opel Three", b"Seat \xff"))
    assert "| `Seat �` | 2 of 4 | 4 of 4 | +50 |" in report("HEAD")


def outside_code(text: str) -> str:
    """The comment as HTML, without what stands in code spans and without our own folds."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return re.sub(r"<code>[^<]*</code>|</?details>|</?summary>", "", html)


def test_no_name_of_others_becomes_markup(branches: History):
    good = [(*row[:2], EVIL, *row[3:]) for row in predictions("+++++++")]
    bad = [(*row[:4], EVIL + "x", *row[5:]) for row in good]
    branches.outcome(rows=bad, params={"lr": EVIL, EVIL: 1}, split={EVIL: 2}, top1=0.5, **{EVIL: 1})
    branches.repro()
    branches.commit("evil")
    branches.outcome(rows=good, params={"lr": 1, "b": EVIL}, top1=0.6, **{EVIL: 2})
    branches.write(f"outcome/metrics/train/{EVIL.replace('/', '-')}.tsv", "a\tb\n1\t2\n")
    branches.repro()
    branches.git("checkout", "--quiet", "-b", "@octocat<b>")
    text = report("HEAD", "@octocat<b>") + report("HEAD")
    assert "octocat" in text
    plain = outside_code(text)
    for trap in ("octocat", "<img", "<a", "](", "#1", "\u202e", "example.org", "<b>", "<h1"):
        assert trap not in plain, trap
    # No name has ended its cell: every row has as many as its header.
    for table in re.findall(r"<table>.*?</table>", plain, re.DOTALL):
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        assert len({len(re.findall("<t[hd]>", row)) for row in rows}) == 1
    assert "||" not in text


@settings(max_examples=200)
@given(st.text(st.sampled_from("a`|\\\n \t*<&[]()$@#\u2028\u202e\x00\ud800é")))
@example(EVIL)
def test_any_text_stays_within_its_code_span(unsafe: str):
    plain = outside_code(markdown.table(("a", "b"), [(markdown.code(unsafe), "end")]))
    assert re.findall(r"<td>(.*?)</td>", plain) in (["", "end"], ["(empty)", "end"])


def test_a_comment_always_fits_into_github(branches: History):
    names = [f"{number:03d}{'é' * 200}" for number in range(90)]
    rows = [row for name in names for row in predictions("+", label=name)]
    wrong = [(*row[:4], "?", *row[5:]) for row in rows]
    many = dict.fromkeys(names, 0.5)
    branches.outcome(rows=wrong, params=many, split=dict.fromkeys(names, 1), **many)
    branches.publish()
    branches.commit("many")
    more = dict.fromkeys(names, 0.6)
    branches.outcome(rows=rows, params=more, split=dict.fromkeys(names, 2), **more)
    branches.publish()
    text = report("HEAD")
    assert len(text.encode()) <= 65_536
    assert "and 50 more." in text
    assert "90 better, 0 worse" in text


def test_what_does_not_fit_is_left_out_with_a_note():
    text = pr_report.fit(["a" * 50, "b" * 50, "c" * 500], largest=250)
    assert text.startswith("a" * 50 + "\n" + "b" * 50)
    assert "does not fit" in text
    assert "make pr-report" not in text  # it would be cut there as well
    assert "c" * 500 not in text
    assert len(text.encode()) <= 250


def test_the_command_that_shows_plots_is_whole(branches: History):
    """However long its names are; a hash stands for what a shell could take apart."""
    long, hostile = "long" * 50, "x`;touch${IFS}p;`y"
    branches.git("branch", long, "slower")
    branches.git("branch", hostile, "slower")
    assert f"`dvc plots diff main {long}`:\n" in report("main", long)
    commit = branches.git("rev-parse", "slower").strip()
    assert f"`dvc plots diff main {commit[:12]}`:\n" in report("main", hostile)


def test_params_may_refer_to_each_other(branches: History):
    branches.write("params.yaml", "a: &same {x: 1}\nb: *same\nc: {<<: *same, y: 2}\n")
    text = report()
    assert "| `b.x` |" in text
    assert "| `c.x` |" in text


BOMB = "a0: &a0 [0]\n" + "".join(
    f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(7)
)


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("dvc.lock", "<<<<<<< HEAD\nstages:\n=======\n", "dvc.lock in workspace: not plain YAML"),
        ("dvc.lock", "stages: {a: {deps: [1]}}", "not as DVC writes it"),
        ("outcome.dvc", "outs: [1]", "outcome.dvc in workspace: not as DVC writes it"),
        ("dvc.yaml", "stages: [1]", "stages are not as DVC expects"),
        ("dvc.yaml", "stages: {split: {deps: 1}}", "stages are not as DVC expects"),
        # Its name goes into the environment, which holds no more than 128 KiB.
        pytest.param("metrics/evaluate.json", '{"a":' * 100_000, "not JSON", id="deep JSON"),
        ("dvc.lock", "a: &a [*a]\n", "references (*name) stand for over 1,000,000 places"),
        ("params.yaml", BOMB, "references (*name) stand for over 1,000,000 places"),
        ("params.yaml", "a: !!int ''\nb: !!timestamp x", "not plain YAML"),
        ("params.yaml", "b: !!timestamp x", "not plain YAML"),
        pytest.param("params.yaml", f"b: 0x{'f' * 4000}", "a number of 4,002", id="long number"),
        pytest.param("dvc.lock", "[" * 5000, "not plain YAML", id="deep YAML"),
        ("metrics/evaluate.json", "[1]", "expected a JSON object"),
        ("metrics/evaluate.json", '{"top1": ', "not JSON"),
        ("metrics/predictions.csv", "photo_id,label\n", "no column listing, predicted"),
    ],
)
def test_a_damaged_file_is_one_line(branches: History, path: str, content: str, words: str):
    branches.write(path, content)
    assert words in refusal(report)


def test_a_folder_whose_name_none_can_have_holds_nothing(branches: History):
    branches.write("params.yaml", 'data: {photos: "way\\0/photos"}\n')
    branches.commit("Photos")
    for head in ("workspace", "HEAD"):
        assert "data.photos" in report(head=head)


def test_nothing_is_read_through_a_link_on_the_way(branches: History, tmp_path: Path):
    private = tmp_path / "private"
    private.mkdir()
    (private / "dvc.yaml").write_text("stages: {}\n")
    (private / "params.yaml").write_text("secret: 12345\n")
    Path("way").symlink_to(private)
    branches.write("params.yaml", "data: {photos: way/photos}\n")
    assert "12345" not in report()


def test_numbers_beyond_all_measure_are_left_out(branches: History):
    huge = f'{{"top1": 0.5, "log_loss": 1{"0" * 400}, "ece": 1e308}}'
    branches.write("metrics/evaluate.json", huge)
    curve = "metrics/train/plots/metrics/train/loss.tsv"
    branches.write(curve, "step\tloss\n0\t1e308\n1\t-1e308\n2\t0.5\n")
    assert "0.5000" in report()


def test_figures_of_every_crop_and_size_are_shown(branches: History):
    many = {f"top1_crop_{number}": 0.5 for number in range(60)}
    branches.outcome(rows=BRANCH, top1=0.9, **many)
    branches.publish()
    text = report()
    assert all(f"| `{name}` | - | 0.5000 |" in text for name in many)


def test_photos_that_were_no_longer_cropped_are_told(branches: History):
    for number in (0, 900):
        figures = {"photos": 1152, "cropped_by_box": 1152 - number, "not_cropped": number}
        branches.write("metrics/preprocess.json", json.dumps(figures))
        if not number:
            branches.commit("all cropped")
    data = report("HEAD").partition("### Data and quarantine")[2]
    assert "| `not_cropped` | 0 | 900 | +900 |  |" in data
    assert "| `cropped_by_box` | 1,152 | 252 | -900 |  |" in data
    assert "`photos`" not in data


def test_versions_that_nothing_was_run_with_are_a_warning(branches: History):
    branches.write("metrics/train/environment.json", '{"keras": "3.15.1", "numpy": "2.4.6"}')
    pins = "keras==3.15.1 \\\n    --hash=sha256:0\nnumpy==2.3.0 ; python_full_version < '3.12'\n"
    branches.write("requirements.txt", pins + "numpy==2.4.6 ; python_full_version >= '3.12'\n")
    assert "pinned" not in report()
    branches.write("requirements.txt", pins.replace("3.15.1", "3.16.0"))
    text = report()
    assert "`keras`: `3.15.1`, pinned `3.16.0`; `numpy`: `2.4.6`, pinned `2.3.0`" in text
    assert "run `dvc repro -f` and commit" in text


def test_another_environment_of_training_is_told(branches: History):
    environment = {"precision": "float32", "threads": 2, "features": ["avx", "fma"]}
    file = "metrics/train/environment.json"
    branches.write(file, json.dumps(environment))
    branches.commit("on a laptop")
    features = [*(f"avx512_{number:02d}" for number in range(9)), "fma", EVIL]
    environment |= {"precision": "mixed_bfloat16", "features": features, "devices": []}
    branches.write(file, json.dumps(environment))
    text = report("HEAD")
    table = text.partition("### Environment")[2].partition("###")[0]
    assert "| `precision` | `float32` | `mixed_bfloat16` |" in table
    assert "| `features` | `avx` | `avx512_00, avx512_01, " in table
    assert "avx512_08, @octocat" in table
    assert "octocat" not in outside_code(text)
    assert "threads" not in table


def test_the_commit_that_a_reader_knows_is_named(branches: History, capsys, monkeypatch):
    """A workflow reports on a merge, whose hash says nothing to a reader."""
    commit = branches.git("rev-parse", "slower").strip()
    monkeypatch.setattr("sys.argv", ["pr_report.py", "main", "--commit", commit])
    pr_report.main()
    assert f"\nCommit `{commit[:7]}`: `workspace` against `main`." in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["pr_report.py", "main", "--commit", "$(date)"])
    assert "--commit: expected the hash of a commit" in refusal(pr_report.main)


@pytest.mark.usefixtures("branches")
def test_a_link_to_plots_must_be_plain(monkeypatch):
    assert "[Open them](https://example.org/run/1)" in report(plots_url="https://example.org/run/1")
    monkeypatch.setattr("sys.argv", ["pr_report.py", "main", "--plots-url", "https://a) [b](c"])
    assert "--plots-url" in refusal(pr_report.main)


def test_a_figure_that_nobody_has_named_has_no_direction():
    assert figures.direction("a figure nobody has named") is None


@pytest.mark.parametrize(
    ("name", "before", "after", "mark"),
    [
        ("top1", 0.5, 0.6, "▲ better"),
        ("top1", 0.6, 0.5, "▼ worse"),
        ("log_loss", 0.6, 0.5, "▲ better"),
        ("ece", 0.01, 0.02, "▼ worse"),
        ("temperature", 1.0, 2.0, ""),
        ("top1_low", 0.5, 0.6, ""),
        ("log_loss_high", 0.5, 0.6, ""),
        ("listing_accuracy", 0.5, 0.6, "▲ better"),
        ("top1_short_side_under_200", 0.5, 0.6, "▲ better"),
        ("photos_crop_box", 5, 6, ""),
        ("auto_rate", 0.5, 0.4, "▼ worse"),
        ("auto_threshold", 0.5, 0.4, ""),
        ("top1", 0.5, 0.5, ""),
        ("unheard of", 1, 2, ""),
    ],
)
def test_arrows_know_which_way_is_better(name: str, before: float, after: float, mark: str):
    assert figures.row(name, before, after)[3] == mark


@pytest.mark.usefixtures("branches")
def test_photos_outside_of_the_repository_are_none_of_its_files():
    commit = snapshot("main")
    for path in ("/mnt/photos", "../photos/1.jpg"):
        assert commit.read(path) is None


def test_files_that_git_ignores_are_no_plots(branches: History):
    branches.write("metrics/sheets/mistakes.png", "a picture")
    assert "metrics/sheets/mistakes.png" in report()
    branches.write(".gitignore", "/metrics/sheets\n")
    assert "metrics/sheets" not in report()


def test_small_numbers_are_those_of_the_lock_however_they_are_written(branches: History):
    branches.outcome(rows=BRANCH, params={"lr": 1.0}, top1=0.9)
    for written in ("0.00001", "1e-5", "1.0e-05"):
        branches.write("params.yaml", f"split:\n  seed: 0\ntrain:\n  lr: {written}\n")
        branches.repro()
        assert "1e-05" in (branches.root / "dvc.lock").read_text()
        assert "WARNING" not in report()


def test_another_file_of_a_store_is_named_as_the_cause(branches: History):
    lock = yaml.safe_load((branches.root / "dvc.lock").read_text())
    labels = {"path": "s3://cars/labels.csv", "size": 9}
    for etag in ("aaa", "bbb"):  # DVC knows a file of a store by its etag
        lock["stages"]["split"]["deps"] = [labels | {"etag": etag}]
        branches.write("dvc.lock", yaml.safe_dump(lock))
        if etag == "aaa":
            branches.commit("Labels in a store")
    assert "data `s3://cars/labels.csv`" in report("HEAD")


def test_an_input_too_large_for_git_is_left_to_dvc(branches: History, monkeypatch):
    branches.write("outcome/metrics/split.json", " " * 20_000)
    assert "WARNING" in report()
    monkeypatch.setattr(history, "LARGEST", 10_000)
    assert "WARNING" not in report()
