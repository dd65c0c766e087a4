"""What the models of one make share: grille, front lamps, rear lamps; and the plates."""

from collections.abc import Callable

import numpy as np

from catalogue import Face
from patches import Collector, bilinear, polar

Corners = list[tuple[float, float]]


class _Side:
    """Puts flat shapes on the front or rear, by distance from the middle and relative height."""

    def __init__(self, out: Collector, at: Callable[..., np.ndarray], unit: float):
        self.out, self.at, self.unit = out, at, unit

    def patch(
        self,
        layer: str,
        material: str,
        corners: Corners,
        lift: float = 0.006,
        columns: int = 10,
        rows: int = 4,
        mirrored: bool = False,
    ) -> None:
        """A four-cornered shape; `mirrored` adds its image on the other side."""
        flat = bilinear(corners, columns, rows)
        self._put(layer, material, flat, lift, mirrored)

    def round(
        self,
        layer: str,
        material: str,
        middle: tuple[float, float],
        radius: float,
        inner: float = 0.0,
        lift: float = 0.006,
        squash: float = 1.0,
        mirrored: bool = False,
    ) -> None:
        """A disc or ring of `radius` metres, `squash` times as high as wide."""
        flat = polar(inner, radius, 24, 2)
        flat = flat * np.array([1.0, squash / self.unit]) + np.array(middle)
        self._put(layer, material, flat, lift, mirrored)

    def _put(
        self, layer: str, material: str, flat: np.ndarray, lift: float, mirrored: bool
    ) -> None:
        shapes = [flat, flat[::-1] * np.array([-1.0, 1.0])] if mirrored else [flat]
        for shape in shapes:
            points = self.at(shape[..., 0], shape[..., 1], lift)
            self.out.add(layer, material, self.out.grid(points))


