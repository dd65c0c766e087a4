"""Where listings are photographed: streets, car parks, lanes, showrooms, garages.

A scene is built once for a listing, in world coordinates about the vehicle at the origin, and
drawn for each of its photos from another side.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from camera import Camera, fixed
from catalogue import MODELS
from paints import draw_paint
from shading import Light, surface, tone
from vehicles import Vehicle

KINDS = {"street": 0.28, "car_park": 0.26, "lane": 0.18, "showroom": 0.16, "garage": 0.12}
"""The backgrounds, and the share of listings that has each."""
Colour = tuple[float, float, float]
_UP = (0.0, 0.0, 1.0)


@dataclass
class Group:
    """Polygons drawn together, in order: one building, one wall, one tree's trunk."""

    polygons: list[np.ndarray] = field(default_factory=list)  # each (n, 3), convex, metres
    colours: list[Colour] = field(default_factory=list)  # display BGR 0..255
    backdrop: bool = False  # drawn first, whatever its distance

    def add(self, polygon: np.ndarray, colour: Colour) -> None:
        """Add one convex polygon (n, 3)."""
        self.polygons.append(polygon)
        self.colours.append(colour)


@dataclass(frozen=True)
class Tree:
    """A tree or bush: where, how high (metres), which leaves."""

    x: float
    y: float
    height: float
    trunk: float  # share of the height that is bare
    leaf: Colour
    bark: Colour
    seed: int


@dataclass
class Scene:
    """All that stands around the vehicle, and the light on it."""

    kind: str
    light: Light
    ground: Colour = (128.0, 128.0, 128.0)
    grain: float = 0.2  # how much the ground's brightness varies
    grain_size: float = 0.02  # metres to a grain
    haze: Colour = (200.0, 200.0, 200.0)
    clouds: float = 0.0
    hills: Colour | None = None
    polish: float = 0.0  # how much the floor mirrors
    marks: Group = field(default_factory=Group)
    groups: list[Group] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    others: list[Vehicle] = field(default_factory=list)
    seed: int = 0


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = (x * x + y * y + z * z) ** 0.5
    return (x / length, y / length, z / length)


def _daylight(rng: np.random.Generator) -> Light:
    """Sun, overcast or dusk, from any direction."""
    turn = rng.uniform(-np.pi, np.pi)
    weather = rng.choice(["sun", "overcast", "dusk"], p=[0.59, 0.34, 0.07])
    if weather == "sun":
        rise = rng.uniform(0.55, 1.1)
        power = rng.uniform(0.8, 1.25)
        return Light(
            _unit(np.cos(turn), np.sin(turn), np.tan(rise)),
            (1.75 * power, 1.62 * power, 1.42 * power),
            (0.20, 0.36, 0.72),
            (0.72, 0.80, 0.90),
            (0.22, 0.21, 0.19),
            shadow=rng.uniform(0.5, 0.65),
        )
    if weather == "overcast":
        power = rng.uniform(0.65, 1.05)
        return Light(
            _unit(np.cos(turn), np.sin(turn), 2.4),
            (0.30 * power, 0.30 * power, 0.30 * power),
            (0.78 * power, 0.82 * power, 0.88 * power),
            (0.95 * power, 0.97 * power, 1.0 * power),
            (0.20 * power, 0.20 * power, 0.20 * power),
            shadow=0.14,
        )
    return Light(
        _unit(np.cos(turn), np.sin(turn), 0.45),
        (0.95, 0.52, 0.24),
        (0.12, 0.17, 0.36),
        (0.80, 0.50, 0.36),
        (0.11, 0.09, 0.09),
        shadow=0.35,
        dusk=True,
    )


def _indoor(rng: np.random.Generator, bright: float) -> Light:
    turn = rng.uniform(-np.pi, np.pi)
    warm = rng.uniform(0.86, 1.06)
    return Light(
        _unit(np.cos(turn), np.sin(turn), 3.0),
        (0.55 * bright, 0.54 * bright, 0.52 * bright * warm),
        (0.55 * bright, 0.54 * bright, 0.52 * bright * warm),
        (0.50 * bright, 0.49 * bright, 0.47 * bright * warm),
        (0.30 * bright, 0.29 * bright, 0.28 * bright),
        skyline=0.25,
        strips=1.1 * bright,
        shadow=0.15,
    )


