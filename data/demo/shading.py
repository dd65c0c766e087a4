"""Light, materials and the painter: from quads in space to coloured pixels."""

from dataclasses import dataclass

import cv2
import numpy as np

from camera import NEAR, Camera, fixed


@dataclass(frozen=True)
class Material:
    """How a surface answers light; colours are linear RGB in 0..1."""

    colour: tuple[float, float, float]
    mirror: float = 0.0  # reflectance seen head-on
    grazing: float = 0.0  # further reflectance at grazing view
    shine: float = 0.0  # strength of the sun's highlight
    glow: float = 0.0  # light of its own, in units of its colour


MATERIALS: dict[str, Material] = {
    "paint": Material((0.5, 0.5, 0.5), 0.065, 0.70, 1.0),  # the colour is the listing's
    "glass": Material((0.008, 0.010, 0.012), 0.17, 0.80, 1.2),
    "trim": Material((0.012, 0.012, 0.013), 0.02, 0.12, 0.05),
    "plastic": Material((0.030, 0.031, 0.033), 0.02, 0.15, 0.06),
    "dark": Material((0.004, 0.004, 0.004)),
    "gap": Material((0.014, 0.014, 0.015)),
    "tyre": Material((0.014, 0.014, 0.015), 0.01, 0.06, 0.02),
    "rim": Material((0.42, 0.43, 0.45), 0.14, 0.3, 0.5),
    "rim_dark": Material((0.035, 0.036, 0.040), 0.10, 0.3, 0.4),
    "well": Material((0.018, 0.018, 0.02)),
    "chrome": Material((0.30, 0.31, 0.32), 0.50, 0.4, 1.0),
    "lamp": Material((0.42, 0.44, 0.47), 0.25, 0.5, 1.0),
    "lamp_core": Material((0.80, 0.83, 0.88), 0.2, 0.3, 1.0, 0.35),
    "drl": Material((0.95, 0.97, 1.0), 0.1, 0.2, 0.5, 0.9),
    "tail": Material((0.40, 0.008, 0.010), 0.08, 0.4, 0.8, 0.10),
    "tail_core": Material((0.85, 0.03, 0.03), 0.08, 0.3, 0.8, 0.35),
    "reverse": Material((0.70, 0.70, 0.70), 0.1, 0.3, 0.5),
    "amber": Material((0.75, 0.22, 0.01), 0.1, 0.3, 0.5),
    "plate": Material((0.72, 0.72, 0.70), 0.02, 0.1),
    "ink": Material((0.02, 0.02, 0.03)),
}
NAMES: tuple[str, ...] = tuple(MATERIALS)
_TABLE = np.array([[*m.colour, m.mirror, m.grazing, m.shine, m.glow] for m in MATERIALS.values()])


@dataclass(frozen=True)
class Light:
    """One illumination of the scene; colours are linear RGB radiances."""

    sun: tuple[float, float, float]  # unit vector towards the light
    sun_colour: tuple[float, float, float]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    ground: tuple[float, float, float]
    skyline: float = 0.5  # how dark surroundings are in reflections at eye height
    strips: float = 0.0  # brightness of ceiling lamps in reflections, indoors
    shadow: float = 0.6  # how dark a cast shadow is
    dusk: bool = False  # some windows are lit


@dataclass(frozen=True)
class Paint:
    """A paint: linear RGB colour and its share of metallic flakes in 0..1."""

    colour: tuple[float, float, float]
    flakes: float
    dark_rims: bool = False


def tone(radiance: np.ndarray) -> np.ndarray:
    """Linear RGB radiances (..., 3) to display BGR, float64 in 0..255."""
    rgb = np.maximum(radiance, 0.0)
    rgb = rgb * (1.0 + rgb / 6.0) / (1.0 + rgb * 0.72)
    return 255.0 * np.clip(rgb, 0.0, 1.0)[..., ::-1] ** (1 / 2.2)


def ambient(light: Light, normals: np.ndarray) -> np.ndarray:
    """Sky and bounce light (..., 3) received by surfaces with unit `normals` (..., 3)."""
    up = 0.5 + 0.5 * normals[..., 2:3]
    sky = 0.5 * (np.array(light.zenith) + np.array(light.horizon))
    return sky * up**1.3 + np.array(light.ground) * 0.8 * (1 - up)


