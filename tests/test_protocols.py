"""The arrays in other libraries, which compute with them what they compute with numpy's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy
import pytest
import scipy.fft
import scipy.linalg
import scipy.ndimage
import scipy.sparse.linalg
import scipy.spatial
import scipy.special
import scipy.stats
import xarray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import MaxAbsScaler, StandardScaler, normalize
from sklearn.utils import check_array

import filebackedarray
from filebackedarray import FileBackedArray
from kinds import KINDS, PLAIN, SHAPE, all_kinds


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[FileBackedArray, numpy.ndarray]]:
    return all_kinds(tmp_path_factory.mktemp("protocols"))


def same(got: Any, want: Any) -> None:
    """Equal values of the same type, masked in the same places."""
    got = numpy.asanyarray(got)
    assert got.dtype == want.dtype
    numpy.testing.assert_array_equal(numpy.ma.getmaskarray(got), numpy.ma.getmaskarray(want))
    numpy.testing.assert_allclose(got, want)


# ---- Dask ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_dask(arrays: dict[str, tuple[FileBackedArray, numpy.ndarray]], kind: str) -> None:
    x, data = arrays[kind]
    for lazy in (dask.array.asarray(x), dask.array.asanyarray(x)):
        assert lazy.shape == SHAPE
        same(lazy.compute(), data)
    for chunks in ("auto", (7, 9), -1):
        lazy = dask.array.from_array(x, chunks=chunks)
        same(lazy.compute(), data)
        same((lazy + lazy).compute(), data + data)
    if kind in PLAIN:
        same(
            dask.array.from_array(x, chunks=(7, 9), asarray=True).sum(axis=0).compute(), numpy.asarray(data).sum(axis=0)
        )


def test_no_array_is_taken_for_one_of_dasks() -> None:
    classes = [one for one in vars(filebackedarray).values() if isinstance(one, type)]
    for one in classes:
        assert not (issubclass(one, FileBackedArray) and hasattr(one, "chunks"))
    assert len([one for one in classes if issubclass(one, FileBackedArray)]) >= 7


# ---- xarray ----------------------------------------------------------------------------------

XARRAY: dict[str, Callable[[Any], Any]] = {
    "load": lambda frame: frame.load(),
    "compute": lambda frame: frame.compute(),
    "values": lambda frame: frame.values,
    "as-numpy": lambda frame: frame.as_numpy(),
    "copy": lambda frame: frame.copy(deep=True),
    "of-dataset": lambda frame: frame.to_dataset(name="x").load().x,
    "datasets": lambda frame: xarray.Dataset({"a": frame, "b": frame.T, "c": ("n", numpy.arange(3))}).load().b,
    "where": lambda frame: frame.where(frame > 1),
    "where-else": lambda frame: frame.where(frame > 1, -1),
    "chosen": lambda frame: xarray.where(frame > 1, frame, 0),
    "fillna": lambda frame: frame.fillna(0),
    "isnull": lambda frame: frame.isnull(),
    "isin": lambda frame: frame.isin([0, 77]),
    "clip": lambda frame: frame.clip(1, 3),
    "round": lambda frame: frame.round(1),
    "astype": lambda frame: frame.astype("f4"),
    "arithmetic": lambda frame: (frame * 2 + 1) / 3 - frame,
    "function": lambda frame: xarray.apply_ufunc(numpy.sqrt, frame),
    "diff": lambda frame: frame.diff("cell"),
    "roll": lambda frame: frame.roll(cell=2),
    "slice": lambda frame: frame.isel(cell=slice(3, 9)),
    "one": lambda frame: frame.isel(cell=3),
    "several": lambda frame: frame.isel(cell=[3, 1], gene=[2, 2]),
    "points": lambda frame: frame.isel(
        cell=xarray.DataArray([3, 1], dims="p"), gene=xarray.DataArray([2, 2], dims="p")
    ),
    "labels": lambda frame: frame.assign_coords(cell=range(30)).sel(cell=[4, 2]),
    "transpose": lambda frame: frame.transpose("gene", "cell"),
    "concat": lambda frame: xarray.concat([frame, frame], "cell"),
    "stacked": lambda frame: xarray.concat([frame, frame], "new"),
    "expand": lambda frame: frame.expand_dims("new"),
    "squeeze": lambda frame: frame.isel(cell=slice(1)).squeeze(),
    "chunk": lambda frame: frame.chunk({"cell": 10}).sum("cell").compute(),
    "groups": lambda frame: frame.assign_coords(label=("cell", numpy.arange(30) % 3)).groupby("label").sum(),
    "to-pandas": lambda frame: frame.to_pandas().to_numpy(),
    **{
        f"{name}-{dimension}": lambda frame, name=name, dimension=dimension: getattr(frame, name)(dimension)
        for name in ("sum", "mean", "std", "var", "min", "max", "any", "all", "count")
        for dimension in ("cell", "gene", None)
    },
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.filterwarnings("ignore")
def test_xarray(arrays: dict[str, tuple[FileBackedArray, numpy.ndarray]], kind: str) -> None:
    x, data = arrays[kind]
    for name, function in XARRAY.items():
        got, want = (function(xarray.DataArray(one, dims=("cell", "gene"))) for one in (x, data))
        try:
            same(got, numpy.asarray(want))
        except AssertionError as error:
            raise AssertionError(name) from error
    # Nothing is loaded on the way.
    frame = xarray.DataArray(x, dims=("cell", "gene"))
    for delayed in (frame, (frame + 1).where(frame > 1), frame.isel(cell=slice(2, 9)).T, frame.astype("f4").clip(1, 3)):
        assert isinstance(delayed.data, FileBackedArray)
        assert "float" in repr(delayed) + delayed._repr_html_()
    with pytest.raises(NotImplementedError, match="nanmedian"):
        frame.median("cell")
    same(frame.as_numpy().median("cell"), numpy.median(data, axis=0))


def test_xarray_writes_netcdf(arrays: dict[str, tuple[FileBackedArray, numpy.ndarray]], tmp_path: Path) -> None:
    x, data = arrays["delayed"]
    xarray.DataArray(x, dims=("cell", "gene")).to_dataset(name="x").to_netcdf(tmp_path / "x.nc")
    with xarray.open_dataset(tmp_path / "x.nc") as dataset:
        same(dataset.x.values, data)


# ---- scikit-learn ----------------------------------------------------------------------------


def by_blocks(model: Any, x: Any) -> Any:
    for start in range(0, 30, 10):
        model.partial_fit(x[start : start + 10, :])
    return model


LEARN: dict[str, Callable[[Any], Any]] = {
    "StandardScaler": lambda x: StandardScaler().fit_transform(x),
    "StandardScaler by blocks": lambda x: by_blocks(StandardScaler(), x).var_,
    "MaxAbsScaler": lambda x: MaxAbsScaler().fit_transform(x),
    "IncrementalPCA": lambda x: IncrementalPCA(2, batch_size=10).fit_transform(x),
    "IncrementalPCA by blocks": lambda x: by_blocks(IncrementalPCA(2), x).components_,
    "PCA": lambda x: PCA(2, svd_solver="full").fit_transform(x),
    "TruncatedSVD": lambda x: TruncatedSVD(2, random_state=0).fit_transform(x),
    "TruncatedSVD by arpack": lambda x: TruncatedSVD(2, algorithm="arpack", random_state=0).fit_transform(x),
    "normalize": normalize,
    "normalize columns": lambda x: normalize(x, "l1", axis=0),
    "check_array": lambda x: check_array(x, dtype="f4"),
    "KMeans": lambda x: KMeans(2, random_state=0, n_init=1).fit(x).cluster_centers_,
    "NearestNeighbors": lambda x: NearestNeighbors().fit(x).kneighbors(x)[0],
    "LogisticRegression": lambda x: LogisticRegression(max_iter=20).fit(x, numpy.arange(30) % 2).coef_,
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("name", LEARN)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn(arrays: dict[str, tuple[FileBackedArray, numpy.ndarray]], name: str, kind: str) -> None:
    x, data = arrays[kind]
    got, want = (numpy.asarray(LEARN[name](one)) for one in (x, data.copy()))
    assert got.dtype == want.dtype
    numpy.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


# ---- scipy -----------------------------------------------------------------------------------

SCIPY: dict[str, Callable[[Any], Any]] = {
    **{
        name: lambda x, name=name: getattr(scipy.sparse, name)(x).toarray()
        for name in ("csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array", "lil_matrix", "dok_matrix")
    },
    "a product with a sparse matrix": lambda x: scipy.sparse.csr_matrix(numpy.ones((3, 30))) @ x,
    "a sparse matrix times it": lambda x: scipy.sparse.csr_matrix(numpy.ones(SHAPE)).multiply(x).toarray(),
    "svds": lambda x: numpy.sort(scipy.sparse.linalg.svds(x, 3, random_state=0)[1]),
    "svds of an operator": lambda x: numpy.sort(
        scipy.sparse.linalg.svds(scipy.sparse.linalg.aslinearoperator(x), 3, random_state=0)[1]
    ),
    "lsqr": lambda x: scipy.sparse.linalg.lsqr(x, numpy.ones(30), atol=1e-12, btol=1e-12)[0],
    "svd": lambda x: scipy.linalg.svd(x)[1],
    "norm": scipy.linalg.norm,
    "expit": scipy.special.expit,
    "xlogy": lambda x: scipy.special.xlogy(x, 2),
    "logsumexp": lambda x: scipy.special.logsumexp(x, axis=0),
    "pdist": scipy.spatial.distance.pdist,
    "gaussian_filter": lambda x: scipy.ndimage.gaussian_filter(x, 1),
    "fft": scipy.fft.fft,
    "zscore": scipy.stats.zscore,
    "ttest_ind": lambda x: scipy.stats.ttest_ind(x, x + 1).statistic,
    "mannwhitneyu": lambda x: scipy.stats.mannwhitneyu(x, x + 1).pvalue,
    "describe": lambda x: scipy.stats.describe(x).variance,
    "spearmanr": lambda x: scipy.stats.spearmanr(x).statistic,
    "rankdata": lambda x: scipy.stats.rankdata(x, axis=0),
    "skew": scipy.stats.skew,
    "iqr": scipy.stats.iqr,
    "sem": scipy.stats.sem,
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("name", SCIPY)
@pytest.mark.filterwarnings("ignore")
def test_scipy(arrays: dict[str, tuple[FileBackedArray, numpy.ndarray]], name: str, kind: str) -> None:
    x, data = arrays[kind]
    got, want = (numpy.asarray(SCIPY[name](one)) for one in (x, data.copy()))
    assert got.dtype == want.dtype
    numpy.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)
