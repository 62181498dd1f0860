"""How a street scene becomes pixels: ground, sky and things in a world of metres, painted far to near.

World coordinates are metres: x to the right and z ahead of where the run begins, y up from the ground.
Image and mask are filled from the same projected polygons; light, texture, weather and the lens touch
the image alone. Every look is settled by a thing's fields and random numbers serve sky, texture, weather
and noise alone, so that a mask can be had without paying for the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np

from seg_al.data.base import IGNORE

(ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN) = range(10)
(SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE) = range(10, 19)

RGB = tuple[float, float, float]
Point = tuple[float, float, float]

SHIFT = 4  # fractional bits of the coordinates given to OpenCV
_FAR = 120.0  # metres; where the street ends in the horizon

# How strongly surfaces are mottled, out of 255: leaves and grass most, paintwork hardly.
_TEXTURE = np.full(256, 10, np.uint8)
_TEXTURE[[ROAD, SIDEWALK, BUILDING, WALL, VEGETATION, TERRAIN, SKY]] = (16, 18, 18, 28, 110, 60, 3)


def mix(a: RGB, b: RGB, t: float) -> RGB:
    s = 1.0 - t
    return (a[0] * s + b[0] * t, a[1] * s + b[1] * t, a[2] * s + b[2] * t)


def scale(rgb: RGB, s: float) -> RGB:
    return (rgb[0] * s, rgb[1] * s, rgb[2] * s)


@dataclass(frozen=True)
class Air:
    """Light and weather of a run: what they do to a colour at a distance."""

    time: str
    weather: str

    # per time of day: the tint of surfaces, the sky at its top, the sky at the horizon
    _times: ClassVar[dict[str, tuple[RGB, RGB, RGB]]] = {
        "day": ((1.0, 1.0, 0.97), (84, 138, 212), (196, 218, 236)),
        "dusk": ((0.75, 0.63, 0.6), (66, 72, 128), (246, 168, 108)),
        "night": ((0.29, 0.29, 0.35), (9, 12, 30), (38, 38, 58)),
    }
    # per weather: how grey the sky is, brightness, visibility in metres
    _weathers: ClassVar[dict[str, tuple[float, float, float]]] = {
        "clear": (0.0, 1.0, 420.0),
        "overcast": (0.85, 0.86, 260.0),
        "rain": (0.95, 0.68, 110.0),
        "fog": (1.0, 0.88, 26.0),
        "snow": (0.92, 0.92, 75.0),
    }

    @property
    def night(self) -> bool:
        return self.time == "night"

    def sky(self) -> tuple[RGB, RGB]:
        """Return the colours of the sky at its top and at the horizon; the latter is the haze."""
        _, top, low = self._times[self.time]
        grey, bright, _ = self._weathers[self.weather]
        mean = 0.45 * sum(top) / 3 + 0.55 * sum(low) / 3
        flat = (mean * 0.99, mean, mean * 1.03)
        top, low = mix(top, flat, grey * 0.9), mix(low, flat, grey * 0.8)
        return scale(top, 0.4 + 0.6 * bright), scale(low, 0.5 + 0.5 * bright)

    def tint(self) -> RGB:
        tint = self._times[self.time][0]
        return scale(tint, self._weathers[self.weather][1])

    def visibility(self) -> float:
        return self._weathers[self.weather][2]


@dataclass(frozen=True)
class Street:
    """The ground: the road's edges, lanes, sidewalks, the crossing street and marks, in metres."""

    left: float
    right: float
    centre: float  # border between the directions
    borders: tuple[float, ...]  # dashed borders between lanes
    walk_left: float  # width of the sidewalk; 0 = none
    walk_right: float
    paved: bool  # whether the ground beyond is paved, as in a city, or grass
    crossing: float | None  # where a crossing street begins, ahead
    rails: tuple[float, ...]  # x of the middle of tram tracks
    patches: tuple[tuple[float, float, float, float], ...]  # repaired asphalt: x, z, width, length
    asphalt: RGB
    paving: RGB
    grass: RGB


