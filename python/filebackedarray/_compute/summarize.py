"""Several statistics in one sweep over a file, of groups of rows or columns too."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

import numpy
import numpy.typing
from delayedarray import DelayedArray

from .._engine.snapshot import one_state
from .._show.progress import Progress
from .arguments import normalized_axes
from .blocks import Along, Groups
from .reductions import Request, compute
from .statistics import STATISTICS

__all__ = ["QualityControl", "Statistics", "quality_control", "summarize"]

Array = numpy.typing.NDArray[Any]


class Statistics(dict[str, Any]):
    """Statistics by their names, as :py:func:`summarize` returns them."""

    groups: list[Any] | None = None
    """Names of the groups, in the order of the last axis of each array; None if there are no groups.

    The group of missing labels is the last one, and its name is the first of them.
    """

    group_sizes: Array | None = None
    """Number of positions of each group, of type int64; None if there are no groups."""


class _Grouping(NamedTuple):
    """Which group each position of an axis is in."""

    names: list[Any]
    sizes: Array
    numbers: Array
    """The group's number of each position; that after the last group's, if the position is in none."""

    def extent(self) -> int:
        """Number of groups, with the one that is left out."""
        return len(self.names) + int((self.numbers >= len(self.names)).any())


def _labels(groups: Any, extent: int) -> tuple[list[Any], list[Any] | None]:
    """Labels as Python's objects, and the categories of a pandas categorical in their order."""
    if isinstance(groups, DelayedArray) or (hasattr(groups, "__array__") and not hasattr(groups, "tolist")):
        groups = numpy.asanyarray(groups)
    elif not hasattr(groups, "__len__"):
        groups = list(groups)
    if getattr(groups, "ndim", 1) != 1:
        raise ValueError(f"'groups' should be of one dimension, not of {groups.ndim}")
    if len(groups) != extent:
        raise ValueError(f"'groups' has {len(groups)} labels for an axis of extent {extent}")
    # Of a pandas categorical, or of a column of one.
    categories = getattr(getattr(groups, "cat", groups), "categories", None)
    # datetime64's tolist() makes integers of nanoseconds, NaT included; others make Python's objects of labels.
    is_time = isinstance(groups, numpy.ndarray) and groups.dtype.kind in "mM"
    labels = list(groups.tolist() if hasattr(groups, "tolist") and not is_time else groups)
    # The constant has no hash.
    labels = [None if label is numpy.ma.masked else label for label in labels]
    return labels, None if categories is None else categories.tolist()


def _is_missing(label: Any) -> bool:
    """Whether a label is None, pandas' NA, or what is not equal to itself, as NaN and NaT are."""
    pandas = sys.modules.get("pandas")
    if label is None or (pandas is not None and label is getattr(pandas, "NA", None)):
        return True
    return bool(label != label)


def _grouping(groups: Any, extent: int, missing: str) -> _Grouping:
    """Find the groups of labels.

    Args:
        groups: The labels.
        extent: Extent of the axis that they are of.
        missing: What becomes of missing labels: ``"group"`` or ``"drop"``.

    Raises:
        ValueError: If there are more or fewer labels than positions, or they are not of one dimension.
        TypeError: If a label is not hashable.
    """
    labels, categories = _labels(groups, extent)
    unique = list(dict.fromkeys(labels))
    absent = [label for label in unique if _is_missing(label)]
    numbers = dict.fromkeys(absent, -1)
    names = [label for label in unique if label not in numbers]
    if categories is not None:
        names = [category for category in categories if category in set(names)]
    else:
        # What does not compare stays in the order in which it comes.
        with contextlib.suppress(TypeError):
            names = sorted(names)
    numbers = {label: len(names) for label in absent} | {name: number for number, name in enumerate(names)}
    found = numpy.fromiter((numbers[label] for label in labels), numpy.uint32, len(labels))
    if absent and missing == "group":
        names = [*names, absent[0]]
    return _Grouping(names, numpy.bincount(found, minlength=len(names))[: len(names)].astype(numpy.int64), found)


@overload
def summarize(
    x: Any,
    axis: int | tuple[int, ...] | None,
    statistics: Sequence[str],
    *,
    groups: Any = None,
    missing: Literal["group", "drop"] = "group",
    dtype: numpy.typing.DTypeLike | None = None,
    ddof: float = 0,
    progress: Progress = None,
) -> Statistics: ...