def surface(
    light: Light, albedo: tuple[float, float, float], normal: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Display BGR, 0..255, of a plain matt surface: what scenes are built from."""
    n = np.array(normal)
    direct = max(float(n @ np.array(light.sun)), 0.0) * np.array(light.sun_colour)
    b, g, r = tone(np.array(albedo) * (ambient(light, n) + direct))
    return float(b), float(g), float(r)


def surroundings(light: Light, rays: np.ndarray) -> np.ndarray:
    """Radiance (n, 3) that reflections see along unit `rays` (n, 3)."""
    rise = rays[:, 2:3]
    up = np.clip(rise, 0.0, 1.0)
    sky = np.array(light.horizon) + (np.array(light.zenith) - np.array(light.horizon)) * up**0.5
    turn = np.arctan2(rays[:, 1:2], rays[:, 0:1])
    # Uneven sky, so that windows do not look like cardboard.
    sky = sky * (1.0 + 0.28 * up * np.sin(2.0 * turn + 9.0 * rise) * (1.0 - light.strips * 0.2))
    # Roofs and trees around the car: a wavy dark band above the horizon.
    edge = 0.13 + 0.05 * np.sin(3.0 * turn + 1.0) + 0.03 * np.sin(11.0 * turn)
    band = np.clip((edge - rise) / 0.05, 0.0, 1.0)
    sky = sky * (1.0 - light.skyline * band)
    if light.strips:
        along = rays[:, 0:1] / np.maximum(rise, 0.30)
        lamps = np.clip(0.5 + 0.5 * np.sin(along * 2.6), 0.0, 1.0) ** 3
        lamps = lamps * np.clip((rise - 0.12) * 8.0, 0.0, 1.0)
        sky = sky + light.strips * lamps
    floor = np.array(light.ground) * (0.75 - 0.35 * np.clip(-rise, 0.0, 1.0))
    mix = np.clip((rise + 0.05) / 0.07, 0.0, 1.0)
    return floor + (sky - floor) * mix


def shade(
    light: Light,
    paint: Paint,
    material: np.ndarray,
    centres: np.ndarray,
    normals: np.ndarray,
    eye: np.ndarray,
) -> np.ndarray:
    """Display BGR (n, 3), uint8, of facets seen from `eye` (3,)."""
    rows = _TABLE[material]
    colour = rows[:, :3].copy()
    painted = material == NAMES.index("paint")
    colour[painted] = paint.colour
    if paint.dark_rims:
        colour[material == NAMES.index("rim")] = MATERIALS["rim_dark"].colour
    view = eye - centres
    view /= np.sqrt((view * view).sum(axis=1, keepdims=True))
    facing = np.clip((view * normals).sum(axis=1, keepdims=True), 0.0, 1.0)
    rays = 2.0 * facing * normals - view
    sun = np.array(light.sun)
    incidence = np.clip(normals @ sun, 0.0, 1.0)[:, None]
    # Close to the ground less sky is seen; it makes the car stand, not float.
    open_sky = np.clip(0.45 + centres[:, 2:3] * 0.9, 0.0, 1.0)
    soft = ambient(light, normals) * open_sky
    flakes = paint.flakes * painted[:, None]
    body = colour * (soft + incidence * np.array(light.sun_colour))
    body = body * (1.0 - 0.35 * flakes * (1.0 - facing))
    body = body * (1.0 + rows[:, 6:7] * 6.0)
    toward = np.clip(rays @ sun, 0.0, 1.0)[:, None]
    gloss = rows[:, 5:6] * (0.9 * toward**90 + 0.35 * flakes * toward**9)
    fresnel = rows[:, 3:4] + rows[:, 4:5] * (1.0 - facing) ** 4
    # A few flakes brighten the reflection with the paint's own colour.
    mirrored = surroundings(light, rays)
    radiance = (
        body * (1.0 - 0.6 * fresnel)
        + mirrored * fresnel
        + 0.18 * flakes * mirrored * colour
        + gloss * np.array(light.sun_colour)
    )
    return np.rint(tone(radiance)).astype(np.uint8)


def least(corners: np.ndarray) -> np.ndarray:
    """The smallest of each quad's four values; `corners` (4, n). Faster than min(axis=0)."""
    return np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3]))


def paint_quads(
    image: np.ndarray,
    camera: Camera,
    quads: np.ndarray,
    material: np.ndarray,
    layer: np.ndarray,
    turn: np.ndarray,
    light: Light,
    paint: Paint,
) -> None:
    """Draw world `quads` (n, 4, 3) on a BGR uint8 `image`, by layer, then turn, then depth.

    Quads turned away from the camera are left out (their vertices run anticlockwise as seen from
    outside), and so are those beside the picture.
    """
    eye = np.array(camera.position)
    # Written out by axis: numpy is slow over axes as short as these.
    ax, ay, az = (quads[:, 2] - quads[:, 0]).T
    bx, by, bz = (quads[:, 3] - quads[:, 1]).T
    normals = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)
    centres = (quads[:, 0] + quads[:, 1] + quads[:, 2] + quads[:, 3]) / 4.0
    toward = (eye - centres) * normals
    seen = toward[:, 0] + toward[:, 1] + toward[:, 2] > 1e-9
    depth, pixels = camera.depth_and_pixels(quads[seen])
    depth = depth.T
    x, y = pixels[..., 0].T, pixels[..., 1].T
    shown = least(depth) > NEAR
    shown &= (least(x) < image.shape[1] + 1) & (least(-x) < 1)
    shown &= (least(y) < image.shape[0] + 1) & (least(-y) < 1)
    if not shown.all():
        seen[seen] = shown
        depth, pixels = depth[:, shown], pixels[shown]
    if not seen.any():
        return
    normals, centres = normals[seen], centres[seen]
    normals /= np.sqrt((normals**2) @ np.ones((3, 1)))
    colours = shade(light, paint, material[seen], centres, normals, eye)
    middle = depth[0] + depth[1] + depth[2] + depth[3]
    order = np.lexsort((-middle, turn[seen], layer[seen]))
    points = fixed(pixels)[order]
    for polygon, bgr in zip(points, colours[order].tolist(), strict=True):
        cv2.fillConvexPoly(image, polygon, bgr, cv2.LINE_8, 4)