@dataclass(frozen=True)
class Thing:
    """Something that stands on or beside the street; (x, z) is where, (vx, vz) metres a frame."""

    x: float
    z: float
    vx: float = field(default=0.0, kw_only=True)
    vz: float = field(default=0.0, kw_only=True)
    length: float = field(default=0.0, kw_only=True)  # how far it reaches ahead of z

    reach: ClassVar[float] = 4.0  # how far it may reach sideways, in metres

    def order(self, x: float, z: float) -> float:
        """Return how far back the thing is painted.

        On one ray from the camera the farther of two points has both the larger depth and the larger
        lateral distance; counting both keeps long things that stand side by side in order.
        """
        return z + 1.5 * abs(x)

    def shadow(self, x: float, z: float, sun: float) -> list[Point]:
        """Return the outline of the shadow on the ground, empty for none; `sun` is metres sideways a metre up."""
        return []

    def paint(self, c: Canvas, x: float, z: float) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Scene:
    """All that the frames of one run share."""

    air: Air
    street: Street
    things: tuple[Thing, ...]
    skyline: tuple[float, ...]  # heights of what closes the view, relative to the image
    skyline_label: int
    horizon: float  # row of the horizon, relative to the image's height
    focal: float  # focal length, relative to the image's geometric mean side
    eye: float  # height of the camera in metres
    bend: float  # sideways metres per squared metre ahead
    speed: float  # metres a frame
    sway: float
    sun: float  # where the shadow falls: metres sideways a metre up
    hood: bool
    seed: tuple[int, ...]  # entropy of textures and noise