def _wall(a: tuple[float, float], b: tuple[float, float], low: float, high: float) -> np.ndarray:
    """An upright rectangle between two points of the ground."""
    return np.array([[*a, low], [*b, low], [*b, high], [*a, high]], dtype=float)


def _flat(x0: float, y0: float, x1: float, y1: float, z: float = 0.0) -> np.ndarray:
    return np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]], dtype=float)


def _facade(
    scene: Scene,
    rng: np.random.Generator,
    a: tuple[float, float],
    b: tuple[float, float],
    height: float,
) -> None:
    """A house front from a to b with rows of windows, a door and a plinth."""
    light = scene.light
    tangent = np.array(b) - np.array(a)
    length = float(np.sqrt((tangent**2).sum()))
    tangent = tangent / length
    normal = np.array([-tangent[1], tangent[0], 0.0])
    middle = (np.array(a) + np.array(b)) / 2
    if normal[:2] @ middle > 0:
        normal = -normal
    facing = (float(normal[0]), float(normal[1]), 0.0)
    tint = [
        (0.55, 0.42, 0.30),
        (0.60, 0.56, 0.48),
        (0.38, 0.17, 0.12),
        (0.48, 0.48, 0.50),
        (0.66, 0.62, 0.55),
        (0.30, 0.33, 0.36),
        (0.52, 0.36, 0.26),
    ][rng.integers(7)]
    tint = tuple(float(c * rng.uniform(0.8, 1.15)) for c in tint)
    group = Group()
    group.add(_wall(a, b, 0.0, height), surface(light, tint, facing))
    trim = tuple(min(c * 1.35, 0.85) for c in tint)
    pane = tone(
        np.array([0.05, 0.06, 0.07]) + 0.28 * np.array(light.horizon) * rng.uniform(0.3, 1.0)
    )
    pane = (float(pane[0]), float(pane[1]), float(pane[2]))

    def at(u: float) -> tuple[float, float]:
        return (a[0] + tangent[0] * u, a[1] + tangent[1] * u)

    group.add(_wall(a, b, 0.0, 0.6), surface(light, tuple(c * 0.55 for c in tint), facing))
    group.add(_wall(a, b, height - 0.45, height), surface(light, trim, facing))
    columns = max(int(length / 2.9), 1)
    step = length / columns
    shop = rng.random() < 0.4
    for row in range(max(int((height - 0.8) / 3.0), 1)):
        for column in range(columns):
            u = column * step + step * 0.26
            low, high = 1.1 + row * 3.0, 2.75 + row * 3.0
            if row == 0 and shop:
                u0, u1, low = column * step + 0.15, (column + 1) * step - 0.15, 0.7
            else:
                u0, u1 = u, u + step * 0.48
            if high > height - 0.4:
                continue
            group.add(
                _wall(at(u0 - 0.09), at(u1 + 0.09), low - 0.12, high + 0.09),
                surface(light, trim, facing),
            )
            lit = scene.light.dusk and rng.random() < 0.35
            group.add(_wall(at(u0), at(u1), low, high), (90.0, 190.0, 240.0) if lit else pane)
    if shop:
        sign = tuple(float(c) for c in rng.uniform(0.03, 0.4, 3))
        group.add(_wall(at(0.1), at(length - 0.1), 2.85, 3.35), surface(light, sign, facing))
    scene.groups.append(group)


def _tree(
    scene: Scene, rng: np.random.Generator, x: float, y: float, height: float, trunk: float = 0.3
) -> None:
    green = np.array(
        [[0.10, 0.20, 0.05], [0.07, 0.15, 0.05], [0.16, 0.20, 0.05], [0.22, 0.14, 0.04]][
            rng.choice(4, p=[0.4, 0.35, 0.2, 0.05])
        ]
    )
    leaf = surface(scene.light, tuple(green * rng.uniform(0.8, 1.2)), _unit(0.0, 0.0, 1.0))
    bark = surface(scene.light, (0.10, 0.075, 0.05), (1.0, 0.0, 0.0))
    scene.trees.append(Tree(x, y, height, trunk, leaf, bark, int(rng.integers(1 << 30))))


