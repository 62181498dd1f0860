"""What stands in the streets and drives through them: one class a kind of thing, and how it is painted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from seg_al.data.base import IGNORE
from seg_al.data.streets_drawing import (
    BUILDING,
    BUS,
    CAR,
    FENCE,
    LIGHT,
    MOTORCYCLE,
    PERSON,
    POLE,
    RGB,
    RIDER,
    SIGN,
    TRAIN,
    TRUCK,
    VEGETATION,
    WALL,
    Canvas,
    Point,
    Thing,
    mix,
    scale,
)


class AlongStreet:
    """What stands along the street: its order among things and its shadow, from its height and length."""

    height: float
    length: float

    def order(self, x: float, z: float) -> float:
        return z + self.length + 1.5 * abs(x)

    def shadow(self, x: float, z: float, sun: float) -> list[Point]:
        if sun * x >= 0:
            return []
        reach = x + sun * self.height
        return [(x, 0, z), (reach, 0, z), (reach, 0, z + self.length), (x, 0, z + self.length)]


@dataclass(frozen=True)
class Building(AlongStreet, Thing):
    """A house whose front stands along the street at x, from z on."""

    height: float
    rgb: RGB
    roof: float  # height of the gable; 0 = flat
    shop: bool
    pattern: float  # which windows are lit

    def paint(self, c: Canvas, x: float, z: float) -> None:
        side = math.copysign(1.0, x)
        z1, h = z + self.length, self.height
        z0 = max(z, c.near)
        sunny = 1.08 if c.scene.sun * side > 0 else 0.8
        snow = c.scene.air.weather == "snow"
        back = x + side * 9
        if z > c.near:
            end = [(x, 0.0, z), (x, h, z), (back, h, z), (back, 0.0, z)]
            if self.roof:
                end.insert(2, (x + side * 4.5, h + self.roof, z))
            c.fill(end, self.rgb, BUILDING, 0.9)
            if c.image is not None and c.pixels(2, z) > 5:
                self._windows(c, [(x + side * (1.2 + 2.6 * i), z) for i in range(3)], (side * 1.1, 0.0), h)
        if self.roof:
            ridge = (x + side * 4.5, h + self.roof)
            tiles: RGB = (226, 230, 238) if snow else (126, 72, 58)
            eave = x - side * 0.35
            c.fill([(eave, h, z0), (*ridge, z0), (*ridge, z1), (eave, h, z1)], tiles, BUILDING, sunny)
        hazy = c.scene.air.visibility() < 120 and c.image is not None
        pieces = max(1, int((z1 - z0) / 5)) if hazy else 1  # haze deepens along a front
        c.front(x, 0, h, z0, z1, self.rgb, BUILDING, sunny)
        step = (z1 - z0) / pieces
        for i in range(pieces if pieces > 1 else 0):
            c.front(x, 0, h, z0 + step * i, z0 + step * (i + 1), self.rgb, None, sunny)
        if c.image is None:
            return
        columns = int(self.length / 2.5)
        pitch = self.length / columns
        self._windows(c, [(x, z + pitch * (i + 0.28)) for i in range(columns)], (0.0, pitch * 0.46), h, sunny)
        if c.pixels(0.4, z1) > 1 and not self.roof:  # cornice
            c.front(x, h - 0.45, h, z0, z1, scale(self.rgb, 1.25), None, sunny)
        if self.shop and c.pixels(2, z1) > 2:
            lit = c.scene.air.night
            c.front(x, 0.5, 2.5, z0, z1, (222, 190, 120) if lit else (58, 62, 70), lit=lit)
            awning: RGB = (150 + 60 * math.sin(self.pattern), 70, 90 + 60 * math.cos(self.pattern))
            c.front(x, 2.5, 3.1, z0, z1, awning)

    def _windows(
        self,
        c: Canvas,
        columns: list[tuple[float, float]],
        width: tuple[float, float],
        height: float,
        shade: float = 1.0,
    ) -> None:
        """Paint a grid of windows whose columns begin at the (x, z) given; one fill for all of a kind.

        Which are bright follows from their place in the grid: the same ones from frame to frame.
        """
        dx, dz = width
        floors = range(1 if self.shop else 0, int(height / 3.0))
        dark: list[list[tuple[int, int]]] = []
        bright: list[list[tuple[int, int]]] = []
        mean = 0.0
        seen = 0
        for i, (x, z) in enumerate(columns):
            if z < c.near or c.pixels(1.5, z) < 3:
                continue
            (u0, _), (u1, _) = c.at(x, 0, z), c.at(x + dx, 0, z + dz)
            if abs(u1 - u0) < 16 or max(u0, u1) < 0 or min(u0, u1) > c.width * 16:
                continue
            f0, f1 = 16 * c.focal / z, 16 * c.focal / (z + dz)
            base, eye = 16 * c.horizon, c.scene.eye
            mean, seen = mean + z, seen + 1
            for floor in floors:
                y0, y1 = floor * 3.0 + 1.0 - eye, floor * 3.0 + 2.5 - eye
                if base - f0 * y0 < 0:
                    break
                a0, a1, b0, b1 = int(base - f0 * y0), int(base - f0 * y1), int(base - f1 * y0), int(base - f1 * y1)
                wild = math.sin(i * 12.9898 + floor * 78.233 + self.pattern) * 43758.5453
                (bright if wild - math.floor(wild) < 0.34 else dark).append([(u0, a0), (u0, a1), (u1, b1), (u1, b0)])
        if not seen:
            return
        z = mean / seen
        glass = c.tone((118, 138, 158), z, shade)
        if c.scene.air.time != "day":
            glass = mix((240, 200, 122), c.haze, 1 - math.exp(-z * c.fade))
        frame = c.tone(scale(self.rgb, 1.3), z, shade) if c.pixels(1, z) > 26 else None
        c.panes(dark, c.tone((62, 72, 86), z, shade), frame)
        c.panes(bright, glass, frame)


@dataclass(frozen=True)
class Screen(AlongStreet, Thing):
    """A wall, fence or hedge along the street at x, from z on."""

    label: int
    height: float
    rgb: RGB

    def paint(self, c: Canvas, x: float, z: float) -> None:
        z0, h = max(z, c.near), self.height
        step = 3.0 if self.label != VEGETATION else 1.1
        n = max(1, int(self.length / step))
        stops = [q for q in (z + self.length * i / n for i in range(n + 1)) if q > z0]
        stops = [z0, *stops]
        shade = 1.0 if c.scene.sun * x > 0 else 0.82
        for i in range(len(stops) - 1, 0, -1):
            a, b = stops[i - 1], stops[i]
            bump = h * (1 + 0.12 * math.sin(9 * (b - z))) if self.label == VEGETATION else h
            c.front(x, 0, bump, a, b, self.rgb, self.label, shade)
            if c.image is None or c.pixels(h, b) < 5:
                continue
            if self.label == FENCE:
                slats = min(12, int(abs(c.at(x, 0, a)[0] - c.at(x, 0, b)[0]) / 16 / 2.5))
                for k in range(slats):
                    q = a + (b - a) * k / slats
                    c.bar((x, 0.05, q), (x, h, q), 0.05, scale(self.rgb, 0.55))
                for y in (0.25 * h, 0.85 * h):
                    c.bar((x, y, a), (x, y, b), 0.07, scale(self.rgb, 0.7))
            elif self.label == WALL:
                c.bar((x, h, a), (x, h, b), 0.16, scale(self.rgb, 1.25))
                for y in (0.25 * h, 0.5 * h, 0.75 * h):
                    c.bar((x, y, a), (x, y, b), 0.02, scale(self.rgb, 0.8))
                c.bar((x, 0, b), (x, h, b), 0.03, scale(self.rgb, 0.75))


@dataclass(frozen=True)
class Tree(Thing):
    """A tree or bush: a trunk and blobs (dx, y, radius) of leaves."""

    blobs: tuple[tuple[float, float, float], ...]
    trunk: float  # height at which the crown begins; 0 = bush
    rgb: RGB

    def shadow(self, x: float, z: float, sun: float) -> list[Point]:
        if not sun:
            return []
        radius = max(r + abs(dx) for dx, _, r in self.blobs)
        middle = x + sun * (self.trunk + radius) * 0.8
        return [
            (middle + 1.3 * radius * math.cos(a), 0, max(z + radius * math.sin(a), 0.5))
            for a in (k * math.pi / 4 for k in range(8))
        ]

    def paint(self, c: Canvas, x: float, z: float) -> None:
        if self.trunk:
            c.bar((x, 0, z), (x, self.trunk + 0.6, z), 0.3, (82, 64, 48), VEGETATION)
        snow = c.scene.air.weather == "snow"
        low = min(y - r for _, y, r in self.blobs)
        high = max(y + r for _, y, r in self.blobs)
        if c.pixels(self.blobs[0][2], z) < 2.5:  # far off, one disc is the whole crown
            _, y, r = self.blobs[0]
            c.disc(x, y, z, 1.2 * r, self.rgb, VEGETATION, 0.9)
            return
        for dx, y, r in self.blobs:
            c.disc(x + dx, y, z, r, self.rgb, VEGETATION, 0.62 + 0.5 * (y - low) / (high - low))
        if c.image is None or c.pixels(self.blobs[0][2], z) < 5:
            return
        to_sun = -math.copysign(0.3, c.scene.sun)
        bright = (226, 230, 236) if snow else mix(self.rgb, (190, 200, 90), 0.25)
        for dx, y, r in self.blobs:  # inside its blob, so that the mask knows nothing of it
            c.disc(x + dx + to_sun * r, y + 0.35 * r, z, 0.5 * r, bright, None, 0.72 + 0.5 * (y - low) / (high - low))


@dataclass(frozen=True)
class Post(Thing):
    """A street lamp, traffic light or sign on its pole; `arm` reaches over the road."""

    kind: str  # "lamp", "light", "sign"
    height: float
    arm: float
    look: int  # which light is on, or which sign it is

    def paint(self, c: Canvas, x: float, z: float) -> None:
        steel = (104, 106, 108) if self.kind != "lamp" else (84, 88, 88)
        h = self.height
        top = (x + self.arm, h + 0.15 * abs(self.arm), z)
        c.bar((x, 0, z), (x, h, z), 0.13, steel, POLE)
        if self.arm:
            c.bar((x, h, z), top, 0.11, steel, POLE)
        if self.kind == "lamp":
            c.panel(top[0], z, 0.3, top[1], top[1] + 0.22, steel, POLE)
            if c.scene.air.time != "day":
                c.disc(top[0], top[1], z, 0.16, (255, 226, 160), lit=True)
                c.glow(top[0], top[1], z, 0.55, (255, 206, 130), POLE)
        elif self.kind == "light":
            for lx in (x, top[0]) if self.arm else (x,):
                self._traffic_light(c, lx, min(h, 3.0) if lx == x else top[1] - 0.5, z - 0.1)
        else:
            self._sign(c, x, h, z - 0.1)

    def _traffic_light(self, c: Canvas, x: float, y: float, z: float) -> None:
        c.panel(x, z, 0.24, y - 0.6, y + 0.6, (30, 32, 30), LIGHT)
        on: RGB = ((255, 60, 40), (255, 190, 50), (60, 240, 130))[self.look % 3]
        for k in range(3):
            if k == self.look % 3:
                c.disc(x, y + 0.38 - 0.38 * k, z, 0.17, on, lit=True)
                c.glow(x, y + 0.38 - 0.38 * k, z, 0.4, on, LIGHT)
            elif c.image is not None and c.pixels(0.15, z) > 1.5:
                c.disc(x, y + 0.38 - 0.38 * k, z, 0.15, (58, 56, 54))

    def _sign(self, c: Canvas, x: float, y: float, z: float) -> None:
        bright = 1.9 if c.scene.air.night else 1.05  # signs throw the headlights back
        kind = self.look % 5
        if kind == 0:  # speed limit
            c.disc(x, y, z, 0.42, (200, 34, 38), SIGN, bright)
            c.disc(x, y, z, 0.3, (240, 240, 236), None, bright)
            c.panel(x, z, 0.12, y - 0.13, y + 0.13, (40, 40, 40), None, bright)
        elif kind == 1:  # warning
            c.board(x, z, [(-0.5, y - 0.36), (0.5, y - 0.36), (0, y + 0.5)], (200, 34, 38), SIGN, bright)
            c.board(x, z, [(-0.3, y - 0.25), (0.3, y - 0.25), (0, y + 0.27)], (240, 240, 232), None, bright)
        elif kind == 2:  # priority
            c.board(x, z, [(-0.48, y), (0, y + 0.48), (0.48, y), (0, y - 0.48)], (242, 242, 238), SIGN, bright)
            c.board(x, z, [(-0.34, y), (0, y + 0.34), (0.34, y), (0, y - 0.34)], (236, 184, 28), None, bright)
        elif kind == 3:  # direction
            c.panel(x, z, 0.9, y - 0.32, y + 0.42, (30, 84, 168), SIGN, bright)
            for dy in (-0.12, 0.16):
                c.panel(x, z, 0.65, y + dy, y + dy + 0.1, (236, 238, 242), None, bright)
        else:  # no parking
            c.disc(x, y, z, 0.42, (196, 36, 40), SIGN, bright)
            c.disc(x, y, z, 0.33, (34, 76, 166), None, bright)
            c.bar((x - 0.26, y + 0.26, z), (x + 0.26, y - 0.26, z), 0.08, (196, 36, 40), None, bright)


@dataclass(frozen=True)
class Bin(Thing):
    """A dustbin: Cityscapes calls such things dynamic and ignores them."""

    def paint(self, c: Canvas, x: float, z: float) -> None:
        c.board(x, z, [(-0.28, 0), (0.28, 0), (0.33, 1.0), (-0.33, 1.0)], (58, 66, 60), IGNORE)
        c.board(x, z, [(-0.36, 1.0), (0.36, 1.0), (0.3, 1.12), (-0.3, 1.12)], (40, 46, 44), IGNORE)


@dataclass(frozen=True)
class Person(Thing):
    """Somebody on foot."""

    height: float
    stride: float
    coat: RGB
    trousers: RGB
    skin: RGB

    def shadow(self, x: float, z: float, sun: float) -> list[Point]:
        tip = x + sun * self.height
        return [(x - 0.2, 0, z), (x + 0.2, 0, z), (tip + 0.2, 0, z), (tip - 0.2, 0, z)] if sun else []

    def paint(self, c: Canvas, x: float, z: float) -> None:
        k = self.height / 1.75
        s = self.stride * math.cos(c.moment * 2.2 + self.stride * 30) * k
        for d, shade in ((s, 0.85), (-s, 1.0)):
            leg = [(-0.04 + d, 0.0), (0.13 + d, 0.0), (0.15, 0.85 * k), (-0.11, 0.85 * k)]
            c.board(x, z, leg, self.trousers, PERSON, shade)
        half = ((0.19, 0.78 * k), (0.24, 1.38 * k), (0.12, 1.5 * k))
        torso = [*half, *((-dx, y) for dx, y in reversed(half))]
        c.board(x, z, torso, self.coat, PERSON)
        for d in (-1, 1):
            c.bar((x + d * 0.24, 1.36 * k, z), (x + d * 0.26 - d * s * 0.5, 0.85 * k, z), 0.1, self.coat, PERSON, 0.85)
        c.disc(x, 1.63 * k, z, 0.12 * k, self.skin, PERSON)
        c.disc(x, 1.69 * k, z, 0.1 * k, (52, 40, 32))


# Outlines in shares of length, half width and height: (l, w, y); l points forward. "body" is the thing's
# colour, "second" its other one; the rest is glass and trim.
_Outline = tuple[tuple[float, float, float], ...]
_Part = tuple[str, _Outline]


def _side(back: float, ahead: float, low: float, high: float) -> _Outline:
    """A rectangle on the side, from `back` to `ahead`."""
    return ((back, 1, low), (back, 1, high), (ahead, 1, high), (ahead, 1, low))


def _end(at: float, half: float, low: float, high: float) -> _Outline:
    """A rectangle across the vehicle at `at`."""
    return _mirrored((at, half, low), (at, half, high))


def _mirrored(*right: tuple[float, float, float]) -> _Outline:
    """An outline across the vehicle from its right half."""
    return (*right, *((at, -w, y) for at, w, y in reversed(right)))


def _panes(n: int, back: float, ahead: float, low: float, high: float) -> tuple[_Part, ...]:
    pitch = (ahead - back) / n
    return tuple(("glass", _side(back + pitch * i, back + pitch * (i + 0.86), low, high)) for i in range(n))


@dataclass(frozen=True)
class Body:
    """The shape of a kind of vehicle: parts seen from the side, from the front and from behind."""

    label: int
    side: tuple[_Part, ...]
    front: tuple[_Part, ...]
    rear: tuple[_Part, ...]
    wheels: tuple[float, ...]
    wheel: float = 0.33  # radius in metres
    lamp: float = 0.45  # height of the lamps, in shares


def _car(tail: float) -> Body:
    """A car whose roof begins `tail` of its length from behind."""
    roof = tail - 0.5
    profile = (
        (-0.49, 1, 0.16), (-0.5, 1, 0.58), (roof, 0.78, 0.97), (roof + 0.1, 0.76, 1.0), (0.06, 0.76, 1.0),
        (0.24, 0.9, 0.66), (0.46, 1, 0.57), (0.5, 1, 0.42), (0.49, 1, 0.16),
    )  # fmt: skip
    back_pane = ((roof - 0.02, 0.88, 0.66), (roof + 0.06, 0.8, 0.92), (-0.12, 0.78, 0.94), (-0.12, 0.9, 0.66))
    front_pane = ((-0.09, 0.9, 0.66), (-0.09, 0.78, 0.94), (0.05, 0.78, 0.94), (0.19, 0.9, 0.66))
    return Body(
        CAR,
        side=(("body", profile), ("glass", back_pane), ("glass", front_pane)),
        front=(
            ("body", _mirrored((0.5, 1, 0.16), (0.5, 1, 0.45), (0.24, 0.9, 0.66), (0.06, 0.72, 1.0))),
            ("glass", _mirrored((0.22, 0.82, 0.68), (0.08, 0.66, 0.95))),
            ("dark", _end(0.5, 0.5, 0.26, 0.4)),
        ),
        rear=(
            ("body", _mirrored((-0.5, 1, 0.16), (-0.5, 1, 0.58), (roof, 0.74, 1.0))),
            ("glass", _mirrored((-0.49, 0.78, 0.64), (roof, 0.64, 0.93))),
            ("dark", _end(-0.5, 0.9, 0.17, 0.3)),
            ("pale", _end(-0.5, 0.28, 0.34, 0.43)),
        ),
        wheels=(-0.32, 0.32),
        lamp=0.5,
    )


def _tram_end(at: float, tip: float) -> _Outline:
    return _mirrored((at, 1, 0.06), (at, 1, 0.8), (tip, 0.8, 1.0))


BODIES: dict[str, Body] = {
    "hatchback": _car(0.1),
    "sedan": _car(0.24),
    "van": _car(0.03),
    "truck": Body(
        TRUCK,
        side=(
            ("second", _side(-0.5, 0.2, 0.2, 1.0)),
            ("body", _side(-0.5, 0.5, 0.12, 0.22)),
            ("body", _side(0.24, 0.5, 0.15, 0.86)),
            ("glass", _side(0.34, 0.48, 0.5, 0.78)),
        ),
        front=(
            ("second", _end(0.2, 1, 0.2, 1.0)),
            ("body", _end(0.5, 0.96, 0.12, 0.86)),
            ("glass", _end(0.5, 0.86, 0.48, 0.78)),
            ("dark", _end(0.5, 0.6, 0.2, 0.34)),
        ),
        rear=(
            ("second", _end(-0.5, 1, 0.12, 1.0)),
            ("dark", _end(-0.5, 0.9, 0.12, 0.2)),
            ("dark", _end(-0.5, 0.015, 0.2, 0.98)),
        ),
        wheels=(-0.36, -0.24, 0.34),
        wheel=0.48,
        lamp=0.26,
    ),
    "bus": Body(
        BUS,
        side=(
            ("body", _side(-0.5, 0.5, 0.1, 1.0)),
            *_panes(7, -0.47, 0.46, 0.46, 0.82),
            ("second", _side(-0.5, 0.5, 0.3, 0.38)),
        ),
        front=(
            ("body", _end(0.5, 1, 0.1, 1.0)),
            ("glass", _end(0.5, 0.9, 0.38, 0.8)),
            ("amber", _end(0.5, 0.6, 0.85, 0.94)),
            ("dark", _end(0.5, 0.9, 0.1, 0.17)),
        ),
        rear=(
            ("body", _end(-0.5, 1, 0.1, 1.0)),
            ("glass", _end(-0.5, 0.78, 0.55, 0.84)),
            ("second", _end(-0.5, 1, 0.3, 0.38)),
            ("dark", _end(-0.5, 0.7, 0.14, 0.26)),
        ),
        wheels=(-0.3, 0.3),
        wheel=0.48,
        lamp=0.24,
    ),
    "train": Body(
        TRAIN,
        side=(
            ("body", _side(-0.5, 0.5, 0.06, 1.0)),
            *_panes(14, -0.48, 0.47, 0.46, 0.78),
            ("second", _side(-0.5, 0.5, 0.06, 0.34)),
            ("dark", _side(-0.17, -0.15, 0.06, 1.0)),
            ("dark", _side(0.15, 0.17, 0.06, 1.0)),
        ),
        front=(
            ("body", _tram_end(0.5, 0.49)),
            ("second", _end(0.5, 1, 0.06, 0.34)),
            ("glass", _end(0.5, 0.84, 0.42, 0.8)),
            ("amber", _end(0.5, 0.5, 0.86, 0.94)),
        ),
        rear=(
            ("body", _tram_end(-0.5, -0.49)),
            ("second", _end(-0.5, 1, 0.06, 0.34)),
            ("glass", _end(-0.5, 0.84, 0.42, 0.8)),
        ),
        wheels=(),
        lamp=0.28,
    ),
}

_TRIM: dict[str, RGB] = {
    "glass": (52, 62, 74),
    "dark": (34, 34, 38),
    "pale": (226, 226, 216),
    "amber": (250, 176, 60),
}


@dataclass(frozen=True)
class Vehicle(Thing):
    """A vehicle whose middle is at (x, z); heading 0 drives ahead, pi comes towards the camera."""

    body: str
    heading: float
    size: tuple[float, float, float]  # length, width, height
    rgb: RGB
    second: RGB

    reach: ClassVar[float] = 8.0

    def _world(self, x: float, z: float, ahead: float, aside: float) -> tuple[float, float]:
        s, co = math.sin(self.heading), math.cos(self.heading)
        a, b = ahead * self.size[0], aside * self.size[1] / 2
        return x + a * s + b * co, z + a * co - b * s

    def order(self, x: float, z: float) -> float:
        return z + 1.5 * max(0.0, abs(x) - abs(math.sin(self.heading)) * self.size[0] / 2)

    def shadow(self, x: float, z: float, sun: float) -> list[Point]:
        corners = [self._world(x, z, a, b) for a, b in ((-0.52, -1.1), (-0.52, 1.1), (0.52, 1.1), (0.52, -1.1))]
        return [(px + (sun * 0.6 if px * sun > x * sun else 0.0), 0, max(pz, 0.5)) for px, pz in corners]

    def paint(self, c: Canvas, x: float, z: float) -> None:
        shape, h = BODIES[self.body], self.size[2]
        s, co = math.sin(self.heading), math.cos(self.heading)
        ex, ez = c.eye_x - x - c.scene.bend * z * z, -z  # the camera as seen from the vehicle
        along, aside = ex * s + ez * co, ex * co - ez * s
        side, front = math.copysign(1.0, aside), along > 0
        if min(self._world(x, z, a, b)[1] for a in (-0.5, 0.5) for b in (-1, 1)) < c.near:
            return  # passing the camera: the lens never sees it whole
        if abs(aside) > self.size[1] / 2:
            self._face(c, x, z, shape, shape.side, side, 0.86 if c.scene.sun * side * co > 0 else 1.02)
            for axle in shape.wheels if c.pixels(shape.wheel, z) > 1.2 else ():
                self._wheel(c, x, z, axle, side, shape)
        if abs(along) > self.size[0] / 2:
            self._face(c, x, z, shape, shape.front if front else shape.rear, 1.0, 0.95)
            self._lamps(c, x, z, shape, front, h)

    def _face(
        self, c: Canvas, x: float, z: float, shape: Body, parts: Sequence[_Part], mirror: float, shade: float
    ) -> None:
        length, half, h = self.size[0], self.size[1] / 2 * mirror, self.size[2]
        s, co = math.sin(self.heading), math.cos(self.heading)
        details = c.image is not None and c.pixels(h, z) > 6
        for role, outline in parts:
            colored = role in ("body", "second")
            if not colored and not details:
                continue
            points = [
                (x + a * length * s + w * half * co, y * h, z + a * length * co - w * half * s) for a, w, y in outline
            ]
            rgb = self.rgb if role == "body" else self.second if role == "second" else _TRIM[role]
            if colored:
                c.fill(points, rgb, shape.label, shade)
            elif role == "glass" and self.body in ("bus", "train") and c.scene.air.time != "day":
                c.fill(points, (224, 206, 150), lit=True)
            else:
                c.fill(points, rgb, None, shade, lit=role == "amber")

    def _wheel(self, c: Canvas, x: float, z: float, axle: float, side: float, shape: Body) -> None:
        reach = shape.wheel / self.size[0]
        for share, rgb, label in ((1.0, (26, 26, 28), shape.label), (0.5, (130, 132, 136), None)):
            if label is None and c.pixels(shape.wheel, z) < 3:
                return
            rim = []
            for a in range(10):
                angle = a * math.pi / 5
                px, pz = self._world(x, z, axle + share * reach * math.cos(angle), side)
                rim.append((px, shape.wheel * (1 + share * math.sin(angle)), pz))
            c.fill(rim, rgb, label)

    def _lamps(self, c: Canvas, x: float, z: float, shape: Body, front: bool, h: float) -> None:
        if c.image is None or c.pixels(h, z) < 4:
            return
        dark = c.scene.air.time != "day" or c.scene.air.weather == "fog"
        rgb: RGB = (255, 246, 214) if front else (228, 34, 30)
        for w in (-0.76, 0.76):
            px, pz = self._world(x, z, 0.5 if front else -0.5, w)
            c.disc(px, shape.lamp * h, pz - 0.05, 0.1, rgb, None, 0.95, lit=dark)
            if dark:
                c.glow(px, shape.lamp * h, pz, 0.32 if front else 0.16, rgb, shape.label)


@dataclass(frozen=True)
class Cycle(Thing):
    """A bicycle or motorcycle, with or without its rider; heading as for vehicles."""

    label: int
    heading: float
    rgb: RGB
    rider: Person | None  # only the looks count

    def shadow(self, x: float, z: float, sun: float) -> list[Point]:
        s, co = math.sin(self.heading), math.cos(self.heading)
        tip = sun * 1.2 or 0.3
        return [(x - s, 0, z - co), (x + s, 0, z + co), (x + s + tip, 0, z + co), (x - s + tip, 0, z - co)]

    def paint(self, c: Canvas, x: float, z: float) -> None:
        s, co = math.sin(self.heading), math.cos(self.heading)
        motor = self.label == MOTORCYCLE
        r, base, tyre = (0.32, 0.72, 0.16) if motor else (0.34, 0.55, 0.07)

        def at(a: float, y: float) -> Point:
            return (x + a * s, y, z + a * co)

        for a in (base, -base):
            rim = [at(a + r * math.cos(t), r + r * math.sin(t)) for t in (k * math.pi / 6 for k in range(12))]
            c.hoop(rim, tyre, (28, 28, 30), self.label, inside=(66, 66, 70) if motor else None)
            for k in range(3):
                c.bar(rim[k * 2], rim[k * 2 + 6], 0.015, (120, 122, 126))
        if motor:
            tank = ((-0.75, 0.62), (-0.8, 0.85), (-0.1, 0.8), (0.1, 1.0), (0.42, 0.9), (0.3, 0.4), (-0.4, 0.3))
            c.fill([at(*p) for p in tank], self.rgb, self.label)
            c.bar(at(0.42, 0.95), at(base, r), 0.1, (60, 60, 64), self.label)
            c.panel(x, z, 0.22, 0.4, 0.85, scale(self.rgb, 0.8), self.label)
        else:
            hub, saddle, head, pedals = (-base, r), (-0.12, 0.82), (0.42, 0.86), (0.0, 0.3)
            frame = (hub, saddle, head, pedals, saddle, hub, pedals)
            for start, end in pairwise(frame):
                c.bar(at(*start), at(*end), 0.06, self.rgb, self.label)
            c.bar(at(0.38, 1.0), at(base, r), 0.06, self.rgb, self.label)
        hx, hy, hz = at(0.36, 1.02)
        half = 0.28 * abs(co) + 0.08
        c.bar((hx - half, hy, hz), (hx + half, hy, hz), 0.05, (40, 40, 42), self.label)
        if co < 0 and motor:
            c.glow(hx, 0.9, z, 0.16, (255, 246, 214), self.label)
        if self.rider is not None:
            self._rider(c, self.rider, at, z, abs(co))

    def _rider(self, c: Canvas, p: Person, at: Callable[[float, float], Point], z: float, facing: float) -> None:
        phase = 0.12 * math.sin(c.moment * 2)
        for d in (phase, -phase):
            c.bar(at(-0.1, 0.95), at(0.18 + d, 0.62), 0.17, p.trousers, RIDER, 0.9)
            c.bar(at(0.18 + d, 0.62), at(d, 0.22), 0.14, p.trousers, RIDER, 0.8)
        (hip, low, _), (neck, high, _) = at(-0.14, 0.92), at(0.12, 1.5)
        w = 0.15 + 0.1 * facing
        c.fill([(hip - w, low, z), (hip + w, low, z), (neck + w, high, z), (neck - w, high, z)], p.coat, RIDER)
        c.bar(at(0.08, 1.4), at(0.36, 1.06), 0.1, p.coat, RIDER, 0.85)
        hx, hy, hz = at(0.18, 1.68)
        c.disc(hx, hy, hz, 0.15, p.skin, RIDER)
        c.disc(hx, hy + 0.05, hz, 0.12, (196, 52, 44) if self.label == MOTORCYCLE else (232, 232, 228))