class Canvas:
    """A mask, perhaps an image, and the camera that projects onto them.

    Args:
        with_image: False paints the mask alone, pixel for pixel the one that comes with the image.
    """

    def __init__(self, scene: Scene, frame: int, height: int, width: int, with_image: bool) -> None:
        self.scene, self.height, self.width = scene, height, width
        # A run may have any number of frames, its street has an end: the ride slows down.
        self.moment = frame / (1 + frame / 12)
        self.focal = scene.focal * math.sqrt(height * width)
        self.horizon = scene.horizon * height
        self.top = math.ceil(self.horizon)
        self.near = max(0.4, 0.6 * self.focal * scene.eye / (height - self.horizon))
        self.eye_x = scene.sway * math.sin(self.moment)
        self.eye_z = scene.speed * self.moment
        self.mask = np.full((height, width), SKY, np.uint8)
        self.mask[self.top :] = SIDEWALK if scene.street.paved else TERRAIN
        self.image = np.empty((height, width, 3), np.uint8) if with_image else None
        self.glows: list[tuple[tuple[int, int], float, RGB, int]] = []
        self._unit, self._middle, self._level = 16 * self.focal, 8 * width, 16 * self.horizon
        self._eye, self._bend = scene.eye, scene.bend
        self._tint, self.haze, self.fade = scene.air.tint(), scene.air.sky()[1], 1 / scene.air.visibility()
        self._night = scene.air.night
        if with_image:
            rows = np.arange(self.top, height) + 0.5
            z = np.minimum(self.focal * scene.eye / (rows - self.horizon), _FAR)
            clear = np.exp(-z * self.fade)[:, None]
            lamps = 1 + 1.3 * np.exp(-(((z - 5) / 9) ** 2))[:, None] if self._night else 1.0
            self._row_tint, self._row_haze = clear * lamps * self._tint, (1 - clear) * self.haze

    def at(self, x: float, y: float, z: float) -> tuple[int, int]:
        """Project to (column, row) in 1/16 pixels; z counts from the camera."""
        if z < self.near:
            z = self.near
        scale = self._unit / z
        return (
            int(self._middle + scale * (x - self.eye_x + self._bend * z * z)),
            int(self._level - scale * (y - self._eye)),
        )

    def sees(self, x: float, z: float, reach: float) -> bool:
        """Return whether something within `reach` metres sideways of (x, z) can be in view."""
        z = max(z, self.near)
        return abs(x - self.eye_x + self._bend * z * z) < reach + self.width / 2 * z / self.focal

    def pixels(self, metres: float, z: float) -> float:
        return self.focal * metres / z

    def tone(self, rgb: RGB, z: float, shade: float = 1.0) -> RGB:
        """Return a surface's colour in this light, seen through z metres of air."""
        if self._night:  # the headlights reach a few metres
            shade *= 1 + 1.3 * math.exp(-(((z - 5) / 9) ** 2))
        t = math.exp(-z * self.fade)
        tint, haze, s = self._tint, self.haze, 1 - t
        t *= shade
        return (
            rgb[0] * tint[0] * t + haze[0] * s,
            rgb[1] * tint[1] * t + haze[1] * s,
            rgb[2] * tint[2] * t + haze[2] * s,
        )

    def glow(self, x: float, y: float, z: float, metres: float, rgb: RGB, label: int) -> None:
        """Remember a light, on a surface of the label given, that outshines its surroundings in the dark."""
        if self.image is not None:
            t = math.exp(-z * self.fade * 0.5)
            self.glows.append((self.at(x, y, z), self.pixels(metres, z), scale(rgb, t), label))

    def fill(
        self, points: Iterable[Point], rgb: RGB, label: int | None = None, shade: float = 1.0, *, lit: bool = False
    ) -> None:
        """Fill a polygon; without a label it is a detail of the image, and a lit one knows no night."""
        if label is None and self.image is None:
            return
        corners = list(points)
        polygon = np.array([self.at(*p) for p in corners], np.int32)
        if self.image is not None:
            z = 0.5 * (corners[0][2] + corners[-1][2])
            color = mix(rgb, self.haze, 1 - math.exp(-z * self.fade)) if lit else self.tone(rgb, z, shade)
            cv2.fillPoly(self.image, [polygon], color, cv2.LINE_AA, SHIFT)
        if label is not None:
            cv2.fillPoly(self.mask, [polygon], label, cv2.LINE_8, SHIFT)

    def disc(
        self,
        x: float,
        y: float,
        z: float,
        radius: float,
        rgb: RGB,
        label: int | None = None,
        shade: float = 1.0,
        *,
        lit: bool = False,
    ) -> None:
        """Fill a circle that faces the camera."""
        if label is None and self.image is None:
            return
        center, r = self.at(x, y, z), int(self.pixels(radius, z) * 16)
        if self.image is not None:
            color = mix(rgb, self.haze, 1 - math.exp(-z * self.fade)) if lit else self.tone(rgb, z, shade)
            cv2.circle(self.image, center, r, color, -1, cv2.LINE_AA, SHIFT)
        if label is not None:
            cv2.circle(self.mask, center, r, label, -1, cv2.LINE_8, SHIFT)

    def bar(self, a: Point, b: Point, metres: float, rgb: RGB, label: int | None = None, shade: float = 1.0) -> None:
        """Draw a rod; it is at least one pixel thick."""
        if label is None and self.image is None:
            return
        start, end, thick = self.at(*a), self.at(*b), max(1, round(self.pixels(metres, max(a[2], self.near))))
        if self.image is not None:
            cv2.line(self.image, start, end, self.tone(rgb, a[2], shade), thick, cv2.LINE_AA, SHIFT)
        if label is not None:
            cv2.line(self.mask, start, end, label, thick, cv2.LINE_8, SHIFT)

    def board(
        self,
        x: float,
        z: float,
        outline: Sequence[tuple[float, float]],
        rgb: RGB,
        label: int | None = None,
        shade: float = 1.0,
    ) -> None:
        """Fill an outline of (dx, y) that stands upright and faces the camera."""
        self.fill([(x + dx, y, z) for dx, y in outline], rgb, label, shade)

    def front(
        self,
        x: float,
        y0: float,
        y1: float,
        z0: float,
        z1: float,
        rgb: RGB,
        label: int | None = None,
        shade: float = 1.0,
        *,
        lit: bool = False,
    ) -> None:
        """Fill an upright rectangle along the street."""
        self.fill(((x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)), rgb, label, shade, lit=lit)

    def panel(
        self,
        x: float,
        z: float,
        half: float,
        y0: float,
        y1: float,
        rgb: RGB,
        label: int | None = None,
        shade: float = 1.0,
    ) -> None:
        """Fill an upright rectangle that faces the camera, `half` metres to either side of x."""
        self.board(x, z, ((-half, y0), (half, y0), (half, y1), (-half, y1)), rgb, label, shade)

    def hoop(self, points: Iterable[Point], metres: float, rgb: RGB, label: int, inside: RGB | None = None) -> None:
        """Draw a closed rod, such as a tyre; the mask is filled, as people label spokes and all."""
        corners = list(points)
        polygon = np.array([self.at(*p) for p in corners], np.int32)
        z = corners[0][2]
        thick = max(1, round(self.pixels(metres, z)))
        cv2.fillPoly(self.mask, [polygon], label, cv2.LINE_8, SHIFT)
        cv2.polylines(self.mask, [polygon], True, label, thick, cv2.LINE_8, SHIFT)
        if self.image is not None:
            if inside is not None:
                cv2.fillPoly(self.image, [polygon], self.tone(inside, z), cv2.LINE_AA, SHIFT)
            cv2.polylines(self.image, [polygon], True, self.tone(rgb, z), thick, cv2.LINE_AA, SHIFT)

    def panes(self, quads: list[list[tuple[int, int]]], color: RGB, frame: RGB | None = None) -> None:
        """Fill many quadrilaterals, given in 1/16 pixels, with one colour as it is; a frame is drawn around each."""
        if quads and self.image is not None:
            polygons = list(np.array(quads, np.int32))
            cv2.fillPoly(self.image, polygons, color, cv2.LINE_AA, SHIFT)
            if frame is not None:
                cv2.polylines(self.image, polygons, True, frame, max(1, self.height // 300), cv2.LINE_AA, SHIFT)

    def strip(self, x0: float, x1: float, z0: float, z1: float) -> np.ndarray:
        """Return the outline of a piece of ground, (N, 2) int32 in 1/16 pixels, following the bend."""
        z0, z1 = max(z0, self.near), max(z1, self.near)
        steps = 1 if self._bend == 0 or z1 < 1.2 * z0 else 12
        zs = [z0 * (z1 / z0) ** (i / steps) for i in range(steps + 1)]
        return np.array([self.at(x0, 0, z) for z in zs] + [self.at(x1, 0, z) for z in reversed(zs)], np.int32)

    def ground(self, outlines: list[np.ndarray], rgb: RGB, label: int | None = None) -> None:
        """Fill pieces of ground; the colour changes row by row with the distance."""
        if not outlines or (label is None and self.image is None):
            return
        if label is not None:
            cv2.fillPoly(self.mask, outlines, label, cv2.LINE_8, SHIFT)
        if self.image is not None:
            region = np.zeros((self.height - self.top, self.width), np.uint8)
            cv2.fillPoly(region, outlines, 255, cv2.LINE_8, SHIFT, (0, -self.top << SHIFT))
            cv2.copyTo(self._rows(rgb), region, self.image[self.top :])

    def _rows(self, rgb: RGB) -> np.ndarray:
        """Return the ground's colour in every pixel below the horizon, (rows, W, 3) uint8."""
        color = (rgb * self._row_tint + self._row_haze).clip(0, 255).astype(np.uint8)
        return np.repeat(color[:, None], self.width, axis=1)


def render(
    scene: Scene, frame: int, height: int, width: int, with_image: bool = True
) -> tuple[np.ndarray | None, np.ndarray]:
    """Draw one frame of a run.

    Returns:
        image (H, W, 3) uint8 RGB, None without `with_image`; mask (H, W) uint8 of train ids, 255 = ignore.
    """
    c = Canvas(scene, frame, height, width, with_image)
    _paint_sky(c)
    _paint_ground(c)
    placed = []
    for thing in scene.things:
        x, z = thing.x + thing.vx * c.moment, thing.z + thing.vz * c.moment - c.eye_z
        if z + thing.length > c.near:
            placed.append((thing.order(x, z), thing, x, z))
    placed.sort(key=lambda item: -item[0])
    _paint_shadows(c, placed)
    for _, thing, x, z in placed:
        if c.sees(x, z + thing.length, thing.reach):
            thing.paint(c, x, z)
    if c.image is not None:
        c.image = _finish(c, frame)
    if scene.hood:
        _paint_hood(c)
    return c.image, c.mask


def _paint_sky(c: Canvas) -> None:
    scene = c.scene
    if c.image is not None:
        # A sky is smooth: it is made small and enlarged.
        rng = np.random.default_rng([*scene.seed, 1])
        h, w = 24, 32
        top, low = (np.array(rgb) for rgb in scene.air.sky())
        ramp = (np.linspace(0, 1, h) ** 1.5)[:, None, None]
        sky = top * (1 - ramp) + low * ramp
        noise = np.zeros((h, w))
        for k in (1, 2, 4):
            noise += cv2.resize(rng.random((3 * k, 2 * k)), (w, h), interpolation=cv2.INTER_CUBIC) / k
        cover = {"clear": 1.05, "fog": 1.3}.get(scene.air.weather, 0.7)
        clouds = ((noise - cover) * 1.6).clip(0, 1)[..., None] * (0.75 if scene.air.weather == "clear" else 0.4)
        bright = np.array({"day": (250, 250, 250), "dusk": (226, 150, 140), "night": (40, 42, 56)}[scene.air.time])
        if scene.air.weather != "clear":
            bright = low * 0.72
        sky = sky * (1 - clouds) + bright * clouds
        if c.top > 0:
            full = cv2.resize(sky.clip(0, 255).astype(np.uint8), (c.width, c.top), interpolation=cv2.INTER_LINEAR)
            c.image[: c.top] = full
        if scene.air.night and scene.air.weather == "clear":
            c.glows.append(
                ((int(c.width * rng.random() * 16), int(c.horizon * 0.25 * 16)), c.height * 0.02, (210, 210, 190), SKY)
            )
    heights = scene.skyline
    n = len(heights)
    outline = [(int(c.width * 16 * i / (n - 1)), int((c.horizon - c.height * h) * 16)) for i, h in enumerate(heights)]
    if scene.skyline_label == BUILDING:  # roofs are flat: every corner twice
        outline = [p for i, (u, v) in enumerate(outline[:-1]) for p in ((u, v), (outline[i + 1][0], v))]
    bottom = (c.top + 1) * 16
    polygon = np.array([(0, bottom), *outline, (c.width * 16, bottom)], np.int32)
    cv2.fillPoly(c.mask, [polygon], scene.skyline_label, cv2.LINE_8, SHIFT)
    if c.image is not None:
        rgb = (112, 110, 116) if scene.skyline_label == BUILDING else (62, 88, 56)
        cv2.fillPoly(c.image, [polygon], c.tone(rgb, 100), cv2.LINE_AA, SHIFT)


def _paint_ground(c: Canvas) -> None:
    s, weather = c.scene.street, c.scene.air.weather
    white = {"snow": 0.85}.get(weather, 0.0)
    wet = 0.66 if weather == "rain" else 1.0
    snow: RGB = (236, 240, 248)
    asphalt = scale(mix(s.asphalt, snow, white * 0.45), wet)
    paving = scale(mix(s.paving, snow, white * 0.8), 0.5 + 0.5 * wet)
    near, far = c.near, _FAR - c.eye_z
    if c.image is not None:
        c.image[c.top :] = c._rows(paving if s.paved else mix(s.grass, snow, white))
    if s.walk_left:
        c.ground([c.strip(s.left - s.walk_left, s.left, near, far)], paving, SIDEWALK)
    if s.walk_right:
        c.ground([c.strip(s.right, s.right + s.walk_right, near, far)], paving, SIDEWALK)
    cross = None if s.crossing is None else s.crossing - c.eye_z
    roads = [c.strip(s.left, s.right, near, far)]
    if cross is not None and cross + 7 > near:
        roads.append(c.strip(-90.0, 90.0, cross, cross + 7))
    for road in roads:  # one by one: overlapping outlines of one fill would cancel out
        c.ground([road], asphalt, ROAD)
    if c.image is None:
        return
    patches = [c.strip(x, x + w, z - c.eye_z, z - c.eye_z + n) for x, z, w, n in s.patches if z - c.eye_z > near]
    c.ground(patches, scale(asphalt, 0.82))
    if white < 0.5:  # kerbs and marks show where no snow lies
        kerb = [
            c.strip(x - 0.09, x + 0.09, near, far) for x, w in ((s.left, s.walk_left), (s.right, s.walk_right)) if w
        ]
        c.ground(kerb, scale(paving, 1.22))
    for x in s.rails:
        rails = [c.strip(x + d - 0.06, x + d + 0.06, near, far) for d in (-0.72, 0.72)]
        c.ground(rails, (74, 70, 68))
    marks, limit = [], 60.0
    stop = math.inf if cross is None else cross
    for x in s.borders:
        for k in range(int(c.eye_z // 7), int((c.eye_z + limit) // 7)):
            z0, z1 = k * 7 - c.eye_z, k * 7 + 3.2 - c.eye_z
            if z1 > near and not stop - 4 < z1 < stop + 12:
                marks.append(c.strip(x - 0.08, x + 0.08, z0, z1))
    edges = [s.left + 0.25, s.right - 0.25] if not s.walk_left else []
    for x in [s.centre, *edges]:
        pieces = ((near, min(stop - 3.6, limit)), (stop + 10, limit))
        marks += [c.strip(x - 0.08, x + 0.08, a, b) for a, b in pieces if b > a]
    if cross is not None and cross - 3 > near:  # zebra and stop line
        n = int((s.right - s.left) / 1.0)
        marks += [c.strip(s.left + 0.25 + i, s.left + 0.75 + i, cross - 3, cross - 0.4) for i in range(n)]
        marks.append(c.strip(s.centre, s.right - 0.1, cross - 4.2, cross - 3.8))
    c.ground(marks, mix((214, 212, 204), asphalt, 0.12 + 0.6 * white))


def _paint_shadows(c: Canvas, placed: list[tuple[float, Thing, float, float]]) -> None:
    if c.image is None or c.scene.air.night:
        return
    clear = c.scene.air.weather == "clear"
    shade: np.ndarray = np.full((c.height - c.top, c.width), 255, np.uint8)
    for _, thing, x, z in placed:
        outline = thing.shadow(x, z, c.scene.sun if clear else 0.0) if z < 40 else []
        if outline:
            polygon = np.array([c.at(*p) for p in outline], np.int32)
            cv2.fillPoly(shade, [polygon], 132 if clear else 170, cv2.LINE_AA, SHIFT, (0, -c.top << SHIFT))
    size = 2 * (c.height // (160 if clear else 60)) + 1
    shade = cv2.blur(shade, (size, size))
    below = c.image[c.top :]
    cv2.multiply(below, cv2.merge([shade, shade, shade]), below, 1 / 255)


def _paint_hood(c: Canvas) -> None:
    """The camera's own car at the bottom; Cityscapes ignores it."""
    center = (c.width * 8, int(c.height * 16 * 1.06))
    axes = (int(c.width * 16 * 0.56), int(c.height * 16 * 0.13))
    cv2.ellipse(c.mask, center, axes, 0, 0, 360, IGNORE, -1, cv2.LINE_8, SHIFT)
    if c.image is not None:
        tint = 0.35 if c.scene.air.night else 1.0
        cv2.ellipse(c.image, center, axes, 0, 0, 360, (40 * tint, 42 * tint, 48 * tint), -1, cv2.LINE_AA, SHIFT)
        inner = (int(axes[0] * 0.8), int(axes[1] * 0.8))
        cv2.ellipse(
            c.image,
            center,
            inner,
            0,
            180,
            360,
            (78 * tint, 82 * tint, 92 * tint),
            max(1, c.height // 90),
            cv2.LINE_AA,
            SHIFT,
        )


def _finish(c: Canvas, frame: int) -> np.ndarray:
    """Texture, reflections, glow, weather, lens and sensor; returns the finished image."""
    assert c.image is not None
    mask, air, seed = c.mask, c.scene.air, c.scene.seed
    image: np.ndarray = c.image
    h, w = mask.shape
    rng = np.random.default_rng([*seed, 2])

    fine = rng.integers(0, 256, (h // 2 + 1, w // 2 + 1), np.uint8)
    coarse = rng.integers(0, 256, (h // 6 + 2, w // 6 + 2), np.uint8)
    enlarge = [cv2.resize(a, (w, h), interpolation=cv2.INTER_LINEAR) for a in (fine, coarse)]
    grain = cv2.addWeighted(enlarge[0], 0.5, enlarge[1], 0.5, -128, dtype=cv2.CV_16S)
    contrast = {"fog": 0.4, "snow": 0.75}.get(air.weather, 1.0)
    grain = cv2.multiply(grain, cv2.LUT(mask, _TEXTURE), scale=contrast / 128, dtype=cv2.CV_16S)
    factor = cv2.addWeighted(grain, 1, grain, 0, 128, dtype=cv2.CV_8U)  # grain + 128, cut at 0 and 255
    image = cv2.multiply(image, cv2.merge([factor, factor, factor]), scale=1 / 128)

    if air.weather == "rain" and 0 < c.top < h:  # the wet road mirrors what stands behind it
        below = image[c.top :]
        mirror = cv2.resize(image[: c.top], (w, h - c.top), interpolation=cv2.INTER_AREA)
        mirror = cv2.blur(cv2.flip(mirror, 0), (max(1, w // 60), max(1, h // 12)))
        shiny = cv2.addWeighted(below, 0.62, mirror, 0.42, 0)
        cv2.copyTo(shiny, (mask[c.top :] == ROAD).astype(np.uint8), below)

    if c.glows and air.time != "day":
        k = 4  # a glow is smooth: drawn small, blurred, enlarged
        halo: np.ndarray = np.zeros((h // k + 1, w // k + 1, 3), np.uint8)
        for (u, v), radius, rgb, label in c.glows:
            col, row = u >> SHIFT, v >> SHIFT
            if not (0 <= col < w and 0 <= row < h) or mask[row, col] != label:
                continue  # out of view, or something stands before it
            cv2.circle(halo, (u // k, v // k), int(max(radius, 0.8 * k) * 16 / k), rgb, -1, cv2.LINE_8, SHIFT)
        sigma = max(1.0, h / 120)
        wide = cv2.GaussianBlur(halo, (0, 0), sigma * (2.2 if air.weather in ("fog", "rain") else 1.2))
        halo = cv2.addWeighted(cv2.GaussianBlur(halo, (0, 0), sigma * 0.4), 0.5, wide, 1.0, 0)
        halo = cv2.resize(halo, (w, h), interpolation=cv2.INTER_LINEAR)
        image = cv2.addWeighted(image, 1.0, halo, 1.0 if air.night else 0.45, 0)

    rng = np.random.default_rng([*seed, 3, frame])
    if air.weather in ("rain", "snow"):
        veil = np.zeros_like(mask)
        if air.weather == "rain":
            n, slant = 170, 0.12
            starts = rng.random((n, 2)) * (w * 16, h * 16)
            steps = (0.03 + 0.05 * rng.random((n, 1))) * (slant * h * 16, h * 16)
            lines = np.stack([starts, starts + steps], 1).astype(np.int32)
            cv2.polylines(veil, list(lines), False, 255, max(1, h // 500), cv2.LINE_AA, SHIFT)
        else:
            for u, v, r in (rng.random((110, 3)) * (w * 16, h * 16, 1)).tolist():
                cv2.circle(veil, (int(u), int(v)), int((0.3 + r**4 * 1.2) * h / 8), 255, -1, cv2.LINE_AA, SHIFT)
        level = (0.2 if air.weather == "rain" else 0.8) * (0.45 if air.night else 1.0)
        image = cv2.addWeighted(image, 1.0, cv2.merge([veil, veil, veil]), level, 0)

    image = cv2.GaussianBlur(image, (0, 0) if h > 300 else (3, 3), max(0.45, h / 900))
    noise = np.frombuffer(rng.bytes(h * w * 3), np.uint8).reshape(h, w, 3)
    level = 0.1 if air.night else 0.055
    return cv2.addWeighted(image, 1.0, noise, level, -128 * level)