def _other(rng: np.random.Generator, x: float, y: float, heading: float) -> Vehicle:
    return Vehicle(
        int(rng.integers(len(MODELS))), draw_paint(rng), int(rng.integers(4)), x, y, heading
    )


def _street(rng: np.random.Generator) -> Scene:
    scene = Scene("street", _daylight(rng), grain=0.22, grain_size=0.025)
    light = scene.light
    road = rng.uniform(0.09, 0.17)
    scene.ground = surface(light, (road, road, road * 1.03), _UP)
    side = surface(light, (0.30, 0.29, 0.27), _UP)
    kerb = surface(light, (0.44, 0.43, 0.41), _UP)
    white = surface(light, (0.62, 0.62, 0.60), _UP)
    for sign in (-1.0, 1.0):
        # The car stands at one kerb; the other one is across the road.
        edge = 1.35 if sign > 0 else 6.8
        far = 19.0
        scene.marks.add(_flat(-90, sign * edge, 90, sign * far), side)
        scene.marks.add(_flat(-90, sign * edge, 90, sign * (edge + 0.22)), kerb)
        for k in range(-18, 18):
            x = k * 3.0
            scene.marks.add(_flat(x, sign * (edge + 0.3), x + 0.04, sign * far), kerb)
        start = rng.uniform(-75, -65)
        while start < 65:
            length = rng.uniform(8.0, 15.0)
            _facade(
                scene,
                rng,
                (start, sign * 17.0),
                (start + length, sign * 17.0),
                rng.uniform(5.5, 13.0),
            )
            start += length + (rng.uniform(1.0, 4.0) if rng.random() < 0.25 else 0.0)
        for k in range(-4, 5):
            if rng.random() < 0.55:
                _tree(scene, rng, k * 9.0 + rng.uniform(-2, 2), sign * 13.5, rng.uniform(4.5, 7.5))
    for k in range(-12, 12):
        scene.marks.add(_flat(k * 5.0, -2.85, k * 5.0 + 2.2, -2.73), white)
    for x in (-14.5, -8.0, 8.0, 14.5):
        if rng.random() < 0.7:
            scene.others.append(
                _other(rng, x + rng.uniform(-0.5, 0.5), rng.uniform(-0.1, 0.2), 0.0)
            )
    for x in (-17.0, -9.0, -2.0, 5.5, 12.0):
        if rng.random() < 0.5:
            scene.others.append(_other(rng, x + rng.uniform(-1, 1), -5.7, np.pi))
    return scene


def _car_park(rng: np.random.Generator) -> Scene:
    scene = Scene("car_park", _daylight(rng), grain=0.20, grain_size=0.03)
    light = scene.light
    road = rng.uniform(0.10, 0.24)
    scene.ground = surface(light, (road, road, road), _UP)
    white = surface(light, (0.64, 0.64, 0.62) if rng.random() < 0.8 else (0.6, 0.5, 0.1), _UP)
    bay = 2.75
    for row in (-5.4, 12.5, -18.0):
        for k in range(-12, 13):
            y = (k + 0.5) * bay
            scene.marks.add(_flat(row - 2.7, y - 0.06, row + 2.7, y + 0.06), white)
    for k in range(-12, 13):
        y = (k + 0.5) * bay
        scene.marks.add(_flat(-2.6, y - 0.06, 2.6, y + 0.06), white)
    for k in range(-8, 9):
        if k and rng.random() < 0.62:
            scene.others.append(
                _other(rng, rng.uniform(-0.3, 0.3), k * bay, 0.0 if rng.random() < 0.6 else np.pi)
            )
    for row in (-5.6, 12.5, -18.0):
        for k in range(-9, 10):
            if rng.random() < 0.55:
                scene.others.append(
                    _other(
                        rng,
                        row,
                        k * bay + rng.uniform(-0.15, 0.15),
                        0.0 if rng.random() < 0.5 else np.pi,
                    )
                )
    distance = rng.uniform(26, 34)
    for sign_x, sign_y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        hall = rng.random() < 0.4
        for k in range(-4, 4):
            u = k * 14.0
            if sign_x:
                a, b = (sign_x * distance, u), (sign_x * distance, u + 13.5)
            else:
                a, b = (u, sign_y * distance), (u + 13.5, sign_y * distance)
            if hall:
                _facade(scene, rng, a, b, rng.uniform(4.6, 7.0))
            else:
                for _ in range(3):
                    t = rng.uniform()
                    _tree(
                        scene,
                        rng,
                        a[0] + t * (b[0] - a[0]),
                        a[1] + t * (b[1] - a[1]),
                        rng.uniform(4.0, 8.5),
                        0.15,
                    )
    scene.hills = surface(light, (0.12, 0.16, 0.10), (1.0, 0.0, 0.0))
    return scene


