"""What users give instead of a chest CT, by kind and seed, and what becomes of it.

``python badinput.py COUNT SEED`` gives COUNT of them to a scan and prints what became of them as JSON.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import shutil
import struct
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from dicomfiles import enhanced_dicom, write_dicom
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.scan.scan import scan
from everymodel import model_of
from phantom import SPACING_MM, phantom, phantom_image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

Draw = random.Random
SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")
REFUSED, SAME, EITHER = "refused", "the same answer", "refused or answered"
"""REFUSED: a sentence and no number. SAME: still a chest CT, the answer is that of one ``like`` it.
EITHER: a few of its bytes are wrong, and it may be read as another chest CT."""


@dataclass(frozen=True)
class Kind:
    """How to make it, what must become of it, words of the sentence, and whose answer it has if it has one."""

    make: Callable[[Path, Draw], Path]
    becomes: str = REFUSED
    says: str = ""
    like: Callable[[], sitk.Image] = phantom_image


def image_of(values: np.ndarray) -> sitk.Image:
    """Values in the place of the phantom."""
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(phantom_image())
    return image


def written(image: sitk.Image, folder: Path, draw: Draw) -> Path:
    path = folder / f"ct{draw.choice(SUFFIXES)}"
    sitk.WriteImage(image, str(path))
    return path


def of_values(change: Callable[[np.ndarray, Draw], np.ndarray]) -> Callable[[Path, Draw], Path]:
    """The phantom with other values, in any file."""
    return lambda folder, draw: written(image_of(change(phantom()[0], draw)), folder, draw)


def of_image(change: Callable[[sitk.Image, Draw], sitk.Image]) -> Callable[[Path, Draw], Path]:
    """The phantom changed as an image, in any file that can hold it."""
    return lambda folder, draw: written(change(phantom_image(), draw), folder, draw)


def of_bytes(change: Callable[[bytes, Draw], bytes]) -> Callable[[Path, Draw], Path]:
    """A file of the phantom with other bytes."""

    def make(folder: Path, draw: Draw) -> Path:
        path = written(phantom_image(), folder, draw)
        path.write_bytes(change(path.read_bytes(), draw))
        return path

    return make


def of_dicom(change: Callable[[list[Path], Draw], None] = lambda paths, draw: None, **tags: object) -> Callable:
    """The phantom as a DICOM folder with other attributes, and then with other files."""

    def make(folder: Path, draw: Draw) -> Path:
        given = {name: value(draw) if isinstance(value, Drawn) else value for name, value in tags.items()}
        change(write_dicom(folder / "series", phantom_image(), **given), draw)
        return folder / "series"

    return make


class Drawn:
    """An attribute that is drawn once for a series."""

    def __init__(self, choose: Callable[[Draw], object]) -> None:
        self._choose = choose

    def __call__(self, draw: Draw) -> object:
        return self._choose(draw)


def windowed(hu: np.ndarray, draw: Draw) -> np.ndarray:
    low, width = draw.choice([(-1350, 1500), (-160, 400), (-1024, 4096)])
    return ((hu.astype(float) - low) / width).clip(0, 1) * 255


def mr_like(hu: np.ndarray, draw: Draw) -> np.ndarray:
    """Air and lung dark, tissue bright, a field that is not even, all above zero."""
    tissue = np.where(hu > -400, draw.uniform(200, 1500), draw.uniform(5, 60))
    rng = np.random.default_rng(draw.randrange(1000))
    return (tissue * np.linspace(0.6, 1.4, hu.shape[2]) + rng.rayleigh(20, hu.shape)).astype(np.int16)


def without_lungs(hu: np.ndarray, draw: Draw) -> np.ndarray:
    """A body of tissue with a little gas, such as an abdomen, a leg or a bottle of water."""
    out = np.where(phantom()[1] > 0, 40, hu)
    for _ in range(draw.randrange(4)):
        z, y, x = (draw.randrange(n // 4, 3 * n // 4) for n in hu.shape)
        out[z : z + draw.randrange(1, 8), y : y + 4, x : x + draw.randrange(1, 10)] = draw.choice([-1000, -990])
    return out.astype(np.int16)


def spoilt_by(*values: float) -> Callable[[np.ndarray, Draw], np.ndarray]:
    def change(hu: np.ndarray, draw: Draw) -> np.ndarray:
        out = hu.astype(np.float32)
        out[tuple(draw.randrange(n) for n in hu.shape)] = draw.choice(values)
        return out

    return change


def corners(hu: np.ndarray, value: int) -> np.ndarray:
    """Filled outside a round field of view; the body reaches none of them."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    return np.where(x**2 + y**2 > 1.25, value, np.maximum(hu, -1024)).astype(np.int16)


