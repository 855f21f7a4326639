"""A TFDS dataset of the English documentation in the Python environment; it needs no download."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from modules.common import progress
from modules.data import docstrings


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

    def __init__(self, *, config: EnvironmentConfig | None = None, **settings: Any) -> None:
        super().__init__(config=config or EnvironmentConfig.of(), **settings)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "text": tfds.features.Text(doc="One help topic or docstring, dedented."),
                    "source": tfds.features.Text(doc="The package that the text documents."),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # Nothing is downloaded.
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, str]]]:
        def on_progress(done: int, total: int) -> None:
            progress.report("TextExampleGen", done=done, total=total, unit="source files", phase="preparing")

        for documentation in docstrings.collect(self.builder_config.packages, on_progress):
            yield documentation.key, {"text": documentation.text, "source": documentation.package}
