"""Draws a vehicle into a picture: its shadow on the ground, itself, its reflection in the floor."""

from dataclasses import dataclass

import cv2
import numpy as np

from bodies import LAYERS, Mesh, build, outline
from camera import NEAR, Camera, fixed
from shading import Light, Paint, paint_quads


@dataclass(frozen=True)
class Vehicle:
    """One vehicle of a scene: which model, how painted, where (metres, radians)."""

    model: int  # index into catalogue.MODELS
    paint: Paint
    rim: int
    x: float = 0.0
    y: float = 0.0
    heading: float = 0.0

    def mesh(self, fine: bool) -> Mesh:
        """The mesh it is drawn from, at the origin."""
        return build(self.model, self.rim, fine)

    def placed(self, points: np.ndarray) -> np.ndarray:
        """Mesh points (..., 3) in the world."""
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        return np.stack(
            [
                points[..., 0] * cos - points[..., 1] * sin + self.x,
                points[..., 0] * sin + points[..., 1] * cos + self.y,
                points[..., 2],
            ],
            axis=-1,
        )


def _order(mesh: Mesh, vehicle: Vehicle, camera: Camera) -> np.ndarray:
    """Layers for this camera: parts that stick out on the far side are painted early."""
    dx, dy = camera.position[0] - vehicle.x, camera.position[1] - vehicle.y
    ahead = dx * np.cos(vehicle.heading) + dy * np.sin(vehicle.heading)
    left = -dx * np.sin(vehicle.heading) + dy * np.cos(vehicle.heading)
    layer = mesh.layer.copy()
    layer[(mesh.side != 0) & (mesh.side != (1 if left > 0 else -1))] = LAYERS.index("far_mirror")
    if ahead > 0:
        layer[layer == LAYERS.index("extra")] = 0
    return layer


def draw_vehicle(
    image: np.ndarray, camera: Camera, vehicle: Vehicle, light: Light, fine: bool
) -> None:
    """Draw `vehicle` on the BGR uint8 `image`."""
    mesh = vehicle.mesh(fine)
    paint_quads(
        image,
        camera,
        vehicle.placed(mesh.quads),
        mesh.material,
        _order(mesh, vehicle, camera),
        mesh.turn,
        light,
        vehicle.paint,
    )


def draw_reflection(
    image: np.ndarray, camera: Camera, vehicle: Vehicle, light: Light, strength: float
) -> None:
    """Blend the vehicle's mirror image in a polished floor into `image`."""
    mesh = vehicle.mesh(False)
    quads = vehicle.placed(mesh.quads)[:, ::-1] * np.array([1.0, 1.0, -1.0])
    layer = _order(mesh, vehicle, camera)
    # The mirrored vehicle is seen from below the waist, so its cabin is behind the lower body.
    above = (layer >= LAYERS.index("cabin")) & (layer != LAYERS.index("near_mirror"))
    layer = np.where(above, layer - len(LAYERS), layer)
    mirrored = image.copy()
    paint_quads(mirrored, camera, quads, mesh.material, layer, mesh.turn, light, vehicle.paint)
    mirrored = cv2.blur(mirrored, (5, 9))
    cv2.addWeighted(mirrored, strength, image, 1.0 - strength, 0.0, dst=image)


def silhouette(shape: tuple[int, int], camera: Camera, vehicle: Vehicle) -> np.ndarray:
    """Mask (rows, columns), uint8 0 or 255, of the pixels that the vehicle covers."""
    mask = np.zeros(shape, np.uint8)
    mesh = vehicle.mesh(True)
    depth, pixels = camera.depth_and_pixels(vehicle.placed(mesh.quads))
    for polygon in fixed(pixels[depth.min(axis=1) > NEAR]):
        cv2.fillConvexPoly(mask, polygon, 255, cv2.LINE_8, 4)
    return mask


def bounding_box(
    camera: Camera, vehicle: Vehicle, size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Tight box (x1, y1, x2, y2), pixels, ends exclusive, cut at the picture; None if outside."""
    depth, pixels = camera.depth_and_pixels(vehicle.placed(outline(vehicle.model)))
    if depth.min() < NEAR:
        return None
    low = np.floor(np.round(pixels.min(axis=0), 6)).astype(int)
    high = np.ceil(np.round(pixels.max(axis=0), 6)).astype(int)
    x1, y1 = max(int(low[0]), 0), max(int(low[1]), 0)
    x2, y2 = min(int(high[0]), size[0]), min(int(high[1]), size[1])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def cast_shadow(image: np.ndarray, camera: Camera, vehicle: Vehicle, light: Light) -> None:
    """Darken the ground under and beside the vehicle on the BGR uint8 `image`."""
    mesh = vehicle.mesh(False)
    depth = camera.depth_and_pixels(np.array([[vehicle.x, vehicle.y, 0.0]]))[0][0]
    if depth < 2.0:
        return
    unit = camera.focal / depth  # pixels to a metre, at the vehicle
    height, width = image.shape[:2]
    sun = np.array(light.sun)
    plan = np.concatenate([mesh.footprint, np.zeros((len(mesh.footprint), 1))], axis=1)
    wide, contact, cast = np.zeros((3, height, width), np.uint8)
    for mask, grow in ((wide, 1.10), (contact, 0.97)):
        polygon = camera.clipped(vehicle.placed(plan * grow))
        if polygon is not None:
            cv2.fillPoly(mask, [fixed(polygon)], 255, cv2.LINE_8, 4)
    if light.shadow > 0.15:
        for layers in (("lower", "deck"), ("cabin",)):
            chosen = np.isin(mesh.layer, [LAYERS.index(name) for name in layers])
            points = vehicle.placed(mesh.quads[chosen].reshape(-1, 3))
            flat = points - sun * (points[:, 2:3] / sun[2])
            deep, pixels = camera.depth_and_pixels(flat)
            hull = cv2.convexHull(np.rint(pixels[deep > NEAR] * 16).astype(np.int32))
            cv2.fillConvexPoly(cast, hull, 255, cv2.LINE_8, 4)
    softness = [
        (wide, unit * 0.42, 0.50 + 0.25 * (1.0 - light.shadow)),
        (contact, unit * 0.10, 0.72),
        (cast, unit * (0.06 + 0.5 * (1.0 - light.shadow) ** 2), light.shadow),
    ]
    # What follows costs time for every pixel, so it is done only where there is shade.
    left, top, across, down = cv2.boundingRect(wide | contact | cast)
    rim = int(max(radius for _, radius, _ in softness)) + 2
    part = np.s_[max(top - rim, 0) : top + down + rim, max(left - rim, 0) : left + across + rim]
    dark = np.full(wide[part].shape, 255, np.uint16)
    for mask, radius, strength in softness:
        dark = dark * _darken(_soften(mask[part], radius), strength) // 255
    image[part] = (image[part].astype(np.uint16) * dark[..., None] // 255).astype(np.uint8)


def _darken(mask: np.ndarray, strength: float) -> np.ndarray:
    """Factors in 0..255 (uint16) that darken by `strength` where the mask is full."""
    share = round(strength * 256)
    return (255 - (mask.astype(np.uint16) * share >> 8)).astype(np.uint16)


def _soften(mask: np.ndarray, radius: float) -> np.ndarray:
    # Odd sizes only: OpenCV 5.0.0 blurs a black mask by (2, 1) into one that is not black.
    size = int(radius) | 1
    for _ in range(2):
        mask = cv2.blur(mask, (size, size // 2 | 1))
    return mask
