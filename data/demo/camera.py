"""A level pinhole camera with a shiftable image plane, so that uprights stay upright."""

from dataclasses import dataclass

import numpy as np

NEAR = 0.4  # metres; nothing nearer to the image plane is drawn


@dataclass(frozen=True)
class Camera:
    """World: x and y on the ground, z up, metres. Image: pixels, y down.

    `position` is (3,); `yaw` the viewing direction in radians about z; `focal` in pixels;
    (`cx`, `cy`) the pixel of the horizon straight ahead.
    """

    position: tuple[float, float, float]
    yaw: float
    focal: float
    cx: float
    cy: float

    def depth_and_pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth (...,) in metres and pixels (..., 2) of float64 world points (..., 3)."""
        dx = points[..., 0] - self.position[0]
        dy = points[..., 1] - self.position[1]
        dz = points[..., 2] - self.position[2]
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        depth = dx * cos + dy * sin
        right = dx * sin - dy * cos
        safe = np.maximum(depth, 1e-6)
        pixels = np.stack(
            [self.cx + self.focal * right / safe, self.cy - self.focal * dz / safe], axis=-1
        )
        return depth, pixels

    def scaled(self, factor: float) -> "Camera":
        """The same view on an image `factor` times as large."""
        return Camera(
            self.position, self.yaw, self.focal * factor, self.cx * factor, self.cy * factor
        )

    def clipped(self, polygon: np.ndarray) -> np.ndarray | None:
        """Pixels (k, 2) of a convex world polygon (n, 3) cut at the near plane, or None."""
        depth = (polygon[:, 0] - self.position[0]) * np.cos(self.yaw) + (
            polygon[:, 1] - self.position[1]
        ) * np.sin(self.yaw)
        if (depth < NEAR).all():
            return None
        if (depth < NEAR).any():
            kept = []
            for i in range(len(polygon)):
                j = (i + 1) % len(polygon)
                if depth[i] >= NEAR:
                    kept.append(polygon[i])
                if (depth[i] >= NEAR) != (depth[j] >= NEAR):
                    t = (NEAR - depth[i]) / (depth[j] - depth[i])
                    kept.append(polygon[i] + t * (polygon[j] - polygon[i]))
            polygon = np.array(kept)
        return self.depth_and_pixels(polygon)[1]

    def ground(
        self, columns: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World x, y and depth on the ground seen at pixel `columns`, `rows` below the horizon."""
        depth = self.focal * self.position[2] / np.maximum(rows - self.cy, 1e-3)
        right = (columns - self.cx) / self.focal * depth
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return (
            self.position[0] + depth * cos + right * sin,
            self.position[1] + depth * sin - right * cos,
            depth,
        )


def fixed(pixels: np.ndarray) -> np.ndarray:
    """Pixels to OpenCV's 1/16 pixel fixed point (shift=4), kept within what it can draw."""
    return np.rint(np.clip(pixels, -8000.0, 8000.0) * 16.0 - 8.0).astype(np.int32)


def frame_vehicle(
    corners: np.ndarray,
    azimuth: float,
    height: float,
    lens: float,
    size: tuple[int, int],
    fill: float,
    place: tuple[float, float],
) -> Camera:
    """A camera placed so that the vehicle fills the picture as asked.

    `corners` (n, 3) outline points of a vehicle at the origin heading along x; `azimuth` radians
    from its nose; `height` metres; `lens` focal length in longer sides of the picture; `size`
    (width, height) in pixels; `fill` the larger of the vehicle's shares of the picture's width and
    height; `place` where the middle of the vehicle's box lies, in fractions of the picture.
    """
    width, tall = size
    focal = lens * max(width, tall)
    distance = 8.0
    for _ in range(6):
        position = (distance * np.cos(azimuth), distance * np.sin(azimuth), height)
        camera = Camera(position, azimuth + np.pi, focal, 0.0, 0.0)
        _, pixels = camera.depth_and_pixels(corners)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        share = max((high[0] - low[0]) / width, (high[1] - low[1]) / tall)
        distance = max(distance * share / fill, 4.2)
    middle = (low + high) / 2
    return Camera(
        position, azimuth + np.pi, focal, place[0] * width - middle[0], place[1] * tall - middle[1]
    )