def _lane(rng: np.random.Generator) -> Scene:
    scene = Scene("lane", _daylight(rng), grain=0.24, grain_size=0.03)
    light = scene.light
    gravel = rng.random() < 0.5
    field_tint = (0.10, 0.17, 0.05) if rng.random() < 0.75 else (0.26, 0.22, 0.08)
    scene.ground = surface(light, field_tint, _UP)
    path = (0.34, 0.30, 0.24) if gravel else (0.16, 0.16, 0.17)
    scene.marks.add(_flat(-90, -3.4, 90, 2.6), surface(light, path, _UP))
    scene.marks.add(
        _flat(-6.5, -30, 7.5, 2.6) if rng.random() < 0.5 else _flat(-90, -4, 90, 2.6),
        surface(light, path, _UP),
    )
    scene.hills = surface(light, (0.10, 0.15, 0.09), (1.0, 0.0, 0.0))
    for _ in range(46):
        turn, far = rng.uniform(-np.pi, np.pi), rng.uniform(15, 45)
        bush = rng.random() < 0.35
        _tree(
            scene,
            rng,
            far * np.cos(turn),
            far * np.sin(turn),
            rng.uniform(1.2, 2.4) if bush else rng.uniform(4.5, 10.0),
            0.02 if bush else 0.25,
        )
    wood = surface(light, (0.30, 0.22, 0.14), (0.0, 1.0, 0.0))
    if rng.random() < 0.6:
        for sign in (-1.0, 1.0):
            fence = Group()
            y = sign * 14.0
            for z in (0.45, 0.85):
                fence.add(_wall((-60, y), (60, y), z, z + 0.14), wood)
            for k in range(-20, 21):
                fence.add(_wall((k * 3.0, y), (k * 3.0 + 0.16, y), 0.0, 1.15), wood)
            scene.groups.append(fence)
    if rng.random() < 0.6:
        x = rng.uniform(-18, 10)
        sign = 1.0 if rng.random() < 0.5 else -1.0
        _facade(scene, rng, (x, sign * 16), (x + 11, sign * 16), 5.0)
        roof = Group()
        roof.add(
            np.array(
                [
                    [x - 0.5, sign * 16, 5.0],
                    [x + 11.5, sign * 16, 5.0],
                    [x + 10.3, sign * 19, 7.4],
                    [x + 0.7, sign * 19, 7.4],
                ]
            ),
            surface(light, (0.22, 0.09, 0.06), _unit(0.0, -sign, 1.0)),
        )
        scene.groups.append(roof)
    if rng.random() < 0.4:
        scene.others.append(_other(rng, rng.uniform(9, 14) * rng.choice([-1, 1]), -1.5, 0.1))
    return scene


