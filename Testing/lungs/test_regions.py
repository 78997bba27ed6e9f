"""Label files of many tools become lungs and lobes on the CT, or one sentence says why they cannot."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.lungs import masks as masks_module
from EmphysemaScannerLib.lungs.labelfiles import MaskFiles, read_label_map
from EmphysemaScannerLib.lungs.lungs import Lungs, find_lungs
from EmphysemaScannerLib.lungs.masks import LungRegions, lung_regions
from EmphysemaScannerLib.lungs.recognition import WANTED_LOBES, WANTED_LUNGS, by_code, by_name, recognise
from EmphysemaScannerLib.lungs.regions import (
    LOBES,
    GivenRegions,
    MaskKind,
    Masks,
    Recognition,
    Region,
    RegionError,
    UnknownLabelsError,
    parse_labels,
)
from phantom import phantom

ANATOMY = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
RUL, RML, RLL, LUL, LLL = LOBES


@pytest.fixture(scope="module")
def own(tiny_chest: sitk.Image) -> Lungs:
    return find_lungs(tiny_chest)


@pytest.fixture(autouse=True)
def found_once(own: Lungs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks_module, "find_lungs", lambda _image: own)


def lobes() -> np.ndarray:
    """The phantom's lobes by their numbers: the right lung in three, the left in two."""
    _, labels = phantom()
    k = np.arange(labels.shape[0])[:, None, None]
    right = np.select([k >= 45, k >= 32], [RUL.lobe, RML.lobe], RLL.lobe)
    left = np.select([k >= 38], [LUL.lobe], LLL.lobe)
    return np.where(labels == 1, right, np.where(labels == 2, left, 0)).astype(np.uint8)


def written(path: Path, values: np.ndarray, like: sitk.Image, metadata: dict[str, str] | None = None) -> Path:
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(like)
    for key, text in (metadata or {}).items():
        image.SetMetaData(key, text)
    sitk.WriteImage(image, str(path))
    return path


def numbered(numbers: dict[Region, int], other: int = 0) -> np.ndarray:
    """The phantom's lobes with a tool's numbers, and a box of another label in the abdomen."""
    values, parts = np.zeros(lobes().shape, np.uint16), lobes()
    for lobe, number in numbers.items():
        values[parts == lobe.lobe] = number
    values[:4, 30:34, 30:34] = other
    return values


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("lung_upper_lobe_left", LUL),
        ("lung_middle_lobe_right", RML),
        ("Right lung", Region.RIGHT_LUNG),
        ("left lung mask", Region.LEFT_LUNG),
        ("RightSuperiorLobe", RUL),
        ("LEFTINFERIORLOBE", LLL),
        ("right lower lobe", RLL),
        ("Lower lobe of left lung", LLL),
        ("RML", RML),
        ("WholeLung", Region.LUNGS),
        ("Lungs", Region.LUNGS),
    ],
)
def test_names_of_known_tools_are_recognised(name: str, region: Region) -> None:
    assert by_name(name) is region


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Segment_1",
        "lung nodule right",
        "right lung ventral",
        "right lung upper",
        "right lung 2",
        "left middle lobe",
        "temporal lobe right",
        "lobe",
        "left",
        "heart",
        "lung_vessels",
    ],
)
def test_names_of_anything_else_are_not(name: str) -> None:
    assert by_name(name) is None


@pytest.mark.parametrize(
    ("code", "region"),
    [
        ("SCT^39607008^Lung~SCT^24028007^Right", Region.RIGHT_LUNG),
        ("SCT^39607008^Lung~SCT^7771000^Left", Region.LEFT_LUNG),
        ("SCT^39607008^Lung~^^", Region.LUNGS),
        ("SCT^45653009^Upper lobe of lung~SCT^7771000^Left", LUL),
        ("SCT^45653009^Upper lobe of lung~SCT^24028007^Right", RUL),
        ("SCT^72481006^Middle lobe of right lung~^^", RML),
        ("SCT^90572001^Lower lobe of lung~SCT^24028007^Right", RLL),
        ("SCT^41224006^Lower lobe of left lung~^^", LLL),
        ("SCT^3341008^Right lung~^^", Region.RIGHT_LUNG),
        ("SCT^45653009^Upper lobe of lung~^^", None),
        ("SCT^85756007^Tissue~^^", None),
    ],
)
def test_codes_are_recognised_with_the_modifier_of_their_side(code: str, region: Region | None) -> None:
    assert by_code(f"{ANATOMY}~{code}~Anatomic codes - DICOM master list~^^~^^") is region


