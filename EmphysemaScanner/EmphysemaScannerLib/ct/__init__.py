"""From files to one CT: which series of a DICOM folder is read, in Hounsfield units, on a straight grid, checked."""
