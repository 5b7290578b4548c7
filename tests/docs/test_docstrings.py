"""The docstrings are what an editor shows and what the reference is made of: each code block of them is run here."""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from inspect import isfunction
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import pytest

import shopsdk
from shopsdk.export import CustomerSink, export_customers
from shopsdk.sandbox import Sandbox
from tests.support.examples import blocks, run_as_test, run_fragment

PACKAGE = Path(shopsdk.__file__).parent
PUBLIC = ("shopsdk.arrow", "shopsdk.export", "shopsdk.sandbox", "shopsdk.testing")


def docstrings() -> Iterator[tuple[str, str]]:
    """Every docstring of the package, those of fields included, with its place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield f"{module}:{node.lineno}", inspect.cleandoc(text)


ALL = list(docstrings())
EXAMPLES = [(place, block) for place, text in ALL for block in blocks(text, "python")]
FOR_PYTEST = [block for place, block in EXAMPLES if "pytest_plugins" in block or "def test_" in block]
FRAGMENTS = [(place, block) for place, block in EXAMPLES if block not in FOR_PYTEST]


def scope_of(place: str) -> dict[str, Any]:
    """What somebody has imported who reads there: the package's names, and those of the public module it is in."""
    modules = [shopsdk, *(importlib.import_module(name) for name in PUBLIC if place.startswith(name))]
    return {name: getattr(module, name) for module in modules for name in module.__all__}


@pytest.mark.parametrize(("place", "block"), FRAGMENTS, ids=[place for place, _ in FRAGMENTS])
async def test_examples_run(
    place: str, block: str, readers_shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of a docstring runs as it stands."""
    monkeypatch.chdir(tmp_path)
    async with readers_shop.session() as session:
        await run_fragment(block, place, {**scope_of(place), "session": session})
    assert {request.status for request in readers_shop.requests} <= {200, None}  # None: a walk was left, nobody waits


@pytest.mark.slow
def test_the_examples_of_tests_pass(tmp_path: Path) -> None:
    """The two blocks for a user's own tests, the conftest and a first test, pass together."""
    conftest, first_test = FOR_PYTEST
    assert run_as_test(conftest, first_test, tmp_path) == "1 passed"


def test_no_code_hides_from_these_tests() -> None:
    """Every code block of a docstring is fenced, so that these tests find it."""
    assert [] == [place for place, text in ALL if "::\n" in text or ">>> " in text]
    assert [] == [place for place, text in ALL if text.count("\n```") % 2]
    fenced = sum(text.count("\n```") // 2 for _, text in ALL)
    assert fenced == len(EXAMPLES) + sum(len(blocks(text, "text")) for _, text in ALL)


def constructed(annotation: object) -> Iterator[type]:
    """The attrs classes that somebody makes who passes such an argument."""
    kind = get_origin(annotation) or annotation
    if kind is not Callable:
        for part in get_args(annotation):
            yield from constructed(part)
    if isinstance(kind, type) and attrs.has(kind):
        yield kind
        for field in attrs.fields(kind):
            yield from constructed(field.type)


def arguments() -> Iterator[object]:
    """The types of the arguments of public functions and of the classes that stand between them."""
    functions: list[Callable[..., object]] = [shopsdk.AsyncSession.__init__, Sandbox.__init__]
    for module in (shopsdk, *map(importlib.import_module, PUBLIC)):
        functions += [shown for name, shown in vars(module).items() if name in module.__all__ and isfunction(shown)]
    for function in functions:
        yield from (kind for name, kind in get_type_hints(function).items() if name != "return")


CONSTRUCTED = {cls.__name__: cls for annotation in arguments() for cls in constructed(annotation)}


def test_what_is_constructed_is_found() -> None:
    """These tests see the classes that users construct."""
    named = {"Timeout", "RetryPolicy", "RateLimit", "Clock", "Customer", "AffiliateReferrer", "Page", "Fault"}
    assert named <= set(CONSTRUCTED)


@pytest.mark.parametrize("shown", [*CONSTRUCTED.values(), shopsdk.CustomerFilters], ids=lambda shown: shown.__name__)
def test_an_editor_explains_each_argument_as_the_field_does(shown: type) -> None:
    """The docstring of a class that users construct explains each field, in the words under it, with its default."""
    section = (inspect.getdoc(shown) or "").partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.split(r"\n(?=    \w)", section)
    explained = {name.strip(): " ".join(text.split()) for name, _, text in (entry.partition(":") for entry in entries)}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(shown))).body
    assert isinstance(tree, ast.ClassDef)
    fields: dict[str, str] = {}
    for field, docstring in pairwise(tree.body):
        match field, docstring:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                text = " ".join(text.split())
                fields[name] = text[0].lower() + text[1:]
    assert list(explained.items()) == list(fields.items())
    defaults = {field.name: field.default for field in (attrs.fields(shown) if attrs.has(shown) else ())}
    numbers = {name: f"{value:g}" for name, value in defaults.items() if isinstance(value, int | float) and value}
    assert [] == [name for name, value in numbers.items() if f"default: {value}." not in fields[name]]


WITH_EXAMPLES = [
    *(shopsdk.AsyncSession, shopsdk.edit_customer_balance, shopsdk.iter_customers, shopsdk.iter_customer_pages),
    *(shopsdk.paginate, shopsdk.ShopError, Sandbox, export_customers, CustomerSink),
    *(importlib.import_module(name) for name in PUBLIC),
]


@pytest.mark.parametrize("shown", WITH_EXAMPLES, ids=lambda shown: shown.__name__)
def test_what_is_used_most_has_an_example(shown: object) -> None:
    """The docstrings of what is used most hold an example."""
    assert blocks(inspect.getdoc(shown) or "", "python")
