"""Plans the data set: which listings there are and what each of their photos shows."""

from dataclasses import dataclass

import cv2
import numpy as np

from bodies import outline
from camera import frame_vehicle
from catalogue import MODELS
from finish import Dealer, add_grain, encode, expose, grade, soften
from paints import deal_colours, mix_paint
from scenes import KINDS, Scene, build_scene, draw_background
from vehicles import (
    Vehicle,
    bounding_box,
    cast_shadow,
    draw_reflection,
    draw_vehicle,
)

# Width and height in pixels; sizes that are repeated are more frequent.
SIZES = ((480, 360), (480, 360), (480, 320), (512, 384), (540, 360), (400, 400), (420, 560))
# Number of photos of a listing: its frequency. Many small listings show more vehicles.
FREQUENT = {2: 4.0, 3: 3.0, 4: 2.0, 5: 1.0}
OVERSAMPLING = 2


@dataclass(frozen=True)
class Listing:
    """Some photos of one vehicle."""

    number: int  # from 1
    model: int  # index into catalogue.MODELS
    photos: int
    colour: int  # index into paints.PALETTE

    @property
    def name(self) -> str:
        """Its id, as in labels.csv."""
        return f"L{self.number:04d}"


@dataclass(frozen=True)
class Shot:
    """A finished photo: file name, JPEG bytes, vehicle box, degrees between nose and view."""

    listing: Listing
    path: str
    jpeg: bytes
    box: tuple[int, int, int, int]
    turned: float


def generator(seed: int, *key: int) -> np.random.Generator:
    """The random numbers of one listing or photo: a function of `seed` and `key` alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *key])))


def plan_listings(seed: int, photos_per_model: int) -> list[Listing]:
    """Listings of 2 to 5 photos, `photos_per_model` in all for each model, in shuffled order."""
    rng = generator(seed, 0)
    planned: list[tuple[int, int, int]] = []
    for model in range(len(MODELS)):
        sizes = _listing_sizes(rng, photos_per_model)
        colours = deal_colours(rng, len(sizes))
        planned += [(model, *pair) for pair in zip(sizes, colours, strict=True)]
    # Numbered in the order of the catalogue, listings would give their class away.
    order = rng.permutation(len(planned))
    return [Listing(i + 1, *planned[k]) for i, k in enumerate(order)]


def _listing_sizes(rng: np.random.Generator, photos: int) -> list[int]:
    """Sizes of 2 to 5 that add up to `photos`; small ones are more frequent."""
    sizes: list[int] = []
    while left := photos - sum(sizes):
        # A listing has at least two photos, so one photo must not be left over.
        choices = np.array([n for n in FREQUENT if n <= left and left - n != 1])
        weights = np.array([FREQUENT[int(n)] for n in choices])
        sizes.append(int(rng.choice(choices, p=weights / weights.sum())))
    return sizes


def draw_vehicle_for(seed: int, listing: Listing) -> Vehicle:
    """The listing's vehicle; its rims do not depend on its class."""
    rng = generator(seed, listing.number, 0)
    return Vehicle(listing.model, mix_paint(rng, listing.colour), int(rng.integers(4)))


def _azimuth(rng: np.random.Generator, index: int) -> float:
    """Mostly three-quarter views, as in listings; radians from the nose, either side."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    view = rng.random()
    if index == 0 or view < 0.45:
        degrees = rng.uniform(30, 52)
    elif view < 0.55:
        degrees = rng.uniform(82, 98)
    else:
        degrees = rng.uniform(128, 148)
    return float(np.deg2rad(side * degrees))


def draw_kind(rng: np.random.Generator) -> str:
    """The background of a listing, one of ``KINDS``: the first that its generator draws."""
    return str(rng.choice(list(KINDS), p=list(KINDS.values())))


def render_listing(
    seed: int, listing: Listing, quality: tuple[int, int], banners: float
) -> list[Shot]:
    """All photos of one listing.

    `quality` is the range of JPEG qualities; `banners` the share of sellers whose style is used.
    """
    cv2.setNumThreads(1)  # one process per core already
    rng = generator(seed, listing.number, 1)
    vehicle = draw_vehicle_for(seed, listing)
    scene = build_scene(draw_kind(rng), rng)
    dealer = Dealer(rng)
    shown = rng.random() < banners
    size = SIZES[int(rng.integers(len(SIZES)))]
    return [
        _render_photo(
            generator(seed, listing.number, 2 + i),
            listing,
            i,
            vehicle,
            scene,
            size,
            dealer if shown else None,
            quality,
        )
        for i in range(listing.photos)
    ]


def _render_photo(
    rng: np.random.Generator,
    listing: Listing,
    index: int,
    vehicle: Vehicle,
    scene: Scene,
    size: tuple[int, int],
    dealer: Dealer | None,
    quality: tuple[int, int],
) -> Shot:
    portrait = size[1] > size[0]
    azimuth = _azimuth(rng, index)
    camera = frame_vehicle(
        outline(vehicle.model),
        azimuth,
        float(rng.uniform(1.5, 1.75)),
        float(rng.uniform(1.4, 2.0)),
        size,
        float(rng.uniform(0.84, 0.95) if portrait else rng.uniform(0.66, 0.90)),
        (float(rng.uniform(0.46, 0.54)), float(rng.uniform(0.53, 0.60))),
    )
    image = compose(scene, camera, vehicle, size)
    image = grade(
        image, expose(image) * float(rng.uniform(0.92, 1.14)), float(rng.uniform(0.15, 0.75))
    )
    image = add_grain(image, float(rng.uniform(0.5, 3.0)), rng)
    if rng.random() < 0.1:
        image = soften(image, float(rng.uniform(0.55, 0.8)))
    if dealer is not None:
        dealer.stamp(image)
    box = bounding_box(camera, vehicle, size)
    jpeg = encode(image, int(rng.integers(quality[0], quality[1] + 1)))
    return Shot(
        listing, f"{listing.name}-{index + 1}.jpg", jpeg, box, float(np.abs(np.rad2deg(azimuth)))
    )


def compose(scene: Scene, camera, vehicle: Vehicle, size: tuple[int, int]) -> np.ndarray:
    """Scene, other vehicles and the vehicle as BGR uint8 of `size` (width, height)."""
    image = draw_background(scene, camera, size)
    reach = float(camera.depth_and_pixels(np.zeros(3))[0])
    box = bounding_box(camera, vehicle, size)
    behind = []
    for other in scene.others:
        depth = float(camera.depth_and_pixels(np.array([other.x, other.y, 0.5]))[0])
        area = bounding_box(camera, other, size) if depth > 3.0 else None
        if area is None or depth > 45.0:
            continue
        nearer = depth < reach + 1.2
        apart = area[2] <= box[0] or area[0] >= box[2]
        if nearer and not apart:
            continue  # it would hide the vehicle that is for sale
        behind.append((depth, other))
    behind.sort(key=lambda pair: -pair[0])
    for _, other in behind:
        cast_shadow(image, camera, other, scene.light)
    cast_shadow(image, camera, vehicle, scene.light)
    large = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
    image = cv2.resize(image, large, interpolation=cv2.INTER_LINEAR_EXACT)
    near = camera.scaled(OVERSAMPLING)
    if scene.polish:
        for _, other in behind:
            draw_reflection(image, near, other, scene.light, scene.polish)
        draw_reflection(image, near, vehicle, scene.light, scene.polish)
    for _, other in behind:
        draw_vehicle(image, near, other, scene.light, fine=False)
    draw_vehicle(image, near, vehicle, scene.light, fine=True)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
