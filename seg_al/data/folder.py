"""Anyone's images and masks in a folder."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from seg_al.config import UserError
from seg_al.data.base import IGNORE, SegmentationDataset, Split
from seg_al.data.files import (
    FileSamples,
    Problems,
    check_fractions,
    contents,
    find_root,
    hold_out,
    paired,
    sample_id,
    scan_images,
    scan_masks,
    some,
)
from seg_al.data.masks import Color, LabelColors, LabelIds, MaskReader

SPLITS: tuple[Split, ...] = get_args(Split)


class FolderSegmentation(SegmentationDataset):
    """Images and masks of one's own, in one of these layouts.

    - ``root/images`` and ``root/masks``: split by `fractions`;
    - ``root/{train,val,test}/{images,masks}``, or ``root/{images,masks}/{train,val,test}``;
    - any of these with `train_list` (and `val_list`, `test_list`): text files, one sample a line.

    A mask has the name of its image. Subfolders are searched. Where val or test is not given, it is drawn
    from train by `fractions`.
    """

    root: str | Path
    """Folder of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    classes: tuple[str, ...] | str | None = None
    """Class names in the order of their ids, or a text file with one name a line (below root, or a path of
    its own); None reads root/classes.txt."""

    void: int | tuple[int, ...] | None = 255
    """Label ids that mean "ignore"."""

    label_ids: tuple[tuple[int, int], ...] | None = None
    """Pairs (label id in the masks, index of its class), where the two differ; several ids may share a class.
    None: a label id is the index of its class."""

    colors: tuple[tuple[int, int, int], ...] | None = None
    """For masks that are pictures: the RGB colour of each class. They are the palette of figures, too."""

    void_color: tuple[int, int, int] | tuple[tuple[int, int, int], ...] | None = None
    """For masks that are pictures: the RGB colour, or colours, that mean "ignore"."""

    images: str = "images"
    """Name of the folder of images."""

    masks: str = "masks"
    """Name of the folder of masks."""

    image_ending: str = ""
    """What image names end in, before the suffix, e.g. "_leftImg8bit"; not part of the id."""

    mask_ending: str = ""
    """What mask names end in, before the suffix, e.g. "_gtFine_labelIds"; not part of the id."""

    train_list: str | None = None
    """Text file (below root, or a path of its own) of the train split. A line is an id, an image path, or
    an image path and a mask path, apart by a tab or spaces; paths are relative to root or its images folder."""

    val_list: str | None = None
    """Text file of the val split."""

    test_list: str | None = None
    """Text file of the test split."""

    fractions: tuple[float, float] = (0.1, 0.2)
    """Shares of val and test, of all labeled images, where these splits are not given. 0 leaves one empty."""

    split_seed: int = 0
    """Which images `fractions` draws: a function of this seed and the ids, of nothing else."""

    unlabeled_ok: bool = False
    """Allow train images without a mask: a pool to label. val and test are drawn from the labeled ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fractions(self.fractions, "FolderSegmentation.fractions")
        if self.train_list is None and (self.val_list or self.test_list):
            raise UserError("FolderSegmentation.val_list and test_list need a train_list beside them")
        if self.colors is None and self.void_color is not None:
            raise UserError("FolderSegmentation.void_color needs colors, the colour of each class")
        if self.colors is not None and self.label_ids is not None:
            raise UserError("FolderSegmentation: masks hold either label_ids or colors, not both")
        keys = [key for key, _ in self.label_ids or ()]
        if not all(0 <= id <= 65535 for id in [*self._void_ids, *keys]):
            raise UserError("FolderSegmentation: label ids in void and label_ids lie between 0 and 65535")
        if twice := sorted({id for id in keys if keys.count(id) > 1 or id in self._void_ids}):
            raise UserError(f"FolderSegmentation: label ids {some(list(map(str, twice)))} are given two meanings")
        if twice_colors := self._repeated_colors():
            raise UserError(f"FolderSegmentation: colours {some(twice_colors)} are given two meanings")
        if not all(0 <= channel <= 255 for color in [*(self.colors or ()), *self._void_colors] for channel in color):
            raise UserError("FolderSegmentation: channels of colors and void_color lie between 0 and 255")
        if isinstance(self.classes, tuple):
            _check_names(self.classes, "FolderSegmentation.classes")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, as given or read from their file.

        Raises:
            UserError: no such file, or names that cannot be used.
        """
        if isinstance(self.classes, tuple):
            return self.classes
        root = find_root(self.root)
        path = _beside(root, self.classes or "classes.txt")
        if self.classes is None and not path.is_file():
            raise UserError(f"{path}: no such file; write one class name a line, or set classes=(...)")
        names = tuple(read_lines(path))
        _check_names(names, str(path))
        return names

    @property
    def palette(self) -> np.ndarray:
        """The `colors` given, or the colours of PASCAL VOC (its black left out), (C, 3) uint8 RGB."""
        if self.colors is not None:
            return np.array(self.colors, dtype=np.uint8)
        return np.array([voc_color(i + 1) for i in range(len(self.class_names))], dtype=np.uint8)

    def samples(self, split: Split) -> FileSamples:
        """List one split, sorted by id, or in the order of its list."""
        root = find_root(self.root)
        sources = self.sources(root)
        if split != "train" and split in sources:
            return self._listed(sources[split], root, split)
        train = self._listed(sources["train"], root, "train")
        labeled = sum(mask is not None for mask in train.masks)
        parts: dict[str, FileSamples] = {}
        for missing, fraction in zip(("val", "test"), self.fractions, strict=True):
            if missing not in sources:
                # Drawn one after the other from what is left, of the labeled images alone.
                count, ranked = round(fraction * labeled), [i for i, m in enumerate(train.masks) if m is not None]
                _, parts[missing] = hold_out(train.subset(ranked), count, self.split_seed)
                drawn = set(parts[missing].ids)
                train = train.subset(i for i, name in enumerate(train.ids) if name not in drawn)
        return {"train": train, **parts}[split]

    def sources(self, root: Path) -> dict[str, _Source]:
        """Return where each split that is given lies; train always is."""
        images, masks = root / self.images, root / self.masks
        if self.train_list is not None:
            lists = {"train": self.train_list, "val": self.val_list, "test": self.test_list}
            return {split: _Source(images, masks, _beside(root, name)) for split, name in lists.items() if name}
        if (root / "train" / self.images).is_dir():
            present = [split for split in SPLITS if (root / split).is_dir()]
            return {split: _Source(root / split / self.images, root / split / self.masks) for split in present}
        if (images / "train").is_dir():
            present = [split for split in SPLITS if (images / split).is_dir()]
            return {split: _Source(images / split, masks / split) for split in present}
        if images.is_dir():
            return {"train": _Source(images, masks)}
        raise UserError(
            f"{root}: expected {self.images}/ and {self.masks}/, or train/, val/ and test/ with these in each, "
            f"found {contents(root)}; set root, or images and masks, the names of these folders"
        )

    def _listed(self, source: _Source, root: Path, split: str) -> FileSamples:
        problems = Problems()
        unlabeled_ok = self.unlabeled_ok and split == "train"
        reader = self._mask_reader()
        if source.listing is None:
            samples = paired(
                scan_images(source.images, problems, self.image_ending),
                self._scan_masks(source, problems, unlabeled_ok),
                reader,
                problems,
                unlabeled_ok,
            )
        else:
            samples = self._from_list(source, root, reader, problems, unlabeled_ok)
        problems.raise_any(f"{source.listing or source.images.parent}, {split}")
        return samples

    def _scan_masks(self, source: _Source, problems: Problems, unlabeled_ok: bool) -> dict[str, Path]:
        try:
            return scan_masks(source.masks, problems, self.mask_ending, unlabeled_ok)
        except UserError as error:
            raise UserError(f"{error} (unlabeled_ok=True allows a pool without masks)") from None

    def _from_list(
        self, source: _Source, root: Path, reader: MaskReader, problems: Problems, unlabeled_ok: bool
    ) -> FileSamples:
        """Return the samples that a text file lists, in its order."""
        assert source.listing is not None
        aside = Problems()  # a list says what is used: other files in the folders are nobody's problem
        images = scan_images(source.images, aside, self.image_ending) if source.images.is_dir() else {}
        masks = scan_masks(source.masks, aside, self.mask_ending, unlabeled_ok=True)
        chosen: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        for line in read_lines(source.listing):
            image, mask = self._entry(line, images, (source.images, root))
            if image is None:
                problems.add("lines that name no image; restore it or remove the line", repr(line))
                continue
            name = sample_id(image, source.images if image.is_relative_to(source.images) else root, self.image_ending)
            if name in chosen:
                problems.add("ids listed twice; keep one", name)
            chosen[name] = image
            if mask is None and name in masks:
                mask = masks[name]
            if mask is not None:
                labels[name] = mask
        if not chosen and not problems:
            raise UserError(f"{source.listing}: lists nothing; write one id or image path a line")
        return paired(chosen, labels, reader, problems, unlabeled_ok)

    def _entry(self, line: str, images: dict[str, Path], folders: tuple[Path, ...]) -> tuple[Path | None, Path | None]:
        """Return the image and, where the line names one, the mask. Names may hold spaces: whole lines go first."""

        def file(text: str) -> Path | None:
            return next((folder / text for folder in folders if text and (folder / text).is_file()), None)

        if image := images.get(unicodedata.normalize("NFC", line)) or file(line):
            return image, None
        for cut in (i for i, character in enumerate(line) if character in "\t "):
            image, mask = file(line[:cut].strip()), file(line[cut:].strip())
            if image and mask:
                return image, mask
        return None, None

    def _mask_reader(self) -> MaskReader:
        count = len(self.class_names)
        if count > IGNORE:
            raise UserError(f"FolderSegmentation: {count} classes, but a target of bytes holds at most {IGNORE}")
        if self.colors is not None:
            if len(self.colors) != count:
                raise UserError(f"FolderSegmentation: {len(self.colors)} colors for {count} classes; give each its own")
            known_colors = {color: i for i, color in enumerate(self.colors)} | dict.fromkeys(self._void_colors, IGNORE)
            return LabelColors(known_colors, "add the colour to colors (with its class) or to void_color")
        known = {i: i for i in range(count)} if self.label_ids is None else dict(self.label_ids)
        if wrong := [f"{id} -> {index}" for id, index in known.items() if not 0 <= index < count]:
            raise UserError(f"FolderSegmentation.label_ids: {some(wrong)}, but classes are 0 to {count - 1}")
        if both := [str(id) for id in self._void_ids if id in known]:
            names = ", ".join(repr(self.class_names[known[int(id)]]) for id in both)
            raise UserError(f"FolderSegmentation.void holds {', '.join(both)}, which is class {names} too; remove one")
        known |= dict.fromkeys(self._void_ids, IGNORE)
        return LabelIds(known, "add a name to classes, a pair to label_ids, or the id to void")

    @property
    def _void_ids(self) -> tuple[int, ...]:
        return () if self.void is None else (self.void,) if isinstance(self.void, int) else self.void

    @property
    def _void_colors(self) -> tuple[Color, ...]:
        if not self.void_color:
            return ()
        return (self.void_color,) if isinstance(self.void_color[0], int) else self.void_color

    def _repeated_colors(self) -> list[str]:
        colors = [*(self.colors or ()), *self._void_colors]
        return sorted({str(color) for color in colors if colors.count(color) > 1})


@dataclass(frozen=True)
class _Source:
    """Where one split lies: all of two folders, or what a list names of them."""

    images: Path
    masks: Path
    listing: Path | None = None


def _beside(root: Path, name: str) -> Path:
    """Return a text file that is named relative to root, or else as a path of its own."""
    below = root / Path(name).expanduser()
    return below if below.exists() or not Path(name).exists() else Path(name)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that hold anything."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows editors put a mark before the first line
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write one name a line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}); save it as UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _check_names(names: tuple[str, ...], where: str) -> None:
    if len(names) < 2:
        raise UserError(f"{where}: names {len(names)} class; at least two are needed, so name the background too")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{where}: {some(twice)} named more than once; give each class a name of its own")


def voc_color(index: int) -> Color:
    """Return PASCAL VOC's colour of a class: bits 0, 1, 2 of the index are the top bits of R, G, B, and so on."""
    red, green, blue = (sum((index >> 3 * i + channel & 1) << 7 - i for i in range(8)) for channel in range(3))
    return red, green, blue
