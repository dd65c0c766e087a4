"""Quads from grids of points, and the collector of a vehicle's quads."""

import numpy as np

from shading import NAMES

Axis = tuple[float, float, float]


def grid(points: np.ndarray) -> np.ndarray:
    """Quads (n, 4, 3) of a point grid (columns left to right, rows upwards, 3)."""
    return np.stack(
        [points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2
    ).reshape(-1, 4, 3)


def bilinear(corners: list[tuple[float, float]], columns: int, rows: int) -> np.ndarray:
    """Points (columns + 1, rows + 1, 2) between four corners: lower left, then anticlockwise."""
    a, b, c, d = (np.array(corner, dtype=float) for corner in corners)
    u = np.linspace(0.0, 1.0, columns + 1)[:, None, None]
    v = np.linspace(0.0, 1.0, rows + 1)[None, :, None]
    return (1 - u) * (1 - v) * a + u * (1 - v) * b + u * v * c + (1 - u) * v * d


def polar(inner: float, outer: float, columns: int = 28, rows: int = 2) -> np.ndarray:
    """Points (columns + 1, rows + 1, 2) of a flat ring, rows running from outside to inside."""
    turn = np.linspace(0.0, 2 * np.pi, columns + 1)[:, None]
    radius = np.linspace(outer, inner, rows + 1)[None, :]
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=-1)


def ring(
    centre: np.ndarray,
    inner: float,
    outer: float,
    right: Axis,
    up: Axis,
    columns: int = 32,
    rows: int = 1,
) -> np.ndarray:
    """Quads of a flat ring about `centre`, in the plane of `right` and `up` seen face-on."""
    flat = polar(inner, outer, columns, rows)
    return grid(centre + flat[..., :1] * np.array(right) + flat[..., 1:] * np.array(up))


def disc(centre: np.ndarray, radius: float, right: Axis, up: Axis, columns: int = 32) -> np.ndarray:
    """Quads of a flat disc about `centre`."""
    return ring(centre, 0.0, radius, right, up, columns)


def strip(line: np.ndarray, width: float) -> np.ndarray:
    """Quads of an upright band of `width` metres along `line` (n, 3), left to right."""
    return grid(np.stack([line, line + np.array([0.0, 0.0, width])], axis=1))


class Collector:
    """Gathers quads with their material, layer and side; if not `fine`, makes fewer of a grid."""

    def __init__(self, layers: tuple[str, ...], solid: frozenset[str], fine: bool):
        self._every = 1 if fine else 3
        self._order = {name: i for i, name in enumerate(layers)}
        self._solid = solid
        self._parts: list[tuple[np.ndarray, int, int, int, int]] = []

    def grid(self, points: np.ndarray) -> np.ndarray:
        """As the function `grid`; a coarse vehicle uses every third line, and the last."""
        columns, rows = (
            np.unique(np.append(np.arange(0, n, self._every), n - 1)) for n in points.shape[:2]
        )
        return grid(points[np.ix_(columns, rows)])

    def add(self, layer: str, material: str, quads: np.ndarray, side: int = 0) -> None:
        """Add `quads` (n, 4, 3) as they are."""
        # Quads that lie flat on a surface are painted in the order in which they were added.
        turn = 0 if layer in self._solid else len(self._parts) + 1
        self._parts.append((quads, NAMES.index(material), self._order[layer], side, turn))

    def both(self, layer: str, material: str, quads: np.ndarray, side: int = 0) -> None:
        """Add left-hand `quads` and their mirror image on the right."""
        self.add(layer, material, quads, side)
        self.add(layer, material, quads[:, ::-1] * np.array([1.0, -1.0, 1.0]), -side)

    def gathered(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Quads (n, 4, 3); material, layer, side and turn within the layer (n,)."""
        quads = np.concatenate([part[0] for part in self._parts])
        columns = [
            np.concatenate([np.full(len(part[0]), part[i]) for part in self._parts])
            for i in (1, 2, 3, 4)
        ]
        return quads, *columns
