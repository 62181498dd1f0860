"""Streets: the built-in data set, street scenes drawn from a seed; no files needed.

Made for trying and testing active learning: classes have a long tail, light and weather are skewed, and
frames come in runs of near-duplicates as from a video, so that which images are labeled matters.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from itertools import count
from typing import Any, TypeVar, get_args

import numpy as np

from seg_al.config import UserError, nearest
from seg_al.data.base import Split
from seg_al.data.cityscapes_classes import CityscapesClasses
from seg_al.data.streets_drawing import (
    BICYCLE,
    BUILDING,
    FENCE,
    MOTORCYCLE,
    RGB,
    VEGETATION,
    WALL,
    Air,
    Scene,
    Street,
    Thing,
    render,
)
from seg_al.data.streets_things import Bin, Building, Cycle, Person, Post, Screen, Tree, Vehicle

T = TypeVar("T")

# Out of every 20 consecutive runs of a split, so many have what stands here: dealt like cards, shuffled
# anew for each 20. Chance alone would leave small splits without the rare ones.
_DEAL = 20
_TIMES = ("day",) * 13 + ("dusk",) * 4 + ("night",) * 3
_WEATHERS = ("clear",) * 10 + ("overcast",) * 4 + ("rain",) * 3 + ("snow",) * 2 + ("fog",)
_PLACES = ("city",) * 10 + ("suburb",) * 5 + ("park",) * 3 + ("country",) * 2
_RARE = {
    "train": 1,
    "bus": 1,
    "motorcycle": 1,
    "wall": 1,
    "truck": 2,
    "cyclist": 1,
    "bicycles": 2,
    "fence": 3,
    "traffic light": 4,
    "person": 9,
    "traffic sign": 10,
}


class Streets(CityscapesClasses):
    """Street scenes drawn from a seed, with the 19 classes of Cityscapes and 255 = ignore.

    A frame depends on `scene_seed`, its split, run and number, and on `native`; on nothing else. In any
    20 consecutive runs of a split (from a multiple of 20 on) every class occurs.

    Raises (on construction):
        UserError: a number out of range; names the setting.
    """

    train: int = 400
    """Number of frames in the pool."""

    val: int = 50
    """Number of frames for validation."""

    test: int = 100
    """Number of frames for the test."""

    native: tuple[int, int] = (120, 160)
    """Height and width at which scenes are drawn; detail grows with them."""

    run_length: int = 5
    """Frames of one run, near-duplicates as in a video; 1 = no redundancy."""

    scene_seed: int = 0
    """Which world is drawn; independent of the experiment's seed, so that all seeds share the data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("train", 1), ("val", 0), ("test", 0), ("run_length", 1), ("scene_seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"Streets.{name} must be at least {least}, not {getattr(self, name)}")
        if min(self.native) < 16:
            raise UserError(f"Streets.native must be at least 16 pixels high and wide, not {self.native}")

    def samples(self, split: Split) -> StreetSamples:
        """Return one split; frames are drawn when read.

        Raises:
            UserError: an unknown split.
        """
        if split not in get_args(Split):
            raise UserError(f"Streets has no split {split!r}{nearest(str(split), get_args(Split))}")
        return StreetSamples(self, split)


KEPT_BYTES = 64 * 2**20
"""Drawn frames that a split keeps in memory, whatever the size of the pool."""


