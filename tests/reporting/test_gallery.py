"""Pictures: every pixel has the colour it should, whatever the sizes and the names."""

import cv2
import numpy as np
import pytest

from seg_al.reporting.gallery import colorize, contact_sheet, legend, overlay, reconstructions, side_by_side

PALETTE = np.array([[128, 64, 128], [0, 0, 142], [107, 142, 35]], np.uint8)


def solid(height: int, width: int, color: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def box_of(sheet: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the pixels of one colour, which must fill their box."""
    ys, xs = np.nonzero((sheet == color).all(2))
    height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
    assert len(ys) == height * width
    return ys.min(), xs.min(), height, width


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_classes_have_their_colours_and_ignored_pixels_none(dtype: type) -> None:
    target = np.random.default_rng(0).choice([0, 1, 2, 255], size=(40, 50)).astype(dtype)
    colors = colorize(target, PALETTE)
    assert colors.shape == (40, 50, 3) and colors.dtype == np.uint8
    for class_id, color in enumerate(PALETTE):
        assert (colors[target == class_id] == color).all()
    ignored = colors[target == 255]
    assert (ignored == ignored[:, :1]).all() and ignored.max() <= 64  # dark and grey
    assert len(np.unique(ignored)) == 2  # a hatch, not one tone that a class could have


@pytest.mark.parametrize("wrong", [-1, 3, 254])
def test_ids_without_a_colour_are_named(wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"\[{wrong}\].*0\.\.2"):
        colorize(np.array([[0, wrong]]), PALETTE)


def test_overlay_blends_and_fits_the_image_to_the_target() -> None:
    target = np.ones((6, 8), np.uint8)
    assert (overlay(solid(12, 16, (100, 200, 0)), target, PALETTE, alpha=0.5) == [50, 100, 71]).all()
    assert (overlay(solid(6, 8, (100, 200, 0)), target, PALETTE, alpha=0.0) == [100, 200, 0]).all()
    assert (overlay(solid(6, 8, (100, 200, 0)), target, PALETTE, alpha=1.0) == PALETTE[1]).all()


def test_prediction_beside_ground_truth_hides_what_does_not_count() -> None:
    target = np.array([[0, 1, 255, 2]] * 8, np.uint8).repeat(25, axis=1)
    prediction = np.array([[0, 2, 1, 2]] * 8).repeat(25, axis=1)
    row = side_by_side(solid(4, 50, (9, 9, 9)), target, prediction, PALETTE)
    gap = (row.shape[1] - 300) // 2
    image, truth, guess = row[:, :100], row[:, 100 + gap : 200 + gap], row[:, 200 + 2 * gap :]
    assert len(row) == 8 and (image == 9).all()
    assert np.array_equal(truth, colorize(target, PALETTE))
    assert np.array_equal(truth[:, 50:75], guess[:, 50:75])
    assert (guess[:, 25:50] == PALETTE[2]).all()
    with pytest.raises(ValueError, match="shape"):
        side_by_side(image, target, prediction[:4], PALETTE)


def test_tiles_keep_their_aspect_and_their_order() -> None:
    red, green, blue, black = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
    tiles = (solid(*size, color) for size, color in [((400, 100), red), ((50, 400), green), ((8, 8), blue)])
    sheet = contact_sheet([*tiles, solid(3, 1000, black)], columns=2, tile=(80, 120))
    boxes = [box_of(sheet, color) for color in (red, green, blue, black)]
    assert [box[2:] for box in boxes] == [(80, 20), (15, 120), (80, 80), (1, 120)]
    centers = [(top + height / 2, left + width / 2) for top, left, height, width in boxes]
    assert centers[0][0] == pytest.approx(centers[1][0], abs=1) and centers[0][1] < centers[1][1]
    assert centers[0][0] < centers[2][0] and centers[0][1] == pytest.approx(centers[2][1], abs=1)


def test_pixels_are_not_smoothed_when_enlarged_nor_skipped_when_shrunk() -> None:
    checks = (np.indices((4, 4)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    enlarged = contact_sheet([checks], tile=(64, 64))[12:76, 12:76]
    assert set(np.unique(enlarged)) == {0, 255}
    shrunk = contact_sheet([np.tile(checks, (64, 64, 1))], tile=(64, 64))[12:76, 12:76]
    assert (abs(shrunk.astype(int) - 128) <= 1).all()  # the mean, not a moiré of picked pixels


def test_captions_are_drawn_inside_their_tile_however_long() -> None:
    tiles = [solid(60, 80, (200, 0, 0))] * 2
    long, none = "städte/" + "x" * 300 + "/größe_ж_000019", ""
    sheet = contact_sheet(tiles, [long, none], columns=2, tile=(60, 80))
    ink = (sheet < 128).all(2)
    assert ink[:, 12:92].any() and not ink[:, 92:].any()
    # both ends of the id are kept, so ids that differ in either look different
    for other in (long[:-1] + "8", "S" + long[1:]):
        assert not np.array_equal(contact_sheet(tiles, [other, none], columns=2, tile=(60, 80)), sheet)


def test_letters_outside_ascii_are_drawn_as_letters() -> None:
    tile = [solid(20, 80, (0, 0, 0))]
    drawn = [contact_sheet(tile, [text], tile=(20, 80)) for text in ("ü", "ж", "λ", "\ufffe")]
    for index, sheet in enumerate(drawn):  # a font without the letter draws one and the same box
        assert not any(np.array_equal(sheet, other) for other in drawn[index + 1 :])
    decomposed = contact_sheet(tile, ["u\u0308"], tile=(20, 80))
    assert np.array_equal(decomposed, drawn[0])


def test_all_rows_and_lines_and_the_title_have_room() -> None:
    tiles = [solid(30, 40, (200, 0, 0))] * 5
    plain = contact_sheet(tiles, columns=2, tile=(30, 40))
    lines = contact_sheet(tiles, ["a\nb"] * 5, columns=2, tile=(30, 40), title="Round 1")
    assert plain.shape[1] == lines.shape[1] and lines.shape[0] >= plain.shape[0] + 3 * 2 * 13 + 18
    assert (plain == (200, 0, 0)).all(2).sum() == (lines == (200, 0, 0)).all(2).sum() == 5 * 30 * 40


def test_mistakes_in_a_sheet_are_named() -> None:
    tile = solid(4, 4, (0, 0, 0))
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
    with pytest.raises(ValueError, match="1 captions for 2"):
        contact_sheet([tile, tile], ["a"])
    for wrong in (tile[..., 0], tile.astype(np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            contact_sheet([wrong])


@pytest.mark.parametrize("width", [120, 400, 1500])
def test_legend_shows_every_colour_once_within_its_width(width: int) -> None:
    names = ["road", "Straßenschild mit einem sehr langen Namen", "vegetation"]
    picture = legend(names, PALETTE, width)
    assert picture.shape[1] == width
    areas = [(picture == color).all(2).sum() for color in PALETTE]
    assert areas[0] == areas[1] == areas[2] == 14 * 24  # a 16 x 26 swatch inside its outline
    with pytest.raises(ValueError, match="2 class names for 3"):
        legend(names[:2], PALETTE)


@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_reconstructions_in_their_value_range(low: float) -> None:
    rng = np.random.default_rng(0)
    expected = rng.integers(0, 256, (3, 3, 20, 30))
    originals = (expected / 255 * (1 - low) + low).astype(np.float32)
    sheet = reconstructions(originals, np.full((3, 3, 5, 5), 7.0), low=low, tile=(20, 30))  # 7 is clipped to white
    for index in range(3):
        x = 12 + index * (30 + 12)
        assert np.array_equal(sheet[12:32, x : x + 30], expected[index].transpose(1, 2, 0))
    with pytest.raises(ValueError, match="must both be"):
        reconstructions(originals, originals[:2])


def test_a_diverged_reconstruction_is_black_and_no_error() -> None:
    originals = np.ones((1, 3, 8, 8), np.float32)
    with np.errstate(all="raise"):
        sheet = reconstructions(originals, originals * np.nan, tile=(8, 8))
    assert (sheet == 0).all(2).sum() >= 64


def test_sheets_can_be_written_by_opencv() -> None:
    sheet = contact_sheet([solid(4, 4, (1, 2, 3))])
    assert cv2.imencode(".png", sheet[..., ::-1])[0]