def _room(
    scene: Scene,
    rng: np.random.Generator,
    half_x: float,
    half_y: float,
    height: float,
    wall: Colour,
    stripe: Colour | None,
) -> list[tuple[tuple[float, float], tuple[float, float], tuple[float, float, float]]]:
    """Four walls and a ceiling with lamps; returns the walls as (from, to, inward normal)."""
    light = scene.light
    walls = [
        ((-half_x, half_y), (half_x, half_y), (0.0, -1.0, 0.0)),
        ((half_x, half_y), (half_x, -half_y), (-1.0, 0.0, 0.0)),
        ((half_x, -half_y), (-half_x, -half_y), (0.0, 1.0, 0.0)),
        ((-half_x, -half_y), (-half_x, half_y), (1.0, 0.0, 0.0)),
    ]
    room = Group(backdrop=True)
    for a, b, normal in walls:
        shade = 0.88 + 0.12 * abs(normal[0])
        room.add(_wall(a, b, 0.0, height), surface(light, tuple(c * shade for c in wall), normal))
        if stripe is not None:
            room.add(_wall(a, b, 0.9, 1.35), surface(light, stripe, normal))
        room.add(_wall(a, b, 0.0, 0.14), surface(light, tuple(c * 0.4 for c in wall), normal))
    ceiling = tuple(c * 0.55 for c in wall)
    room.add(_flat(-half_x, -half_y, half_x, half_y, height), surface(light, ceiling, (0, 0, 0.2)))
    glow = tuple(float(c) for c in tone(np.array(light.zenith) * 3.2))
    gap = rng.uniform(3.0, 4.5)
    y = -half_y + gap / 2
    while y < half_y:
        for x in np.arange(-half_x + 1.0, half_x - 3.0, 4.2):
            room.add(_flat(x, y, x + 3.0, y + 0.28, height - 0.02), glow)
        y += gap
    scene.groups.append(room)
    return walls


def _showroom(rng: np.random.Generator) -> Scene:
    scene = Scene(
        "showroom",
        _indoor(rng, rng.uniform(1.2, 1.7)),
        grain=0.02,
        grain_size=0.03,
        polish=rng.uniform(0.14, 0.34),
    )
    light = scene.light
    tile = rng.choice([0.10, 0.30, 0.42])
    scene.ground = surface(light, (tile, tile, tile * 0.98), _UP)
    base = rng.choice([0.20, 0.48, 0.60])
    wall = (base, base, base * rng.uniform(0.94, 1.06))
    half_x, half_y, height = rng.uniform(15, 18), rng.uniform(14, 17), rng.uniform(4.4, 6.0)
    line = surface(light, (tile * 0.72,) * 3, _UP)
    for k in range(-12, 13):
        scene.marks.add(_flat(k * 1.5, -half_y, k * 1.5 + 0.025, half_y), line)
        scene.marks.add(_flat(-half_x, k * 1.5, half_x, k * 1.5 + 0.025), line)
    walls = _room(scene, rng, half_x, half_y, height, wall, None)
    accent = tuple(float(c) for c in rng.uniform(0.04, 0.5, 3))
    sky = tone(np.array([0.75, 0.85, 0.95]) * rng.uniform(0.6, 1.2))
    out = tuple(float(c) for c in sky)
    for i, (a, b, normal) in enumerate(walls):
        group = Group(backdrop=True)
        style = rng.integers(3) if i else 0
        start, stop = np.array(a), np.array(b)
        count = 9
        for k in range(count):
            p, q = (start + (stop - start) * (k + t) / count for t in (0.06, 0.94))
            p, q = (p[0], p[1]), (q[0], q[1])
            if style == 0:
                group.add(_wall(p, q, 0.25, height - 0.7), out)
                group.add(_wall(p, q, 0.25, 1.5), tuple(c * 0.72 for c in out))
            elif style == 1 and k % 3 == 1:
                group.add(_wall(p, q, 1.0, height - 1.2), surface(light, accent, normal))
                r = start + (stop - start) * (k + 0.2) / count
                s = start + (stop - start) * (k + 0.8) / count
                group.add(
                    _wall((r[0], r[1]), (s[0], s[1]), height - 2.1, height - 1.8),
                    surface(light, (0.8, 0.8, 0.8), normal),
                )
            elif style == 2:
                group.add(
                    _wall(p, q, 0.4, height - 0.5),
                    surface(light, tuple(c * (0.8 if k % 2 else 1.1) for c in wall), normal),
                )
        scene.groups.append(group)
    for turn in np.arange(6) * np.pi / 3 + rng.uniform(0, 1):
        if rng.random() < 0.55:
            far = rng.uniform(7.5, 10.5)
            scene.others.append(
                _other(rng, far * np.cos(turn), far * np.sin(turn), rng.uniform(-np.pi, np.pi))
            )
    for _ in range(3):
        turn = rng.uniform(-np.pi, np.pi)
        _tree(scene, rng, 12.5 * np.cos(turn), 12.5 * np.sin(turn), rng.uniform(1.5, 2.4), 0.25)
    return scene


