"""Commands of `prunescope` that fill a file of their own, one each; `analysis.cli` lists them."""