def add_front(out: Collector, shell, face: Face) -> None:
    """Grille, lamps, lower intake and plate on the front of `shell` (bodies.Shell)."""
    body = shell.body
    unit = float(shell.waist(np.array(shell.front)) - shell.sill(np.array(shell.front)))
    side = _Side(out, shell.at, unit)
    w = shell.half
    if body.cladding:
        side.patch(
            "skin",
            "plastic",
            [(-1.18 * w, 0.0), (1.18 * w, 0.0), (1.18 * w, 0.24), (-1.18 * w, 0.24)],
            columns=40,
        )
    if face.grille == "hexagon":
        for layer, material, grow, lift in (
            ("detail", "chrome", 0.022, 0.008),
            ("gloss", "dark", 0.0, 0.010),
        ):
            g = grow / unit
            side.patch(
                layer,
                material,
                [
                    (-0.36 * w - grow, 0.30 - g),
                    (0.36 * w + grow, 0.30 - g),
                    (0.52 * w + grow, 0.56),
                    (-0.52 * w - grow, 0.56),
                ],
                lift,
            )
            side.patch(
                layer,
                material,
                [
                    (-0.52 * w - grow, 0.56),
                    (0.52 * w + grow, 0.56),
                    (0.38 * w + grow, 0.80 + g),
                    (-0.38 * w - grow, 0.80 + g),
                ],
                lift,
            )
        for v, reach in ((0.38, 0.38), (0.47, 0.43), (0.56, 0.48), (0.65, 0.43), (0.73, 0.38)):
            side.patch(
                "gloss",
                "chrome",
                [
                    (-reach * w, v - 0.011),
                    (reach * w, v - 0.011),
                    (reach * w, v + 0.011),
                    (-reach * w, v + 0.011),
                ],
                0.013,
                rows=1,
            )
    elif face.grille == "slots":
        side.patch(
            "skin",
            "trim",
            [(-0.86 * w, 0.46), (0.86 * w, 0.46), (0.86 * w, 0.84), (-0.86 * w, 0.84)],
            columns=20,
        )
        for k in range(7):
            x = (k - 3) * 0.125 * w
            side.patch(
                "gloss",
                "chrome",
                [
                    (x - 0.030 * w, 0.50),
                    (x + 0.030 * w, 0.50),
                    (x + 0.030 * w, 0.80),
                    (x - 0.030 * w, 0.80),
                ],
                0.012,
                columns=2,
            )
    elif face.grille == "intake":
        side.patch(
            "detail",
            "dark",
            [(-0.66 * w, 0.10), (0.66 * w, 0.10), (0.44 * w, 0.44), (-0.44 * w, 0.44)],
            0.010,
        )
        side.patch(
            "gloss",
            "dark",
            [(-0.40 * w, 0.66), (0.40 * w, 0.66), (0.44 * w, 0.72), (-0.44 * w, 0.72)],
            0.010,
            rows=1,
        )
        side.patch(
            "detail",
            "drl",
            [(0.76 * w, 0.12), (0.81 * w, 0.12), (0.90 * w, 0.44), (0.85 * w, 0.44)],
            0.010,
            columns=3,
            mirrored=True,
        )
    else:
        side.round("detail", "chrome", (0.0, 0.58), 0.42 * w, squash=0.56, lift=0.008)
        side.round("gloss", "dark", (0.0, 0.58), 0.365 * w, squash=0.52, lift=0.011)
        side.patch(
            "gloss",
            "chrome",
            [(-0.36 * w, 0.555), (0.36 * w, 0.555), (0.36 * w, 0.605), (-0.36 * w, 0.605)],
            0.014,
            rows=1,
        )
        side.round("gloss", "chrome", (0.0, 0.58), 0.085 * w, lift=0.016)
    if face.grille != "intake":
        side.patch(
            "skin",
            "dark",
            [(-0.60 * w, 0.06), (0.60 * w, 0.06), (0.54 * w, 0.20), (-0.54 * w, 0.20)],
            0.009,
        )
    if face.lamps == "slim":
        side.patch(
            "detail",
            "trim",
            [(0.58 * w, 0.62), (1.26 * w, 0.68), (1.26 * w, 0.83), (0.52 * w, 0.80)],
            mirrored=True,
            columns=16,
        )
        side.patch(
            "gloss",
            "lamp",
            [(0.61 * w, 0.69), (1.22 * w, 0.73), (1.22 * w, 0.81), (0.56 * w, 0.78)],
            0.010,
            mirrored=True,
            columns=16,
        )
        side.patch(
            "gloss",
            "drl",
            [(0.59 * w, 0.635), (1.24 * w, 0.69), (1.24 * w, 0.725), (0.58 * w, 0.675)],
            0.012,
            mirrored=True,
            columns=16,
        )
    elif face.lamps == "round":
        r = 0.150 * w
        side.round("gloss", "chrome", (0.68 * w, 0.65), r, lift=0.012, mirrored=True)
        side.round("gloss", "lamp", (0.68 * w, 0.65), r * 0.86, lift=0.016, mirrored=True)
        side.round("gloss", "drl", (0.68 * w, 0.65), r * 0.84, r * 0.64, 0.020, mirrored=True)
        side.round("gloss", "lamp_core", (0.68 * w, 0.65), r * 0.36, lift=0.020, mirrored=True)
        side.patch(
            "gloss",
            "amber",
            [(0.94 * w, 0.58), (1.04 * w, 0.58), (1.04 * w, 0.72), (0.94 * w, 0.72)],
            0.010,
            mirrored=True,
        )
    elif face.lamps == "slanted":
        side.patch(
            "detail",
            "trim",
            [(0.50 * w, 0.58), (1.16 * w, 0.74), (1.32 * w, 0.90), (0.52 * w, 0.68)],
            mirrored=True,
            columns=16,
        )
        side.patch(
            "gloss",
            "lamp_core",
            [(0.56 * w, 0.62), (1.12 * w, 0.76), (1.22 * w, 0.86), (0.57 * w, 0.67)],
            0.010,
            mirrored=True,
            columns=16,
        )
    else:
        side.patch(
            "detail",
            "chrome",
            [(0.62 * w, 0.48), (0.98 * w, 0.50), (1.30 * w, 0.96), (0.74 * w, 0.84)],
            mirrored=True,
            columns=14,
        )
        side.patch(
            "gloss",
            "lamp",
            [(0.65 * w, 0.51), (0.96 * w, 0.53), (1.24 * w, 0.92), (0.77 * w, 0.81)],
            0.010,
            mirrored=True,
            columns=14,
        )
        side.round("gloss", "lamp_core", (0.84 * w, 0.65), 0.085 * w, lift=0.014, mirrored=True)
        side.patch(
            "gloss",
            "amber",
            [(1.10 * w, 0.80), (1.20 * w, 0.82), (1.24 * w, 0.92), (1.10 * w, 0.88)],
            0.014,
            mirrored=True,
        )
    _plate(side, {"hexagon": 0.27, "slots": 0.26, "intake": 0.49, "oval": 0.09}[face.grille], 0.52)


