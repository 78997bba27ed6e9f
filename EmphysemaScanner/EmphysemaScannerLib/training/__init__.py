"""Learning a model from a cohort, as published or with the aids of the bundled model."""