def other_spacing(image: sitk.Image, draw: Draw) -> sitk.Image:
    spacing = list(SPACING_MM[::-1])
    spacing[draw.randrange(3)] = draw.choice([1e-7, 0.5, 60.0, 1e9])
    image.SetSpacing(spacing)
    return image


def without_header_entry(folder: Path, draw: Draw) -> Path:
    """An NRRD or MHA header with an entry that makes no sense."""
    path = folder / f"ct{draw.choice(['.nrrd', '.mha'])}"
    sitk.WriteImage(phantom_image(), str(path))
    raw = path.read_bytes()
    entries = {
        ".nrrd": [
            (rb"sizes: .*", [b"sizes: 100000 100000 100000", b"sizes: -4 64 70", b"sizes: 64 64", b"sizes: 0 0 0"]),
            (rb"dimension: 3", [b"dimension: 17", b"dimension: x", b"dimension: 1"]),
            (rb"type: short", [b"type: block", b"type: \xff", b"type: longlongdouble"]),
            (rb"space directions: .*", [b"space directions: (0,0,0) (0,0,0) (0,0,0)", b"space directions: (nan,0,0)"]),
            (rb"encoding: .*", [b"encoding: gzip", b"encoding: bzip2", b"encoding: rot13", b"encoding: hex"]),
        ],
        ".mha": [
            (rb"DimSize = .*", [b"DimSize = 100000 100000 100000", b"DimSize = -4 64 70", b"DimSize = 64"]),
            (rb"ElementType = .*", [b"ElementType = MET_OTHER", b"ElementType = MET_ASCII_CHAR"]),
            (rb"NDims = 3", [b"NDims = 0", b"NDims = 99", b"NDims = x"]),
            (rb"ElementSpacing = .*", [b"ElementSpacing = 0 0 0", b"ElementSpacing = nan 1 1"]),
            (rb"ElementDataFile = LOCAL", [b"ElementDataFile = /dev/null", b"ElementDataFile = nowhere.raw"]),
        ],
    }
    pattern, others = draw.choice(entries[path.suffix])
    path.write_bytes(re.sub(pattern, lambda _: draw.choice(others), raw, count=1))
    return path


def wrong_suffix(folder: Path, draw: Draw) -> Path:
    path = written(phantom_image(), folder, draw)
    other = draw.choice([s for s in (*SUFFIXES, ".nhdr", ".mhd") if not path.name.endswith(s)])
    return path.rename(folder / f"other{other}")


def another_file(folder: Path, draw: Draw) -> Path:
    """What is no volume at all, under a volume's name or its own."""
    path = folder / draw.choice(["ct.nrrd", "ct.nii.gz", "ct.mha", "ct.dcm", "ct.png", "report.pdf", "ct", "ct.zip"])
    kind = draw.randrange(5)
    if kind == 0:
        sitk.WriteImage(sitk.Image([64, 64], sitk.sitkUInt8), str(folder / "a.png"))
        (folder / "a.png").replace(path)
    elif kind == 1:
        path.write_bytes(draw.randbytes(draw.randrange(2000)))
    elif kind == 2:
        path.write_text("volume,label\n" * draw.randrange(9))
    elif kind == 3:
        path.write_bytes(gzip.compress(bytes(draw.randrange(5000))))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("ct.nrrd", b"NRRD0005")
    return path