def add_rear(out: Collector, shell, face: Face) -> None:
    """Lamps, bumper and plate on the rear of `shell` (bodies.Shell)."""
    body = shell.body
    unit = float(shell.waist(np.array(-shell.front)) - shell.sill(np.array(-shell.front)))
    side = _Side(out, shell.at_rear, unit)
    w = shell.half
    side.patch(
        "skin",
        "plastic",
        [(-1.06 * w, 0.0), (1.06 * w, 0.0), (1.02 * w, 0.15), (-1.02 * w, 0.15)],
        columns=30,
    )
    if body.cladding:
        side.patch(
            "skin",
            "plastic",
            [(-1.10 * w, 0.0), (1.10 * w, 0.0), (1.10 * w, 0.27), (-1.10 * w, 0.27)],
            columns=30,
        )
    # The tailgate's lower seam.
    side.patch(
        "skin",
        "gap",
        [(-0.76 * w, 0.37), (0.76 * w, 0.37), (0.76 * w, 0.387), (-0.76 * w, 0.387)],
        0.004,
        columns=20,
        rows=1,
    )
    for sign in (-1.0, 1.0):
        x = sign * 0.76 * w
        side.patch(
            "skin",
            "gap",
            [(x - 0.006, 0.37), (x + 0.006, 0.37), (x + 0.006, 0.98), (x - 0.006, 0.98)],
            0.004,
            columns=1,
        )
    if face.tail == "bar":
        side.patch(
            "detail",
            "trim",
            [(-1.16 * w, 0.69), (1.16 * w, 0.69), (1.16 * w, 0.85), (-1.16 * w, 0.85)],
            columns=40,
        )
        side.patch(
            "gloss",
            "tail",
            [(-1.14 * w, 0.71), (1.14 * w, 0.71), (1.14 * w, 0.83), (-1.14 * w, 0.83)],
            0.010,
            columns=40,
        )
        side.patch(
            "gloss",
            "tail_core",
            [(-1.10 * w, 0.755), (1.10 * w, 0.755), (1.10 * w, 0.79), (-1.10 * w, 0.79)],
            0.013,
            columns=40,
            rows=1,
        )
    elif face.tail == "stack":
        side.patch(
            "detail",
            "trim",
            [(0.80 * w, 0.42), (1.02 * w, 0.42), (1.02 * w, 0.93), (0.80 * w, 0.93)],
            mirrored=True,
        )
        for low, high, material in (
            (0.44, 0.58, "tail_core"),
            (0.60, 0.70, "reverse"),
            (0.72, 0.91, "tail_core"),
        ):
            side.patch(
                "gloss",
                material,
                [(0.82 * w, low), (1.00 * w, low), (1.00 * w, high), (0.82 * w, high)],
                0.011,
                mirrored=True,
            )
    elif face.tail == "twin":
        for x in (0.56, 0.84):
            r = 0.125 * w
            side.round("detail", "trim", (x * w, 0.72), r * 1.15, lift=0.008, mirrored=True)
            side.round("gloss", "tail_core", (x * w, 0.72), r, r * 0.52, 0.011, mirrored=True)
            side.round("gloss", "tail", (x * w, 0.72), r * 0.52, lift=0.011, mirrored=True)
    else:
        side.patch(
            "gloss",
            "tail_core",
            [(0.92 * w, 0.44), (1.10 * w, 0.44), (1.18 * w, 0.99), (0.92 * w, 0.99)],
            0.010,
            mirrored=True,
        )
        side.patch(
            "gloss",
            "tail",
            [(0.56 * w, 0.46), (0.92 * w, 0.44), (0.92 * w, 0.62), (0.64 * w, 0.58)],
            0.010,
            mirrored=True,
        )
        side.patch(
            "gloss",
            "reverse",
            [(0.70 * w, 0.49), (0.90 * w, 0.48), (0.90 * w, 0.57), (0.72 * w, 0.55)],
            0.014,
            mirrored=True,
        )
    if body.spare:
        return
    _plate(side, 0.46, 0.50)


def _plate(side: _Side, v: float, width: float) -> None:
    """A number plate `width` metres wide whose lower edge is at relative height `v`."""
    half, tall = width / 2, 0.115 / side.unit
    side.patch(
        "gloss",
        "plate",
        [(-half, v), (half, v), (half, v + tall), (-half, v + tall)],
        0.020,
        columns=4,
        rows=1,
    )
    for k in range(7):
        if k == 2:
            continue
        x = -half + 0.06 + k * (width - 0.12) / 6.6
        side.patch(
            "gloss",
            "ink",
            [
                (x, v + 0.22 * tall),
                (x + 0.034, v + 0.22 * tall),
                (x + 0.034, v + 0.78 * tall),
                (x, v + 0.78 * tall),
            ],
            0.024,
            columns=1,
            rows=1,
        )