@overload
def summarize(
    x: Any,
    axis: list[Any],
    statistics: Sequence[str] | Sequence[Sequence[str]],
    *,
    groups: Sequence[Any] | None = None,
    missing: Literal["group", "drop"] = "group",
    dtype: numpy.typing.DTypeLike | None = None,
    ddof: float = 0,
    progress: Progress = None,
) -> list[Statistics]: ...


@one_state
def summarize(
    x: Any,
    axis: Any,
    statistics: Any,
    *,
    groups: Any = None,
    missing: Literal["group", "drop"] = "group",
    dtype: numpy.typing.DTypeLike | None = None,
    ddof: float = 0,
    progress: Progress = None,
) -> Statistics | list[Statistics]:
    """Compute several statistics in one sweep over an array, since the sweep is what takes the time.

    Args:
        x:
            An array of this package, what operations have made of it, any other
            :py:class:`~delayedarray.DelayedArray.DelayedArray`, or a seed.

        axis:
            Over which axis or axes, as for :py:func:`numpy.sum`; None for all. A *list* of these asks for the
            statistics over each of them, all in the same sweep: ``[0, 1]`` for those of columns and those of rows.

        statistics:
            Names of methods of :py:class:`FileBackedArray`: ``sum``, ``mean``, ``var``, ``std``, ``min``, ``max``,
            ``ptp``, ``any``, ``all``, ``count_nonzero``, ``nansum``, ``nanmean``, ``nanvar``, ``nanstd``, ``nanmin``,
            ``nanmax``. If ``axis`` is a list, it may be a list of such lists.

        groups:
            A label for each position of the axis that is reduced: anything hashable, in a sequence, an array or a
            column of pandas. What has the same label is summed up together, and the arrays of the result have a last
            axis for the groups. If ``axis`` is a list, a list with the labels, or None, for each.

        missing:
            What becomes of positions whose label is missing: None, NaN, NaT, pandas' NA, or masked. ``"group"`` makes
            one group of them all, which comes last and has the first of them as its name; ``"drop"`` leaves them out.

        dtype:
            Type of sums, means and variances.

        ddof:
            Delta degrees of freedom of variances.

        progress:
            True to show a bar, or a function to call with what is done and what there is to do.

    Returns:
        An array (or a scalar) for each name. With ``groups``, the attribute ``groups`` names these and
        ``group_sizes`` counts their positions. Names are sorted if they can be sorted, those of a pandas categorical
        in the order of its categories, without those that no label has. If ``axis`` is a list, a list of as many.

        It takes one sweep; a second one where some of the statistics skip NaN and others do not, in an array of
        floating-point numbers; another where ``dtype`` asks for integers or booleans of something else.

    Raises:
        ValueError: If there is no such statistic, or labels are too few or too many or do not go with one axis, or
            ``missing`` is something else.
        numpy.exceptions.AxisError: If there is no such axis.
        TypeError: If the array is of strings, or a label is not hashable.
        FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    tree = x.seed if isinstance(x, DelayedArray) else x
    shape = tuple(tree.shape)
    several = isinstance(axis, list)
    each_axis = axis if several else [axis]
    if missing not in ("group", "drop"):
        raise ValueError(f"'missing' should be 'group' or 'drop', not {missing!r}")
    if isinstance(statistics, str):
        statistics = [statistics]
    nested = several and len(statistics) > 0 and not isinstance(statistics[0], str)
    each_names = list(statistics) if nested else [statistics] * len(each_axis)
    each_groups = [None] * len(each_axis) if groups is None else list(groups) if several else [groups]
    if not len(each_axis) == len(each_names) == len(each_groups):
        raise ValueError(
            f"{len(each_axis)} axes, {len(each_names)} lists of statistics and {len(each_groups)} of groups"
        )
    requests: list[Request] = []
    reduced: list[tuple[int, ...]] = []
    groupings: list[_Grouping | None] = []
    for one, wanted, labels in zip(each_axis, each_names, each_groups, strict=True):
        for name in wanted:
            if name not in STATISTICS:
                raise ValueError(f"there is no statistic {name!r}; there are {', '.join(STATISTICS)}")
        axes = normalized_axes(one, len(shape))
        along: list[Along] = ["reduce" if number in axes else "keep" for number in range(len(shape))]
        found = None
        if labels is not None:
            if len(axes) != 1:
                raise ValueError(f"'groups' are of one axis that is reduced, not of {len(axes)}")
            found = _grouping(labels, shape[axes[0]], missing)
            # What is dropped makes a group that is left out of the result.
            along[axes[0]] = Groups(found.numbers, found.extent())
        requests.append(Request(tuple(along), tuple(dict.fromkeys(wanted))))
        reduced.append(axes)
        groupings.append(found)
    results: list[Statistics] = []
    computed = compute(tree, requests, dtype=dtype, ddof=ddof, progress=progress)
    for arrays, axes, found in zip(computed, reduced, groupings, strict=True):
        result = Statistics()
        if found is not None:
            result.groups, result.group_sizes = found.names, found.sizes
        for name, array in arrays.items():
            if found is not None:
                result[name] = numpy.moveaxis(array, axes[0], -1)[..., : len(found.names)]
            else:
                squeezed = numpy.squeeze(array, axis=axes)
                result[name] = squeezed if squeezed.ndim else squeezed[()]
        results.append(result)
    return results if several else results[0]


@dataclass(frozen=True)
class QualityControl:
    """Metrics of the quality of cells and genes, as :py:func:`quality_control` returns them."""

    sum: Array
    """For each cell, the sum of its counts."""
    detected: Array
    """For each cell, the number of genes with a count that is not zero."""
    subset_sum: dict[str, Array]
    """For each subset of genes, the sum of their counts in each cell."""
    subset_proportion: dict[str, Array]
    """For each subset of genes, their share of each cell's sum; NaN where that is 0."""
    gene_mean: Array
    """For each gene, the mean of its counts."""
    gene_detected: Array
    """For each gene, the number of cells with a count that is not zero."""


