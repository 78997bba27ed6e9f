"""Cohorts: from NLST's tables to a manifest, splits by patient, and a check that nothing leaks between them."""
