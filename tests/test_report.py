"""The report page: whole, safe and readable, looked at by a real browser."""

import base64
import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluate
import report
import stage
from chromium import chromium
from page.charts import Axis, Line, line_chart, matrix
from photos.tables import read_table, write_table
from scoring.gallery import Seen
from tiny_bundle import LABELS
from tiny_project import refusal

pytestmark = pytest.mark.xdist_group("keras")

PHONE = 390
CURVE = "metrics/train/plots/metrics/train/loss.tsv"


@pytest.fixture(scope="module")
def page(evaluated: Path) -> str:
    return report.render(evaluated)


def copy_of_page_inputs(source: Path, target: Path) -> None:
    """All that the page is made of, to be changed."""
    shutil.copytree(source / "metrics", target / "metrics")
    shutil.copyfile(source / "params.yaml", target / "params.yaml")


def test_figures_are_told_as_they_were_measured(evaluated: Path, page: str):
    figures = json.loads((evaluated / "metrics/evaluate.json").read_text())
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for name in ("top1", "make_accuracy", "listing_accuracy", "auto_rate", "auto_precision"):
        assert f"{100 * figures[name]:.1f}%" in text, name
        low, high = (100 * figures[f"{name}_{end}"] for end in ("low", "high"))
        interval = f"({low:.1f}\N{EN DASH}{high:.1f}%)"
        assert interval in text, name
    assert f"error is {figures['ece']:.3f}; {figures['ece_raw']:.3f} before" in text


def test_names_from_outside_are_text_and_nothing_else(page: str):
    assert "<script" not in page
    assert html.escape(LABELS[2].label, quote=True).replace("&#x27;", "&#39;") in page
    assert "{{ 7 * 7 }}" in page
    assert "<b>Make</b>" not in page


def test_what_is_not_all_is_never_shown_as_all():
    shares = [report.as_share(share) for share in (1, "0.99999", 0.9996, 0.9994, 0.98611, 0)]
    assert shares == ["100.0%", "99.9%", "99.9%", "99.9%", "98.6%", "0.0%"]


def test_the_page_needs_nothing_from_elsewhere(page: str):
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert "default-src 'none'" in page
    shown = [base64.b64decode(address.partition(",")[2]) for address in addresses]
    assert all(cv2.imdecode(np.frombuffer(data, np.uint8), 1) is not None for data in shown)


def test_the_same_files_give_the_same_bytes(evaluated: Path, page: str):
    assert report.render(evaluated) == page


def test_the_script_writes_the_page(evaluated: Path, page: str, monkeypatch, capsys):
    monkeypatch.chdir(evaluated)
    monkeypatch.setattr("sys.argv", ["report.py"])
    stage.run(report.main)
    written = (evaluated / "report.html").read_text()
    assert written == page.encode("utf-8", "replace").decode()  # one path is no UTF-8
    assert "report.html" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["report.py", "nowhere/report.html"])
    assert "nowhere/report.html: cannot be written" in refusal(report.main)
    monkeypatch.setattr("sys.argv", ["report.py", "main"])
    told = "main: expected a file that ends in .html; to compare with a revision: --base main"
    assert told in refusal(report.main)
    assert not Path("main").exists()


def test_it_says_what_changed_since_a_commit(evaluated: Path, tmp_path: Path, monkeypatch):
    copy_of_page_inputs(evaluated, tmp_path)
    monkeypatch.chdir(tmp_path)
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-qb", "main"], ["add", "--all"], [*author, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], check=True)
    rows = read_table(Path("metrics/predictions.csv"))
    for row in rows:  # every photo is right now
        row["predicted"] = row["label"]
    evaluate.write_rows(
        Path("metrics/predictions.csv"), list(rows[0]), [tuple(row.values()) for row in rows]
    )
    figures = json.loads(Path("metrics/evaluate.json").read_text())
    Path("metrics/evaluate.json").write_text(json.dumps({**figures, "top1": 1.0}))
    monkeypatch.setattr("sys.argv", ["report.py", "--base", "main"])
    stage.run(report.main)
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", Path("report.html").read_text()))
    assert "Since main better : top-1" in page
    assert f"Top-1 {100 * figures['top1']:.1f}% 100.0%" in page
    monkeypatch.setattr("sys.argv", ["report.py", "--base", "nowhere"])
    assert "nowhere" in refusal(report.main)