@one_state
def quality_control(
    x: Any, subsets: Mapping[str, Any] | None = None, cell_axis: int = 1, progress: Progress = None
) -> QualityControl:
    """Compute the usual metrics of cells and genes of a count matrix, in one sweep.

    They are those of scuttle's ``perCellQCMetrics`` and ``perFeatureQCMetrics`` and of scanpy's
    ``calculate_qc_metrics``, named as in scranpy.

    Args:
        x:
            A matrix of counts, as for :py:func:`summarize`.

        subsets:
            Sets of genes, such as the mitochondrial ones, by name: for each a boolean array over all genes, or
            indices. A gene may be in several.

        cell_axis:
            Which axis the cells are: 1 as in Bioconductor and in the files of 10x Genomics, 0 as in AnnData.

        progress:
            As for :py:func:`summarize`.

    Returns:
        The metrics.

    Raises:
        ValueError: If ``x`` has not two dimensions, or a boolean array is not of the genes.
        IndexError: If an index is not one of a gene.
        TypeError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As :py:func:`summarize`.
    """
    tree = x.seed if isinstance(x, DelayedArray) else x
    if len(tree.shape) != 2:
        raise ValueError(f"cells and genes make two dimensions, not {len(tree.shape)}")
    (cells,) = normalized_axes(cell_axis, 2)
    genes = 1 - cells
    subsets = {} if subsets is None else subsets
    members = numpy.zeros((len(subsets), tree.shape[genes]), bool)
    for row, (name, chosen) in zip(members, subsets.items(), strict=True):
        indices = numpy.asarray(chosen)
        if indices.dtype == bool and indices.shape != row.shape:
            raise ValueError(f"the subset {name!r} is of shape {indices.shape}, and there are {len(row)} genes")
        if indices.size:
            row[indices] = True
    # Genes that are in the same subsets are summed up together: then a subset's sum is that of some of the groups.
    patterns, group = numpy.unique(members, axis=1, return_inverse=True)
    count = patterns.shape[1]
    along: list[Along] = ["keep", "keep"]
    along[genes] = Groups(group.reshape(-1).astype(numpy.uint32), count) if count > 1 else "reduce"
    across: list[Along] = ["keep", "keep"]
    across[cells] = "reduce"
    requests = [
        Request(tuple(along), ("sum", "count_nonzero")),
        Request(tuple(across), ("mean", "count_nonzero")),
    ]
    of_cells, of_genes = compute(tree, requests, progress=progress)
    by_group = numpy.moveaxis(of_cells["sum"], genes, 0)
    total = by_group.sum(axis=0, dtype=by_group.dtype)
    sums = {
        name: by_group[pattern].sum(axis=0, dtype=by_group.dtype)
        for name, pattern in zip(subsets, patterns, strict=True)
    }
    with numpy.errstate(all="ignore"):
        proportions = {name: numpy.true_divide(part, total) for name, part in sums.items()}
    return QualityControl(
        sum=total,
        detected=of_cells["count_nonzero"].sum(axis=genes),
        subset_sum=sums,
        subset_proportion=proportions,
        gene_mean=numpy.squeeze(of_genes["mean"], axis=cells),
        gene_detected=numpy.squeeze(of_genes["count_nonzero"], axis=cells),
    )