def empty_folder(folder: Path, draw: Draw) -> Path:
    inner = folder / draw.choice(["empty", "empty.nrrd", "ct.dcm", "ein Ordner ü"])
    inner.mkdir()
    for k in range(draw.randrange(3)):
        (inner / f"{k}.txt").write_text("nothing")
    return inner


def flipped(raw: bytes, draw: Draw) -> bytes:
    """A few bytes changed, most of them in the header."""
    out = bytearray(raw)
    for _ in range(draw.randrange(1, 6)):
        out[draw.randrange(min(len(out), draw.choice([400, 400, len(out)])))] = draw.randrange(256)
    return bytes(out)


def flipped_dicom(paths: list[Path], draw: Draw) -> None:
    for path in draw.sample(paths, 3):
        raw = path.read_bytes()
        head = len(raw) - 64 * 64 * 2
        path.write_bytes(flipped(raw[:head], draw) + raw[head:])


def cut(raw: bytes, draw: Draw) -> bytes:
    return raw[: int(len(raw) * draw.uniform(0, 0.98))]


def without_some(paths: list[Path], draw: Draw) -> None:
    for path in draw.sample(paths[1:-1], draw.randrange(1, 9)):
        path.unlink()


def two_at_a_place(paths: list[Path], draw: Draw) -> None:
    for path in draw.sample(paths, draw.randrange(1, 9)):
        image = pydicom.dcmread(path)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        image.save_as(path.with_name(f"again-{path.name}"))


def copied(paths: list[Path], draw: Draw) -> None:
    for path in draw.sample(paths, draw.randrange(1, 70)):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))


def mixed(paths: list[Path], draw: Draw) -> None:
    write_dicom(paths[0].parent, phantom_image(), [f"b{k}.dcm" for k in range(70)], SeriesDescription="again")


def beside_others(paths: list[Path], draw: Draw) -> None:
    """A localizer, a dose report's picture, another modality and a short series beside the CT."""
    few = phantom_image()[:, :, : draw.randrange(1, 60)]
    for name, tags in {
        "scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "dose": {"Modality": "OT", "ImagePositionPatient": None, "ImageOrientationPatient": None},
        "pet": {"Modality": "PT"},
        "short": {},
    }.items():
        write_dicom(paths[0].parent, few, [f"{name}{k}" for k in range(few.GetDepth())], **tags)


def compressed(paths: list[Path], draw: Draw) -> None:
    syntax = draw.choice([JPEG2000Lossless, JPEGLSLossless, RLELossless, JPEGLosslessSV1])
    for path in paths:
        image = pydicom.dcmread(path)
        if syntax is not JPEGLosslessSV1:
            image.compress(syntax, generate_instance_uid=False)
        else:  # ITK writes what pydicom cannot
            writer = sitk.ImageFileWriter()
            writer.SetImageIO("GDCMImageIO")
            writer.SetFileName(str(path))
            writer.UseCompressionOn()
            writer.SetCompressor("JPEG")
            writer.Execute(sitk.GetImageFromArray(image.pixel_array[None].astype(np.uint16)))
            image.PixelData = encapsulate(list(pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData)))
            image["PixelData"].VR = "OB"
            image.file_meta.TransferSyntaxUID = syntax
        image.save_as(path)


def without_preamble(paths: list[Path], draw: Draw) -> None:
    for path in draw.sample(paths, draw.randrange(1, 70)):
        path.write_bytes(path.read_bytes()[132:])


def over_folders(paths: list[Path], draw: Draw) -> None:
    each = draw.randrange(5, 60)
    for k, path in enumerate(paths):
        target = path.parent / f"DIR{k // each:03}" / f"IM{k:05}"
        target.parent.mkdir(exist_ok=True)
        path.rename(target)


