"""Contracts run over usage in one go: what the ledger would charge for these rows, under any number of catalogues.

`plan` resolves rows and contracts once and groups the rows; `grouping` and `evaluation` have the kernels; `run` walks a
stretch of the product contracts under every scenario; `charges` and `compare` make frames of it.
"""
