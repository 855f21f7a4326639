"""Public functions are found with the names that users know, and only good sentences are summaries."""

import pytest

from modules.data.documented_functions import Function, collect, functions_of, summary_of

SOURCE = b'''
__all__ = ["area", "Shape"]

def area(width: float, height: float = 1.0, *, unit="m") -> float:
    """Return the area of a rectangle.

    More about it.
    """

def helper(x):
    """Return the text without a place in the list."""

class Shape:
    """The base class of all flat shapes."""
    def __init__(self, corners: int):
        """Create a shape with some corners in it."""
    def turn(self, degrees):
        """Turn the shape by an angle in degrees."""
    @property
    def corners(self):
        """The number of corners of this shape."""
    def _hidden(self):
        """Return something that nobody needs to know."""
'''

EXPORTED = b'''
@tf_export("math.add", "add", v1=[])
def add_v2(x, y):
    """Returns x plus y element by element."""

def not_exported(x):
    """Returns x without any changes to it."""
'''


def test_the_functions_of_a_module_are_found():
    assert functions_of(SOURCE, "python", "shapes/plane.py") == [
        Function("python", "shapes.plane.area", "(width, height=1.0, *, unit='m')", "Return the area of a rectangle."),
        Function("python", "shapes.plane.Shape", "(corners)", "The base class of all flat shapes."),
        Function("python", "shapes.plane.Shape.turn", "(degrees)", "Turn the shape by an angle in degrees."),
        Function("python", "shapes.plane.Shape.corners", "", "The number of corners of this shape."),
    ]


@pytest.mark.parametrize(
    ("package", "path", "name"),
    [
        ("scipy", "stats/_plane.py", "scipy.stats.area"),
        ("scipy", "stats/__init__.py", "scipy.stats.area"),
        ("scipy", "_lib/plane.py", None),
        ("python", "_shapes.py", None),
        ("python", "distutils/shapes.py", None),
        ("numpy", "lib/_shapes.py", None),
        ("tensorflow", "python/shapes.py", None),
    ],
)
def test_the_private_part_of_a_name_is_left_out(package, path, name):
    names = [function.name for function in functions_of(SOURCE, package, path)]
    assert names[:1] == ([name] if name else [])


def test_decorators_name_the_public_place():
    assert [function.name for function in functions_of(EXPORTED, "tensorflow", "python/ops/math.py")] == ["tf.math.add"]
    keras = EXPORTED.replace(b'tf_export("math.add", "add", v1=[])', b'keras_export(["keras.ops.add", "keras.add"])')
    assert [function.name for function in functions_of(keras, "keras", "src/ops.py")] == ["keras.ops.add"]
    for decorator, module in (
        (b"array_function_dispatch(f, module='numpy.linalg')", "numpy.linalg"),
        (b"array_function_dispatch(f)", "numpy"),
        (b"set_module('numpy.rec')", "numpy.rec"),
    ):
        source = EXPORTED.replace(b'tf_export("math.add", "add", v1=[])', decorator)
        assert [function.name for function in functions_of(source, "numpy", "_core/x.py")] == [f"{module}.add_v2"]


def test_bad_syntax_has_no_functions():
    assert functions_of(b"print 1", "python", "a.py") == []


@pytest.mark.parametrize(
    ("docstring", "summary"),
    [
        ("Return the :class:`~a.B` of ``x``,\ne.g. 3. More of it.", "Return the `a.B` of `x`, e.g. 3."),
        ("Return the `name <http://x.org>`_ of the host.", "Return the `name` of the host."),
        ("Too short.", None),
        ("Internal function of the package only.", None),
        ("See the documentation of the class.", None),
        ("return the text in lower case.", None),
        ("Return the text without a period", None),
        ("Deprecated: use the other function instead.", None),
        ("Return a value >>> of some kind.", None),
        ("Return the value (of some kind.", None),
        ("Return " + "very " * 40 + "much.", None),
        ("", None),
    ],
)
def test_only_a_good_first_sentence_is_a_summary(docstring, summary):
    assert summary_of(docstring) == summary


def test_names_and_summaries_occur_once():
    functions = list(collect(("json", "unittest")))
    assert functions == list(collect(("json", "unittest")))
    assert len({function.name for function in functions}) == len(functions) > 50
    assert len({function.summary.lower() for function in functions}) == len(functions)