def linked(paths: list[Path], draw: Draw) -> None:
    """The folder as a link to another one, beside a link that leads in a circle."""
    elsewhere = paths[0].parent.parent / "elsewhere"
    paths[0].parent.rename(elsewhere)
    paths[0].parent.mkdir()
    (paths[0].parent / "case").symlink_to(elsewhere)
    (paths[0].parent / "loop").symlink_to(paths[0].parent)


def beside_derived(paths: list[Path], draw: Draw) -> None:
    """A projection with more slices than the CT."""
    image = sitk.Expand(phantom_image(), (1, 1, 2)) + draw.randrange(5, 200)
    values = draw.choice([["DERIVED", "SECONDARY", "AXIAL", "MINIP"], ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 MIP"]])
    write_dicom(paths[0].parent / "derived", image, ImageType=values)


def another_patient(paths: list[Path], draw: Draw) -> None:
    for path in paths:
        image = pydicom.dcmread(path)
        image.PatientID = "1"
        image.save_as(path)
    few = phantom_image()[:, :, : draw.randrange(40, 70)]
    write_dicom(paths[0].parent / "other", few, PatientID="2")


def another_acquisition(paths: list[Path], draw: Draw) -> None:
    """Under the same SeriesInstanceUID, a part of a slice higher."""
    own = pydicom.dcmread(paths[0])
    image = phantom_image() + 100
    image.SetOrigin((-170, -170, -400 + draw.uniform(0, 4.9)))
    told = draw.choice([{"AcquisitionNumber": 2}, {"AcquisitionTime": "101500"}, {"InstanceNumber": lambda k: 500 + k}])
    names = [f"second{k}.dcm" for k in range(70)]
    write_dicom(paths[0].parent, image, names, SeriesInstanceUID=own.SeriesInstanceUID, **told)


def stray_files(paths: list[Path], draw: Draw) -> None:
    """A movie, damaged files and files of other kinds."""
    folder = paths[0].parent
    movie = pydicom.dcmread(paths[0])
    movie.SOPClassUID = movie.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.4"
    movie.SeriesInstanceUID, movie.NumberOfFrames = pydicom.uid.generate_uid(), 4
    movie.PixelData = bytes(4 * len(movie.PixelData))
    del movie.ImagePositionPatient, movie.ImageOrientationPatient
    movie.save_as(folder / "movie")
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + draw.randbytes(500))
    for name in ("readme.txt", "Thumbs.db", "._0001.dcm"):
        (folder / name).write_bytes(draw.randbytes(300))


def enhanced(folder: Path, draw: Draw) -> Path:
    order = list(range(70))
    draw.shuffle(order)
    return enhanced_dicom(folder / "ct" / "enhanced", phantom_image(), order).parent


def contradicting_nifti(folder: Path, draw: Draw) -> Path:
    """Another pixdim than its sform has."""
    path = folder / "ct.nii"
    sitk.WriteImage(phantom_image(), str(path))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 76 + 4 * draw.randrange(1, 4), draw.uniform(1, 9))
    struct.pack_into("<2h", raw, 252, 0, 1)
    path.write_bytes(raw)
    return path


def zipped(folder: Path, draw: Draw) -> Path:
    paths = write_dicom(folder / "ct", phantom_image())
    inside = folder / "zip"
    inside.mkdir()
    with zipfile.ZipFile(inside / "ct.zip", "w") as archive:
        for path in paths[:5]:
            archive.write(path)
    return draw.choice([inside, inside / "ct.zip"])


def cut_stream(paths: list[Path], draw: Draw) -> None:
    compressed(paths, draw)
    for path in draw.sample(paths, draw.randrange(1, 9)):
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * draw.uniform(0.5, 0.95))])


def cut_slices(paths: list[Path], draw: Draw) -> None:
    for path in draw.sample(paths, draw.randrange(1, 9)):
        path.write_bytes(cut(path.read_bytes(), draw))


