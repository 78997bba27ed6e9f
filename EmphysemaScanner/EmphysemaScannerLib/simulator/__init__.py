"""Simulated cases from real chests without emphysema: known place, subtype and extent; chance from one seed alone.

The way of a case: ``anatomy`` (read, deform) -> ``subtypes`` (where tissue is destroyed, by ``patterns`` in
``lobules``) -> ``parenchyma`` (what that does to the density) -> ``negatives`` (what looks alike and is no emphysema)
-> ``acquisition`` (breath, dose, kernel, slices, field of view). ``case`` walks it. Arrays are canonical (slices, rows,
columns): inferior to superior, anterior to posterior, right to left; HU; mm.
"""