def test_it_says_what_is_out_of_date_before_any_figure(
    evaluated: Path, page: str, tmp_path: Path, monkeypatch
):
    copy_of_page_inputs(evaluated, tmp_path)
    evaluate = "{cmd: x, outs: [{metrics/plots: {cache: false}}]}"
    (tmp_path / "dvc.yaml").write_text(f"stages: {{evaluate: {evaluate}, <i>: {{cmd: x}}}}")
    (tmp_path / "dvc.lock").write_text("stages: {evaluate: {cmd: y}}")
    monkeypatch.chdir(tmp_path)  # outside of any repository of Git
    monkeypatch.setattr("sys.argv", ["report.py"])
    stage.run(report.main)
    told = Path("report.html").read_text()
    *_, banner = re.findall(r'<p class="alarm">(.*?)</p>', told, re.DOTALL)
    assert "Out of date: evaluate (cmd); &lt;i&gt; (never run)." in banner
    assert told.index(banner) < told.index('<div class="cards">')
    assert "Out of date" not in page


def test_it_tells_what_trained_the_model_not_what_draws_the_page(evaluated: Path, tmp_path: Path):
    copy_of_page_inputs(evaluated, tmp_path)
    environment = {"precision": "mixed_bfloat16", "features": ["amx", "<b>avx"], "devices": []}
    (tmp_path / "metrics/train/environment.json").write_text(json.dumps(environment))
    text = report.render(tmp_path).partition("<summary>Trained with</summary>")[2]
    assert re.findall("<td>(.*?)</td>", text) == [
        "precision", "mixed_bfloat16", "features", "amx, &lt;b&gt;avx", "devices", "-",
    ]  # fmt: skip


def test_before_a_run_it_says_what_to_run(tmp_path: Path):
    text = refusal(lambda: report.render(tmp_path))
    assert "metrics/evaluate.json: not found; run dvc repro" in text


@pytest.mark.parametrize("spoilt", ["metrics/plots/confusion.csv", "metrics/evaluate.json"])
def test_metrics_of_another_version_are_one_line(evaluated: Path, tmp_path: Path, spoilt: str):
    copy_of_page_inputs(evaluated, tmp_path)
    file = tmp_path / spoilt
    old = file.read_text().replace("photos", "number").replace("ece", "error")
    file.write_text(old)
    text = refusal(lambda: report.render(tmp_path))
    assert "another version of the code wrote it: run dvc repro" in text
    file.unlink()
    assert f"{spoilt}: not found; run dvc repro" in refusal(lambda: report.render(tmp_path))


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("params.yaml", None, "params.yaml: not found"),
        ("params.yaml", "a: [1", "params.yaml: not valid YAML"),
        ("metrics/plots/confusion_makes.csv", "actual,predicted,photos\n", "not a number"),
        ("metrics/plots/reliability.csv", "confidence,accuracy,photos\nx,1,1\n", "not a number"),
        ("metrics/plots/precision_coverage.csv", "coverage,precision\n1,inf\n", "not a number"),
        pytest.param(
            "metrics/plots/per_class.csv",
            f"label,support,precision,recall,f1\n{'x' * 200_000},1,1,1,1\n",
            "metrics/plots/per_class.csv: not a CSV file (field larger than",
            id="a long cell",
        ),
        ("metrics/evaluate.json", "[]", "metrics/evaluate.json: expected a JSON object; run"),
        pytest.param(
            "metrics/evaluate.json", '{"a":' * 100_000, "evaluate.json: not JSON", id="deep JSON"
        ),
        (CURVE, "step\tloss\n0\tinf\n", f"{CURVE}: inf or nan"),
    ],
)
def test_what_it_cannot_read_is_one_line(
    evaluated: Path, tmp_path: Path, path: str, content: str | None, words: str
):
    copy_of_page_inputs(evaluated, tmp_path)
    (tmp_path / path).unlink()
    if content is not None:
        (tmp_path / path).write_text(content)
    assert words in refusal(lambda: report.render(tmp_path))


def test_without_galleries_it_says_how_to_get_them(evaluated: Path, tmp_path: Path):
    copy_of_page_inputs(evaluated, tmp_path)
    shutil.rmtree(tmp_path / "metrics/gallery")
    assert "dvc pull explain" in report.render(tmp_path)


@pytest.mark.parametrize("which", ["mistakes", "least_sure"])
@pytest.mark.parametrize("column", ["label", "predicted", "confidence"])
def test_galleries_of_another_model_are_left_out(
    evaluated: Path, tmp_path: Path, which: str, column: str
):
    """After a switch to an older commit Git brings its figures; DVC's files wait for a checkout."""
    copy_of_page_inputs(evaluated, tmp_path)
    file = tmp_path / f"metrics/gallery/{which}.csv"
    rows = [Seen(**row) for row in read_table(file)]
    rows[0] = replace(rows[0], **{column: "0.5" if column == "confidence" else LABELS[5].label})
    write_table(file, Seen, rows)
    page = report.render(tmp_path)
    assert "metrics/gallery shows another run's photos. Run dvc checkout explain, or" in page
    assert "<img" not in page
    assert "Likely label errors" not in page


