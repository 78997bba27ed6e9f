"""Models measured on labelled volumes: figures with intervals, the paper's table, the model report."""