def coloured(folder: Path, draw: Draw) -> Path:
    rgb = np.repeat((windowed(phantom()[0], draw)).astype(np.uint8)[..., None], draw.choice([2, 3, 4]), -1)
    image = sitk.GetImageFromArray(rgb, isVector=True)
    image.CopyInformation(phantom_image())
    return written(image, folder, draw)


def four_dimensional(folder: Path, draw: Draw) -> Path:
    series = sitk.JoinSeries([phantom_image()] * draw.randrange(2, 4))
    path = folder / f"ct{draw.choice(SUFFIXES)}"
    sitk.WriteImage(series, str(path))
    return path


def sheared_nrrd(folder: Path, draw: Draw) -> Path:
    path = folder / "ct.nrrd"
    sitk.WriteImage(phantom_image(), str(path))
    tilt = math.tan(math.radians(draw.choice([-1, 1]) * draw.uniform(1, 30)))
    directions = f"space directions: (5.5,0,0) (0,5.5,0) (0,{5 * tilt:.4f},5)".encode()
    path.write_bytes(re.sub(rb"space directions: .*", directions, path.read_bytes(), count=1))
    return path


def tilted(folder: Path, draw: Draw) -> Path:
    step = draw.choice([-1, 1]) * math.tan(math.radians(draw.uniform(1, 30))) * SPACING_MM[0]
    return of_dicom(ImagePositionPatient=lambda k: [-170, round(-170 + k * step, 4), -400 + 5 * k])(folder, draw)


def of_one_value(hu: np.ndarray, draw: Draw) -> np.ndarray:
    return np.full(hu.shape, draw.choice([-1024, 0, 7]), draw.choice([np.int16, np.float32]))


def labels(hu: np.ndarray, draw: Draw) -> np.ndarray:
    return (phantom()[1] * draw.choice([1, 10, 100])).astype(draw.choice([np.uint8, np.int16, np.int32]))


def few_slices(image: sitk.Image, draw: Draw) -> sitk.Image:
    first, count = draw.randrange(50), draw.randrange(1, 20)
    return image[:, :, first : first + count]


def noise(hu: np.ndarray, draw: Draw) -> np.ndarray:
    rng = np.random.default_rng(draw.randrange(1000))
    if draw.random() < 0.5:
        return rng.integers(-1024, 1024, hu.shape, dtype=np.int16)
    return rng.normal(draw.uniform(-900, 100), draw.uniform(50, 400), hu.shape).astype(np.int16)


def another_number_type(hu: np.ndarray, draw: Draw) -> np.ndarray:
    return hu.astype(draw.choice([np.int32, np.float32, np.float64]))


