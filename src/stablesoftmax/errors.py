"""The errors that are this package's own."""

__all__ = ["UndefinedSoftmaxError"]


class UndefinedSoftmaxError(FloatingPointError):
    """Raised under ``undefined="raise"`` by a row whose softmax has no limit.

    Parameters
    ----------
    row : tuple of int
        The first such row: its index over the axes that are not reduced. Kept as an attribute.

    Examples
    --------
    >>> import numpy as np
    >>> import stablesoftmax as ss
    >>> try:
    ...     ss.softmax([[1.0, 2.0], [-np.inf, -np.inf]], undefined="raise")
    ... except ss.UndefinedSoftmaxError as error:
    ...     error.row
    (1,)
    """

    def __init__(self, row: tuple[int, ...]) -> None:
        super().__init__(row)
        self.row = row

    def __str__(self) -> str:
        return (
            f"row {self.row} of x has no softmax: it is -inf throughout or holds several +inf "
            '(undefined="nan", "zero" or "uniform" gives it a value)'
        )
