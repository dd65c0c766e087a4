"""Writes what a pull request changes, as Markdown for a comment on GitHub, to standard output.

    python src/pr_report.py main                # main against the workspace
    python src/pr_report.py main my-branch      # any two revisions or DVC experiments

The verdict comes first: whether top-1 really changed on the same test photos. The report needs no
photos, no model and no DVC cache: a clone with both commits is enough.
"""

import argparse
import posixpath
import re
import sys

from review.figures import HEADLINES, numbers, read_json, row
from review.history import WORKSPACE, Snapshot, git, is_experiment, snapshot
from review.lock import changed, flat, graphs, named, read_yaml, stages
from review.markdown import code, fit, folded, table
from review.plots import changed_files, curves
from review.predictions import PREDICTIONS, Prediction
from review.stale import out_of_date
from review.verdict import NOT_COMPARABLE, predictions_of, verdict
from stage import StageError, run

MARKER = "<!-- vehicle pull-request report -->"
"""The first line of the comment, by which the workflow finds its earlier comment."""

ENVIRONMENT = "metrics/train/environment.json"

SIGNS = {"better": "✅", "worse": "❌", "no difference shown": "⚪", NOT_COMPARABLE: "⚠️"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", help="a Git revision or a DVC experiment, such as main")
    parser.add_argument("head", nargs="?", default=WORKSPACE, help="the same (default: workspace)")
    parser.add_argument("--plots-url", default="", help="https:// address of the plots, if any")
    parser.add_argument("--commit", default="", help="hash by which a reader knows the head")
    options = parser.parse_args()
    if options.plots_url and not re.fullmatch(r"https://[\w./~%-]+", options.plots_url):
        raise StageError(
            f"--plots-url: expected a plain https:// address, found {options.plots_url}"
        )
    if options.commit and not re.fullmatch("[0-9a-f]{7,64}", options.commit):
        raise StageError(f"--commit: expected the hash of a commit, found {options.commit}")
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # as GitHub expects it
    base, head = snapshot(options.base), snapshot(options.head)
    print(report(base, head, plots_url=options.plots_url, commit=options.commit))


def report(base: Snapshot, head: Snapshot, *, plots_url: str = "", commit: str = "") -> str:
    """Builds the comment, at most 65,536 bytes; ``commit`` is the hash shown for ``head``."""
    if base.read("dvc.yaml") is None and head.read("dvc.yaml") is None:
        raise StageError(
            f"dvc.yaml: not in {base.name} nor in {head.name}; run from the project's top folder"
        )
    before, after = predictions_of(base), predictions_of(head)
    parts = [f"{MARKER}\n", verdict_part(before, after), *warnings(base, head)]
    parts += [
        f"{f'Commit {code(commit[:7])}: ' if commit else ''}{code(head.name)} against "
        f"{code(base.name)}. "
        "Arrows say which way a figure moved, not that the move is real.\n",
        figures_part(base, head),
    ]
    parts += [params_part(base, head), environment_part(base, head), stages_part(base, head)]
    parts += [classes_part(before, after), plots_part(base, head, plots_url)]
    parts += [data_part(base, head)]
    return fit([part for part in parts if part])


def other_pins(version: Snapshot) -> list[str]:
    """The libraries that were trained with in another version than requirements.txt pins."""
    pinned: dict[str, set[str]] = {}  # one version for each Python or system, maybe
    text = (version.read("requirements.txt") or b"").decode(errors="replace")
    for name, pin in re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", text, re.MULTILINE):
        pinned.setdefault(name, set()).add(pin)
    used = read_json(version, ENVIRONMENT)
    return [
        f"{code(name)}: {code(used[name])}, pinned {code(' or '.join(sorted(pins)))}"
        for name, pins in pinned.items()
        if isinstance(used.get(name), str) and used[name] not in pins
    ]


def verdict_part(before: dict[str, Prediction] | None, after: dict[str, Prediction] | None) -> str:
    """The verdict; if the test photos differ, that and the verdict on the common ones."""
    if before is None or after is None:
        side = "the base" if before is None else "this side"
        return f"## ⚠️ Not comparable\n\nNo `{PREDICTIONS}` on {side}.\n"
    word, text = verdict(before, after)
    heading = f"## {SIGNS[word]} {word.capitalize()}\n\n{text[0].upper()}{text[1:]}\n"
    if word == NOT_COMPARABLE:
        common, text = verdict(before, after, common=True)
        if common != word:
            heading += f"\nOn the common photos alone: **{common}**, {text}\n"
    return heading


def warnings(base: Snapshot, head: Snapshot) -> list[str]:
    """What a reader must know before believing the figures."""
    found = []
    stale = out_of_date(head)
    if stale:
        names = "; ".join(
            f"{code(name)} ({', '.join(code(reason) for reason in reasons[:3])}"
            f"{', …' if len(reasons) > 3 else ''})"
            for name, reasons in list(stale.items())[:12]
        )
        found.append(
            f"> [!WARNING]\n> These figures are not those of this code, these params and these "
            f"photos: run `dvc repro` and commit. Out of date: {names}\n"
        )
    if pins := other_pins(head):
        found.append(
            "> [!WARNING]\n> The model was trained with other versions than `requirements.txt` "
            f"pins, on which no stage depends: run `dvc repro -f` and commit. {'; '.join(pins)}\n"
        )
    if head.commit is None and base.commit is not None:
        locks = [posixpath.join(folder, "dvc.lock") for folder in graphs(head)]
        if git("status", "--porcelain", "--", "metrics", *locks).strip():
            found.append(
                "> [!NOTE]\n> `dvc.lock` and `metrics/` of the workspace are not committed as "
                "they are.\n"
            )
    if base.commit is not None and not is_experiment(base.commit):  # experiments are never merged
        newest = head.commit or "HEAD"
        behind = git("rev-list", "--count", f"{newest}..{base.commit}").decode().strip()
        shallow = git("rev-parse", "--is-shallow-repository").strip() == b"true"
        if shallow and not git("merge-base", newest, base.commit, missing=b""):
            found.append(
                f"> [!NOTE]\n> This clone is too shallow to tell whether commits of "
                f"{code(base.name)} are missing here: `git fetch --unshallow`.\n"
            )
        elif behind != "0":
            found.append(
                f"> [!NOTE]\n> Commits of {code(base.name)} that are not in here: {behind}. "
                "Merge it first, else what they changed counts as undone.\n"
            )
    return found


def figures_part(base: Snapshot, head: Snapshot) -> str:
    """Headline figures, and the others folded away."""
    path = "metrics/evaluate.json"
    old, new = numbers(base, path), numbers(head, path)
    names = dict.fromkeys([*new, *old])
    rows = {name: (code(name), *row(name, old.get(name), new.get(name))) for name in names}
    header = ("figure", "before", "after", "difference", "")
    shown = [rows.pop(name) for name in HEADLINES if name in rows]
    if not shown and not rows:
        return f"No figures in `{path}` on either side.\n"
    text = table(header, shown) if shown else ""
    others = table(header, rows.values(), most=200)  # some for each photo size and each crop
    return text + (f"\n{folded('All other figures', others)}" if rows else "")


def params_part(base: Snapshot, head: Snapshot) -> str:
    """What ``dvc params diff`` shows, without the second that DVC takes.

    Of the demo's params, those that no stage reads are shown too.
    """
    rows = []
    for folder in graphs(base, head):
        sides = (version.within(folder) for version in (base, head))
        old, new = (flat(read_yaml(version, "params.yaml")) for version in sides)
        rows += [
            (
                code(named(folder, "params.yaml", key)),
                code(old.get(key, "-")),
                code(new.get(key, "-")),
            )
            for key in dict.fromkeys([*new, *old])
            if old.get(key, "-") != new.get(key, "-")
        ]
    return f"### Params\n\n{table(('param', 'before', 'after'), rows)}" if rows else ""


def environment_part(base: Snapshot, head: Snapshot) -> str:
    """How the training environments differ: another precision or processor changes the network."""
    old, new = read_json(base, ENVIRONMENT), read_json(head, ENVIRONMENT)
    rows = [
        (code(key), *(code(side, limit=200) for side in _apart(old.get(key), new.get(key))))
        for key in dict.fromkeys([*new, *old])
        if old.get(key) != new.get(key)
    ]
    return f"### Environment\n\n{table(('trained with', 'before', 'after'), rows)}" if rows else ""


def _apart(old: object, new: object) -> tuple[object, object]:
    """Both values; of two lists, such as processor features, only what the other one lacks."""
    if isinstance(old, list) and isinstance(new, list):
        sides = (
            [item for item in old if item not in new],
            [item for item in new if item not in old],
        )
        if not any(sides):  # the same items, in another order or number
            sides = old, new
        old, new = (", ".join(map(str, side)) or None for side in sides)
    return "-" if old is None else old, "-" if new is None else new


def stages_part(base: Snapshot, head: Snapshot) -> str:
    """Which stages had different inputs, and whether their results differ."""
    rows = []
    differ = {
        named(folder, "dvc.yaml", name): kinds
        for folder in graphs(base, head)
        for name, kinds in changed(*(stages(v.within(folder)) for v in (base, head))).items()
    }
    for name, kinds in differ.items():
        why = "; ".join(
            f"{kind} {', '.join(code(item) for item in items[:4])}"
            f"{f' and {len(items) - 4} more' if len(items) > 4 else ''}".strip()
            for kind, items in kinds.items()
            if kind != "results"
        )
        whole = "new" in kinds or "removed" in kinds
        rows.append((code(name), why, "changed" if whole or "results" in kinds else "the same"))
    if not rows:
        return "No stage of the graph changed.\n"
    return f"### Stages\n\n{table(('stage', 'what it ran on', 'results'), rows)}"


def classes_part(
    before: dict[str, Prediction] | None, after: dict[str, Prediction] | None, *, most: int = 5
) -> str:
    """The classes that gained and lost most, by the share of test photos predicted correctly."""
    if not before or not after:
        return ""
    old, new = _right(before), _right(after)
    ranked = sorted(
        (sum(new[label]) / len(new[label]) - sum(old[label]) / len(old[label]), label)
        for label in old.keys() & new.keys()
    )
    losses = [entry for entry in ranked if entry[0] < 0]
    gains = [entry for entry in ranked if entry[0] > 0]
    rows = [
        (code(label), _of(old[label]), _of(new[label]), f"{100 * change:+.0f}")
        for change, label in (*losses[:most], *gains[-most:])
    ]
    text = table(("class", "right before", "after", "points"), rows) if rows else ""
    for words, labels in (("No more", old.keys() - new.keys()), ("New", new.keys() - old.keys())):
        if labels:
            some = ", ".join(map(code, sorted(labels)[: 2 * most]))
            more = f" and {len(labels) - 2 * most} more" if len(labels) > 2 * most else ""
            text += f"\n{words} in test: {some}{more}.\n"
    title = f"{len(gains)} better, {len(losses)} worse"
    return f"### Classes: {title}\n\n{text}" if text else ""


def _right(side: dict[str, Prediction]) -> dict[str, list[bool]]:
    """For each class, whether each of its test photos was predicted correctly."""
    found: dict[str, list[bool]] = {}
    for photo in side.values():
        found.setdefault(photo.label, []).append(photo.right)
    return found


def _of(right: list[bool]) -> str:
    return f"{sum(right):,} of {len(right):,}"


def plots_part(base: Snapshot, head: Snapshot, url: str) -> str:
    """Learning curves drawn as text, and the names of all plots that changed."""
    files = changed_files(base, head)
    if not files:
        return ""
    rows = [(code(name), code(old), code(new)) for name, old, new in curves(base, head)]
    text = table(("curve", "before", "after"), rows) if rows else ""
    where = f"[Open them]({url}), or run" if url else "See them with"
    # Without a second revision DVC compares with the workspace.
    sides = [version for version in (base, head) if version.commit is not None]
    command = " ".join(["dvc plots diff", *map(in_a_shell, sides)])
    text += f"\n{where} {code(command, limit=1000)}:\n\n"
    text += table(("plot", ""), [(code(path, limit=90), how) for path, how in files])
    return f"### Plots\n\n{folded(f'{len(files)} changed', text)}"


def in_a_shell(version: Snapshot) -> str:
    """A commit as a command may name it: by its hash where a shell could take its name apart."""
    return version.name if re.fullmatch(r"\w[\w./@-]*", version.name) else version.commit[:12]


def data_part(base: Snapshot, head: Snapshot) -> str:
    """Photos used and set aside, and how they were cropped."""
    rows = []
    for path in ("metrics/split.json", "metrics/preprocess.json"):
        old, new = numbers(base, path), numbers(head, path)
        # In a file, a reason that is not listed counts 0 photos; without a file nothing is known.
        before, after = (0 if side else None for side in (old, new))
        rows += [
            (code(name), *row(name, old.get(name, before), new.get(name, after)))
            for name in dict.fromkeys([*new, *old])
            if old.get(name, before) != new.get(name, after) and name not in ("height", "width")
        ]
    header = ("photos", "before", "after", "difference", "")
    return f"### Data and quarantine\n\n{table(header, rows)}" if rows else ""


if __name__ == "__main__":
    run(main)
