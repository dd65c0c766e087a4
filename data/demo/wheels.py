"""Wheels: tyre, rim and spokes, in four designs that any vehicle can wear."""

import numpy as np

from patches import Collector, disc, grid, ring

_SPOKES = (5, 7, 10, 6)
_WIDTHS = (0.30, 0.17, 0.11, 0.36)  # of a spoke at its wider end, as a share of the rim's radius


def add_wheel(out: Collector, centre: np.ndarray, radius: float, design: int, fine: bool) -> None:
    """Add one wheel about `centre` (3,) on the left and its mirror image on the right.

    `radius` is the tyre's, metres; `design` 0..3; a coarse wheel has fewer corners.
    """
    columns = 40 if fine else 22
    right, up = (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    turn = np.linspace(0.0, 2 * np.pi, columns + 1)
    circle = np.stack([-np.cos(turn), np.zeros(columns + 1), np.sin(turn)], axis=1)
    inward = np.array([0.0, -0.22, 0.0])
    outside = centre + circle * radius
    tread = grid(np.stack([outside + inward, outside], axis=1))
    out.both("tread", "tyre", np.concatenate([tread, tread[:, ::-1]]))
    inner_face = disc(centre + inward, radius, right, up, columns)
    out.both("tread", "tyre", inner_face[:, ::-1])
    out.both("tread", "tyre", disc(centre, radius, right, up, columns))
    rim = radius * 0.70
    out.both("wheel", "tyre", ring(centre, rim, radius * 0.985, right, up, columns))
    shoulder = ring(
        centre + np.array([0, 0.004, 0]), radius * 0.86, radius * 0.90, right, up, columns
    )
    out.both("wheel", "plastic", shoulder)
    out.both("wheel", "dark", disc(centre, rim, right, up, columns))
    out.both(
        "rim", "rim", ring(centre + np.array([0, 0.002, 0]), rim * 0.91, rim, right, up, columns)
    )
    count = _SPOKES[design]
    reach = rim * 0.95
    for k in range(count):
        angle = 2 * np.pi * k / count + 0.3
        along = np.array([-np.cos(angle), 0.0, np.sin(angle)])
        across = np.array([-np.sin(angle), 0.0, -np.cos(angle)]) * -1.0
        wide, slim = rim * _WIDTHS[design] / 2, rim * _WIDTHS[design] / 2 * 0.62
        hub = centre + np.array([0.0, 0.006, 0.0])
        if design == 3:  # spokes that widen outwards
            wide, slim = slim, wide
        quad = np.stack(
            [
                hub + across * wide,
                hub - across * wide,
                hub + along * reach - across * slim,
                hub + along * reach + across * slim,
            ]
        )
        if np.cross(quad[2] - quad[0], quad[3] - quad[1])[1] < 0:
            quad = quad[::-1]
        out.both("rim", "rim", quad[None])
    out.both("rim", "rim", disc(centre + np.array([0, 0.01, 0]), rim * 0.26, right, up, 16))
    out.both("rim", "trim", disc(centre + np.array([0, 0.012, 0]), rim * 0.13, right, up, 12))
