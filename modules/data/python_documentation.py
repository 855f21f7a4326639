"""TFDS datasets of the English documentation in the Python environment; they need no download.

`python_documentation` has texts; `python_instructions` and `python_preferences` have rows. For rows of your own, write
a builder like `PythonInstructions`, or files like those of `modules.data.example_files`.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from modules.common import progress
from modules.data import docstrings, documentation_rows, documented_functions


@dataclasses.dataclass(eq=False)
class EnvironmentConfig(tfds.core.BuilderConfig):
    """A configuration for one set of package versions. After an upgrade, another dataset is prepared.

    Attributes:
        packages: Import names of the packages whose docstrings are read; `"python"` is the standard library.
    """

    packages: tuple[str, ...] = docstrings.PACKAGES

    @classmethod
    def of(cls, packages: tuple[str, ...] = docstrings.PACKAGES) -> "EnvironmentConfig":
        """Returns the configuration for the installed packages, named after their versions."""
        return cls(
            name=docstrings.environment_fingerprint(packages)[:16],
            description=", ".join(docstrings.package_versions(packages)),
            packages=packages,
        )


class PythonDocumentation(tfds.core.GeneratorBasedBuilder):
    """Help topics and docstrings. Features: `text` and `source` (the package's name), both strings."""

    VERSION = tfds.core.Version("1.0.0")
    COLUMNS: tuple[str, ...] = ("text", "source")

    def __init__(self, *, config: EnvironmentConfig | None = None, **settings: Any) -> None:
        super().__init__(config=config or EnvironmentConfig.of(), **settings)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {name: tfds.features.Text() for name in self.COLUMNS}
        return self.dataset_info_from_configs(description=self.__doc__, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # Nothing is downloaded.
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, str]]]:
        for documentation in docstrings.collect(self.builder_config.packages, _on_progress):
            yield documentation.key, {"text": documentation.text, "source": documentation.package}


class PythonInstructions(PythonDocumentation):
    """Instructions about documented functions. Features: `instruction`, `input`, `output` and `source`, all strings."""

    COLUMNS = documentation_rows.INSTRUCTION_COLUMNS

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, str]]]:
        functions = documented_functions.collect(self.builder_config.packages, _on_progress)
        yield from documentation_rows.instructions(functions)


class PythonPreferences(PythonDocumentation):
    """Preferences about documented functions. Features: `prompt`, `chosen`, `rejected` and `source`, all strings."""

    COLUMNS = documentation_rows.PREFERENCE_COLUMNS

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, str]]]:
        functions = documented_functions.collect(self.builder_config.packages, _on_progress)
        yield from documentation_rows.preferences(functions)


BUILDERS = dict(
    zip(docstrings.DATASET_NAMES, (PythonDocumentation, PythonInstructions, PythonPreferences), strict=True)
)


def _on_progress(done: int, total: int) -> None:
    progress.report("TextExampleGen", done=done, total=total, unit="source files", phase="preparing")