def _garage(rng: np.random.Generator) -> Scene:
    scene = Scene(
        "garage", _indoor(rng, rng.uniform(0.7, 1.05)), grain=0.16, grain_size=0.04, polish=0.06
    )
    light = scene.light
    floor = rng.uniform(0.16, 0.30)
    scene.ground = surface(light, (floor, floor, floor * 0.96), _UP)
    stripe = tuple(float(c) for c in rng.uniform(0.05, 0.6, 3))
    half_x, half_y = rng.uniform(15, 19), rng.uniform(15, 19)
    _room(scene, rng, half_x, half_y, 3.1, (0.34, 0.34, 0.32), stripe)
    white = surface(light, (0.6, 0.6, 0.55), _UP)
    for k in range(-6, 7):
        y = (k + 0.5) * 2.9
        scene.marks.add(_flat(-half_x, y, -half_x + 5, y + 0.1), white)
        scene.marks.add(_flat(half_x - 5, y, half_x, y + 0.1), white)
        scene.marks.add(_flat(-2.5, y, 2.5, y + 0.1), white)
        for x in (-half_x + 2.7, half_x - 2.7):
            if rng.random() < 0.55:
                scene.others.append(_other(rng, x, k * 2.9, 0.0 if rng.random() < 0.5 else np.pi))
    for x in (-9.0, 9.0):
        for y in (-8.7, 0.0, 8.7):
            column = Group()
            for a, b, normal in (
                ((x - 0.3, y - 0.3), (x + 0.3, y - 0.3), (0.0, -1.0, 0.0)),
                ((x - 0.3, y + 0.3), (x + 0.3, y + 0.3), (0.0, 1.0, 0.0)),
                ((x - 0.3, y - 0.3), (x - 0.3, y + 0.3), (-1.0, 0.0, 0.0)),
                ((x + 0.3, y - 0.3), (x + 0.3, y + 0.3), (1.0, 0.0, 0.0)),
            ):
                tint = 0.42 - 0.06 * abs(normal[0])
                column.add(_wall(a, b, 0.0, 3.1), surface(light, (tint, tint, tint), normal))
                column.add(_wall(a, b, 0.0, 1.0), surface(light, stripe, normal))
            scene.groups.append(column)
    return scene


_BUILDERS = {
    "street": _street,
    "car_park": _car_park,
    "lane": _lane,
    "showroom": _showroom,
    "garage": _garage,
}


def build_scene(kind: str, rng: np.random.Generator) -> Scene:
    """A scene of one of KINDS, drawn from `rng`."""
    scene = _BUILDERS[kind](rng)
    haze = tone(np.array(scene.light.horizon))
    scene.haze = (float(haze[0]), float(haze[1]), float(haze[2]))
    scene.clouds = float(rng.uniform(0.0, 0.7))
    scene.seed = int(rng.integers(1 << 30))
    return scene