KINDS: dict[str, Kind] = {
    "8-bit": Kind(of_values(lambda hu, draw: windowed(hu, draw).astype(np.uint8)), says="8-bit|Every voxel"),
    "windowed to 0..255": Kind(of_values(lambda hu, draw: windowed(hu, draw).astype(np.int16)), says="grey-scale"),
    "like MR": Kind(of_values(mr_like), says="lowest value"),
    "1024 too high": Kind(of_values(lambda hu, draw: hu + np.int16(1024)), says="subtract 1024"),
    "1024 too high, padded": Kind(
        of_values(lambda hu, draw: corners(hu + np.int16(1024), draw.choice([-2000, -3024]))), says="subtract 1024"
    ),
    "1024 too low": Kind(of_values(lambda hu, draw: hu - np.int16(1024)), says="add 1024"),
    "NaN": Kind(of_values(spoilt_by(np.nan)), says="NaN"),
    "infinite": Kind(of_values(spoilt_by(np.inf, -np.inf)), says="infinite"),
    "constant": Kind(of_values(of_one_value), says="Every voxel"),
    "noise": Kind(of_values(noise)),
    "label map": Kind(of_values(labels)),
    "no lungs": Kind(of_values(without_lungs)),
    "few slices": Kind(of_image(few_slices), says="slice"),
    "colour": Kind(coloured, says="values per voxel"),
    "4D": Kind(four_dimensional, says="4 dimensions"),
    "another spacing": Kind(of_image(other_spacing)),
    "sheared": Kind(sheared_nrrd, says="right angles"),
    "zero bytes": Kind(of_bytes(lambda raw, draw: b""), says="damaged"),
    "truncated": Kind(of_bytes(cut), says="damaged"),
    "bytes changed": Kind(of_bytes(flipped), EITHER),
    "senseless header": Kind(without_header_entry),
    "wrong suffix": Kind(wrong_suffix, EITHER),
    "no volume": Kind(another_file),
    "empty folder": Kind(empty_folder, says="no DICOM slices"),
    "padded": Kind(
        of_values(lambda hu, draw: corners(hu, draw.choice([-2000, -2048, -3024]))),
        SAME,
        like=lambda: image_of(corners(phantom()[0], -1024)),
    ),
    "another number type": Kind(of_values(another_number_type), SAME),
    "DICOM": Kind(of_dicom(), SAME),
    "DICOM, compressed": Kind(of_dicom(compressed), SAME),
    "DICOM, copies": Kind(of_dicom(copied), SAME),
    "DICOM among others": Kind(of_dicom(beside_others), SAME),
    "DICOM without preamble": Kind(of_dicom(without_preamble), SAME),
    "DICOM over folders": Kind(of_dicom(over_folders), SAME),
    "DICOM, linked": Kind(of_dicom(linked), SAME),
    "DICOM beside a projection": Kind(of_dicom(beside_derived), SAME),
    "DICOM beside stray files": Kind(of_dicom(stray_files), SAME),
    "DICOM, numbers of UIDs repeated": Kind(of_dicom(SOPInstanceUID=lambda k: f"1.2.{k % 40}"), SAME),
    "DICOM, enhanced": Kind(enhanced, SAME),
    "NIfTI that contradicts itself": Kind(contradicting_nifti, SAME),
    "DICOM, two patients": Kind(of_dicom(another_patient), says="two patients"),
    "DICOM, two acquisitions": Kind(of_dicom(another_acquisition), says="2 equally good CT series"),
    "DICOM, inverted": Kind(of_dicom(PhotometricInterpretation="MONOCHROME1"), says="MONOCHROME1"),
    "DICOM, one intercept": Kind(of_dicom(RescaleIntercept=lambda k: 0 if k == 30 else -1024), says="Slice 31 of 70"),
    "DICOM without rescaling": Kind(of_dicom(RescaleSlope=None, RescaleIntercept=None), says="lacks RescaleSlope"),
    "ZIP": Kind(zipped, says="unpack"),
    "DICOM, cut in the stream": Kind(of_dicom(cut_stream)),
    "DICOM, cut": Kind(of_dicom(cut_slices)),
    "DICOM, bytes changed": Kind(of_dicom(flipped_dicom), EITHER),
    "DICOM, slices missing": Kind(of_dicom(without_some), says="missing"),
    "DICOM, two images of a place": Kind(of_dicom(two_at_a_place), says="several images of the same place"),
    "DICOM, two series": Kind(of_dicom(mixed), says="equally good CT series"),
    "DICOM, staggered slices": Kind(tilted, EITHER),
    "DICOM, another modality": Kind(of_dicom(Modality=Drawn(lambda draw: draw.choice(["MR", "PT"]))), says="modality"),
    "DICOM, localizers": Kind(of_dicom(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), says="no DICOM slices"),
    "DICOM, secondary captures": Kind(
        of_dicom(Modality="OT", ImagePositionPatient=None, ImageOrientationPatient=None), says="no DICOM slices"
    ),
    "DICOM, multi-frame": Kind(of_dicom(NumberOfFrames=2), says="multi-frame"),
    "DICOM without pixel spacing": Kind(of_dicom(PixelSpacing=None), says="PixelSpacing"),
    "DICOM, pixel spacing varies": Kind(
        of_dicom(PixelSpacing=lambda k: [5.5, 5.5] if k < 40 else [7.0, 7.0]), says="spacing"
    ),
    "DICOM in colour": Kind(
        of_dicom(
            SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8, BitsStored=8,
            HighBit=7, PixelData=bytes(64 * 64 * 3),
        )
    ),
    "DICOM not in HU": Kind(of_dicom(RescaleSlope=1, RescaleIntercept=Drawn(lambda draw: draw.choice([0, -1])))),
    "DICOM, absurd rescaling": Kind(of_dicom(RescaleSlope=Drawn(lambda draw: draw.choice([0, 1e-9, 1e6, -1])))),
    "DICOM without pixels": Kind(of_dicom(PixelData=None)),
}  # fmt: skip