def test_a_gallery_that_lacks_mistakes_of_this_model_is_left_out(evaluated: Path, tmp_path: Path):
    copy_of_page_inputs(evaluated, tmp_path)
    write_table(tmp_path / "metrics/gallery/mistakes.csv", Seen, [])
    assert "shows another run's photos" in report.render(tmp_path)


def test_photos_of_no_listing_are_not_said_to_be_of_unseen_ones(evaluated: Path, tmp_path: Path):
    copy_of_page_inputs(evaluated, tmp_path)
    file = tmp_path / "metrics/predictions.csv"
    rows = read_table(file)

    def told_of(*listings: str) -> str:
        """The page where the first photos are of these listings, and the others of the last."""
        named = [*listings, *[listings[-1]] * (len(rows) - len(listings))]
        cells = [
            tuple({**row, "listing": name}.values()) for row, name in zip(rows, named, strict=True)
        ]
        evaluate.write_rows(file, list(rows[0]), cells)
        return report.render(tmp_path)

    told = told_of("one", "two")
    assert "listings</p>" in told
    assert 'class="alarm"' not in told
    told = told_of("")
    assert "No listings are known." in told
    assert "listings</p>" not in told
    assert "a bootstrap over photos" in told
    assert '<div class="card">Listing' not in told
    told = told_of("the only one", "")
    assert f"Test photos without a listing: {len(rows) - 1}." in told
    assert "listings</p>" not in told


def test_classes_without_test_photos_come_after_the_worst(evaluated: Path, tmp_path: Path):
    copy_of_page_inputs(evaluated, tmp_path)
    rows = [("a", 0, 0.0, 0.0, 0.0), ("b", 3, 0.5, 0.5, 0.5), ("c", 3, 1.0, 0.1, 0.2)]
    header = ("label", "support", "precision", "recall", "f1")
    evaluate.write_rows(tmp_path / "metrics/plots/per_class.csv", header, rows)
    figures = json.loads((tmp_path / "metrics/evaluate.json").read_text())
    figures |= {"classes": 3, "test_classes": 2}
    (tmp_path / "metrics/evaluate.json").write_text(json.dumps(figures))
    page = report.render(tmp_path)
    order = [page.index(f'<tr><td>{label}</td><td class="number">') for label in "cba"]
    assert order == sorted(order)
    assert "3 models, 2 of them with test photos" in page


