"""The commands of `prunescope`, one file each, which parse, call the package and print; `analysis.cli` lists them.

Beside them stands what they share: `frame` (refusals, exit codes, JSON), `arguments` (names with parameters), `output`
(folders of results), `listing` (tables of registries), `model_option`, `completion` and `embedded_data`.
"""