@pytest.mark.parametrize("text", ["", "~", "a~b", "~~~~"])
def test_a_terminology_that_is_none_is_no_region(text: str) -> None:
    assert by_code(text) is None


@pytest.mark.parametrize(
    ("tool", "numbers", "other"),
    [
        ("lungmask (lobes)", {LUL: 1, LLL: 2, RUL: 3, RML: 4, RLL: 5}, 0),
        ("TotalSegmentator 2", {LUL: 10, LLL: 11, RUL: 12, RML: 13, RLL: 14}, 16),
        ("TotalSegmentator 1", {LUL: 13, LLL: 14, RUL: 15, RML: 16, RLL: 17}, 5),
        ("Chest Imaging Platform", {RUL: 4, RML: 5, RLL: 6, LUL: 7, LLL: 8}, 512),
    ],
)
def test_numbers_of_known_tools_are_recognised_where_they_lie_as_lobes_do(
    tmp_path: Path, tiny_chest: sitk.Image, tool: str, numbers: dict[Region, int], other: int
) -> None:
    path = written(tmp_path / "labels.nii.gz", numbered(numbers, other), tiny_chest)
    given = MaskFiles(lobes=path).read().lobes
    assert given is not None
    assert (given.origin.numbering, given.origin.recognised) == (tool, Recognition.NUMBERS)
    assert np.array_equal(given.lobes, lobes())
    turned = written(tmp_path / "turned.nrrd", numbered(numbers, other)[:, :, ::-1], tiny_chest)
    with pytest.raises(UnknownLabelsError, match="--lobe-labels"):
        MaskFiles(lobes=turned).read()