@pytest.fixture(scope="module")
def large(evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 196 classes of 49 makes, with 72 noisy photos of 448 x 224 pixels."""
    root = tmp_path_factory.mktemp("large")
    copy_of_page_inputs(evaluated, root)
    names = [f"Manufacturer {n // 4} Model {n} Sedan Long Wheelbase 2012" for n in range(196)]
    makes = [f"Manufacturer {n}" for n in range(49)]
    random = np.random.default_rng(0)
    plots = root / "metrics/plots"
    per_class = [(name, 7, 0.9, 0.8, round(random.random(), 6)) for name in names]
    evaluate.write_rows(
        plots / "per_class.csv", ("label", "support", "precision", "recall", "f1"), per_class
    )
    for table, among, count in (
        ("confusion", names, 800),
        ("confusion_makes", makes, 300),
        ("confused_pairs", names, 20),
    ):
        pairs = sorted({tuple(random.integers(0, len(among), 2).tolist()) for _ in range(count)})
        cells = [(among[a], among[b], 1) for a, b in pairs]
        evaluate.write_rows(plots / f"{table}.csv", ("actual", "predicted", "photos"), cells)
    for gallery in ("mistakes", "least_sure", "label_suspects"):
        rows = []
        for number in range(24):
            noise = random.integers(0, 256, (28, 56, 3), np.uint8)
            picture = cv2.resize(noise, (448, 224), interpolation=cv2.INTER_NEAREST)
            photo_id = f"{number:016x}"
            file = root / f"metrics/gallery/{gallery}/{photo_id}.jpg"
            file.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
            path = f"a/very/long/folder/without/a/single/space/in/it/{'x' * 60}.jpg"
            rows.append(Seen(photo_id, path, "test", names[number + 8], names[7], 0.9, 0.1))
        write_table(root / f"metrics/gallery/{gallery}.csv", Seen, rows)
    header = ("photo_id", "label", "predicted", "confidence", "decision")
    told = [(row.photo_id, row.label, row.predicted, row.confidence, "auto") for row in rows]
    evaluate.write_rows(root / "metrics/predictions.csv", header, told)
    (root / "report.html").write_text(report.render(root), errors="replace")
    return root / "report.html"


def test_a_page_of_196_classes_can_be_mailed(large: Path):
    assert large.stat().st_size < 15e6
    assert large.read_text().count("<img") > 60


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        size = {"width": PHONE, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield browser


def faults(browser, file: Path) -> list[str]:
    """What a reader with a phone would stumble over in a page with all its parts unfolded."""
    browser.get(file.as_uri())
    for details in browser.find_elements("tag name", "details"):
        browser.execute_script("arguments[0].open = true", details)
    found = [entry["message"] for entry in browser.get_log("browser")]
    width = browser.execute_script("return document.documentElement.scrollWidth")
    if width > PHONE:
        found.append(f"the page is {width} pixels wide")
    # What is wider than the phone scrolls inside a box of its own, as matrices do.
    found += browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.wide') && "
        "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 99))"
    )
    broken = "return [...document.images].filter(image => !image.naturalWidth).length"
    if number := browser.execute_script(broken):
        found.append(f"{number} broken pictures")
    return found


@pytest.fixture
def small(page: str, tmp_path: Path) -> Path:
    file = tmp_path / "report.html"
    file.write_text(page, errors="replace")
    return file


@pytest.mark.parametrize("which", ["small", "large"])
def test_a_browser_shows_it_on_a_phone(browser, which: str, request: pytest.FixtureRequest):
    assert faults(browser, request.getfixturevalue(which)) == []
    assert browser.title.startswith("Vehicle make and model: ")
    assert browser.execute_script("return innerWidth") == PHONE


@pytest.mark.parametrize(
    ("spoilt", "fault"),
    [
        ("<div style='width:600px'>wide</div>", "the page is 6"),
        ("<script>alert(1)</script>", "Content Security Policy"),
        ("<img src='https://example.org/a.jpg'>", "Content Security Policy"),
        ("<img src='data:image/jpeg;base64,AAAA'>", "1 broken"),
    ],
)
def test_a_spoilt_page_is_noticed(browser, small: Path, spoilt: str, fault: str):
    small.write_text(small.read_text().replace("</h1>", f"</h1>{spoilt}", 1))
    assert any(fault in found for found in faults(browser, small))


def test_a_matrix_places_its_counts_by_row_and_column(page: str):
    found = matrix("t", [("a", "a", 3), ("a", "b", 1), ("b", "b", 2)], ["a", "b"])
    first, second, third = found.cells
    assert (first.share, second.share, second.of) == (0.75, 0.25, 4)
    assert (second.x - first.x, second.y - first.y) == (20, 0)
    assert (third.x - second.x, third.y - second.y) == (0, 20)
    assert found.side == pytest.approx(found.room + 2 * 20, abs=1)
    assert re.search(r"<title>Audi One taken for Audi \w+: \d+ of 12</title>", page)


@pytest.mark.parametrize(("name", "least"), [("VOLKSWAGEN", 78), ("上汽大众 朗逸", 69)])
def test_a_matrix_has_room_for_names_of_wide_letters(name: str, least: int):
    # Widths of these names in 11 px Arial and Noto Sans CJK; 6 px are left beside a name.
    assert matrix("t", [(name, name, 1)], [name]).room - 6 >= least


def test_lines_go_from_the_lower_left_to_the_upper_right():
    axes = Axis("x", 0, 2), Axis("y", 0.5, 1)
    chart = line_chart("t", [Line("n", [(0, 0.5), (1, 0.75), (2, 1)], "first")], *axes)
    assert chart.lines[0].places == [(46, 210), (197, 111), (348, 12)]


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("x", 0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Axis("x", 1, 4, whole=True), [1, 2, 3, 4]),
        (Axis("x", 1, 100, whole=True), [20, 40, 60, 80, 100]),
        (Axis("x", 0.95, 1), [0.95, 0.96, 0.97, 0.98, 0.99, 1]),
        (Axis("x", 0, 0.004), [0, 0.001, 0.002, 0.003, 0.004]),
        (Axis("x", 0, 0), [0]),
    ],
)
def test_axes_have_round_ticks(axis: Axis, ticks: list[float]):
    assert axis.ticks() == pytest.approx(ticks)


@settings(max_examples=100)
@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6), whole=st.booleans())
def test_there_are_a_few_ticks_whatever_the_axis(low: float, span: float, whole: bool):
    axis = Axis("x", low, low + max(span, 2 if whole else 0), whole=whole)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 7
    assert all(axis.low - 1e-6 * span <= tick <= axis.high + 1e-6 * span for tick in ticks)
