"""The plots of dvc.yaml: each template finds its columns, and nothing of it is left unfilled."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dvc_render.exceptions import DvcRenderError
from dvc_render.vega import VegaRenderer

import wiring
from photos.tables import read_table

pytestmark = pytest.mark.xdist_group("keras")

TEMPLATES = wiring.ROOT / ".dvc/plots"
PLOTS = [
    (title, plot)
    for entry in yaml.safe_load((wiring.ROOT / "dvc.yaml").read_text())["plots"]
    if isinstance(entry, dict)
    for title, plot in entry.items()
    if "template" in plot
]


def spec(plot: dict, root: Path, *, template: Path | None = None) -> dict:
    """The Vega-Lite specification as DVC fills it for two revisions."""
    rows = [
        {**row, "rev": rev, "filename": Path(file).name, "field": y}
        for rev in ("main", "workspace")
        for file, y in plot["y"].items()
        for row in read_table(root / file)
    ]
    definitions = [
        {"filename": Path(file).name, "field": field} for file, field in plot["y"].items()
    ]
    renderer = VegaRenderer(
        rows,
        "plot",
        template=str(template or TEMPLATES / f"{plot['template']}.json"),
        x=plot["x"],
        y=next(iter(plot["y"].values())),
        anchors_y_definitions=definitions,
    )
    return renderer.get_filled_template()


def fields(value: object) -> Iterator[str]:
    """Every field that a specification names."""
    if isinstance(value, dict):
        if isinstance(value.get("field"), str):
            yield value["field"]
        for key, part in value.items():
            if key != "values":
                yield from fields(part)
    elif isinstance(value, list):
        for part in value:
            yield from fields(part)


def made(value: object) -> set[str]:
    """The fields that a specification computes, or brings along."""
    text = json.dumps(value)
    return {name for name in ("share", "of_class", "class", "pair") if f'"as": "{name}"' in text}


@pytest.mark.parametrize(("title", "plot"), PLOTS, ids=[title for title, _ in PLOTS])
def test_a_template_is_filled_from_the_columns_there_are(title: str, plot: dict, evaluated: Path):
    filled = spec(plot, evaluated)
    assert "DVC_METRIC" not in json.dumps(filled), title
    columns = {name for file in plot["y"] for name in read_table(evaluated / file)[0]}
    known = columns | {"rev", "filename", "field", "x", "y"} | made(filled)
    assert set(fields(filled)) <= known
    assert filled["$schema"] == "https://vega.github.io/schema/vega-lite/v5.json"


def test_an_anchor_that_dvc_does_not_know_is_noticed(evaluated: Path, tmp_path: Path):
    text = (TEMPLATES / "pairs.json").read_text().replace("METRIC_COLOR", "METRIC_COLOUR")
    (tmp_path / "pairs.json").write_text(text)
    plot = dict(PLOTS)["Most confused pairs"]
    assert "DVC_METRIC" in json.dumps(spec(plot, evaluated, template=tmp_path / "pairs.json"))


def test_a_column_that_is_not_there_is_noticed(evaluated: Path):
    plot = {**dict(PLOTS)["Most confused pairs"], "x": "photographs"}
    with pytest.raises(DvcRenderError):
        spec(plot, evaluated)