def test_lungs_are_recognised_by_numbers_of_lungmask_and_of_the_chest_imaging_platform(
    tmp_path: Path, tiny_chest: sitk.Image
) -> None:
    _, labels = phantom()
    thirds = np.where(labels > 0, 9 + np.arange(len(labels))[:, None, None] * 3 // len(labels), 0)
    thirds = np.where(labels == 1, thirds + 3, thirds).astype(np.uint16)
    for values, tool in (
        (labels, "EmphysemaScanner and lungmask"),
        (np.where(labels > 0, labels + 1, 0).astype(np.uint8), "Chest Imaging Platform"),
        (thirds + np.where(labels == 1, 768, 0).astype(np.uint16), "Chest Imaging Platform"),
    ):
        given = MaskFiles(lungs=written(tmp_path / "a.nrrd", values, tiny_chest)).read().lungs
        assert given is not None
        assert given.origin.numbering == tool
        assert np.array_equal(given.sides, labels)


def test_names_in_a_nifti_header_count_before_numbers(tmp_path: Path, tiny_chest: sitk.Image) -> None:
    """TotalSegmentator's label table; that of the middle lobe, which is not in the file, is no empty region."""
    numbers = {LUL: 7, LLL: 9, RUL: 2, RLL: 4}
    names = {
        7: "lung_upper_lobe_left",
        9: "lung_lower_lobe_left",
        2: "lung_upper_lobe_right",
        4: "lung_lower_lobe_right",
    }
    names |= {1: "spleen", 5: "lung_middle_lobe_right"}
    path = written(tmp_path / "total.nii", numbered(numbers, 1), tiny_chest)
    labels = "".join(f'<Label Key="{k}" Red="1" Alpha="1"><![CDATA[{name}]]></Label>\n' for k, name in names.items())
    xml = f"<CaretExtension><VolumeInformation><LabelTable>\n{labels}</LabelTable></VolumeInformation></CaretExtension>"
    raw = bytearray(path.read_bytes())
    block = xml.encode() + b"\0" * (-(len(xml) + 8) % 16)
    extension = (len(block) + 8).to_bytes(4, "little") + (0).to_bytes(4, "little") + block
    import struct

    raw[108:112] = struct.pack("<f", 352 + len(extension))
    compressed = tmp_path / "total.nii.gz"
    compressed.write_bytes(gzip.compress(bytes(raw[:348]) + b"\1\0\0\0" + extension + bytes(raw[352:])))
    given = MaskFiles(lobes=compressed).read().lobes
    assert given is not None
    assert given.origin.recognised is Recognition.NAMES
    assert np.array_equal(given.lobes, np.where(lobes() == RML.lobe, 0, lobes()))


def test_segments_of_slicer_are_recognised_by_codes_then_by_names(tmp_path: Path, tiny_chest: sitk.Image) -> None:
    _, labels = phantom()
    segments = {
        "Segment0_LabelValue": "5",
        "Segment0_Layer": "0",
        "Segment0_Name": "A",
        "Segment0_Tags": f"TerminologyEntry:{ANATOMY}~SCT^39607008^Lung~SCT^24028007^Right~x~^^~^^|Other:1|",
        "Segment1_LabelValue": "6",
        "Segment1_Layer": "0",
        "Segment1_Name": "B",
    }
    values = np.array([0, 5, 6], np.uint8)[labels]
    left_by_code = segments["Segment0_Tags"].replace("24028007^Right", "7771000^Left")
    for tags, name, how in ((left_by_code, "B", Recognition.CODES), ("", "left lung", Recognition.NAMES)):
        changed = {**segments, "Segment1_Name": name, "Segment1_Tags": tags}
        path = written(tmp_path / "own.seg.nrrd", values, tiny_chest, changed)
        given = MaskFiles(lungs=path).read().lungs
        assert given is not None
        assert given.origin.recognised is how
        assert np.array_equal(given.sides, labels)


def test_labels_can_be_named_by_the_user(tmp_path: Path, tiny_chest: sitk.Image) -> None:
    _, labels = phantom()
    path = written(tmp_path / "a.nrrd", np.array([0, 33, 44], np.uint8)[labels], tiny_chest)
    with pytest.raises(UnknownLabelsError, match=r"33, 44.*--lung-labels 1=right_lung,2=left_lung"):
        MaskFiles(lungs=path).read()
    given = MaskFiles(lungs=path, lung_labels="33=right_lung; 44 = left lung").read().lungs
    assert given is not None
    assert given.origin.recognised is Recognition.USER
    assert np.array_equal(given.sides, labels)
    with pytest.raises(RegionError, match="no label 5; it has 33, 44"):
        MaskFiles(lungs=path, lung_labels="5=right_lung").read()


@pytest.mark.parametrize("text", ["1", "1=", "=right_lung", "1=liver", "1=right_lung,1=left_lung", "1=right_lung 2=x"])
def test_a_text_that_does_not_name_labels_is_refused(text: str) -> None:
    with pytest.raises(RegionError):
        parse_labels(text)


def test_labels_without_a_file_are_refused() -> None:
    with pytest.raises(RegionError, match="belong to no file"):
        MaskFiles(lung_labels="1=right_lung")


def test_what_is_no_label_file_is_refused_in_a_sentence(tmp_path: Path, tiny_chest: sitk.Image) -> None:
    _, labels = phantom()
    files = {
        "ct.nrrd": (phantom()[0], "no labels; give a label file, not a CT"),
        "map.nrrd": (labels * np.float32(0.4), "holds fractions and no labels"),
        "empty.nrrd": (labels * 0, "is empty"),
        "liver.nrrd": (np.where(labels > 0, 99, 0).astype(np.uint8), r"No labels of .* are known as lungs \(99\)"),
    }
    for name, (values, sentence) in files.items():
        with pytest.raises(RegionError, match=sentence):
            MaskFiles(lungs=written(tmp_path / name, values, tiny_chest)).read()
    (tmp_path / "text.nrrd").write_text("no image")
    for name in ("text.nrrd", "absent.nii.gz"):
        with pytest.raises(RegionError, match="The label file cannot be used"):
            read_label_map(tmp_path / name)
    with pytest.raises(RegionError, match="is not a label file"):
        read_label_map(tmp_path / "a.dcm")


def test_an_empty_segment_and_a_file_of_lungs_as_lobes_are_refused(tmp_path: Path, tiny_chest: sitk.Image) -> None:
    _, labels = phantom()
    names = {f"Segment{k}_{key}": text for k, side in enumerate(("right", "left")) for key, text in _segment(k, side)}
    path = written(tmp_path / "a.seg.nrrd", np.where(labels == 1, labels, 0), tiny_chest, names)
    with pytest.raises(RegionError, match=r"'left lung' of 'a\.seg\.nrrd', the left lung, is empty"):
        MaskFiles(lungs=path).read()
    path = written(tmp_path / "b.nrrd", labels, tiny_chest)
    with pytest.raises(UnknownLabelsError, match="holds no lobes, only right lung, left lung"):
        MaskFiles(lobes=path).read()


def _segment(number: int, side: str) -> list[tuple[str, str]]:
    return [("LabelValue", str(number + 1)), ("Layer", "0"), ("Name", f"{side} lung")]


def given(values: np.ndarray, image: sitk.Image, parts: np.ndarray | None = None) -> GivenRegions:
    return GivenRegions.of_arrays(values, parts, Grid.of_image(image))


def test_a_mask_on_the_cts_grid_is_used_as_it_is(tiny_chest: sitk.Image) -> None:
    _, labels = phantom()
    found = lung_regions(tiny_chest, Masks(given(labels, tiny_chest)))
    assert np.array_equal(found.lungs, labels)
    assert found.lobes is None
    assert found.lungs_from.kind is MaskKind.ARRAY


def test_lobes_alone_are_the_lungs_too_and_beside_a_mask_they_are_cut_to_it(tiny_chest: sitk.Image) -> None:
    _, labels = phantom()
    sides = labels.copy()
    alone = lung_regions(tiny_chest, Masks(lobes=given(sides, tiny_chest, lobes())))
    assert np.array_equal(alone.lungs, labels)
    assert alone.lobes is not None
    assert np.array_equal(alone.lobes, lobes())
    smaller = labels.copy()
    smaller[:20] = 0
    beside = lung_regions(tiny_chest, Masks(given(smaller, tiny_chest), given(sides, tiny_chest, lobes())))
    assert beside.lobes is not None
    assert np.array_equal(beside.lobes, lobes() * (smaller > 0))
    assert np.array_equal(beside.lungs, smaller)


def test_a_mask_of_another_geometry_is_resampled(tiny_chest: sitk.Image) -> None:
    """Stored from left to right and from the top down, with half of the spacing, cropped to the lungs."""
    _, labels = phantom()
    fine = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    image = Grid.of_image(tiny_chest).resized((140, 128, 128)).to_image(fine)
    turned = sitk.Flip(image, (True, False, True))
    cropped = sitk.RegionOfInterest(turned, (110, 100, 130), (9, 12, 5))
    values = sitk.GetArrayFromImage(sitk.DICOMOrient(cropped, "LPS"))
    assert np.count_nonzero(values) == np.count_nonzero(fine)
    other = GivenRegions.of_arrays(values, None, Grid.of_image(sitk.DICOMOrient(cropped, "LPS")))
    found = lung_regions(tiny_chest, Masks(other))
    assert np.array_equal(found.lungs, labels)


def doubts(found: LungRegions) -> str:
    return " ".join(found.warnings)


def test_a_mask_that_misses_half_of_a_lung_is_doubted(tiny_chest: sitk.Image, own: Lungs) -> None:
    _, labels = phantom()
    assert "covers only" not in doubts(lung_regions(tiny_chest, Masks(given(labels, tiny_chest))))
    cut = labels.copy()
    cut[35:][cut[35:] == 2] = 0
    cut[30:35][cut[30:35] == 2] = 0
    expected = 100 * np.count_nonzero((cut > 0) & (own.labels == 2)) / np.count_nonzero(own.labels == 2)
    assert expected < 50
    assert f"covers only {expected:.0f} % of the left lung" in doubts(
        lung_regions(tiny_chest, Masks(given(cut, tiny_chest)))
    )


def test_swapped_lungs_and_a_mask_of_the_whole_body_are_doubted(tiny_chest: sitk.Image) -> None:
    hu, labels = phantom()
    swapped = np.array([0, 2, 1], np.uint8)[labels]
    assert "seem to be swapped" in doubts(lung_regions(tiny_chest, Masks(given(swapped, tiny_chest))))
    body = np.where(hu > -950, np.where(np.arange(64) < 32, 1, 2), 0).astype(np.uint8)
    assert "lie outside the lungs that were found" in doubts(lung_regions(tiny_chest, Masks(given(body, tiny_chest))))


def test_one_label_of_both_lungs_is_parted_as_the_lungs_that_were_found(tiny_chest: sitk.Image) -> None:
    _, labels = phantom()
    both = np.where(labels > 0, 3, 0).astype(np.uint8)
    assert np.array_equal(lung_regions(tiny_chest, Masks(given(both, tiny_chest))).lungs, labels)


def test_a_mask_of_another_patient_is_refused(tiny_chest: sitk.Image) -> None:
    _, labels = phantom()
    far = GivenRegions.of_arrays(
        labels, None, Grid.of_image(tiny_chest).part(((500, 570), (0, 64), (0, 64)), (70, 64, 64))
    )
    with pytest.raises(RegionError, match="does not overlap with the CT"):
        lung_regions(tiny_chest, Masks(far))
    air = np.zeros_like(labels)
    air[:3, :3, :3] = 1
    with pytest.raises(RegionError, match="does not overlap with the lungs of this CT"):
        lung_regions(tiny_chest, Masks(given(air, tiny_chest)))
    elsewhere = np.zeros_like(labels)
    elsewhere[lobes() == RUL.lobe] = 1
    with pytest.raises(RegionError, match="lie nowhere in the lung mask"):
        lung_regions(
            tiny_chest, Masks(given(elsewhere, tiny_chest), given(labels, tiny_chest, (lobes() == 4) * RLL_ONLY))
        )


RLL_ONLY = np.uint8(RLL.lobe)


def test_a_mask_serves_where_no_lungs_are_found(tiny_chest: sitk.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    from EmphysemaScannerLib.base.errors import LungsNotFoundError

    def none(_image: sitk.Image) -> Lungs:
        raise LungsNotFoundError("Only 0.1 litres of lung were found.")

    monkeypatch.setattr(masks_module, "find_lungs", none)
    _, labels = phantom()
    found = lung_regions(tiny_chest, Masks(given(labels, tiny_chest)))
    assert np.array_equal(found.lungs, labels)
    assert "No lungs were found to compare" in doubts(found)
    with pytest.raises(LungsNotFoundError):
        lung_regions(tiny_chest, Masks())


def test_lungs_beside_lobes_in_one_file_serve_as_either(tmp_path: Path, tiny_chest: sitk.Image) -> None:
    path = written(tmp_path / "l.nrrd", numbered({LUL: 1, LLL: 2, RUL: 3, RML: 4, RLL: 5}), tiny_chest)
    labels = read_label_map(path)
    as_lungs = recognise(labels, MaskKind.FILE, WANTED_LUNGS)
    as_lobes = recognise(labels, MaskKind.FILE, WANTED_LOBES)
    assert np.array_equal(as_lungs.sides, phantom()[1])
    assert np.array_equal(as_lobes.lobes, lobes())
    masks = MaskFiles(path, path).read()
    found = lung_regions(tiny_chest, masks)
    assert np.array_equal(found.lungs, phantom()[1])
