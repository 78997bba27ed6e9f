"""A result as DICOM objects beside the CT in its study: SEG, SR, parametric maps, PDF, pages."""