class StreetSamples:
    """One split of Streets; see Samples for the contract."""

    def __init__(self, streets: Streets, split: Split) -> None:
        self._streets = streets
        self._split = get_args(Split).index(split)
        frames, length = getattr(streets, split), streets.run_length
        self.ids: Sequence[str] = tuple(f"{split}/run{i // length:03d}_frame{i % length:02d}" for i in range(frames))
        self._drawn: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # the first in is the first out

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_drawn": {}}  # a worker draws its own

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray:
        """Return the frame, (H, W, 3) uint8 RGB of the size `native`."""
        if index not in self._drawn:
            scene, frame = self._place(index)
            image, mask = render(scene, frame, *self._streets.native)
            assert image is not None
            self._drawn[index] = (image, mask)
            if len(self._drawn) > max(1, KEPT_BYTES // (image.nbytes + mask.nbytes)):
                del self._drawn[next(iter(self._drawn))]
        return self._drawn[index][0].copy()

    def target(self, index: int) -> np.ndarray:
        """Return the frame's train ids, (H, W) uint8 with 255 = ignore."""
        if index in self._drawn:
            return self._drawn[index][1].copy()
        scene, frame = self._place(index)
        return render(scene, frame, *self._streets.native, with_image=False)[1]

    def run(self, index: int) -> int:
        """Return the number of the run a frame belongs to; frames of a run are near-duplicates."""
        return range(len(self))[index] // self._streets.run_length

    def mode(self, index: int) -> tuple[str, str]:
        """Return time of day (day, dusk, night) and weather (clear, overcast, rain, snow, fog) of a frame."""
        hand = _hand(self._streets.scene_seed, self._split, self.run(index))
        return hand["time"], hand["weather"]

    def rough(self, index: int) -> bool:
        """Tell whether a frame is by night, in snow or in fog, which are rare."""
        time, weather = self.mode(index)
        return time == "night" or weather in ("snow", "fog")

    def _place(self, index: int) -> tuple[Scene, int]:
        scene = _scene(self._streets.scene_seed, self._split, self.run(index))
        return scene, range(len(self))[index] % self._streets.run_length


@functools.lru_cache(maxsize=128)
def _scene(scene_seed: int, split: int, run: int) -> Scene:
    seed = (scene_seed, split, run)
    return _Layout(_hand(*seed), seed).scene()


def _hand(scene_seed: int, split: int, run: int) -> dict[str, Any]:
    """Deal time, weather, place and rare things to a run."""
    deal, position = divmod(run, _DEAL)
    rng = np.random.default_rng([scene_seed, split, deal, 0])
    hand: dict[str, Any] = {}
    for name, deck in (("time", _TIMES), ("weather", _WEATHERS), ("place", _PLACES)):
        hand[name] = deck[rng.permutation(_DEAL)[position]]
    hand["rare"] = {name for name, share in _RARE.items() if rng.permutation(_DEAL)[position] < share}
    return hand


_FACADES: tuple[RGB, ...] = (
    (196, 176, 146), (172, 104, 82), (158, 156, 152), (214, 204, 186), (186, 150, 108),
    (150, 116, 98), (204, 190, 158), (136, 140, 148), (190, 134, 112), (176, 184, 176),
)  # fmt: skip
_PAINTS: tuple[RGB, ...] = (
    (214, 216, 220), (34, 36, 42), (146, 150, 156), (98, 102, 110), (152, 28, 32), (36, 66, 128),
    (232, 232, 228), (60, 84, 70), (120, 96, 74), (70, 110, 150),
)  # fmt: skip
# Trucks, buses and trains share their colours: shape must tell them apart.
_FLEET: tuple[RGB, ...] = ((206, 60, 44), (230, 178, 52), (232, 232, 226), (48, 98, 168), (70, 134, 88))
_COATS: tuple[RGB, ...] = (
    (150, 40, 44), (40, 56, 98), (58, 60, 62), (196, 170, 120), (64, 104, 84), (208, 206, 200),
    (120, 74, 120), (214, 140, 50),
)  # fmt: skip
_TROUSERS: tuple[RGB, ...] = ((44, 50, 70), (36, 36, 38), (92, 84, 74), (70, 82, 110))
_SKINS: tuple[RGB, ...] = ((226, 186, 160), (198, 150, 120), (142, 98, 74), (96, 66, 50))
_LEAVES: tuple[RGB, ...] = ((62, 96, 42), (78, 108, 48), (54, 84, 50), (96, 112, 44), (70, 92, 36))
_LANE = 3.3


class _Layout:
    """Furnishes the street of one run; everything drawn at random comes from the run's own generator."""

    def __init__(self, hand: dict[str, Any], seed: tuple[int, int, int]) -> None:
        self.hand, self.seed = hand, seed
        rng = np.random.default_rng([*seed, 1])
        self.random = (number for _ in count() for number in rng.random(256).tolist()).__next__
        self.things: list[Thing] = []

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]

    def scene(self) -> Scene:
        place, rare = self.hand["place"], self.hand["rare"]
        town = place in ("city", "suburb")
        opposing = 2 if place == "city" and self.chance(0.35) else 1
        extra = 1 if place == "city" and self.chance(0.3) else 0
        parking = {s: 2.3 if self.chance({"city": 0.6, "suburb": 0.5}.get(place, 0.0)) else 0.0 for s in (-1, 1)}
        edge = {-1: -1.75 - _LANE * opposing - parking[-1], 1: 1.75 + _LANE * extra + parking[1]}
        walk = {s: self.uniform(2.0, 4.2) if town or (place == "park" and self.chance(0.6)) else 0.0 for s in (-1, 1)}
        lights = "traffic light" in rare
        crossing = self.uniform(13, 22) if lights or (town and self.chance(0.25)) else None
        ahead = "train" in rare and self.chance(0.4)
        rails = () if "train" not in rare else ((0.0,) if ahead else (-_LANE,))
        grey, warm = self.uniform(78, 112), self.uniform(-5, 5)
        stone = self.uniform(140, 178)
        street = Street(
            left=edge[-1],
            right=edge[1],
            centre=-1.7,
            borders=tuple([1.7] * extra + [-1.7 - _LANE] * (opposing - 1)),
            walk_left=walk[-1],
            walk_right=walk[1],
            paved=place == "city",
            crossing=crossing,
            rails=rails,
            patches=tuple(
                (self.uniform(edge[-1], edge[1] - 1), self.uniform(3, 30), self.uniform(0.6, 2), self.uniform(0.8, 5))
                for _ in range(int(self.uniform(0, 5)))
            ),
            asphalt=(grey + warm, grey, grey - warm * 0.5),
            paving=(stone + 4, stone, stone - 8 + warm),
            grass=(self.uniform(92, 134), self.uniform(112, 132), self.uniform(58, 78)),
        )
        self.street, self.edge, self.walk, self.parking = street, edge, walk, parking
        self.screened = self.pick((-1, 1))  # the side on which a wall or a fence stands
        for side in (-1, 1):
            self._roadside(side)
            self._furniture(side)
            self._parked(side)
        self._traffic(opposing, extra, ahead)
        self._people()
        natural = place in ("park", "country") or self.chance(0.25)
        levels = [self.uniform(0.01, 0.05 if natural else 0.09) for _ in range(9)]
        n = 40
        wave = [levels[i // 5] if not natural else 0.5 * (levels[i // 5] + levels[(i + 2) // 5]) for i in range(n)]
        return Scene(
            air=Air(self.hand["time"], self.hand["weather"]),
            street=street,
            things=tuple(self.things),
            skyline=tuple(w + (0.008 * math.sin(i * 2.1) if natural else 0.0) for i, w in enumerate(wave)),
            skyline_label=VEGETATION if natural else BUILDING,
            horizon=self.uniform(0.4, 0.5),
            focal=self.uniform(0.78, 0.98),
            eye=self.uniform(1.4, 2.0),
            bend=self.uniform(-0.0022, 0.0022) if self.chance(0.5) else 0.0,
            speed=self.uniform(0.1, 0.55) if self.chance(0.8) else 0.0,
            sway=self.uniform(0.0, 0.12),
            sun=self.uniform(0.35, 1.1) * self.pick((-1, 1)),
            hood=self.chance(0.7),
            seed=self.seed,
        )

    # --- what lines the street ------------------------------------------------------------------

    def _roadside(self, side: int) -> None:
        """Buildings, gardens, trees, and the wall or fence where one is due."""
        place, rare = self.hand["place"], self.hand["rare"]
        line = self.edge[side] + side * self.walk[side]
        setback = {"city": 0.0, "suburb": self.uniform(3, 7), "park": 4.0, "country": 6.0}[place]
        front = line + side * setback
        screen = None
        if side == self.screened and "wall" in rare:
            screen = (WALL, self.uniform(1.9, 3.0), self.pick(((168, 158, 146), (150, 104, 84), (176, 174, 170))))
        elif side == self.screened and "fence" in rare:
            screen = (FENCE, self.uniform(1.2, 1.9), self.pick(((150, 118, 84), (128, 132, 134), (208, 206, 198))))
        reach = 0.0
        if screen is not None:
            label, height, rgb = screen
            start, reach = self.uniform(2, 6), self.uniform(28, 48)
            self._screen(label, line + side * 0.2, start, reach, height, rgb)
            if place == "city":
                front = line + side * 6  # the yard behind it
        z = -6.0 - self.uniform(0, 8)
        while z < 108:
            gap = self.street.crossing
            if gap is not None and gap - 14 < z < gap + 8:
                if z < gap - 7:  # room for one short house before the corner
                    z = self._lot(place, side, front, z, gap - 1.5 - z)
                z = max(z, gap + 8.5)
            z = self._lot(place, side, front, z, 99.0)
        hedge = screen is None and place in ("suburb", "park") and self.chance(0.45)
        if hedge:
            self._screen(VEGETATION, line + side * 0.5, -2, 60, self.uniform(0.7, 1.5), self.pick(_LEAVES))
        if place == "city" and self.walk[side] > 2.4 and self.chance(0.45):  # an avenue
            spacing, x = self.uniform(8, 13), self.edge[side] + side * 0.8
            for k in range(9):
                self._tree(x, self.uniform(3, 5) + spacing * k, self.uniform(1.2, 1.9), 2.8)

    def _screen(self, label: int, x: float, z: float, reach: float, height: float, rgb: RGB) -> None:
        gap = self.street.crossing
        pieces = [(z, reach)] if gap is None else [(z, gap - 1 - z), (gap + 8, reach - gap - 8)]
        for start, length in pieces:
            while length > 0.5:  # short lengths, so that depth order stays right
                piece = min(length, 9.0)
                self.things.append(Screen(x, start, length=piece, label=label, height=height, rgb=rgb))
                start, length = start + piece, length - piece

    def _lot(self, place: str, side: int, front: float, z: float, room: float) -> float:
        """Furnish one lot from z on and return where the next one begins."""
        if place == "city" and not self.chance(0.1):
            length = min(self.uniform(8, 17), room)
            self._building(front, z, length, self.uniform(9, 24), 0.0, self.chance(0.45))
            return z + length
        if place == "suburb" and self.chance(0.72):
            length = min(self.uniform(7, 12), room)
            self._building(front, z, length, self.uniform(4.5, 7), self.uniform(1.8, 3.0), False)
            if self.chance(0.6):
                self._tree(
                    front - side * self.uniform(0.8, 1.6),
                    z + length + 1.5,
                    self.uniform(1.0, 2.0),
                    self.uniform(1.2, 2.4),
                )
            return z + length + self.uniform(2, 5)
        width = min(self.uniform(4, 8), room)
        if place == "country" and self.chance(0.45):
            return z + width * 1.5
        if place == "country" and self.chance(0.07):
            self._building(front + side * 8, z, 11, 5, 2.6, False)
            return z + 14
        for _ in range(1 if place == "city" else 2):
            x = front + side * self.uniform(0.5, 3 if place == "city" else 12)
            big = self.chance(0.7)
            self._tree(
                x,
                z + self.uniform(0.2, 0.9) * width,
                self.uniform(1.6, 3.0) if big else self.uniform(0.6, 1.1),
                self.uniform(1.6, 3.2) if big else 0.0,
            )
        return z + width

    def _building(self, x: float, z: float, length: float, height: float, roof: float, shop: bool) -> None:
        rgb = self.pick(_FACADES)
        tone = self.uniform(0.82, 1.12)
        rgb = (rgb[0] * tone, rgb[1] * tone, rgb[2] * tone)
        self.things.append(
            Building(x, z, length=length, height=height, rgb=rgb, roof=roof, shop=shop, pattern=self.uniform(0, 99))
        )

    def _tree(self, x: float, z: float, radius: float, trunk: float) -> None:
        if self.street.crossing is not None and -2 < z - self.street.crossing < 9:
            return
        rgb = self.pick(_LEAVES)
        if self.hand["weather"] != "snow" and self.chance(0.07):
            rgb = (158, 108, 40)  # autumn
        blobs: list[tuple[float, float, float]]
        if trunk and self.chance(0.18):  # a conifer
            blobs = [
                (0.0, 0.6 * trunk + radius * (0.7 + 0.62 * k - 0.03 * k * k), 0.85 * radius * (1.0 - 0.155 * k))
                for k in range(6)
            ]
        else:
            blobs = [(0.0, trunk + radius * 0.9, radius)]
            for k in range(6):
                angle = k * math.pi / 3 + self.uniform(-0.3, 0.3)
                reach = radius * self.uniform(0.6, 0.9)
                blobs.append(
                    (
                        reach * math.cos(angle),
                        trunk + radius * 0.9 + 0.75 * reach * math.sin(angle),
                        radius * self.uniform(0.4, 0.6),
                    )
                )
        if not trunk:
            blobs = [(dx, max(y - 0.4 * radius, 0.7 * r), r) for dx, y, r in blobs]
        self.things.append(Tree(x, z, blobs=tuple(blobs), trunk=trunk, rgb=rgb))

    def _furniture(self, side: int) -> None:
        """Lamps, signs, traffic lights, dustbins."""
        place, rare = self.hand["place"], self.hand["rare"]
        x, inward = self.edge[side] + side * 0.55, -side
        if place != "park" and self.chance(0.75 if place != "country" else 0.3):
            height, spacing = self.uniform(5, 8), self.uniform(18, 28)
            for k in range(4):
                self.things.append(
                    Post(x, self.uniform(8, 11) + spacing * k, kind="lamp", height=height, arm=inward * 1.3, look=0)
                )
        if "traffic light" in rare and self.street.crossing is not None:
            arm = inward * self.uniform(2.2, 3.4) if side > 0 else 0.0
            look = int(self.uniform(0, 3))
            height = 4.6 if arm else 3.0
            self.things.append(Post(x, self.street.crossing - 1.5, kind="light", height=height, arm=arm, look=look))
        if "traffic sign" in rare:
            for k in range(1 + (side > 0)):
                z = self.uniform(7, 12) + 14 * k
                self.things.append(
                    Post(
                        x + side * 0.3,
                        z,
                        kind="sign",
                        height=self.uniform(2.1, 2.7),
                        arm=0.0,
                        look=int(self.uniform(0, 5)),
                    )
                )
        if self.walk[side] and self.chance(0.2):
            self.things.append(Bin(self.edge[side] + side * 1.2, self.uniform(7, 18)))

    # --- who uses it ----------------------------------------------------------------------------

    def _vehicle(self, kind: str, x: float, z: float, heading: float, vx: float = 0.0, vz: float = 0.0) -> None:
        size = {
            "hatchback": (4.0, 1.8, 1.5),
            "sedan": (4.6, 1.85, 1.45),
            "van": (4.9, 1.95, 1.95),
            "truck": (self.uniform(7, 9.5), 2.45, self.uniform(3.0, 3.6)),
            "bus": (11.5, 2.5, 3.1),
            "train": (26.0, 2.6, 3.5),
        }[kind]
        large = kind in ("truck", "bus", "train")
        body, second = self.pick(_FLEET if large else _PAINTS), self.pick((*_FLEET, (206, 206, 200)))
        self.things.append(Vehicle(x, z, vx=vx, vz=vz, body=kind, heading=heading, size=size, rgb=body, second=second))

    def _car(self, x: float, z: float, heading: float, vx: float = 0.0, vz: float = 0.0) -> None:
        self._vehicle(self.pick(("hatchback", "hatchback", "sedan", "sedan", "van")), x, z, heading, vx, vz)

    def _parked(self, side: int) -> None:
        if not self.parking[side]:
            return
        x, z = self.edge[side] - side * 1.1, self.uniform(3, 8)
        gap = self.street.crossing
        while z < 60:
            if self.chance(0.62) and (gap is None or not gap - 6 < z < gap + 12):
                self._car(x, z, (0.0 if side > 0 else math.pi) + self.uniform(-0.04, 0.04))
            z += self.uniform(5.8, 7)

    def _traffic(self, opposing: int, extra: int, ahead: bool) -> None:
        """Vehicles in the lanes; the rare ones take the places that are seen best."""
        rare = self.hand["rare"]
        busy = {"city": 0.5, "suburb": 0.3, "park": 0.25, "country": 0.3}[self.hand["place"]]
        free = {lane: self.uniform(9, 15) for lane in (0, -1, 1, -2)[: 2 + extra] if lane != 1 or extra}
        if opposing > 1:
            free[-2] = self.uniform(9, 15)
        for kind in ("train", "bus", "truck", "motorcycle", "cyclist"):
            if kind not in rare:
                continue
            crossing = self.street.crossing
            if kind in ("truck", "bus") and crossing is not None and self.chance(0.4):  # it crosses ahead
                self._vehicle(kind, self.uniform(-5, 3), crossing + 2.4, math.pi / 2, vx=self.uniform(0.2, 0.5))
                continue
            # the lane in which it can be nearest; two rare ones do not hide each other
            lane = (0 if ahead else -1) if kind == "train" else min((free[k], k) for k in (0, -1))[1]
            heading, vz = (0.0, self.uniform(0.1, 0.3)) if lane >= 0 else (math.pi, -self.uniform(0.1, 0.4))
            x, z = lane * _LANE, free[lane]
            if kind in ("motorcycle", "cyclist"):
                label = MOTORCYCLE if kind == "motorcycle" else BICYCLE
                x = x - 0.3 if lane < 0 else x + 0.8
                z = min(z, 10.0) - (1.5 if label == BICYCLE else 0.0)
                turn = self.uniform(0.25, 0.7) * self.pick((-1, 1))
                self.things.append(
                    Cycle(
                        x, z, vz=vz, label=label, heading=heading + turn, rgb=self.pick(_FLEET), rider=self._somebody()
                    )
                )
                free[lane] = z + 6
            else:
                half = {"train": 13.0, "bus": 5.8, "truck": 4.5}[kind]
                self._vehicle(kind, x, z + half, heading, vz=vz)
                free[lane] = z + 2 * half + 6
        for lane, z in free.items():
            heading = 0.0 if lane >= 0 else math.pi
            speed = self.uniform(-0.1, 0.35) if lane >= 0 else -self.uniform(0.1, 0.6)
            while z < 75:
                if self.chance(busy):
                    self._car(lane * _LANE + self.uniform(-0.2, 0.2), z + 3, heading, vz=speed)
                z += self.uniform(8, 18)
        if self.street.crossing is not None and not rare & {"train", "bus", "truck"} and self.chance(0.5):
            side = self.pick((-1, 1))
            self._car(
                -side * self.uniform(4, 9),
                self.street.crossing + (2.0 if side > 0 else 5.2),
                side * math.pi / 2,
                vx=side * self.uniform(0.1, 0.5),
            )

    def _somebody(self, x: float = 0.0, z: float = 0.0, vx: float = 0.0, vz: float = 0.0) -> Person:
        return Person(
            x, z, vx=vx, vz=vz,
            height=self.uniform(1.5, 1.9), stride=self.uniform(0.12, 0.3),
            coat=self.pick(_COATS), trousers=self.pick(_TROUSERS), skin=self.pick(_SKINS),
        )  # fmt: skip

    def _people(self) -> None:
        rare = self.hand["rare"]
        if "person" in rare:
            for _ in range(2 + int(self.uniform(0, 5))):
                side = self.pick((-1, 1))
                x = self.edge[side] + side * self.uniform(0.6, max(self.walk[side] - 0.5, 1.2))
                self.things.append(self._somebody(x, self.uniform(8, 24), vz=self.uniform(-0.12, 0.12)))
            if self.street.crossing is not None:
                x = self.uniform(self.edge[-1], self.edge[1])
                self.things.append(self._somebody(x, self.street.crossing - 2, vx=self.uniform(0.05, 0.15)))
        if "bicycles" in rare:  # left at the kerb
            side = self.pick((-1, 1))
            x, z = self.edge[side] + side * 0.9, self.uniform(7, 10)
            for k in range(1 + int(self.uniform(0, 3))):
                heading = math.pi / 2 + self.uniform(-0.5, 0.5)
                self.things.append(
                    Cycle(
                        x + side * 0.3 * k,
                        z + 0.9 * k,
                        label=BICYCLE,
                        heading=heading,
                        rgb=self.pick(_FLEET),
                        rider=None,
                    )
                )
