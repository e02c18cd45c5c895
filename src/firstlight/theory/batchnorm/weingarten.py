"""Moments of Haar-orthogonal matrices of any even order, as exact fractions (Weingarten calculus)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError

Pairing = tuple[tuple[int, int], ...]

_LARGEST = 10  # a moment of order 10 needs the 945 × 945 pairings; order 12 would need 10395 × 10395


@checked
@clean
def pairings(order: int) -> list[Pairing]:
    """All ways to split 0 … order−1 into pairs; (order − 1)!! of them.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import pairings
    >>> pairings(4)
    [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    """
    return _split(tuple(range(order)))


def _split(items: tuple[int, ...]) -> list[Pairing]:
    if not items:
        return [()]
    first, rest = items[0], items[1:]
    return [
        ((first, partner), *others)
        for k, partner in enumerate(rest)
        for others in _split(rest[:k] + rest[k + 1 :])
    ]


@checked
@clean
def loop_type(one: Pairing, other: Pairing) -> tuple[int, ...]:
    """Half lengths of the loops that two pairings form together, in decreasing order.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import loop_type
    >>> loop_type(((0, 1), (2, 3)), ((0, 2), (1, 3)))
    (2,)
    """
    step = [{a: b for pair in p for a, b in (pair, pair[::-1])} for p in (one, other)]
    left = set(step[0])
    lengths = []
    while left:
        start = at = min(left)
        length = 0
        while True:
            left -= {at, step[0][at]}
            at = step[1][step[0][at]]
            length += 1
            if at == start:
                break
        lengths.append(length)
    return tuple(sorted(lengths, reverse=True))


@checked
@lru_cache(maxsize=256)
@clean
def weingarten(order: int, d: int) -> dict[tuple[int, ...], Fraction]:
    r"""The orthogonal Weingarten function of a loop type, for Haar O(d).

    The matrix is the pseudo-inverse of the Gram matrix :math:`G(p, q) = d^{\text{loops}(p, q)}` over pairings. As a
    function of the loop type alone it solves a linear system with one equation per type; where d is small
    the system is singular and the pseudo-inverse is the solution that projects (w = w G w).

    Parameters
    ----------
    order
        Even number of matrix entries, at most 10.
    d
        Size of the matrices, at least 1.

    Returns
    -------
    dict
        From loop type, a partition of order/2, to the exact value.

    Raises
    ------
    DomainError
        If the order is odd, negative or above 10, or d is below 1.

    References
    ----------
    Collins and Śniady, "Integration with respect to the Haar measure on unitary, orthogonal and symplectic
    group", Communications in Mathematical Physics 264 (2006), theorem 3.13; Collins and Matsumoto, "On some
    properties of orthogonal Weingarten functions", Journal of Mathematical Physics 50 (2009).

    Examples
    --------
    >>> from firstlight.theory.batchnorm import weingarten
    >>> weingarten(4, 3)
    {(1, 1): Fraction(2, 15), (2,): Fraction(-1, 30)}
    """
    if order < 0 or order % 2 or order > _LARGEST or d < 1:
        raise DomainError(
            f"while computing a Weingarten function: expected an even order of 0 … {_LARGEST} and d ≥ 1, got "
            f"order {order} and d {d}; odd moments are zero"
        )
    base, everything = _types(order)
    kinds = sorted(set(base), key=lambda kind: (-len(kind), kind))
    index = {kind: i for i, kind in enumerate(kinds)}
    # (G x)(p₀, q) = Σ_r d^loops(p₀, r) x(type(r, q)) on class functions: a small matrix M with G ≅ M
    size = len(kinds)
    gram = [[Fraction(0)] * size for _ in range(size)]
    for kind in kinds:
        q = everything[base.index(kind)]
        for r, first in zip(everything, base, strict=True):
            gram[index[kind]][index[loop_type(r, q)]] += Fraction(d) ** len(first)
    unit = [Fraction(int(kind == (1,) * (order // 2))) for kind in kinds]
    solution = _project_solve(gram, unit)
    return dict(zip(kinds, solution, strict=True))


@lru_cache(maxsize=8)
@clean
def _types(order: int) -> tuple[list[tuple[int, ...]], list[Pairing]]:
    """Loop type of every pairing with the first one, and the pairings."""
    everything = pairings(order)
    return [loop_type(everything[0], p) for p in everything], everything


def _project_solve(gram: list[list[Fraction]], unit: list[Fraction]) -> list[Fraction]:
    """The pseudo-inverse of a diagonalisable matrix applied to a vector, exactly.

    On range and kernel, which are complementary: G⁺ u solves G² x = G u with x in the range, x = G y. Solve
    G³ y = G u for any y and return G y.
    """
    right = _times(gram, unit)
    cube = [[*row] for row in _product(gram, _product(gram, gram))]
    return _times(gram, _any_solution(cube, right))


def _times(matrix: list[list[Fraction]], vector: list[Fraction]) -> list[Fraction]:
    return [sum((a * v for a, v in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


def _product(a: list[list[Fraction]], b: list[list[Fraction]]) -> list[list[Fraction]]:
    columns = [list(column) for column in zip(*b, strict=True)]
    return [[sum((x * y for x, y in zip(row, c, strict=True)), Fraction(0)) for c in columns] for row in a]


def _any_solution(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction]:
    """One solution of a consistent linear system by Gauss–Jordan elimination; free unknowns are zero."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(matrix)
    pivots: list[int] = []
    for column in range(size):
        at = len(pivots)
        pivot = next((i for i in range(at, size) if rows[i][column] != 0), None)
        if pivot is None:
            continue
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = [value / rows[at][column] for value in rows[at]]
        for i in range(size):
            if i != at and rows[i][column] != 0:
                factor = rows[i][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[at], strict=True)]
        pivots.append(column)
    solution = [Fraction(0)] * size
    for i, column in enumerate(pivots):
        solution[column] = rows[i][-1]
    return solution


