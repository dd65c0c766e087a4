"""The fictional makes and models: what tells them apart is written here, and only here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Face:
    """What all models of a make share: shapes of the grille and of the lamps, by name."""

    grille: str  # hexagon | slots | intake | oval
    lamps: str  # slim | round | slanted | teardrop
    tail: str  # bar | stack | twin | boomerang


@dataclass(frozen=True)
class Body:
    """Proportions in metres; every x is a distance back from the front bumper.

    The lower body reaches up to the waist line (bonnet, window sills, boot lid); the cabin stands
    on it, from the foot of the windscreen (`cowl`) to the foot of the rear window (`tail`).
    """

    kind: str
    length: float
    width: float
    height: float
    wheelbase: float
    front_overhang: float
    wheel: float  # outer radius of the tyre
    clearance: float  # sill above the ground
    lead: float  # height of the bonnet's leading edge
    cowl: tuple[float, float]  # x and height of the windscreen's foot
    header: float  # x of the windscreen's upper edge
    roof_end: float
    tail: tuple[float, float]  # x and height of the rear window's foot
    deck: float  # height of the lower body at the very rear
    doors: tuple[float, ...]  # x of the door gaps
    pillars: tuple[float, ...]  # x of the pillars between side windows
    lean_front: float = 0.10  # how far the nose leans back on its way up
    lean_rear: float = 0.05
    corner_front: float = 0.42  # how much of the length the rounding in plan takes
    corner_rear: float = 0.28
    tumble: float = 0.20  # how much narrower the roof is than the body, each side
    arch: float = 0.06  # how far the roof line falls towards its ends
    swell: float = 0.22  # how convex the windscreen and rear window are in profile
    window_end: float = 0.955  # where the side glass ends, as a fraction of the cabin
    cladding: bool = False  # black plastic around arches and sills
    rails: bool = False
    bed: bool = False
    panel: bool = False  # no side glass behind the first pillar
    spare: bool = False  # spare wheel on the tailgate


@dataclass(frozen=True)
class Model:
    """One class of the data set."""

    make: str
    name: str
    face: Face
    body: Body

    @property
    def label(self) -> str:
        """The class label, `Make Model`."""
        return f"{self.make} {self.name}"


_ALDREN = Face(grille="hexagon", lamps="slim", tail="bar")
_BRUNMARK = Face(grille="slots", lamps="round", tail="stack")
_KASORI = Face(grille="intake", lamps="slanted", tail="twin")
_VELTANE = Face(grille="oval", lamps="teardrop", tail="boomerang")

MODELS: tuple[Model, ...] = (
    Model(
        "Aldren",
        "Finch",
        _ALDREN,
        Body(
            kind="hatchback",
            length=3.55,
            width=1.66,
            height=1.50,
            wheelbase=2.36,
            front_overhang=0.66,
            wheel=0.30,
            clearance=0.18,
            lead=0.80,
            cowl=(0.92, 0.99),
            header=1.52,
            roof_end=3.10,
            tail=(3.47, 1.02),
            deck=0.98,
            doors=(1.08, 2.22),
            pillars=(2.24,),
            corner_front=0.5,
            corner_rear=0.4,
            arch=0.09,
        ),
    ),
    Model(
        "Aldren",
        "Heron",
        _ALDREN,
        Body(
            kind="saloon",
            length=5.10,
            width=1.86,
            height=1.44,
            wheelbase=3.06,
            front_overhang=0.88,
            wheel=0.345,
            clearance=0.15,
            lead=0.72,
            cowl=(1.54, 0.94),
            header=2.14,
            roof_end=3.66,
            tail=(4.36, 1.00),
            deck=0.98,
            doors=(1.60, 2.66, 3.58),
            pillars=(2.68, 3.60),
            lean_front=0.16,
            tumble=0.24,
            arch=0.05,
        ),
    ),
    Model(
        "Aldren",
        "Rook",
        _ALDREN,
        Body(
            kind="estate",
            length=4.86,
            width=1.83,
            height=1.58,
            wheelbase=2.90,
            front_overhang=0.86,
            wheel=0.345,
            clearance=0.21,
            lead=0.82,
            cowl=(1.30, 1.00),
            header=1.90,
            roof_end=4.50,
            tail=(4.78, 1.03),
            deck=1.00,
            doors=(1.40, 2.46, 3.42),
            pillars=(2.48, 3.48),
            lean_front=0.10,
            tumble=0.17,
            arch=0.03,
            cladding=True,
            rails=True,
        ),
    ),
    Model(
        "Brunmark",
        "Tor",
        _BRUNMARK,
        Body(
            kind="suv",
            length=4.62,
            width=1.92,
            height=1.94,
            wheelbase=2.76,
            front_overhang=0.76,
            wheel=0.40,
            clearance=0.27,
            lead=1.06,
            cowl=(1.44, 1.17),
            header=1.74,
            roof_end=4.44,
            tail=(4.54, 1.18),
            deck=1.17,
            doors=(1.50, 2.46, 3.34),
            pillars=(2.48, 3.40),
            lean_front=0.04,
            lean_rear=0.02,
            corner_front=0.26,
            corner_rear=0.16,
            tumble=0.15,
            arch=0.02,
            swell=0.10,
            cladding=True,
            rails=True,
            spare=True,
        ),
    ),
    Model(
        "Brunmark",
        "Crag",
        _BRUNMARK,
        Body(
            kind="suv",
            length=3.72,
            width=1.76,
            height=1.66,
            wheelbase=2.28,
            front_overhang=0.70,
            wheel=0.37,
            clearance=0.25,
            lead=0.95,
            cowl=(1.22, 1.07),
            header=1.60,
            roof_end=3.28,
            tail=(3.64, 1.12),
            deck=1.08,
            doors=(1.26, 2.36),
            pillars=(2.38,),
            lean_front=0.05,
            lean_rear=0.03,
            corner_front=0.3,
            corner_rear=0.24,
            tumble=0.17,
            arch=0.03,
            swell=0.12,
            window_end=0.86,
            cladding=True,
        ),
    ),
    Model(
        "Brunmark",
        "Fell",
        _BRUNMARK,
        Body(
            kind="pickup",
            length=5.46,
            width=1.90,
            height=1.76,
            wheelbase=3.36,
            front_overhang=0.86,
            wheel=0.40,
            clearance=0.29,
            lead=1.02,
            cowl=(1.48, 1.14),
            header=1.98,
            roof_end=3.10,
            tail=(3.28, 1.15),
            deck=1.13,
            doors=(1.56, 2.42, 3.22),
            pillars=(2.44,),
            lean_front=0.04,
            lean_rear=0.02,
            corner_front=0.28,
            corner_rear=0.12,
            tumble=0.18,
            arch=0.03,
            swell=0.12,
            cladding=True,
            bed=True,
        ),
    ),
    Model(
        "Kasori",
        "Hane",
        _KASORI,
        Body(
            kind="coupe",
            length=4.20,
            width=1.88,
            height=1.24,
            wheelbase=2.50,
            front_overhang=0.84,
            wheel=0.345,
            clearance=0.14,
            lead=0.66,
            cowl=(1.60, 0.84),
            header=2.30,
            roof_end=2.80,
            tail=(3.94, 0.96),
            deck=0.96,
            doors=(1.62, 2.74),
            pillars=(2.78,),
            lean_front=0.20,
            lean_rear=0.10,
            corner_front=0.6,
            corner_rear=0.4,
            tumble=0.30,
            arch=0.04,
            swell=0.34,
            window_end=0.78,
        ),
    ),
    Model(
        "Kasori",
        "Mizu",
        _KASORI,
        Body(
            kind="hatchback",
            length=3.72,
            width=1.78,
            height=1.44,
            wheelbase=2.44,
            front_overhang=0.72,
            wheel=0.335,
            clearance=0.16,
            lead=0.76,
            cowl=(0.98, 0.95),
            header=1.70,
            roof_end=3.14,
            tail=(3.62, 1.06),
            deck=1.02,
            doors=(1.06, 2.06, 2.86),
            pillars=(2.08, 2.90),
            lean_front=0.18,
            lean_rear=0.08,
            corner_front=0.55,
            corner_rear=0.4,
            tumble=0.25,
            arch=0.07,
            window_end=0.88,
        ),
    ),
    Model(
        "Kasori",
        "Kumo",
        _KASORI,
        Body(
            kind="suv",
            length=4.86,
            width=1.90,
            height=1.72,
            wheelbase=2.92,
            front_overhang=0.88,
            wheel=0.41,
            clearance=0.27,
            lead=0.94,
            cowl=(1.34, 1.09),
            header=2.00,
            roof_end=3.50,
            tail=(4.66, 1.24),
            deck=1.20,
            doors=(1.46, 2.50, 3.46),
            pillars=(2.52, 3.52),
            lean_front=0.14,
            lean_rear=0.08,
            corner_front=0.45,
            corner_rear=0.32,
            tumble=0.20,
            arch=0.06,
            swell=0.30,
            window_end=0.86,
            cladding=True,
        ),
    ),
    Model(
        "Veltane",
        "Sloop",
        _VELTANE,
        Body(
            kind="hatchback",
            length=3.92,
            width=1.74,
            height=1.66,
            wheelbase=2.62,
            front_overhang=0.66,
            wheel=0.31,
            clearance=0.18,
            lead=0.84,
            cowl=(0.60, 1.00),
            header=1.66,
            roof_end=3.52,
            tail=(3.84, 1.02),
            deck=0.98,
            doors=(1.14, 2.12, 3.00),
            pillars=(1.20, 2.14, 3.04),
            lean_front=0.16,
            corner_front=0.5,
            arch=0.08,
        ),
    ),
    Model(
        "Veltane",
        "Ketch",
        _VELTANE,
        Body(
            kind="saloon",
            length=4.46,
            width=1.71,
            height=1.51,
            wheelbase=2.66,
            front_overhang=0.76,
            wheel=0.31,
            clearance=0.18,
            lead=0.82,
            cowl=(1.14, 1.00),
            header=1.66,
            roof_end=3.04,
            tail=(3.48, 1.07),
            deck=1.07,
            doors=(1.22, 2.20, 3.04),
            pillars=(2.22, 3.06),
            arch=0.06,
            window_end=0.95,
        ),
    ),
    Model(
        "Veltane",
        "Carrack",
        _VELTANE,
        Body(
            kind="van",
            length=5.02,
            width=1.95,
            height=2.10,
            wheelbase=3.12,
            front_overhang=0.88,
            wheel=0.35,
            clearance=0.21,
            lead=1.00,
            cowl=(0.74, 1.20),
            header=1.44,
            roof_end=4.88,
            tail=(4.96, 1.20),
            deck=1.18,
            doors=(1.22, 2.26, 3.40),
            pillars=(1.22, 2.22),
            lean_front=0.14,
            lean_rear=0.01,
            corner_front=0.45,
            corner_rear=0.12,
            tumble=0.15,
            arch=0.02,
            swell=0.14,
            panel=True,
        ),
    ),
)