def wrongs(text: str, says: str) -> list[str]:
    """What a sentence for the user lacks."""
    found = []
    if not re.search(says, text):
        found.append(f"doesn't say '{says}'")
    if not text.endswith((".", "?")) or not 20 < len(text) < 700 or not text.isprintable():
        found.append("is no sentence")
    if ";" not in text:
        found.append("doesn't say what to do")
    return found


class Judge:
    """Gives paths to a scan, and says what is wrong with what becomes of them."""

    def __init__(self) -> None:
        self.model = model_of("conv_lstm")
        self._right: dict[Callable[[], sitk.Image], float] = {}

    def right(self, kind: Kind) -> float:
        """The answer on the chest CT that it is like."""
        if kind.like not in self._right:
            self._right[kind.like] = scan(kind.like(), self.model).probability
        return self._right[kind.like]

    def judge(self, path: Path, kind: Kind) -> tuple[str, list[str]]:
        """What became of it ("refused" or "answered"), and what is wrong with that."""
        try:
            result = scan(read_ct(path).image, self.model)
        except EmphysemaScannerError as error:
            wrong = wrongs(str(error), kind.says)
            return "refused", [
                f"{error!r} {what}" for what in wrong + (["is for a chest CT"] if kind.becomes == SAME else [])
            ]
        if kind.becomes == REFUSED:
            return "answered", [f"a number, {result.probability:.3f}, with {result.warnings}"]
        if kind.becomes == SAME and abs(result.probability - self.right(kind)) > 1e-4:
            return "answered", [f"{result.probability} instead of {self.right(kind)}"]
        return "answered", []


def give(judge: Judge, name: str, seed: int) -> tuple[str, list[str]]:
    """Make one case, judge it, and see that nothing was left or changed."""
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as temporary:
        path = KINDS[name].make(Path(made), random.Random(f"{name} {seed}"))
        before = {p: (s.st_size, s.st_mtime_ns) for p in sorted(Path(made).rglob("*")) if (s := p.stat())}
        kept, tempfile.tempdir = tempfile.tempdir, temporary
        try:
            became, wrong = judge.judge(path, KINDS[name])
        except Exception as error:
            became, wrong = "error", [repr(error)]
        finally:
            tempfile.tempdir = kept
        after = {p: (s.st_size, s.st_mtime_ns) for p in sorted(Path(made).rglob("*")) if (s := p.stat())}
        if before != after or list(Path(temporary).iterdir()):
            wrong.append("files were left or changed")
        return became, wrong


def main(count: int, first_seed: int) -> dict[str, object]:
    judge, became, wrong = Judge(), Counter(), []
    for k in range(count):
        name, seed = list(KINDS)[k % len(KINDS)], first_seed + k // len(KINDS)
        what, found = give(judge, name, seed)
        became[what] += 1
        wrong += [f"{name} {seed}: {one}" for one in found]
    return {"cases": count, "kinds": len(KINDS), **became, "wrong": wrong}


if __name__ == "__main__":
    sitk.ProcessObject.GlobalWarningDisplayOff()
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2])), indent=1))
