"""Models measured: figures of labelled volumes with intervals, the paper's table, the model report, and speed."""
