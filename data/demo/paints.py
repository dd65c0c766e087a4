"""Paint colours, dealt out so that they reveal nothing of a vehicle's model."""

import numpy as np

from shading import Paint

# Linear RGB, share of flakes, weight: roughly as common as on the street, but more colourful.
PALETTE: tuple[tuple[tuple[float, float, float], float, float], ...] = (
    ((0.72, 0.72, 0.70), 0.0, 2.0),  # white
    ((0.42, 0.43, 0.44), 0.9, 2.0),  # silver
    ((0.16, 0.17, 0.18), 0.8, 2.0),  # grey
    ((0.012, 0.012, 0.014), 0.3, 2.0),  # black
    ((0.42, 0.018, 0.020), 0.3, 1.5),  # red
    ((0.16, 0.008, 0.022), 0.7, 1.0),  # burgundy
    ((0.020, 0.085, 0.36), 0.5, 1.5),  # blue
    ((0.012, 0.028, 0.095), 0.7, 1.0),  # navy
    ((0.14, 0.30, 0.46), 0.5, 1.0),  # light blue
    ((0.020, 0.105, 0.050), 0.5, 1.0),  # green
    ((0.16, 0.20, 0.11), 0.4, 1.0),  # olive
    ((0.62, 0.20, 0.018), 0.4, 1.0),  # orange
    ((0.66, 0.47, 0.030), 0.1, 1.0),  # yellow
    ((0.40, 0.33, 0.22), 0.7, 1.0),  # sand
    ((0.085, 0.050, 0.030), 0.7, 1.0),  # brown
    ((0.015, 0.20, 0.21), 0.6, 1.0),  # teal
)
_WEIGHTS = np.array([weight for *_, weight in PALETTE]) / sum(weight for *_, weight in PALETTE)


def deal_colours(rng: np.random.Generator, count: int) -> list[int]:
    """Indices into PALETTE for `count` vehicles, shuffled: each colour as often as its weight says.

    Systematic sampling: a colour's number is its share of `count`, rounded up or down. If colours
    were drawn one by one, half of the models would have no black vehicle, for example, and a
    network could learn that.
    """
    places = (np.arange(count) + rng.random()) / count
    colours = np.searchsorted(np.cumsum(_WEIGHTS)[:-1], places, side="right")
    return [int(colour) for colour in rng.permutation(colours)]


def mix_paint(rng: np.random.Generator, colour: int) -> Paint:
    """The paint of index `colour` into PALETTE, slightly varied."""
    rgb, flakes, _ = PALETTE[colour]
    level = rng.uniform(0.75, 1.25)
    varied = tuple(float(np.clip(c * level * rng.uniform(0.92, 1.08), 0.004, 0.80)) for c in rgb)
    return Paint(varied, flakes, bool(rng.random() < 0.3))


def draw_paint(rng: np.random.Generator) -> Paint:
    """Any paint, by the weights of PALETTE."""
    return mix_paint(rng, int(rng.choice(len(PALETTE), p=_WEIGHTS)))
