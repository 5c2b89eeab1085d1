"""AnnData objects whose matrices stay in their files: Dask arrays of cells x genes, as scanpy takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy
from delayedarray import DelayedArray

from .._compute.arguments import normalized_axes
from .._compute.dask import dask_array, import_dask
from .._compute.tree import compiled
from .._engine.snapshot import one_state

if TYPE_CHECKING:
    import anndata
    import dask.array

__all__ = ["to_anndata"]


@one_state
def to_anndata(
    x: Any,
    obs: Any = None,
    var: Any = None,
    *,
    cell_axis: int = 1,
    layers: Mapping[str, Any] | None = None,
    chunks: int | str | None = None,
    threads: int = 1,
    **kwargs: Any,
) -> anndata.AnnData:
    """Make an AnnData object, cells by genes, whose ``X`` is read by Dask when it is computed.

    Args:
        x:
            A delayed array of this package with two dimensions. If it is sparse, so are the blocks: ``csr_matrix``
            where the file is compressed by cell, as 10x Genomics' and most h5ad files are, which is what scanpy takes.

        obs:
            Facts about the cells: a data frame, or what AnnData makes one of. Its index are their names.

        var:
            Facts about the genes, as ``obs``.

        cell_axis:
            Which axis of ``x`` the cells are: 1 as in Bioconductor and in the files of 10x Genomics, 0 as in AnnData.

        layers:
            Other matrices of the same shape, by name.

        chunks:
            How many cells a block has; or its size, such as ``"64 MiB"``. None is for Dask's ``array.chunk-size``.
            Blocks have all genes, unless a sparse file is compressed by gene and no number is given: then they
            have all cells.

        threads:
            How many threads a task may take, as for :py:meth:`FileBackedArray.to_dask`.

        kwargs:
            Further arguments of :py:class:`anndata.AnnData`, such as ``obsm`` and ``uns``.

    Returns:
        The object. Nothing of the matrices has been read but pointers.

    Raises:
        ImportError: If anndata or Dask is not installed; both come with ``filebackedarray[anndata]``.
        ValueError: If ``x`` has not two dimensions, a layer has another shape, or ``obs`` or ``var`` another length.
        TypeError: If ``x`` or a layer is not a delayed array or a seed.
        FileNotFoundError: If a file is gone.
    """
    import_dask()
    try:
        import anndata
    except ImportError as error:
        raise ImportError(
            "AnnData objects need the package anndata, which is not installed: pip install 'filebackedarray[anndata]'"
        ) from error
    shape = tuple(x.shape)
    if len(shape) != 2:
        raise ValueError(f"cells and genes make two dimensions, not {len(shape)}")
    (cells,) = normalized_axes(cell_axis, 2)
    matrices = {name: _lazy(layer, cells, chunks, threads) for name, layer in (layers or {}).items()}
    for name, layer in (layers or {}).items():
        if tuple(layer.shape) != shape:
            raise ValueError(f"the layer {name!r} is of shape {tuple(layer.shape)}, and 'x' of {shape}")
    return anndata.AnnData(X=_lazy(x, cells, chunks, threads), obs=obs, var=var, layers=matrices or None, **kwargs)


def _lazy(x: Any, cells: int, chunks: int | str | None, threads: int) -> dask.array.Array:
    """A matrix as a Dask array of cells x genes."""
    array = x if isinstance(x, DelayedArray) else DelayedArray(x)
    if cells == 1:
        array = array.T
    if not compiled(array).sparse:
        along = "auto" if chunks is None else chunks
        return dask_array(array, {0: along, 1: -1}, threads=threads)
    if isinstance(chunks, int | numpy.integer):
        return dask_array(array, {0: int(chunks)}, sparse="csr", threads=threads)
    return dask_array(array, chunks, sparse=True, threads=threads)
