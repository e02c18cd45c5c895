"""Blocks as text: ``"6 * (gated('swiglu') + rms)"`` to blocks, and back."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Any

from firstlight.builders.blocks.dense import Dense
from firstlight.builders.blocks.description import Block, Blocks
from firstlight.builders.blocks.fractal import Fractal
from firstlight.builders.blocks.gated import Gated, KSparse
from firstlight.builders.blocks.layer import Layer
from firstlight.builders.blocks.nf import NFBlock
from firstlight.builders.blocks.norms import Divisive, SingleScale
from firstlight.errors import DomainError, FirstlightError, did_you_mean
from firstlight.network import RandomNetwork
from firstlight.network_fields import spelled as spelled_value

WORDS: Mapping[str, type[Block]] = MappingProxyType(
    {
        "dense": Dense, "layer": Layer, "gated": Gated, "top": KSparse, "nf": NFBlock, "rms": SingleScale,
        "gdn": Divisive, "fractal": Fractal,
    }
)  # fmt: skip
_MOST = 10_000  # blocks of one text


def _fail(expected: str, got: object) -> DomainError:
    return DomainError(
        f"while reading blocks: expected {expected}, got {got!r}; write them as in \"6 * (gated('swiglu') + rms)\""
    )


def read(blocks: object) -> Blocks:
    """Blocks from a text, a block, or a sequence of both.

    A word is a block with its defaults, and takes the fields of its class: ``dense('gelu', sigma_w=1.4)``.
    ``+`` puts blocks behind one another, and ``6 *`` repeats. `WORDS` lists the words; ``layer(…)`` takes the fields of
    a `RandomNetwork`.

    Raises
    ------
    DomainError
        An unknown word or field, or a text that is none of these.

    Examples
    --------
    >>> from firstlight.builders.blocks import read, spelled
    >>> [block.name for block in read("2 * (gated('swiglu') + rms) + top(0.25)")]
    ['swiglu', 'rms', 'swiglu', 'rms', 'top(0.25)']
    >>> spelled(read("3 * dense('tanh', sigma_w=1.5)"))
    "3 * dense(activation='tanh', sigma_w=1.5)"
    """  # noqa: DOC501
    if isinstance(blocks, Block):
        return Blocks((blocks,))
    if isinstance(blocks, str):
        try:
            tree = ast.parse(blocks.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise _fail("blocks joined by + and repeated by *", blocks) from None
        return _blocks(tree)
    if not isinstance(blocks, Iterable):
        raise _fail("a text, a block or a sequence of blocks", blocks)
    return Blocks(block for part in blocks for block in read(part))


def _blocks(node: ast.expr) -> Blocks:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return Blocks((*_blocks(node.left), *_blocks(node.right)))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        sides = (node.left, node.right)
        counts = [side.value for side in sides if isinstance(side, ast.Constant)]
        if len(counts) == 1 and isinstance(counts[0], int) and not isinstance(counts[0], bool):
            part = _blocks(next(side for side in sides if not isinstance(side, ast.Constant)))
            if not 0 <= counts[0] * len(part) <= _MOST:
                raise _fail(f"0 to {_MOST} blocks", counts[0] * len(part))
            return Blocks(part * counts[0])
    return Blocks((_block(node),))


def _block(node: ast.expr) -> Block:
    name = node.func if isinstance(node, ast.Call) else node
    if not isinstance(name, ast.Name):
        raise _fail("a word with its fields", ast.unparse(node))
    kind = WORDS.get(name.id)
    if kind is None:
        raise DomainError(
            f"while reading blocks: expected words among {', '.join(WORDS)}, got {name.id!r}"
            f"{did_you_mean(name.id, WORDS)}"
        )
    call = node if isinstance(node, ast.Call) else ast.Call(name, [], [])
    try:
        given = [_value(part) for part in call.args]
        named = {str(k.arg): _value(k.value) for k in call.keywords}
        return Layer(_layer(*given, **named)) if kind is Layer else kind(*given, **named)
    except FirstlightError:
        raise
    except (TypeError, ValueError) as error:
        known = ", ".join(f.name for f in fields(RandomNetwork if kind is Layer else kind))  # type: ignore[arg-type]
        raise _fail(f"{name.id}(…) with fields among {known}", f"{ast.unparse(node)}: {error}") from None


def _layer(activation: Any = "tanh", **others: Any) -> RandomNetwork:
    """The fields of a layer; sizes do not count."""
    return RandomNetwork(**{"depth": 2, "width": 1, "activation": activation, **others})


def _value(node: ast.expr) -> Any:
    """A literal, or a block as the layer of a fractal."""
    return _block(node) if isinstance(node, ast.Call) else ast.literal_eval(node)


def spelled(blocks: Iterable[Block]) -> str:
    """The text that `read` turns into these blocks again.

    Raises
    ------
    DomainError
        A block of another class, or an activation that no name gives back.
    """
    texts = [_text(block) for block in blocks]
    parts: list[tuple[int, list[str]]] = []
    at = 0
    while at < len(texts):
        # the period that repeats over the most blocks from here; of equals the shortest
        best, period = 1, 1
        for size in range(1, (len(texts) - at) // 2 + 1):
            times = 1
            while texts[at + times * size : at + (times + 1) * size] == texts[at : at + size]:
                times += 1
            if times > 1 and times * size > best * period:
                best, period = times, size
            if best * period == len(texts) - at:
                break
        parts.append((best, texts[at : at + period]))
        at += best * period
    return " + ".join(_repeated(times, part) for times, part in parts)


def _repeated(times: int, part: list[str]) -> str:
    joined = " + ".join(part)
    return joined if times == 1 else f"{times} * {joined}" if len(part) == 1 else f"{times} * ({joined})"


def _text(block: Block) -> str:
    word = next((word for word, kind in WORDS.items() if type(block) is kind), None)
    if word is None:
        raise DomainError(
            f"while writing blocks as text: expected blocks among {', '.join(WORDS)}, got {type(block).__name__}; "
            "keep networks with blocks of your own in Python"
        )
    if isinstance(block, Layer):
        plain, own = _layer().to_dict(), block.network.to_dict()
        sizes = ("depth", "width", "in_features")
        given = [f"{k}={v!r}" for k, v in own.items() if k not in sizes and v != plain.get(k)]
        return f"{word}({', '.join(given)})" if given else word
    texts = []
    for f in fields(block):  # type: ignore[arg-type]
        value = getattr(block, f.name)
        default = f.default if f.default_factory is MISSING else f.default_factory()
        if isinstance(value, Block):
            texts += [f"{f.name}={_text(value)}"] if value != default else []
        elif value != default:
            value = spelled_value("activation", value) if f.name == "activation" else value
            texts.append(f"{f.name}={value!r}")
    return f"{word}({', '.join(texts)})" if texts else word