@checked
@clean
def haar_moment(rows: Sequence[int], columns: Sequence[int], d: int) -> Fraction:
    r"""Expectation of a product of entries of a Haar-orthogonal matrix, exactly.

    .. math:: E\,w_{i_1 j_1} \cdots w_{i_k j_k}
              = \sum_{p, q} [i \text{ constant on } p]\,[j \text{ constant on } q]\; \mathrm{Wg}(p, q)

    Parameters
    ----------
    rows, columns
        Row and column numbers i and j of the k entries, 0 … d−1.
    d
        Size of the matrix.

    Returns
    -------
    Fraction
        The moment; 0 for odd k.

    Raises
    ------
    DomainError
        If the two lists differ in length, an index is outside 0 … d−1, or k is above 10.

    Examples
    --------
    E w₁₁⁴ = 3/(d(d+2)) and E w₁₁w₁₂w₂₁w₂₂ = −1/(d(d−1)(d+2)):

    >>> from firstlight.theory.batchnorm import haar_moment
    >>> haar_moment([0, 0, 0, 0], [0, 0, 0, 0], 4), haar_moment([0, 0, 1, 1], [0, 1, 0, 1], 4)
    (Fraction(1, 8), Fraction(-1, 72))
    """
    if len(rows) != len(columns) or not all(0 <= i < d for i in (*rows, *columns)):
        raise DomainError(
            f"while computing a Haar moment: expected as many rows as columns, all in 0 … {d - 1}, got rows "
            f"{list(rows)} and columns {list(columns)}; indices count from 0"
        )
    order = len(rows)
    if order % 2:
        return Fraction(0)
    table = weingarten(order, d)
    everything = pairings(order)
    left = [p for p in everything if all(rows[a] == rows[b] for a, b in p)]
    right = [q for q in everything if all(columns[a] == columns[b] for a, b in q)]
    if len(left) == len(everything) or len(right) == len(everything):
        # a sum over all pairings does not depend on the other pairing
        total = sum((table[loop_type(p, everything[0])] for p in everything), Fraction(0))
        return total * min(len(left), len(right))
    return sum((table[loop_type(p, q)] for p in left for q in right), Fraction(0))
