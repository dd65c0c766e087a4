"""Parametric bodies: from proportions to quads in space.

The vehicle stands at the origin, heading along x, left along y, up along z; metres. A body is two
convex shells, the lower body up to the waist line and the cabin on it, so that painting layer by
layer gets every hidden surface right for a camera above the waist.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

import faces
from catalogue import MODELS, Body, Model
from patches import Collector, disc, grid, ring, strip
from wheels import add_wheel

# Order of painting. In a solid layer the farther quad comes first; in the others, which lie flat
# on a solid one, the quad that was added first.
LAYERS = (
    "tread",
    "lower",
    "deck",
    "skin",
    "detail",
    "gloss",
    "wheel",
    "rim",
    "far_mirror",
    "cabin",
    "frame",
    "glass",
    "top",
    "near_mirror",
    "extra",
)
SOLID = frozenset({"tread", "lower", "deck", "far_mirror", "cabin", "near_mirror"})


@dataclass(frozen=True)
class Mesh:
    """A vehicle: `quads` (n, 4, 3) float64 metres; `material`, `layer`, `side`, `turn` (n,) int.

    `side` is +1 for parts that stick out on the left, -1 on the right, 0 elsewhere; `turn` is the
    order of painting within a layer, 0 where depth decides.
    """

    quads: np.ndarray
    material: np.ndarray
    layer: np.ndarray
    side: np.ndarray
    turn: np.ndarray
    footprint: np.ndarray  # (k, 2) its plan, for the shade under the car


def _half_plan(
    front: float,
    rear: float,
    half_width: float,
    corner_front: tuple[float, float],
    corner_rear: tuple[float, float],
    bow: tuple[float, float],
    counts: tuple[int, int, int, int, int],
) -> np.ndarray:
    """Left half of a rounded plan outline, (n, 2), from the front's middle to the rear's."""
    n_front, n_corner, n_side, n_corner_rear, n_rear = counts
    cfx, cfy = corner_front
    crx, cry = corner_rear
    ease = np.linspace(0.0, np.pi / 2, n_corner, endpoint=False)
    ease_rear = np.linspace(0.0, np.pi / 2, n_corner_rear, endpoint=False)
    across = np.linspace(0.0, half_width - cfy, n_front, endpoint=False)
    along = np.linspace(front - cfx, rear + crx, n_side, endpoint=False)
    back = np.linspace(half_width - cry, 0.0, n_rear)
    x = np.concatenate(
        [
            np.full(n_front, front),
            front - cfx * (1 - np.cos(ease)),
            along,
            rear + crx * (1 - np.sin(ease_rear)),
            np.full(n_rear, rear),
        ]
    )
    y = np.concatenate(
        [
            across,
            half_width - cfy * (1 - np.sin(ease)),
            np.full(n_side, half_width),
            half_width - cry * (1 - np.cos(ease_rear)),
            back,
        ]
    )
    middle = (front + rear) / 2
    reach = (x - middle) / ((front - rear) / 2)
    y = y * (1.0 - 0.018 * reach**2)
    curve = np.where(reach > 0, -bow[0], bow[1]) * np.abs(reach) ** 6 * (y / half_width) ** 2
    return np.stack([x + curve, y], axis=1)


class Shell:
    """The lower body's skin, addressed by distance round the plan and by relative height."""

    def __init__(self, body: Body, counts: tuple[int, int, int, int, int]):
        self.body = body
        self.front = body.length / 2
        half = body.width / 2
        self.half = half
        self.plan = _half_plan(
            self.front,
            -self.front,
            half,
            (body.corner_front, min(body.corner_front, 0.34)),
            (body.corner_rear, min(body.corner_rear, 0.28)),
            (0.10, 0.05),
            counts,
        )
        step = np.sqrt((np.diff(self.plan, axis=0) ** 2).sum(axis=1))
        self.at_plan = np.concatenate([[0.0], np.cumsum(step)])
        self.total = float(self.at_plan[-1])
        tangent = np.gradient(self.plan, self.at_plan, axis=0)
        tangent /= np.sqrt((tangent**2).sum(axis=1, keepdims=True))
        self.normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
        cowl, tail = body.cowl, body.tail
        knots_x = [
            0.0,
            0.10,
            cowl[0] * 0.55,
            cowl[0],
            (cowl[0] + tail[0]) / 2,
            tail[0],
            body.length,
        ]
        rise = cowl[1] - body.lead
        knots_z = [
            body.lead - 0.035,
            body.lead,
            body.lead + 0.66 * rise,
            cowl[1],
            (cowl[1] + tail[1]) / 2,
            tail[1],
            body.deck,
        ]
        fine = np.linspace(0.0, body.length, 200)
        rough = np.interp(fine, knots_x, knots_z)
        padded = np.pad(rough, 6, mode="edge")
        self._waist_x = self.front - fine[::-1]
        self._waist_z = np.convolve(padded, np.ones(13) / 13, mode="valid")[::-1]

    def waist(self, x: np.ndarray) -> np.ndarray:
        """Height of the waist line (bonnet, window sills, boot lid) at world `x`."""
        return np.interp(x, self._waist_x, self._waist_z)

    def sill(self, x: np.ndarray) -> np.ndarray:
        """Height of the lower edge at world `x`; bumpers sit a little higher than sills."""
        return self.body.clearance + 0.05 * np.clip(np.abs(x) / self.front, 0, 1) ** 10

    def along(self, x: np.ndarray) -> np.ndarray:
        """Distance round the plan (left side) at distances `x` back from the front bumper."""
        plan_x = self.plan[::-1, 0]
        return np.interp(self.front - np.asarray(x, dtype=float), plan_x, self.at_plan[::-1])

    def height(self, s: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Relative height in 0..1 of world height `z` at distance `s` round the plan."""
        x = np.interp(np.abs(s), self.at_plan, self.plan[:, 0])
        low = self.sill(x)
        return (z - low) / (self.waist(x) - low)

    def at(self, s: np.ndarray, v: np.ndarray, lift: float = 0.0) -> np.ndarray:
        """Points (..., 3) at `s` round the plan, negative to the right, relative height `v`."""
        s, v = np.broadcast_arrays(np.asarray(s, dtype=float), np.asarray(v, dtype=float))
        side = np.where(s < 0, -1.0, 1.0)
        s = np.abs(s)
        x = np.interp(s, self.at_plan, self.plan[:, 0])
        y = np.interp(s, self.at_plan, self.plan[:, 1])
        nx = np.interp(s, self.at_plan, self.normal[:, 0])
        ny = np.interp(s, self.at_plan, self.normal[:, 1])
        low, high = self.sill(x), self.waist(x)
        z = low + v * (high - low)
        tuck = np.clip(1.0 - v / 0.16, 0.0, 1.0)
        crease = np.clip((0.78 - np.abs(v)) / 0.10, 0.0, 1.0)  # below the shoulder line
        belly = np.clip(np.sin(np.clip((v - 0.16) / 0.62, 0, 1) * np.pi), 0.0, 1.0)
        round_off = np.clip((v - 0.86) / 0.14, 0.0, 1.0)
        inset = 0.05 * tuck**2 + 0.014 * crease * (1 - tuck) + 0.012 * belly
        inset = inset + 0.075 * (1.0 - np.sqrt(1.0 - 0.985 * round_off**2))
        inset = inset + 0.03 * np.clip((v - 0.78) / 0.22, 0.0, 1.0)
        inset = inset + self.body.lean_front * np.clip(nx, 0, 1) ** 2 * np.clip(v, 0, 1) ** 1.6
        inset = inset + self.body.lean_rear * np.clip(-nx, 0, 1) ** 2 * np.clip(v, 0, 1) ** 1.6
        inset = inset - lift
        return np.stack([x - inset * nx, side * (y - inset * ny), z], axis=-1)

    def at_rear(self, r: np.ndarray, v: np.ndarray, lift: float = 0.0) -> np.ndarray:
        """Like `at`, but by distance `r` from the rear's middle, growing from left to right."""
        r = np.asarray(r, dtype=float)
        return self.at(np.where(r > 0, -1.0, 1.0) * (self.total - np.abs(r)), v, lift)


class Cabin:
    """The glasshouse: two plan outlines, at the waist and at the roof, and what lies between."""

    def __init__(self, body: Body, shell: Shell, counts: tuple[int, int, int, int, int]):
        self.body = body
        front = body.length / 2
        half = body.width / 2
        base_half = half - 0.095
        roof_half = half - body.tumble
        self.base = _half_plan(
            front - body.cowl[0],
            front - body.tail[0],
            base_half,
            (0.34, 0.20),
            (0.20, 0.16),
            (0.20, 0.06),
            counts,
        )
        self.roof = _half_plan(
            front - body.header,
            front - body.roof_end,
            roof_half,
            (0.16, 0.16),
            (0.12, 0.14),
            (0.10, 0.05),
            counts,
        )
        self.counts = counts
        crown = 0.045 * np.clip(1.0 - (self.base[:, 1] / base_half) ** 2, 0.0, 1.0)
        self.base_z = shell.waist(self.base[:, 0]) - 0.004 + crown
        self.roof_z = self.roof_height(self.roof[:, 0]) - 0.045 * (self.roof[:, 1] / roof_half) ** 2
        self.steps = np.arange(len(self.base), dtype=float)

    def roof_height(self, x: np.ndarray) -> np.ndarray:
        """Height of the roof's middle line at world `x`."""
        front = self.body.length / 2
        high, low = front - self.body.header, front - self.body.roof_end
        peak = high + 0.38 * (low - high)
        reach = (x - peak) / np.where(x > peak, high - peak, peak - low)
        return self.body.height - self.body.arch * np.where(x > peak, 0.6, 1.0) * reach**2

    def at(self, step: np.ndarray, v: np.ndarray, lift: float = 0.0) -> np.ndarray:
        """Points (..., 3) at `step` round the outline, negative to the right, height `v`."""
        step, v = np.broadcast_arrays(np.asarray(step, dtype=float), np.asarray(v, dtype=float))
        side = np.where(step < 0, -1.0, 1.0)
        step = np.abs(step)

        def pick(values: np.ndarray) -> np.ndarray:
            return np.interp(step, self.steps, values)

        bx, by, bz = pick(self.base[:, 0]), pick(self.base[:, 1]), pick(self.base_z)
        tx, ty, tz = pick(self.roof[:, 0]), pick(self.roof[:, 1]), pick(self.roof_z)
        n_front, n_corner, n_side, *_ = self.counts
        on_side = np.clip(
            1.0 - np.abs(step - (n_front + n_corner + n_side / 2)) / (n_side / 2 + n_corner),
            0.0,
            1.0,
        )
        swell = self.body.swell + (0.16 - self.body.swell) * np.clip(on_side * 4.0, 0.0, 1.0)
        climb = v + swell * v * (1.0 - v)
        out = np.stack(
            [bx + (tx - bx) * v, side * (by + (ty - by) * v), bz + (tz - bz) * climb], axis=-1
        )
        if lift:
            away = out - np.array([(self.base[0, 0] + self.base[-1, 0]) / 2, 0.0, 0.6])
            out = out + lift * away / np.sqrt((away**2).sum(axis=-1, keepdims=True))
        return out

    def side_step(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Step on the left side at distances `x` back from the front bumper and height `v`."""
        n_front, n_corner, n_side, *_ = self.counts
        first, last = n_front + n_corner, n_front + n_corner + n_side
        world = self.body.length / 2 - np.asarray(x, dtype=float)
        start = self.base[first, 0] + (self.roof[first, 0] - self.base[first, 0]) * v
        stop = self.base[last, 0] + (self.roof[last, 0] - self.base[last, 0]) * v
        return first + (world - start) / (stop - start) * n_side


def _add_shells(out: Collector, shell: Shell, cabin: Cabin, rows: int) -> None:
    """Skin, deck, glasshouse and roof, all in paint."""
    half = shell.at_plan
    around = np.concatenate([half, -half[::-1][1:]])
    # Thin rows where the shoulder turns, or it would look like a chamfer.
    v = np.concatenate(
        [
            np.linspace(0, 0.86, rows, endpoint=False),
            0.86 + 0.14 * np.sin(np.linspace(0, np.pi / 2, rows // 2)),
        ]
    )
    out.add("lower", "paint", grid(shell.at(around[:, None], v[None, :])))
    edge = shell.at(half, np.ones(len(half)))
    out.add("deck", "paint", _lid(edge, 0.045, shell.half, rows * 4 // 5))
    steps = np.concatenate([cabin.steps, -cabin.steps[::-1][1:]])
    v = np.linspace(0.0, 1.0, max(rows // 2, 5))
    out.add("cabin", "paint", grid(cabin.at(steps[:, None], v[None, :])))
    edge = cabin.at(cabin.steps, np.ones(len(cabin.steps)))
    out.add("cabin", "paint", _lid(edge, 0.045, cabin.roof[:, 1].max(), rows // 2))


def _lid(edge: np.ndarray, crown: float, half: float, columns: int) -> np.ndarray:
    """Quads from a half outline `edge` (n, 3) over to its mirror image: a slightly domed lid."""
    t = np.linspace(1.0, -1.0, columns + 1)
    y = edge[:, None, 1] * t[None, :]
    z = edge[:, None, 2] + crown * (edge[:, None, 1] ** 2 - y**2) / half**2
    return grid(np.stack([np.broadcast_to(edge[:, None, 0], y.shape), y, z], axis=-1))


def _add_sides(out: Collector, shell: Shell) -> None:
    """Arches, sills, door gaps and handles on both sides."""
    body = shell.body
    axles = (body.front_overhang, body.front_overhang + body.wheelbase)
    if body.cladding:
        s = shell.along(np.linspace(axles[0], axles[1], 24))
        out.both("skin", "plastic", out.grid(shell.at(s[:, None], np.linspace(0, 0.20, 4), 0.004)))
    else:
        s = shell.along(np.linspace(axles[0], axles[1], 24))
        out.both("skin", "plastic", out.grid(shell.at(s[:, None], np.linspace(0, 0.05, 2), 0.002)))
    for axle in axles:
        if body.cladding:
            out.both("skin", "plastic", _arch(out, shell, axle, body.wheel + 0.115, 0.004))
        out.both("detail", "well", _arch(out, shell, axle, body.wheel + 0.045, 0.006))
    rear_arch = axles[1]
    for x in body.doors:
        # A gap that meets the rear arch ends on it.
        low = 0.10 if not body.cladding else 0.2
        offset = abs(x - rear_arch)
        radius = body.wheel + 0.07
        s = shell.along(np.array([x - 0.004, x + 0.004]))
        if offset < radius:
            top = body.wheel + np.sqrt(radius**2 - offset**2)
            low = float(shell.height(s[:1], np.array([top]))[0])
        v = np.linspace(low, 1.0, 12)
        out.both("skin", "gap", out.grid(shell.at(s[:, None], v, 0.003)))
    first, last = body.doors[0], body.doors[-1]
    s = shell.along(np.linspace(first, min(last, rear_arch - body.wheel - 0.1), 20))
    low = 0.10 if not body.cladding else 0.2
    v = np.array([low - 0.005, low + 0.005])
    out.both("skin", "gap", out.grid(shell.at(s[:, None], v, 0.003)))
    for x in body.doors[1:]:
        s = shell.along(np.array([x - 0.24, x - 0.06]))
        out.both("detail", "gap", out.grid(shell.at(s[:, None], np.array([0.775, 0.80]), 0.006)))
        s = shell.along(np.array([x - 0.235, x - 0.065]))
        out.both("gloss", "paint", out.grid(shell.at(s[:, None], np.array([0.80, 0.828]), 0.035)))
    if body.panel:
        s = shell.along(np.linspace(body.doors[0], body.length - 0.25, 24))
        v = np.array([0.40, 0.47])
        out.both("skin", "plastic", out.grid(shell.at(s[:, None], v, 0.012)))


def _arch(out: Collector, shell: Shell, axle: float, radius: float, lift: float) -> np.ndarray:
    """The opening around a wheel: from the lower edge up to a circle about the axle."""
    x = axle + radius * np.cos(np.linspace(0.0, np.pi, 25)[::-1])
    top = shell.body.wheel + np.sqrt(np.maximum(radius**2 - (x - axle) ** 2, 0.0))
    s = shell.along(x)
    high = np.maximum(shell.height(s, top), 0.0)
    return out.grid(shell.at(s[:, None], high[:, None] * np.linspace(0.0, 1.0, 4)[None, :], lift))


def _add_windows(out: Collector, cabin: Cabin) -> None:
    """Windscreen, rear window and side glass, each in its dark frame."""
    body = cabin.body
    n_front, n_corner, n_side, n_corner_rear, n_rear = cabin.counts
    last = len(cabin.steps) - 1
    reach = n_front + 0.62 * n_corner
    steps = np.linspace(-reach, reach, 25)
    v = np.linspace(0.03, 0.95, 9)
    out.add("frame", "trim", out.grid(cabin.at(steps[:, None], v, 0.003)))
    steps = np.linspace(-reach * 0.955, reach * 0.955, 25)
    v = np.linspace(0.09, 0.92, 12)
    out.add("glass", "glass", out.grid(cabin.at(steps[:, None], v, 0.006)))
    for side in (-1.0, 1.0):  # wipers, at rest along the foot of the windscreen
        a = np.array([side * reach * 0.05, side * reach * 0.62])
        low = np.array([0.10, 0.135])[:: int(side)]
        out.add("glass", "ink", strip(cabin.at(np.sort(a), low, 0.012), 0.018))
    reach = n_rear + 0.35 * n_corner_rear

    def rear(step: np.ndarray, v: np.ndarray, lift: float) -> np.ndarray:
        return cabin.at(np.where(step > 0, -1.0, 1.0) * (last - np.abs(step)), v, lift)

    for edge, inner, low, high, material, layer in (
        (1.0, 0.003, 0.10, 0.90, "trim", "frame"),
        (0.94, 0.006, 0.16, 0.84, "glass", "glass"),
    ):
        if body.panel:
            for side in (-1, 1):
                steps = np.sort(side * reach * np.array([0.12, 0.80 * edge]))
                v = np.linspace(low + 0.12, high - 0.12, 5)
                out.add(layer, material, out.grid(rear(steps[:, None], v[None, :], inner)))
        else:
            steps = np.linspace(-reach * edge, reach * edge, 21)
            v = np.linspace(low, high, 8)
            out.add(layer, material, out.grid(rear(steps[:, None], v[None, :], inner)))
    if body.panel:
        seam = np.array([-0.15, 0.15])
        v = np.linspace(0.0, 0.95, 6)
        out.add("frame", "gap", out.grid(rear(seam[:, None], v[None, :], 0.004)))
    first = n_front + n_corner
    v = np.linspace(0.07, 0.86, 7)
    start = first + 0.02 * n_side
    stop = np.full(len(v), first + n_side * body.window_end)
    if body.panel:
        stop = cabin.side_step(np.array(body.pillars[-1]), v)
    t = np.linspace(0.0, 1.0, 30)[:, None]
    out.both("frame", "trim", out.grid(cabin.at(start + (stop - start) * t, v[None, :], 0.003)))
    v = np.linspace(0.115, 0.81, 8)
    stop = np.full(len(v), first + n_side * (body.window_end - 0.012))
    cuts = [np.full(len(v), start + 0.012 * n_side)]
    ends = []
    for x in body.pillars:
        ends.append(cabin.side_step(np.array(x - 0.035), v))
        cuts.append(cabin.side_step(np.array(x + 0.035), v))
    ends.append(stop)
    panes = list(zip(cuts, ends, strict=True))
    for a, b in panes[:-1] if body.panel else panes:
        b = np.minimum(np.maximum(b, a + 0.05), stop)
        out.both(
            "glass",
            "glass",
            out.grid(cabin.at(a + (b - a) * np.linspace(0, 1, 9)[:, None], v[None, :], 0.006)),
        )
    gaps = body.doors[1:] if not body.panel else body.doors[1:2]
    for x in gaps:
        v = np.linspace(0.0, 0.9, 5)
        step = np.stack(
            [cabin.side_step(np.array(x - 0.004), v), cabin.side_step(np.array(x + 0.004), v)]
        )
        if (step < first + n_side).all():
            out.both("frame", "gap", out.grid(cabin.at(step, v[None, :], 0.002)))


def _add_extras(out: Collector, shell: Shell, cabin: Cabin) -> None:
    """Mirrors, roof rails, load bed, spare wheel."""
    body = shell.body
    n_front, n_corner, n_side, *_ = cabin.counts
    foot = cabin.at(np.array([n_front + n_corner + 0.05 * n_side]), np.array([0.10]))[0]
    size = np.array([0.09, 0.115, 0.075]) * (1.25 if body.panel else 1.0)
    middle = foot + np.array([-0.02, 0.115, 0.055])
    lat, lon = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, 8), np.linspace(0, 2 * np.pi, 13), indexing="ij"
    )
    ball = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    ball = np.sign(ball) * np.abs(ball) ** 0.75  # boxier than an ellipsoid
    quads = grid(np.swapaxes(middle + ball * size, 0, 1))
    out.both("near_mirror", "paint", quads, side=1)
    back = middle + np.array([-size[0] * 0.99, 0, 0])
    pane = back + np.array(
        [[0, -0.08, -0.045], [0, -0.08, 0.045], [0, 0.08, 0.045], [0, 0.08, -0.045]]
    )
    out.both("near_mirror", "glass", pane[::-1][None], side=1)
    if body.rails:
        t = np.linspace(n_front + n_corner + 0.08 * n_side, n_front + n_corner + 0.92 * n_side, 14)
        base = cabin.at(t, np.ones(len(t)))
        base = base + np.array([0.0, -0.05, 0.015])
        top = base + np.array([0.0, 0.0, 0.045])
        side = np.stack([base, top], axis=1) + np.array([0.0, 0.018, 0.0])
        out.both("top", "chrome", grid(side))
        inner = (np.stack([base, top], axis=1) - np.array([0.0, 0.018, 0.0]))[::-1]
        out.both("top", "plastic", grid(inner))
        cap = np.stack([top + np.array([0, 0.018, 0]), top - np.array([0, 0.018, 0])], axis=1)
        out.both("top", "chrome", grid(cap))
    if body.bed:
        x0, x1 = body.length / 2 - body.tail[0] - 0.05, -body.length / 2 + 0.10
        half = shell.half - 0.17
        x = np.linspace(x0, x1, 12)
        y = np.array([half, -half])
        z = np.broadcast_to(shell.waist(x)[:, None] + 0.012, (12, 2))
        bed = np.stack([np.broadcast_to(x[:, None], (12, 2)), np.broadcast_to(y, (12, 2)), z], -1)
        out.add("gloss", "dark", grid(bed))
        rail = bed + np.array([0.0, 0.0, 0.03])
        for column, other in ((0, 0.06), (1, -0.06)):
            line = rail[:, column]
            wide = np.stack(
                [line + np.array([0, max(other, 0), 0]), line + np.array([0, min(other, 0), 0])],
                axis=1,
            )
            out.add("rim", "plastic", grid(wide))
    if body.spare:
        centre = shell.at_rear(np.array([0.0]), np.array([0.92]))[0]
        centre = centre + np.array([-0.02, -0.16, 0.06])
        out.add("extra", "tyre", _drum(centre, body.wheel * 0.92, 0.19))
        out.add(
            "extra",
            "paint",
            disc(
                centre + np.array([-0.195, 0, 0]),
                body.wheel * 0.70,
                (0.0, -1.0, 0.0),
                (0.0, 0.0, 1.0),
            ),
        )
        out.add(
            "extra",
            "trim",
            ring(
                centre + np.array([-0.192, 0, 0]),
                body.wheel * 0.70,
                body.wheel * 0.92,
                (0.0, -1.0, 0.0),
                (0.0, 0.0, 1.0),
            ),
        )


def _drum(centre: np.ndarray, radius: float, depth: float) -> np.ndarray:
    """The tread of a wheel that faces backwards: a short cylinder along x."""
    turn = np.linspace(0.0, 2 * np.pi, 33)
    rim = np.stack([np.zeros(33), -radius * np.cos(turn), radius * np.sin(turn)], axis=1) + centre
    return grid(np.stack([rim + np.array([-depth, 0.0, 0.0]), rim], axis=1))


@lru_cache(maxsize=96)
def build(model: int, rim: int = 0, fine: bool = True) -> Mesh:
    """Mesh of MODELS[model] on wheels of design `rim` (0..3); a coarse one has fewer quads."""
    chosen: Model = MODELS[model]
    body = chosen.body
    scale = 1.0 if fine else 0.5
    counts = tuple(round(n * scale) for n in (12, 14, 40, 12, 12))
    shell = Shell(body, counts)
    cabin = Cabin(body, shell, counts)
    out = Collector(LAYERS, SOLID, fine)
    _add_shells(out, shell, cabin, rows=20 if fine else 8)
    _add_sides(out, shell)
    _add_windows(out, cabin)
    faces.add_front(out, shell, chosen.face)
    faces.add_rear(out, shell, chosen.face)
    for x in (body.front_overhang, body.front_overhang + body.wheelbase):
        s = shell.along(np.array([x - 0.3, x, x + 0.3]))
        level = shell.height(s, np.full(3, body.wheel))
        y = float(np.abs(shell.at(s, level)[:, 1]).min()) - 0.012
        add_wheel(out, np.array([shell.front - x, y, body.wheel]), body.wheel, rim, fine)
    _add_extras(out, shell, cabin)
    quads, material, layer, side, turn = out.gathered()
    plan = np.concatenate([shell.plan, shell.plan[::-1] * np.array([1.0, -1.0])])
    return Mesh(quads, material, layer, side, turn, plan)


@lru_cache(maxsize=len(MODELS))
def outline(model: int) -> np.ndarray:
    """Points (k, 3) of MODELS[model] that include all outermost ones, seen from anywhere."""
    corners = build(model).quads.reshape(-1, 3)
    kept = []
    for axis in range(3):
        # In a thin slice, only the corners of its convex hull can be outermost.
        slab = np.floor(corners[:, axis] / 0.06).astype(int)
        order = np.argsort(slab, kind="stable")
        starts = np.flatnonzero(np.diff(slab[order])) + 1
        for part in np.split(order, starts):
            flat = np.delete(corners[part], axis, axis=1).astype(np.float32)
            kept.append(part[cv2.convexHull(flat, returnPoints=False)[:, 0]])
    return corners[np.unique(np.concatenate(kept))]
