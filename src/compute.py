"""How many workers share the work. Changes no result, so DVC tracks nothing of it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, TypeVar

import joblib
from pydantic import Field

from params import Section

Item = TypeVar("Item")
Result = TypeVar("Result")


class ComputeParams(Section):
    """Section ``compute``."""

    workers: Annotated[int, Field(ge=0, le=1024)]


def each(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Applies ``function`` to every item on threads; results come in the order of the items.

    ``workers`` 0 means one for every core. OpenCV and NumPy release the interpreter lock while
    they work, so threads keep the cores busy without copying pixels between processes.
    """
    parallel = joblib.Parallel(
        n_jobs=workers or joblib.cpu_count(), backend="threading", return_as="generator"
    )
    return parallel(joblib.delayed(function)(item) for item in items)