def draw_background(scene: Scene, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """The scene without vehicles as BGR uint8 of `size` (width, height)."""
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    _draw_sky(image, scene, camera)
    _draw_ground(image, scene, camera)
    reach = (camera.position[0] ** 2 + camera.position[1] ** 2) ** 0.5
    queue: list[tuple[float, object]] = []
    for group in scene.groups:
        depth = camera.depth_and_pixels(np.concatenate(group.polygons))[0]
        if depth.max() < 0.5:
            continue
        far = 1e6 if group.backdrop else float(depth.mean())
        if group.backdrop or depth.min() > reach + 1.5 or depth.max() - depth.min() > 6.0:
            queue.append((far, group))
    for tree in scene.trees:
        depth = float(camera.depth_and_pixels(np.array([tree.x, tree.y, 0.0]))[0])
        if depth > reach + 3.0:
            queue.append((depth, tree))
    for _, item in sorted(queue, key=lambda pair: -pair[0]):
        if isinstance(item, Group):
            _draw_group(image, item, camera)
        else:
            _draw_tree(image, item, camera)
    return image


def _first_ground_row(camera: Camera, height: int) -> int:
    """The first of `height` rows that lies below the horizon; `height` if none does."""
    return min(max(int(np.floor(camera.cy)) + 1, 0), height)


def _draw_sky(image: np.ndarray, scene: Scene, camera: Camera) -> None:
    height, width = image.shape[:2]
    seen = _first_ground_row(camera, height)
    rows = np.clip((camera.cy - np.arange(seen)) / (0.55 * camera.focal), 0.0, 1.0)
    light = scene.light
    horizon, zenith = np.array(light.horizon), np.array(light.zenith)
    radiance = horizon + (zenith - horizon) * (rows**0.7)[:, None]
    sky = np.rint(tone(radiance)).astype(np.uint8)[:, None]
    rng = np.random.Generator(np.random.Philox(scene.seed))
    noise = np.zeros((seen, width), np.uint16)
    for octave, weight in ((3, 110), (7, 70), (15, 40)):
        cells = rng.integers(0, 256, (octave, octave * 2), dtype=np.uint8)
        shift = round(camera.yaw / (2 * np.pi) * octave * 2)
        cells = np.roll(cells, shift, axis=1)
        big = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
        noise += big[:seen].astype(np.uint16) * weight // 220
    cover = np.clip((noise.astype(np.int32) - 118) * 4, 0, 255) * scene.clouds
    cloud = tone(np.maximum(horizon, zenith) * 1.1)
    blend = (cover / 255.0)[..., None] * np.clip(rows * 3.0, 0, 1)[:, None, None]
    image[:seen] = np.rint(sky + (cloud - sky) * blend).astype(np.uint8)
    if scene.hills is not None:
        heights = rng.uniform(0.01, 0.085, 48)
        angle = camera.yaw - np.arctan((np.arange(width) - camera.cx) / camera.focal)
        where = np.mod(angle / (2 * np.pi), 1.0) * 48
        crest = np.interp(where, np.arange(49), np.append(heights, heights[0]))
        top = camera.cy - crest * camera.focal
        line = np.stack([np.arange(width), top], axis=1)
        polygon = np.concatenate([line, [[width, camera.cy + 2], [0, camera.cy + 2]]])
        colour = [0.72 * a + 0.28 * b for a, b in zip(scene.hills, scene.haze, strict=True)]
        cv2.fillPoly(image, [fixed(polygon)], colour, cv2.LINE_AA, 4)


def _draw_ground(image: np.ndarray, scene: Scene, camera: Camera) -> None:
    height, width = image.shape[:2]
    first = _first_ground_row(camera, height)
    if first == height:
        return
    image[first:] = np.rint(scene.ground).astype(np.uint8)
    for polygon, colour in zip(scene.marks.polygons, scene.marks.colours, strict=True):
        pixels = camera.clipped(polygon)
        if pixels is not None:
            cv2.fillConvexPoly(image, fixed(pixels), colour, cv2.LINE_AA, 4)
    rows = np.arange(first, height, dtype=np.float64)[:, None]
    x, y, depth = camera.ground(np.arange(width, dtype=np.float64), rows)
    rng = np.random.Generator(np.random.Philox(scene.seed + 1))
    fine = rng.integers(0, 256, (256, 256), dtype=np.uint8)
    fine = cv2.blur(fine, (2, 2))
    coarse = cv2.resize(
        rng.integers(0, 256, (32, 32), dtype=np.uint8),
        (256, 256),
        interpolation=cv2.INTER_LINEAR_EXACT,
    )
    grains = fine.ravel()[_cells(x, y, scene.grain_size)].astype(np.float32)
    blots = coarse.ravel()[_cells(x, y, 0.06)].astype(np.float32)
    # Grain fades where a pixel covers many grains.
    fade = np.clip(14.0 * scene.grain_size * camera.focal / depth**1.5 / 20.0, 0.0, 1.0)
    fade = fade.astype(np.float32)
    factor = 1.0 + scene.grain * (fade * (grains - 128) + 0.55 * (blots - 128)) / 128.0
    lower = image[first:] * factor[..., None]
    if scene.kind not in ("showroom", "garage"):
        mist = np.clip((depth - 15.0) / 220.0, 0.0, 0.30).astype(np.float32)[..., None]
        lower += (np.array(scene.haze, np.float32) - lower) * mist
    image[first:] = np.rint(np.clip(lower, 0, 255)).astype(np.uint8)


def _cells(x: np.ndarray, y: np.ndarray, step: float) -> np.ndarray:
    """Which cell of a 256 x 256 texture, repeated every 256 steps, covers each place (metres)."""
    column, row = (np.floor(metres / step).astype(np.int64) & 255 for metres in (x, y))
    return column * 256 + row


def _draw_group(image: np.ndarray, group: Group, camera: Camera) -> None:
    corners = np.stack(group.polygons) if len({len(p) for p in group.polygons}) == 1 else None
    if corners is not None:
        depth, pixels = camera.depth_and_pixels(corners)
        if depth.min() > 0.5:
            height, width = image.shape[:2]
            low, high = pixels.min(axis=1), pixels.max(axis=1)
            seen = (high[:, 0] > 0) & (low[:, 0] < width) & (high[:, 1] > 0) & (low[:, 1] < height)
            for polygon, colour, shown in zip(fixed(pixels), group.colours, seen, strict=True):
                if shown:
                    cv2.fillConvexPoly(image, polygon, colour, cv2.LINE_AA, 4)
            return
    for polygon, colour in zip(group.polygons, group.colours, strict=True):
        pixels = camera.clipped(polygon)
        if pixels is not None:
            cv2.fillConvexPoly(image, fixed(pixels), colour, cv2.LINE_AA, 4)


def _draw_tree(image: np.ndarray, tree: Tree, camera: Camera) -> None:
    depth, pixels = camera.depth_and_pixels(np.array([tree.x, tree.y, 0.0]))
    unit = camera.focal / float(depth)
    size = tree.height * unit
    x, y = float(pixels[0]), float(pixels[1])
    width = image.shape[1]
    if x < -size or x > width + size:
        return
    rng = np.random.Generator(np.random.Philox(tree.seed))
    if tree.trunk > 0.05:
        wide = 0.022 * size
        trunk = np.array(
            [
                [x - wide, y],
                [x + wide, y],
                [x + wide * 0.6, y - size * 0.6],
                [x - wide * 0.6, y - size * 0.6],
            ]
        )
        cv2.fillConvexPoly(image, fixed(trunk), tree.bark, cv2.LINE_AA, 4)
    crown = size * (1.0 - tree.trunk)
    middle = y - size * tree.trunk - crown * 0.5
    count = int(np.clip(size * 0.8, 36, 100))
    turn, far = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    order = np.argsort(-np.sin(turn) * far)[::-1]
    tone_shift = rng.uniform(0.72, 1.18, count)
    # Fewer leaves are bigger ones, so that a crown is always closed.
    radius = crown * rng.uniform(0.05, 0.10, count) * (100.0 / count) ** 0.5
    high = np.sin(turn) * far
    cx = x + 0.40 * crown * np.cos(turn) * far
    cy = middle - 0.44 * crown * high
    light = (0.62 + 0.42 * (high + 1) / 2) * tone_shift
    centres = np.rint(np.clip(np.stack([cx, cy], axis=1), -2000, 3000) * 16).astype(int)
    sizes = np.rint(radius * 16).astype(int)
    colours = np.minimum(np.array(tree.leaf) * light[:, None], 255.0)
    for centre, size, colour in zip(
        centres[order].tolist(), sizes[order].tolist(), colours[order].tolist(), strict=True
    ):
        cv2.circle(image, centre, size, colour, -1, cv2.LINE_AA, 4)
