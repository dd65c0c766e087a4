"""How many augmented copies does the head of a pretrained network need?

    python benchmarks/head_copies.py --backbone FILE [--source FOLDER]   # of transfer.py --keep

Heads learn from the features of each photo and of the first 0, 2, 5 or 20 of its twenty copies
(``embed.copies``), for ten epochs each, by our stages. Twenty classes are learnt at a time, from a
backbone that has not seen them: those of ``peers.py --first 1``, 2 and 3, on which settings are
chosen. Right answers are counted on the test rows of all three. Seven minutes on 2 cores.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import stanford_cars
from contest import (
    arguments,
    cores,
    evaluated_predictions,
    make_cars,
    params_with,
    photos_of,
    read_source,
    run_stage,
    set_params,
)
from measure import LEFT_OUT, record
from timed_stages import clear
from transfer import AUGMENTATION, WEIGHTS, target_names

CASES = (0, 2, 5, 20)
OTHER_CLASSES = (1, 2, 3)


def main() -> None:
    parser = arguments(__doc__, minutes=None)
    parser.add_argument("--backbone", type=Path, help="a .keras file")
    options = parser.parse_args()
    if not (options.backbone and options.backbone.is_file()):
        print("head_copies: left out: it needs a --backbone, as transfer.py --keep writes one")
        sys.exit(LEFT_OUT)
    rows = read_source(options.source)
    values = {
        **AUGMENTATION,
        **cores(options.threads),
        "augment.copies": max(CASES),
        "model.weights": WEIGHTS,
        "train.finetune_epochs": 0,
        **dict(options.set),
    }
    params_with(values)  # refuses what params.yaml does not have
    right, seconds = dict.fromkeys(CASES, 0), dict.fromkeys(CASES, 0.0)
    photos = 0
    for first in OTHER_CLASSES:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            names = target_names(rows, first)
            chosen = stanford_cars.of_classes(rows, names)
            make_cars(root, chosen, source=options.source, values=values)
            shutil.copyfile(options.backbone, root / WEIGHTS)
            set_params(root, values)
            run_stage(root, "augment")
            for copies in CASES:
                set_params(root, {**values, "embed.copies": copies})
                clear(root, "embed")
                seconds[copies] += sum(run_stage(root, name).seconds for name in ("embed", "train"))
                run_stage(root, "evaluate")
                predicted = evaluated_predictions(root)
                tested = photos_of(root, "test")
                right[copies] += sum(predicted[p.photo_id] == p.label for p in tested)
            photos += len(tested)
    figures: dict[str, float | str] = {"test photos": photos}
    for copies in CASES:
        figures[f"{copies} copies: test top-1"] = round(right[copies] / photos, 4)
        figures[f"{copies} copies: embed and train, s"] = round(
            seconds[copies] / len(OTHER_CLASSES), 1
        )
    record("head_copies", figures=figures)


if __name__ == "__main__":
    main()
